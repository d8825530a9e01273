"""NodeCore: one node as one deterministic state machine.

``handle(event, now) -> commands``. It owns the parts and translates what one tells into what
another needs; it decides nothing that a part could decide. Events must come with a ``now`` that
never goes backwards (the driver sees to that, whatever the system clock does).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from blake3 import blake3

from aiplatform.mesh_ide.documents.authoring import Authoring
from aiplatform.mesh_ide.documents.intake import Intake
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import (
    EditsSealed,
    EntriesStored,
    FilesChanged,
    Notice,
    ParentsMissing,
    PathsChanged,
    PeerMisbehaved,
    StorageChanged,
    TreeFlawed,
)
from aiplatform.mesh_ide.mesh.membership import MembershipCore
from aiplatform.mesh_ide.mesh.outputs import (
    Disconnect,
    KeepAddresses,
    KeepCertificate,
    KeepEquivocation,
    KeepRoster,
    MembershipOutput,
    PeerGone,
    PeerReady,
    RosterChanged,
    SayTo,
    Warned,
)
from aiplatform.mesh_ide.model.ids import (
    FILE_ID_BYTES,
    FileId,
    NodeId,
)
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobRequest,
    Blobs,
    BlobsMissing,
    Entries,
    Reconcile,
    Sent,
    Stored,
    Vectors,
)
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.node.core_boot import Boot
from aiplatform.mesh_ide.node.core_commits import Commits
from aiplatform.mesh_ide.node.core_completeness import Completeness
from aiplatform.mesh_ide.node.core_contents import Arrivals
from aiplatform.mesh_ide.node.core_doubts import Doubts
from aiplatform.mesh_ide.node.core_mending import Mending
from aiplatform.mesh_ide.node.core_requests import RequestsCore
from aiplatform.mesh_ide.node.core_warnings import Warnings
from aiplatform.mesh_ide.node.events import (
    AddRosterRecords,
    Command,
    DamageFound,
    DeleteFile,
    EditText,
    Event,
    FetchContents,
    FolderTouched,
    FolderUnwatched,
    GarbageReceived,
    GitMoved,
    GoOn,
    KeepRecords,
    LinkDown,
    LinkQueueFull,
    LinkUp,
    LookAgain,
    MoveFile,
    PeerFlooded,
    PutContent,
    Received,
    RejectHold,
    ReleaseHold,
    Replied,
    Started,
    Tick,
    Told,
    WentOn,
)
from aiplatform.mesh_ide.ports.jobs import (
    BlobsArchived,
    EntriesSealed,
    FolderScanned,
    Job,
    Materialised,
    PartsReceived,
    PathsObserved,
    Persist,
    Persisted,
    SlicesVerified,
    TextSpliced,
    TreeEdited,
    TreeImported,
    UpdatesDerived,
    WritesApplied,
)
from aiplatform.mesh_ide.replication.core import (
    CONGESTED_BYTES,
    ReplicationCommand,
    ReplicationCore,
    SendMessage,
)
from aiplatform.mesh_ide.workspace.core import WorkspaceCore
from aiplatform.mesh_ide.workspace.notices import (
    ContentHeld,
    ContentWanted,
    FolderTrouble,
    WorkspaceNotice,
    WritesFailed,
)

RECHECK_MS: Final = 2000
NAMES_WARNED_MAX: Final = 8

FIRST_SYNC_PATIENCE_MS: Final = 30_000
"""A new member looks at its folder after its first reconciliation, or after this long alone."""

Internal = Job | Notice | WorkspaceNotice | ReplicationCommand | MembershipOutput | Replied | Told


class NodeCore:
    """One node.

    Invariants:
        1. nothing is announced or acknowledged before it is durable; only live edits are sent.
        2. a part is changed by its own methods alone, within ``handle``.
    """

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        self._seed = boot.seed
        self._drawn = 0
        self._ticket = 0
        session = boot.hello.certificate.session
        self.ledger = Ledger(session)
        self.membership = MembershipCore(boot.workspace, boot.hello, boot.sponsor)
        self.authoring = Authoring(self.ledger, boot.principal)
        self.intake = Intake(self.ledger, self.membership)
        self.workspace = WorkspaceCore(
            self.ledger, self.authoring, boot.principal, self._new_file_id, self._new_ticket
        )
        self.replication = ReplicationCore(self.ledger, boot.hello.node)
        self.requests = RequestsCore(
            self.ledger, self.authoring, self.workspace.folder, self._new_file_id
        )
        self.mending = Mending(self.ledger, self.intake, self.replication, self.workspace)
        self._completeness = Completeness(self.ledger, self.workspace.folder, self.replication)
        self._arrivals = Arrivals(self.replication.fetcher, self.membership)
        self._commits = Commits()
        self._doubts = Doubts(self.ledger)
        self._warnings = Warnings()
        self._rechecked_ms = 0
        self.folder_problem: str | None = None
        self._is_waiting_to_scan = boot.has_folder
        self._is_going_on = False
        self._started_ms = 0
        self._record_tags: dict[int, int] = {}

    # --- helpers -----------------------------------------------------------------------------

    def _new_file_id(self) -> FileId:
        self._drawn += 1
        digest = blake3(self._seed + self._drawn.to_bytes(8, "big")).digest(length=FILE_ID_BYTES)
        return FileId(digest)

    def _new_ticket(self) -> int:
        self._ticket += 1
        return self._ticket

    @property
    def is_first_sync_done(self) -> bool:
        """Return whether this node has looked at its folder with the workspace known to it."""
        return not self._is_waiting_to_scan

    def load(self, now_ms: int) -> None:
        """Take what was remembered; call once, before the first event. No commands follow."""
        boot = self._boot
        self.ledger.index.apply(boot.places)
        self.ledger.restore(boot.files)
        self.workspace.load(boot.disk, boot.holds, boot.archived)
        self._loaded = self.membership.load(
            boot.roster, boot.certificates, boot.addresses, now_ms, boot.equivocations
        )
        self._completeness.recheck(state.file for state in self.ledger.states())

    # --- the one entry point -----------------------------------------------------------------

    def handle(self, event: Event, now_ms: int) -> tuple[Command, ...]:
        """Take one event; return what to do, in order."""
        commands: list[Command] = []
        queue: deque[Internal] = deque(self._react(event, now_ms))
        while queue or self._goes_on(queue, now_ms):
            item = queue.popleft()
            if isinstance(item, Persist):
                commands.extend(self._persist(item))
            else:
                handled = self._translate(item, now_ms)
                if handled is None:
                    commands.append(item)  # type: ignore[arg-type]
                else:
                    queue.extend(handled)
        if self.workspace.has_more and not self._is_going_on:
            self._is_going_on = True
            commands.append(GoOn())
        return tuple(commands)

    def _goes_on(self, queue: deque[Internal], now_ms: int) -> bool:
        """Queue what gathered meanwhile; return whether that is anything."""
        queue.extend(self._on_freed(self.ledger.take_freed(), now_ms))
        if not queue:
            queue.extend(self.workspace.flush())
        return bool(queue)

    def _persist(self, persist: Persist) -> list[Persist]:
        """Begin a commit; what stands in the folder is recorded together with its entries."""
        settled = self.workspace.take_settled()
        if settled:
            persist = Persist(persist.ticket, (*persist.writes, *settled))
        return self._commits.begin(persist)

    def _on_freed(self, files: tuple[FileId, ...], now_ms: int) -> list[Internal]:
        if not files:
            return []
        self.workspace.on_freed(files)
        out: list[Internal] = []
        for file in files:
            out.extend(self.requests.next(file, now_ms))
        return out

    def _react(self, event: Event, now_ms: int) -> list[Internal]:  # noqa: C901, PLR0911, PLR0912
        """One line per event."""
        match event:
            case Started():
                return self._on_started(now_ms)
            case Tick():
                return self._on_tick(now_ms)
            case Received():
                return self._on_message(event.peer, event.message, now_ms)
            case LinkUp():
                return [*self.membership.on_link_up(event.peer, event.address, now_ms)]
            case LinkDown():
                return [*self.membership.on_link_down(event.peer, event.detail, now_ms)]
            case LinkQueueFull():
                return [Disconnect(event.peer, "too slow: its queue is full")]
            case GarbageReceived():
                label = self.membership.label(event.peer)
                text = f"{label} sent what is no message: {event.reason}"
                return [Warned(text), Disconnect(event.peer, "sent garbage")]
            case PeerFlooded():
                label = self.membership.label(event.peer)
                return [Warned(f"{label} sent more than this node can take in: its link was ended")]
            case FolderTouched():
                self.workspace.watch(event.paths)
            case FolderUnwatched():
                return [*self.workspace.scan(now_ms)] if self.is_first_sync_done else []
            case FetchContents():
                for blob, size in event.blobs:
                    self.replication.fetcher.want(blob, size)
                return self._replicating(self.replication.flush(now_ms))
            case DamageFound():
                return [*self.mending.found(event, now_ms)]
            case GitMoved():
                self.workspace.git_moved(now_ms)
            case WentOn():
                self._is_going_on = False  # what is left is flushed after every event
            case EditText() | PutContent() | DeleteFile() | MoveFile():
                return [*self.requests.handle(event, now_ms)]
            case ReleaseHold():
                return [*self._end_hold(event, now_ms)]
            case RejectHold():
                return [*self._end_hold(event, now_ms)]
            case AddRosterRecords():
                return self._add_roster(event, now_ms)
            case KeepRecords():
                persist = Persist(self._new_ticket(), event.records)
                self._record_tags[persist.ticket] = event.tag
                return [persist]
            case LookAgain():
                self.membership.redial(now_ms)
                return [*self.workspace.scan(now_ms), Replied(event.tag)]
            case _:
                return self._on_result(event, now_ms)
        return []

    def _on_result(self, event: Event, now_ms: int) -> list[Internal]:  # noqa: C901, PLR0911, PLR0912
        """One line per job result."""
        match event:
            case FolderScanned():
                return [*self.workspace.on_scanned(event, now_ms)]
            case PathsObserved():
                return [*self.workspace.on_observed(event, now_ms)]
            case WritesApplied():
                return [*self.workspace.on_applied(event, now_ms)]
            case UpdatesDerived():
                return [*self.workspace.on_derived(event, now_ms)]
            case TextSpliced():
                out = self.requests.on_spliced(event, now_ms)
                return [*self.workspace.archive_roots(), *out]
            case Materialised():
                return [*self.workspace.on_materialised(event, now_ms), *self._merged(event)]
            case TreeEdited():
                return [*self.authoring.on_tree_edited(event, now_ms)]
            case TreeImported():
                return [*self.intake.on_tree_imported(event)]
            case EntriesSealed():
                return [*self.authoring.on_sealed(event, self._new_ticket(), now_ms)]
            case SlicesVerified():
                self.replication.on_entries_checked(event.peer, now_ms)
                return [*self.intake.on_verified(event, self._new_ticket(), now_ms)]
            case Persisted():
                return self._on_persisted(event, now_ms)
            case BlobsArchived():
                return [*self.workspace.on_archived(event, now_ms)]
            case PartsReceived():
                return self._on_parts(event, now_ms)
            case _:
                raise AssertionError(f"no reaction to {type(event).__name__}")

    # --- start, time -------------------------------------------------------------------------

    def _on_started(self, now_ms: int) -> list[Internal]:
        self._started_ms = now_ms
        out: list[Internal] = [*self._loaded]
        certificate = self._boot.hello.certificate
        out.append(KeepCertificate(certificate))
        if self._boot.damage is not None:
            out.append(Told("damage", self._boot.damage))
        if not self._boot.is_joining:
            out.extend(self._first_scan(now_ms))
        return out

    def _first_scan(self, now_ms: int) -> list[Internal]:
        if not self._is_waiting_to_scan:
            return []
        self._is_waiting_to_scan = False
        keep = Persist(self._new_ticket(), (records.joined_record(),))
        return [keep, *self.workspace.scan(now_ms)]

    def _on_tick(self, now_ms: int) -> list[Internal]:
        busy = frozenset(
            peer for peer in self.replication.peers() if self.replication.depends_on(peer)
        )
        out: list[Internal] = [*self._commits.retried(now_ms)]
        out.extend(self.membership.tick(busy, now_ms))
        is_serving = bool(busy) or len(self.replication.fetcher) > 0
        out.extend(self.workspace.tick(now_ms, is_busy=is_serving))
        if now_ms - self._rechecked_ms >= RECHECK_MS:
            # A content can come to be here as that of another file; nobody tells then.
            self._rechecked_ms = now_ms
            self._completeness.recheck(self.replication.incomplete())
        out.extend(self._replicating(self.replication.tick(now_ms)))
        out.extend(self.mending.tick(now_ms))
        if self._is_waiting_to_scan:
            has_met = any(map(self.replication.is_in_step, self.replication.peers()))
            is_alone = now_ms - self._started_ms >= FIRST_SYNC_PATIENCE_MS
            if has_met or (is_alone and self._boot.damage is None):
                out.extend(self._first_scan(now_ms))
        return out

    def _replicating(self, commands: Iterable[ReplicationCommand]) -> list[Internal]:
        self.replication.is_congested = self.workspace.applier.busy_bytes > CONGESTED_BYTES
        return list(commands)

    # --- messages ----------------------------------------------------------------------------

    def _on_message(  # noqa: C901, PLR0911 - one line per message
        self, peer: NodeId, message: AnyMessage, now_ms: int
    ) -> list[Internal]:
        taken = self.membership.on_message(peer, message, now_ms)
        if taken is not None:
            return [*taken]
        replication = self.replication
        match message:
            case Entries():
                if message.slices:
                    replication.on_entries_received(peer)
                return [*self.intake.receive(peer, message.slices)]
            case Blobs():
                return [*self._arrivals.on_blobs(peer, message, now_ms)]
            case Reconcile():
                return [*replication.on_reconcile(peer, message, now_ms)]
            case Vectors():
                return [*replication.on_vectors(peer, self._doubts.widened(peer, message))]
            case Sent():
                replication.on_sent(peer, message)
            case Stored():
                replication.on_stored(peer, message, now_ms)
            case BlobRequest():
                return [*replication.on_blob_request(peer, message)]
            case BlobsMissing():
                return [*replication.on_blobs_missing(peer, message, now_ms)]
            case _:
                raise AssertionError(f"no reaction to {type(message).__name__}")
        return []

    def _on_parts(self, result: PartsReceived, now_ms: int) -> list[Internal]:
        wanted = self.replication.fetcher.arrived(result.complete)
        self.replication.fetcher.kept(result.partial)
        out: list[Internal] = [*self._arrivals.on_corrupt(result)]
        out.extend(self.workspace.on_content(wanted, now_ms))
        out.extend(self.workspace.flush())  # what is busy now bounds what is asked for
        return out + self._replicating(self.replication.flush(now_ms))

    # --- storage -----------------------------------------------------------------------------

    def _on_persisted(self, result: Persisted, now_ms: int) -> list[Internal]:
        before = self._commits.problem
        is_durable = self._commits.on_persisted(result, now_ms)
        out: list[Internal] = []
        if self._commits.problem != before:
            out.append(StorageChanged(self._commits.problem))
        if not is_durable:
            return out
        out.extend(self.workspace.on_persisted(result.ticket))
        out.extend(self.authoring.on_persisted(result.ticket))
        out.extend(self.intake.on_persisted(result))
        tag = self._record_tags.pop(result.ticket, None)
        if tag is not None:
            out.append(Replied(tag))
        return out

    @property
    def storage_problem(self) -> str | None:
        """Return why the store refuses to write, or ``None``."""
        return self._commits.problem

    # --- people ------------------------------------------------------------------------------

    def _end_hold(self, request: ReleaseHold | RejectHold, now_ms: int) -> list[Internal]:
        if request.hold not in self.workspace.deletions.holds:
            return [Replied(request.tag, f"there is no hold {request.hold}: see `mesh held`")]
        if isinstance(request, ReleaseHold):
            return [*self.workspace.release(request.hold, now_ms), Replied(request.tag)]
        self.workspace.reject(request.hold)
        return [Replied(request.tag)]

    def _add_roster(self, request: AddRosterRecords, now_ms: int) -> list[Internal]:
        out = self.membership.add_records(request.records, None, now_ms)
        keep = [item for item in out if isinstance(item, KeepRoster)]
        if not keep:
            return [*out, Replied(request.tag)]
        writes = (*records.roster_writes(keep[0]), *request.beside)
        persist = Persist(self._new_ticket(), writes)
        self._record_tags[persist.ticket] = request.tag
        return [persist, *(item for item in out if not isinstance(item, KeepRoster))]

    # --- translation -------------------------------------------------------------------------

    def _translate(self, item: Internal, now_ms: int) -> list[Internal] | None:  # noqa: C901, PLR0911, PLR0912
        """Return what follows from an inner word, or ``None`` for a command of the driver."""
        match item:
            case FilesChanged():
                return self._on_files_changed(item)
            case PathsChanged():
                self.workspace.on_paths_changed(item)
            case EditsSealed():
                return [*self.replication.push(item.slices)]
            case EntriesStored():
                return self._on_entries_stored(item, now_ms)
            case ParentsMissing():
                return [*self.replication.on_parents_missing(item, now_ms)]
            case PeerMisbehaved():
                return self._on_misbehaved(item, now_ms)
            case TreeFlawed():
                return self._on_tree_flawed(item)
            case StorageChanged():
                text = item.problem or "the store works again"
                return [Told("storage", text)]
            case ContentWanted():
                for blob, size, _file in item.blobs:
                    self.replication.fetcher.want(blob, size)
                return self._replicating(self.replication.flush(now_ms))
            case ContentHeld():
                self._completeness.recheck(item.files)
                return self._replicating(self.replication.flush(now_ms))
            case FolderTrouble():
                self.folder_problem = item.problem
                return [Told("folder", item.problem or "the folder is back")]
            case WritesFailed():
                more = f" (and {item.count - 1} more)" if item.count > 1 else ""
                text = f"{item.path}{more} could not be written: {item.problem}"
                return [Told("folder", f"{text}. It is tried again by itself: see `mesh status`")]
            case PeerReady():
                text = f"{self.membership.label(item.peer)} is here"
                told = Told("peer-up", text, item.peer)
                meeting = self.replication.peer_ready(item.peer, now_ms)
                self.workspace.on_peer_ready()
                return [told, *meeting, *self.mending.on_peer_ready(item.peer)]
            case PeerGone():
                self.replication.peer_gone(item.peer)
                self._doubts.peer_gone(item.peer)
                text = f"{self.membership.label(item.peer)} is gone: {item.detail}"
                return [Told("peer-down", text, item.peer)]
            case SayTo():
                return [SendMessage(item.peer, item.channel, item.message)]
            case KeepCertificate():
                write = records.certificate_record(item.certificate)
                return [Persist(self._new_ticket(), (write,))]
            case KeepRoster():
                return [Persist(self._new_ticket(), records.roster_writes(item))]
            case KeepAddresses():
                write = records.addresses_record(item.peer, item.addresses)
                return [Persist(self._new_ticket(), (write,))]
            case KeepEquivocation():
                write = records.equivocation_record(item.proof)
                return [Persist(self._new_ticket(), (write,))]
            case RosterChanged():
                return [Told("members", f"{len(self.membership.roster.members)} members")]
            case Warned():
                return [*self._warnings.say(item.text, now_ms)]
            case _:
                return None
        return []

    def _on_tree_flawed(self, notice: TreeFlawed) -> list[Internal]:
        out: list[Internal] = [
            Warned(f"a member gave a file the name {name!r}, which {why}: it stands nowhere here")
            for name, why in notice.unusable[:NAMES_WARNED_MAX]
        ]
        if notice.problem is not None:
            out.append(Warned(f"an edit of the tree was left out: {notice.problem}"))
            writes = tuple(records.refused_record(ref.id) for ref in notice.refused)
            out.append(Persist(self._new_ticket(), writes))
        return out

    def _on_files_changed(self, notice: FilesChanged) -> list[Internal]:
        self.replication.on_files_changed(notice.files)
        self.workspace.on_files_changed(notice)
        text = f"{len(notice.files)} files changed"
        return [Told("files", text, notice.peer, notice.files)]

    def _on_entries_stored(self, notice: EntriesStored, now_ms: int) -> list[Internal]:
        self._completeness.recheck(notice.files)
        out: list[Internal] = [*self.replication.on_entries_stored(notice)]
        out.extend(self.requests.on_stored(notice))
        return out + self._replicating(self.replication.flush(now_ms))

    def _merged(self, result: Materialised) -> list[Internal]:
        self._completeness.recheck(text.file for text in result.texts)
        return []

    def _on_misbehaved(self, notice: PeerMisbehaved, now_ms: int) -> list[Internal]:
        if notice.proof is not None and notice.session is not None:
            caught = self.membership.shut_out_author(notice.session, notice.proof, now_ms)
            if caught or self.membership.has_shut_out(notice.session):
                return [*caught]  # whoever delivered the other half is not to blame
        label = self.membership.label(notice.peer)
        return [Warned(f"refused from {label}: {notice.reason}")]

    def check_invariants(self) -> None:
        """Check every part's invariants (tests and simulation call this)."""
        self.ledger._check_invariants()  # noqa: SLF001 - one family
        self.membership._check_invariants()  # noqa: SLF001
        self.replication.fetcher._check_invariants()  # noqa: SLF001
        self.workspace.folder.check_invariants()
