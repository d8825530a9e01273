"""The stream of what happens."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.overview import Emit
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.ids import TREE_FILE
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
        index = self._subjects.ledger.index
        files = [file for file in told.files if file != TREE_FILE]
        # A new file of a peer has no path until the tree's entry came too: it is counted only.
        paths = (index.path_of(file) for file in files[:PATHS_MAX])
        return answers.Happening(
            time_ms=self._subjects.now_ms(),
            kind=told.kind,
            text=_changed(len(files)) if told.kind == "files" else told.text,
            peer="" if told.peer is None else self._subjects.label(told.peer),
            paths=tuple(path for path in paths if path is not None),
        )


def _changed(count: int) -> str:
    if count == 0:
        return "names changed"
    return f"{counted(count, 'file')} changed"
