"""Batches: how a session signs many entries at once, and how a receiver checks them.

One Merkle root and one signature cover up to 256 entries; an entry that travels without its
batch carries its inclusion proof (see ``identity.merkle``). What is checked here needs nothing
but the slice itself. Whether the session's node is a member, whether the chain continues what
is stored, and whose operations a payload holds is checked by those who know.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from aiplatform.mesh_ide.identity.entry_rules import (
    ENTRY_BYTES_MAX,
    NUMBER_MAX,
    BatchFault,
    entry_fault,
)
from aiplatform.mesh_ide.identity.keys import SIGNATURE_BYTES, number, statement, verify
from aiplatform.mesh_ide.identity.merkle import (
    BadProofError,
    leaf_hash,
    merkle_root,
    root_from_proof,
)
from aiplatform.mesh_ide.model.entries import (
    ENTRIES_PER_BATCH_MAX,
    BatchHeader,
    BatchSlice,
    Entry,
    EntryRef,
    KnownEntry,
)
from aiplatform.mesh_ide.model.errors import LocalError, RemoteError
from aiplatform.mesh_ide.model.ids import (
    HASH_BYTES,
    KEY_BYTES,
    NO_ENTRY,
    EntryId,
    SessionId,
    WorkspaceId,
    short,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiplatform.mesh_ide.identity.keys import SigningKey
    from aiplatform.mesh_ide.model.entries import EntryDraft

__all__ = [
    "BadBatchError",
    "BadDraftError",
    "BatchFault",
    "SliceOpener",
    "decode_entry",
    "encode_entry",
    "is_signed_header",
    "open_slice",
    "pending_ref",
    "seal",
]

_DOMAIN: Final = b"mesh-ide batch 1"

_HEADERS_REMEMBERED_MAX: Final = 4096
"""Verified headers kept, about 1.5 MB: a million entries in whole batches. A forgotten one costs
its 142 microseconds again."""

_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Entry, strict=True)


class BadDraftError(LocalError):
    """A draft that no peer would accept was about to be signed; nothing was signed.

    Attributes:
        fault: the rule it breaks.
        index: which draft.
    """

    def __init__(self, fault: BatchFault, index: int) -> None:
        """Name the draft and the rule."""
        super().__init__(f"draft {index} was not signed: {fault.value}; this is a defect here")
        self.fault = fault
        self.index = index


class BadBatchError(RemoteError):
    """A slice is not what its session signed, or breaks a rule; nothing of it was taken.

    Attributes:
        fault: the rule it breaks.
        index: the position within the batch; -1 where the whole slice is meant.
        session: who is said to have sent it.
    """

    def __init__(self, fault: BatchFault, index: int, session: bytes) -> None:
        """Name the session, the entry and the rule."""
        where = f"entry {index} of a batch" if index >= 0 else "a batch"
        super().__init__(
            f"{where} of session {short(session)} was refused: {fault.value}; "
            "the sender is at fault and should update or be removed"
        )
        self.fault = fault
        self.index = index
        self.session = session


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes whose leaf hash is the entry's id."""
    return _ENCODER.encode(entry)


def decode_entry(encoded: bytes) -> Entry:
    """Return the entry that these bytes are.

    Raises:
        ValueError: they are none (also ``msgspec.DecodeError``, its subclass).
    """
    try:
        return _DECODER.decode(encoded)
    except RecursionError as error:
        # Only unknown trailing fields can nest: msgspec skips them recursively.
        message = "an entry nests too deeply"
        raise ValueError(message) from error


def pending_ref(session: SessionId, sequence: int) -> EntryRef:
    """Return how a draft names an entry that the same ``seal`` call will create."""
    return EntryRef(session=session, sequence=sequence, id=NO_ENTRY)


def seal(  # noqa: PLR0913 - the place of a batch within its session takes this many facts
    drafts: Sequence[EntryDraft],
    *,
    key: SigningKey,
    workspace: WorkspaceId,
    first_sequence: int,
    previous: EntryId,
    time_ms: int,
) -> tuple[BatchSlice, tuple[KnownEntry, ...]]:
    """Give drafts their place in the session, and sign them together.

    Args:
        drafts: 1 to ``ENTRIES_PER_BATCH_MAX``; a parent may be a ``pending_ref`` to an earlier
            draft of this call. Parents may come unsorted.
        key: the session's key; its public half is the session id.
        workspace: what the signature is bound to.
        first_sequence: the sequence of the first draft, from 1.
        previous: id of the session's entry before it; ``NO_ENTRY`` exactly for sequence 1.
        time_ms: the author's clock.

    Returns:
        The complete batch, and its entries in order.

    Raises:
        BadDraftError: a draft breaks a rule that every peer checks; nothing was signed.
    """
    if not 1 <= len(drafts) <= ENTRIES_PER_BATCH_MAX:
        raise BadDraftError(BatchFault.COUNT, -1)
    session = SessionId(key.public)
    known: list[KnownEntry] = []
    for index, draft in enumerate(drafts):
        sequence = first_sequence + index
        entry = Entry(
            session=session,
            sequence=sequence,
            previous=previous,
            file=draft.file,
            kind=draft.kind,
            parents=_resolved(draft.parents, session, first_sequence, known),
            result=draft.result,
            size=draft.size,
            mode=draft.mode,
            is_text=draft.is_text,
            branch=draft.branch,
            is_save=draft.is_save,
            time_ms=time_ms,
            principal=draft.principal,
            inference=draft.inference,
            payload=draft.payload,
            lineage=draft.lineage,
            depth=draft.depth,
            after=draft.after,
        )
        fault = entry_fault(entry)
        if fault is not None:
            raise BadDraftError(fault, index)
        encoded = _ENCODER.encode(entry)
        previous = leaf_hash(encoded)
        known.append(KnownEntry(EntryRef(session, sequence, previous), entry, encoded))
    root = merkle_root([item.ref.id for item in known])
    message = _signed_message(workspace, session, first_sequence, len(known), root)
    header = BatchHeader(session, first_sequence, len(known), root, key.sign(message))
    encoded_entries = tuple(item.encoded for item in known)
    return BatchSlice(header, tuple(range(len(known))), encoded_entries), tuple(known)


def _resolved(
    parents: tuple[EntryRef, ...],
    session: SessionId,
    first_sequence: int,
    known: Sequence[KnownEntry],
) -> tuple[EntryRef, ...]:
    if not parents:
        return parents
    resolved: list[EntryRef] = []
    for parent in parents:
        if parent.id == NO_ENTRY and parent.session == session:
            position = parent.sequence - first_sequence
            if not 0 <= position < len(known):
                raise BadDraftError(BatchFault.PARENTS, len(known))
            resolved.append(known[position].ref)
        else:
            resolved.append(parent)
    resolved.sort()
    return tuple(resolved)


class SliceOpener:
    """The checks of one slice, in the order in which they are made.

    A class so that a test can break one check at a time; ``open_slice`` is the one in use.
    """

    def open(self, batch: BatchSlice, workspace: WorkspaceId) -> tuple[KnownEntry, ...]:
        """Return the entries of a slice once everything about them is checked.

        Raises:
            BadBatchError: anything is wrong; nothing of the slice may be used then.
        """
        header = batch.header
        self.check_bounds(batch)
        if not self.is_signed(header, workspace):
            raise BadBatchError(BatchFault.SIGNATURE, -1, header.session)
        ids = tuple(leaf_hash(encoded) for encoded in batch.entries)
        self.check_root(batch, ids)
        known: list[KnownEntry] = []
        for index, encoded, entry_id in zip(batch.indexes, batch.entries, ids, strict=True):
            try:
                entry = decode_entry(encoded)
            except ValueError as error:
                raise BadBatchError(BatchFault.ENCODING, index, header.session) from error
            fault = _place_fault(entry, header, index) or entry_fault(entry)
            if fault is not None:
                raise BadBatchError(fault, index, header.session)
            known.append(
                KnownEntry(EntryRef(entry.session, entry.sequence, entry_id), entry, encoded)
            )
        self.check_chain(header, known)
        return tuple(known)

    def check_bounds(self, batch: BatchSlice) -> None:
        """Check sizes and counts before anything is hashed."""
        header, indexes, present = batch.header, batch.indexes, len(batch.entries)
        session = header.session
        if not (
            len(session) == KEY_BYTES
            and len(header.root) == HASH_BYTES
            and len(header.signature) == SIGNATURE_BYTES
            and header.first_sequence >= 1
            and 1 <= header.count <= ENTRIES_PER_BATCH_MAX
            and header.first_sequence + header.count - 1 <= NUMBER_MAX
        ):
            raise BadBatchError(BatchFault.HEADER, -1, session)
        if not 1 <= present <= header.count or present != len(indexes):
            raise BadBatchError(BatchFault.COUNT, -1, session)
        if len(batch.proofs) != present and (batch.proofs or present != header.count):
            raise BadBatchError(BatchFault.COUNT, -1, session)
        if indexes[0] < 0 or indexes[-1] >= header.count:
            raise BadBatchError(BatchFault.INDEX, -1, session)
        if any(left >= right for left, right in pairwise(indexes)):
            raise BadBatchError(BatchFault.INDEX, -1, session)
        for index, encoded in zip(indexes, batch.entries, strict=True):
            if len(encoded) > ENTRY_BYTES_MAX:
                raise BadBatchError(BatchFault.SIZE, index, session)

    def is_signed(self, header: BatchHeader, workspace: WorkspaceId) -> bool:
        """Return whether the header's session signed it for this workspace."""
        return is_signed_header(header, workspace)

    def check_root(self, batch: BatchSlice, ids: Sequence[EntryId]) -> None:
        """Check that the entries are those under the signed root."""
        header = batch.header
        if not batch.proofs:
            if merkle_root(ids) != header.root:
                raise BadBatchError(BatchFault.ROOT, -1, header.session)
            return
        for index, entry_id, proof in zip(batch.indexes, ids, batch.proofs, strict=True):
            try:
                root = root_from_proof(entry_id, index, header.count, proof)
            except BadProofError as error:
                raise BadBatchError(BatchFault.PROOF, index, header.session) from error
            if root != header.root:
                raise BadBatchError(BatchFault.ROOT, index, header.session)

    def check_chain(self, header: BatchHeader, known: Sequence[KnownEntry]) -> None:
        """Check what entries of one slice say of each other: previous and parents."""
        ids: dict[int, EntryId] = {}
        for item in known:
            entry = item.entry
            expected = ids.get(entry.sequence - 1)
            index = entry.sequence - header.first_sequence
            if expected is not None and entry.previous != expected:
                raise BadBatchError(BatchFault.PREVIOUS, index, header.session)
            for parent in entry.parents:
                if parent.session == entry.session:
                    present = ids.get(parent.sequence)
                    if present is not None and present != parent.id:
                        raise BadBatchError(BatchFault.PARENTS, index, header.session)
            ids[entry.sequence] = item.ref.id


_OPENER: Final = SliceOpener()


def open_slice(batch: BatchSlice, workspace: WorkspaceId) -> tuple[KnownEntry, ...]:
    """Return the entries of a slice once everything that needs no history is checked.

    Checked: bounds, the session's signature for this workspace, the root or the proofs, strict
    decoding, each entry's place, its own rules (``entry_rules``), and the chain within the slice.
    Slices of one batch verify its signature once.

    Raises:
        BadBatchError: anything is wrong; nothing of the slice may be used then.
    """
    return _OPENER.open(batch, workspace)


def is_signed_header(header: BatchHeader, workspace: WorkspaceId) -> bool:
    """Return whether the session that a header names signed it for this workspace."""
    try:
        _remember_signed(workspace, header)
    except _UnsignedError:
        return False
    return True


class _UnsignedError(Exception):
    """Raised rather than returned: ``lru_cache`` keeps returns, so forgeries never fill it."""


@lru_cache(maxsize=_HEADERS_REMEMBERED_MAX)
def _remember_signed(workspace: WorkspaceId, header: BatchHeader) -> None:
    message = _signed_message(
        workspace, header.session, header.first_sequence, header.count, header.root
    )
    if not verify(header.session, message, header.signature):
        raise _UnsignedError


def _signed_message(
    workspace: WorkspaceId, session: SessionId, first_sequence: int, count: int, root: bytes
) -> bytes:
    return statement(_DOMAIN, workspace, session, number(first_sequence), number(count), root)


def _place_fault(entry: Entry, header: BatchHeader, index: int) -> BatchFault | None:
    if entry.session != header.session:
        return BatchFault.SESSION
    if entry.sequence != header.first_sequence + index:
        return BatchFault.SEQUENCE
    return None
