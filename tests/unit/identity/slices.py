"""Drafts, sealed batches and forgeries to test with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aiplatform.mesh_ide.identity.batches import (
    BadBatchError,
    BatchFault,
    encode_entry,
    open_slice,
    seal,
)
from aiplatform.mesh_ide.identity.keys import SigningKey, number, statement
from aiplatform.mesh_ide.identity.merkle import inclusion_proof, leaf_hash, merkle_root
from aiplatform.mesh_ide.model.entries import (
    BatchHeader,
    BatchSlice,
    Entry,
    EntryDraft,
    EntryRef,
    KnownEntry,
    Principal,
)
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    BlobHash,
    EntryId,
    FileId,
    SessionId,
    WorkspaceId,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORKSPACE = WorkspaceId(b"w" * 32)
KEY = SigningKey.from_seed(b"s" * 32)
SESSION = SessionId(KEY.public)
FOREIGN = EntryRef(SessionId(b"f" * 32), 7, EntryId(b"e" * 32))
FILE = FileId(b"file-0000000001x")


def draft(**changes: object) -> EntryDraft:
    """A draft that every rule accepts."""
    fields: dict[str, Any] = {
        "file": FILE,
        "kind": EntryKind.UPDATE,
        "parents": (FOREIGN,),
        "result": BlobHash(b"r" * 32),
        "size": 12,
        "mode": FileMode.REGULAR,
        "is_text": True,
        "branch": 1,
        "lineage": EntryId(b"l" * 32),
        "depth": 9,
        "is_save": True,
        "principal": Principal(PrincipalKind.PERSON, "ada"),
        "inference": BaseInference.KNOWN,
        "payload": b"operations",
    }
    return EntryDraft(**{**fields, **changes})


def sealed(
    drafts: Sequence[EntryDraft], first_sequence: int = 1, previous: EntryId = NO_ENTRY
) -> tuple[BatchSlice, tuple[KnownEntry, ...]]:
    """Seal with the constants of this module."""
    return seal(
        drafts,
        key=KEY,
        workspace=WORKSPACE,
        first_sequence=first_sequence,
        previous=previous,
        time_ms=1_700_000_000_000,
    )


def forged(entries: Sequence[Entry | bytes], first_sequence: int = 1) -> BatchSlice:
    """A batch signed by its session over whatever it likes: what a hostile member can send."""
    encoded = tuple(e if isinstance(e, bytes) else encode_entry(e) for e in entries)
    root = merkle_root([leaf_hash(data) for data in encoded])
    message = statement(
        b"mesh-ide batch 1", WORKSPACE, SESSION, number(first_sequence), number(len(encoded)), root
    )
    header = BatchHeader(SESSION, first_sequence, len(encoded), root, KEY.sign(message))
    return BatchSlice(header, tuple(range(len(encoded))), encoded)


def cut(batch: BatchSlice, indexes: Sequence[int]) -> BatchSlice:
    """Take some entries of a whole batch, with their proofs."""
    leaves = [leaf_hash(data) for data in batch.entries]
    return BatchSlice(
        batch.header,
        tuple(indexes),
        tuple(batch.entries[index] for index in indexes),
        tuple(inclusion_proof(leaves, index) for index in indexes),
    )


def replaced(entry: Entry, **changes: object) -> Entry:
    """Copy an entry with changes."""
    return msgspec.structs.replace(entry, **changes)


def fault_of(
    batch: BatchSlice,
    opener: Callable[[BatchSlice, WorkspaceId], object] = open_slice,
) -> BatchFault | None:
    """Why a slice is refused; ``None`` if it is not."""
    try:
        opener(batch, WORKSPACE)
    except BadBatchError as error:
        return error.fault
    return None


EMPTY: dict[str, object] = {"payload": b"", "result": None}
