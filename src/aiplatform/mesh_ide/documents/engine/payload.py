"""What can be known of an update's bytes before they are imported."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from loro import EncodedBlobMode, LoroDoc
from msgspec import Struct

from aiplatform.mesh_ide.documents.engine.faults import BadEntryError, loro_faults_as
from aiplatform.mesh_ide.documents.engine.peers import BRANCH_MAX, derive_peer
from aiplatform.mesh_ide.model.entries import PAYLOAD_BYTES_MAX, TEXT_BYTES_MAX, KnownEntry

ATOMS_MAX: Final = 2 * TEXT_BYTES_MAX + 4096
"""Every inserted and every deleted character is one atom: a whole text out, another in. Since a
text cannot grow by more characters than an update has atoms, this bounds growth before import."""

CHANGES_MAX: Final = 4096
"""One commit is one change, which Loro cuts into blocks: 10,000 scattered operations are 19 and
10,000 new tree nodes 35 (measured)."""


_MODE: Final = slice(20, 22)
"""Where a blob of Loro says how it is encoded: behind four bytes of magic and sixteen of checksum
(``loro-internal``, ``encoding.rs``)."""

_SNAPSHOT_MODES: Final = frozenset((b"\x00\x01", b"\x00\x02", b"\x00\x03"))
"""What Loro compresses: its two outdated modes and snapshots, shallow ones too. Updates are 4."""

_REMEMBERED_MAX: Final = 256
_REMEMBERED_BYTES_MAX: Final = 4096
"""Payloads are looked at twice, when they are verified and when they are imported: of the small
ones, which are most, so many are remembered (a megabyte together) that the second look is free."""


class OperationSpan(Struct, frozen=True):
    """Which atoms an update says that it holds: counters ``start`` to ``end - 1`` of a peer."""

    peer: int
    start: int
    end: int


def inspect_payload(known: KnownEntry) -> OperationSpan:
    """Check without importing that a payload is an update by its entry's author alone.

    Random mutations of valid payloads with mended checksums (12,000, texts and trees) never made
    Loro's import disagree with what this header says, nor hang or end the process.

    Args:
        known: an entry with a payload.

    Raises:
        BadEntryError: somebody else's operations, a snapshot, malformed or over a bound.
    """
    entry = known.entry
    if len(entry.payload) > PAYLOAD_BYTES_MAX:
        raise BadEntryError(known.ref, f"has {len(entry.payload)} bytes, over the bound")
    if not 0 <= entry.branch <= BRANCH_MAX:
        raise BadEntryError(known.ref, f"names the impossible branch {entry.branch}")
    author = derive_peer(entry.session, entry.file, entry.branch)
    look = _seen if len(entry.payload) <= _REMEMBERED_BYTES_MAX else _look
    with loro_faults_as(BadEntryError(known.ref, "cannot be decoded")):
        found = look(entry.payload, author)
    if isinstance(found, str):
        raise BadEntryError(known.ref, found)
    return found


def _look(payload: bytes, author: int) -> OperationSpan | str:
    """Return which operations an update by this author holds, or why it is none."""
    if payload[_MODE] in _SNAPSHOT_MODES:
        # Before Loro looks: it unpacks a snapshot to tell what is in it, and one of 4 MB made
        # 1.5 GB of that (measured).
        return "is a snapshot, not a plain update"
    meta = LoroDoc.decode_import_blob_meta(payload, check_checksum=True)
    starts = meta.partial_start_vv.to_spans().inner()
    ends = meta.partial_end_vv.to_spans().inner()
    if meta.mode != EncodedBlobMode.Updates:
        return "is a snapshot, not a plain update"
    if ends.keys() != {author} or not starts.keys() <= {author}:
        return "holds operations that are not its author's"
    span = OperationSpan(author, starts.get(author, (0, 0))[1], ends[author][1])
    if not 0 <= span.start < span.end <= span.start + ATOMS_MAX or meta.change_num > CHANGES_MAX:
        return f"holds {span.end - span.start} atoms in {meta.change_num} changes, over the bound"
    return span


_seen = lru_cache(_REMEMBERED_MAX)(_look)
