"""Entries, batches and blobs for the storage tests: well-formed, but signed by nobody."""

from __future__ import annotations

from collections.abc import Sequence

from blake3 import blake3

from aiplatform.mesh_ide.identity.merkle import inclusion_proof, leaf_hash, merkle_root
from aiplatform.mesh_ide.model.entries import (
    BatchHeader,
    BatchSlice,
    Entry,
    EntryRef,
    KnownEntry,
    Principal,
)
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import NO_ENTRY, BlobHash, EntryId, FileId, SessionId
from aiplatform.mesh_ide.ports.store import PutBlob, PutEntries
from aiplatform.mesh_ide.storage.codec import encode_entry, read_entry


def digest(word: object) -> bytes:
    """Return 32 bytes that stand for a word."""
    return blake3(str(word).encode()).digest()


def file_id(word: object) -> FileId:
    """Return a file id that stands for a word."""
    return FileId(digest(("file", word))[:16])


def blob_of(content: bytes) -> BlobHash:
    """Return the name of this content."""
    return BlobHash(blake3(content).digest())


def put_blob(content: bytes) -> PutBlob:
    """Return the write that archives this content."""
    return PutBlob(blob_of(content), content)


class Author:
    """A session that speaks in batches."""

    def __init__(self, word: object) -> None:
        """Begin a session that stands for a word."""
        self.session = SessionId(digest(("session", word)))
        self.sequence = 0
        self.previous = EntryId(NO_ENTRY)

    def batch(
        self,
        *files: FileId,
        parents: Sequence[EntryRef] = (),
        payload: bytes = b"",
    ) -> PutEntries:
        """Say one entry for each of these files, all building on ``parents``."""
        return self.batch_on(*((file, tuple(parents)) for file in files), payload=payload)

    def batch_on(
        self, *drafts: tuple[FileId, tuple[EntryRef, ...]], payload: bytes = b""
    ) -> PutEntries:
        """Say one entry for each file with its own parents."""
        first = self.sequence + 1
        known = tuple(self._entry(file, parents, payload) for file, parents in drafts)
        root = merkle_root([one.ref.id for one in known])
        header = BatchHeader(self.session, first, len(known), root, digest(root) * 2)
        entries = tuple(one.encoded for one in known)
        return PutEntries(BatchSlice(header, tuple(range(len(known))), entries), known)

    def twin(self) -> Author:
        """Return a session with the same key and past, for contradicting it."""
        other = Author("")
        other.session, other.sequence, other.previous = self.session, self.sequence, self.previous
        return other

    def _entry(self, file: FileId, parents: tuple[EntryRef, ...], payload: bytes) -> KnownEntry:
        self.sequence += 1
        entry = Entry(
            session=self.session,
            sequence=self.sequence,
            previous=self.previous,
            file=file,
            kind=EntryKind.UPDATE if parents else EntryKind.GENESIS,
            parents=tuple(sorted(parents)),
            result=BlobHash(digest((file, self.sequence))),
            size=100,
            mode=FileMode.REGULAR,
            is_text=True,
            branch=self.sequence,
            is_save=True,
            time_ms=1_700_000_000_000,
            principal=Principal(PrincipalKind.PERSON, "anna"),
            inference=BaseInference.KNOWN,
            payload=payload,
        )
        encoded = encode_entry(entry)
        self.previous = leaf_hash(encoded)
        return KnownEntry(EntryRef(self.session, self.sequence, self.previous), entry, encoded)


def part(put: PutEntries, *indexes: int) -> PutEntries:
    """Return some entries of a whole batch, with their proofs."""
    leaves = [known.ref.id for known in put.known]
    return PutEntries(
        BatchSlice(
            put.slice.header,
            indexes,
            tuple(put.slice.entries[index] for index in indexes),
            tuple(inclusion_proof(leaves, index) for index in indexes),
        ),
        tuple(put.known[index] for index in indexes),
    )


def received(piece: BatchSlice) -> PutEntries:
    """Return the write that stores a slice as a receiver would."""
    return PutEntries(
        piece, tuple(read_entry(encoded, leaf_hash(encoded)) for encoded in piece.entries)
    )
