"""Entries to bytes and back, and the sizes of chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from aiplatform.mesh_ide.identity.merkle import leaf_hash
from aiplatform.mesh_ide.model.entries import Entry, EntryRef, KnownEntry
from aiplatform.mesh_ide.model.ids import short
from aiplatform.mesh_ide.ports.errors import CorruptRecordError
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES

if TYPE_CHECKING:
    from aiplatform.mesh_ide.model.ids import BlobHash, EntryId

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Entry)


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes whose leaf hash is the entry's id."""
    return _ENCODER.encode(entry)


def is_sound(encoded: bytes, expected: EntryId) -> bool:
    """Return whether these bytes are the entry of that id."""
    return leaf_hash(encoded) == expected


def check_entry(encoded: bytes, expected: EntryId) -> None:
    """Check stored bytes against the id stored with them.

    Raises:
        CorruptRecordError: they do not match.
    """
    if not is_sound(encoded, expected):
        raise corrupt_entry(expected, "its stored bytes do not match its hash")


def read_entry(encoded: bytes, expected: EntryId) -> KnownEntry:
    """Return the checked and decoded entry.

    Raises:
        CorruptRecordError: the bytes do not match the id, or are not an entry.
    """
    check_entry(encoded, expected)
    try:
        entry = _DECODER.decode(encoded)
    except msgspec.MsgspecError as error:
        raise corrupt_entry(expected, f"this version cannot read it ({error})") from error
    return KnownEntry(EntryRef(entry.session, entry.sequence, expected), entry, encoded)


def corrupt_entry(entry: EntryId, why: str) -> CorruptRecordError:
    """Return the error that names a damaged entry."""
    return CorruptRecordError(
        f"Entry {short(entry)} is damaged in this node's store: {why}. "
        "It has to be fetched again from another member.",
        what="entry",
        key=entry,
    )


def corrupt_blob(blob: BlobHash, why: str) -> CorruptRecordError:
    """Return the error that names a damaged blob."""
    return CorruptRecordError(
        f"Blob {short(blob)} is damaged in this node's store: {why}. "
        "Erase it and fetch it again from another member.",
        what="blob",
        key=blob,
    )


def chunk_count(size: int) -> int:
    """Return how many chunks a blob of ``size`` bytes has.

    An empty blob is one empty chunk, so that "nothing is missing" always means "it is held".
    """
    return max(1, -(-size // CHUNK_BYTES))


def chunk_size(size: int, index: int) -> int:
    """Return the length of chunk ``index`` of a blob of ``size`` bytes."""
    return min(CHUNK_BYTES, size - index * CHUNK_BYTES)
