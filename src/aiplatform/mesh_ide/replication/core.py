"""The replication core: the conversation with each peer, from its link to its end.

Life of a link: ``peer_ready`` → reconcile (the lower node id opens) → ``Vectors`` for the files
that differ → entries → ``Sent``. From the first moment new entries are pushed as they become
durable; what arrives twice is recognised by its vector.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import EntriesStored, ParentsMissing
from aiplatform.mesh_ide.documents.state import covers
from aiplatform.mesh_ide.model.entries import BatchSlice, FileVector
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import FileId, NodeId
from aiplatform.mesh_ide.model.messages import (
    BlobRequest,
    BlobsMissing,
    Entries,
    Reconcile,
    Sent,
    Stored,
    Vectors,
)
from aiplatform.mesh_ide.model.parts import parts
from aiplatform.mesh_ide.replication import reconcile
from aiplatform.mesh_ide.replication.commands import (
    ReplicationCommand,
    SendBlobs,
    SendEntries,
    SendMessage,
)
from aiplatform.mesh_ide.replication.fetch import WINDOW_BYTES, Fetcher
from aiplatform.mesh_ide.replication.holdings import DOTS_MAX, Holdings, dots_of
from aiplatform.mesh_ide.replication.own_work import Judge, OwnWork
from aiplatform.mesh_ide.replication.unheard import Unheard

ANTI_ENTROPY_MS: Final = 60_000
"""Links that stand are reconciled again this often: what a bug or a lost frame left out heals."""

RECONCILE_TIMEOUT_MS: Final = 15_000
FILES_PER_VECTORS_MAX: Final = 2048

ENTRIES_BYTES_MAX: Final = 1024 * 1024
ENTRIES_PER_MESSAGE_MAX: Final = 1024

CONGESTED_BYTES: Final = WINDOW_BYTES
"""Contents that wait for the folder: above this no more is asked for."""


class _Peer(Struct):
    """The conversation with one connected peer."""

    session: int
    began_ms: int
    requests: int = 0
    """Asked for and not answered by ``Sent``."""
    unheard: Unheard = field(default_factory=Unheard)


class ReplicationCore:
    """Makes every connected peer hold what this node holds, and the reverse.

    Invariants:
        1. the same peers are known to ``holdings``, to ``fetcher`` and here.
        2. ``requests`` of a peer counts what it was asked for and has not answered.
    """

    def __init__(self, ledger: Ledger, me: NodeId, judge: Judge) -> None:
        self._ledger = ledger
        self._me = me
        self.own_work = OwnWork(ledger, judge)
        self.holdings = Holdings(ledger, self.own_work)
        self.fetcher = Fetcher()
        self._peers: dict[NodeId, _Peer] = {}
        self._sessions = 0
        self.is_congested = False

    # --- links -------------------------------------------------------------------------------

    def peer_ready(self, peer: NodeId, now_ms: int) -> list[ReplicationCommand]:
        """A link stands and both sides have said hello."""
        self._sessions += 1
        state = self._peers[peer] = _Peer(self._sessions, now_ms)
        self.holdings.add_peer(peer)
        self.fetcher.add_peer(peer)
        out = self._open(peer, state, now_ms) if self._me < peer else []
        return out + self.flush(now_ms)

    def _open(self, peer: NodeId, state: _Peer, now_ms: int) -> list[ReplicationCommand]:
        state.began_ms = now_ms
        opening = reconcile.opening(self.holdings.index, state.session)
        return [SendMessage(peer, Channel.CONTROL, opening)]

    def on_roles_changed(self, members: frozenset[NodeId], now_ms: int) -> list[ReplicationCommand]:
        """These members' roles are others now: what was refused may be taken, or the reverse.

        Both sides compare again, since either may hear of the new role first.
        """
        out: list[ReplicationCommand] = []
        for peer, state in self._peers.items():
            if peer in members or self._me in members:
                out.extend(self._open(peer, state, now_ms))
        return out

    def peer_gone(self, peer: NodeId) -> None:
        """The link is down."""
        self._peers.pop(peer, None)
        self.holdings.drop_peer(peer)
        self.fetcher.drop_peer(peer)

    def peers(self) -> tuple[NodeId, ...]:
        """Return the connected peers."""
        return tuple(self._peers)

    def is_in_step(self, peer: NodeId) -> bool:
        """Return whether reconciliation is done and nothing asked for is outstanding."""
        state = self._peers.get(peer)
        return state is not None and state.requests == 0 and self.holdings.is_reconciled(peer)

    def depends_on(self, peer: NodeId) -> bool:
        """Return whether something here waits for this peer (so its death must be noticed)."""
        state = self._peers.get(peer)
        return state is not None and (state.requests > 0 or self.holdings.is_owed(peer))

    # --- messages ----------------------------------------------------------------------------

    def on_reconcile(
        self, peer: NodeId, message: Reconcile, now_ms: int
    ) -> list[ReplicationCommand]:
        """One step of reconciliation."""
        state = self._peers.get(peer)
        if state is None:
            return []
        out: list[ReplicationCommand] = []
        reply, differing = reconcile.answer(self.holdings.index, message)
        is_end = reconcile.is_end(message)
        if differing:
            self.holdings.differ(peer, differing)
            out.extend(self._ask(peer, state, sorted(differing), is_request=True))
        if not is_end:
            # After the vectors, so that the peer knows what differs before it hears of the end.
            out.append(SendMessage(peer, Channel.CONTROL, reply))
        if is_end or reconcile.is_end(reply):
            self.holdings.reconciled(peer)
        return out

    def _ask(
        self, peer: NodeId, state: _Peer, files: list[FileId], *, is_request: bool
    ) -> list[ReplicationCommand]:
        vectors = ((file, self._vector(file)) for file in files)
        return [
            _question(peer, state, part, is_request=is_request)
            for part in parts(vectors, FILES_PER_VECTORS_MAX, dots_of, DOTS_MAX)
        ]

    def _vector(self, file: FileId) -> FileVector:
        state = self._ledger.state(file)
        return () if state is None else state.vector

    def on_vectors(self, peer: NodeId, message: Vectors) -> list[ReplicationCommand]:
        """A peer shows what it holds of some files: send what it lacks, ask for what we lack."""
        state = self._peers.get(peer)
        if state is None:
            return []
        wanted = tuple((f, self.own_work.withheld(f, theirs)) for f, theirs in message.vectors)
        out: list[ReplicationCommand] = [SendEntries(peer, wanted)]
        if message.is_request:
            self.holdings.differ(peer, (file for file, _ in message.vectors))
            lacking = [f for f, theirs in message.vectors if not covers(self._vector(f), theirs)]
            out.extend(self._ask(peer, state, lacking, is_request=False))
        return out

    def on_sent(self, peer: NodeId, message: Sent) -> None:
        """What we asked for has been sent (and received: the channel is ordered)."""
        state = self._peers.get(peer)
        if state is not None:
            state.requests = max(0, state.requests - message.requests)

    def on_stored(self, peer: NodeId, message: Stored, now_ms: int) -> None:
        """A peer has these heads on its disk: those that are not known here are waited for."""
        state = self._peers.get(peer)
        if state is None:
            return
        shared, unknown = self.holdings.on_stored(peer, message)
        state.unheard.heard(shared)
        state.unheard.announced(unknown, now_ms)

    def on_blob_request(self, peer: NodeId, message: BlobRequest) -> list[ReplicationCommand]:
        """A peer needs contents."""
        return [SendBlobs(peer, message)]

    def on_blobs_missing(
        self, peer: NodeId, message: BlobsMissing, now_ms: int
    ) -> list[ReplicationCommand]:
        """The peer asked does not have them."""
        self.fetcher.missing(peer, message.blobs)
        return self.flush(now_ms)

    # --- the ledger speaks -------------------------------------------------------------------

    def on_entries_stored(self, notice: EntriesStored) -> list[ReplicationCommand]:
        """Push this node's new entries to every connected peer that may take them."""
        if notice.peer is not None:
            return []
        return self.push(notice.slices)

    def push(self, slices: tuple[BatchSlice, ...]) -> list[ReplicationCommand]:
        """Send own entries to every connected peer, in frames of about 1 MiB.

        Nothing while this node may not edit: nobody would take them.
        """
        if not self.own_work.is_taken:
            return []
        messages: list[Entries] = []
        frame: list[BatchSlice] = []
        size = count = 0
        for piece in slices:
            frame.append(piece)
            size += piece.entries_bytes()
            count += len(piece.entries)
            if size >= ENTRIES_BYTES_MAX or count >= ENTRIES_PER_MESSAGE_MAX:
                messages.append(Entries(tuple(frame)))
                frame, size, count = [], 0, 0
        if frame:
            messages.append(Entries(tuple(frame)))
        return [
            SendMessage(peer, Channel.DOCUMENTS, message)
            for peer in self._peers
            for message in messages
        ]

    def on_parents_missing(self, notice: ParentsMissing, now_ms: int) -> list[ReplicationCommand]:
        """Ask the peer for what lies between (once per interval)."""
        state = self._peers.get(notice.peer)
        if state is not None:
            state.unheard.parents_missing(notice.files)
        return []

    def ask_whole(
        self, files: tuple[FileId, ...], peer: NodeId | None = None
    ) -> list[ReplicationCommand]:
        """Ask a peer (or all) for the whole histories of files whose entries rotted here."""
        peers = self._peers if peer is None else {peer: self._peers[peer]}
        out: list[ReplicationCommand] = []
        for one, state in peers.items():
            state.requests += 1
            vectors = tuple((file, ()) for file in files)
            out.append(SendMessage(one, Channel.CONTROL, Vectors(vectors, is_request=False)))
        return out

    # --- time --------------------------------------------------------------------------------

    def tick(self, now_ms: int) -> list[ReplicationCommand]:
        """Ask for announced heads that did not come; reconcile again now and then."""
        out: list[ReplicationCommand] = []
        self.fetcher.tick(now_ms)
        for peer, state in self._peers.items():
            if self.holdings.is_reconciled(peer):
                out.extend(self._ask_unheard(peer, state, now_ms))
                interval = ANTI_ENTROPY_MS
            else:
                interval = RECONCILE_TIMEOUT_MS
            if self._me < peer and now_ms - state.began_ms >= interval:
                out.extend(self._open(peer, state, now_ms))
        return out + self.flush(now_ms)

    def on_entries_received(self, peer: NodeId) -> None:
        """A frame of entries came and is being checked."""
        state = self._peers.get(peer)
        if state is not None:
            state.unheard.entries_came()

    def on_entries_checked(self, peer: NodeId, now_ms: int) -> None:
        """... and has been."""
        state = self._peers.get(peer)
        if state is not None:
            state.unheard.entries_checked(now_ms)

    def _ask_unheard(self, peer: NodeId, state: _Peer, now_ms: int) -> list[ReplicationCommand]:
        """Ask for heads that the peer announced and nobody sent."""
        due = state.unheard.take_due(now_ms)
        still = [file for file in due if self.holdings.is_unheard(peer, file)]
        return self._ask(peer, state, still, is_request=True) if still else []

    def flush(self, now_ms: int) -> list[ReplicationCommand]:
        """Announce what became complete; ask for contents."""
        out: list[ReplicationCommand] = [
            SendMessage(peer, Channel.CONTROL, stored)
            for peer, stored in self.holdings.take_announcements()
        ]
        if not self.is_congested:
            out.extend(
                SendMessage(peer, Channel.CONTROL, request)
                for peer, request in self.fetcher.requests(now_ms)
            )
        return out


def _question(
    peer: NodeId, state: _Peer, part: list[tuple[FileId, FileVector]], *, is_request: bool
) -> SendMessage:
    """Show a peer what is held of some files, and count that an answer is due."""
    state.requests += 1
    return SendMessage(peer, Channel.CONTROL, Vectors(tuple(part), is_request=is_request))
