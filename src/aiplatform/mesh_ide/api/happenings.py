"""The stream of what happens."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.overview import Emit
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId, short
from aiplatform.mesh_ide.node.events import Told

PATHS_MAX: Final = 20
"""A happening names at most so many files; its text says how many there were."""


class Happenings:
    """Turns what a node tells its watchers into records."""

    def __init__(self, subjects: Subjects) -> None:
        """Watch this node."""
        self._subjects = subjects

    async def stream(self, emit: Emit) -> answers.Done:
        """Emit what happens from now on, until cancelled. A slow reader loses the oldest."""
        async with self._subjects.driver.watch() as told:
            while True:
                await emit(self.happening(await told.get()))

    def happening(self, told: Told) -> answers.Happening:
        """Return what happened, in people's words."""
        return answers.Happening(
            time_ms=self._subjects.now_ms(),
            kind=told.kind,
            text=told.text,
            peer="" if told.peer is None else self._subjects.label(told.peer),
            paths=tuple(self._path(f) for f in told.files[:PATHS_MAX] if f != TREE_FILE),
        )

    def _path(self, file: FileId) -> str:
        return self._subjects.ledger.index.path_of(file) or short(file)
