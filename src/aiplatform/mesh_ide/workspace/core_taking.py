"""What the disk was seen to hold, told apart: an edit, a new file, a deletion, our own write."""

from __future__ import annotations

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.ports.filetree import (
    FileStat,
    Observation,
    ScanBatch,
    WriteOutcome,
)
from aiplatform.mesh_ide.ports.jobs import Job, WritesApplied
from aiplatform.mesh_ide.workspace.core_apply import Applier
from aiplatform.mesh_ide.workspace.core_deletions import Deletions
from aiplatform.mesh_ide.workspace.core_edits import Edits
from aiplatform.mesh_ide.workspace.core_observe import Observer
from aiplatform.mesh_ide.workspace.core_skips import Skips
from aiplatform.mesh_ide.workspace.core_touched import Touched
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import DiskState


class Taking:
    """Hands each observation to whom it concerns.

    Invariant: no new file is taken at a path to which a write of ours is under way.
    """

    def __init__(  # noqa: PLR0913 - it stands between the parts
        self,
        folder: Folder,
        observer: Observer,
        edits: Edits,
        deletions: Deletions,
        applier: Applier,
        touched: Touched,
    ) -> None:
        self._folder = folder
        self._observer = observer
        self._edits = edits
        self._deletions = deletions
        self._applier = applier
        self._touched = touched
        self._new_in_scan: dict[str, Observation] = {}
        """What a scan met where nothing stood, or where we were taking something away. The end of
        the scan tells what is gone, and only then can a new path be the other half of a rename."""
        self._behind_writes: set[str] = set()
        """Where a new file was seen while a write of ours was under way: to be looked at again."""
        self.skips = Skips()
        self.changed_ms = 0
        """When something was seen to change last."""

    def end_scan(self, now_ms: int) -> list[Job | Notice]:
        """Take what the scan met at new paths, now that it is known what is gone."""
        new = tuple(self._new_in_scan.values())
        self._new_in_scan.clear()
        return self.take(ScanBatch(new, (), ()), now_ms) if new else []

    def settle(self, now_ms: int) -> list[Job | Notice]:
        """Decide what became of paths that vanished, unless a write of ours will tell more.

        What waits behind a write may be the other half of a rename.
        """
        if self._behind_writes or self._applier.is_busy_at(self._deletions.vanished.keys()):
            return []
        return self._deletions.tick(now_ms)

    def applied(self, result: WritesApplied, now_ms: int) -> list[Job | Notice]:
        """Take note of what the disk did, and of what stood there unexpectedly."""
        again, unexpected = self._applier.on_applied(result, now_ms)
        for planned, outcome in zip(result.writes, result.results, strict=True):
            write = planned.write
            if outcome.outcome is WriteOutcome.APPLIED and write.blob is not None:
                self._deletions.came_back(write.path)
            for path in (write.path, write.moved_from):
                if path is not None and path in self._behind_writes:
                    self._behind_writes.remove(path)
                    self._observer.look_again[path] = None
        self._touched.add(again)
        for path in again:
            standing = self._folder.standing(path)
            if standing is not None:
                self._folder.recheck(standing.file)
        self.changed_ms = now_ms
        return self.take(ScanBatch(tuple(unexpected), (), ()), now_ms) if unexpected else []

    def take(self, batch: ScanBatch, now_ms: int, *, is_scan: bool = False) -> list[Job | Notice]:
        """Take one batch; ``is_scan``: new paths wait for ``end_scan``."""
        out: list[Job | Notice] = []
        created: list[Observation] = []
        self.skips.meet(batch.skipped)
        for path in batch.unchanged:
            if self._deletions.is_waiting(path):
                self._deletions.came_back(path)
                self._touched.add((path,))
        for seen in batch.observations:
            self._new_in_scan.pop(seen.path, None)
            if is_scan and self._may_have_left(seen):
                self._new_in_scan[seen.path] = seen
                continue
            out.extend(self._take_one(seen, created, now_ms))
        if is_scan:
            self._new_in_scan.update((seen.path, seen) for seen in created)
            created.clear()
        if created:
            vanished = self._deletions.vanished
            commands, renamed = self._observer.take_new(created, vanished, now_ms)
            for path in renamed:
                self._deletions.came_back(path)
            out.extend(commands)
        if batch.observations:
            self.changed_ms = now_ms
        return out

    def _take_one(
        self, seen: Observation, created: list[Observation], now_ms: int
    ) -> list[Job | Notice]:
        """Take one observation; what stands at a new path is gathered in ``created``."""
        self.skips.leave(seen.path)
        if seen.problem is not None:
            if seen.stat is not None:
                self._observer.look_again[seen.path] = None
            return []
        if self._must_wait(seen):
            self._behind_writes.add(seen.path)
            return []
        self._touched.add((seen.path,))
        state = self._recovered(seen, now_ms)
        if seen.stat is None:
            if state is not None and state.now is not None:
                self._deletions.vanish(seen.path, state.now, now_ms)
            return []
        if state is None or state.now is None:
            created.append(seen)
            return []
        self._deletions.came_back(seen.path)
        if state.now.blob != seen.blob or state.now.mode != seen.stat.mode:
            return self._edits.take_edit(seen, state, now_ms)
        if state.stat != seen.stat:
            self._folder.put(seen.path, replace(state, stat=seen.stat))
        return []

    def _must_wait(self, seen: Observation) -> bool:
        """Return whether it is a new file at a path to which a write of ours is under way.

        The write takes the path as it was before this came, or finds it there and says so. Taken
        now and gone before the write, it would be missed by nobody: what is looked for at the path
        from then on is what we wrote.
        """
        is_new = seen.stat is not None and self._folder.standing(seen.path) is None
        return is_new and self._applier.is_busy(seen.path)

    def _recovered(self, seen: Observation, now_ms: int) -> DiskState | None:
        """Return the path's state; a write that a crash cut off counts if it took place."""
        state = self._folder.get(seen.path)
        if state is None or self._applier.is_busy(seen.path):
            return state
        if state.is_leaving:
            # A removal of ours that a crash cut off: done, or still to do.
            is_there = seen.stat is not None
            is_done = self._has_left(seen) if is_there else not self._is_lost(seen.path, state)
            state = None if is_done else replace(state, is_leaving=False)
            self._folder.put(seen.path, state)
        if state is None or state.planned is None:
            return state
        planned, was = state.planned, None if state.now is None else state.now.blob
        if seen.stat is not None and seen.blob == planned.blob:
            state = DiskState(planned, seen.stat, before=state.now)
        elif seen.stat is None:
            pass  # it may be what we wrote that is gone: the plan tells so when that is decided on
        elif seen.blob == was:
            state = replace(state, planned=None)
        elif was is not None or self._has_moved(seen.stat, planned.file):
            # Somebody's edit, of what stood before our write or of what we wrote: both are
            # possible, and the difference will tell.
            state = DiskState(planned, None, before=state.now, written_ms=now_ms)
        else:
            state = replace(state, planned=None)
        self._folder.put(seen.path, state if state.now is not None else None)
        return state

    def _may_have_left(self, seen: Observation) -> bool:
        """Return whether another content stands where a crash cut off a removal of ours.

        If it was a move, the new path tells whether this is an edit or another file.
        """
        state = self._folder.get(seen.path)
        if state is None or state.now is None or not state.is_leaving:
            return False
        return seen.stat is not None and seen.blob != state.now.blob

    def _has_left(self, seen: Observation) -> bool:
        """Return whether what stood at a path was moved by us, and this is another file."""
        standing = self._folder.standing(seen.path)
        if standing is None or not self._may_have_left(seen):
            return False
        return self._folder.paths_of(standing.file) != (seen.path,)

    def _has_moved(self, stat: FileStat, file: FileId) -> bool:
        """Return whether this is what a move of ours was to take away from where it stood."""
        states = [self._folder.get(path) for path in self._folder.paths_of(file)]
        return any(
            state is not None
            and state.is_leaving
            and state.stat is not None
            and state.stat.inode == stat.inode
            for state in states
        )

    def _is_lost(self, path: str, state: DiskState) -> bool:
        """Return whether what stood at a path is gone, and was not removed by us.

        We archive what we remove, and what we move stands at its new path (what is gone is told
        after what is there). Somebody else removed it, or renamed it, while the node was down.
        """
        if state.now is None or state.now.blob in self._folder.archived:
            return False
        return self._folder.paths_of(state.now.file) == (path,)
