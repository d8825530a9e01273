"""The workspace core: one folder and one ledger, kept equal in both directions.

Observations come in, submissions go out (``core_observe``, ``core_deletions``); the ledger
changes, writes go out (``core_apply``). What follows gathers until ``flush``, which the owner calls
once after each event: never one job per file where there are thousands, and a path that several
parts touched is considered once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiplatform.mesh_ide.documents.authoring import Authoring
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import FilesChanged, Notice, PathsChanged
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
    PathsObserved,
    Persist,
    UpdatesDerived,
    WritesApplied,
)
from aiplatform.mesh_ide.ports.store import Write
from aiplatform.mesh_ide.workspace.core_apply import Applier
from aiplatform.mesh_ide.workspace.core_archiving import Archiving
from aiplatform.mesh_ide.workspace.core_arriving import Arriving
from aiplatform.mesh_ide.workspace.core_deletions import Deletions
from aiplatform.mesh_ide.workspace.core_edits import Edits
from aiplatform.mesh_ide.workspace.core_looking import Looking
from aiplatform.mesh_ide.workspace.core_needs import Needs
from aiplatform.mesh_ide.workspace.core_observe import Observer
from aiplatform.mesh_ide.workspace.core_taking import Taking
from aiplatform.mesh_ide.workspace.core_touched import Touched
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.notices import (
    ContentHeld,
    ContentWanted,
    WorkspaceNotice,
    WritesFailed,
)
from aiplatform.mesh_ide.workspace.records import (
    decode_disk,
    decode_hold,
)

APPLYING_MAX: Final = 2
"""Writes gather while two jobs are under way: each job ends with one sync of the disk."""

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
        self._looking = Looking(ledger, self.folder, self._observer, self.taking, self._touched)
        self._arriving = Arriving(ledger, self.folder, self._needs, self._edits, self._touched)
        self._archiving = Archiving(ledger, self.folder)
        self._is_busy = False
        self._awaiting: dict[int, list[ApplyWrites]] = {}
        self._applying = 0

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
            self._looking.must_scan_first = True
        for value in holds:
            self.deletions.load(decode_hold(value))

    def scan(self, now_ms: int) -> Out:
        """Look at the whole folder."""
        return [*self._looking.scan()]

    @property
    def skipped(self) -> dict[str, Skipped]:
        """Return what stays at home, and why."""
        return self.taking.skips.by_path

    @property
    def has_more(self) -> bool:
        """Return whether paths wait that the last ``flush`` left for the next one."""
        return bool(self._touched) and self._looking.may_write

    @property
    def has_scanned(self) -> bool:
        """Return whether the folder was looked at once since the start."""
        return self._looking.has_scanned

    @property
    def outstanding(self) -> int:
        """Return how much the folder and the ledger still differ (0: nothing known)."""
        return (
            self.applier.outstanding
            + self._needs.outstanding
            + len(self._touched)
            + self._looking.outstanding
            + self._edits.deriving
            + len(self.deletions.vanished)
        )

    # --- the folder speaks -------------------------------------------------------------------

    def watch(self, paths: Iterable[str]) -> None:
        """The watcher saw something at these paths."""
        self._looking.at(paths)

    def on_peer_ready(self) -> None:
        """Somebody came who may have what is missing here."""
        self._needs.hurry()

    def git_moved(self, now_ms: int) -> None:
        """Git moved HEAD or the index: what follows is its doing."""
        self._edits.git_moved_ms = now_ms

    def on_scanned(self, result: FolderScanned, now_ms: int) -> Out:
        """A part of the scan."""
        return [*self._looking.on_scanned(result, now_ms)]

    def on_observed(self, result: PathsObserved, now_ms: int) -> Out:
        """What stands at the paths we asked for."""
        return [*self._looking.on_observed(result, now_ms)]

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
        self._looking.again()

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

    # --- results -----------------------------------------------------------------------------

    def on_derived(self, result: UpdatesDerived, now_ms: int) -> Out:
        """Operations of edits are known."""
        return [*self._edits.on_derived(result, now_ms)]

    def on_materialised(self, result: Materialised, now_ms: int) -> Out:
        """Merged contents are at hand (or cannot be had yet)."""
        return [*self._arriving.on_materialised(result)]

    def on_content(self, blobs: Iterable[BlobHash], now_ms: int) -> Out:
        """Contents arrived from a peer."""
        return [*self._arriving.on_content(blobs, now_ms)]

    def on_content_lost(self, blob: BlobHash) -> None:
        """An archived content rotted: it is archived again from the folder, or fetched."""
        self._arriving.on_lost(blob)

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
        self._arriving.on_archived(result)
        return self._archive(now_ms)

    def _archive(self, now_ms: int) -> Out:
        if self._looking.is_scanning:
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
        out: Out = list(self.taking.settle(now_ms)) if self._looking.problem is None else []
        self._touched.add(self.deletions.decided)
        self.deletions.decided.clear()
        self._touched.add(self.applier.take_retries(now_ms))
        self._touched.add(self._needs.take_retries(now_ms))
        self._looking.tick(now_ms)
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
        if self._looking.may_write:
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
        held = self._arriving.take_held()
        if held:
            out.append(ContentHeld(held))
        if self._needs.wanted:
            wanted = self._needs.wanted
            out.append(
                ContentWanted(tuple((blob, size, file) for blob, (file, size) in wanted.items()))
            )
            self._needs.wanted = {}
        out.extend(self._looking.take())
        return out
