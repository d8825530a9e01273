"""The numbers a core gives out: file ids that nobody else has, and tickets for its commits."""

from __future__ import annotations

from blake3 import blake3

from aiplatform.mesh_ide.model.ids import FILE_ID_BYTES, FileId


class Numbers:
    """Draws from a seed, so that a run can be repeated; chance comes in with the seed alone."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._drawn = 0
        self._ticket = 0

    def file_id(self) -> FileId:
        """Return an id for a file that is born here."""
        self._drawn += 1
        digest = blake3(self._seed + self._drawn.to_bytes(8, "big")).digest(length=FILE_ID_BYTES)
        return FileId(digest)

    def ticket(self) -> int:
        """Return the ticket by which a commit is known again when its result comes."""
        self._ticket += 1
        return self._ticket
