"""Contents at hand on this node: what was just kept, then the archive, then the working folder."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Final, TypeAlias

from blake3 import blake3

from aiplatform.mesh_ide.model.ids import short
from aiplatform.mesh_ide.ports.errors import (
    BlobMissingError,
    CorruptContentError,
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES
from aiplatform.mesh_ide.storage.codec import corrupt_blob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aiplatform.mesh_ide.model.ids import BlobHash
    from aiplatform.mesh_ide.ports.store import Store

CACHE_BYTES_MAX: Final = 64 * 1024 * 1024
"""Three or four batches of 256 files of the largest text that is usual, and under half of the
150 MB that a node may use."""

_NOT_THE_BLOB: Final = "its chunks together are not the content that its name says"

FileReader: TypeAlias = "Callable[[str], Iterator[bytes] | None]"
"""Opens a file of the working folder by its relative path; ``None``: nothing readable is there."""


class ContentCache:
    """Bytes by blob hash, the least recently used forgotten first; safe from any thread.

    Invariant: ``held_bytes`` is the sum of the lengths held and at most ``bytes_max``.
    """

    def __init__(self, bytes_max: int = CACHE_BYTES_MAX) -> None:
        """Hold at most this many bytes."""
        self._bytes_max = bytes_max
        self._contents: OrderedDict[BlobHash, bytes] = OrderedDict()
        self._held_bytes = 0
        self._guard = threading.Lock()

    @property
    def held_bytes(self) -> int:
        """How many bytes are held now."""
        return self._held_bytes

    def get(self, blob: BlobHash) -> bytes | None:
        """Return the bytes, which are now the most recently used."""
        with self._guard:
            content = self._contents.get(blob)
            if content is not None:
                self._contents.move_to_end(blob)
            return content

    def put(self, blob: BlobHash, content: bytes) -> None:
        """Hold these bytes, forgetting others; what is larger than the whole cache is not held."""
        if len(content) > self._bytes_max:
            return
        with self._guard:
            before = self._contents.pop(blob, b"")
            self._contents[blob] = content
            self._held_bytes += len(content) - len(before)
            while self._held_bytes > self._bytes_max:
                _, forgotten = self._contents.popitem(last=False)
                self._held_bytes -= len(forgotten)

    def discard(self, blob: BlobHash) -> None:
        """Forget one content, if it is held."""
        with self._guard:
            self._held_bytes -= len(self._contents.pop(blob, b""))

    def clear(self) -> None:
        """Forget everything."""
        with self._guard:
            self._contents.clear()
            self._held_bytes = 0


class StoreContents:
    """``ports.filetree.Contents`` over a cache, a store and the working folder.

    Only what is ``keep``-ed enters the cache: reading ten thousand files once must not push out
    the one that is being edited, nor fill memory.
    """

    def __init__(
        self,
        cache: ContentCache,
        store: Store,
        file_reader: FileReader,
        report_corrupt: Callable[[CorruptRecordError], None] = lambda _: None,
    ) -> None:
        """Join the three places.

        Args:
            cache: what was kept.
            store: the archive.
            file_reader: opens a file of the working folder.
            report_corrupt: is told of an archived blob that rotted, on the reading thread, so
                that somebody erases it and fetches it again. It must not raise.
        """
        self._cache = cache
        self._store = store
        self._file_reader = file_reader
        self._report_corrupt = report_corrupt

    def at_hand(self, blob: BlobHash) -> bytes | None:
        """See ``Contents.at_hand``."""
        return self._cache.get(blob)

    def read(self, blob: BlobHash, path: str | None = None) -> bytes | None:
        """See ``Contents.read``: wrong content anywhere is as good as none.

        Where it looks first is as in ``chunks``.
        """
        content = self._cache.get(blob)
        if content is None and path is not None:
            content = self._small_file(blob, path)
        if content is None:
            content = self._archived(blob)
        if content is not None:
            return content
        pieces = None if path is None else self._file_reader(path)
        return None if pieces is None else _joined(blob, pieces)

    def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
        """See ``Contents.chunks``; also raises at the first piece of the archive that rotted.

        A small file that holds the content is read before the archive is asked: most contents
        stand in the folder, and a look-up of each cost more than reading it.
        """
        content = self._cache.get(blob)
        if content is None and path is not None:
            content = self._small_file(blob, path)
        if content is not None:
            return _cut(content)
        if self._store.blob_size(blob) is not None:
            return self._archived_pieces(blob)
        return None if path is None else self._large_file(blob, path)

    def _small_file(self, blob: BlobHash, path: str) -> bytes | None:
        """Return a file's content if it is within one chunk and is the blob."""
        pieces = self._file_reader(path)
        first = next(pieces, None) if pieces is not None else None
        if pieces is None or first is None or len(first) >= CHUNK_BYTES:
            return None
        if next(pieces, None) is not None:
            return None
        return first if blake3(first).digest() == blob else None

    def _large_file(self, blob: BlobHash, path: str) -> Iterator[bytes] | None:
        """Return a file's pieces if it is the blob, which is known before any of them leaves.

        Otherwise somebody's new bytes would go out under the old name: what was written there
        meanwhile may be a private key. The second reading comes from the page cache.
        """
        pieces = self._file_reader(path)
        if pieces is None:
            return None
        digest = blake3()
        for piece in pieces:
            digest.update(piece)
        again = self._file_reader(path) if digest.digest() == blob else None
        return None if again is None else _checked(blob, again, f"the file {path!r}")

    def keep(self, blob: BlobHash, content: bytes) -> None:
        """See ``Contents.keep``."""
        self._cache.put(blob, content)

    def forget(self, blob: BlobHash) -> None:
        """See ``Contents.forget``."""
        self._cache.discard(blob)

    def _archived(self, blob: BlobHash) -> bytes | None:
        try:
            content = _joined(blob, self._store.blob_chunks(blob))
        except CorruptRecordError as error:
            self._report_corrupt(error)
            return None
        except BlobMissingError:
            return None
        if content is None:
            self._report_corrupt(corrupt_blob(blob, _NOT_THE_BLOB))
        return content

    def _archived_pieces(self, blob: BlobHash) -> Iterator[bytes]:
        try:
            yield from _checked(blob, self._store.blob_chunks(blob), "the archive")
        except CorruptRecordError as error:
            self._report_corrupt(error)
            raise CorruptContentError(str(error)) from error
        except BlobMissingError as error:
            raise CorruptContentError(str(error)) from error
        except CorruptContentError:
            self._report_corrupt(corrupt_blob(blob, _NOT_THE_BLOB))
            raise


def _joined(blob: BlobHash, pieces: Iterator[bytes]) -> bytes | None:
    content = b"".join(pieces)
    return content if blake3(content).digest() == blob else None


def _checked(blob: BlobHash, pieces: Iterator[bytes], where: str) -> Iterator[bytes]:
    digest = blake3()
    for piece in pieces:
        digest.update(piece)
        yield from _cut(piece)
    if digest.digest() != blob:
        message = (
            f"What was read from {where} is not the content {short(blob)}; "
            "throw it away and fetch it from another member."
        )
        raise CorruptContentError(message)


def _cut(content: bytes) -> Iterator[bytes]:
    if len(content) <= CHUNK_BYTES:
        yield content
        return
    for start in range(0, len(content), CHUNK_BYTES):
        yield content[start : start + CHUNK_BYTES]
