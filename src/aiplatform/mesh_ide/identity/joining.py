"""The join protocol: one small frame each way between a newcomer and a ticket's issuer.

The link proves both node keys, the request proves the ticket's secret without sending it, and
the user's signature comes along for the roster. Redeeming is a pure decision; the caller stores
what it says, in one transaction, before it answers.
"""

from __future__ import annotations

from enum import Enum
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

import msgspec
from blake3 import blake3
from msgspec import Struct

from aiplatform.mesh_ide.identity.keys import statement
from aiplatform.mesh_ide.identity.membership import Newcomer
from aiplatform.mesh_ide.identity.records import (
    TICKET_ID_BYTES,
    BadRecordError,
    KnownRecord,
    RecordKind,
    is_name,
    is_vouched,
    open_record,
)
from aiplatform.mesh_ide.identity.tickets import StoredTicket, Ticket, proof_key
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.errors import RemoteError
from aiplatform.mesh_ide.model.ids import HASH_BYTES, KEY_BYTES, NodeId, UserId, WorkspaceId
from aiplatform.mesh_ide.ports.transport import JOIN_FRAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from aiplatform.mesh_ide.identity.roster import Roster

NONCE_BYTES: Final = 32
_PROOF_DOMAIN: Final = b"mesh-ide join proof 1"


class BadJoinError(RemoteError):
    """A join request or answer is malformed, or is not what the ticket promised."""


class RefusalReason(Enum):
    """Why a request to join was refused. The values travel: never rename."""

    USED = "used"
    EXPIRED = "expired"
    UNKNOWN = "unknown"
    WRONG_SECRET = "wrong-secret"  # noqa: S105 - a reason, not a password
    NOT_PERMITTED = "not-permitted"
    SHUT_OUT = "shut-out"


_EXPLANATIONS: Final = {
    RefusalReason.USED: "somebody joined with this ticket already",
    RefusalReason.EXPIRED: "this ticket has expired",
    RefusalReason.UNKNOWN: "the node that issued this ticket does not know it (any more)",
    RefusalReason.WRONG_SECRET: "this ticket's secret is wrong",
    RefusalReason.NOT_PERMITTED: "the node that issued this ticket may not admit you",
    RefusalReason.SHUT_OUT: (
        "this node's key contradicted itself and stays shut out; joining again makes a fresh key"
    ),
}


class JoinRequest(Struct, frozen=True, array_like=True, tag=1):
    """What a newcomer asks with.

    Attributes:
        node: the newcomer's key; the link must have proven it.
        user: whose node it is.
        vouch: the user's signature over workspace and node.
        name: what people call the node.
        node_type: as its owner declares it.
        ticket_id: which ticket.
        nonce: 32 random bytes.
        proof: BLAKE3 keyed by the ticket's secret over both node keys and the nonce.
    """

    node: NodeId
    user: UserId
    vouch: bytes
    name: str
    node_type: NodeType
    ticket_id: bytes
    nonce: bytes
    proof: bytes


class JoinAccepted(Struct, frozen=True, array_like=True, tag=2):
    """The newcomer is a member.

    Attributes:
        records: roster records, encoded, parents first.
        is_complete: they are the whole roster. Otherwise they are only those that prove issuer
            and newcomer: the newcomer links to the issuer, whose key its ticket names, and gets
            the rest by ``RosterExchange`` before it trusts anybody else.
        certificates: of the issuer's present session.
        workspace_name: for people.
        settings: shared settings by name, as far as they are needed before ``mesh.toml`` is here.
    """

    records: tuple[bytes, ...]
    is_complete: bool
    certificates: tuple[SessionCertificate, ...]
    workspace_name: str
    settings: tuple[tuple[str, str], ...] = ()


class JoinRefused(Struct, frozen=True, array_like=True, tag=3):
    """The newcomer is not a member, and why."""

    reason: RefusalReason

    def explain(self) -> str:
        """Return what to tell the person who tried to join."""
        return f"{_EXPLANATIONS[self.reason]}: ask for a new ticket (`mesh share`)"


JoinAnswer = JoinAccepted | JoinRefused

_ANSWER_DECODER: Final[msgspec.msgpack.Decoder[JoinAnswer]] = msgspec.msgpack.Decoder(JoinAnswer)


class Admission(Struct, frozen=True):
    """Decision: admit. Store ``ticket`` and the record of ``membership.admit`` together."""

    newcomer: Newcomer
    role: Role
    ticket: StoredTicket


class Repetition(Struct, frozen=True):
    """Decision: accept and store nothing: it is a member already (its first answer was lost)."""

    node: NodeId


class Refusal(Struct, frozen=True):
    """Decision: refuse; the ticket stays as it was."""

    reason: RefusalReason


JoinDecision = Admission | Repetition | Refusal


def request_to_join(ticket: Ticket, *, newcomer: Newcomer, nonce: bytes) -> JoinRequest:
    """Return the request for a ticket; ``nonce`` are 32 random bytes."""
    proof = _proof(
        proof_key(ticket.secret),
        ticket.workspace,
        issuer=ticket.issuer,
        node=newcomer.node,
        ticket_id=ticket.ticket_id,
        nonce=nonce,
    )
    return JoinRequest(
        node=newcomer.node,
        user=newcomer.user,
        vouch=newcomer.vouch,
        name=newcomer.name,
        node_type=newcomer.node_type,
        ticket_id=ticket.ticket_id,
        nonce=nonce,
        proof=proof,
    )


def redeem(  # noqa: PLR0911, PLR0913 - one return a reason, one argument a thing it rests on
    request: JoinRequest,
    *,
    proven_peer_key: NodeId,
    stored: Mapping[bytes, StoredTicket],
    roster: Roster,
    issuer: NodeId,
    now_ms: int,
) -> JoinDecision:
    """Decide on a request to join.

    Idempotent: the node that used a ticket gets the same acceptance again, also after expiry.
    What a ticket is (used, expired) is told only to who knows its secret.

    Args:
        request: as ``decode_request`` returned it.
        proven_peer_key: the key that the link proved.
        stored: this node's tickets by id.
        roster: as evaluated now.
        issuer: this node.
        now_ms: this node's clock.
    """
    ticket = stored.get(request.ticket_id)
    if request.node != proven_peer_key:
        return Refusal(RefusalReason.NOT_PERMITTED)
    if ticket is None:
        return Refusal(RefusalReason.UNKNOWN)
    expected = _proof(
        ticket.proof_key,
        roster.workspace,
        issuer=issuer,
        node=request.node,
        ticket_id=request.ticket_id,
        nonce=request.nonce,
    )
    if not compare_digest(expected, request.proof):
        return Refusal(RefusalReason.WRONG_SECRET)
    if request.node in roster.members:
        return Repetition(request.node)
    # The roster remembers too: a ticket store restored from a backup admits nobody twice.
    if ticket.used_by or roster.redeemer(ticket.ticket_id) is not None:
        return Refusal(RefusalReason.USED)
    if now_ms >= ticket.expires_ms:
        return Refusal(RefusalReason.EXPIRED)
    newcomer = Newcomer(request.node, request.user, request.vouch, request.name, request.node_type)
    if not (
        roster.may(issuer, max(ticket.role, Role.ADMIN))
        and is_name(request.name)
        and is_vouched(request.user, roster.workspace, request.node, request.vouch)
    ):
        return Refusal(RefusalReason.NOT_PERMITTED)
    used = msgspec.structs.replace(ticket, used_by=request.node)
    return Admission(newcomer, ticket.role, used)


def encode_request(request: JoinRequest) -> bytes:
    """Return the one frame that a newcomer sends (about 350 bytes)."""
    return msgspec.msgpack.encode(request)


def decode_request(frame: bytes) -> JoinRequest:
    """Return the request in a stranger's frame.

    Raises:
        BadJoinError: it is none, or a field is out of bounds.
    """
    try:
        request = msgspec.msgpack.decode(_checked_size(frame), type=JoinRequest)
    except (ValueError, RecursionError) as error:
        raise BadJoinError("a request to join cannot be decoded") from error
    if not (
        len(request.node) == len(request.user) == KEY_BYTES
        and len(request.ticket_id) == TICKET_ID_BYTES
        and len(request.nonce) == NONCE_BYTES
        and len(request.proof) == HASH_BYTES
    ):
        raise BadJoinError("a request to join has fields of wrong sizes; the sender is at fault")
    return request


def accept(
    roster: Roster,
    *,
    node: NodeId,
    certificates: Sequence[SessionCertificate],
    workspace_name: str,
    settings: Mapping[str, str],
) -> bytes:
    """Return the frame that tells a newcomer that it is a member.

    Args:
        roster: with the newcomer in it.
        node: the newcomer.
        certificates: of this node's session.
        workspace_name: for people.
        settings: at most a few short ones: they must fit beside the records.

    Raises:
        ValueError: not even the records that prove the newcomer fit (a caller's error).
    """
    chain = _chain(roster, node)
    for records in (roster.records, chain, chain[-2:]):
        frame = msgspec.msgpack.encode(
            JoinAccepted(
                records=tuple(known.encoded for known in records),
                is_complete=len(records) == len(roster.records),
                certificates=tuple(certificates),
                workspace_name=workspace_name,
                settings=tuple(sorted(settings.items())),
            )
        )
        if len(frame) <= JOIN_FRAME_BYTES_MAX:
            return frame
    raise ValueError("settings and certificates leave no room in the answer to a newcomer")


def refuse(reason: RefusalReason) -> bytes:
    """Return the frame that tells why somebody may not join."""
    return msgspec.msgpack.encode(JoinRefused(reason))


def decode_answer(frame: bytes) -> JoinAnswer:
    """Return the issuer's answer.

    Raises:
        BadJoinError: it is none.
    """
    try:
        return _ANSWER_DECODER.decode(_checked_size(frame))
    except (ValueError, RecursionError) as error:
        raise BadJoinError("the answer to our request to join cannot be decoded") from error


def records_of(answer: JoinAccepted, ticket: Ticket, node: NodeId) -> tuple[KnownRecord, ...]:
    """Return the checked records of an acceptance, which must hold this node's admission.

    Raises:
        BadJoinError: a record is bad, or the issuer did not admit this node.
    """
    try:
        records = tuple(open_record(encoded, ticket.workspace) for encoded in answer.records)
    except BadRecordError as error:
        raise BadJoinError(f"the answer to our request to join is wrong: {error}") from error
    if not any(
        known.record.kind is RecordKind.ADMIT and known.record.subject == node for known in records
    ):
        raise BadJoinError(
            "the answer to our request to join does not admit this node: ask for a new ticket"
        )
    return records


def _checked_size(frame: bytes) -> bytes:
    if len(frame) > JOIN_FRAME_BYTES_MAX:
        raise BadJoinError(
            f"a join frame of {len(frame)} bytes is over the bound of {JOIN_FRAME_BYTES_MAX}; "
            "the sender is at fault"
        )
    return frame


def _proof(  # noqa: PLR0913 - all that the proof binds
    key: bytes,
    workspace: WorkspaceId,
    *,
    issuer: NodeId,
    node: NodeId,
    ticket_id: bytes,
    nonce: bytes,
) -> bytes:
    message = statement(_PROOF_DOMAIN, workspace, issuer, node, ticket_id, nonce)
    return blake3(message, key=key).digest()


def _chain(roster: Roster, node: NodeId) -> tuple[KnownRecord, ...]:
    """Return the admissions from the workspace key down to a node, the first one first."""
    admissions = {
        known.record.subject: known
        for known in roster.records
        if known.record.kind is RecordKind.ADMIT and known.id not in roster.void
    }
    chain: list[KnownRecord] = []
    while (known := admissions.pop(node, None)) is not None:
        chain.append(known)
        node = known.record.issuer
    return tuple(reversed(chain))
