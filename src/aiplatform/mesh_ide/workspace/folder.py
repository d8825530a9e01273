"""The folder as we believe it stands: one table, with the look-ups the other modules need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, Generic, TypeVar

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.ports.filetree import FileStat
from aiplatform.mesh_ide.ports.jobs import BlobSource
from aiplatform.mesh_ide.ports.store import Write
from aiplatform.mesh_ide.workspace.path_tree import PathTree
from aiplatform.mesh_ide.workspace.records import DiskState, Standing, disk_record

RECORDS_PER_COMMIT_MAX = 2048

LOOK_ANEW: Final = FileStat(-1, 0, 0, FileMode.REGULAR)
"""The stat of no file: what is known by it is read at the next look."""

K = TypeVar("K", FileId, BlobHash)


class _Places(Generic[K]):
    """At which paths something stands: almost always one, so only further ones cost a table."""

    def __init__(self) -> None:
        self._last: dict[K, str] = {}
        self._others: dict[K, dict[str, None]] = {}

    def __len__(self) -> int:
        return len(self._last)

    def __contains__(self, key: K) -> bool:
        return key in self._last

    def last(self, key: K) -> str | None:
        """Return the path added last."""
        return self._last.get(key)

    def all(self, key: K) -> tuple[str, ...]:
        """Return all paths."""
        last = self._last.get(key)
        return () if last is None else (*self._others.get(key, ()), last)

    def add(self, key: K, path: str) -> None:
        """Add a path."""
        last = self._last.get(key)
        if last is not None and last != path:
            self._others.setdefault(key, {})[last] = None
        self._last[key] = path

    def remove(self, key: K, path: str) -> None:
        """Take a path out; a path that is not there is passed over."""
        others = self._others.get(key)
        if self._last.get(key) != path:
            if others is not None:
                others.pop(path, None)
        elif others:
            self._last[key] = others.popitem()[0]
        else:
            self._last.pop(key, None)
        if not others:
            self._others.pop(key, None)

    def items(self) -> Iterator[tuple[K, str]]:
        """Yield every pair of key and path."""
        return ((key, path) for key in self._last for path in self.all(key))


class Folder:
    """States by path, and what follows from them.

    Invariants:
        1. ``_places`` has exactly the paths at which each file stands (two while a rename of a
           program and one of ours cross).
        2. every change of a state is in ``_unsaved`` until ``take_records`` handed it out.
        3. a held path's record is not handed out: what stands there is on its way into the
           ledger, and a record that became durable before the entry would hide the edit from the
           scan after a crash.
        4. ``_located`` has exactly the paths at which each content stands.
    """

    def __init__(self) -> None:
        self._states: dict[str, DiskState] = {}
        self._tree = PathTree(self._states)
        self._places: _Places[FileId] = _Places()
        self._located: _Places[BlobHash] = _Places()
        self._unsaved: dict[str, None] = {}
        self._held: dict[str, int] = {}
        self._settled: dict[str, None] = {}
        self._placed: dict[FileId, None] = {}
        self._roots: dict[BlobHash, str | None] = {}
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
        """Return where a file stands on the disk (where it was seen last, if at two paths)."""
        return self._places.last(file)

    def paths_of(self, file: FileId) -> tuple[str, ...]:
        """Return all paths at which a file stands."""
        return self._places.all(file)

    def paths(self) -> Iterable[str]:
        """Return all paths at which something stands."""
        return tuple(path for path, state in self._states.items() if state.now is not None)

    def __len__(self) -> int:
        """Return how many files stand in the folder."""
        return len(self._places)

    def known_stats(self, paths: Iterable[str] | None = None) -> dict[str, FileStat]:
        """Return the stats by which the file tree tells what changed.

        ``paths`` limits the answer to these paths and all below them. What stands at a path but
        has to be looked at anew is among them: only of a known path is it told that it is gone.
        """
        if paths is None:
            states = self._states.items()
            return {p: stat for p, s in states if (stat := _known_stat(s)) is not None}
        known: dict[str, FileStat] = {}
        for named in paths:
            for path in (named, *self._tree.below(named)):
                state = self._states.get(path)
                if state is not None and (stat := _known_stat(state)) is not None:
                    known[path] = stat
        return known

    def put(self, path: str, state: DiskState | None) -> None:
        """Change what we believe of a path (``None``: nothing stands there)."""
        old = self._states.pop(path, None)
        if old is not None and old.now is not None:
            self._places.remove(old.now.file, path)
            self._located.remove(old.now.blob, path)
        if state is None:
            if old is not None:
                self._tree.removed(path)
        else:
            self._states[path] = state
            if old is None:
                self._tree.added(path)
            if state.now is not None:
                self._placed[state.now.file] = None
                self._places.add(state.now.file, path)
                self._located.add(state.now.blob, path)
                if state.now.blob not in self.archived:
                    self.unarchived[state.now.blob] = None
        self._unsaved[path] = None

    def recheck(self, file: FileId) -> None:
        """Have it found out anew whether a file's content is on this node."""
        self._placed[file] = None

    def take_placed(self) -> tuple[FileId, ...]:
        """Return the files that came to stand somewhere, or may have lost their content."""
        placed = tuple(self._placed)
        self._placed.clear()
        return placed

    def load(self, path: str, state: DiskState) -> None:
        """Take a state from its record, at the start."""
        self.put(path, state)
        self._unsaved.pop(path, None)

    def source(self, blob: BlobHash, not_at: str | None = None) -> BlobSource:
        """Return where a blob may be read; ``not_at``: a path that was seen to hold another."""
        path = self._located.last(blob)
        if path is not None and path == not_at:
            path = next((other for other in self._located.all(blob) if other != not_at), None)
        return BlobSource(blob, path)

    def holds(self, blob: BlobHash) -> bool:
        """Return whether the content is on this node: in the folder or in the archive."""
        return blob in self.archived or blob in self._located

    def mark_archived(self, blobs: Iterable[BlobHash]) -> None:
        """Remember that these contents are in the archive."""
        for blob in blobs:
            self.archived.add(blob)
            self.unarchived.pop(blob, None)

    def keep_root(self, source: BlobSource) -> None:
        """See that a text's first content is archived before what builds on it is durable.

        Without it nobody could ever merge the text again.
        """
        if source.blob not in self.archived:
            self._roots[source.blob] = source.path

    def take_roots(self) -> tuple[BlobSource, ...]:
        """Hand out what ``keep_root`` gathered."""
        roots = tuple(BlobSource(blob, path) for blob, path in self._roots.items())
        self._roots.clear()
        return roots

    def hold(self, paths: Iterable[str]) -> None:
        """Keep these paths' records back, and writes of ours away, until ``settle``."""
        for path in paths:
            self._held[path] = self._held.get(path, 0) + 1

    def settle(self, paths: Iterable[str]) -> None:
        """End a ``hold``: the entries are sealed, the records go with their commit."""
        for path in paths:
            self._held[path] -= 1
            if not self._held[path]:
                del self._held[path]
                self._settled[path] = None

    def is_held(self, path: str) -> bool:
        """Return whether what stands at a path is on its way into the ledger."""
        return path in self._held

    def has_unsaved(self) -> bool:
        """Return whether records wait to be written."""
        return any(path not in self._held for path in self._unsaved)

    def take_records(self) -> list[Write]:
        """Hand out the records that changed, at most ``RECORDS_PER_COMMIT_MAX``."""
        free = (path for path in self._unsaved if path not in self._held)
        return self._take(list(islice(free, RECORDS_PER_COMMIT_MAX)))

    def take_settled(self) -> list[Write]:
        """Hand out the records that belong to the commit that begins now."""
        if not self._settled:
            return []
        settled, self._settled = self._settled, {}
        return self._take([p for p in settled if p in self._unsaved and p not in self._held])

    def _take(self, taken: list[str]) -> list[Write]:
        for path in taken:
            del self._unsaved[path]
        return [disk_record(path, self._states.get(path)) for path in taken]

    def check_invariants(self) -> None:
        """Check invariants 1 and 4."""
        for file, path in self._places.items():
            standing = self.standing(path)
            assert standing is not None, f"nothing stands at {path}"
            assert standing.file == file, f"another file stands at {path}"
        for blob, path in self._located.items():
            standing = self.standing(path)
            assert standing is not None, f"nothing stands at {path}"
            assert standing.blob == blob, f"another content stands at {path}"


def _known_stat(state: DiskState) -> FileStat | None:
    return LOOK_ANEW if state.stat is None and state.now is not None else state.stat
