"""From the ledger to the folder: what has to change on the disk, and what came of it.

A write is planned only when nobody else is at work on the file or the path, its content is at
hand, and the plan is on record (``DiskState.planned``): content that turns up after a crash and
equals the plan is ours, not somebody's edit.
"""

from __future__ import annotations

from collections.abc import Callable, KeysView

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
from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.ports.filetree import FileStat, FileWrite, Observation, WriteOutcome
from aiplatform.mesh_ide.ports.jobs import (
    ApplyWrites,
    PlannedWrite,
    WritesApplied,
)
from aiplatform.mesh_ide.workspace.core_needs import Needs
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import (
    RETRY_WRITE_MS,
    WRITES_PER_JOB_MAX,
    DiskState,
    Standing,
)


class Applier:
    """Brings the folder to the ledger's state.

    Invariant: a path in ``_busy`` has exactly one write planned or under way.
    """

    def __init__(
        self, ledger: Ledger, folder: Folder, needs: Needs, is_waiting: Callable[[str], bool]
    ) -> None:
        self._ledger = ledger
        self._is_waiting = is_waiting
        self._folder = folder
        self._needs = needs
        self._busy: dict[str, Standing | None] = {}
        self._planned: list[PlannedWrite] = []
        self.failed: dict[str, tuple[int, str]] = {}
        self.refused: list[tuple[str, str]] = []
        """Paths in ``failed`` that nobody was told of yet, with the reason."""
        self._missed: set[str] = set()
        """Paths of which something changed while a write to them was under way."""
        self.busy_bytes = 0

    def is_busy(self, path: str) -> bool:
        """Return whether a write to this path is under way."""
        return path in self._busy

    def is_busy_at(self, paths: KeysView[str]) -> bool:
        """Return whether a write to one of these paths is under way."""
        return not self._busy.keys().isdisjoint(paths)

    @property
    def outstanding(self) -> int:
        """Return how many writes are planned or under way."""
        return len(self._busy)

    # --- planning ----------------------------------------------------------------------------

    def consider(self, path: str) -> None:
        """Plan what this path needs, if anything; whatever hinders it calls again later."""
        if path in self._busy:
            self._missed.add(path)
            return
        if self._folder.is_held(path) or self._is_waiting(path):
            return
        standing = self._folder.standing(path)
        if standing is not None and self._needs_nothing(path, standing):
            return
        owner = self._ledger.index.owner(path)
        is_folder = self._ledger.index.has_below(path)
        self._shelve_hidden(path, None if is_folder else owner)
        if owner is None or is_folder:
            if standing is not None and standing.heads:
                self._plan_absence(path, standing)
            elif standing is None:
                self.failed.pop(path, None)  # what could not be written is not wanted any more
            return
        if self._ledger.is_claimed(owner):
            return
        state = self._ledger.state(owner)
        assert state is not None, "an owner has a state"
        content = content_of(state)
        if content is None:
            self._needs.want_merge(state)
            return
        self._plan_presence(path, standing, state, content)

    def _needs_nothing(self, path: str, standing: Standing) -> bool:
        """Return whether there is nothing to do, or somebody else is at work on the file."""
        if self._is_agreed(path, standing):
            self.failed.pop(path, None)  # somebody saved the very content that we could not write
            return True
        return self._ledger.is_claimed(standing.file)

    def _is_agreed(self, path: str, standing: Standing) -> bool:
        """Return whether one file with one head claims the path, and stands there (the usual)."""
        index = self._ledger.index
        if index.claims(path) != (standing.file,) or index.has_below(path):
            return False
        state = self._ledger.state(standing.file)
        if state is None or len(state.heads) != 1:
            return False
        head = state.heads[0]
        return (
            standing.heads == (head.ref,)
            and standing.blob == head.blob
            and standing.mode == head.mode
        )

    def _shelve_hidden(self, path: str, shown: FileId | None) -> None:
        """See to contents that stand nowhere: other claims on the path, rivals in a conflict."""
        for file in self._ledger.index.claims(path):
            state = self._ledger.state(file)
            if state is None or (file == shown and len(state.heads) == 1):
                continue
            winners = winning(state)
            for head in living(state):
                if head not in winners:
                    self._needs.keep_rival(state, head)
            if file == shown or not winners:
                continue
            content = content_of(state)
            if content is None:
                self._needs.want_merge(state)
            elif self._needs.keep(content[0], file):
                self._needs.obtain(path, state, *content)

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
            self.failed.pop(path, None)  # somebody else brought it there
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
        if not self._needs.is_here(blob):
            self._needs.obtain(path, state, blob, size)
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

    # --- results -----------------------------------------------------------------------------

    def on_applied(self, result: WritesApplied, now_ms: int) -> tuple[list[str], list[Observation]]:
        """Take note of what the disk did.

        Returns the paths to consider again, and what stood there unexpectedly.
        """
        self._folder.mark_archived(result.archived)
        again: list[str] = []
        unexpected: list[Observation] = []
        for planned, outcome in zip(result.writes, result.results, strict=True):
            path, moved_from = planned.write.path, planned.write.moved_from
            target = self._busy.pop(path, None)
            self.busy_bytes -= target.size if target else 0
            disk = self._folder.get(path) or DiskState(None, None)
            if planned.write.blob is not None:
                self._needs.written(planned.write.blob)
            is_applied = outcome.outcome is WriteOutcome.APPLIED
            # A plain write brings what the ledger says; a move brings what stood there before.
            is_final = is_applied and target is not None and moved_from is None
            if path in self._missed or not is_final:
                self._missed.discard(path)
                again.append(path)
            if moved_from is not None:
                self._busy.pop(moved_from, None)
                self._missed.discard(moved_from)
                again.append(moved_from)
                self._end_move(moved_from, target, is_applied=is_applied)
            if is_applied:
                self.failed.pop(path, None)
                again.extend(self._displaced_to(disk.now, target))
                written = None if target is None else _written(disk, target, outcome.stat, now_ms)
                self._folder.put(path, written)
                continue
            is_nothing = disk.now is None
            kept = None if is_nothing else replace(disk, planned=None, is_leaving=False)
            self._folder.put(path, kept)
            if outcome.outcome is WriteOutcome.UNEXPECTED:
                if outcome.found is not None:
                    unexpected.append(outcome.found)
            else:
                again.remove(path)
                self._fail(path, planned.write.blob, outcome.problem, now_ms)
        return again, unexpected

    def _fail(self, path: str, blob: BlobHash | None, problem: str | None, now_ms: int) -> None:
        problem = problem or "the disk refused"
        if self.failed.get(path, (0, ""))[1] != problem:
            self.refused.append((path, problem))
        self.failed[path] = (now_ms, problem)
        if blob is not None:
            self._needs.doubt(blob)

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
        """Return paths that failed and whose time to try again has come."""
        due = [p for p, (since, _) in self.failed.items() if now_ms - since >= RETRY_WRITE_MS]
        for path in due:
            self.failed[path] = (now_ms, self.failed[path][1])
        return due


def _written(old: DiskState, target: Standing, stat: FileStat | None, now_ms: int) -> DiskState:
    """Return the state of a path after our write."""
    if old.before is not None and old.now is not None and old.now.blob == target.blob:
        # Only the mode is another: who read before our last change of the content still did.
        return DiskState(target, stat, before=old.before, written_ms=old.written_ms)
    return DiskState(target, stat, before=old.now, written_ms=now_ms)
