"""Links to other nodes: dial by public key, three ordered channels each, refusal of strangers."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""No frame is larger; a peer that announces one is disconnected before it is read."""

JOIN_FRAME_BYTES_MAX = 16 * 1024
"""The one frame that a stranger may send, on the join protocol only."""


class LinkEnd(Enum):
    """Why a link ended."""

    CLOSED_BY_US = "closed by us"
    CLOSED_BY_PEER = "closed by the peer"
    LOST = "lost"
    REFUSED = "refused by the peer"
    UNREACHABLE = "unreachable"
    FAULT = "peer fault"


class LinkStats(Struct, frozen=True):
    """What is measured of one link now."""

    peer: NodeId
    address: str
    rtt_ms: float | None
    sent_bytes: int
    received_bytes: int
    queued_bytes: int


class LinkListener(Protocol):
    """Who is told. Calls come one at a time, on the event loop, and must not block.

    Per link: exactly one ``on_link_up``, then frames (ordered within a channel), then exactly
    one ``on_link_down``. A dial that fails gives one ``on_link_down`` without an up.
    """

    def on_link_up(self, peer: NodeId, address: str) -> None:
        """A link to an allowed peer stands. Of two crossing dials one link survives."""

    def on_link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        """The link ended, or could not be made."""

    def on_frame(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """A whole frame arrived."""

    async def on_join(self, peer: NodeId, request: bytes) -> bytes:
        """Answer the one frame of somebody who asks to join (``peer`` is the proven key)."""


class Transport(Protocol):
    """One node's links. Frames are bytes: what they mean is decided above."""

    async def start(self, listener: LinkListener) -> tuple[str, ...]:
        """Listen and return the addresses under which others may dial us (``ip:port``).

        Raises:
            AddressInUseError: the port is taken and no other was allowed.
        """

    def allow(self, peers: frozenset[NodeId]) -> None:
        """Accept links from these keys alone; links of others end, their bytes are never read."""

    def dial(self, peer: NodeId, addresses: Sequence[str]) -> None:
        """Begin to connect; the listener hears how it went within 10 s.

        Idempotent while connected, and while dialling there; with other addresses than those that
        it goes to, a dial under way begins anew.
        """

    def send_nowait(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """Queue a frame.

        Raises:
            NoLinkError: there is no link to this peer.
            LinkFullError: the channel's queue is at its bound (the caller slows down).
            FrameTooLargeError: over ``FRAME_BYTES_MAX``.
        """

    async def send(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """Queue a frame once there is room; raises as ``send_nowait`` but for a full queue."""

    def disconnect(self, peer: NodeId, detail: str) -> None:
        """End the link; the listener hears ``CLOSED_BY_US``. No link: nothing happens."""

    async def request_join(
        self, peer: NodeId, addresses: Sequence[str], request: bytes, timeout_s: float
    ) -> bytes:
        """Send one frame over the join protocol and return the one answer.

        Raises:
            PeerUnreachableError: nobody answered at these addresses in time.
        """

    def stats(self) -> tuple[LinkStats, ...]:
        """Return what is measured of each standing link."""

    async def close(self) -> None:
        """End every link and stop listening; idempotent."""
