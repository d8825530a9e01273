"""What the disk was seen to hold, told apart: an edit, a new file, a deletion, our own write."""

from __future__ import annotations

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.ports.filetree import Observation, ScanBatch, Skipped
from aiplatform.mesh_ide.ports.jobs import Job
from aiplatform.mesh_ide.workspace.core_apply import Applier
from aiplatform.mesh_ide.workspace.core_deletions import Deletions
from aiplatform.mesh_ide.workspace.core_edits import Edits
from aiplatform.mesh_ide.workspace.core_observe import Observer
from aiplatform.mesh_ide.workspace.core_touched import Touched
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import DiskState

SKIPPED_MAX = 10_000
"""What was skipped is listed for people; the list is bounded."""


class Taking:
    """Hands each observation to whom it concerns."""

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
        """What a scan met where nothing stood. The end of the scan tells what is gone, and only
        then can a new path be the other half of a rename."""
        self.skipped: dict[str, Skipped] = {}
        self.changed_ms = 0
        """When something was seen to change last."""

    def end_scan(self, now_ms: int) -> list[Job | Notice]:
        """Take what the scan met at new paths, now that it is known what is gone."""
        new = tuple(self._new_in_scan.values())
        self._new_in_scan.clear()
        return self.take(ScanBatch(new, (), ()), now_ms) if new else []

    def take(self, batch: ScanBatch, now_ms: int, *, is_scan: bool = False) -> list[Job | Notice]:
        """Take one batch; ``is_scan``: new paths wait for ``end_scan``."""
        out: list[Job | Notice] = []
        created: list[Observation] = []
        for skipped in batch.skipped:
            if len(self.skipped) < SKIPPED_MAX:
                self.skipped[skipped.path] = skipped
        for path in batch.unchanged:
            if self._deletions.is_waiting(path):
                self._deletions.came_back(path)
                self._touched.add((path,))
        for seen in batch.observations:
            self._new_in_scan.pop(seen.path, None)
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
        self.skipped.pop(seen.path, None)
        if seen.problem is not None:
            if seen.stat is not None:
                self._observer.look_again[seen.path] = None
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

    def _recovered(self, seen: Observation, now_ms: int) -> DiskState | None:
        """Return the path's state; a write that a crash cut off counts if it took place."""
        state = self._folder.get(seen.path)
        if state is None or self._applier.is_busy(seen.path):
            return state
        if state.is_leaving:
            # A removal of ours that a crash cut off: done, or still to do.
            state = None if seen.stat is None else replace(state, is_leaving=False)
            self._folder.put(seen.path, state)
        if state is None or state.planned is None:
            return state
        if seen.stat is not None and seen.blob == state.planned.blob:
            state = DiskState(state.planned, seen.stat, before=state.now)
        elif seen.stat is None or state.now is None or seen.blob == state.now.blob:
            state = replace(state, planned=None)
        else:
            # Somebody's edit, of what stood before our write or of what we wrote: both are
            # possible, and the difference will tell.
            state = DiskState(state.planned, None, before=state.now, written_ms=now_ms)
        self._folder.put(seen.path, state if state.now is not None else None)
        return state
