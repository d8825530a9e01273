"""The roster: who belongs to a workspace, with which role, and whose entries are accepted.

A roster is what a set of signed records amounts to; the rules are in ``identity.evaluation``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from blake3 import blake3
from msgspec import Struct

from aiplatform.mesh_ide.identity.evaluation import Evaluation, Place, bits
from aiplatform.mesh_ide.identity.labels import labels_of
from aiplatform.mesh_ide.identity.records import KnownRecord, RecordId, RecordKind
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, UserId, WorkspaceId

if TYPE_CHECKING:
    from collections.abc import Iterable


class Member(Struct, frozen=True):
    """A node that belongs to the workspace now.

    Attributes:
        node: its key.
        user: whose it is.
        role: what it may do.
        name: as it calls itself.
        label: its name, made unique among the members for people to read and type.
        node_type: as its owner declared it.
        rank: length of the chain of grants from the workspace key; the founder has 1.
        ticket: with which it came, or empty.
    """

    node: NodeId
    user: UserId
    role: Role
    name: str
    label: str
    node_type: NodeType
    rank: int
    ticket: bytes = b""


class Roster(Struct, frozen=True):
    """Who belongs to a workspace, and on which records that rests.

    Attributes:
        workspace: whose.
        members: by node.
        removed: nodes that were members and are none.
        cuts: of nodes that were removed or demoted: per session the last sequence that the
            issuers of those records had seen.
        records: all that were rightly issued, parents before children: what peers exchange.
        heads: ids that no other record builds on, sorted: the parents of the next record.
        void: rightly issued, but overruled by a concurrent removal.
        pending: they build on records that are not here.
        refused: their issuer had no right to them; they never will count and can be erased.
        digest: names the set ``records``; equal digests, equal rosters.
    """

    workspace: WorkspaceId
    members: dict[NodeId, Member]
    removed: frozenset[NodeId]
    cuts: dict[NodeId, dict[SessionId, int]]
    records: tuple[KnownRecord, ...]
    heads: tuple[RecordId, ...]
    void: frozenset[RecordId]
    pending: tuple[RecordId, ...]
    refused: tuple[RecordId, ...]
    digest: bytes

    def role(self, node: NodeId) -> Role | None:
        """Return what a node may do, ``None`` if it is no member."""
        member = self.members.get(node)
        return None if member is None else member.role

    def may(self, node: NodeId, role: Role) -> bool:
        """Return whether a node has at least this role."""
        held = self.role(node)
        return held is not None and held >= role

    def admins(self) -> tuple[NodeId, ...]:
        """Return the admins, sorted."""
        return tuple(sorted(node for node in self.members if self.may(node, Role.ADMIN)))

    def redeemer(self, ticket: bytes) -> NodeId | None:
        """Return who was admitted with a ticket, counting void and ended admissions."""
        for known in self.records:
            if known.record.kind is RecordKind.ADMIT and known.record.ticket == ticket:
                return known.record.subject
        return None


def evaluate(workspace: WorkspaceId, records: Iterable[KnownRecord]) -> Roster:
    """Return the roster that a set of checked records amounts to.

    Guarantees: depends on the set alone; order and repetitions do not matter. Linear for records
    that follow one another; each merge of concurrent ones costs records times removals.

    Args:
        workspace: whose; records of others are refused.
        records: from ``records.open_record`` (their signatures hold).
    """
    return roster_of(Evaluation(workspace, records))


def may_author(
    roster: Roster, node: NodeId, session: SessionId, sequence: int, deliverer: NodeId
) -> bool:
    """Return whether to accept an entry of this node's session from this deliverer.

    Any of three reasons is enough:

    * The author may edit now.
    * The author was removed or demoted, and the entry lies within the recorded cut: whoever
      removed it had it already, so it is in the workspace.
    * The deliverer may edit now, and vouches for it. A removal reaches different nodes at
      different times. An entry that one node accepted just before it learned of the removal, but
      that the remover had not seen, lies beyond the cut; if the others refused it, that node
      could never agree with them again, and what was built on it would be lost. A deliverer gains
      no power by this: it could have written the same change itself, and its name stands with it.

    Args:
        roster: as evaluated now.
        node: whose session it is, by its certificate.
        session: who signed.
        sequence: the entry's.
        deliverer: the proven key of the link's other end.
    """
    if roster.may(node, Role.EDIT) or roster.may(deliverer, Role.EDIT):
        return True
    return sequence <= roster.cuts.get(node, {}).get(session, 0)


def roster_of(evaluation: Evaluation) -> Roster:
    """Return the roster that an evaluation came to (``evaluate`` is what callers use)."""
    heads = evaluation.heads()
    outcome = evaluation.outcome_of(heads)
    alive = {node: place for node, place in outcome.places.items() if place.role is not None}
    labels = labels_of(
        {node: evaluation.record(place.admission).name for node, place in alive.items()}
    )
    return Roster(
        workspace=evaluation.workspace,
        members={
            node: _member(evaluation, node, alive[node], labels[node]) for node in sorted(alive)
        },
        removed=frozenset(outcome.places.keys() - alive.keys()),
        cuts=_cuts(evaluation, outcome.standing),
        records=tuple(evaluation.known),
        heads=tuple(sorted(evaluation.known[index].id for index in heads)),
        void=frozenset(
            known.id
            for index, known in enumerate(evaluation.known)
            if not outcome.standing >> index & 1
        ),
        pending=tuple(sorted(evaluation.pending)),
        refused=tuple(sorted(evaluation.refused)),
        digest=blake3(b"".join(sorted(evaluation.index_of))).digest(),
    )


def _member(evaluation: Evaluation, node: NodeId, place: Place, label: str) -> Member:
    admission = evaluation.record(place.admission)
    return Member(
        node=node,
        user=admission.user,
        role=place.role or Role.RELAY,
        name=admission.name,
        label=label,
        node_type=admission.node_type,
        rank=place.rank,
        ticket=admission.ticket,
    )


def _cuts(evaluation: Evaluation, standing: int) -> dict[NodeId, dict[SessionId, int]]:
    cuts: dict[NodeId, dict[SessionId, int]] = {}
    for index in bits(standing):
        if not evaluation.restricts[index]:
            continue
        record = evaluation.record(index)
        cut = cuts.setdefault(record.subject, {})
        for session, sequence in record.cut:
            # The farthest of all: each issuer had accepted what lies within its own.
            cut[session] = max(sequence, cut.get(session, 0))
    return cuts
