"""Virtual links: what the Transport port promises, and no more than that.

A link keeps the order within a channel and loses nothing while it stands; channels are
independent of each other. What is in flight is lost when a link breaks. A partition holds frames
back, as QUIC does that sends again; whoever has given the link up meanwhile never sees them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final, Protocol

from msgspec import Struct

from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import NodeId, short
from aiplatform.mesh_ide.model.messages import AnyMessage
from aiplatform.mesh_ide.ports.errors import PeerUnreachableError
from aiplatform.mesh_ide.ports.transport import LinkEnd
from aiplatform.mesh_ide.simulation.clock import US_PER_MS, Agenda
from aiplatform.mesh_ide.simulation.faults import Faults

UNREACHABLE_MS: Final = 1000
"""After this a dial is answered that nobody hears."""

IDLE_TIMEOUT_MS: Final = 30_000
"""After this QUIC itself gives up a link whose other end is gone."""

SLOWER: Final = 20

Frame = bytes | AnyMessage
"""What is carried; nothing here looks into it. Worlds that save the time to encode and decode send
messages as they are."""

Reply = Callable[[bytes | MeshIDEError], None]


class Linked(Protocol):
    """A node as the network sees it."""

    allowed: frozenset[NodeId]

    def link_up(self, peer: NodeId, address: str) -> None:
        """A link stands."""

    def link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        """A link ended, or a dial failed."""

    def frame(self, peer: NodeId, channel: Channel, frame: Frame) -> None:
        """A frame arrived."""


class Door(Protocol):
    """A node that answers strangers who ask to join."""

    def join_asked(self, peer: NodeId, request: bytes, reply: Reply) -> None:
        """Somebody asks; ``reply`` takes the answer, now or later."""


class _Parcel(Struct, frozen=True):
    """A frame on its way."""

    to: NodeId
    channel: Channel
    frame: Frame
    landed: Callable[[], None]


def _nothing() -> None:
    """Tell nobody."""


class _Link:
    """Two ends; each knows of its own only."""

    def __init__(self, one: NodeId, other: NodeId) -> None:
        self.ends = {one, other}
        self.last_us: dict[tuple[NodeId, Channel], int] = {}
        self.held: list[_Parcel] = []

    def other(self, node: NodeId) -> NodeId | None:
        """Return the far end, if it still stands."""
        return next((end for end in self.ends if end != node), None)


class Network:
    """All links of a world.

    Invariants:
        1. a node has at most one end for each peer, and hears one down for each up.
        2. frames of one link and channel arrive in the order they were sent.
        3. a node has at most one dial under way for each peer, and hears one up or down for it.
    """

    def __init__(self, agenda: Agenda, random: Random, faults: Faults) -> None:
        self._agenda = agenda
        self._random = random
        self.faults = faults
        self._nodes: dict[NodeId, Linked] = {}
        self._doors: dict[NodeId, Door] = {}
        self._dials: dict[tuple[NodeId, NodeId], object] = {}
        self._ends: dict[tuple[NodeId, NodeId], _Link] = {}
        self._side: dict[NodeId, int] = {}
        self._delay_us: dict[frozenset[NodeId], int] = {}
        self.in_flight = 0

    # --- nodes -------------------------------------------------------------------------------

    def attach(self, node: NodeId, linked: Linked, door: Door | None = None) -> None:
        """Let a node that started be reached, by strangers too if it has a door."""
        self._nodes[node] = linked
        if door is not None:
            self._doors[node] = door

    def leave(self, node: NodeId, detail: str) -> None:
        """Let a node go that says so: it and its peers hear the end of each link."""
        linked = self._nodes[node]
        for near, far in [key for key in (*self._ends, *self._dials) if key[0] == node]:
            self._cut(near, far, detail, LinkEnd.CLOSED_BY_PEER)
            linked.link_down(far, LinkEnd.CLOSED_BY_US, detail)
        self._forget(node)

    def _forget(self, node: NodeId) -> None:
        self._nodes.pop(node, None)
        self._doors.pop(node, None)
        for key in [key for key in self._dials if key[0] == node]:
            del self._dials[key]

    def crash(self, node: NodeId) -> None:
        """Let a node vanish without a word; its peers keep ends that nothing comes out of."""
        self._forget(node)
        for near, far in [key for key in self._ends if key[0] == node]:
            link = self._ends.pop((near, far))
            link.ends.discard(near)
            give_up = partial(self._drop, link, far, near, LinkEnd.LOST, "timed out")
            self._agenda.after(IDLE_TIMEOUT_MS * US_PER_MS, give_up)

    def allow(self, node: NodeId) -> None:
        """End links that a node's changed list of peers forbids."""
        allowed = self._nodes[node].allowed
        for near, far in [key for key in self._ends if key[0] == node]:
            if far not in allowed:
                self.disconnect(near, far, "no longer a member", LinkEnd.REFUSED)

    # --- links -------------------------------------------------------------------------------

    def has_link(self, near: NodeId, far: NodeId) -> bool:
        """Return whether a node has an end of a link to a peer (which may be dead)."""
        return (near, far) in self._ends

    def dial(self, near: NodeId, far: NodeId, addresses: Sequence[str]) -> None:
        """Begin to connect, unless it does or is linked already; the dialler hears how it went."""
        if (near, far) in self._ends or (near, far) in self._dials:
            return
        this = self._dials[near, far] = object()
        is_right = address_of(far) in addresses
        connect = partial(self._connect, near, far, this, is_right=is_right)
        self._agenda.after(self._one_way_us(near, far) * 2, self._bound(near, connect))

    def _bound(self, node: NodeId, action: Callable[[], None]) -> Callable[[], None]:
        """Return an action that happens only if the node has not died meanwhile."""
        linked = self._nodes.get(node)

        def guarded() -> None:
            if linked is not None and self._nodes.get(node) is linked:
                action()

        return guarded

    def _connect(self, near: NodeId, far: NodeId, this: object, *, is_right: bool) -> None:
        if self._dials.get((near, far)) is not this:
            return  # given up, or the other's dial came first
        here, there = self._nodes[near], self._nodes.get(far)
        if far not in here.allowed:
            del self._dials[near, far]
            here.link_down(far, LinkEnd.CLOSED_BY_US, "not a member: not dialled")
        elif there is None or not is_right or self.is_parted(near, far):
            tell = self._bound(near, partial(self._give_up, near, far, this))
            self._agenda.after(UNREACHABLE_MS * US_PER_MS, tell)
        elif near not in there.allowed:
            del self._dials[near, far]
            here.link_down(far, LinkEnd.REFUSED, "the peer does not know this node as a member")
        else:
            self._join(near, here, far, there)

    def _join(self, near: NodeId, here: Linked, far: NodeId, there: Linked) -> None:
        """Make the link; both ends come up in one step, so crossing dials make one."""
        stale = self._ends.pop((far, near), None)
        if stale is not None:
            stale.ends.clear()
            there.link_down(near, LinkEnd.LOST, "replaced by a newer connection of the peer")
        self._dials.pop((near, far), None)
        self._dials.pop((far, near), None)
        link = _Link(near, far)
        self._ends[near, far] = self._ends[far, near] = link
        here.link_up(far, address_of(far))
        there.link_up(near, "")

    def _give_up(self, near: NodeId, far: NodeId, this: object) -> None:
        if self._dials.get((near, far)) is this:
            del self._dials[near, far]
            self._nodes[near].link_down(far, LinkEnd.UNREACHABLE, "nobody answers")

    def disconnect(
        self,
        near: NodeId,
        far: NodeId,
        detail: str,
        told_as: LinkEnd = LinkEnd.CLOSED_BY_PEER,
    ) -> None:
        """End a link or a dial from one side; what was in flight is lost."""
        if self._cut(near, far, detail, told_as):
            tell = self._bound(
                near, lambda: self._nodes[near].link_down(far, LinkEnd.CLOSED_BY_US, detail)
            )
            self._agenda.after(0, tell)

    def _cut(self, near: NodeId, far: NodeId, detail: str, told_as: LinkEnd) -> bool:
        """Take a node's end away, and let the other hear of it; ``False``: there was none."""
        if self._dials.pop((near, far), None) is not None:
            return True
        link = self._ends.pop((near, far), None)
        if link is None:
            return False
        link.ends.discard(near)
        delay_us = self._one_way_us(near, far)
        if self.is_parted(near, far):
            delay_us += IDLE_TIMEOUT_MS * US_PER_MS
            told_as, detail = LinkEnd.LOST, "timed out"
        self._agenda.after(delay_us, lambda: self._drop(link, far, near, told_as, detail))
        return True

    def _drop(self, link: _Link, near: NodeId, far: NodeId, end: LinkEnd, detail: str) -> None:
        if self._ends.get((near, far)) is link:
            del self._ends[near, far]
            link.ends.discard(near)
            self._nodes[near].link_down(far, end, detail)

    def break_link(self, one: NodeId, other: NodeId) -> None:
        """Break a link, which both ends notice, each in its time."""
        link = self._ends.get((one, other))
        if link is None or len(link.ends) != 2:  # noqa: PLR2004 - a link has two ends
            return
        link.held.clear()
        for near, far in ((one, other), (other, one)):
            self._agenda.after(
                self._random.randrange(200) * US_PER_MS,
                partial(self._drop, link, near, far, LinkEnd.LOST, "the link broke"),
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
            for parcel in held:
                # At once: what was sent later is still on its way and must not come before.
                sender = link.other(parcel.to)
                if sender is not None:
                    self._schedule(link, sender, parcel, self._agenda.now_us)

    def is_parted(self, one: NodeId, other: NodeId) -> bool:
        """Return whether nothing passes between two nodes."""
        return self._side.get(one, 0) != self._side.get(other, 0)

    # --- frames ------------------------------------------------------------------------------

    def send(
        self,
        near: NodeId,
        far: NodeId,
        channel: Channel,
        frame: Frame,
        landed: Callable[[], None] = _nothing,
    ) -> None:
        """Send a frame, if there is a link; ``landed`` is called once it has arrived."""
        link = self._ends.get((near, far))
        if link is None or far not in link.ends:
            return
        self._carry(link, _Parcel(far, channel, frame, landed))
        if self._random.random() < self.faults.duplicate_frame:
            self._carry(link, _Parcel(far, channel, frame, _nothing))

    def _carry(self, link: _Link, parcel: _Parcel) -> None:
        to, channel = parcel.to, parcel.channel
        sender = link.other(to)
        if sender is None:
            return
        arrival_us = max(
            link.last_us.get((to, channel), 0), self._agenda.now_us + self._one_way_us(sender, to)
        )
        link.last_us[to, channel] = arrival_us
        self._schedule(link, sender, parcel, arrival_us)

    def _schedule(self, link: _Link, sender: NodeId, parcel: _Parcel, arrival_us: int) -> None:
        self.in_flight += 1
        self._agenda.at(arrival_us, partial(self._arrive, link, sender, parcel))

    def _arrive(self, link: _Link, sender: NodeId, parcel: _Parcel) -> None:
        self.in_flight -= 1
        to, channel = parcel.to, parcel.channel
        if self._ends.get((to, sender)) is not link or to not in link.ends:
            return
        is_behind = any(held.to == to and held.channel is channel for held in link.held)
        if is_behind or self.is_parted(sender, to):
            link.held.append(parcel)
            return
        self._nodes[to].frame(sender, channel, parcel.frame)
        parcel.landed()

    # --- strangers ---------------------------------------------------------------------------

    def ask(
        self, near: NodeId, far: NodeId, addresses: Sequence[str], request: bytes, reply: Reply
    ) -> None:
        """Carry a request to join to a node's door, and its answer back."""

        def answer(frame: bytes | MeshIDEError) -> None:
            self._agenda.after(self._one_way_us(near, far), partial(reply, frame))

        def knock() -> None:
            door = self._doors.get(far)
            if door is None or address_of(far) not in addresses or self.is_parted(near, far):
                error = PeerUnreachableError(f"{short(far)} does not answer")
                self._agenda.after(UNREACHABLE_MS * US_PER_MS, partial(reply, error))
            else:
                door.join_asked(near, request, answer)

        self._agenda.after(self._one_way_us(near, far), knock)

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
