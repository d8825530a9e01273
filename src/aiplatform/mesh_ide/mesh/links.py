"""The links of one node: which stand, which are silent, whom to dial and when.

A link on which nothing arrives for ``SILENCE_MS`` although something depends on it is ended here:
QUIC itself notices a killed peer only after 30 s (measured).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from blake3 import blake3
from msgspec import Struct

from aiplatform.mesh_ide.mesh.outputs import Dial, Disconnect, MembershipOutput, PeerGone, SayTo
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import Hello, Ping, Pong

PING_BUSY_MS: Final = 500
PING_IDLE_MS: Final = 15_000
SILENCE_MS: Final = 1_700
"""With a tick every 100 ms a dead peer on which something depends is noticed within 2 s."""

ANSWER_MS: Final = SILENCE_MS - PING_BUSY_MS
"""... but nobody is given up before a question had this long to be answered: a link that was idle
for ten seconds when something began to depend on it would end with the next tick."""

SILENCE_IDLE_MS: Final = 45_000
BACKOFF_FIRST_MS: Final = 300
BACKOFF_MAX_MS: Final = 30_000
DIAL_LIMIT_MS: Final = 12_000
"""The transport answers a dial within 10 s; a dial that got no answer is forgotten after this."""


class Link(Struct):
    """What is known of the link to one peer, standing or not."""

    is_up: bool = False
    is_ready: bool = False
    heard_ms: int = 0
    pinged_ms: int = 0
    asked_ms: int | None = None
    """When the first question was sent since something was heard; ``None``: none is open."""
    nonce: int = 0
    rtt_ms: float | None = None
    hello: Hello | None = None
    clock_ahead_ms: int | None = None
    dialled_ms: int = -1
    next_dial_ms: int = 0
    failures: int = 0
    detail: str = ""

    def hear(self, now_ms: int) -> None:
        """Note that the peer said something."""
        self.heard_ms = now_ms
        self.asked_ms = None

    def measure(self, pong: Pong, now_ms: int) -> None:
        """Take the round trip from the answer to the last question."""
        if pong.nonce == self.nonce:
            self.rtt_ms = float(max(0, now_ms - pong.sent_ms))


class Links:
    """One entry for each peer that this node may be linked with.

    Invariant: ``PeerReady`` and ``PeerGone`` alternate per peer.
    """

    def __init__(self, me: NodeId) -> None:
        self._me = me
        self._links: dict[NodeId, Link] = {}

    def get(self, peer: NodeId) -> Link | None:
        """Return what is known of a peer's link; ``None``: it is nobody to link with."""
        return self._links.get(peer)

    def linked(self, peer: NodeId) -> Link | None:
        """Return a peer's link if it stands."""
        link = self._links.get(peer)
        return link if link is not None and link.is_up else None

    def peers(self) -> Iterable[NodeId]:
        """Return everybody whom this node may be linked with."""
        return self._links

    def standing(self) -> tuple[NodeId, ...]:
        """Return the peers whose links are up, greeted or not."""
        return tuple(peer for peer, link in self._links.items() if link.is_up)

    def ready(self) -> tuple[NodeId, ...]:
        """Return the peers that are linked and greeted."""
        return tuple(peer for peer, link in self._links.items() if link.is_ready)

    def restrict(
        self, peers: frozenset[NodeId], details: Mapping[NodeId, str], now_ms: int
    ) -> list[MembershipOutput]:
        """Have an entry for exactly these peers; links of others end.

        Args:
            peers: whom this node may be linked with.
            details: why somebody is not among them; ``no longer a member`` otherwise.
            now_ms: from when on the new ones may be dialled.
        """
        out: list[MembershipOutput] = []
        for peer in list(self._links):
            if peer not in peers:
                link = self._links.pop(peer)
                detail = details.get(peer, "no longer a member")
                if link.is_ready:
                    out.append(PeerGone(peer, detail))
                if link.is_up:
                    out.append(Disconnect(peer, detail))
        for peer in sorted(peers):
            self._links.setdefault(peer, Link(next_dial_ms=now_ms))
        return out

    def up(self, peer: NodeId, now_ms: int) -> list[MembershipOutput]:
        """A link stands; one that was ready counts as gone first."""
        was = self._links[peer]
        self._links[peer] = Link(is_up=True, heard_ms=now_ms, pinged_ms=now_ms, asked_ms=now_ms)
        return [PeerGone(peer, "linked anew")] if was.is_ready else []

    def down(self, peer: NodeId, detail: str, now_ms: int) -> list[MembershipOutput]:
        """A link ended or could not be made; the next dial waits."""
        link = self._links.get(peer)
        if link is None:
            return []
        was_ready = link.is_ready
        failures = 0 if was_ready else link.failures + 1
        pause = min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS << min(failures, 10))
        self._links[peer] = Link(
            failures=failures,
            next_dial_ms=now_ms + pause + self._jitter(peer, now_ms, pause),
            detail=detail,
        )
        return [PeerGone(peer, detail)] if was_ready else []

    def _jitter(self, peer: NodeId, now_ms: int, pause: int) -> int:
        """Spread dials of many nodes; the higher id waits longer, so that dials rarely cross."""
        digest = blake3(self._me + peer + now_ms.to_bytes(8, "big", signed=True)).digest(length=2)
        jitter = int.from_bytes(digest, "big") % max(1, pause // 2)
        return jitter + (BACKOFF_FIRST_MS if self._me > peer else 0)

    def tick(
        self, busy: frozenset[NodeId], addresses: Mapping[NodeId, tuple[str, ...]], now_ms: int
    ) -> list[MembershipOutput]:
        """Ping, notice the dead, dial. ``busy``: peers on which something depends."""
        out: list[MembershipOutput] = []
        for peer, link in list(self._links.items()):
            if link.is_up:
                out.extend(self._watch(peer, link, now_ms, is_busy=peer in busy))
            elif link.dialled_ms >= 0 and now_ms - link.dialled_ms < DIAL_LIMIT_MS:
                continue
            elif now_ms >= link.next_dial_ms and addresses.get(peer):
                link.dialled_ms = now_ms
                out.append(Dial(peer, addresses[peer]))
        return out

    def _watch(
        self, peer: NodeId, link: Link, now_ms: int, *, is_busy: bool
    ) -> list[MembershipOutput]:
        is_busy = is_busy or not link.is_ready
        silence = now_ms - link.heard_ms
        has_asked = link.asked_ms is not None and now_ms - link.asked_ms >= ANSWER_MS
        if has_asked and silence > (SILENCE_MS if is_busy else SILENCE_IDLE_MS):
            detail = f"nothing heard for {silence / 1000:.1f} s"
            return [*self.down(peer, detail, now_ms), Disconnect(peer, detail)]
        if now_ms - link.pinged_ms >= (PING_BUSY_MS if is_busy else PING_IDLE_MS):
            link.nonce += 1
            link.pinged_ms = now_ms
            if link.asked_ms is None:
                link.asked_ms = now_ms
            return [SayTo(peer, Channel.CONTROL, Ping(link.nonce, now_ms))]
        return []

    def redial(self, now_ms: int) -> None:
        """Forget every pause: the network may have come back."""
        for link in self._links.values():
            if not link.is_up:
                link.next_dial_ms = now_ms
                link.dialled_ms = -1

    def state_of(self, peer: NodeId) -> tuple[str, float | None, str]:
        """Return state, round trip in ms and the last detail of a link, for people."""
        link = self._links.get(peer)
        if link is None:
            return "unknown", None, ""
        word = "online" if link.is_ready else "connecting" if link.is_up else "offline"
        return word, link.rtt_ms, link.detail
