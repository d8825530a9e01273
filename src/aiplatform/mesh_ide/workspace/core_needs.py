"""Which contents the folder waits for, and how each is to be had: merged here, or fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import FileState, Head, Root, winning
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.ports.jobs import BlobSource, Materialise, MaterialisedText, TextAt
from aiplatform.mesh_ide.workspace.folder import Folder

MATERIALISE_PER_JOB_MAX: Final = 64

RETRY_WANT_MS: Final = 2000
"""How soon is found out anew which contents are still needed."""

RETRY_WANT_MAX_MS: Final = 10_000
"""... and how late, while nothing happens: 717 contents that nobody had cost 5 % of a core at the
first pace."""

RETRIES_MAX: Final = 128
"""... and of how many in one tick: 3 ms."""


class Needs:
    """Contents that are not here yet.

    Invariants:
        1. a file in ``_merging`` has exactly one ``Materialise`` of its winning heads under way.
        2. a head in ``_rivals`` has exactly one of its own, gathered or under way.
    """

    def __init__(self, ledger: Ledger, folder: Folder) -> None:
        self._ledger = ledger
        self._folder = folder
        self._to_merge: dict[FileId, TextAt] = {}
        self._merging: dict[FileId, tuple[EntryRef, ...]] = {}
        self._rivals_to_compute: list[TextAt] = []
        self._rivals: dict[tuple[EntryRef, ...], tuple[BlobHash, int]] = {}
        self._ready: set[BlobHash] = set()
        self._waiting: dict[BlobHash, dict[str, None]] = {}
        self._unmergeable: dict[FileId, tuple[EntryRef, ...]] = {}
        self.wanted: dict[BlobHash, tuple[FileId, int]] = {}
        self.shelf: dict[BlobHash, dict[FileId, None]] = {}
        """Contents that belong into the archive and are not there yet, with all files that need
        them: they stand nowhere in the folder, or only in place of another file."""
        self._rootless: set[BlobHash] = set()
        """Contents that nobody sent for a while: what was built on them is asked for itself."""
        self._doubted: set[BlobHash] = set()
        """Contents that a write did not find where they are believed to be."""
        self._refreshed_ms = 0
        self._pause_ms = RETRY_WANT_MS
        self._stale = 0
        """So many contents at the beginning of ``_waiting`` are to be looked at anew."""

    @property
    def outstanding(self) -> int:
        """Return how many merges and contents are waited for."""
        merges = len(self._merging) + len(self._to_merge) + len(self._rivals)
        return merges + len(self._waiting)

    def is_here(self, blob: BlobHash) -> bool:
        """Return whether a content can be written now."""
        if blob in self._ready:
            return True
        return self._folder.holds(blob) and blob not in self._doubted

    def hurry(self) -> None:
        """Files, members or contents came or changed: look anew soon."""
        self._pause_ms = RETRY_WANT_MS

    def written(self, blob: BlobHash) -> None:
        """A write of this content ended."""
        self._ready.discard(blob)

    def doubt(self, blob: BlobHash) -> None:
        """A write did not find a content: perhaps no file holds it any more that is believed to."""
        if blob not in self._folder.archived:
            self._doubted.add(blob)
            self.hurry()

    def keep(self, blob: BlobHash, file: FileId) -> bool:
        """See that a content of a file comes into the archive; ``True``: it has to be got."""
        if blob in self._folder.archived:
            return False
        is_known = blob in self.shelf
        self.shelf.setdefault(blob, {})[file] = None
        return not is_known and not self._folder.holds(blob)

    def keep_rival(self, state: FileState, head: Head) -> None:
        """See that a losing side of a conflict comes into the archive.

        An edited text is computed from its root if that is here: where its author died before it
        archived what the edit led to, nobody has these bytes to send. Only fetching them was
        tried first, and a live edit that every node held was to be read nowhere.
        """
        if head.blob is None or not self.keep(head.blob, state.file):
            return
        root = state.root(head.lineage)
        if head.kind is not EntryKind.UPDATE or not head.is_text or not self._has_root(root):
            self.shelve(head.blob, head.size, state.file)
            return
        heads = (head.ref,)
        if heads not in self._rivals:
            self._rivals[heads] = (head.blob, head.size)
            self._rivals_to_compute.append(self._text_at(state, root, heads))

    def shelve(self, blob: BlobHash, size: int, file: FileId) -> None:
        """Fetch a content that stands nowhere and keep it in the archive."""
        self.shelf.setdefault(blob, {})[file] = None
        self.wanted[blob] = (file, size)

    def obtain(self, path: str, state: FileState, blob: BlobHash, size: int) -> None:
        """Get a content that is not here: compute it from its root, or fetch it.

        A text's root is fetched even when the head could be: later merges need it.
        """
        self._waiting.setdefault(blob, {})[path] = None
        heads = winning(state)
        can_merge = all(h.kind is EntryKind.UPDATE and h.is_text for h in heads)
        if not can_merge or self._unmergeable.get(state.file) == state.refs():
            self.wanted[blob] = (state.file, size)
            return
        if state.root(heads[0].lineage).blob in self._rootless:
            self.wanted[blob] = (state.file, size)
        self.want_merge(state)

    def want_merge(self, state: FileState) -> None:
        """Have several heads of a text merged, once its root is here."""
        if state.file in self._merging:
            return
        heads = winning(state)
        root = state.root(heads[0].lineage)
        refs = tuple(head.ref for head in heads)
        is_hopeless = self._unmergeable.get(state.file) == state.refs()
        if is_hopeless or not self._has_root(root):
            path = self._ledger.index.path_of(state.file)
            if path is not None:
                self._waiting.setdefault(root.blob, {})[path] = None
            self.shelve(root.blob, root.size, state.file)
            return
        self._to_merge[state.file] = self._text_at(state, root, refs)

    def _has_root(self, root: Root) -> bool:
        return root.blob in self._ready or self._folder.holds(root.blob)

    def _text_at(self, state: FileState, root: Root, heads: tuple[EntryRef, ...]) -> TextAt:
        source = self._folder.source(root.blob)
        return TextAt(self._ledger.lineage_of(state.file, root.ref, source), heads)

    # --- merges and contents that come -------------------------------------------------------

    def take_merges(self) -> list[Materialise]:
        """Hand out the merges that gathered, and the rivals to be computed."""
        for item in self._to_merge.values():
            self._merging[item.lineage.file] = item.heads
        items = [*self._to_merge.values(), *self._rivals_to_compute]
        self._to_merge.clear()
        self._rivals_to_compute.clear()
        return [
            Materialise(tuple(items[i : i + MATERIALISE_PER_JOB_MAX]))
            for i in range(0, len(items), MATERIALISE_PER_JOB_MAX)
        ]

    def on_content(self, blobs: Iterable[BlobHash]) -> list[str]:
        """Take note of contents at hand; returns the paths that waited for them."""
        paths: list[str] = []
        self.hurry()
        for blob in blobs:
            self.wanted.pop(blob, None)
            self._unmergeable.clear()
            self._rootless.discard(blob)
            self._doubted.discard(blob)
            if blob in self._waiting:
                self._ready.add(blob)
                paths.extend(self._waiting.pop(blob))
        return paths

    def end_merge(self, text: MaterialisedText) -> tuple[BlobSource, ...]:
        """Close a merge; returns the content of a rival that is at hand now, to be archived.

        A rival whose root has gone, or whose author's own hash says otherwise, is fetched instead.
        """
        if self._merging.get(text.file) == text.heads:
            del self._merging[text.file]
        if text.heads not in self._rivals:
            return ()
        blob, size = self._rivals.pop(text.heads)
        if text.blob != blob:
            self.shelve(blob, size, text.file)
            return ()
        return (self._folder.source(blob),)

    def give_up_merge(self, state: FileState) -> None:
        """Remember that this frontier cannot be merged with what is here."""
        self.hurry()
        self._unmergeable[state.file] = state.refs()

    def take_retries(self, now_ms: int) -> list[str]:
        """Return paths whose needs are to be found out anew: a content may be superseded."""
        waiting: list[str] = []
        if now_ms - self._refreshed_ms >= self._pause_ms:
            self._refreshed_ms = now_ms
            self._pause_ms = min(2 * self._pause_ms, RETRY_WANT_MAX_MS)
            self._stale = len(self._waiting)
            self._unmergeable.clear()
            self._doubted.clear()
            for blob, files in list(self.shelf.items()):
                if not self._folder.holds(blob):
                    del self.shelf[blob]
                    self._rootless.add(blob)
                    waiting.extend(self._lost(files))
        self._stale = min(self._stale, len(self._waiting))
        for blob in list(islice(self._waiting, min(self._stale, RETRIES_MAX))):
            # What is still needed goes to the end: nothing is looked at twice in a round.
            waiting.extend(self._waiting.pop(blob))
            self._stale -= 1
        return sorted(waiting)

    def _lost(self, files: Iterable[FileId]) -> Iterator[str]:
        """Yield the places of files whose content is not here, or not here any more."""
        for file in files:
            self._folder.recheck(file)
            path = self._ledger.index.path_of(file)
            if path is not None:
                yield path
