"""What a single entry may look like, whoever sent it; nothing here needs history or a roster.

The same rules bind sealing and opening, so that an honest node never signs what its peers refuse.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

from aiplatform.mesh_ide.model.entries import PAYLOAD_BYTES_MAX
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import FILE_ID_BYTES, HASH_BYTES, KEY_BYTES, NO_ENTRY, TREE_FILE

if TYPE_CHECKING:
    from aiplatform.mesh_ide.model.entries import Entry, EntryRef, Principal

NUMBER_MAX: Final = 2**53 - 1
"""The largest integer that JavaScript holds exactly: the browser reads the same records. It
also keeps every number inside SQLite's signed 64 bits."""

PARENTS_MAX: Final = 4096
"""About 300 KB of parents. Somebody with more heads than this merges them in two steps."""

PRINCIPAL_NAME_CHARS_MAX: Final = 200
PRINCIPAL_REASON_CHARS_MAX: Final = 2000
"""A name is shown in every line of a blame, a reason in every line of a history."""

ENTRY_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 512 * 1024
"""Payload, the most parents and the longest principal fit with room to spare."""


class BatchFault(Enum):
    """Why a batch, or an entry of it, was refused. The values are shown in messages."""

    COUNT = "the number of entries, indexes or proofs is out of bounds"
    HEADER = "the header's ids or numbers are out of bounds"
    INDEX = "indexes are not ascending within the batch"
    SIGNATURE = "the session did not sign this"
    PROOF = "the proof has the wrong length"
    ROOT = "the entry is not part of the signed batch"
    ENCODING = "the entry cannot be decoded"
    SIZE = "the entry or its payload is too large"
    SESSION = "the entry names another session"
    SEQUENCE = "the entry has another sequence number than its place in the batch"
    PREVIOUS = "the entry does not continue its session's chain"
    IDS = "an id has the wrong size"
    NUMBER = "a number is out of bounds"
    PARENTS = "the parents are unsorted, repeated, impossible or too many"
    KIND = "the entry's fields do not fit its kind"
    PRINCIPAL = "the principal's name or reason is too long or empty"
    KEY_EPOCH = "the payload is sealed for a key this version does not know"


def entry_fault(entry: Entry) -> BatchFault | None:  # noqa: PLR0911 - one for each rule
    """Return the first rule that an entry breaks on its own, or ``None``."""
    if (
        len(entry.file) != FILE_ID_BYTES
        or len(entry.previous) != HASH_BYTES
        or (entry.result is not None and len(entry.result) != HASH_BYTES)
    ):
        return BatchFault.IDS
    if (entry.previous == NO_ENTRY) != (entry.sequence == 1):
        return BatchFault.PREVIOUS
    if not (
        1 <= entry.sequence <= NUMBER_MAX
        and 0 <= entry.branch <= entry.sequence
        and 0 <= entry.after < entry.sequence
        and 1 <= entry.depth <= NUMBER_MAX
        and 0 <= entry.size <= NUMBER_MAX
        and -NUMBER_MAX <= entry.time_ms <= NUMBER_MAX
    ):
        return BatchFault.NUMBER
    if entry.key_epoch != 0:
        return BatchFault.KEY_EPOCH
    if len(entry.payload) > PAYLOAD_BYTES_MAX:
        return BatchFault.SIZE
    if not _fits_kind(entry):
        return BatchFault.KIND
    if not _is_principal(entry.principal):
        return BatchFault.PRINCIPAL
    if entry.parents and not _are_parents(entry):
        return BatchFault.PARENTS
    return None


def _fits_kind(entry: Entry) -> bool:
    kind = entry.kind
    if entry.file == TREE_FILE:
        return kind is EntryKind.UPDATE and entry.result is None
    if kind is EntryKind.UPDATE:
        is_branched = entry.branch > 0 or not entry.payload
        return bool(entry.parents) and entry.result is not None and is_branched
    if entry.payload:
        return False
    if kind is EntryKind.DELETE:
        return entry.result is None
    if kind is EntryKind.GENESIS and entry.parents:
        return False
    return entry.result is not None


def _is_principal(principal: Principal) -> bool:
    return (
        0 < len(principal.name) <= PRINCIPAL_NAME_CHARS_MAX
        and len(principal.reason) <= PRINCIPAL_REASON_CHARS_MAX
    )


def _are_parents(entry: Entry) -> bool:
    parents = entry.parents
    if len(parents) > PARENTS_MAX:
        return False
    before: EntryRef | None = None
    for parent in parents:
        if (
            len(parent.session) != KEY_BYTES
            or len(parent.id) != HASH_BYTES
            or parent.id == NO_ENTRY
            or not 1 <= parent.sequence <= NUMBER_MAX
            or (parent.session == entry.session and parent.sequence >= entry.sequence)
            or (before is not None and not before < parent)
        ):
            return False
        before = parent
    return True
