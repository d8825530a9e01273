"""Session certificates: whose sessions this node knows, and how many it keeps for anybody.

A certificate names a node and one of its sessions and is signed by both, so nobody can make
another node's certificates; but whoever has a key can make any number of its own, and keys cost
nothing. Both are bounded: what one node on the roster can have kept, and what all others can.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from aiplatform.mesh_ide.identity.records import CUT_SESSIONS_MAX
from aiplatform.mesh_ide.identity.sessions import is_certificate
from aiplatform.mesh_ide.mesh.outputs import KeepCertificate, MembershipOutput, Warned
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, WorkspaceId, short

SESSIONS_PER_NODE_MAX: Final = CUT_SESSIONS_MAX
"""Certificates kept of one member: as many sessions as its removal could name, a new one every
half hour for a year. 8 MB in memory and 4 MB in the store."""

SESSIONS_OF_STRANGERS_MAX: Final = 1024
"""Certificates kept of nodes that are not on the roster, all together. There are honest ones: an
admission can be on its way while its subject's entries, vouched for by who delivers them, are
here already. It arrives within a moment, and then they count for that member."""


class CertificateBook:
    """The certificates that this node keeps.

    Invariant: ``_counts`` has the number of certificates in ``known`` of each node.
    """

    def __init__(
        self,
        workspace: WorkspaceId,
        is_on_roster: Callable[[NodeId], bool],
        label: Callable[[NodeId], str],
    ) -> None:
        """Begin with none.

        Args:
            workspace: what certificates are bound to.
            is_on_roster: whether a node is or was a member.
            label: what people call a node.
        """
        self._workspace = workspace
        self._is_on_roster = is_on_roster
        self._label = label
        self.known: dict[SessionId, SessionCertificate] = {}
        self._counts: Counter[NodeId] = Counter()

    def restore(self, certificates: Iterable[SessionCertificate]) -> None:
        """Take certificates that were kept, or are our own: nothing is checked again."""
        for certificate in certificates:
            if certificate.session not in self.known:
                self._counts[certificate.node] += 1
            self.known[certificate.session] = certificate

    def take(self, certificates: Iterable[SessionCertificate]) -> list[MembershipOutput]:
        """Check and keep what is new; nothing more is taken after the first that is refused.

        No honest node passes a forged certificate on, and one over a bound is hardly ever honest:
        so a message of bad ones costs two signatures and one warning.
        """
        out: list[MembershipOutput] = []
        for certificate in certificates:
            if certificate.session in self.known:
                continue
            objection = self._objection(certificate)
            if objection is not None:
                return [*out, Warned(objection)]
            self.restore((certificate,))
            out.append(KeepCertificate(certificate))
        return out

    def _objection(self, certificate: SessionCertificate) -> str | None:
        """Return why a certificate is not kept: the bounds before the costly signatures."""
        node = certificate.node
        if self._counts[node] >= SESSIONS_PER_NODE_MAX:
            return (
                f"{self._label(node)} has begun {SESSIONS_PER_NODE_MAX} sessions: no more of them "
                "are known here, and what it writes in new ones is not taken. Remove it and let "
                "it join again, which gives it a fresh key"
            )
        if not self._is_on_roster(node) and self._strangers() >= SESSIONS_OF_STRANGERS_MAX:
            return (
                f"{SESSIONS_OF_STRANGERS_MAX} sessions of nodes that are no members are known: "
                "no more are taken before the admission of their nodes is known here"
            )
        if not is_certificate(certificate, self._workspace):
            return f"a forged certificate of {short(certificate.session)}"
        return None

    def _strangers(self) -> int:
        """Count certificates of nodes off the roster; asked for such nodes only."""
        return sum(count for node, count in self._counts.items() if not self._is_on_roster(node))

    def _check_invariants(self) -> None:
        counted = Counter(certificate.node for certificate in self.known.values())
        assert counted == +self._counts, "certificates are miscounted"
