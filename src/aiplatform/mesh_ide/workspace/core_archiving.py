"""When contents that stand in the folder are copied into the archive."""

from __future__ import annotations

from itertools import islice
from typing import Final

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.jobs import ArchiveBlobs, BlobsArchived
from aiplatform.mesh_ide.workspace.folder import Folder

ARCHIVE_AFTER_MS: Final = 1000
"""Quiet time before contents are copied into the archive (the promise is 30 s)."""

ARCHIVE_BUSY_MS: Final = 20_000
"""... and while peers are being served: a first synchronisation has the disk and the processor
for itself, but the promise is kept."""

ARCHIVE_FEW: Final = 64
ARCHIVE_ROOTS_AFTER_MS: Final = 100
"""The roots of a handful of files are archived at once: overwritten before that, while the nodes
are apart, a text loses what both sides' merge builds on."""

ARCHIVE_PER_JOB_MAX: Final = 64
ARCHIVE_RETRY_MS: Final = 2000
"""A disk that refused is asked again after this long."""


class Archiving:
    """Hands out one ``ArchiveBlobs`` at a time for what is quiet."""

    def __init__(self, ledger: Ledger, folder: Folder) -> None:
        self._ledger = ledger
        self._folder = folder
        self._is_under_way = False
        self._not_before_ms = 0

    def due(self, now_ms: int, quiet_ms: int, *, is_busy: bool) -> list[ArchiveBlobs]:
        """Return what to archive now.

        Args:
            now_ms: the time.
            quiet_ms: for how long nothing changed in the folder.
            is_busy: peers are being served; copying waits (with a limit).
        """
        waiting = self._folder.unarchived
        if self._is_under_way or not waiting or now_ms < self._not_before_ms:
            return []
        if quiet_ms >= (ARCHIVE_BUSY_MS if is_busy else ARCHIVE_AFTER_MS):
            blobs = list(islice(waiting, ARCHIVE_PER_JOB_MAX))
        elif quiet_ms >= ARCHIVE_ROOTS_AFTER_MS and len(waiting) <= ARCHIVE_FEW:
            blobs = [blob for blob in waiting if self._is_root(blob)]
        else:
            blobs = []
        if not blobs:
            return []
        self._is_under_way = True
        return [ArchiveBlobs(tuple(self._folder.source(blob) for blob in blobs))]

    def done(self, result: BlobsArchived, now_ms: int) -> None:
        """Take note of what is in the archive now, and of what no file holds any more."""
        self._is_under_way = False
        self._folder.mark_archived(result.archived)
        for blob in result.missing:
            self._folder.unarchived.pop(blob, None)
        if result.problem is not None:
            self._not_before_ms = now_ms + ARCHIVE_RETRY_MS

    def _is_root(self, blob: BlobHash) -> bool:
        """Return whether later merges of a file build on this content."""
        path = self._folder.source(blob).path
        standing = self._folder.standing(path) if path is not None else None
        state = self._ledger.state(standing.file) if standing is not None else None
        return state is not None and any(root.blob == blob for root in state.roots)
