"""Who holds what: this node's files as they are on its disk, and what each peer said of its own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import covers, fingerprint_of, living
from aiplatform.mesh_ide.model.entries import FileVector
from aiplatform.mesh_ide.model.enums import SyncState
from aiplatform.mesh_ide.model.ids import FileId, Fingerprint, NodeId
from aiplatform.mesh_ide.model.messages import Stored
from aiplatform.mesh_ide.model.parts import parts
from aiplatform.mesh_ide.replication.heads import HeadIndex
from aiplatform.mesh_ide.replication.own_work import OwnWork

RECHECK_MAX: Final = 512
"""Files looked at again in one tick: under 2 ms."""

HEADS_PER_MESSAGE_MAX: Final = 4096
DOTS_MAX: Final = 65_536
"""Sessions named in the vectors of one message: half of what a peer takes
(``mesh.bounds.ITEMS_MAX``)."""

_TOLD_PER_FILE_MAX: Final = 4
"""A peer may be that far ahead in files; more of its words are forgotten, and compared anew by
the next reconciliation."""


class _Peer(Struct):
    """What one connected peer said that it holds, and what it was told of us."""

    is_reconciled: bool = False
    pending: set[FileId] = set()
    """The peer has not confirmed what we have of these."""
    differing: set[FileId] = set()
    """Found to differ since the reconciliation began."""
    told: dict[FileId, Fingerprint] = {}
    """What the peer said last of each file."""
    beyond: dict[FileId, FileVector] = {}
    """What it holds of files that it changed without being allowed to: of ``told``, no others."""
    shown: set[FileId] = set()
    """The peer was told that this node holds what ``index`` says of these files."""
    to_show: dict[FileId, None] = {}


class Holdings:
    """Compares what is on this node's disk with what peers say of theirs.

    Invariants:
        1. a file is in a reconciled peer's ``pending`` unless the peer said ``Stored`` (or
           reconciliation showed) the fingerprint that this node has now, or a vector that covers
           what this node has now.
        2. ``index`` holds the fingerprint that every file had at its last ``refresh``.
        3. ``_stored`` are files of the ledger.
        4. files that only a peer names are not remembered: ``pending`` and ``differing`` are
           files of the ledger, ``shown`` and ``to_show`` of ``index``, and ``told`` is bounded.
    """

    def __init__(self, ledger: Ledger, own_work: OwnWork) -> None:
        self._ledger = ledger
        self._own_work = own_work
        self.index = HeadIndex()
        self._peers: dict[NodeId, _Peer] = {}
        self._stored: set[FileId] = set()
        self._announce: dict[FileId, None] = {}

    # --- what this node holds ----------------------------------------------------------------

    def set_complete(self, file: FileId, *, is_complete: bool) -> None:
        """Say whether a file's head, entries and content, is on this node's disk."""
        if is_complete:
            self._stored.add(file)
        else:
            self._stored.discard(file)

    def incomplete(self) -> list[FileId]:
        """Return the files whose content is not known to be here, at most ``RECHECK_MAX``."""
        files = (state.file for state in self._ledger.states())
        return list(islice((file for file in files if file not in self._stored), RECHECK_MAX))

    @property
    def lacking(self) -> int:
        """Return how many files are not wholly on this node's disk."""
        return self._ledger.known - len(self._stored)

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
                if self._has_confirmed(peer, file):
                    peer.pending.discard(file)
                else:
                    peer.pending.add(file)
                    peer.differing.add(file)

    def on_files_changed(self, files: Collection[FileId]) -> None:
        """Heads changed in memory: no peer has them. The fingerprint follows once durable."""
        for peer in self._peers.values():
            peer.pending.update(files)
            peer.differing.update(files)

    def is_known(self, file: FileId, fingerprint: Fingerprint) -> bool:
        """Return whether a head that somebody stored is the head of this node."""
        state = self._ledger.state(file)
        return state is not None and fingerprint_of(state, is_complete=True) == fingerprint

    # --- what peers hold ---------------------------------------------------------------------

    def add_peer(self, peer: NodeId) -> None:
        """A peer is connected: what it holds is not known."""
        self._peers[peer] = _Peer(pending={state.file for state in self._ledger.states()})

    def drop_peer(self, peer: NodeId) -> None:
        """A peer is gone: what it holds is not known any more."""
        self._peers.pop(peer, None)

    def differ(self, peer: NodeId, files: Iterable[FileId]) -> None:
        """Take note that a peer has something else; what is not known here cannot be pending."""
        known = [file for file in files if self._ledger.state(file) is not None]
        state = self._peers[peer]
        state.differing.update(known)
        # Of these the peer can learn by their vectors alone that all of its own is here.
        # Sorted: what is said must not depend on how a set happens to be ordered.
        shown = sorted(self._own_work.staying(known) & self._stored)
        state.to_show.update(dict.fromkeys(shown))

    def reconciled(self, peer: NodeId) -> None:
        """A reconciliation ended: the peer holds what was not found to differ."""
        state = self._peers[peer]
        if not state.is_reconciled:
            state.is_reconciled = True
            state.pending.intersection_update(state.differing)
        state.differing.clear()

    def on_stored(self, peer: NodeId, message: Stored) -> tuple[list[FileId], list[FileId]]:
        """A peer has these heads on its disk.

        Returns:
            The files whose head both have stored, and those whose head is news and not known here.
        """
        state = self._peers[peer]
        shared: list[FileId] = []
        unknown: list[FileId] = []
        vectors = dict(message.vectors)
        for file, fingerprint in message.heads:
            is_news = state.told.get(file) != fingerprint
            state.told[file] = fingerprint
            if file in vectors:
                state.beyond[file] = vectors[file]
            if self._has_confirmed(state, file) and not self._ledger.is_storing(file):
                state.pending.discard(file)
                shared.append(file)
                if file in self._stored and file not in state.shown:
                    # It got this from us or a third node after we had announced it to others:
                    # without our word it would hold the file pending here for ever.
                    state.to_show[file] = None
            elif is_news and not self.is_known(file, fingerprint):
                # What was said before has been asked for: a reader's own version never comes.
                unknown.append(file)
        if len(state.told) > self._told_max():
            state.told.clear()
            state.beyond.clear()
        elif vectors and sum(map(len, state.beyond.values())) > DOTS_MAX:
            state.beyond.clear()
        return shared, unknown

    def _has_confirmed(self, peer: _Peer, file: FileId) -> bool:
        """Return whether a peer said that all that is here of a file is on its disk."""
        told = peer.told.get(file)
        if told is not None and told == self.index.get(file):
            return True
        vector, state = peer.beyond.get(file), self._ledger.state(file)
        return vector is not None and state is not None and covers(vector, state.vector)

    def _told_max(self) -> int:
        return _TOLD_PER_FILE_MAX * max(HEADS_PER_MESSAGE_MAX, len(self.index))

    def is_unheard(self, peer: NodeId, file: FileId) -> bool:
        """Return whether the head that a peer named last is not known here."""
        told = self._peers[peer].told.get(file)
        return told is None or not self.is_known(file, told)

    def take_announcements(self) -> list[tuple[NodeId, Stored]]:
        """Return what to tell each peer of this node's disk, and take it for told."""
        out: list[tuple[NodeId, Stored]] = []
        for peer, state in self._peers.items():
            files = self._announce | state.to_show if state.to_show else self._announce
            out.extend((peer, message) for message in self._said_of(files))
            state.shown.update(files)
            state.to_show.clear()
        self._announce.clear()
        return out

    def _said_of(self, files: Iterable[FileId]) -> Iterator[Stored]:
        """Yield what says that this node holds these files."""
        staying = self._own_work.staying(files)
        rows = (
            (file, fingerprint, self._stored_vector(file) if file in staying else ())
            for file in files
            if (fingerprint := self.index.get(file)) is not None
        )
        for part in parts(rows, HEADS_PER_MESSAGE_MAX, lambda row: len(row[2]), DOTS_MAX):
            heads = tuple((file, fingerprint) for file, fingerprint, _ in part)
            yield Stored(heads, tuple((file, vector) for file, _, vector in part if vector))

    def _stored_vector(self, file: FileId) -> FileVector:
        """Return a file's vector; empty while anything in it is on its way to the disk."""
        state = self._ledger.state(file)
        return () if state is None or self._ledger.is_storing(file) else state.vector

    # --- what is known of it -----------------------------------------------------------------

    def is_reconciled(self, peer: NodeId) -> bool:
        """Return whether a reconciliation with this peer has ended since it came."""
        state = self._peers.get(peer)
        return state is not None and state.is_reconciled

    def pending_at(self, peer: NodeId) -> frozenset[FileId] | None:
        """Return the files whose head this peer has not confirmed; ``None``: not connected."""
        state = self._peers.get(peer)
        return None if state is None else frozenset(state.pending)

    def has_it(self, peer: NodeId, file: FileId) -> bool | None:
        """Return whether a peer has a file's present version on its disk; ``None``: not known.

        Where this node lacks the content itself, the two differ for that reason: then only what
        the peer said of its own disk counts.
        """
        state = self._peers.get(peer)
        if state is None:
            return None
        if file in self._stored:
            return file not in state.pending
        told = state.told.get(file)
        return None if told is None else self.is_known(file, told)

    def lacked_by(self, peer: NodeId) -> frozenset[FileId] | None:
        """Return what is wholly here and this peer has not confirmed; ``None``: not connected.

        Where this node lacks a content, the two differ for that reason, not for the other's.
        """
        state = self._peers.get(peer)
        return None if state is None else frozenset(state.pending & self._stored)

    def is_owed(self, peer: NodeId) -> bool:
        """Return whether a connected peer has not confirmed everything; copies nothing."""
        state = self._peers.get(peer)
        return state is not None and (bool(state.pending) or not state.is_reconciled)

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

    def _check_invariants(self) -> None:
        """Invariant 3, on which a count rests, and 4, which a peer's words could break."""
        for file in self._stored:
            assert self._ledger.state(file) is not None, "a stranger's file is held"
        for peer in self._peers.values():
            for file in peer.pending | peer.differing:
                assert self._ledger.state(file) is not None, "a stranger's file is waited for"
            for file in peer.shown | peer.to_show.keys():
                assert self.index.get(file) is not None, "a file was shown that is not held"
            assert len(peer.told) <= self._told_max(), "a peer's words fill the memory"
            assert peer.beyond.keys() <= peer.told.keys(), "a vector is kept of what nobody told"
            dots = sum(map(len, peer.beyond.values()))
            assert dots <= DOTS_MAX, "a peer's vectors fill the memory"


def dots_of(item: tuple[FileId, FileVector]) -> int:
    """Return how many sessions a file's vector names."""
    return len(item[1])
