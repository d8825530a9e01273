"""One text's Loro document, and which version of it each entry is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from blake3 import blake3
from loro import (
    ID,
    ExportMode,
    LoroDoc,
    LoroText,
    Ordering,
    Side,
    TextDelta,
    VersionVector,
)
from msgspec import Struct

from aiplatform.mesh_ide.documents.engine.faults import BadEditError, BadEntryError, loro_faults_as
from aiplatform.mesh_ide.documents.engine.operations import TEXT_CONTAINER, text_problem
from aiplatform.mesh_ide.documents.engine.payload import OperationSpan, inspect_payload
from aiplatform.mesh_ide.documents.engine.peers import BRANCH_MAX, derive_peer, genesis_peer
from aiplatform.mesh_ide.documents.engine.versions import (
    Version,
    frontiers,
    minimal,
    new_document,
)
from aiplatform.mesh_ide.model.entries import Entry, EntryRef, KnownEntry
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId
from aiplatform.mesh_ide.ports.engine import BlameSpan, TextRoot

GENESIS_CHUNK_CHARACTERS: Final = 1024
"""Loro's state splits its pieces of text at every edit: one piece of 250 KB made an import of
5,000 scattered hunks take 340 ms, pieces of 1 KB 120 ms (256 characters gained nothing)."""

ATOMS_UNSUSPECTED: Final = 2000
"""An update of no more atoms has no more operations, which take Loro at most about 10 ms."""

OPERATIONS_MAX: Final = 20_000
"""Twice what ``diff`` ever makes. Importing scattered operations takes quadratic time (2,000 in
8 ms, 10,000 in 120 ms), so that more of them would hold every replica up."""

_DOCUMENT_BYTES: Final = 20_000
_ENTRY_BYTES: Final = 300
_OPERATION_BYTES: Final = 640
"""Measured: an empty document has 18.7 KB, one of 100 KB 74 KB, one of 10 KB with 1,000 small
edits 295 KB, one of 222 KB that imported 8,000 scattered operations 5.2 MB."""


class _Draft(Struct, frozen=True):
    """Operations made here whose entry has not come back yet."""

    payload: bytes
    base: Version
    span: OperationSpan


class Lineage:
    """The document of one text root, and the version that each admitted entry is.

    Invariants:
        1. An entry is in ``_versions`` only if its operations are in the document.
        2. The document holds the atoms of the genesis, of admitted entries, of at most one
           draft, and no others.
        3. Outside a call the document is attached: its state is its newest version.

    After an exception other than ``BadEditError`` the lineage must be thrown away.
    """

    __slots__ = ("_authors", "_doc", "_draft", "_file", "_root", "_text", "_versions", "weight")

    def __init__(self, root: TextRoot) -> None:
        content = root.text.encode()
        peer = self._genesis_peer(root, content)
        length = len(root.text)
        self._file = root.file
        self._root = root.root
        self._doc = new_document()
        self._doc.peer_id = peer
        self._text = self._doc.get_text(TEXT_CONTAINER)
        for start in range(0, length, GENESIS_CHUNK_CHARACTERS):
            self._text.insert(start, root.text[start : start + GENESIS_CHUNK_CHARACTERS])
        self._doc.commit()
        genesis: Version = ((peer, length - 1),) if length else ()
        self._versions: dict[EntryId, Version] = {root.root.id: genesis}
        self._authors: dict[int, tuple[list[int], list[EntryRef]]] = {}
        self._draft: _Draft | None = None
        self.weight = _DOCUMENT_BYTES + len(content)

    @staticmethod
    def _genesis_peer(root: TextRoot, content: bytes) -> int:
        return genesis_peer(root.file, BlobHash(blake3(content).digest()))

    def knows(self, entry: EntryId) -> bool:
        """Return whether the entry's operations are in the document."""
        return entry in self._versions

    def version_of(self, heads: Sequence[EntryRef]) -> Version:
        """Return the version that joins those of these entries that are admitted.

        Others do not count: deletes and entries of other lineages stand among the parents of an
        edit without being part of its text.
        """
        known = [self._versions[head.id] for head in heads if head.id in self._versions]
        if len(known) == 1:
            return known[0]
        return minimal(self._doc, known)

    # --- taking entries in -------------------------------------------------------------------

    def admit(self, known: KnownEntry) -> None:
        """Import one entry whose counting parents are admitted; idempotent.

        Raises:
            BadEntryError: the payload is not what its entry may hold, or builds on anything but
                its entry's parents.
        """
        entry, ref = known.entry, known.ref
        if ref.id in self._versions:
            return
        if entry.file != self._file:
            raise BadEntryError(ref, "belongs to another file")
        if not any(parent.id in self._versions for parent in entry.parents):
            raise BadEntryError(ref, "builds on entries that are not there")
        base = self.version_of(entry.parents)
        self.weight += _ENTRY_BYTES
        if not entry.payload:
            self._versions[ref.id] = base
            return
        span = self._adopted(entry, base)
        if span is None:
            span = inspect_payload(known)
            if span.start != self._end_within(base, span.peer):
                raise BadEntryError(ref, "does not continue what its parents hold of its author")
            if self._draft is not None and self._draft.span.peer == span.peer:
                self._discard_draft()
            with loro_faults_as(BadEntryError(ref, "cannot be imported")):
                self._import(known, base, span)
        self._versions[ref.id] = ((span.peer, span.end - 1),)
        starts, authors = self._authors.setdefault(span.peer, ([], []))
        starts.append(span.start)
        authors.append(ref)
        self.weight += span.end - span.start

    def _adopted(self, entry: Entry, base: Version) -> OperationSpan | None:
        """Return the draft's operations if the entry is the draft's, by its author: they are here.

        The payload was made here, byte for byte, so there is nothing more to inspect in it.
        """
        draft = self._draft
        if draft is None or draft.payload != entry.payload or draft.base != base:
            return None
        if not 0 <= entry.branch <= BRANCH_MAX:
            return None
        if draft.span.peer != derive_peer(entry.session, entry.file, entry.branch):
            return None
        self._draft = None
        return draft.span

    def _import(self, known: KnownEntry, base: Version, span: OperationSpan) -> None:
        doc, ref = self._doc, known.ref
        if self._end_of(doc.oplog_vv, span.peer) != span.start:
            raise BadEntryError(ref, "reuses operation ids of another entry")
        atoms = span.end - span.start
        atoms_before = doc.len_ops
        is_suspect = atoms > ATOMS_UNSUSPECTED
        if is_suspect:
            doc.detach()  # so that the state is not touched before the operations are counted
        status = doc.import_(known.entry.payload)
        if status.pending is not None and not status.pending.is_empty:
            raise BadEntryError(ref, "needs operations that are not there")
        if (
            doc.len_ops != atoms_before + atoms
            or self._end_of(doc.oplog_vv, span.peer) != span.end
            or not self._is_built_on(span, base)
        ):
            raise BadEntryError(ref, "builds on something else than its parents")
        found = text_problem(doc, span, OPERATIONS_MAX)
        if isinstance(found, str):
            raise BadEntryError(ref, found)
        self.weight += _OPERATION_BYTES * found
        if is_suspect:
            doc.checkout_to_latest()

    def _is_built_on(self, span: OperationSpan, base: Version) -> bool:
        """Return whether the first change depends on exactly ``base``, the others on it."""
        counter = span.start
        expected = base
        while counter < span.end:
            change = self._doc.get_change(ID(span.peer, counter))
            if change is None:
                return False
            # A change that began earlier was prolonged: its atoms depend on the one before.
            if change.id.counter < counter:
                if expected != ((span.peer, counter - 1),):
                    return False
            elif change.deps.encode() != frontiers(expected).encode():
                return False
            counter = change.id.counter + change.len
            expected = ((span.peer, counter - 1),)
        return True

    # --- looking -----------------------------------------------------------------------------

    def text_at(self, version: Version) -> str:
        """Return the text at a version."""
        with self._standing_at(version):
            return self._text.to_string()

    def blame_at(self, version: Version) -> tuple[BlameSpan, ...]:
        """Return who wrote which characters of the text at a version.

        Loro's difference from the genesis tells which characters are the root's (they are never
        deleted and put back); every other character is asked for its id. Cost: O(log n) for each
        character that was written since the genesis.
        """
        doc, text = self._doc, self._text
        changed = doc.diff(frontiers(self._versions[self._root.id]), frontiers(version))
        spans: list[BlameSpan] = []
        position = 0

        def add(length: int, entry: EntryRef) -> None:
            nonlocal position
            if spans and spans[-1].entry == entry:
                last = spans.pop()
                spans.append(BlameSpan(last.start, last.length + length, entry))
            elif length:
                spans.append(BlameSpan(position, length, entry))
            position += length

        with self._standing_at(version):
            for _container, difference in changed.get_diff():
                for item in getattr(difference, "diff", ()):
                    if isinstance(item, TextDelta.Retain):
                        add(item.retain, self._root)
                    elif isinstance(item, TextDelta.Insert):
                        for at in range(position, position + len(item.insert)):
                            add(1, self._author_at(text, at))
            add(text.len_unicode - position, self._root)
        return tuple(spans)

    def _author_at(self, text: LoroText, position: int) -> EntryRef:
        cursor = text.get_cursor(position, Side.Middle)
        assert cursor is not None, "a position within the text has a cursor"
        assert cursor.id is not None, "a position before the end has a character"
        starts, authors = self._authors[cursor.id.peer]
        return authors[bisect_right(starts, cursor.id.counter) - 1]

    @contextmanager
    def _standing_at(self, version: Version) -> Iterator[None]:
        """Let the document's state be an older version for a moment."""
        if self._is_newest(self._doc, version):
            yield
            return
        self._doc.checkout(frontiers(version))
        yield
        self._doc.checkout_to_latest()
        self._doc.free_history_cache()

    # --- writing -----------------------------------------------------------------------------

    def workspace(self, version: Version) -> LoroDoc:
        """Return a document that stands at a version: the own one, or a copy cut off there.

        Always a copy for a version with several heads: Loro writes the dependencies of a change
        in the order in which its hash table happened to grow, and a copy's has no past.
        """
        if self._draft is not None:
            self._discard_draft()
        if len(version) <= 1 and self._is_newest(self._doc, version):
            return self._doc
        return self._doc.fork_at(frontiers(version))

    def begin(self, doc: LoroDoc, peer: int) -> VersionVector:
        """Let a workspace's next operations be this peer's; return where they begin.

        Raises:
            BadEditError: the peer has operations that the workspace lacks, so that its next
                operation id is taken.
        """
        here = doc.oplog_vv
        if doc is not self._doc and self._end_of(here, peer) != self._end_of(
            self._doc.oplog_vv, peer
        ):
            raise BadEditError(
                "the base of this edit lacks the tip of its branch; write it on a new branch"
            )
        doc.peer_id = peer
        return here

    def finish(self, doc: LoroDoc, peer: int, before: VersionVector, base: Version) -> bytes:
        """Return what was written since ``begin``; a draft if it stands in the own document."""
        doc.commit()
        start, end = self._end_of(before, peer), self._end_of(doc.oplog_vv, peer)
        if start == end:
            return b""
        payload = doc.export(ExportMode.Updates(before))
        if doc is self._doc:
            self._draft = _Draft(payload, base, OperationSpan(peer, start, end))
        return payload

    def _discard_draft(self) -> None:
        assert self._draft is not None, "there is a draft"
        span, self._draft = self._draft.span, None
        kept = self._doc.oplog_vv
        kept.set_end(ID(span.peer, span.start))
        self._doc = self._doc.fork_at(self._doc.vv_to_frontiers(kept))
        self._text = self._doc.get_text(TEXT_CONTAINER)

    # --- versions ----------------------------------------------------------------------------

    @staticmethod
    def _is_newest(doc: LoroDoc, version: Version) -> bool:
        return doc.cmp_with_frontiers(frontiers(version)) == Ordering.Equal

    @staticmethod
    def _end_of(vector: VersionVector, peer: int) -> int:
        """Return the counter after the peer's last atom in a vector."""
        last = vector.get_last(peer)
        return 0 if last is None else last + 1

    def _end_within(self, version: Version, peer: int) -> int:
        """Return the counter after the peer's last atom in a version's history."""
        for author, counter in version:
            if author == peer:
                return counter + 1
        vector = self._doc.frontiers_to_vv(frontiers(version))
        assert vector is not None, "a version of an admitted entry is in the document"
        return self._end_of(vector, peer)
