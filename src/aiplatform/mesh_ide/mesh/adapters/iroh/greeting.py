"""The first bytes of a link, and which connection stays when two meet.

Two nodes that dial each other at once make two connections; one must stay on both sides. A node
that restarted, or gave a link up, connects again while its peer still holds the old connection;
then the new one must stay. Both look alike to the peer, hence the greeting: each transport has a
random ``incarnation`` and counts its dials. A dial that its sender began before it accepted the
standing link cannot be newer than that link, so it is a crossing one.
"""

from __future__ import annotations

import struct
from enum import Enum
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import BadFrameError

INCARNATION_BYTES: Final = 8

_LAYOUT: Final = struct.Struct(f">B{INCARNATION_BYTES}sQ")

GREETING_BYTES: Final = _LAYOUT.size
"""The channel's number, which begins every stream; incarnation; serial."""


class Greeting(Struct, frozen=True):
    """Which run of a node speaks, and how many dials it had begun when it did."""

    incarnation: bytes
    serial: int


class Verdict(Enum):
    """What becomes of an incoming connection."""

    ACCEPT = "accept"
    """It becomes the link, in place of any other link or dial."""
    PARK = "park"
    """Our own dial goes first; this one waits for how that ends."""
    DROP = "drop"
    """It is older than the standing link."""


def encode_greeting(greeting: Greeting) -> bytes:
    """Return the first bytes of the control stream."""
    return _LAYOUT.pack(Channel.CONTROL, greeting.incarnation, greeting.serial)


def decode_greeting(first: bytes) -> Greeting:
    """Return the greeting.

    Raises:
        BadFrameError: not the first bytes of a control stream.
    """
    if len(first) != GREETING_BYTES or first[0] != Channel.CONTROL:
        raise BadFrameError("a link begins with the control stream's greeting, not with this")
    _, incarnation, serial = _LAYOUT.unpack(first)
    return Greeting(incarnation, serial)


def judge(
    ours: NodeId, peer: NodeId, guest: Greeting, standing: Greeting | None, *, is_dialling: bool
) -> Verdict:
    """Decide about an incoming connection.

    Args:
        ours: our key.
        peer: the key of who connects.
        guest: the greeting of the new connection.
        standing: what the peer said of itself when the standing link began, if there is one.
        is_dialling: we dial this peer and have no answer yet. The lower key's dial goes first.
    """
    if standing is not None:
        is_same_run = guest.incarnation == standing.incarnation
        return Verdict.DROP if is_same_run and guest.serial <= standing.serial else Verdict.ACCEPT
    return Verdict.PARK if is_dialling and ours < peer else Verdict.ACCEPT
