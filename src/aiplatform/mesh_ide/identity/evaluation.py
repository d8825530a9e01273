"""Evaluation: which roster records count, decided alike on every node.

The set only grows, and every node evaluates it alone, in whatever order the records came. Two
questions are kept apart:

1. *May the issuer say this, as far as it knew?* Answered from the records that the record itself
   builds on, so the answer never changes: a record that fails is refused for good.
2. *Does it stand beside what others said at the same time?* Strong removal: when a member is
   removed or demoted, whatever it granted concurrently is void, and so is all that rests on it.
   A key that was thrown out can write records that look older than its removal; they gain it
   nothing. Removals and demotions themselves stand, even if their issuer was removed at the same
   time by somebody of equal or lower rank: in doubt somebody is out, and can be let in again.
   Only a *senior* issuer (a shorter chain of admissions from the workspace key) voids them, so
   an intruder cannot strike back at those who let it in. Of two equals who remove each other,
   both go.

Rank makes the rules well-founded: judged in order of rank, each decision rests on settled ones.
Compare Matrix state resolution v2 (https://spec.matrix.org/latest/rooms/v2/), which sorts by
power and clock, and the strong removal of p2panda-auth (https://docs.rs/p2panda-auth), where
mutual removals take both sides whatever their rank. The workspace key is above everybody and
cannot be removed: kept off-line, it is the way back when no admin is left.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from aiplatform.mesh_ide.identity.records import KnownRecord, RecordId, RecordKind, RosterRecord
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_ROOT: Final = -1
"""The index that stands for the workspace key in a chain of grants."""


class Place(Struct, frozen=True):
    """Where a subject stands after a record: ``role`` is ``None`` once it is removed."""

    role: Role | None
    admission: int
    grant: int
    rank: int


class Outcome(Struct, frozen=True):
    """The outcome of a causally closed set: places, and a bit for each record that stands."""

    places: dict[NodeId, Place]
    standing: int


class Evaluation:
    """One evaluation. A class so that a test can break one rule at a time.

    Invariants:
        1. Indexes follow causality: a record's parents have lower ones.
        2. Bit ``i`` of ``past[j]`` is set exactly if record ``i`` lies before record ``j``.
        3. Along a chain of grants ranks strictly fall.
    """

    def __init__(self, workspace: WorkspaceId, records: Iterable[KnownRecord]) -> None:
        """Take in the records; those that count get an index each."""
        self.workspace = workspace
        self.known: list[KnownRecord] = []
        self.past: list[int] = []
        self.rank: list[int] = []
        self.grant: list[int] = []
        self.places: list[Place] = []
        self.restricts: list[bool] = []
        self.after: list[Outcome] = []
        self.merged: dict[int, Outcome] = {0: Outcome({}, 0)}
        self.index_of: dict[RecordId, int] = {}
        self.refused: set[RecordId] = set()
        by_id = {known.id: known for known in records}
        for known in _parents_first(by_id):
            self._take(known)
        self.pending = by_id.keys() - self.index_of.keys() - self.refused

    def heads(self) -> list[int]:
        """Return the records on which no other builds."""
        covered = 0
        for mask in self.past:
            covered |= mask
        return [index for index in range(len(self.known)) if not covered >> index & 1]

    def attacks(self, removal: int, index: int) -> bool:
        """Return whether a removal or demotion voids a record: its subject said it concurrently."""
        return (
            self.record(removal).subject == self.record(index).issuer
            and removal != index
            and not self.past[removal] >> index & 1
            and not self.past[index] >> removal & 1
        )

    def _take(self, known: KnownRecord) -> None:
        record = known.record
        if not self.refused.isdisjoint(record.parents):
            self.refused.add(known.id)
            return
        parents = [self.index_of[parent] for parent in record.parents]
        state = self.outcome_of(parents)
        issuer = Place(Role.ADMIN, _ROOT, _ROOT, 0)
        if record.issuer != NodeId(self.workspace):
            issuer = state.places.get(record.issuer, Place(None, _ROOT, _ROOT, 0))
        subject = state.places.get(record.subject)
        if not _is_authorised(record, issuer, subject, self.workspace):
            self.refused.add(known.id)
            return
        index = len(self.known)
        past = 0
        for parent in parents:
            past |= self.past[parent] | 1 << parent
        self.index_of[known.id] = index
        self.known.append(known)
        self.past.append(past)
        self.rank.append(issuer.rank)
        self.grant.append(issuer.grant)
        held = None if subject is None else subject.role
        place = Place(
            role=None if record.kind is RecordKind.REMOVE else record.role,
            admission=index if held is None or subject is None else subject.admission,
            grant=index,
            rank=issuer.rank + 1,
        )
        self.places.append(place)
        self.restricts.append(
            record.kind is RecordKind.REMOVE
            or (record.kind is RecordKind.ROLE and held is not None and record.role < held)
        )
        # Nothing is concurrent with a record among those it builds on: its word simply comes last.
        self.after.append(
            Outcome({**state.places, record.subject: place}, state.standing | 1 << index)
        )

    def outcome_of(self, heads: Sequence[int]) -> Outcome:
        """Return the outcome of these records and all before them."""
        mask = 0
        for head in heads:
            mask |= self.past[head] | 1 << head
        for head in heads:
            if mask == self.past[head] | 1 << head:
                return self.after[head]
        if mask not in self.merged:
            self.merged[mask] = self.merge(mask)
        return self.merged[mask]

    def merge(self, mask: int) -> Outcome:
        """Evaluate a causally closed set in full."""
        indexes = list(bits(mask))
        removals = [index for index in indexes if self.restricts[index]]
        removals.sort(key=lambda index: (self.rank[index], self.known[index].id))
        standing = 0
        settled: list[int] = []
        for index in removals:
            senior = [other for other in settled if self.rank[other] < self.rank[index]]
            if self._stands(index, senior):
                settled.append(index)
                standing |= 1 << index
        for index in indexes:
            if not self.restricts[index] and self._stands(index, settled):
                standing |= 1 << index
        return Outcome(self._places_of(standing), standing)

    def _stands(self, index: int, removals: Sequence[int]) -> bool:
        """Return whether no removal voids this record or a grant that it rests on."""
        while index != _ROOT:
            if any(self.attacks(removal, index) for removal in removals):
                return False
            index = self.grant[index]
        return True

    def _places_of(self, standing: int) -> dict[NodeId, Place]:
        about: defaultdict[NodeId, list[int]] = defaultdict(list)
        for index in bits(standing):
            record = self.record(index)
            # A change of role means nothing once the admission that it changes is void.
            if record.kind is RecordKind.ROLE and not self._has_admission(index, standing):
                continue
            about[record.subject].append(index)
        places: dict[NodeId, Place] = {}
        for subject, indexes in about.items():
            covered = 0
            for index in indexes:
                covered |= self.past[index]
            latest = [index for index in indexes if not covered >> index & 1]
            latest.sort(key=self._caution)
            places[subject] = self.places[latest[0]]
        return places

    def _has_admission(self, index: int, standing: int) -> bool:
        return bool(standing >> self.places[index].admission & 1)

    def _caution(self, index: int) -> tuple[int, int, RecordId]:
        """Order concurrent words about one node: removal first, then the lower role."""
        place = self.places[index]
        return (place.role or 0, place.rank, self.known[index].id)

    def record(self, index: int) -> RosterRecord:
        """Return the record of an index."""
        return self.known[index].record


def _is_authorised(
    record: RosterRecord, issuer: Place, subject: Place | None, workspace: WorkspaceId
) -> bool:
    """Return whether the issuer may say this, given the places that it knew."""
    held = None if subject is None else subject.role
    if record.workspace != workspace or issuer.role is None:
        return False
    if record.kind is RecordKind.REMOVE and record.issuer == record.subject:
        return held is not None
    if issuer.role is not Role.ADMIN:
        return False
    if record.kind is RecordKind.ADMIT:
        return held is None
    if record.kind is RecordKind.ROLE:
        # A change that changes nothing could lengthen a senior's chain, and so lower its rank.
        return held is not None and held is not record.role
    return held is not None


def _parents_first(by_id: dict[RecordId, KnownRecord]) -> Iterator[KnownRecord]:
    """Yield the records whose ancestors are all here, in one order that every node finds."""
    children: defaultdict[RecordId, list[RecordId]] = defaultdict(list)
    missing: dict[RecordId, int] = {}
    for record_id in sorted(by_id):
        parents = by_id[record_id].record.parents
        missing[record_id] = len(parents)
        for parent in parents:
            children[parent].append(record_id)
    ready = [record_id for record_id, count in missing.items() if count == 0]
    for record_id in ready:
        yield by_id[record_id]
        for child in children[record_id]:
            missing[child] -= 1
            if missing[child] == 0:
                ready.append(child)


def bits(mask: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low
