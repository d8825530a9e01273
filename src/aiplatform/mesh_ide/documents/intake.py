"""Intake: how the entries of others come in.

verify (signature, chain, proof) → may the author write? → are the parents known? → take into the
ledger → persist → tell. A slice is stored only with the entries that were taken; what was refused
leaves no trace but a notice. Entries whose parents are missing are dropped and asked for again
with their ancestors: keeping them would need an unbounded waiting room.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable
from typing import Final, Protocol

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import (
    EntriesStored,
    FilesChanged,
    Notice,
    ParentsMissing,
    PathsChanged,
    PeerMisbehaved,
    TreeFlawed,
)
from aiplatform.mesh_ide.documents.state import Refusal
from aiplatform.mesh_ide.identity.subsets import subset
from aiplatform.mesh_ide.model.entries import BatchSlice, EntryRef, KnownEntry
from aiplatform.mesh_ide.model.ids import TREE_FILE, EntryId, FileId, NodeId, SessionId
from aiplatform.mesh_ide.ports.jobs import (
    ImportTree,
    Job,
    Persist,
    Persisted,
    SlicesVerified,
    TreeImported,
    VerifySlices,
)
from aiplatform.mesh_ide.ports.store import PutEntries, Write

_RECENT_MAX: Final = 8192
"""Dots remembered to catch an equivocation before its first half is on the disk; afterwards the
store's unique key catches it."""

_SUSPECTS_MAX: Final = 64
"""One is enough to shut its author out."""

_CONTRADICTS: Final = "two entries with one sequence number"
"""A verdict: another entry with this dot was taken and may not be stored yet."""


class AuthorPolicy(Protocol):
    """Who may write what: answered by membership."""

    def objection(self, session: SessionId, sequence: int, deliverer: NodeId) -> str | None:
        """Return why this author's entry is not taken, or ``None`` if it is."""


class _Sorted:
    """What becomes of verified entries: taken, stored, asked for, told."""

    def __init__(self) -> None:
        self.missing: dict[FileId, None] = {}
        self.objections: dict[str, None] = {}
        self.slices: list[BatchSlice] = []
        self.writes: list[Write] = []
        self.taken: list[KnownEntry] = []


class Intake:
    """Takes verified entries of others into the ledger.

    Invariants:
        1. an entry is announced (``EntriesStored``) only after it is durable.
        2. two different entries with one dot are never both taken.
        3. ``_held[peer]`` is the size of what it sent and waits in ``_suspects`` or
           ``_persisting``.
    """

    def __init__(self, ledger: Ledger, policy: AuthorPolicy) -> None:
        self._ledger = ledger
        self._policy = policy
        self._recent: OrderedDict[tuple[SessionId, int], EntryId] = OrderedDict()
        self._suspects: deque[tuple[NodeId, BatchSlice]] = deque()
        self._held: Counter[NodeId] = Counter()
        self.mending: dict[FileId, int] = {}
        """Files whose stored entries rotted: their entries are stored again although they are
        known. The value is when that happened last; 0: not yet."""
        self._persisting: dict[
            int, tuple[NodeId, tuple[BatchSlice, ...], tuple[KnownEntry, ...]]
        ] = {}

    def held_bytes(self, peer: NodeId) -> int:
        """Return the size of what a peer sent and waits here: for the disk, or a second look."""
        return self._held[peer]

    def receive(self, peer: NodeId, slices: tuple[BatchSlice, ...]) -> list[Job | Notice]:
        """Begin to check what a peer sent."""
        return [VerifySlices(peer, slices)] if slices else []

    def on_verified(
        self, result: SlicesVerified, ticket: int, now_ms: int = 0
    ) -> list[Job | Notice]:
        """Take what may be taken; persist it."""
        out: list[Job | Notice] = [
            PeerMisbehaved(
                result.peer, fault.reason, fault.proof, SessionId(fault.slice.header.session)
            )
            for fault in result.faults
        ]
        sorted_ = _Sorted()
        for piece, entries in result.good:
            self._sort(piece, entries, result.peer, sorted_, now_ms)
        out.extend(PeerMisbehaved(result.peer, objection) for objection in sorted_.objections)
        if sorted_.missing:
            out.append(ParentsMissing(result.peer, tuple(sorted_.missing)))
        if sorted_.taken:
            out.extend(self._store(result.peer, sorted_, ticket))
        elif sorted_.writes:
            out.append(Persist(ticket, tuple(sorted_.writes)))
        elif not self._persisting:
            out.extend(self._verify_suspects())
        return out

    def _sort(
        self,
        piece: BatchSlice,
        entries: tuple[KnownEntry, ...],
        peer: NodeId,
        into: _Sorted,
        now_ms: int,
    ) -> None:
        """Decide about each entry of a slice."""
        chosen: list[int] = []
        for position, known in enumerate(entries):
            verdict = self._consider(known, peer)
            if verdict is True:
                chosen.append(position)
            elif verdict is _CONTRADICTS:
                self._suspect(peer, subset(piece, entries, [position]))
            elif verdict is Refusal.MISSING_PARENTS:
                into.missing[known.entry.file] = None
            elif verdict is Refusal.DUPLICATE and known.entry.file in self.mending:
                self.mending[known.entry.file] = now_ms
                into.writes.append(PutEntries(subset(piece, entries, [position]), (known,)))
            elif isinstance(verdict, str):
                into.objections[verdict] = None
        if chosen:
            kept = tuple(entries[position] for position in chosen)
            part = piece if len(kept) == len(entries) else subset(piece, entries, chosen)
            into.slices.append(part)
            into.writes.append(PutEntries(part, kept))
            into.taken.extend(kept)

    def _suspect(self, peer: NodeId, piece: BatchSlice) -> None:
        if len(self._suspects) == _SUSPECTS_MAX:
            oldest_peer, oldest = self._suspects.popleft()
            self._let_go(oldest_peer, [oldest])
        self._suspects.append((peer, piece))
        self._held[peer] += piece.entries_bytes()

    def _let_go(self, peer: NodeId, pieces: Iterable[BatchSlice]) -> None:
        self._held[peer] -= sum(piece.entries_bytes() for piece in pieces)
        if not self._held[peer]:
            del self._held[peer]

    def _verify_suspects(self) -> list[Job | Notice]:
        """Look again at what contradicts an entry that was not stored yet: now it is, or soon.

        Only the store has both with their signatures, which is what makes it a proof.
        """
        suspects, self._suspects = self._suspects, deque()
        for peer, piece in suspects:
            self._let_go(peer, [piece])
        return [VerifySlices(peer, (piece,)) for peer, piece in suspects]

    def _consider(self, known: KnownEntry, peer: NodeId) -> bool | Refusal | str:
        dot = (known.ref.session, known.ref.sequence)
        seen = self._recent.get(dot)
        if seen is not None and seen != known.ref.id:
            return _CONTRADICTS
        objection = self._policy.objection(*dot, peer)
        if objection is not None:
            return objection
        outcome = self._ledger.accept(known)
        if isinstance(outcome, Refusal):
            return outcome
        self._recent[dot] = known.ref.id
        if len(self._recent) > _RECENT_MAX:
            self._recent.popitem(last=False)
        return True

    def _store(self, peer: NodeId, what: _Sorted, ticket: int) -> list[Job | Notice]:
        taken, writes = what.taken, what.writes
        files = tuple(dict.fromkeys(known.entry.file for known in taken))
        self._ledger.begin_storing(taken)
        self._persisting[ticket] = (peer, tuple(what.slices), tuple(taken))
        self._held[peer] += sum(piece.entries_bytes() for piece in what.slices)
        writes.extend(self._ledger.record_of(file) for file in files)
        out: list[Job | Notice] = []
        tree = tuple(known for known in taken if known.entry.file == TREE_FILE)
        if tree:
            out.append(ImportTree(tree))
        out.append(Persist(ticket, tuple(writes)))
        out.append(FilesChanged(files, peer))
        return out

    def on_tree_imported(self, result: TreeImported) -> list[Job | Notice]:
        """Take the new places into the index, and say which of them cannot be had on a disk."""
        changes = self._ledger.index.apply(result.places)
        invalid = self._ledger.index.invalid
        unusable = tuple(
            (place.name, invalid[place.node]) for place in result.places if place.node in invalid
        )
        return [PathsChanged(tuple(changes)), TreeFlawed(unusable, result.problem, result.refused)]

    def on_persisted(self, result: Persisted) -> list[Job | Notice]:
        """Tell what is durable; an equivocation found by the store becomes a proof."""
        finished = self._persisting.pop(result.ticket, None)
        if finished is None:
            return []
        peer, slices, taken = finished
        self._let_go(peer, slices)
        self._ledger.end_storing(taken)
        files = tuple(dict.fromkeys(known.entry.file for known in taken))
        out: list[Job | Notice] = []
        for ref in result.refused:
            piece = next(s for s in slices if _is_in(s, ref))
            out.append(VerifySlices(peer, (piece,)))
        out.append(EntriesStored(slices, files, peer))
        return out + self._verify_suspects()

    def _check_invariants(self) -> None:
        """Invariant 3, which bounds what a peer can make this node hold."""
        held: Counter[NodeId] = Counter()
        for peer, piece in self._suspects:
            held[peer] += piece.entries_bytes()
        for peer, slices, _ in self._persisting.values():
            held[peer] += sum(piece.entries_bytes() for piece in slices)
        assert held == self._held, "what waits is not what is counted"


def _is_in(piece: BatchSlice, ref: EntryRef) -> bool:
    index = ref.sequence - piece.header.first_sequence
    return piece.header.session == ref.session and index in piece.indexes
