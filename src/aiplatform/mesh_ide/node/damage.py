"""Stored bytes that do not match their hash: found by whoever reads them, told to the core once.

A rotten blob is erased, so that it counts as missing; a rotten entry stays (its row names what to
ask for) and is mended when a peer's copy of it is stored again.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId
from aiplatform.mesh_ide.node.events import DamageFound
from aiplatform.mesh_ide.ports.errors import CorruptRecordError
from aiplatform.mesh_ide.ports.store import Store


class DamageLog:
    """Takes what was found, on any thread, and passes it on (the core tells it once)."""

    def __init__(self, store: Store, file_of: Callable[[EntryId], FileId | None]) -> None:
        """Watch over a store; ``file_of`` finds whose history a damaged entry belongs to."""
        self._store = store
        self._file_of = file_of
        self._tell: Callable[[DamageFound], None] = lambda _: None

    def connect(self, tell: Callable[[DamageFound], None]) -> None:
        """Say who hears of it; called on the thread of whoever reads."""
        self._tell = tell

    def found(self, error: CorruptRecordError) -> None:
        """Take note of a rotten record. Never raises."""
        blob: BlobHash | None = None
        file: FileId | None = None
        # Where the disk does not even take that now, the next read finds it again.
        with suppress(MeshIDEError):
            if error.what == "blob":
                blob = BlobHash(error.key)
                self._store.erase_blob(blob)
            else:
                file = self._file_of(EntryId(error.key))
        self._tell(DamageFound(str(error), error.key, file, blob))
