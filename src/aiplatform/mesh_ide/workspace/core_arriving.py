"""Contents that came to be here, merged, fetched or archived, and those that are lost."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import FileState, Merged, winning
from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.ports.jobs import (
    ArchiveBlobs,
    BlobsArchived,
    Materialised,
    MaterialisedText,
)
from aiplatform.mesh_ide.workspace.core_edits import Edits
from aiplatform.mesh_ide.workspace.core_needs import Needs
from aiplatform.mesh_ide.workspace.core_touched import Touched
from aiplatform.mesh_ide.workspace.folder import Folder


class Arriving:
    """Wakes whoever waited for a content, and has archived what will stand nowhere."""

    def __init__(
        self, ledger: Ledger, folder: Folder, needs: Needs, edits: Edits, touched: Touched
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._needs = needs
        self._edits = edits
        self._touched = touched
        self._held_now: dict[FileId, None] = {}

    def take_held(self) -> tuple[FileId, ...]:
        """Hand out the files whose contents may be held here now, or not any more."""
        self._held_now.update(dict.fromkeys(self._folder.take_placed()))
        held = tuple(self._held_now)
        self._held_now.clear()
        return held

    # --- merged here -------------------------------------------------------------------------

    def on_materialised(self, result: Materialised) -> list[ArchiveBlobs]:
        """Merged contents are at hand (or cannot be had yet)."""
        out: list[ArchiveBlobs] = []
        for text in result.texts:
            out.extend(ArchiveBlobs((rival,)) for rival in self._needs.end_merge(text))
            self._touched.file(text.file)
            state = self._ledger.state(text.file)
            if state is not None and tuple(head.ref for head in winning(state)) == text.heads:
                out.extend(self._merged(state, text))
        return out

    def _merged(self, state: FileState, text: MaterialisedText) -> list[ArchiveBlobs]:
        if text.blob is None:
            self._needs.give_up_merge(state)
            return []
        heads = winning(state)
        if len(heads) == 1 and heads[0].blob != text.blob:
            # The author's own hash says otherwise: fetch what the author had instead.
            self._needs.give_up_merge(state)
            self._ledger.replace_state(replace(state, fault="merge differs from its hash"))
            return []
        if len(heads) > 1:
            merged = Merged(text.heads, text.blob, text.size)
            self._ledger.replace_state(replace(state, merged=merged))
        out: list[ArchiveBlobs] = []
        if self._is_hidden(text.file) and not self._folder.holds(text.blob):
            self._needs.keep(text.blob, text.file)
            out.append(ArchiveBlobs((self._folder.source(text.blob),)))
        self._touched.add(self._needs.on_content((text.blob,)))
        return out

    def _is_hidden(self, file: FileId) -> bool:
        """Return whether a file stands nowhere: others own its path, or it is a folder."""
        index = self._ledger.index
        path = index.path_of(file)
        return path is not None and (index.owner(path) != file or index.has_below(path))

    # --- fetched, archived, lost -------------------------------------------------------------

    def on_content(self, blobs: Iterable[BlobHash], now_ms: int) -> list[ArchiveBlobs]:
        """Contents arrived from a peer."""
        arrived = tuple(blobs)
        self._touched.add(self._needs.on_content(arrived))
        self._edits.retry_baseless(frozenset(arrived), now_ms)
        shelved = [blob for blob in arrived if blob in self._needs.shelf]
        return [ArchiveBlobs(tuple(map(self._folder.source, shelved)))] if shelved else []

    def on_archived(self, result: BlobsArchived) -> None:
        """Contents are in the archive, some of which files wait for there."""
        for blob in result.archived:
            self._held_now.update(self._needs.shelf.pop(blob, {}))

    def on_lost(self, blob: BlobHash) -> None:
        """An archived content rotted: it is archived again from the folder, or fetched."""
        self._folder.archived.discard(blob)
        is_here = self._folder.holds(blob)
        if is_here:
            self._folder.unarchived[blob] = None
        for state in self._ledger.states():
            size = _sizes(state).get(blob)
            if size is None:
                continue
            self._held_now[state.file] = None
            self._touched.file(state.file)
            if not is_here:
                self._needs.shelve(blob, size, state.file)


def _sizes(state: FileState) -> dict[BlobHash | None, int]:
    """Return the contents that a file's state names, with their sizes."""
    sizes = {head.blob: head.size for head in state.heads}
    sizes.update((root.blob, root.size) for root in state.roots)
    if state.merged is not None:
        sizes[state.merged.blob] = state.merged.size
    return sizes
