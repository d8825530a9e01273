"""Members who contradicted themselves: who is shut out, by which proof, and who is told.

A member whose session signed two different entries for one sequence number is no honest node
(``identity.equivocation``). It is shut out by whoever holds the proof, and everybody passes the
proof on, once: to those linked now, and to each peer at the next meeting. What it wrote before is
judged as after a removal: an honest member that delivers it vouches for it. The roster is not
touched, which is for people; a shut-out key stays out for good, and the person comes back with a
fresh one (docs/decisions/0011).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiplatform.mesh_ide.identity.equivocation import is_equivocation
from aiplatform.mesh_ide.mesh.outputs import MembershipOutput, SayTo
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId
from aiplatform.mesh_ide.model.messages import EquivocationProof, Equivocations

SHUT_OUT: Final = "shut out: it contradicted itself"

PROOFS_PER_MESSAGE_MAX: Final = 16
"""As the codec bounds them (``EQUIVOCATIONS_MAX``); a workspace hardly ever has one."""


class Contradictions:
    """The proofs that this node holds: one for each node, however often it contradicted itself.

    Invariant: proofs are taken only of nodes that are members then, so there are at most as many
    as members ever were.
    """

    def __init__(self, workspace: WorkspaceId) -> None:
        self._workspace = workspace
        self._proofs: dict[NodeId, EquivocationProof] = {}

    @property
    def nodes(self) -> frozenset[NodeId]:
        """Return who is shut out."""
        return frozenset(self._proofs)

    def __contains__(self, node: NodeId) -> bool:
        """Return whether a node is shut out."""
        return node in self._proofs

    def restore(self, proofs: Iterable[EquivocationProof]) -> None:
        """Take proofs that were kept: they were checked before."""
        for proof in proofs:
            self._proofs[proof.certificate.node] = proof

    def is_true(self, proof: EquivocationProof) -> bool:
        """Return whether a proof convinces."""
        return is_equivocation(proof, self._workspace)

    def hold(self, proof: EquivocationProof) -> bool:
        """Keep a checked proof; ``False``: one against this node is held already."""
        return self._proofs.setdefault(proof.certificate.node, proof) is proof

    def tell(
        self, peers: Iterable[NodeId], proofs: Iterable[EquivocationProof]
    ) -> list[MembershipOutput]:
        """Pass proofs on."""
        told = list(proofs)
        return [
            SayTo(peer, Channel.CONTROL, Equivocations(tuple(told[i : i + PROOFS_PER_MESSAGE_MAX])))
            for peer in peers
            for i in range(0, len(told), PROOFS_PER_MESSAGE_MAX)
        ]

    def tell_all(self, peer: NodeId, is_member: Callable[[NodeId], bool]) -> list[MembershipOutput]:
        """Tell a peer that was just met everything that still matters: proofs against members."""
        return self.tell((peer,), (p for node, p in self._proofs.items() if is_member(node)))
