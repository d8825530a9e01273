"""Messages to frames and back: MessagePack, with a stated bound on everything a peer can send.

``LIMITS`` is the table. A frame is measured against its kind's size before it is decoded, so a
heartbeat cannot be eight megabytes of nothing; fields are measured after. Both directions check:
what we would refuse from others we do not send. Structure is bounded by the types themselves;
fields from the future are skipped, and the library's recursion guard bounds their depth.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.mesh.bounds import (
    CERTIFICATE_SIGNATURE_BYTES,
    ITEMS_MAX,
    NONCE_MAX,
    NUMBER_MAX,
    PROOF_HASHES_MAX,
    RANGES_MAX,
    RECORDS_MAX,
    SIGNATURE_BYTES,
    ColumnNumbers,
    Disjoint,
    Each,
    Finite,
    Number,
    Rows,
    Rule,
    Size,
    Sizes,
    SliceShape,
    Total,
    VectorDots,
    say,
)
from aiplatform.mesh_ide.mesh.framing import Envelope, envelope_of
from aiplatform.mesh_ide.model.entries import ENTRIES_PER_BATCH_MAX, PAYLOAD_BYTES_MAX
from aiplatform.mesh_ide.model.ids import (
    FILE_ID_BYTES,
    FINGERPRINT_BYTES,
    HASH_BYTES,
    KEY_BYTES,
)
from aiplatform.mesh_ide.model.messages import (
    Acquaintances,
    AnyMessage,
    BlobRequest,
    Blobs,
    BlobsMissing,
    Certificates,
    Entries,
    Equivocations,
    Goodbye,
    Hello,
    Message,
    Ping,
    Pong,
    Reconcile,
    RosterExchange,
    Sent,
    Stored,
    Vectors,
)
from aiplatform.mesh_ide.ports.errors import BadFrameError
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES
from aiplatform.mesh_ide.ports.transport import FRAME_BYTES_MAX

_ENTRY_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 512 * 1024
"""A payload and what stands around it, mostly its parents."""

SEALING_BYTES_MAX: Final = 256
"""A sealing offer has 96 bytes (``identity.sealing``); room for a larger key of a later version."""

CERTIFICATES_MAX: Final = 64
"""Certificates of one message (honest nodes send one): each costs two signatures, 0.3 ms, and
whoever handles a message does nothing else meanwhile."""

EQUIVOCATIONS_MAX: Final = 16
"""Proofs of one message, 1.5 KB each at most: to check one costs four signatures, 0.6 ms."""

_KIB: Final = 1024


class MessageLimits(Struct, frozen=True):
    """All bounds of one message: its frame's bytes, then its fields."""

    frame_bytes_max: int
    rules: tuple[Rule, ...]


_CERTIFICATE: Final[tuple[Rule, ...]] = (
    Size("session", KEY_BYTES, KEY_BYTES),
    Size("node", KEY_BYTES, KEY_BYTES),
    Number("started_ms", -NUMBER_MAX, NUMBER_MAX),
    Size("signature", CERTIFICATE_SIGNATURE_BYTES, CERTIFICATE_SIGNATURE_BYTES),
)
_RANGE: Final[tuple[Rule, ...]] = (Size("low", 0, FILE_ID_BYTES), Size("high", 0, FILE_ID_BYTES))
_SUMMARY: Final[tuple[Rule, ...]] = (
    *_RANGE,
    Number("count", 0, NUMBER_MAX),
    Size("fingerprint", FINGERPRINT_BYTES, HASH_BYTES),
)
_RANGE_ITEMS: Final[tuple[Rule, ...]] = (
    *_RANGE,
    Rows("items", ITEMS_MAX, FILE_ID_BYTES, FINGERPRINT_BYTES),
)
_HEADER: Final[tuple[Rule, ...]] = (
    Size("session", KEY_BYTES, KEY_BYTES),
    Number("first_sequence", 1, NUMBER_MAX),
    Number("count", 1, ENTRIES_PER_BATCH_MAX),
    Size("root", HASH_BYTES, HASH_BYTES),
    Size("signature", SIGNATURE_BYTES, SIGNATURE_BYTES),
)
_SLICE: Final[tuple[Rule, ...]] = (
    Each("header", _HEADER),
    Size("entries", 1, ENTRIES_PER_BATCH_MAX),
    Sizes("entries", 1, _ENTRY_BYTES_MAX),
    SliceShape(),
)
MEMBERS_MAX: Final = 1024
"""Members told of in one message; of more it takes several."""

_WHEREABOUTS: Final[tuple[Rule, ...]] = (
    Size("node", KEY_BYTES, KEY_BYTES),
    Size("addresses", 0, 64),
    Sizes("addresses", 1, 255),
    Size("sealing", 0, SEALING_BYTES_MAX),
)
_SIGNED_PLACE: Final[tuple[Rule, ...]] = (
    Each("header", _HEADER),
    Number("index", 0, ENTRIES_PER_BATCH_MAX - 1),
    Size("id", HASH_BYTES, HASH_BYTES),
    Size("proof", 0, PROOF_HASHES_MAX),
    Sizes("proof", HASH_BYTES, HASH_BYTES),
)
_EQUIVOCATION: Final[tuple[Rule, ...]] = (
    Each("certificate", _CERTIFICATE),
    Each("first", _SIGNED_PLACE),
    Each("second", _SIGNED_PLACE),
)
_PART: Final[tuple[Rule, ...]] = (
    Size("blob", HASH_BYTES, HASH_BYTES),
    Number("size", 0, NUMBER_MAX),
    Number("index", 0, NUMBER_MAX // CHUNK_BYTES),
    Size("content", 0, CHUNK_BYTES),
)

LIMITS: Final[dict[type[Message], MessageLimits]] = {
    Hello: MessageLimits(
        64 * _KIB,
        (
            Size("workspace", KEY_BYTES, KEY_BYTES),
            Size("node", KEY_BYTES, KEY_BYTES),
            Size("name", 0, 255),
            Each("certificate", _CERTIFICATE),
            Size("addresses", 0, 64),
            Sizes("addresses", 1, 255),
            Size("roster_digest", 0, 64),
            Number("clock_ms", -NUMBER_MAX, NUMBER_MAX),
            Size("location", 0, 255),
            Size("capabilities", 0, 256),
            Sizes("capabilities", 1, 128),
            Size("sealing", 0, SEALING_BYTES_MAX),
        ),
    ),
    Acquaintances: MessageLimits(
        1024 * _KIB, (Size("members", 0, MEMBERS_MAX), Each("members", _WHEREABOUTS))
    ),
    RosterExchange: MessageLimits(
        FRAME_BYTES_MAX, (Size("records", 0, RECORDS_MAX), Sizes("records", 1, 64 * _KIB))
    ),
    Certificates: MessageLimits(
        64 * _KIB,
        (Size("certificates", 0, CERTIFICATES_MAX), Each("certificates", _CERTIFICATE)),
    ),
    Ping: MessageLimits(
        256,
        (
            Number("nonce", 0, NONCE_MAX),
            Number("sent_ms", -NUMBER_MAX, NUMBER_MAX),
            Finite("load"),
        ),
    ),
    Pong: MessageLimits(
        256, (Number("nonce", 0, NONCE_MAX), Number("sent_ms", -NUMBER_MAX, NUMBER_MAX))
    ),
    Reconcile: MessageLimits(
        FRAME_BYTES_MAX,
        (
            Number("session", 0, NONCE_MAX),
            Size("summaries", 0, RANGES_MAX),
            Each("summaries", _SUMMARY),
            Disjoint("summaries"),
            Size("asked", 0, RANGES_MAX),
            Total("asked", "items", ITEMS_MAX),
            Each("asked", _RANGE_ITEMS),
            Disjoint("asked"),
            Size("answered", 0, RANGES_MAX),
            Total("answered", "items", ITEMS_MAX),
            Each("answered", _RANGE_ITEMS),
            Disjoint("answered"),
        ),
    ),
    Vectors: MessageLimits(
        FRAME_BYTES_MAX, (Rows("vectors", ITEMS_MAX, FILE_ID_BYTES), VectorDots("vectors"))
    ),
    Entries: MessageLimits(
        FRAME_BYTES_MAX,
        (
            Size("slices", 0, RECORDS_MAX),
            Total("slices", "entries", RECORDS_MAX),
            Each("slices", _SLICE),
        ),
    ),
    Stored: MessageLimits(
        6 * 1024 * _KIB,
        (
            Rows("heads", ITEMS_MAX, FILE_ID_BYTES, FINGERPRINT_BYTES),
            Rows("vectors", ITEMS_MAX, FILE_ID_BYTES),
            VectorDots("vectors"),
        ),
    ),
    BlobRequest: MessageLimits(
        6 * 1024 * _KIB,
        (
            Rows("blobs", ITEMS_MAX, HASH_BYTES),
            ColumnNumbers("blobs", 1),
            ColumnNumbers("blobs", 2),
        ),
    ),
    Blobs: MessageLimits(FRAME_BYTES_MAX, (Size("parts", 0, RECORDS_MAX), Each("parts", _PART))),
    BlobsMissing: MessageLimits(
        6 * 1024 * _KIB, (Size("blobs", 0, ITEMS_MAX), Sizes("blobs", HASH_BYTES, HASH_BYTES))
    ),
    Goodbye: MessageLimits(8 * _KIB, (Size("reason", 0, 1024),)),
    Sent: MessageLimits(256, (Number("requests", 0, NONCE_MAX),)),
    Equivocations: MessageLimits(
        64 * _KIB, (Size("proofs", 0, EQUIVOCATIONS_MAX), Each("proofs", _EQUIVOCATION))
    ),
}

_KINDS: Final[dict[int, type[Message]]] = {
    kind.__struct_config__.tag: kind  # type: ignore[misc] # an int: `tag=` of each message
    for kind in LIMITS
}
_PLAIN: Final = bytes((Envelope.PLAIN,))
_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final[msgspec.msgpack.Decoder[AnyMessage]] = msgspec.msgpack.Decoder(AnyMessage)

_FIXARRAY_FIRST, _FIXARRAY_LAST, _ARRAY16, _FIXINT_LAST = 0x90, 0x9F, 0xDC, 0x7F


def encode(message: AnyMessage) -> bytes:
    """Return the frame that says ``message``: the ``PLAIN`` envelope and MessagePack.

    Cost: one copy of the content more than the encoder's own (60 µs a MiB, measured).

    Raises:
        BadFrameError: the message breaks a bound; a peer would refuse it.
    """
    kind = type(message)
    _check(message, kind)
    try:
        frame = _PLAIN + _ENCODER.encode(message)
    except UnicodeEncodeError as error:
        raise BadFrameError(f"{kind.__name__}: text that is not Unicode ({error.reason})") from None
    _check_frame_size(len(frame), kind)
    return frame


def decode(frame: bytes) -> AnyMessage:
    """Return the message of a plain frame, every bound checked.

    Raises:
        BadFrameError: sealed, unknown, malformed or over a bound. Never anything else, whatever
            the bytes are.
    """
    if envelope_of(frame) is not Envelope.PLAIN:
        raise BadFrameError("the frame is sealed: it has to be opened or passed on first")
    kind = _kind_of(frame)
    _check_frame_size(len(frame), kind)
    try:
        message = _DECODER.decode(memoryview(frame)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadFrameError(f"{kind.__name__}: {error}") from None
    except RecursionError:
        raise BadFrameError(f"{kind.__name__}: nested too deeply") from None
    _check(message, kind)
    return message


def _kind_of(frame: bytes) -> type[Message]:
    """Read the kind from the first bytes, so that size can be judged before decoding."""
    position = 0
    if len(frame) > 1 and _FIXARRAY_FIRST <= frame[1] <= _FIXARRAY_LAST:
        position = 2
    elif len(frame) > 1 and frame[1] == _ARRAY16:
        position = 4
    if not position or len(frame) <= position or frame[position] > _FIXINT_LAST:
        raise BadFrameError("not a message: no kind at its beginning")
    kind = _KINDS.get(frame[position])
    if kind is None:
        raise BadFrameError(f"unknown message kind {frame[position]}: a newer protocol?")
    return kind


def _check_frame_size(size: int, kind: type[Message]) -> None:
    most = LIMITS[kind].frame_bytes_max
    if size > most:
        raise BadFrameError(f"{kind.__name__}: {say('frame', 'length', size, 1, most)}")


def _check(message: AnyMessage, kind: type[Message]) -> None:
    for rule in LIMITS[kind].rules:
        text = rule.broken(message)
        if text is not None:
            raise BadFrameError(f"{kind.__name__}: {text}")
