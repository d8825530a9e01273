"""Tickets: one line of text with which one node may join, once and until it expires.

The text is ``mesh1`` followed by base32 (RFC 4648, lower case, no padding) of a format byte, a
MessagePack array and a checksum. Base32 survives what carries text about: other case, line
breaks, quotes, invisible characters. The format byte makes the first letter an ``a``, so that
the number in the prefix can never run into the data.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec
from blake3 import blake3
from msgspec import Struct

from aiplatform.mesh_ide.identity.entry_rules import NUMBER_MAX
from aiplatform.mesh_ide.identity.keys import statement
from aiplatform.mesh_ide.identity.records import TICKET_ID_BYTES, is_name
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.errors import LocalError, NotPermittedError
from aiplatform.mesh_ide.model.ids import KEY_BYTES, NodeId, WorkspaceId

if TYPE_CHECKING:
    from aiplatform.mesh_ide.identity.roster import Roster

SECRET_BYTES: Final = 32
ADDRESSES_MAX: Final = 16
ADDRESS_CHARS_MAX: Final = 128
RELAY_CHARS_MAX: Final = 256
TICKET_CHARS_MAX: Final = 16 * 1024
"""The longest ticket has 4,700 characters; the rest is room for quotes and line breaks."""

_PREFIX: Final = "mesh1"
_FORMAT: Final = 1
_CHECKSUM_BYTES: Final = 4
"""One damaged ticket in four thousand million passes, and then its secret is wrong."""

_TEXT: Final = re.compile(r"mesh(\d{1,4})(?:([a-z].*))?", re.ASCII)
_NOISE: Final = frozenset("\"'`<>=*|")
"""Quotes, mail's quoting marks and soft line ends, and what chats wrap code in."""

_NOISE_CATEGORIES: Final = frozenset({"Cc", "Cf", "Zs", "Zl", "Zp", "Pi", "Pf"})
_CHECKSUM_DOMAIN: Final = b"mesh-ide ticket checksum 1"
_PROOF_CONTEXT: Final = "mesh-ide 2025-01 ticket proof of secret"
_NO_NODE: Final = NodeId(b"")


class TicketFault(Enum):
    """Why a text is not a usable ticket."""

    NOT_A_TICKET = "this is not a ticket: a ticket begins with mesh1"
    CHANGED = "this ticket is cut off or was changed on its way"
    NEWER = "this ticket was made by a newer version"


_ADVICE: Final = {
    TicketFault.NOT_A_TICKET: "copy the whole line that `mesh share` printed",
    TicketFault.CHANGED: "copy it again, from the first to the last character",
    TicketFault.NEWER: "update this program, or let the other side make a ticket with this one",
}


class BadTicketError(LocalError):
    """A text is not a ticket that this version can use.

    Attributes:
        fault: why.
    """

    def __init__(self, fault: TicketFault) -> None:
        """Say what is wrong and what to do."""
        super().__init__(f"{fault.value}: {_ADVICE[fault]}")
        self.fault = fault


class Ticket(Struct, frozen=True, array_like=True):
    """What somebody needs to join: where to ask, and what to prove.

    Attributes:
        workspace: which.
        issuer: the node that redeems it.
        ticket_id: 16 random bytes.
        secret: 32 random bytes; never sent, only proven.
        role: what the newcomer may do.
        expires_ms: by the issuer's clock.
        workspace_name: for people.
        addresses: of the issuer, ``ip:port``.
        relay: URL of a relay, or empty.
    """

    workspace: WorkspaceId
    issuer: NodeId
    ticket_id: bytes
    secret: bytes
    role: Role
    expires_ms: int
    workspace_name: str
    addresses: tuple[str, ...]
    relay: str = ""

    def __repr__(self) -> str:
        """Show all but the secret: reprs end up in logs."""
        return f"Ticket(id={self.ticket_id.hex()}, role={self.role.name}, secret=...)"


class StoredTicket(Struct, frozen=True, array_like=True):
    """What the issuer keeps of a ticket: enough to check a proof, not to write the text again.

    ``used_by`` is empty until somebody was admitted with it.
    """

    ticket_id: bytes
    proof_key: bytes
    role: Role
    expires_ms: int
    used_by: NodeId = _NO_NODE

    def __repr__(self) -> str:
        """Show all but the key."""
        used = self.used_by.hex() or "nobody"
        return f"StoredTicket(id={self.ticket_id.hex()}, used_by={used}, proof_key=...)"


def issue(  # noqa: PLR0913 - one value for each fact the ticket states
    roster: Roster,
    *,
    issuer: NodeId,
    ticket_id: bytes,
    secret: bytes,
    role: Role,
    expires_ms: int,
    now_ms: int,
    workspace_name: str,
    addresses: tuple[str, ...],
    relay: str = "",
) -> tuple[Ticket, StoredTicket]:
    """Make a ticket and what to store of it (before the text is shown to anybody).

    Args:
        roster: as the issuer knows it.
        issuer: this node.
        ticket_id: 16 random bytes.
        secret: 32 random bytes.
        role: at most the issuer's own.
        expires_ms: after ``now_ms``.
        now_ms: this node's clock.
        workspace_name: for people.
        addresses: where this node can be reached; at most ``ADDRESSES_MAX``.
        relay: URL, or empty.

    Raises:
        NotPermittedError: this node is no admin.
        LocalError: the ticket would be expired at once, or a field is out of bounds.
    """
    if not roster.may(issuer, max(role, Role.ADMIN)):
        raise NotPermittedError(
            "this node cannot share the workspace: only admins admit members; ask one of them"
        )
    if expires_ms <= now_ms:
        raise LocalError("the ticket would be expired at once: choose a later time (--expires)")
    ticket = Ticket(
        workspace=roster.workspace,
        issuer=issuer,
        ticket_id=ticket_id,
        secret=secret,
        role=role,
        expires_ms=expires_ms,
        workspace_name=workspace_name,
        addresses=addresses,
        relay=relay,
    )
    if not _is_within_bounds(ticket):
        raise LocalError(
            f"the ticket was not made: the workspace's name needs 1 to 64 visible characters, "
            f"and at most {ADDRESSES_MAX} addresses fit"
        )
    return ticket, StoredTicket(ticket_id, proof_key(secret), role, expires_ms)


def proof_key(secret: bytes) -> bytes:
    """Return the key with which knowledge of a ticket's secret is proven."""
    return blake3(secret, derive_key_context=_PROOF_CONTEXT).digest()


def format_ticket(ticket: Ticket) -> str:
    """Return the text that ``parse`` reads."""
    payload = bytes((_FORMAT,)) + msgspec.msgpack.encode(ticket)
    encoded = base64.b32encode(payload + _checksum(payload)).decode("ascii")
    return _PREFIX + encoded.rstrip("=").lower()


def parse(text: str) -> Ticket:
    """Return the ticket in a text, whatever case, line breaks, quotes or invisibles it came in.

    Whether it is still good is known to its issuer alone.

    Raises:
        BadTicketError: not a ticket, cut off or changed, or of a newer format.
    """
    if len(text) > TICKET_CHARS_MAX:
        raise BadTicketError(TicketFault.NOT_A_TICKET)
    found = _TEXT.fullmatch("".join(char for char in text if not _is_noise(char)).lower())
    if found is None or found[1].startswith("0"):
        raise BadTicketError(TicketFault.NOT_A_TICKET)
    if int(found[1]) != _FORMAT:
        raise BadTicketError(TicketFault.NEWER)
    payload = _checked_payload(found[2] or "")
    if payload[0] != _FORMAT:
        raise BadTicketError(TicketFault.NEWER)
    try:
        ticket = msgspec.msgpack.decode(payload[1:], type=Ticket)
    except (ValueError, RecursionError) as error:
        raise BadTicketError(TicketFault.NEWER) from error
    if not _is_within_bounds(ticket):
        raise BadTicketError(TicketFault.NOT_A_TICKET)
    return ticket


def _checked_payload(encoded: str) -> bytes:
    try:
        data = base64.b32decode(encoded.upper() + "=" * (-len(encoded) % 8))
    except (binascii.Error, ValueError) as error:
        raise BadTicketError(TicketFault.CHANGED) from error
    payload, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if not payload or checksum != _checksum(payload):
        raise BadTicketError(TicketFault.CHANGED)
    return payload


def _checksum(payload: bytes) -> bytes:
    return blake3(statement(_CHECKSUM_DOMAIN, payload)).digest(_CHECKSUM_BYTES)


def _is_noise(char: str) -> bool:
    return char in _NOISE or unicodedata.category(char) in _NOISE_CATEGORIES


def _is_within_bounds(ticket: Ticket) -> bool:
    return (
        len(ticket.workspace) == len(ticket.issuer) == KEY_BYTES
        and len(ticket.ticket_id) == TICKET_ID_BYTES
        and len(ticket.secret) == SECRET_BYTES
        and 0 <= ticket.expires_ms <= NUMBER_MAX
        and is_name(ticket.workspace_name)
        and len(ticket.addresses) <= ADDRESSES_MAX
        and all(_is_visible(address, ADDRESS_CHARS_MAX) for address in ticket.addresses)
        and (not ticket.relay or _is_visible(ticket.relay, RELAY_CHARS_MAX))
    )


def _is_visible(text: str, chars_max: int) -> bool:
    return 0 < len(text) <= chars_max and text.isascii() and text.isprintable()
