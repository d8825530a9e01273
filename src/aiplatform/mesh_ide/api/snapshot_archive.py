"""The state of this moment with all its contents in the archive: what a snapshot is made of."""

from __future__ import annotations

import asyncio
from typing import Final

from blake3 import blake3

from aiplatform.mesh_ide.api.editing import NotArchivedError
from aiplatform.mesh_ide.api.history import LookingBack
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.documents.manifest import Manifest
from aiplatform.mesh_ide.documents.manifest_build import Cut, build, cut_of
from aiplatform.mesh_ide.documents.snapshots import Pins
from aiplatform.mesh_ide.documents.state import FileState, Head, content_of, living, winning
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.errors import MeshIDEError, TimedOutError, UnavailableError
from aiplatform.mesh_ide.model.ids import BlobHash, short
from aiplatform.mesh_ide.model.parts import parts
from aiplatform.mesh_ide.node.events import LookAgain
from aiplatform.mesh_ide.ports.jobs import ArchiveBlobs, Lane

SETTLE_S: Final = 10.0
"""What was saved just before belongs into a snapshot: the folder is looked at, and this long it
may take; then the state is what the node knows."""

POLL_S: Final = 0.02

ARCHIVED_PER_JOB_MAX: Final = 64
ARCHIVED_PER_JOB_BYTES: Final = 8 * 1024 * 1024
"""One archiving job holds up the commits of keystrokes behind it, and its contents in memory."""

ARCHIVE_TIMEOUT_S: Final = 600.0
"""For one job: a file of some gigabytes on a slow disk is one."""

LOOKED_UP_MAX: Final = 256
"""Each look-up takes and leaves the interpreter's lock: ten thousand at once kept the event loop
waiting for 170 ms (measured)."""

_Texts = dict[BlobHash, tuple[FileState, tuple[Head, ...]]]


class SnapshotIncompleteError(UnavailableError):
    """A content that the snapshot names cannot be archived now; nothing was kept."""


class SnapshotArchive:
    """Takes the state of one moment on the event loop; everything else happens beside it."""

    def __init__(
        self,
        subjects: Subjects,
        looking_back: LookingBack,
        pins: Pins,
        *,
        settle_s: float = SETTLE_S,
    ) -> None:
        """Ask this node; hold in ``pins`` what is being archived."""
        self._settle_s = settle_s
        self._subjects = subjects
        self._looking_back = looking_back
        self._pins = pins

    async def settle(self) -> None:
        """Look at the folder, and let what was saved come into the history."""
        core = self._subjects.core
        await self._subjects.driver.request(LookAgain)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._settle_s
        while core.workspace.outstanding or core.authoring.queued or core.ledger.claimed:
            await asyncio.sleep(POLL_S)
            if loop.time() >= deadline_s:
                return

    async def present(self) -> Manifest:
        """Return the manifest of this moment.

        Raises:
            UnsettledError: a content is not known yet.
        """
        # In a thread rather than on the store's lane, where keystrokes would wait for it.
        return await asyncio.to_thread(_built, cut_of(self._subjects.ledger))

    async def archived(self) -> Manifest:
        """Return the manifest of this moment, held, with every content archived.

        Raises:
            UnsettledError: a content is not known yet; nothing is held.
            SnapshotIncompleteError: a content is not to be had; nothing is held.
            NotArchivedError: the store does not take it; nothing is held.
        """
        cut = cut_of(self._subjects.ledger)
        manifest = await asyncio.to_thread(_built, cut)
        was_held = self._pins.holds(manifest.id)
        self._pins.hold(manifest)
        try:
            await self._archive(manifest, cut)
        except BaseException:
            if not was_held:
                self._pins.release(manifest)
            raise
        return manifest

    async def _archive(self, manifest: Manifest, cut: Cut) -> None:
        named = manifest.blobs()
        held = await self._held(list(named))
        todo = [(blob, size) for blob, size in named.items() if blob not in held]
        texts: _Texts | None = None
        for part in parts(todo, ARCHIVED_PER_JOB_MAX, _size, ARCHIVED_PER_JOB_BYTES):
            batch = [blob for blob, _ in part]
            for blob in await self._archive_batch(batch):
                texts = _texts(cut) if texts is None else texts
                if not await self._rebuild(blob, texts) or await self._archive_batch([blob]):
                    raise self._incomplete(blob, manifest)

    async def _held(self, blobs: list[BlobHash]) -> set[BlobHash]:
        store = self._subjects.store
        held: set[BlobHash] = set()
        for first in range(0, len(blobs), LOOKED_UP_MAX):
            piece = blobs[first : first + LOOKED_UP_MAX]
            held |= await asyncio.to_thread(store.held_blobs, piece)
        return held

    async def _archive_batch(self, blobs: list[BlobHash]) -> list[BlobHash]:
        """Archive contents that are at hand; return those that are not."""
        driver, folder = self._subjects.driver, self._subjects.core.workspace.folder
        driver.submit(ArchiveBlobs(tuple(folder.source(blob) for blob in blobs)))
        # Asked on the same lane, so after that job was done.
        store = self._subjects.store
        try:
            held = await driver.read(Lane.STORE, lambda: store.held_blobs(blobs), ARCHIVE_TIMEOUT_S)
        except TimedOutError:
            message = (
                f"the disk did not take {counted(len(blobs), 'content')} in {ARCHIVE_TIMEOUT_S:g} s"
            )
            raise TimedOutError(f"{message}; no snapshot was kept: see `mesh doctor`") from None
        return [blob for blob in blobs if blob not in held]

    async def _rebuild(self, blob: BlobHash, texts: _Texts) -> bool:
        """Rebuild a text that stands nowhere (any more) from its history."""
        if blob not in texts:
            return False
        state, heads = texts[blob]
        refs = tuple(head.ref for head in heads)
        text = await self._looking_back.text_at(state.file, heads[0].lineage, refs)
        if text is None or blake3(text.encode()).digest() != blob:
            return False
        self._subjects.driver.contents.keep(blob, text.encode())
        return True

    def _incomplete(self, blob: BlobHash, manifest: Manifest) -> MeshIDEError:
        problem = self._subjects.core.storage_problem
        if problem is not None:
            return NotArchivedError(f"the snapshot could not be stored: {problem}")
        paths = [path for path, file in manifest.files() if file.blob == blob]
        paths += [path for path, one in manifest.beside() if one.blob == blob]
        path = paths[0]
        return SnapshotIncompleteError(
            f"no snapshot was kept: the content {short(blob)} of {path} is not on this node's "
            f"disk (see `mesh why {path}`), or could not be stored (see `mesh doctor`)"
        )


def _built(cut: Cut) -> Manifest:
    return build(cut.placed())


def _size(item: tuple[BlobHash, int]) -> int:
    return item[1]


def _texts(cut: Cut) -> _Texts:
    """Return how contents of texts can be rebuilt: each version's own, and the merged ones."""
    found: _Texts = {}
    for state in cut.states:
        for head in living(state):
            if head.is_text and head.blob is not None:
                found[head.blob] = (state, (head,))
        heads, content = winning(state), content_of(state)
        if content is not None and all(head.is_text for head in heads):
            found[content[0]] = (state, heads)
    return found
