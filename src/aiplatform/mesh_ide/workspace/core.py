"""The workspace core: one folder and one ledger, kept equal in both directions.

Observations come in, submissions go out (``core_observe``, ``core_deletions``); the ledger
changes, writes go out (``core_apply``). What follows gathers until ``flush``, which the owner calls
once after each event: never one job per file where there are thousands, and a path that several
parts touched is considered once.
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
from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.ports.filetree import Skipped
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
from aiplatform.mesh_ide.workspace.core_archiving import Archiving
from aiplatform.mesh_ide.workspace.core_deletions import Deletions
from aiplatform.mesh_ide.workspace.core_edits import Edits
from aiplatform.mesh_ide.workspace.core_needs import Needs
from aiplatform.mesh_ide.workspace.core_observe import Observer
from aiplatform.mesh_ide.workspace.core_taking import Taking
from aiplatform.mesh_ide.workspace.core_touched import Touched
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.notices import (
    ContentHeld,
    ContentWanted,
    FolderTrouble,
    WorkspaceNotice,
    WritesFailed,
)
from aiplatform.mesh_ide.workspace.records import (
    decode_disk,
    decode_hold,
)

APPLYING_MAX: Final = 2
"""Writes gather while two jobs are under way: each job ends with one sync of the disk."""

ROOT_RETRY_MS: Final = 2000
CONSIDERED_MAX: Final = 512
"""Paths considered in one turn, in at most 5 ms; the rest in the next one."""

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
        self._may_consider = CONSIDERED_MAX
        self._needs = Needs(ledger, self.folder)
        self.applier = Applier(ledger, self.folder, self._needs, self.deletions.is_waiting)
        self._touched = Touched(ledger, self.folder)
        self.taking = Taking(
            self.folder, self._observer, self._edits, self.deletions, self.applier, self._touched
        )
        self._archiving = Archiving(ledger, self.folder)
        self._is_busy = False
        self._to_observe: dict[str, None] = {}
        self._is_observing = False
        self._is_scanning = False
        self._rescan = False
        self._has_scanned = False
        self._must_scan_first = False
        """What we believe of the folder is from an earlier run: a write planned on that, before the
        scan told it from what was done meanwhile, would take somebody's edit for a new file."""
        self._awaiting: dict[int, list[ApplyWrites]] = {}
        self._applying = 0
        self._root_problem: str | None = None
        self._root_retry_ms = 0
        self._held_now: dict[FileId, None] = {}

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
        self.taking.skips.begin_scan()
        return [ScanFolder(self.folder.known_stats())]

    @property
    def skipped(self) -> dict[str, Skipped]:
        """Return what stays at home, and why."""
        return self.taking.skips.by_path

    @property
    def has_more(self) -> bool:
        """Return whether paths wait that the last ``flush`` left for the next one."""
        return bool(self._touched) and self._root_problem is None and not self._must_scan_first

    @property
    def has_scanned(self) -> bool:
        """Return whether the folder was looked at once since the start."""
        return self._has_scanned

    @property
    def outstanding(self) -> int:
        """Return how much the folder and the ledger still differ (0: nothing known)."""
        return (
            self.applier.outstanding
            + self._needs.outstanding
            + len(self._touched)
            + len(self._to_observe)
            + len(self._observer.look_again)
            + self._edits.deriving
            + len(self.deletions.vanished)
            + int(self._is_scanning or self._is_observing)
        )

    # --- the folder speaks -------------------------------------------------------------------

    def watch(self, paths: Iterable[str]) -> None:
        """The watcher saw something at these paths."""
        self._to_observe.update(dict.fromkeys(paths))

    def on_peer_ready(self) -> None:
        """Somebody came who may have what is missing here."""
        self._needs.hurry()

    def git_moved(self, now_ms: int) -> None:
        """Git moved HEAD or the index: what follows is its doing."""
        self._edits.git_moved_ms = now_ms

    def on_scanned(self, result: FolderScanned, now_ms: int) -> Out:
        """A part of the scan."""
        out: Out = [*self.taking.take(result.batch, now_ms, is_scan=len(self.folder) > 0)]
        if result.is_last:
            self._is_scanning = False
            out.extend(self.taking.end_scan(now_ms))
            self._has_scanned = result.problem is None or self._has_scanned
            self._must_scan_first = self._must_scan_first and not self._has_scanned
            out.extend(self._root(result.problem, now_ms))
            if result.problem is None:
                self.taking.skips.end_scan()
                # Also what a crash kept from being written is seen to now.
                self._touched.add(path for path, _ in self._ledger.index.owned())
                self._touched.add(self.folder.paths())
            if self._rescan:
                self._rescan = False
                out.extend(self.scan(now_ms))
        return out

    def on_observed(self, result: PathsObserved, now_ms: int) -> Out:
        """What stands at the paths we asked for."""
        self._is_observing = not result.is_last
        out: Out = [*self.taking.take(result.batch, now_ms)]
        if result.is_last:
            out.extend(self._root(result.problem, now_ms))
        return out

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

    # --- the ledger speaks -------------------------------------------------------------------

    def on_files_changed(self, notice: FilesChanged) -> None:
        """Files have another frontier."""
        self._needs.hurry()
        for file, ref in zip(notice.files, notice.written, strict=False):
            self._observer.on_written(file, ref)
        for path in self._observer.on_sealed(notice.tags):
            self._touched.path(path)
            standing = self.folder.standing(path)
            if standing is not None:
                self._touched.file(standing.file)
        for file in notice.files:
            self._touched.file(file)

    def on_freed(self, files: Iterable[FileId]) -> None:
        """Local operations on these files ended: whoever waited for them may go on."""
        for file in files:
            self._touched.file(file)
        self._look_again()

    def archive_roots(self) -> list[Job | Notice]:
        """Archive the first contents of texts that are being edited."""
        roots = self.folder.take_roots()
        return [ArchiveBlobs(roots)] if roots else []

    def take_settled(self) -> list[Write]:
        """Hand out the folder's records that belong to the entries now being committed."""
        return self.folder.take_settled()

    def on_paths_changed(self, notice: PathsChanged) -> None:
        """Files stand elsewhere in the tree."""
        self._needs.hurry()
        for change in notice.changes:
            if change.old is not None:
                self._touched.path(change.old)
            self._touched.file(change.file)

    def _look_again(self) -> None:
        """Observe paths again that had to wait for an operation on their file."""
        for path in list(self._observer.look_again):
            state = self.folder.get(path)
            if state is None or state.now is None or not self._ledger.is_claimed(state.now.file):
                del self._observer.look_again[path]
                self._to_observe[path] = None

    # --- results -----------------------------------------------------------------------------

    def on_derived(self, result: UpdatesDerived, now_ms: int) -> Out:
        """Operations of edits are known."""
        return [*self._edits.on_derived(result, now_ms)]

    def on_materialised(self, result: Materialised, now_ms: int) -> Out:
        """Merged contents are at hand (or cannot be had yet)."""
        out: Out = []
        for text in result.texts:
            out.extend(ArchiveBlobs((rival,)) for rival in self._needs.end_merge(text))
            state = self._ledger.state(text.file)
            self._touched.file(text.file)
            if state is None or tuple(h.ref for h in winning(state)) != text.heads:
                continue
            if text.blob is None:
                self._needs.give_up_merge(state)
                continue
            heads = winning(state)
            if len(heads) == 1 and heads[0].blob != text.blob:
                # The author's own hash says otherwise: fetch what the author had instead.
                self._needs.give_up_merge(state)
                self._ledger.replace_state(replace(state, fault="merge differs from its hash"))
                continue
            if len(heads) > 1:
                merged = Merged(text.heads, text.blob, text.size)
                self._ledger.replace_state(replace(state, merged=merged))
            if self._is_hidden(text.file) and not self.folder.holds(text.blob):
                self._needs.keep(text.blob, text.file)
                out.append(ArchiveBlobs((self.folder.source(text.blob),)))
            for path in self._needs.on_content((text.blob,)):
                self._touched.add((path,))
        return out

    def _is_hidden(self, file: FileId) -> bool:
        """Return whether a file stands nowhere: others own its path, or it is a folder."""
        index = self._ledger.index
        path = index.path_of(file)
        return path is not None and (index.owner(path) != file or index.has_below(path))

    def on_content(self, blobs: Iterable[BlobHash], now_ms: int) -> Out:
        """Contents arrived from a peer."""
        arrived = tuple(blobs)
        for path in self._needs.on_content(arrived):
            self._touched.add((path,))
        self._edits.retry_baseless(frozenset(arrived), now_ms)
        shelved = [blob for blob in arrived if blob in self._needs.shelf]
        out: Out = []
        if shelved:
            out.append(ArchiveBlobs(tuple(self.folder.source(blob) for blob in shelved)))
        return out

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
            self._touched.file(state.file)
            if not is_here:
                self._needs.shelve(blob, size, state.file)
        return []

    def on_applied(self, result: WritesApplied, now_ms: int) -> Out:
        """The disk did (or refused) what we asked."""
        self._applying -= 1
        out: Out = [*self.taking.applied(result, now_ms)]
        if self.applier.refused:
            out.append(WritesFailed(len(self.applier.refused), *self.applier.refused[0]))
            self.applier.refused.clear()
        return out

    def on_archived(self, result: BlobsArchived, now_ms: int) -> Out:
        """Contents are in the archive: go on with the next ones."""
        self._archiving.done(result, now_ms)
        for blob in result.archived:
            self._held_now.update(self._needs.shelf.pop(blob, {}))
        return self._archive(now_ms)

    def _archive(self, now_ms: int) -> Out:
        if self._is_scanning:
            return []
        quiet_ms = now_ms - self.taking.changed_ms
        return [*self._archiving.due(now_ms, quiet_ms, is_busy=self._is_busy)]

    def on_persisted(self, ticket: int) -> Out:
        """Plans are durable: the writes may begin."""
        return list(self._awaiting.pop(ticket, ()))

    # --- people ------------------------------------------------------------------------------

    def release(self, hold: int, now_ms: int) -> Out:
        """Let held changes through."""
        out: Out = [*self.deletions.release(hold, now_ms)]
        self._touched.add(self.deletions.decided)
        self.deletions.decided.clear()
        return out

    def reject(self, hold: int) -> None:
        """Undo held changes: the files come back."""
        self._touched.add(self.deletions.reject(hold))

    def take_decided(self) -> tuple[Write, ...]:
        """Hand out the records of holds that changed, to be answered once they are durable."""
        writes, self.deletions.unsaved = tuple(self.deletions.unsaved), []
        return writes

    # --- time --------------------------------------------------------------------------------

    def tick(self, now_ms: int, *, is_busy: bool = False) -> Out:
        """Let time pass: settle deletions, archive, retry.

        ``is_busy``: peers are being served; copying into the archive waits (with a limit).
        """
        out: Out = list(self.taking.settle(now_ms)) if self._root_problem is None else []
        self._touched.add(self.deletions.decided)
        self.deletions.decided.clear()
        if self._root_problem is not None and now_ms >= self._root_retry_ms:
            self._root_retry_ms = now_ms + ROOT_RETRY_MS
            self._to_observe["."] = None
        self._touched.add(self.applier.take_retries(now_ms))
        self._touched.add(self._needs.take_retries(now_ms))
        self._look_again()
        self._edits.retry_baseless(None, now_ms)
        out.extend(self.flush())
        self._is_busy = is_busy
        out.extend(self._archive(now_ms))
        if self.folder.has_unsaved() or self.deletions.unsaved:
            out.append(self._save())
        return out

    def _save(self) -> Persist:
        writes = self.folder.take_records() + self.deletions.unsaved
        self.deletions.unsaved = []
        return Persist(self._new_ticket(), tuple(writes))

    def begin_turn(self) -> None:
        """Allow ``CONSIDERED_MAX`` paths again, over all flushes of one event."""
        self._may_consider = CONSIDERED_MAX

    def flush(self) -> Out:
        """Consider the paths that were touched and hand out what gathered."""
        out: Out = []
        if self._root_problem is None and not self._must_scan_first:
            for path in self._touched.take(self._may_consider):
                self._may_consider -= 1
                self.applier.consider(path)
        out.extend(self.archive_roots())
        out.extend(self._edits.take_derivations())
        for blob, (file, size) in self._edits.bases_wanted.items():
            self._needs.shelve(blob, size, file)
            self._needs.hurry()
        self._edits.bases_wanted.clear()
        out.extend(self._needs.take_merges())
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
        if self._needs.wanted:
            wanted = self._needs.wanted
            out.append(
                ContentWanted(tuple((blob, size, file) for blob, (file, size) in wanted.items()))
            )
            self._needs.wanted = {}
        if self._to_observe and not self._is_observing:
            paths = tuple(self._to_observe)
            self._to_observe.clear()
            self._is_observing = True
            self.taking.skips.look_at(paths)
            out.append(ObservePaths(paths, self.folder.known_stats(paths)))
        return out
