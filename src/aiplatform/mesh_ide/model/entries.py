"""Entries: the signed history of every file, and the batches in which a session speaks.

An entry's identity is its hash; its place in its session is ``sequence`` and ``previous``; its
place in its file's history are ``parents``. A session signs one Merkle root for a whole batch,
and an entry that travels alone carries its inclusion proof (RFC 9162, section 2.1).
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct, field

from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    BlobHash,
    EntryId,
    FileId,
    NodeId,
    SessionId,
)

ENTRIES_PER_BATCH_MAX: Final = 256
"""Bounds an inclusion proof to eight hashes and a first frame to what merges in one tick."""

PAYLOAD_BYTES_MAX: Final = 4 * 1024 * 1024
"""A larger change is a ``REPLACE`` whose content travels as a blob."""

TEXT_BYTES_MAX: Final = 1024 * 1024
"""Texts above this are blobs: Loro holds the GIL about 0.1 s for 9 MB (measured)."""


class EntryRef(Struct, frozen=True, array_like=True, order=True):
    """Names an entry by its dot (session, sequence) and its hash.

    The dot answers "do we have it?" from a version vector; the hash makes the name unforgeable.
    """

    session: SessionId
    sequence: int
    id: EntryId


class Principal(Struct, frozen=True, array_like=True):
    """For whom an entry was written: a claim, signed by the entry's session."""

    kind: PrincipalKind
    name: str
    reason: str = ""


class Entry(Struct, frozen=True, array_like=True):
    """One change of one file, as its session said it.

    Attributes:
        session: who speaks.
        sequence: 1, 2, 3, ... within the session, over all files.
        previous: id of the session's entry ``sequence - 1`` (``NO_ENTRY`` for the first).
        file: whose history this belongs to.
        kind: what it does.
        parents: the file's heads that the author knew (the base of the change), sorted.
        result: content hash after the change, seen from its parents; ``None`` for deletes and
            for the tree document, whose content is its index.
        size: bytes of the result.
        mode: what the file is after the change.
        is_text: the result is a text document (UTF-8, within ``TEXT_BYTES_MAX``).
        branch: names the CRDT author: the Loro peer id is derived from (session, file, branch),
            see ``documents.engine.peers``. 1, 2, ... within (session, file): an update whose
            base lacks the tip of the branch begins a new one. 0 where there are no operations.
        is_save: counts as a version.
        time_ms: the author's clock, milliseconds since the Unix epoch. Shown, never trusted.
        principal: for whom.
        inference: how the base was found.
        payload: CRDT operations of an ``UPDATE``; empty otherwise.
        key_epoch: the group key that sealed ``payload``; 0 means plain (reserved).
        lineage: id of the genesis or replace this entry builds on; ``NO_ENTRY`` for those
            themselves and for the tree document.
        depth: 1 + the greatest depth of its parents (1 for none): a Lamport clock of the file.
        after: sequence of this session's entry to this file before this one; 0 for the first.
            It makes a ``FileVector`` exact although a session's entries to one file can be
            concurrent: a later one is never taken before an earlier one.
    """

    session: SessionId
    sequence: int
    previous: EntryId
    file: FileId
    kind: EntryKind
    parents: tuple[EntryRef, ...]
    result: BlobHash | None
    size: int
    mode: FileMode
    is_text: bool
    branch: int
    is_save: bool
    time_ms: int
    principal: Principal
    inference: BaseInference
    payload: bytes
    key_epoch: int = 0
    lineage: EntryId = NO_ENTRY
    depth: int = 1
    after: int = 0


class EntryDraft(Struct, frozen=True):
    """An entry before its session gave it a sequence, a hash and a signature."""

    file: FileId
    kind: EntryKind
    parents: tuple[EntryRef, ...]
    result: BlobHash | None
    size: int
    mode: FileMode
    is_text: bool
    branch: int
    is_save: bool
    principal: Principal
    inference: BaseInference
    payload: bytes
    lineage: EntryId = NO_ENTRY
    depth: int = 1
    after: int = 0


class BatchHeader(Struct, frozen=True, array_like=True):
    """What a session signs: a run of its entries under one Merkle root."""

    session: SessionId
    first_sequence: int
    count: int
    root: bytes
    signature: bytes


class BatchSlice(Struct, frozen=True, array_like=True):
    """Entries of one batch on their way: all of them, or some with inclusion proofs.

    ``indexes`` are positions within the batch, ascending; ``entries`` the encoded entries at
    those positions; ``proofs`` has one proof (bottom-up sibling hashes) per entry, or is empty
    when every entry of the batch is present.
    """

    header: BatchHeader
    indexes: tuple[int, ...]
    entries: tuple[bytes, ...]
    proofs: tuple[tuple[bytes, ...], ...] = ()

    def entries_bytes(self) -> int:
        """Return how long the encoded entries are together."""
        return sum(map(len, self.entries))


class SessionCertificate(Struct, frozen=True, array_like=True):
    """A node's signed word that a session is one of its runs."""

    session: SessionId
    node: NodeId
    started_ms: int
    signature: bytes


class KnownEntry(Struct, frozen=True):
    """An entry together with its identity and its proof, after checking or reading back."""

    ref: EntryRef
    entry: Entry
    encoded: bytes


FileVector = tuple[tuple[SessionId, int], ...]
"""Per session the highest sequence held for one file, sorted by session. A session's entries to
one file are taken in their order (``Entry.after``), so the vector says exactly what is held."""


class FileHead(Struct, frozen=True, array_like=True):
    """What a file is at a moment.

    Attributes:
        file: the file.
        heads: its frontier, sorted.
        blob: content hash of the (merged) frontier; ``None`` if deleted or not yet computed.
        size: bytes of that content.
        mode: what it is on a disk.
        is_text: a text document.
        version: number of save-marked entries in its causal history.
        is_deleted: every head is a delete.
        rivals: heads whose lineage lost a conflict of replaces; empty when there is none.
    """

    file: FileId
    heads: tuple[EntryRef, ...]
    blob: BlobHash | None
    size: int
    mode: FileMode
    is_text: bool
    version: int
    is_deleted: bool
    rivals: tuple[EntryRef, ...] = field(default=())
