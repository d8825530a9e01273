"""Virtual links: what the Transport port promises, and no more than that.

A link keeps the order within a channel and loses nothing while it stands; channels are
independent of each other. What is in flight is lost when a link breaks. A partition holds frames
back, as QUIC does that sends again; whoever has given the link up meanwhile never sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import Final, Protocol

from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage
from aiplatform.mesh_ide.simulation.clock import US_PER_MS, Agenda
from aiplatform.mesh_ide.simulation.faults import Faults

UNREACHABLE_MS: Final = 1000
"""After this a dial is answered that nobody hears."""

IDLE_TIMEOUT_MS: Final = 30_000
"""After this QUIC itself gives up a link whose other end is gone."""

SLOWER: Final = 20

Frame = bytes | AnyMessage


class Linked(Protocol):
    """A node as the network sees it."""

    allowed: frozenset[NodeId]

    def link_up(self, peer: NodeId, address: str) -> None:
        """A link stands."""

    def link_down(self, peer: NodeId, detail: str) -> None:
        """A link ended, or a dial failed."""

    def message(self, peer: NodeId, message: AnyMessage) -> None:
        """A message arrived."""


class _Link:
    """Two ends; each knows of its own only."""

    def __init__(self, one: NodeId, other: NodeId) -> None:
        self.ends = {one, other}
        self.last_us: dict[tuple[NodeId, Channel], int] = {}
        self.held: list[tuple[NodeId, Channel, Frame]] = []

    def other(self, node: NodeId) -> NodeId | None:
        """Return the far end, if it still stands."""
        return next((end for end in self.ends if end != node), None)


class Network:
    """All links of a world.

    Invariants:
        1. a node has at most one end for each peer, and hears one down for each up.
        2. frames of one link and channel arrive in the order they were sent.
    """

    def __init__(self, agenda: Agenda, random: Random, faults: Faults) -> None:
        self._agenda = agenda
        self._random = random
        self.faults = faults
        self._nodes: dict[NodeId, Linked] = {}
        self._ends: dict[tuple[NodeId, NodeId], _Link] = {}
        self._side: dict[NodeId, int] = {}
        self._delay_us: dict[frozenset[NodeId], int] = {}
        self.in_flight = 0

    # --- nodes -------------------------------------------------------------------------------

    def attach(self, node: NodeId, linked: Linked) -> None:
        """Let a node that started be reached."""
        self._nodes[node] = linked

    def crash(self, node: NodeId) -> None:
        """Let a node vanish without a word; its peers keep ends that nothing comes out of."""
        self._nodes.pop(node, None)
        for near, far in [key for key in self._ends if key[0] == node]:
            link = self._ends.pop((near, far))
            link.ends.discard(near)
            give_up = partial(self._drop, link, far, near, "timed out")
            self._agenda.after(IDLE_TIMEOUT_MS * US_PER_MS, give_up)

    def allow(self, node: NodeId) -> None:
        """End links that a node's changed list of peers forbids."""
        allowed = self._nodes[node].allowed
        for near, far in [key for key in self._ends if key[0] == node]:
            if far not in allowed:
                self.disconnect(near, far, "not allowed")

    # --- links -------------------------------------------------------------------------------

    def dial(self, near: NodeId, far: NodeId) -> None:
        """Begin to connect; the dialler hears how it went."""
        if (near, far) not in self._ends:
            self._agenda.after(
                self._one_way_us(near, far) * 2, self._bound(near, lambda: self._connect(near, far))
            )

    def _bound(self, node: NodeId, action: Callable[[], None]) -> Callable[[], None]:
        """Return an action that happens only if the node has not died meanwhile."""
        linked = self._nodes.get(node)

        def guarded() -> None:
            if linked is not None and self._nodes.get(node) is linked:
                action()

        return guarded

    def _connect(self, near: NodeId, far: NodeId) -> None:
        if (near, far) in self._ends:
            return
        there = self._nodes.get(far)
        if there is None or self.is_parted(near, far):
            tell = self._bound(near, lambda: self._give_up(near, far))
            self._agenda.after(UNREACHABLE_MS * US_PER_MS, tell)
            return
        if near not in there.allowed or far not in self._nodes[near].allowed:
            self._nodes[near].link_down(far, "refused by the peer")
            return
        stale = self._ends.pop((far, near), None)
        if stale is not None:
            stale.ends.clear()
            there.link_down(near, "the peer dialled anew")
        link = _Link(near, far)
        self._ends[near, far] = self._ends[far, near] = link
        self._nodes[near].link_up(far, address_of(far))
        there.link_up(near, "")

    def _give_up(self, near: NodeId, far: NodeId) -> None:
        if (near, far) not in self._ends:  # the other side may have dialled meanwhile
            self._nodes[near].link_down(far, "unreachable")

    def disconnect(self, near: NodeId, far: NodeId, detail: str) -> None:
        """End a link from one side; what was in flight is lost."""
        link = self._ends.pop((near, far), None)
        if link is None:
            return
        link.ends.discard(near)
        tell = self._bound(
            near, lambda: self._nodes[near].link_down(far, f"closed by us: {detail}")
        )
        self._agenda.after(0, tell)
        delay_us = self._one_way_us(near, far)
        if self.is_parted(near, far):
            delay_us += IDLE_TIMEOUT_MS * US_PER_MS
        self._agenda.after(delay_us, lambda: self._drop(link, far, near, "closed by the peer"))

    def _drop(self, link: _Link, near: NodeId, far: NodeId, detail: str) -> None:
        if self._ends.get((near, far)) is link:
            del self._ends[near, far]
            link.ends.discard(near)
            self._nodes[near].link_down(far, detail)

    def break_link(self, one: NodeId, other: NodeId) -> None:
        """Break a link, which both ends notice, each in its time."""
        link = self._ends.get((one, other))
        if link is None or len(link.ends) != 2:  # noqa: PLR2004 - a link has two ends
            return
        link.held.clear()
        for near, far in ((one, other), (other, one)):
            self._agenda.after(
                self._random.randrange(200) * US_PER_MS,
                lambda near=near, far=far: self._drop(link, near, far, "lost"),  # type: ignore[misc]
            )
        link.ends.clear()

    def links(self) -> list[tuple[NodeId, NodeId]]:
        """Return the pairs between which a link stands, each once."""
        return sorted(key for key in self._ends if key[0] < key[1])

    # --- partitions --------------------------------------------------------------------------

    def part(self, sides: dict[NodeId, int]) -> None:
        """Let nothing pass between nodes of different sides; ``{}`` heals."""
        self._side = sides
        for link in dict.fromkeys(self._ends.values()):
            held, link.held = link.held, []
            for to, channel, frame in held:
                # At once: what was sent later is still on its way and must not come before.
                sender = link.other(to)
                if sender is not None:
                    self._schedule(link, sender, to, channel, frame, self._agenda.now_us)

    def is_parted(self, one: NodeId, other: NodeId) -> bool:
        """Return whether nothing passes between two nodes."""
        return self._side.get(one, 0) != self._side.get(other, 0)

    # --- frames ------------------------------------------------------------------------------

    def send(self, near: NodeId, far: NodeId, channel: Channel, message: AnyMessage) -> None:
        """Send a message, if there is a link."""
        link = self._ends.get((near, far))
        if link is None:
            return
        frame: Frame = encode(message) if self.faults.encodes else message
        if far not in link.ends:
            return
        self._carry(link, far, channel, frame)
        if self._random.random() < self.faults.duplicate_frame:
            self._carry(link, far, channel, frame)

    def _carry(self, link: _Link, to: NodeId, channel: Channel, frame: Frame) -> None:
        sender = link.other(to)
        if sender is None:
            return
        arrival_us = max(
            link.last_us.get((to, channel), 0), self._agenda.now_us + self._one_way_us(sender, to)
        )
        link.last_us[to, channel] = arrival_us
        self._schedule(link, sender, to, channel, frame, arrival_us)

    def _schedule(  # noqa: PLR0913 - one frame's way
        self,
        link: _Link,
        sender: NodeId,
        to: NodeId,
        channel: Channel,
        frame: Frame,
        arrival_us: int,
    ) -> None:
        self.in_flight += 1
        self._agenda.at(arrival_us, lambda: self._arrive(link, sender, to, channel, frame))

    def _arrive(
        self, link: _Link, sender: NodeId, to: NodeId, channel: Channel, frame: Frame
    ) -> None:
        self.in_flight -= 1
        if self._ends.get((to, sender)) is not link or to not in link.ends:
            return
        is_behind = any(item[0] == to and item[1] is channel for item in link.held)
        if is_behind or self.is_parted(sender, to):
            link.held.append((to, channel, frame))
            return
        self._nodes[to].message(sender, decode(frame) if isinstance(frame, bytes) else frame)

    def _one_way_us(self, one: NodeId, other: NodeId) -> int:
        pair = frozenset((one, other))
        base_us = self._delay_us.get(pair)
        if base_us is None:
            least, most = self.faults.link_delay_ms
            base_us = int(self._random.uniform(least, most) * US_PER_MS)
            if self._random.random() < self.faults.slow_link:
                base_us *= SLOWER
            self._delay_us[pair] = base_us
        return base_us + self._random.randrange(1 + base_us // 2)


def address_of(node: NodeId) -> str:
    """Return where a simulated node is dialled."""
    return f"sim:{node.hex()[:16]}"
