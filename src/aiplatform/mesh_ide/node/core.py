"""NodeCore: one node as one deterministic state machine.

``handle(event, now) -> commands``. It owns the parts and translates what one tells into what
another needs; it decides nothing that a part could decide. Events must come with a ``now`` that
never goes backwards (the driver sees to that, whatever the system clock does).
"""

from __future__ import annotations

from collections import deque
from typing import Final

from aiplatform.mesh_ide.documents.authoring import Authoring
from aiplatform.mesh_ide.documents.intake import Intake
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import (
    EditsSealed,
    EntriesStored,
    FilesChanged,
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
    PeerGone,
    PeerReady,
    RosterChanged,
    SayTo,
    Warned,
)
from aiplatform.mesh_ide.model.ids import FileId, NodeId, SessionId
from aiplatform.mesh_ide.node import core_words as words
from aiplatform.mesh_ide.node.core_boot import Boot
from aiplatform.mesh_ide.node.core_completeness import Completeness
from aiplatform.mesh_ide.node.core_deciding import Deciding
from aiplatform.mesh_ide.node.core_doubts import Doubts
from aiplatform.mesh_ide.node.core_inner import Internal
from aiplatform.mesh_ide.node.core_keeping import Keeping
from aiplatform.mesh_ide.node.core_looking import FirstLook
from aiplatform.mesh_ide.node.core_mending import Mending
from aiplatform.mesh_ide.node.core_numbers import Numbers
from aiplatform.mesh_ide.node.core_receiving import Receiving
from aiplatform.mesh_ide.node.core_requests import RequestsCore
from aiplatform.mesh_ide.node.core_results import Results
from aiplatform.mesh_ide.node.core_storing import Storing
from aiplatform.mesh_ide.node.core_warnings import Warnings
from aiplatform.mesh_ide.node.events import (
    AddRosterRecords,
    Command,
    DamageFound,
    DeleteFile,
    DialAt,
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
    Started,
    Tick,
    Told,
    WentOn,
)
from aiplatform.mesh_ide.ports.jobs import Persist
from aiplatform.mesh_ide.replication.commands import SendMessage
from aiplatform.mesh_ide.replication.core import ReplicationCore
from aiplatform.mesh_ide.workspace.core import WorkspaceCore
from aiplatform.mesh_ide.workspace.notices import (
    ContentHeld,
    ContentWanted,
    FolderTrouble,
    WritesFailed,
)

RECHECK_MS: Final = 2000


class NodeCore:
    """One node.

    Invariants:
        1. nothing is announced or acknowledged before it is durable; only live edits are sent.
        2. a part is changed by its own methods alone, within ``handle``.
    """

    def __init__(self, boot: Boot) -> None:
        self._boot = boot
        numbers = Numbers(boot.seed)
        self.ledger = Ledger(boot.hello.certificate.session)
        self.membership = MembershipCore(boot.workspace, boot.hello, boot.sponsor)
        self.authoring = Authoring(self.ledger, boot.principal)
        self.intake = Intake(self.ledger, self.membership)
        self.workspace = WorkspaceCore(
            self.ledger, self.authoring, boot.principal, numbers.file_id, numbers.ticket
        )
        self.replication = ReplicationCore(self.ledger, boot.hello.node, self.membership)
        self.requests = RequestsCore(
            self.ledger, self.authoring, self.workspace.folder, numbers.file_id
        )
        self.mending = Mending(self.ledger, self.intake, self.replication, self.workspace)
        self.folder_problem: str | None = None
        self._completeness = Completeness(
            self.ledger,
            self.workspace.folder,
            self.replication.holdings,
            self.replication.own_work,
        )
        self._doubts = Doubts(self.ledger)
        self._warnings = Warnings()
        self._keeping = Keeping(numbers.ticket)
        self._looking = FirstLook(boot, self.workspace, self.replication, self._keeping)
        self._deciding = Deciding(self.membership, self.workspace, self._looking, self._keeping)
        self._storing = Storing(self.workspace, self.authoring, self.intake, self._keeping)
        self._receiving = Receiving(
            self.membership, self.intake, self.replication, self.workspace, self._doubts
        )
        self._results = Results(
            self.workspace,
            self.authoring,
            self.intake,
            self.replication,
            self.requests,
            self._receiving,
            self._storing,
            self._completeness,
            numbers.ticket,
        )
        self._rechecked_ms = 0
        self._is_going_on = False

    @property
    def is_first_sync_done(self) -> bool:
        """Return whether this node has looked at its folder with the workspace known to it."""
        return self._looking.is_done

    @property
    def storage_problem(self) -> str | None:
        """Return why the store refuses to write, or ``None``."""
        return self._storing.problem

    def seen_of(self, node: NodeId) -> dict[SessionId, int]:
        """Return the last sequence held here of each session of a node.

        What a record that ends or restricts a membership leaves in the workspace.
        """
        certificates = self.membership.certificates.values()
        seen = {c.session: 0 for c in certificates if c.node == node}
        for state in self.ledger.states():
            for session, sequence in state.vector:
                if sequence > seen.get(session, sequence):
                    seen[session] = sequence
        return seen

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
        self.workspace.begin_turn()
        commands: list[Command] = []
        queue: deque[Internal] = deque(self._react(event, now_ms))
        while queue or self._goes_on(queue, now_ms):
            item = queue.popleft()
            if isinstance(item, Persist):
                commands.extend(self._storing.begin(item))
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
                return self._receiving.on_message(event.peer, event.message, now_ms)
            case LinkUp():
                return [*self.membership.on_link_up(event.peer, event.address, now_ms)]
            case LinkDown():
                return [*self.membership.on_link_down(event.peer, event.detail, now_ms)]
            case LinkQueueFull():
                return [Disconnect(event.peer, "too slow: its queue is full")]
            case GarbageReceived():
                label = self.membership.label(event.peer)
                warned = words.garbage(label, event.reason)
                return [warned, Disconnect(event.peer, "sent garbage")]
            case PeerFlooded():
                return [words.flooded(self.membership.label(event.peer))]
            case FolderTouched():
                if self._looking.is_done:  # otherwise the first look will see it
                    self.workspace.watch(event.paths)
            case FolderUnwatched():
                return self._looking.again(now_ms)
            case FetchContents():
                return self._receiving.want(event.blobs, now_ms)
            case DamageFound():
                return [*self.mending.found(event, now_ms)]
            case GitMoved():
                self.workspace.git_moved(now_ms)
            case WentOn():
                self._is_going_on = False  # what is left is flushed after every event
            case EditText() | PutContent() | DeleteFile() | MoveFile():
                return [*self.requests.handle(event, now_ms)]
            case (
                ReleaseHold() | RejectHold() | LookAgain() | DialAt()
                | AddRosterRecords() | KeepRecords()
            ):  # fmt: skip
                return self._deciding.handle(event, now_ms)
            case _:
                return self._results.handle(event, now_ms)
        return []

    # --- start, time -------------------------------------------------------------------------

    def _on_started(self, now_ms: int) -> list[Internal]:
        out: list[Internal] = [*self._loaded, KeepCertificate(self._boot.hello.certificate)]
        if self._boot.damage is not None:
            out.append(Told("damage", self._boot.damage))
        out.extend(self._looking.on_started(now_ms))
        return out

    def _on_tick(self, now_ms: int) -> list[Internal]:
        busy = frozenset(
            peer for peer in self.replication.peers() if self.replication.depends_on(peer)
        )
        out: list[Internal] = [*self._storing.retried(now_ms)]
        out.extend(self.membership.tick(busy, now_ms))
        is_serving = bool(busy) or self.replication.fetcher.under_way > 0
        out.extend(self.workspace.tick(now_ms, is_busy=is_serving))
        if now_ms - self._rechecked_ms >= RECHECK_MS:
            # A content can come to be here as that of another file; nobody tells then.
            self._rechecked_ms = now_ms
            self._completeness.recheck(self.replication.holdings.incomplete())
        out.extend(self._receiving.tick(now_ms))
        out.extend(self.mending.tick(now_ms))
        out.extend(self._looking.tick(now_ms))
        return out

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
                return [words.storage(item)]
            case ContentWanted():
                return self._receiving.want(((blob, size) for blob, size, _ in item.blobs), now_ms)
            case ContentHeld():
                self._completeness.recheck(item.files)
                return self._receiving.ask(now_ms)
            case FolderTrouble():
                self.folder_problem = item.problem
                return [words.folder(item)]
            case WritesFailed():
                return [words.writes_failed(item)]
            case PeerReady():
                told = words.peer_up(self.membership.label(item.peer), item)
                meeting = self.replication.peer_ready(item.peer, now_ms)
                self.workspace.on_peer_ready()
                return [told, *meeting, *self.mending.on_peer_ready(item.peer)]
            case PeerGone():
                self.replication.peer_gone(item.peer)
                self._doubts.peer_gone(item.peer)
                return [words.peer_down(self.membership.label(item.peer), item)]
            case SayTo():
                return [SendMessage(item.peer, item.channel, item.message)]
            case KeepCertificate() | KeepRoster() | KeepAddresses() | KeepEquivocation():
                return [self._keeping.keep(item)]
            case RosterChanged():
                told = words.members(len(self.membership.roster.members))
                return [told, *self.replication.on_roles_changed(item.roles, now_ms)]
            case Warned():
                return [*self._warnings.say(item.text, now_ms)]
            case _:
                return None
        return []

    def _on_tree_flawed(self, notice: TreeFlawed) -> list[Internal]:
        out: list[Internal] = [*words.tree_flawed(notice)]
        if notice.problem is not None:
            out.append(self._keeping.keep_refused(notice.refused))
        return out

    def _on_files_changed(self, notice: FilesChanged) -> list[Internal]:
        self.replication.holdings.on_files_changed(notice.files)
        self.workspace.on_files_changed(notice)
        return [words.files_changed(notice)]

    def _on_entries_stored(self, notice: EntriesStored, now_ms: int) -> list[Internal]:
        self._completeness.recheck(notice.files)
        out: list[Internal] = [*self.replication.on_entries_stored(notice)]
        out.extend(self.requests.on_stored(notice))
        return out + self._receiving.ask(now_ms)

    def _on_misbehaved(self, notice: PeerMisbehaved, now_ms: int) -> list[Internal]:
        if notice.proof is not None and notice.session is not None:
            caught = self.membership.shut_out_author(notice.session, notice.proof, now_ms)
            if caught or self.membership.has_shut_out(notice.session):
                return [*caught]  # whoever delivered the other half is not to blame
        return [words.misbehaved(self.membership.label(notice.peer), notice)]

    def check_invariants(self) -> None:
        """Check every part's invariants (tests and simulation call this)."""
        self.ledger._check_invariants()  # noqa: SLF001 - one family
        self.intake._check_invariants()  # noqa: SLF001
        self.membership._check_invariants()  # noqa: SLF001
        self.replication.holdings._check_invariants()  # noqa: SLF001
        self.replication.fetcher._check_invariants()  # noqa: SLF001
        self.workspace.folder.check_invariants()
