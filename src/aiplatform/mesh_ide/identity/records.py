"""Roster records: signed sentences about membership, each checkable on its own.

A record names the records its issuer knew (its parents), which makes the set of all records a
graph in which "before", "after" and "at the same time" need no clock. What a set of records
amounts to is decided in ``identity.roster``.
"""

from __future__ import annotations

import unicodedata
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Final, NewType

import msgspec
from blake3 import blake3
from msgspec import Struct

from aiplatform.mesh_ide.identity.entry_rules import NUMBER_MAX
from aiplatform.mesh_ide.identity.keys import SigningKey, statement, verify
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.errors import LocalError, RemoteError
from aiplatform.mesh_ide.model.ids import (
    HASH_BYTES,
    KEY_BYTES,
    NodeId,
    SessionId,
    UserId,
    WorkspaceId,
)

RecordId = NewType("RecordId", bytes)
"""32 bytes: BLAKE3 over a record's signed bytes and its signature."""

SessionCut = tuple[tuple[SessionId, int], ...]
"""Per session of a member the last sequence that somebody had seen, sorted by session."""

RECORD_BYTES_MAX: Final = 1024 * 1024
"""A removal with the longest cut is 0.7 MB; all others are about 500 bytes."""

PARENTS_MAX: Final = 256
"""Heads that one record may join; with more, the rest stay heads for the next record."""

CUT_SESSIONS_MAX: Final = 16_384
"""One session for each start of a node: 40 starts a day for a year."""

NAME_CHARS_MAX: Final = 64
"""A member's name: what a host name may have (RFC 1035 labels have 63)."""

TICKET_ID_BYTES: Final = 16

_DOMAIN: Final = b"mesh-ide roster record 1"
_VOUCH_DOMAIN: Final = b"mesh-ide user vouches for node 1"
_ID_DOMAIN: Final = b"mesh-ide roster record id 1"
_RECORDS_REMEMBERED_MAX: Final = 4096
_REMEMBERED_BYTES_MAX: Final = 4096
"""Checked records kept, 16 MB at the very most: whoever reads a roster again would else verify
two signatures for each record. Removals with long cuts are rare and checked each time."""


class RecordKind(IntEnum):
    """What a record does. The values travel: never renumber."""

    ADMIT = 1
    """Makes a node a member."""
    REMOVE = 2
    """Ends a membership."""
    ROLE = 3
    """Changes a member's role."""


class RosterRecord(Struct, frozen=True, array_like=True):
    """What an issuer says about one node.

    Attributes:
        kind: what it does.
        workspace: where.
        subject: about whom.
        user: whose node it is (ADMIT; empty otherwise).
        vouch: the user's signature over workspace and node (ADMIT; empty otherwise).
        role: from now on (ADMIT, ROLE; as known for REMOVE).
        name: what people call the node (ADMIT; empty otherwise).
        node_type: as its owner declared it.
        issuer: who says so: a member's node key, or the workspace key itself.
        parents: ids of the roster heads the issuer knew, sorted; empty for the first record.
        issued_ms: the issuer's clock; shown, never trusted.
        cut: for REMOVE and ROLE, what the issuer had seen of the subject's sessions: entries up
            to there stay valid for everybody.
        ticket: the ticket that was redeemed (ADMIT), or empty.
    """

    kind: RecordKind
    workspace: WorkspaceId
    subject: NodeId
    user: UserId
    vouch: bytes
    role: Role
    name: str
    node_type: NodeType
    issuer: NodeId
    parents: tuple[RecordId, ...]
    issued_ms: int
    cut: SessionCut = ()
    ticket: bytes = b""


class SignedRecord(Struct, frozen=True, array_like=True):
    """A record as it travels: the very bytes that were signed, and the signature.

    Bytes rather than fields: what a later version appends to a record stays under the signature.
    """

    body: bytes
    signature: bytes


class KnownRecord(Struct, frozen=True):
    """A record whose signatures hold, with its id and its bytes for store and wire."""

    id: RecordId
    record: RosterRecord
    encoded: bytes


class BadRecordError(RemoteError):
    """A roster record is malformed or not signed by whom it names; it was not taken."""


class BadNameError(LocalError):
    """A name that people could not read or type."""


def vouch_for(user: SigningKey, workspace: WorkspaceId, node: NodeId) -> bytes:
    """Return the user's signature that this node is theirs, for one workspace."""
    return user.sign(statement(_VOUCH_DOMAIN, workspace, node))


def is_vouched(user: UserId, workspace: WorkspaceId, node: NodeId, vouch: bytes) -> bool:
    """Return whether the user signed for this node in this workspace."""
    return verify(user, statement(_VOUCH_DOMAIN, workspace, node), vouch)


def clean_name(name: str) -> str:
    """Return a node's name as it is signed: NFC, no surrounding space.

    Raises:
        BadNameError: empty, too long, or with characters that cannot be seen.
    """
    cleaned = unicodedata.normalize("NFC", name).strip()
    if not is_name(cleaned):
        raise BadNameError(
            f"{cleaned[:NAME_CHARS_MAX]!r} cannot name a node: use 1 to {NAME_CHARS_MAX} "
            "visible characters (--name)"
        )
    return cleaned


def is_name(name: str) -> bool:
    """Return whether a name is normal, visible and short (no control or bidirectional marks)."""
    return (
        0 < len(name) <= NAME_CHARS_MAX
        and name.isprintable()
        and name == name.strip()
        and unicodedata.is_normalized("NFC", name)
    )


def sign_record(record: RosterRecord, key: SigningKey) -> KnownRecord:
    """Sign a record as its issuer.

    Raises:
        ValueError: the key is not the issuer's, or the record breaks a rule (a caller's error).
    """
    problem = "the key is not the issuer's" if key.public != record.issuer else _problem(record)
    if problem:
        raise ValueError(problem)
    body = msgspec.msgpack.encode(record)
    signature = key.sign(statement(_DOMAIN, body))
    encoded = msgspec.msgpack.encode(SignedRecord(body, signature))
    return KnownRecord(_record_id(body, signature), record, encoded)


def open_record(encoded: bytes, workspace: WorkspaceId) -> KnownRecord:
    """Return the record that these bytes are, its signatures checked.

    Whether its issuer may say so is decided by ``roster.evaluate``.

    Raises:
        BadRecordError: anything is wrong with it.
    """
    if len(encoded) > RECORD_BYTES_MAX:
        raise BadRecordError(
            f"a roster record of {len(encoded)} bytes is over the bound of {RECORD_BYTES_MAX}; "
            "the sender is at fault"
        )
    if len(encoded) > _REMEMBERED_BYTES_MAX:
        return _open(encoded, workspace)
    return _open_remembered(encoded, workspace)


@lru_cache(maxsize=_RECORDS_REMEMBERED_MAX)
def _open_remembered(encoded: bytes, workspace: WorkspaceId) -> KnownRecord:
    return _open(encoded, workspace)


def _open(encoded: bytes, workspace: WorkspaceId) -> KnownRecord:
    try:
        signed = msgspec.msgpack.decode(encoded, type=SignedRecord)
        record = msgspec.msgpack.decode(signed.body, type=RosterRecord)
    except (ValueError, RecursionError) as error:
        raise BadRecordError("a roster record cannot be decoded; the sender is at fault") from error
    problem = _problem(record)
    if record.workspace != workspace:
        problem = "it belongs to another workspace"
    if not problem and not verify(record.issuer, statement(_DOMAIN, signed.body), signed.signature):
        problem = "its issuer did not sign it"
    if problem:
        raise BadRecordError(f"a roster record was refused: {problem}; the sender is at fault")
    # Encoded afresh: what the signature does not cover cannot make two of one record.
    canonical = msgspec.msgpack.encode(SignedRecord(signed.body, signed.signature))
    return KnownRecord(_record_id(signed.body, signed.signature), record, canonical)


def _record_id(body: bytes, signature: bytes) -> RecordId:
    return RecordId(blake3(statement(_ID_DOMAIN, body, signature)).digest())


def _problem(record: RosterRecord) -> str:  # noqa: PLR0911 - one for each rule
    """Return the rule that a record breaks on its own, or nothing."""
    if not (
        len(record.workspace) == len(record.subject) == len(record.issuer) == KEY_BYTES
        and -NUMBER_MAX <= record.issued_ms <= NUMBER_MAX
        and record.subject != NodeId(record.workspace)
    ):
        return "an id or a number is out of bounds"
    if len(record.parents) > PARENTS_MAX or not _is_ascending(record.parents, HASH_BYTES):
        return "its parents are unsorted, repeated or too many"
    sessions = tuple(session for session, _ in record.cut)
    if len(sessions) > CUT_SESSIONS_MAX or not _is_ascending(sessions, KEY_BYTES):
        return "its cut is unsorted, repeated or too long"
    if any(not 1 <= sequence <= NUMBER_MAX for _, sequence in record.cut):
        return "its cut has a sequence that cannot be"
    if record.kind is RecordKind.ADMIT:
        return _admission_problem(record)
    if record.user or record.vouch or record.name or record.ticket:
        return "it carries fields of an admission"
    return ""


def _admission_problem(record: RosterRecord) -> str:
    if record.cut:
        return "an admission has no cut"
    if not is_name(record.name):
        return "the node's name is empty, too long or not visible"
    if len(record.ticket) not in {0, TICKET_ID_BYTES}:
        return "its ticket id has the wrong size"
    if not is_vouched(record.user, record.workspace, record.subject, record.vouch):
        return "no user vouches for the node"
    return ""


def _is_ascending(values: tuple[bytes, ...], size: int) -> bool:
    return all(len(value) == size for value in values) and all(
        left < right for left, right in pairwise(values)
    )
