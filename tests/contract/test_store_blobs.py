"""What every store promises of blobs: both adapters run every test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiplatform.mesh_ide.ports.errors import (
    BlobMissingError,
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.store import (
    CHUNK_BYTES,
    PutChunk,
)
from tests.unit.storage.checks import (
    LARGE,
    check_rotten_chunk_is_named,
    large_chunks,
)
from tests.unit.storage.disks import STORES, Bench, make_bench
from tests.unit.storage.making import (
    blob_of,
    put_blob,
)


@pytest.fixture(params=STORES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    """Give a fresh store of each kind, on a disk that can be damaged."""
    made = make_bench(request.param, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    "content", [b"", b"x", LARGE[:CHUNK_BYTES], LARGE[: CHUNK_BYTES + 1], LARGE]
)
def test_a_blob_comes_back_in_chunks(bench: Bench, content: bytes) -> None:
    """Whatever its size: an empty one is one empty chunk."""
    blob = blob_of(content)
    store = bench.store
    assert store.missing_chunks(blob, len(content)) == tuple(
        range(max(1, -(-len(content) // CHUNK_BYTES)))
    )
    store.commit([put_blob(content)])
    pieces = list(store.blob_chunks(blob))
    assert b"".join(pieces) == content
    assert all(len(piece) == CHUNK_BYTES for piece in pieces[:-1])
    assert list(store.blob_chunks(blob, first=1)) == pieces[1:]
    assert store.blob_size(blob) == len(content)
    assert store.missing_chunks(blob, len(content)) == ()
    assert store.held_blobs([blob, blob_of(b"other")]) == {blob}
    assert store.verify_blob(blob)


def test_a_blob_is_held_once_its_last_chunk_came(bench: Bench) -> None:
    """In any order, with repetitions; until then it is as if not there."""
    blob, store = blob_of(LARGE), bench.store
    chunks = large_chunks()
    for index in (2, 0, 2, 3):
        store.commit([chunks[index]])
        assert store.held_blobs([blob]) == set()
        assert store.blob_size(blob) is None
        assert not store.verify_blob(blob)
    with pytest.raises(BlobMissingError):
        store.blob_chunks(blob)
    assert store.missing_chunks(blob, len(LARGE)) == (1,)
    store.commit([chunks[1]])
    assert b"".join(store.blob_chunks(blob)) == LARGE
    assert store.verify_blob(blob)


def test_a_whole_blob_replaces_its_parts(bench: Bench) -> None:
    """Parts that came before, right or wrong, are gone."""
    blob, store = blob_of(LARGE), bench.store
    store.commit([PutChunk(blob, len(LARGE), 3, b"bad")])
    store.commit([put_blob(LARGE), put_blob(LARGE)])
    assert store.verify_blob(blob)


def test_chunks_of_another_size_begin_anew(bench: Bench) -> None:
    """A peer that lied about the size does not spoil what another sends."""
    blob, store = blob_of(LARGE), bench.store
    store.commit([PutChunk(blob, 5 * CHUNK_BYTES, 4, bytes(CHUNK_BYTES))])
    assert store.missing_chunks(blob, len(LARGE)) == (0, 1, 2, 3)
    store.commit(large_chunks())
    assert store.verify_blob(blob)
    store.commit([PutChunk(blob, 1, 0, b"x")])
    assert store.blob_size(blob) == len(LARGE)


def test_chunks_that_are_another_content_are_found_out(bench: Bench) -> None:
    """Each chunk matches its own hash, but together they are not the blob."""
    blob, store = blob_of(b"wanted"), bench.store
    store.commit([PutChunk(blob, 6, 0, b"forged")])
    assert store.held_blobs([blob]) == {blob}
    assert not store.verify_blob(blob)
    store.erase_blob(blob)
    assert store.held_blobs([blob]) == set()
    store.commit([put_blob(b"wanted")])
    assert store.verify_blob(blob)


def test_erasing_is_durable_and_touches_nothing_else(bench: Bench) -> None:
    """Whole, partial or absent."""
    store = bench.store
    store.commit([put_blob(b"stays"), put_blob(b"goes"), large_chunks()[0]])
    for blob in (blob_of(b"goes"), blob_of(LARGE), blob_of(b"never there")):
        store.erase_blob(blob)
    after = bench.cut_power()
    assert after.held_blobs([blob_of(b"stays"), blob_of(b"goes")]) == {blob_of(b"stays")}
    assert after.missing_chunks(blob_of(LARGE), len(LARGE)) == (0, 1, 2, 3)
    assert list(after.blob_chunks(blob_of(b"stays"))) == [b"stays"]


def test_a_rotten_chunk_is_named(bench: Bench) -> None:
    """Good chunks before it are given out, it is not."""
    check_rotten_chunk_is_named(bench)
    assert not bench.store.verify_blob(blob_of(LARGE))
    bench.store.erase_blob(blob_of(LARGE))
    bench.store.commit([put_blob(LARGE)])
    assert b"".join(bench.store.blob_chunks(blob_of(LARGE))) == LARGE


def test_a_rotten_small_blob_is_named(bench: Bench) -> None:
    """A blob of one chunk is checked against its own name."""
    bench.store.commit([put_blob(b"content")])
    bench.rot_chunk(blob_of(b"content"), 0)
    with pytest.raises(CorruptRecordError):
        list(bench.store.blob_chunks(blob_of(b"content")))
