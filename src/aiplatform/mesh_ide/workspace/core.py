"""The workspace core: one folder and one ledger, kept equal in both directions.

Observations come in, submissions go out (``core_observe``, ``core_deletions``); the ledger
changes, writes go out (``core_apply``). Every public method ends in ``_flush``, which hands out
what gathered, in batches: never one job per file where there are thousands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.authoring import Authoring
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import FilesChanged, Notice, PathsChanged
from aiplatform.mesh_ide.documents.state import Merged, winning
from aiplatform.mesh_ide.model.entries import Principal
from aiplatform.mesh_ide.model.ids import TREE_FILE, BlobHash, FileId
from aiplatform.mesh_ide.ports.filetree import Observation, ScanBatch, Skipped
from aiplatform.mesh_ide.ports.jobs import (
    ApplyWrites,
    ArchiveBlobs,
    BlobsArchived,
    FolderScanned,
    Job,
    Materialised,
    ObservePaths,
    PathsObserved,
    Persist,
    ScanFolder,
    UpdatesDerived,
    WritesApplied,
)
from aiplatform.mesh_ide.ports.store import Write
from aiplatform.mesh_ide.workspace.core_apply import Applier
from aiplatform.mesh_ide.workspace.core_deletions import Deletions
from aiplatform.mesh_ide.workspace.core_edits import Edits
from aiplatform.mesh_ide.workspace.core_observe import Observer
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.notices import (
    ContentHeld,
    ContentWanted,
    FolderTrouble,
    WorkspaceNotice,
)
from aiplatform.mesh_ide.workspace.records import (
    ARCHIVE_AFTER_MS,
    ARCHIVE_BUSY_MS,
    ARCHIVE_FEW,
    ARCHIVE_PER_JOB_MAX,
    ARCHIVE_ROOTS_AFTER_MS,
    DiskState,
    decode_disk,
    decode_hold,
)

APPLYING_MAX: Final = 2
"""Writes gather while two jobs are under way: each job ends with one sync of the disk."""

ROOT_RETRY_MS: Final = 2000
SKIPPED_MAX: Final = 10_000
"""What was skipped is listed for people; the list is bounded."""

Out = list[Job | Notice | WorkspaceNotice]


class WorkspaceCore:
    """Keeps the folder and the ledger equal.

    Invariants:
        1. at most one ``ObservePaths`` is under way.
        2. a write begins only after its plan is durable (``_awaiting``).
    """

    def __init__(
        self,
        ledger: Ledger,
        authoring: Authoring,
        principal: Principal,
        new_file_id: Callable[[], FileId],
        new_ticket: Callable[[], int],
    ) -> None:
        self.folder = Folder()
        self._ledger = ledger
        self._new_ticket = new_ticket
        self._observer = Observer(ledger, authoring, self.folder, principal, new_file_id)
        self._edits = Edits(ledger, self._observer, self.folder, principal)
        self.deletions = Deletions(ledger, self._observer, self.folder, principal)
        self.applier = Applier(ledger, self.folder)
        self._dirty: dict[str, None] = {}
        self._passed: set[str] = set()
        """Folders whose own paths were looked at since the last flush."""
        self._to_observe: dict[str, None] = {}
        self._is_observing = False
        self._is_scanning = False
        self._rescan = False
        self._has_scanned = False
        self._must_scan_first = False
        """What we believe of the folder is from an earlier run: a write planned on that, before the
        scan told it from what was done meanwhile, would take somebody's edit for a new file."""
        self._awaiting: dict[int, list[ApplyWrites]] = {}
        self._archiving = False
        self._applying = 0
        self._changed_ms = 0
        self._root_problem: str | None = None
        self._root_retry_ms = 0
        self._held_now: dict[FileId, None] = {}
        self.skipped: dict[str, Skipped] = {}

    # --- start -------------------------------------------------------------------------------

    def load(
        self,
        disk: Iterable[tuple[bytes, bytes]],
        holds: Iterable[bytes],
        archived: Iterable[BlobHash],
    ) -> None:
        """Take what was remembered."""
        self.folder.archived.update(archived)
        for key, value in disk:
            path, state = decode_disk(key, value)
            self.folder.load(path, state)
            self._must_scan_first = True
        for value in holds:
            self.deletions.load(decode_hold(value))

    def scan(self, now_ms: int) -> Out:
        """Look at the whole folder."""
        if self._is_scanning:
            self._rescan = True
            return []
        self._is_scanning = True
        return [ScanFolder(self.folder.known_stats()), *self._flush()]

    @property
    def has_scanned(self) -> bool:
        """Return whether the folder was looked at once since the start."""
        return self._has_scanned

    @property
    def outstanding(self) -> int:
        """Return how much the folder and the ledger still differ (0: nothing known)."""
        return (
            self.applier.outstanding
            + len(self._dirty)
            + len(self._to_observe)
            + len(self._observer.look_again)
            + self._edits.deriving
            + len(self.deletions.vanished)
            + int(self._is_scanning or self._is_observing)
        )

    # --- the folder speaks -------------------------------------------------------------------

    def watch(self, paths: Iterable[str], now_ms: int) -> Out:
        """The watcher saw something at these paths."""
        self._to_observe.update(dict.fromkeys(paths))
        return self._flush()

    def git_moved(self, now_ms: int) -> Out:
        """Git moved HEAD or the index: what follows is its doing."""
        self._edits.git_moved_ms = now_ms
        return self._flush()

    def on_scanned(self, result: FolderScanned, now_ms: int) -> Out:
        """A part of the scan."""
        out = self._take(result.batch, now_ms)
        if result.is_last:
            self._is_scanning = False
            self._has_scanned = result.problem is None or self._has_scanned
            self._must_scan_first = self._must_scan_first and not self._has_scanned
            out.extend(self._root(result.problem, now_ms))
            if result.problem is None:
                # Also what a crash kept from being written is seen to now.
                self._dirty.update((path, None) for path, _ in self._ledger.index.owned())
                self._dirty.update(dict.fromkeys(self.folder.paths()))
            if self._rescan:
                self._rescan = False
                out.extend(self.scan(now_ms))
        return out + self._flush()

    def on_observed(self, result: PathsObserved, now_ms: int) -> Out:
        """What stands at the paths we asked for."""
        self._is_observing = not result.is_last
        out = self._take(result.batch, now_ms)
        if result.is_last:
            out.extend(self._root(result.problem, now_ms))
        return out + self._flush()

    def _root(self, problem: str | None, now_ms: int) -> Out:
        if problem is not None:
            self._root_retry_ms = now_ms + ROOT_RETRY_MS
        if problem == self._root_problem:
            return []
        was, self._root_problem = self._root_problem, problem
        out: Out = [FolderTrouble(problem)]
        if problem is None and was is not None:
            out.extend(self.scan(now_ms))
        return out

    def _take(self, batch: ScanBatch, now_ms: int) -> Out:
        out: Out = []
        created: list[Observation] = []
        for skipped in batch.skipped:
            if len(self.skipped) < SKIPPED_MAX:
                self.skipped[skipped.path] = skipped
        for path in batch.unchanged:
            if self.deletions.is_waiting(path):
                self.deletions.came_back(path)
                self._dirty[path] = None
        for seen in batch.observations:
            out.extend(self._take_one(seen, created, now_ms))
        if created:
            commands, renamed = self._observer.take_new(created, self.deletions.vanished, now_ms)
            for path in renamed:
                self.deletions.came_back(path)
            out.extend(commands)
        if batch.observations:
            self._changed_ms = now_ms
        return out

    def _take_one(self, seen: Observation, created: list[Observation], now_ms: int) -> Out:
        """Take one observation; what stands at a new path is gathered in ``created``."""
        self.skipped.pop(seen.path, None)
        if seen.problem is not None:
            if seen.stat is not None:
                self._observer.look_again[seen.path] = None
            return []
        self._dirty[seen.path] = None
        state = self._recovered(seen, now_ms)
        if seen.stat is None:
            if state is not None and state.now is not None:
                self.deletions.vanish(seen.path, state.now, now_ms)
            return []
        if state is None or state.now is None:
            created.append(seen)
            return []
        self.deletions.came_back(seen.path)
        if state.now.blob != seen.blob or state.now.mode != seen.stat.mode:
            return list(self._edits.take_edit(seen, state, now_ms))
        if state.stat != seen.stat:
            self.folder.put(seen.path, replace(state, stat=seen.stat))
        return []

    def _recovered(self, seen: Observation, now_ms: int) -> DiskState | None:
        """Return the path's state; a write that a crash cut off counts if it took place."""
        state = self.folder.get(seen.path)
        if state is None or self.applier.is_busy(seen.path):
            return state
        if state.is_leaving:
            # A removal of ours that a crash cut off: done, or still to do.
            state = None if seen.stat is None else replace(state, is_leaving=False)
            self.folder.put(seen.path, state)
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
        self.folder.put(seen.path, state if state.now is not None else None)
        return state

    # --- the ledger speaks -------------------------------------------------------------------

    def on_files_changed(self, notice: FilesChanged, now_ms: int) -> Out:
        """Files have another frontier."""
        for file, ref in zip(notice.files, notice.written, strict=False):
            self._observer.on_written(file, ref)
        for path in self._observer.on_sealed(notice.tags):
            self._touch_path(path)
            standing = self.folder.standing(path)
            if standing is not None:
                self._touch(standing.file)
        for file in notice.files:
            self._touch(file)
        return self._flush()

    def on_freed(self, files: Iterable[FileId], now_ms: int) -> Out:
        """Local operations on these files ended: whoever waited for them may go on."""
        for file in files:
            self._touch(file)
        self._look_again()
        return self._flush()

    def archive_roots(self) -> list[Job | Notice]:
        """Archive the first contents of texts that are being edited."""
        roots = self.folder.take_roots()
        return [ArchiveBlobs(roots)] if roots else []

    def take_settled(self) -> list[Write]:
        """Hand out the folder's records that belong to the entries now being committed."""
        return self.folder.take_settled()

    def on_paths_changed(self, notice: PathsChanged, now_ms: int) -> Out:
        """Files stand elsewhere in the tree."""
        for change in notice.changes:
            if change.old is not None:
                self._touch_path(change.old)
            self._touch(change.file)
        return self._flush()

    def _look_again(self) -> None:
        """Observe paths again that had to wait for an operation on their file."""
        for path in list(self._observer.look_again):
            state = self.folder.get(path)
            if state is None or state.now is None or not self._ledger.is_claimed(state.now.file):
                del self._observer.look_again[path]
                self._to_observe[path] = None

    def _touch(self, file: FileId) -> None:
        if file == TREE_FILE:
            return
        place, here = self._ledger.index.path_of(file), self.folder.path_of(file)
        if place is not None:
            self._touch_path(place)
        if here is not None and here != place:
            self._touch_path(here)

    def _touch_path(self, path: str) -> None:
        """Consider a path, and files that stand where its folders should be."""
        if path in self._dirty:
            return
        self._dirty[path] = None
        end = path.rfind("/")
        while end > 0:
            above = path[:end]
            if above in self._passed:
                return
            self._passed.add(above)
            if self.folder.get(above) is not None or self._ledger.index.owner(above) is not None:
                self._dirty[above] = None
            end = path.rfind("/", 0, end)

    # --- results -----------------------------------------------------------------------------

    def on_derived(self, result: UpdatesDerived, now_ms: int) -> Out:
        """Operations of edits are known."""
        return self._edits.on_derived(result, now_ms) + self._flush()

    def on_materialised(self, result: Materialised, now_ms: int) -> Out:
        """Merged contents are at hand (or cannot be had yet)."""
        out: Out = []
        for text in result.texts:
            self.applier.end_merge(text.file)
            state = self._ledger.state(text.file)
            self._touch(text.file)
            if state is None or tuple(h.ref for h in winning(state)) != text.heads:
                continue
            if text.blob is None:
                self.applier.give_up_merge(state)
                continue
            heads = winning(state)
            if len(heads) == 1 and heads[0].blob != text.blob:
                # The author's own hash says otherwise: fetch what the author had instead.
                self.applier.give_up_merge(state)
                self._ledger.replace_state(replace(state, fault="merge differs from its hash"))
                continue
            if len(heads) > 1:
                merged = Merged(text.heads, text.blob, text.size)
                self._ledger.replace_state(replace(state, merged=merged))
            if self._is_hidden(text.file) and not self.folder.holds(text.blob):
                self.applier.shelf[text.blob] = text.file
                out.append(ArchiveBlobs((self.folder.source(text.blob),)))
            for path in self.applier.on_content((text.blob,)):
                self._dirty[path] = None
        return out + self._flush()

    def _is_hidden(self, file: FileId) -> bool:
        """Return whether a file stands nowhere: others own its path, or it is a folder."""
        index = self._ledger.index
        path = index.path_of(file)
        return path is not None and (index.owner(path) != file or index.has_below(path))

    def on_content(self, blobs: Iterable[BlobHash], now_ms: int) -> Out:
        """Contents arrived from a peer."""
        arrived = tuple(blobs)
        for path in self.applier.on_content(arrived):
            self._dirty[path] = None
        self._edits.retry_baseless(frozenset(arrived), now_ms)
        shelved = [blob for blob in arrived if blob in self.applier.shelf]
        out: Out = []
        if shelved:
            out.append(ArchiveBlobs(tuple(self.folder.source(blob) for blob in shelved)))
        return out + self._flush()

    def on_content_lost(self, blob: BlobHash, now_ms: int) -> Out:
        """An archived content rotted: it is archived again from the folder, or fetched."""
        self.folder.archived.discard(blob)
        is_here = self.folder.holds(blob)
        if is_here:
            self.folder.unarchived[blob] = None
        for state in self._ledger.states():
            named = [(h.blob, h.size) for h in state.heads]
            named.extend((root.blob, root.size) for root in state.roots)
            if state.merged is not None:
                named.append((state.merged.blob, state.merged.size))
            size = dict(named).get(blob)
            if size is None:
                continue
            self._held_now[state.file] = None
            self._touch(state.file)
            if not is_here:
                self.applier.shelf[blob] = state.file
                self.applier.wanted[blob] = (state.file, size)
        return self._flush()

    def on_applied(self, result: WritesApplied, now_ms: int) -> Out:
        """The disk did (or refused) what we asked."""
        self._applying -= 1
        again, unexpected = self.applier.on_applied(result, now_ms)
        self._dirty.update(dict.fromkeys(again))
        for path in again:
            standing = self.folder.standing(path)
            if standing is not None:
                self._held_now[standing.file] = None
        out = self._take(ScanBatch(tuple(unexpected), (), ()), now_ms) if unexpected else []
        self._changed_ms = now_ms
        return out + self._flush()

    def on_archived(self, result: BlobsArchived, now_ms: int) -> Out:
        """Contents are in the archive."""
        self._archiving = False
        self.folder.mark_archived(result.archived)
        for blob in result.archived:
            file = self.applier.shelf.pop(blob, None)
            if file is not None:
                self._held_now[file] = None
        for blob in result.missing:
            self.folder.unarchived.pop(blob, None)
        return self._flush()

    def on_persisted(self, ticket: int) -> Out:
        """Plans are durable: the writes may begin."""
        return list(self._awaiting.pop(ticket, ()))

    # --- people ------------------------------------------------------------------------------

    def release(self, hold: int, now_ms: int) -> Out:
        """Let held changes through."""
        out = self.deletions.release(hold, now_ms)
        self._dirty.update(dict.fromkeys(self.deletions.decided))
        self.deletions.decided.clear()
        return out + self._flush()

    def reject(self, hold: int, now_ms: int) -> Out:
        """Undo held changes: the files come back."""
        self._dirty.update(dict.fromkeys(self.deletions.reject(hold)))
        return self._flush()

    # --- time --------------------------------------------------------------------------------

    def tick(self, now_ms: int, *, is_busy: bool = False) -> Out:
        """Let time pass: settle deletions, archive, retry.

        ``is_busy``: peers are being served; copying into the archive waits (with a limit).
        """
        out: Out = list(self.deletions.tick(now_ms)) if self._root_problem is None else []
        self._dirty.update(dict.fromkeys(self.deletions.decided))
        self.deletions.decided.clear()
        if self._root_problem is not None and now_ms >= self._root_retry_ms:
            self._root_retry_ms = now_ms + ROOT_RETRY_MS
            self._to_observe["."] = None
        self._dirty.update(dict.fromkeys(self.applier.take_retries(now_ms)))
        self._look_again()
        self._edits.retry_baseless(None, now_ms)
        out.extend(self._flush())
        out.extend(self._archive(now_ms, is_busy=is_busy))
        if self.folder.has_unsaved() or self.deletions.unsaved:
            out.append(self._save())
        return out

    def _archive(self, now_ms: int, *, is_busy: bool) -> Out:
        if self._archiving or self._is_scanning or not self.folder.unarchived:
            return []
        quiet_ms = now_ms - self._changed_ms
        if quiet_ms >= (ARCHIVE_BUSY_MS if is_busy else ARCHIVE_AFTER_MS):
            blobs = list(self.folder.unarchived)[:ARCHIVE_PER_JOB_MAX]
        elif quiet_ms >= ARCHIVE_ROOTS_AFTER_MS and len(self.folder.unarchived) <= ARCHIVE_FEW:
            blobs = [blob for blob in self.folder.unarchived if self._is_root(blob)]
        else:
            blobs = []
        if not blobs:
            return []
        self._archiving = True
        return [ArchiveBlobs(tuple(self.folder.source(blob) for blob in blobs))]

    def _is_root(self, blob: BlobHash) -> bool:
        """Return whether later merges of a file build on this content."""
        path = self.folder.source(blob).path
        standing = self.folder.standing(path) if path is not None else None
        state = self._ledger.state(standing.file) if standing is not None else None
        return state is not None and any(root.blob == blob for root in state.roots)

    def _save(self) -> Persist:
        writes = self.folder.take_records() + self.deletions.unsaved
        self.deletions.unsaved = []
        return Persist(self._new_ticket(), tuple(writes))

    def _flush(self) -> Out:
        out: Out = []
        self._passed.clear()
        while self._dirty and self._root_problem is None and not self._must_scan_first:
            path = next(iter(self._dirty))
            del self._dirty[path]
            if not self.deletions.is_waiting(path):
                self.applier.consider(path)
        out.extend(self.archive_roots())
        out.extend(self._edits.take_derivations())
        for blob, (file, size) in self._edits.bases_wanted.items():
            self.applier.shelf[blob] = file
            self.applier.wanted[blob] = (file, size)
        self._edits.bases_wanted.clear()
        out.extend(self.applier.take_merges())
        writes = self.applier.take_writes() if self._applying < APPLYING_MAX else []
        if writes:
            self._applying += len(writes)
            saving = self._save()
            self._awaiting[saving.ticket] = writes
            out.append(saving)
        self._held_now.update(dict.fromkeys(self.folder.take_placed()))
        if self._held_now:
            out.append(ContentHeld(tuple(self._held_now)))
            self._held_now.clear()
        if self.applier.wanted:
            wanted = self.applier.wanted
            out.append(
                ContentWanted(tuple((blob, size, file) for blob, (file, size) in wanted.items()))
            )
            self.applier.wanted = {}
        if self._to_observe and not self._is_observing:
            paths = tuple(self._to_observe)
            self._to_observe.clear()
            self._is_observing = True
            out.append(ObservePaths(paths, self.folder.known_stats(paths)))
        return out
