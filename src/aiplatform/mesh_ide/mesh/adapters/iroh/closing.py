"""Why connections end: our codes, and what iroh's words for an end mean to a listener."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from iroh import Connection
from msgspec import Struct

from aiplatform.mesh_ide.ports.transport import LinkEnd

DETAIL_CHARS_MAX: Final = 200
"""A reason travels in one CONNECTION_CLOSE frame and is shown to people."""

_BY_PEER: Final = re.compile(
    r"closed by peer: (?:(?P<reason>.*) \(code (?P<code>\d+)\)|(?P<bare>\d+))\s*\Z", re.DOTALL
)
"""quinn's words for an application close; without a reason it prints the code alone."""


class CloseCode(IntEnum):
    """Application error codes of CONNECTION_CLOSE (RFC 9000, section 20.2). Never renumber."""

    SHUTDOWN = 0
    """The process ends; also what iroh itself sends when an endpoint closes."""
    DISCONNECT = 1
    REFUSED = 2
    """The key is not on the list."""
    FAULT = 3
    """The other side broke the protocol."""
    CROSSED = 4
    """Of two crossing dials the other one stays."""
    REPLACED = 5
    """The same key connected anew."""
    BUSY = 6
    """Too many join requests."""


class Ended(Struct, frozen=True):
    """Why a link is no more, or never came to be, as its listener will hear it."""

    end: LinkEnd
    detail: str


class LinkOverError(Exception):
    """Ends a link, or a dial, from inside.

    Keep what it says (``ended``), never the error itself: its traceback holds the frames, they
    hold the streams, and an endpoint's socket stays bound as long as one of them lives.
    """

    def __init__(self, end: LinkEnd, detail: str) -> None:
        super().__init__(detail)
        self.ended = Ended(end, detail)


def close(connection: Connection, code: CloseCode, detail: str) -> None:
    """Close at once; what is queued is lost, the peer hears the reason."""
    connection.close(int(code), _printable(detail).encode()[:DETAIL_CHARS_MAX])


_OTHER_KEY: Final = "invalid peer certificate"
"""What rustls says when the key at the other end is not the one that was dialled."""


def is_other_key(words: str) -> bool:
    """Return whether iroh's words for a failed dial say that another node answered."""
    return _OTHER_KEY in words


def explain(reason: str) -> Ended:
    """Return what iroh's ``close_reason`` or connect error means.

    The peer's own words are shortened and made printable.
    """
    found = _BY_PEER.search(reason)
    if found is None:
        last = reason.strip().rpartition("\n")[2]  # iroh prints a chain of causes, the root last
        how = "no answer for 30 s" if last.endswith("timed out") else _printable(last)
        if is_other_key(reason):
            how = "another node answers at this address, so it is elsewhere now"
        return Ended(LinkEnd.LOST, how)
    words = _printable(found["reason"] or "")
    code = int(found["code"] or found["bare"])
    if code == CloseCode.REFUSED:
        return Ended(LinkEnd.REFUSED, words or "the peer does not know this node")
    if code == CloseCode.FAULT:
        return Ended(LinkEnd.CLOSED_BY_PEER, f"the peer says we broke the protocol: {words}")
    return Ended(LinkEnd.CLOSED_BY_PEER, words or "the peer left")


def how_it_ended(connection: Connection, error: Exception) -> Ended:
    """Return why a call on a connection or stream failed.

    While the connection stands, only the peer can have broken a stream, which is a fault.
    """
    reason = connection.close_reason()
    if reason is None:
        return Ended(LinkEnd.FAULT, f"the peer broke a stream off: {_printable(str(error))}")
    return explain(reason)


def _printable(words: str) -> str:
    kept = "".join(c if c.isprintable() else " " for c in words[: 4 * DETAIL_CHARS_MAX])
    return " ".join(kept.split())[:DETAIL_CHARS_MAX]
