"""What can be known of an update's bytes before they are imported."""

from __future__ import annotations

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
    with loro_faults_as(BadEntryError(known.ref, "cannot be decoded")):
        meta = LoroDoc.decode_import_blob_meta(entry.payload, check_checksum=True)
        mode, changes = meta.mode, meta.change_num
        starts = meta.partial_start_vv.to_spans().inner()
        ends = meta.partial_end_vv.to_spans().inner()
    if mode != EncodedBlobMode.Updates:
        raise BadEntryError(known.ref, "is a snapshot, not a plain update")
    author = derive_peer(entry.session, entry.file, entry.branch)
    if ends.keys() != {author} or not starts.keys() <= {author}:
        raise BadEntryError(known.ref, "holds operations that are not its author's")
    span = OperationSpan(author, starts.get(author, (0, 0))[1], ends[author][1])
    if not 0 <= span.start < span.end <= span.start + ATOMS_MAX or changes > CHANGES_MAX:
        raise BadEntryError(
            known.ref, f"holds {span.end - span.start} atoms in {changes} changes, over the bound"
        )
    return span
