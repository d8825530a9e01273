"""What a store must do, as checks that the contract suite and the planted bugs share."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.identity.merkle import leaf_hash, root_from_proof
from aiplatform.mesh_ide.model.entries import BatchSlice, EntryRef
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.ports.errors import (
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.store import (
    CHUNK_BYTES,
    PutBlob,
    PutChunk,
    PutRecord,
    RecordKind,
)
from aiplatform.mesh_ide.storage.memory_disk import DiskFault
from tests.unit.storage.disks import Bench
from tests.unit.storage.making import (
    Author,
    blob_of,
    file_id,
    put_blob,
    received,
)

LARGE = b"".join(bytes([number]) * CHUNK_BYTES for number in range(3)) + b"end"
"""Three whole chunks and a short one, all different."""


def counter(value: int) -> PutRecord:
    """Return a record that counts commits."""
    return PutRecord(RecordKind.NODE, b"counter", str(value).encode())


def large_chunks() -> list[PutChunk]:
    """Return the chunks of the large blob."""
    return [
        PutChunk(
            blob_of(LARGE),
            len(LARGE),
            index,
            LARGE[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES],
        )
        for index in range(4)
    ]


def assert_provable(piece: BatchSlice) -> None:
    """Check that a partial slice's proofs lead to its root."""
    for index, encoded, proof in zip(piece.indexes, piece.entries, piece.proofs, strict=True):
        root = root_from_proof(leaf_hash(encoded), index, piece.header.count, proof)
        assert root == piece.header.root


def assert_parents_first(pieces: list[BatchSlice], already: frozenset[EntryRef]) -> None:
    """Check that every parent comes before its child."""
    seen = set(already)
    for piece in pieces:
        for known in received(piece).known:
            assert set(known.entry.parents) <= seen
            seen.add(known.ref)


def check_returned_commits_survive(bench: Bench) -> None:
    """Commit all kinds of writes, cut the power, and find all of them."""
    batch = Author("a").batch(file_id(1), file_id(2))
    bench.store.commit([batch, counter(1)])
    bench.store.commit([put_blob(b"content"), counter(2)])
    bench.store.commit([*large_chunks()[:2], counter(3)])
    after = bench.cut_power()
    assert after.record(RecordKind.NODE, b"counter") == b"3"
    assert list(after.entries_of(file_id(1))) == [batch.known[0]]
    assert list(after.slices([(file_id(1), ()), (file_id(2), ())])) == [batch.slice]
    assert after.held_blobs([blob_of(b"content")]) == {blob_of(b"content")}
    assert after.missing_chunks(blob_of(LARGE), len(LARGE)) == (2, 3)


def check_died_commit_left_nothing(bench: Bench, fault: DiskFault) -> None:
    """Let the process die during a commit and find nothing of it, but all before."""
    author = Author("a")
    first, second = author.batch(file_id(1)), author.batch(file_id(1), file_id(2))
    bench.store.commit([first, counter(1)])
    bench.fail_next(fault)
    with pytest.raises(MeshIDEError):
        bench.store.commit([second, put_blob(b"content"), counter(2)])
    after = bench.cut_power()
    assert after.record(RecordKind.NODE, b"counter") == b"1"
    assert list(after.entries_of(file_id(1))) == list(first.known)
    assert list(after.entries_of(file_id(2))) == []
    assert after.dots([(author.session, sequence) for sequence in (1, 2, 3)]) == {
        (author.session, 1): first.known[0].ref.id
    }
    assert after.held_blobs([blob_of(b"content")]) == set()
    assert after.commit([second, counter(2)]) == ()
    assert list(after.entries_of(file_id(2))) == [second.known[1]]


def check_first_of_two_stays(bench: Bench) -> None:
    """Commit two entries with one dot and find the first, in every way of asking."""
    author = Author("a")
    liar = author.twin()
    honest = author.batch(file_id(1))
    lie = liar.batch(file_id(2), file_id(3))
    assert bench.store.commit([honest]) == ()
    assert bench.store.commit([lie, counter(1)]) == (lie.known[0].ref,)
    after = bench.cut_power()
    assert after.dots([(author.session, 1)]) == {(author.session, 1): honest.known[0].ref.id}
    assert list(after.entries_of(file_id(1))) == list(honest.known)
    assert list(after.entries_of(file_id(2))) == []
    assert after.entry(lie.known[0].ref.id) is None
    assert list(after.entries_of(file_id(3))) == [lie.known[1]]
    assert after.record(RecordKind.NODE, b"counter") == b"1"
    (piece,) = after.slices([(file_id(3), ())])
    assert piece.indexes == (1,)
    assert_provable(piece)


def check_rotten_chunk_is_named(bench: Bench) -> None:
    """Flip bits of an archived chunk and get its blob's name instead of its bytes."""
    bench.store.commit([PutBlob(blob_of(LARGE), LARGE)])
    bench.rot_chunk(blob_of(LARGE), 1)
    pieces = bench.store.blob_chunks(blob_of(LARGE))
    assert next(pieces) == LARGE[:CHUNK_BYTES]
    with pytest.raises(CorruptRecordError) as caught:
        next(pieces)
    assert (caught.value.what, caught.value.key) == ("blob", blob_of(LARGE))
