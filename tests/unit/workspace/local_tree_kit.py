"""Contents and short words for the tests of the real folder."""

from __future__ import annotations

from collections.abc import Iterator

from blake3 import blake3

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.filetree import (
    FileStat,
    FileWrite,
    ScanBatch,
    WriteOutcome,
)
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree

NOBODY = 65534
APPLIED, UNEXPECTED, FAILED = WriteOutcome.APPLIED, WriteOutcome.UNEXPECTED, WriteOutcome.FAILED


def blob_of(content: bytes) -> BlobHash:
    """Return the content's hash."""
    return BlobHash(blake3(content).digest())


class Cache(dict[BlobHash, bytes]):
    """Contents in memory."""

    def add(self, content: bytes) -> BlobHash:
        blob = blob_of(content)
        self[blob] = content
        return blob

    def keep(self, blob: BlobHash, content: bytes) -> None:
        self[blob] = content

    def forget(self, blob: BlobHash) -> None:
        self.pop(blob, None)

    def at_hand(self, blob: BlobHash) -> bytes | None:
        return self.get(blob)

    def read(self, blob: BlobHash, path: str | None = None) -> bytes | None:
        return self.get(blob)

    def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
        content = self.get(blob)
        if content is None:
            return None
        return (content[i : i + 2**20] for i in range(0, len(content), 2**20))


def scan(tree: LocalFileTree, known: dict[str, FileStat] | None = None) -> ScanBatch:
    """Return all batches of a scan as one."""
    batches = list(tree.scan(known or {}))
    return ScanBatch(
        tuple(o for b in batches for o in b.observations),
        tuple(u for b in batches for u in b.unchanged),
        tuple(s for b in batches for s in b.skipped),
    )


def place(cache: Cache, path: str, content: bytes, expected: bytes | None = None) -> FileWrite:
    """Return a write of a plain file whose content is at hand."""
    before = None if expected is None else blob_of(expected)
    return FileWrite(path, cache.add(content), FileMode.REGULAR, before)
