"""Contents: the bounded cache, and the three places where bytes may be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.errors import CorruptContentError, CorruptRecordError
from aiplatform.mesh_ide.ports.filetree import Contents
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES, PutBlob, PutChunk
from aiplatform.mesh_ide.storage.contents import ContentCache, StoreContents, _checked
from aiplatform.mesh_ide.storage.memory import MemoryStore
from aiplatform.mesh_ide.storage.memory_disk import MemoryDisk
from tests.unit.storage.making import blob_of, digest, put_blob


class Folder:
    """A working folder, and what was reported of the archive."""

    def __init__(self) -> None:
        """Start with nothing anywhere."""
        self.files: dict[str, list[bytes]] = {}
        self.disk = MemoryDisk()
        self.store = MemoryStore(self.disk)
        self.reported: list[CorruptRecordError] = []
        self.contents = StoreContents(
            ContentCache(1000), self.store, self.open, self.reported.append
        )

    def open(self, path: str) -> Iterator[bytes] | None:
        """Open a file."""
        pieces = self.files.get(path)
        return None if pieces is None else iter(pieces)


def all_of(pieces: Iterator[bytes] | None) -> bytes:
    """Return all pieces together; there must be some."""
    assert pieces is not None
    return b"".join(pieces)


def test_the_least_recently_used_is_forgotten_first() -> None:
    """Using means putting or getting."""
    cache = ContentCache(10)
    names = [BlobHash(digest(number)) for number in range(4)]
    for name in names[:2]:
        cache.put(name, b"12345")
    assert cache.get(names[0]) == b"12345"
    cache.put(names[2], b"12345")
    assert [cache.get(name) for name in names[:3]] == [b"12345", None, b"12345"]
    cache.put(names[3], b"12345678901")
    assert cache.get(names[3]) is None
    assert cache.held_bytes == 10
    cache.clear()
    assert (cache.held_bytes, cache.get(names[0])) == (0, None)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 60)), max_size=60))
def test_the_cache_never_holds_more_than_its_bound(puts: list[tuple[int, int]]) -> None:
    """And always knows how much it holds."""
    cache = ContentCache(100)
    for number, size in puts:
        cache.put(BlobHash(digest(number)), bytes(size))
        held = [cache.get(BlobHash(digest(one))) for one in range(6)]
        assert cache.held_bytes == sum(len(content) for content in held if content is not None)
        assert cache.held_bytes <= 100
        assert cache.get(BlobHash(digest(number))) == bytes(size)


def test_the_cache_may_be_used_from_many_threads() -> None:
    """Its sum stays right."""
    cache = ContentCache(500)

    def work(seed: int) -> None:
        for number in range(500):
            name = BlobHash(digest((seed * number) % 17))
            cache.put(name, bytes(number % 90))
            cache.get(name)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    held = [cache.get(BlobHash(digest(number))) for number in range(17)]
    assert cache.held_bytes == sum(len(content) for content in held if content is not None) <= 500


def test_content_is_found_in_cache_archive_and_folder() -> None:
    """Each place alone is enough, for both ways of reading."""
    here = Folder()
    here.contents.keep(blob_of(b"kept"), b"kept")
    here.store.commit([put_blob(b"archived")])
    here.files["a.txt"] = [b"in ", b"folder"]
    for content, path in ((b"kept", None), (b"archived", None), (b"in folder", "a.txt")):
        assert here.contents.read(blob_of(content), path) == content
        assert all_of(here.contents.chunks(blob_of(content), path)) == content
    assert here.contents.read(blob_of(b"nowhere")) is None
    assert here.contents.read(blob_of(b"nowhere"), "b.txt") is None
    assert here.contents.chunks(blob_of(b"nowhere")) is None
    assert here.contents.chunks(blob_of(b"nowhere"), "b.txt") is None


def test_an_empty_content_is_a_content() -> None:
    """Nothing in it is not the same as nothing there."""
    here = Folder()
    here.files["empty"] = []
    assert here.contents.read(blob_of(b""), "empty") == b""
    assert all_of(here.contents.chunks(blob_of(b""), "empty")) == b""
    here.store.commit([put_blob(b"")])
    assert here.contents.read(blob_of(b"")) == b""


class Streaming(StoreContents):
    """Judges a file when all of it has left: the planted bug."""

    def _large_file(self, blob: BlobHash, path: str) -> Iterator[bytes] | None:
        pieces = self._file_reader(path)
        return None if pieces is None else _checked(blob, pieces, path)


def handed_out(contents: Contents, path: str) -> bytes:
    """Return the bytes that leave although the file is another by now."""
    out = b""
    with suppress(CorruptContentError):
        for piece in contents.chunks(blob_of(b"before"), path) or ():
            out += piece
    return out


@pytest.mark.parametrize(
    "now", [[b"changed ", b"meanwhile"], [b"changed"], [bytes(CHUNK_BYTES), b"and more"]]
)
def test_not_a_byte_of_a_file_that_changed_is_handed_out(now: list[bytes]) -> None:
    """What somebody wrote there since may be a private key."""
    here = Folder()
    here.files["a.txt"] = now
    assert here.contents.read(blob_of(b"before"), "a.txt") is None
    assert here.contents.chunks(blob_of(b"before"), "a.txt") is None
    assert handed_out(here.contents, "a.txt") == b""
    here.contents.__class__ = Streaming
    assert handed_out(here.contents, "a.txt"), "the check can fail"


def test_a_large_file_that_changes_while_it_is_handed_out_fails_it() -> None:
    """The last piece tells."""
    here = Folder()
    content = [bytes(CHUNK_BYTES), b"end"]
    here.files["big"] = content
    pieces = here.contents.chunks(blob_of(b"".join(content)), "big")
    assert pieces is not None
    assert next(pieces) == content[0]
    content[1] = b"END"
    with pytest.raises(CorruptContentError, match="big"):
        all_of(pieces)


def test_a_rotten_archive_is_reported_and_the_folder_helps() -> None:
    """A small file is taken first; where it is asked, the rot is told each time."""
    here = Folder()
    here.store.commit([put_blob(b"content")])
    here.disk.rot_chunk(blob_of(b"content"), 0)
    here.files["a.txt"] = [b"content"]
    assert here.contents.read(blob_of(b"content"), "a.txt") == b"content"
    assert here.contents.read(blob_of(b"content")) is None
    assert all_of(here.contents.chunks(blob_of(b"content"), "a.txt")) == b"content"
    with pytest.raises(CorruptContentError):
        all_of(here.contents.chunks(blob_of(b"content")))
    assert [error.key for error in here.reported] == [blob_of(b"content")] * 2


def test_a_large_file_helps_where_the_archive_rotted() -> None:
    """It is read only after the archive was asked, whose damage is told."""
    content = bytes(CHUNK_BYTES)
    here = Folder()
    here.store.commit([put_blob(content)])
    here.disk.rot_chunk(blob_of(content), 0)
    here.files["big"] = [content]
    assert here.contents.read(blob_of(content), "big") == content
    assert [error.key for error in here.reported] == [blob_of(content)]


def test_only_what_was_kept_is_at_hand() -> None:
    """What would need a disk is not, so that it may be asked for on an event loop."""
    here = Folder()
    here.store.commit([put_blob(b"archived")])
    here.files["a.txt"] = [b"in a file"]
    here.contents.keep(blob_of(b"kept"), b"kept")
    assert here.contents.at_hand(blob_of(b"kept")) == b"kept"
    assert here.contents.at_hand(blob_of(b"archived")) is None
    assert here.contents.at_hand(blob_of(b"in a file")) is None
    here.contents.forget(blob_of(b"kept"))
    assert here.contents.at_hand(blob_of(b"kept")) is None


def test_an_archived_forgery_is_reported() -> None:
    """Chunks that match their own hashes but not the blob's name are as good as rotten."""
    here = Folder()
    here.store.commit([PutChunk(blob_of(b"wanted"), 6, 0, b"forged")])
    assert here.contents.read(blob_of(b"wanted")) is None
    with pytest.raises(CorruptContentError):
        all_of(here.contents.chunks(blob_of(b"wanted")))
    assert [error.key for error in here.reported] == [blob_of(b"wanted")] * 2


def test_a_blob_erased_during_the_read_fails_it() -> None:
    """The reader is told, and nothing is reported as rotten."""
    here = Folder()
    content = bytes(3 * CHUNK_BYTES)
    here.store.commit([PutBlob(blob_of(content), content)])
    pieces = here.contents.chunks(blob_of(content))
    assert pieces is not None
    next(pieces)
    here.store.erase_blob(blob_of(content))
    with pytest.raises(CorruptContentError):
        all_of(pieces)
    assert here.reported == []


def test_pieces_are_at_most_a_mebibyte() -> None:
    """Wherever they come from."""
    content = bytes(2 * CHUNK_BYTES + 5)
    here = Folder()
    here.files["big"] = [content]
    kept = StoreContents(ContentCache(), MemoryStore(), here.open)
    kept.keep(blob_of(content), content)
    for contents in (here.contents, kept):
        pieces = contents.chunks(blob_of(content), "big")
        assert pieces is not None
        assert [len(piece) for piece in pieces] == [CHUNK_BYTES, CHUNK_BYTES, 5]
