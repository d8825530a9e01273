"""The replication core: per peer, who knows what, who lacks what, and what to say about it.

Life of a link: ``peer_ready`` → reconcile (the lower node id opens) → ``Vectors`` for the files
that differ → entries → ``Sent``. From the first moment new entries are pushed as they become
durable; what arrives twice is recognised by its vector.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

from msgspec import Struct, field

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import EntriesStored, ParentsMissing
from aiplatform.mesh_ide.documents.state import covers, fingerprint_of, living
from aiplatform.mesh_ide.model.entries import BatchSlice, FileVector
from aiplatform.mesh_ide.model.enums import Channel, SyncState
from aiplatform.mesh_ide.model.ids import FileId, Fingerprint, NodeId
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobRequest,
    BlobsMissing,
    Entries,
    Reconcile,
    Sent,
    Stored,
    Vectors,
)
from aiplatform.mesh_ide.replication import reconcile
from aiplatform.mesh_ide.replication.fetch import WINDOW_BYTES, Fetcher
from aiplatform.mesh_ide.replication.heads import HeadIndex
from aiplatform.mesh_ide.replication.unheard import Unheard

ANTI_ENTROPY_MS: Final = 60_000
"""Links that stand are reconciled again this often: what a bug or a lost frame left out heals."""

RECONCILE_TIMEOUT_MS: Final = 15_000
RECHECK_MAX: Final = 512
"""Files looked at again in one tick: under 2 ms."""

HEADS_PER_MESSAGE_MAX: Final = 4096
FILES_PER_VECTORS_MAX: Final = 2048
DOTS_MAX: Final = 65_536
"""Sessions named in one ``Vectors``: half of what a peer takes (``mesh.bounds.ITEMS_MAX``)."""

ENTRIES_BYTES_MAX: Final = 1024 * 1024
ENTRIES_PER_MESSAGE_MAX: Final = 1024


class SendMessage(Struct, frozen=True):
    """Say this to a peer."""

    peer: NodeId
    channel: Channel
    message: AnyMessage


class SendEntries(Struct, frozen=True):
    """Send from the store what these files have beyond the vectors, then ``Sent``."""

    peer: NodeId
    wanted: tuple[tuple[FileId, FileVector], ...]


class SendBlobs(Struct, frozen=True):
    """Send these contents in chunks; what is not held is answered by ``BlobsMissing``."""

    peer: NodeId
    request: BlobRequest


ReplicationCommand = SendMessage | SendEntries | SendBlobs


class _Peer(Struct):
    """What is known of one connected peer."""

    session: int
    is_reconciled: bool = False
    began_ms: int = 0
    requests: int = 0
    pending: set[FileId] = set()
    differing: set[FileId] = set()
    told: dict[FileId, Fingerprint] = {}
    unheard: Unheard = field(default_factory=Unheard)
    shown: set[FileId] = set()
    """The peer was told that this node holds what ``index`` says of these files."""
    to_show: dict[FileId, None] = {}


class ReplicationCore:
    """Makes every connected peer hold what this node holds, and the reverse.

    Invariants:
        1. a file is in a reconciled peer's ``pending`` unless the peer said ``Stored`` (or
           reconciliation showed) the fingerprint that this node has now.
        2. ``index`` holds the current fingerprint of every file.
    """

    def __init__(self, ledger: Ledger, me: NodeId) -> None:
        self._ledger = ledger
        self._me = me
        self.index = HeadIndex()
        self.fetcher = Fetcher()
        self._peers: dict[NodeId, _Peer] = {}
        self._stored: set[FileId] = set()
        self._announce: dict[FileId, None] = {}
        self._sessions = 0
        self.is_congested = False

    # --- what this node holds ----------------------------------------------------------------

    def refresh(self, files: Iterable[FileId]) -> None:
        """Bring fingerprints up to date after heads or contents changed."""
        for file in files:
            state = self._ledger.state(file)
            if state is None:
                continue
            is_complete = file in self._stored
            fingerprint = fingerprint_of(state, is_complete=is_complete)
            if self.index.get(file) == fingerprint:
                continue
            self.index.put(file, fingerprint)
            if is_complete:
                self._announce[file] = None
            for peer in self._peers.values():
                peer.shown.discard(file)
                if peer.told.get(file) == fingerprint:
                    peer.pending.discard(file)
                else:
                    peer.pending.add(file)
                    peer.differing.add(file)

    def on_files_changed(self, files: Iterable[FileId]) -> None:
        """Heads changed in memory: no peer has them. The fingerprint follows once durable."""
        for peer in self._peers.values():
            peer.pending.update(files)
            peer.differing.update(files)

    def incomplete(self) -> list[FileId]:
        """Return the files whose content is not known to be here, at most ``RECHECK_MAX``."""
        files = (state.file for state in self._ledger.states())
        return list(islice((file for file in files if file not in self._stored), RECHECK_MAX))

    def set_complete(self, file: FileId, *, is_complete: bool) -> None:
        """Say whether a file's head, entries and content, is on this node's disk."""
        if is_complete:
            self._stored.add(file)
        else:
            self._stored.discard(file)

    # --- links -------------------------------------------------------------------------------

    def peer_ready(self, peer: NodeId, now_ms: int) -> list[ReplicationCommand]:
        """A link stands and both sides have said hello."""
        self._sessions += 1
        state = _Peer(self._sessions, began_ms=now_ms, pending=set(self._all_files()))
        self._peers[peer] = state
        self.fetcher.add_peer(peer)
        out = self._open(peer, state, now_ms) if self._me < peer else []
        return out + self.flush(now_ms)

    def _all_files(self) -> list[FileId]:
        return [state.file for state in self._ledger.states()]

    def _open(self, peer: NodeId, state: _Peer, now_ms: int) -> list[ReplicationCommand]:
        state.began_ms = now_ms
        opening = reconcile.opening(self.index, state.session)
        return [SendMessage(peer, Channel.CONTROL, opening)]

    def peer_gone(self, peer: NodeId) -> None:
        """The link is down."""
        self._peers.pop(peer, None)
        self.fetcher.drop_peer(peer)

    def peers(self) -> tuple[NodeId, ...]:
        """Return the connected peers."""
        return tuple(self._peers)

    def is_in_step(self, peer: NodeId) -> bool:
        """Return whether reconciliation is done and nothing asked for is outstanding."""
        state = self._peers.get(peer)
        return state is not None and state.is_reconciled and state.requests == 0

    def pending_at(self, peer: NodeId) -> frozenset[FileId] | None:
        """Return the files whose head this peer has not confirmed; ``None``: not connected."""
        state = self._peers.get(peer)
        return None if state is None else frozenset(state.pending)

    def depends_on(self, peer: NodeId) -> bool:
        """Return whether something here waits for this peer (so its death must be noticed)."""
        state = self._peers.get(peer)
        if state is None:
            return False
        return bool(state.pending or state.requests or not state.is_reconciled)

    # --- messages ----------------------------------------------------------------------------

    def on_reconcile(
        self, peer: NodeId, message: Reconcile, now_ms: int
    ) -> list[ReplicationCommand]:
        """One step of reconciliation."""
        state = self._peers.get(peer)
        if state is None:
            return []
        out: list[ReplicationCommand] = []
        reply, differing = reconcile.answer(self.index, message)
        is_end = reconcile.is_end(message)
        if differing:
            # What is not known here is asked for, and cannot be pending: nothing to remember.
            state.differing.update(f for f in differing if self._ledger.state(f) is not None)
            out.extend(self._ask(peer, state, sorted(differing), is_request=True))
        if not is_end:
            # After the vectors, so that the peer knows what differs before it hears of the end.
            out.append(SendMessage(peer, Channel.CONTROL, reply))
        if is_end or reconcile.is_end(reply):
            if not state.is_reconciled:
                state.is_reconciled = True
                state.pending.intersection_update(state.differing)
            state.differing.clear()
        return out

    def _ask(
        self, peer: NodeId, state: _Peer, files: list[FileId], *, is_request: bool
    ) -> list[ReplicationCommand]:
        out: list[ReplicationCommand] = []
        part: list[tuple[FileId, FileVector]] = []
        dots = 0
        for file in files:
            vector = self._vector(file)
            if part and (len(part) >= FILES_PER_VECTORS_MAX or dots + len(vector) > DOTS_MAX):
                out.append(_question(peer, state, part, is_request=is_request))
                part, dots = [], 0
            part.append((file, vector))
            dots += len(vector)
        if part:
            out.append(_question(peer, state, part, is_request=is_request))
        return out

    def _vector(self, file: FileId) -> FileVector:
        state = self._ledger.state(file)
        return () if state is None else state.vector

    def on_vectors(self, peer: NodeId, message: Vectors) -> list[ReplicationCommand]:
        """A peer shows what it holds of some files: send what it lacks, ask for what we lack."""
        state = self._peers.get(peer)
        if state is None:
            return []
        out: list[ReplicationCommand] = [SendEntries(peer, message.vectors)]
        if message.is_request:
            # Only of what is known here: a peer that names others must not fill our memory.
            known = self._ledger.state
            state.differing.update(f for f, _ in message.vectors if known(f) is not None)
            lacking = [f for f, theirs in message.vectors if not covers(self._vector(f), theirs)]
            out.extend(self._ask(peer, state, lacking, is_request=False))
        return out

    def on_sent(self, peer: NodeId, message: Sent) -> None:
        """What we asked for has been sent (and received: the channel is ordered)."""
        state = self._peers.get(peer)
        if state is not None:
            state.requests = max(0, state.requests - message.requests)

    def on_stored(self, peer: NodeId, message: Stored, now_ms: int) -> None:
        """A peer has these heads on its disk."""
        state = self._peers.get(peer)
        if state is None:
            return
        for file, fingerprint in message.heads:
            state.told[file] = fingerprint
            if self.index.get(file) == fingerprint and not self._ledger.is_storing(file):
                state.pending.discard(file)
                state.unheard.heard(file)
                if file in self._stored and file not in state.shown:
                    # It got this from us or a third node after we had announced it to others:
                    # without our word it would hold the file pending here for ever.
                    state.to_show[file] = None
            elif not self._is_known(file, fingerprint):
                state.unheard.announced(file, now_ms)
        if len(state.told) > 4 * max(HEADS_PER_MESSAGE_MAX, len(self.index)):
            state.told.clear()

    def _is_known(self, file: FileId, fingerprint: Fingerprint) -> bool:
        state = self._ledger.state(file)
        return state is not None and fingerprint_of(state, is_complete=True) == fingerprint

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
        """Push this node's new entries to every connected peer."""
        if notice.peer is not None:
            return []
        return self.push(notice.slices)

    def push(self, slices: tuple[BatchSlice, ...]) -> list[ReplicationCommand]:
        """Send durable entries to every connected peer, in frames of about 1 MiB."""
        messages: list[Entries] = []
        frame: list[BatchSlice] = []
        size = count = 0
        for piece in slices:
            frame.append(piece)
            size += sum(map(len, piece.entries))
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
            if state.is_reconciled:
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
        still = [file for file in due if not self._is_settled(file, state)]
        return self._ask(peer, state, still, is_request=True) if still else []

    def _is_settled(self, file: FileId, state: _Peer) -> bool:
        told = state.told.get(file)
        return told is not None and self._is_known(file, told)

    def flush(self, now_ms: int) -> list[ReplicationCommand]:
        """Announce what became complete; ask for contents."""
        out: list[ReplicationCommand] = []
        for peer, state in self._peers.items():
            files = self._announce | state.to_show if state.to_show else self._announce
            heads = [(f, fp) for f in files if (fp := self.index.get(f)) is not None]
            state.shown.update(files)
            state.to_show.clear()
            for first in range(0, len(heads), HEADS_PER_MESSAGE_MAX):
                message = Stored(tuple(heads[first : first + HEADS_PER_MESSAGE_MAX]))
                out.append(SendMessage(peer, Channel.CONTROL, message))
        self._announce.clear()
        if not self.is_congested:
            out.extend(
                SendMessage(peer, Channel.CONTROL, request)
                for peer, request in self.fetcher.requests(now_ms)
            )
        return out

    def sync_state(self, file: FileId, members: Iterable[NodeId]) -> SyncState:
        """Return how far a file is, over these other members."""
        state = self._ledger.state(file)
        if state is not None and state.fault:
            return SyncState.DIVERGED
        if state is not None and len({head.lineage for head in living(state)}) > 1:
            head = self._ledger.head(file)
            if head is not None and head.rivals:
                return SyncState.CONFLICT
        if file not in self._stored or self._ledger.is_storing(file):
            return SyncState.PENDING
        for member in members:
            peer = self._peers.get(member)
            if peer is None or not peer.is_reconciled or file in peer.pending:
                return SyncState.PENDING
        return SyncState.SYNCED


CONGESTED_BYTES: Final = WINDOW_BYTES
"""Contents that wait for the folder: above this no more is asked for."""


def _question(
    peer: NodeId, state: _Peer, part: list[tuple[FileId, FileVector]], *, is_request: bool
) -> SendMessage:
    """Show a peer what is held of some files, and count that an answer is due."""
    state.requests += 1
    return SendMessage(peer, Channel.CONTROL, Vectors(tuple(part), is_request=is_request))
