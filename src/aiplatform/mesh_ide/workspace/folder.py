"""The folder as we believe it stands: one table, with the look-ups the other modules need."""

from __future__ import annotations

from collections.abc import Iterable

from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.ports.filetree import FileStat
from aiplatform.mesh_ide.ports.jobs import BlobSource
from aiplatform.mesh_ide.ports.store import Write
from aiplatform.mesh_ide.workspace.records import DiskState, Standing, disk_record

RECORDS_PER_COMMIT_MAX = 2048


class Folder:
    """States by path, and what follows from them.

    Invariants:
        1. ``path_of(file) == p`` exactly if ``get(p).now.file == file``.
        2. every change of a state is in ``_unsaved`` until ``take_records`` handed it out.
    """

    def __init__(self) -> None:
        self._states: dict[str, DiskState] = {}
        self._path_of: dict[FileId, str] = {}
        self._located: dict[BlobHash, str] = {}
        self._unsaved: dict[str, None] = {}
        self.archived: set[BlobHash] = set()
        self.unarchived: dict[BlobHash, None] = {}

    def get(self, path: str) -> DiskState | None:
        """Return what we believe of a path."""
        return self._states.get(path)

    def standing(self, path: str) -> Standing | None:
        """Return what stands at a path."""
        state = self._states.get(path)
        return None if state is None else state.now

    def path_of(self, file: FileId) -> str | None:
        """Return where a file stands on the disk."""
        return self._path_of.get(file)

    def paths(self) -> Iterable[str]:
        """Return all paths at which something stands."""
        return tuple(path for path, state in self._states.items() if state.now is not None)

    def __len__(self) -> int:
        """Return how many files stand in the folder."""
        return len(self._path_of)

    def known_stats(self, paths: Iterable[str] | None = None) -> dict[str, FileStat]:
        """Return the stats by which the file tree tells what changed.

        ``paths`` limits the answer to these paths and all below them.
        """
        if paths is None:
            return {p: s.stat for p, s in self._states.items() if s.stat is not None}
        known: dict[str, FileStat] = {}
        prefixes: list[str] = []
        for path in paths:
            state = self._states.get(path)
            if state is None:
                prefixes.append(path + "/")
            elif state.stat is not None:
                known[path] = state.stat
        if prefixes:
            below = tuple(prefixes)
            for path, state in self._states.items():
                if state.stat is not None and path.startswith(below):
                    known[path] = state.stat
        return known

    def put(self, path: str, state: DiskState | None) -> None:
        """Change what we believe of a path (``None``: nothing stands there)."""
        old = self._states.pop(path, None)
        if old is not None and old.now is not None:
            if self._path_of.get(old.now.file) == path:
                del self._path_of[old.now.file]
            if self._located.get(old.now.blob) == path:
                del self._located[old.now.blob]
        if state is not None:
            self._states[path] = state
            if state.now is not None:
                self._path_of[state.now.file] = path
                self._located[state.now.blob] = path
                if state.now.blob not in self.archived:
                    self.unarchived[state.now.blob] = None
        self._unsaved[path] = None

    def load(self, path: str, state: DiskState) -> None:
        """Take a state from its record, at the start."""
        self.put(path, state)
        self._unsaved.pop(path, None)

    def source(self, blob: BlobHash, hint: str | None = None) -> BlobSource:
        """Return where a blob may be read."""
        return BlobSource(blob, self._located.get(blob, hint))

    def holds(self, blob: BlobHash) -> bool:
        """Return whether the content is on this node: in the folder or in the archive."""
        return blob in self.archived or blob in self._located

    def mark_archived(self, blobs: Iterable[BlobHash]) -> None:
        """Remember that these contents are in the archive."""
        for blob in blobs:
            self.archived.add(blob)
            self.unarchived.pop(blob, None)

    def has_unsaved(self) -> bool:
        """Return whether records wait to be written."""
        return bool(self._unsaved)

    def take_records(self) -> list[Write]:
        """Hand out the records that changed, at most ``RECORDS_PER_COMMIT_MAX``."""
        paths = list(self._unsaved)[:RECORDS_PER_COMMIT_MAX]
        for path in paths:
            del self._unsaved[path]
        return [disk_record(path, self._states.get(path)) for path in paths]
