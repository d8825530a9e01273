"""Where members were reached, and what their frames are sealed to: what is passed on of them.

Two nodes that joined through a third one know nothing of each other. It tells each where the
other is, with the other's own signed sealing offer. Addresses are hints (a dial proves the key);
an offer is checked before it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from aiplatform.mesh_ide.identity.sealing import BadSealError, open_offer
from aiplatform.mesh_ide.mesh.links import Links
from aiplatform.mesh_ide.mesh.outputs import KeepAddresses, MembershipOutput, SayTo
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId
from aiplatform.mesh_ide.model.messages import Acquaintances, Whereabouts

MEMBERS_MAX: Final = 1024
ADDRESSES_MAX: Final = 16

OFFERS_CHECKED_MAX: Final = 64
"""Offers of one message whose signatures are looked at, 9 ms; the rest come at another meeting."""


class AddressBook:
    """Addresses of members (kept), and offers of those met in this run (not kept).

    A sealing offer is a session's: it is worth nothing after that session's end, so the one in a
    ``Hello`` of a link that stands counts for more than what others tell.

    Invariant: every offer kept is signed by its node.
    """

    def __init__(self, links: Links, workspace: WorkspaceId) -> None:
        self._links = links
        self._workspace = workspace
        self.addresses: dict[NodeId, tuple[str, ...]] = {}
        self._offers: dict[NodeId, bytes] = {}

    def offer_of(self, node: NodeId) -> bytes:
        """Return the sealing offer heard of a member; empty: none is known."""
        return self._offers.get(node, b"")

    def learn(self, peer: NodeId, addresses: tuple[str, ...]) -> list[MembershipOutput]:
        """Take what is known now of where a member can be reached, the best first."""
        kept = tuple(dict.fromkeys(addresses))[:ADDRESSES_MAX]
        if kept == self.addresses.get(peer):
            return []
        self.addresses[peer] = kept
        return [KeepAddresses(peer, kept)]

    def learn_first(self, peer: NodeId, addresses: tuple[str, ...]) -> list[MembershipOutput]:
        """Put addresses before those known."""
        return self.learn(peer, (*addresses, *self.addresses.get(peer, ())))

    def take_offer(self, node: NodeId, offer: bytes) -> None:
        """Remember what a member's frames are sealed to (checked with its greeting)."""
        if offer:
            self._offers[node] = offer

    def _is_offer(self, told: Whereabouts) -> bool:
        try:
            open_offer(told.sealing, told.node, self._workspace)
        except BadSealError:
            return False
        return True

    def introduce(self, newcomer: NodeId) -> list[MembershipOutput]:
        """Tell a peer where the others are, and the others where it is."""
        known = [
            self._whereabouts(node)
            for node in sorted(self._links.peers())
            if node != newcomer and self.addresses.get(node)
        ]
        out: list[MembershipOutput] = [
            SayTo(newcomer, Channel.CONTROL, Acquaintances(tuple(known[i : i + MEMBERS_MAX])))
            for i in range(0, len(known), MEMBERS_MAX)
        ]
        if self.addresses.get(newcomer):
            told = Acquaintances((self._whereabouts(newcomer),))
            out.extend(
                SayTo(peer, Channel.CONTROL, told)
                for peer in self._links.ready()
                if peer != newcomer
            )
        return out

    def _whereabouts(self, node: NodeId) -> Whereabouts:
        return Whereabouts(node, self.addresses[node], self.offer_of(node))

    def on_told(
        self, members: Iterable[Whereabouts], on_fresh: Callable[[NodeId], None]
    ) -> list[MembershipOutput]:
        """Learn where members are that are not linked; what we knew ourselves comes first.

        Args:
            members: what a peer says; of strangers nothing is kept.
            on_fresh: told of a member with a new address.
        """
        out: list[MembershipOutput] = []
        unchecked = OFFERS_CHECKED_MAX
        for told in members:
            link = self._links.get(told.node)
            if link is None or link.is_up:
                continue
            if unchecked and told.sealing not in {b"", self.offer_of(told.node)}:
                unchecked -= 1
                if self._is_offer(told):
                    self.take_offer(told.node, told.sealing)
            learnt = self.learn(told.node, (*self.addresses.get(told.node, ()), *told.addresses))
            if learnt:
                on_fresh(told.node)
            out.extend(learnt)
        return out
