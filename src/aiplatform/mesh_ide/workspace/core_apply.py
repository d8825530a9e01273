"""From the ledger to the folder: what has to change on the disk, and what came of it.

A write is planned only when nobody else is at work on the file or the path, its content is at
hand, and the plan is on record (``DiskState.planned``): content that turns up after a crash and
equals the plan is ours, not somebody's edit.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import (
    FileState,
    base_of,
    content_of,
    lineage_of,
    living,
    mode_of,
    winning,
)
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.ports.filetree import FileStat, FileWrite, Observation, WriteOutcome
from aiplatform.mesh_ide.ports.jobs import (
    ApplyWrites,
    Materialise,
    PlannedWrite,
    TextAt,
    WritesApplied,
)
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import (
    RETRY_WRITE_MS,
    WRITES_PER_JOB_MAX,
    DiskState,
    Standing,
)

MATERIALISE_PER_JOB_MAX = 64

RETRY_WANT_MS = 2000
"""How often is found out anew which contents are still needed."""


class Applier:
    """Brings the folder to the ledger's state.

    Invariants:
        1. a path in ``_busy`` has exactly one write planned or under way.
        2. a file in ``_merging`` has exactly one ``Materialise`` under way.
    """

    def __init__(self, ledger: Ledger, folder: Folder) -> None:
        self._ledger = ledger
        self._folder = folder
        self._busy: dict[str, Standing | None] = {}
        self._planned: list[PlannedWrite] = []
        self._to_merge: dict[FileId, TextAt] = {}
        self._merging: dict[FileId, tuple[EntryRef, ...]] = {}
        self._ready: set[BlobHash] = set()
        self._waiting: dict[BlobHash, dict[str, None]] = {}
        self._unmergeable: dict[FileId, tuple[EntryRef, ...]] = {}
        self.wanted: dict[BlobHash, tuple[FileId, int]] = {}
        self.failed: dict[str, tuple[int, str]] = {}
        self.shelf: dict[BlobHash, FileId] = {}
        """Contents that stand nowhere in the folder and go into the archive when they come."""
        self._rootless: set[BlobHash] = set()
        """Contents that nobody sent for a while: what was built on them is asked for itself."""
        self._doubted: set[BlobHash] = set()
        """Contents that a write did not find where they are believed to be."""
        self.busy_bytes = 0
        self._refreshed_ms = 0

    def is_busy(self, path: str) -> bool:
        """Return whether a write to this path is under way."""
        return path in self._busy

    @property
    def outstanding(self) -> int:
        """Return how many writes, merges and contents the folder still waits for."""
        return len(self._busy) + len(self._merging) + len(self._waiting) + len(self._to_merge)

    # --- planning ----------------------------------------------------------------------------

    def consider(self, path: str) -> None:
        """Plan what this path needs, if anything; whatever hinders it calls again later."""
        if path in self._busy or self._folder.is_held(path):
            return
        standing = self._folder.standing(path)
        if standing is not None and self._ledger.is_claimed(standing.file):
            return
        owner = self._ledger.index.owner(path)
        is_folder = self._ledger.index.has_below(path)
        self._shelve_hidden(path, None if is_folder else owner)
        if owner is None or is_folder:
            if standing is not None and standing.heads:
                self._plan_absence(path, standing)
            return
        if self._ledger.is_claimed(owner):
            return
        state = self._ledger.state(owner)
        assert state is not None, "an owner has a state"
        content = content_of(state)
        if content is None:
            self._want_merge(state)
            return
        self._plan_presence(path, standing, state, content)

    def _shelve_hidden(self, path: str, shown: FileId | None) -> None:
        """See to contents that stand nowhere: other claims on the path, rivals in a conflict."""
        for file in self._ledger.index.claims(path):
            state = self._ledger.state(file)
            if state is None or (file == shown and len(state.heads) == 1):
                continue
            winners = winning(state)
            for head in living(state):
                if head.blob is None or head in winners:
                    continue
                if not self._folder.holds(head.blob) and head.blob not in self.shelf:
                    self.shelf[head.blob] = file
                    self.wanted[head.blob] = (file, head.size)
            if file == shown or not winners:
                continue
            content = content_of(state)
            if content is None:
                self._want_merge(state)
            elif not self._folder.holds(content[0]) and content[0] not in self.shelf:
                self.shelf[content[0]] = file
                self._obtain(path, state, *content)

    def _plan_absence(self, path: str, standing: Standing) -> None:
        disk = self._folder.get(path)
        assert disk is not None, "something stands there"
        target = self._ledger.index.path_of(standing.file)
        if (
            target is not None
            and target != path
            and self._ledger.index.owner(target) == standing.file
            and self._folder.standing(target) is None
            and target not in self._busy
            and not self._folder.is_held(target)
            and not self._ledger.index.has_below(target)
        ):
            write = FileWrite(target, standing.blob, standing.mode, None, moved_from=path)
            self._busy[path] = None
            self._folder.put(path, replace(disk, is_leaving=True))
            self._begin(target, standing, write, needs_archive=False)
            return
        self._folder.put(path, replace(disk, is_leaving=True))
        write = FileWrite(path, None, standing.mode, standing.blob, standing.mode)
        self._begin(path, None, write, needs_archive=standing.blob not in self._folder.archived)

    def _plan_presence(
        self,
        path: str,
        standing: Standing | None,
        state: FileState,
        content: tuple[BlobHash, int],
    ) -> None:
        blob, size = content
        mode = mode_of(state)
        target = Standing(state.file, base_of(state), blob, mode, size, lineage_of(state))
        if standing is not None and standing.blob == blob and standing.mode == mode:
            if standing.file != state.file or set(standing.heads) != set(target.heads):
                disk = self._folder.get(path)
                assert disk is not None
                self._folder.put(path, replace(disk, now=target))
            return
        old_place = self._folder.path_of(state.file)
        if standing is None and old_place is not None and old_place != path:
            # A rename brings the content along: wait for the old path's turn.
            self.consider(old_place)
            if path in self._busy or self._folder.path_of(state.file) == old_place:
                return
        is_here = self._folder.holds(blob) and blob not in self._doubted
        if not (blob in self._ready or is_here):
            self._obtain(path, state, blob, size)
            return
        write = FileWrite(
            path,
            blob,
            mode,
            standing.blob if standing else None,
            standing.mode if standing else None,
        )
        needs_archive = standing is not None and standing.blob not in self._folder.archived
        self._begin(path, target, write, needs_archive=needs_archive)

    def _obtain(self, path: str, state: FileState, blob: BlobHash, size: int) -> None:
        """Get a content that is not here: compute it from its root, or fetch it.

        A text's root is fetched even when the head could be: later merges need it.
        """
        self._waiting.setdefault(blob, {})[path] = None
        heads = winning(state)
        can_merge = all(h.kind is EntryKind.UPDATE and h.is_text for h in heads)
        if not can_merge or self._unmergeable.get(state.file) == state.refs():
            self.wanted[blob] = (state.file, size)
            return
        if state.root(heads[0].lineage).blob in self._rootless:
            self.wanted[blob] = (state.file, size)
        self._want_merge(state)

    def _want_merge(self, state: FileState) -> None:
        if state.file in self._merging:
            return
        heads = winning(state)
        root = state.root(heads[0].lineage)
        refs = tuple(head.ref for head in heads)
        is_hopeless = self._unmergeable.get(state.file) == state.refs()
        is_here = root.blob in self._ready or self._folder.holds(root.blob)
        if is_hopeless or not is_here:
            path = self._ledger.index.path_of(state.file)
            if path is not None:
                self._waiting.setdefault(root.blob, {})[path] = None
            self.shelf[root.blob] = state.file
            self.wanted[root.blob] = (state.file, root.size)
            return
        source = self._folder.source(root.blob)
        lineage = self._ledger.lineage_of(state.file, root.ref, source)
        self._to_merge[state.file] = TextAt(lineage, refs)

    def _begin(
        self, path: str, target: Standing | None, write: FileWrite, *, needs_archive: bool
    ) -> None:
        self._busy[path] = target
        self.busy_bytes += target.size if target else 0
        disk = self._folder.get(path) or DiskState(None, None)
        self._folder.put(path, replace(disk, planned=target))
        source = self._folder.source(write.blob) if write.blob is not None else None
        self._planned.append(PlannedWrite(write, source, archive_first=needs_archive))

    def take_writes(self) -> list[ApplyWrites]:
        """Hand out the planned writes; their plans must be persisted before they run."""
        planned, self._planned = self._planned, []
        return [
            ApplyWrites(tuple(planned[i : i + WRITES_PER_JOB_MAX]))
            for i in range(0, len(planned), WRITES_PER_JOB_MAX)
        ]

    def take_merges(self) -> list[Materialise]:
        """Hand out the merges that gathered."""
        items = list(self._to_merge.values())
        self._to_merge.clear()
        for item in items:
            self._merging[item.lineage.file] = item.heads
        return [
            Materialise(tuple(items[i : i + MATERIALISE_PER_JOB_MAX]))
            for i in range(0, len(items), MATERIALISE_PER_JOB_MAX)
        ]

    # --- results -----------------------------------------------------------------------------

    def on_content(self, blobs: Iterable[BlobHash]) -> list[str]:
        """Take note of contents at hand; returns the paths that waited for them."""
        paths: list[str] = []
        for blob in blobs:
            self.wanted.pop(blob, None)
            self._unmergeable.clear()
            self._rootless.discard(blob)
            self._doubted.discard(blob)
            if blob in self._waiting:
                self._ready.add(blob)
                paths.extend(self._waiting.pop(blob))
        return paths

    def end_merge(self, file: FileId) -> tuple[EntryRef, ...]:
        """Close a merge and return the heads it was asked for."""
        return self._merging.pop(file, ())

    def give_up_merge(self, state: FileState) -> None:
        """Remember that this frontier cannot be merged with what is here."""
        self._unmergeable[state.file] = state.refs()

    def on_applied(self, result: WritesApplied, now_ms: int) -> tuple[list[str], list[Observation]]:
        """Take note of what the disk did.

        Returns the paths to consider again, and what stood there unexpectedly.
        """
        self._folder.mark_archived(result.archived)
        again: list[str] = []
        unexpected: list[Observation] = []
        for planned, outcome in zip(result.writes, result.results, strict=True):
            path = planned.write.path
            target = self._busy.pop(path, None)
            self.busy_bytes -= target.size if target else 0
            if planned.write.moved_from is not None:
                self._busy.pop(planned.write.moved_from, None)
                again.append(planned.write.moved_from)
            again.append(path)
            disk = self._folder.get(path) or DiskState(None, None)
            if planned.write.blob is not None:
                self._ready.discard(planned.write.blob)
            is_applied = outcome.outcome is WriteOutcome.APPLIED
            if planned.write.moved_from is not None:
                self._end_move(planned.write.moved_from, target, is_applied=is_applied)
            if is_applied:
                self.failed.pop(path, None)
                again.extend(self._displaced_to(disk.now, target))
                if target is None:
                    self._folder.put(path, None)
                else:
                    self._folder.put(path, _written(disk, target, outcome.stat, now_ms))
                continue
            is_nothing = disk.now is None
            kept = None if is_nothing else replace(disk, planned=None, is_leaving=False)
            self._folder.put(path, kept)
            if outcome.outcome is WriteOutcome.UNEXPECTED:
                if outcome.found is not None:
                    unexpected.append(outcome.found)
            else:
                self.failed[path] = (now_ms, outcome.problem or "the disk refused")
                again.remove(path)
                blob = planned.write.blob
                if blob is not None and blob not in self._folder.archived:
                    # Perhaps no file holds it any more that is believed to: ask others.
                    self._doubted.add(blob)
        return again, unexpected

    def _displaced_to(self, old: Standing | None, new: Standing | None) -> list[str]:
        """Return where a file has its place now that had to make way for another."""
        if old is None or (new is not None and new.file == old.file):
            return []
        place = self._ledger.index.path_of(old.file)
        return [] if place is None else [place]

    def _end_move(self, old: str, target: Standing | None, *, is_applied: bool) -> None:
        """Forget what a move took away, unless somebody has put another file there."""
        disk = self._folder.get(old)
        if disk is None:
            return
        is_it = disk.now is not None and target is not None and disk.now.file == target.file
        self._folder.put(old, None if is_applied and is_it else replace(disk, is_leaving=False))

    def take_retries(self, now_ms: int) -> list[str]:
        """Return paths whose time to try again has come: failed, or waiting for a content.

        What is waited for is found out anew: a content that nobody has may be superseded.
        """
        waiting: list[str] = []
        if now_ms - self._refreshed_ms >= RETRY_WANT_MS:
            self._refreshed_ms = now_ms
            self._unmergeable.clear()
            self._doubted.clear()
            for paths in self._waiting.values():
                waiting.extend(paths)
            self._waiting.clear()
            for blob, file in list(self.shelf.items()):
                path = self._ledger.index.path_of(file)
                if not self._folder.holds(blob):
                    del self.shelf[blob]
                    self._rootless.add(blob)
                    waiting.extend((path,) if path is not None else ())
        due = [p for p, (since, _) in self.failed.items() if now_ms - since >= RETRY_WRITE_MS]
        for path in due:
            self.failed[path] = (now_ms, self.failed[path][1])
        return due + sorted(waiting)


def _written(old: DiskState, target: Standing, stat: FileStat | None, now_ms: int) -> DiskState:
    """Return the state of a path after our write."""
    if old.before is not None and old.now is not None and old.now.blob == target.blob:
        # Only the mode is another: who read before our last change of the content still did.
        return DiskState(target, stat, before=old.before, written_ms=old.written_ms)
    return DiskState(target, stat, before=old.now, written_ms=now_ms)
