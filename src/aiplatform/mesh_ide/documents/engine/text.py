"""``TextEngine`` on Loro: a bounded number of documents, each only ever a cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from loro import LoroDoc, TextDelta

from aiplatform.mesh_ide.documents.engine.diff import Hunk, plan_hunks
from aiplatform.mesh_ide.documents.engine.faults import BadEditError
from aiplatform.mesh_ide.documents.engine.lineage import Lineage
from aiplatform.mesh_ide.documents.engine.operations import TEXT_CONTAINER
from aiplatform.mesh_ide.documents.engine.payload import inspect_payload
from aiplatform.mesh_ide.documents.engine.peers import derive_peer
from aiplatform.mesh_ide.model.entries import (
    PAYLOAD_BYTES_MAX,
    TEXT_BYTES_MAX,
    EntryRef,
    KnownEntry,
)
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import NO_ENTRY, EntryId, FileId, SessionId, short
from aiplatform.mesh_ide.ports.engine import BlameSpan, Splice, TextEdit, TextRoot
from aiplatform.mesh_ide.ports.errors import BadUpdateError

DOCUMENTS_MAX: Final = 64
"""About as many files as people and agents have open; an empty document has 18.7 KB."""

CACHE_BYTES_MAX: Final = 32 * 1024 * 1024
"""Bounds the documents together, by the estimate that ``Lineage.weight`` keeps."""

_DELTA_HUNKS_MIN: Final = 8
"""From here on one delta is applied instead of single splices: those take Loro quadratic time
(5,000 hunks: 330 ms, as one delta 15 ms)."""

SPLICES_MAX: Final = 5000
"""In one update; as many as ``derive_update`` ever makes."""


class LoroTextEngine:
    """Merges texts with Loro's Fugue text (https://arxiv.org/abs/2305.00583). One lane calls it.

    ``entries`` may be any entries of the file in any order: those that are no updates of the
    root's lineage do not count, and neither do they as parents. They are read only if a head is
    asked for that the cached document lacks, and only until its history is complete: with the
    newest first, a call costs what is new. Nothing but that history is imported, so that the
    answer never depends on what else is known.

    Args:
        documents_max: documents kept.
        cache_bytes_max: estimated bytes of all kept documents; the one just used always stays.
    """

    def __init__(
        self, documents_max: int = DOCUMENTS_MAX, cache_bytes_max: int = CACHE_BYTES_MAX
    ) -> None:
        self._documents_max = documents_max
        self._cache_bytes_max = cache_bytes_max
        self._documents: OrderedDict[tuple[FileId, EntryId], tuple[Lineage, int]] = OrderedDict()
        self._cache_bytes = 0

    def derive_update(  # noqa: PLR0913 - the port's signature
        self,
        root: TextRoot,
        entries: Iterable[KnownEntry],
        base: Sequence[EntryRef],
        text: str,
        session: SessionId,
        branch: int,
    ) -> bytes | None:
        """Return the operations from the text at ``base`` to ``text``; ``None``: too different.

        Heads of ``base`` that are no updates of this lineage (deletes) do not count. Equal texts
        give an empty payload.

        Raises:
            BadUpdateError: an entry cannot be imported, or no head of the base is there.
            BadEditError: the base lacks the tip of the branch: a new branch is needed.
        """
        if len(text) > TEXT_BYTES_MAX or len(_encoded(text)) > TEXT_BYTES_MAX:
            return None
        with self._opened(root, entries, base) as lineage:
            version = lineage.version_of(base)
            doc = lineage.workspace(version)
            container = doc.get_text(TEXT_CONTAINER)
            hunks = plan_hunks(container.to_string(), text)
            if not hunks:
                return None if hunks is None else b""
            peer = derive_peer(session, root.file, branch)
            before = lineage.begin(doc, peer)
            _apply(doc, hunks)
            payload = lineage.finish(doc, peer, before, version)
            # A text that is not what was asked for would be worse than a replace; never seen.
            is_exact = container.to_string() == text
            return payload if is_exact and len(payload) <= PAYLOAD_BYTES_MAX else None

    def splice_update(  # noqa: PLR0913 - the port's signature
        self,
        root: TextRoot,
        entries: Iterable[KnownEntry],
        base: Sequence[EntryRef],
        splices: Sequence[Splice],
        session: SessionId,
        branch: int,
    ) -> TextEdit:
        """Apply splices in order to the text at ``base``; return what came of it.

        Raises:
            BadUpdateError: as ``derive_update``.
            BadEditError: a splice lies outside the text, there are over ``SPLICES_MAX``, the
                text would grow over its bound, or the branch's tip is not in the base.
        """
        with self._opened(root, entries, base, is_complete=True) as lineage:
            version = lineage.version_of(base)
            doc = lineage.workspace(version)
            container = doc.get_text(TEXT_CONTAINER)
            _check_splices(container.len_unicode, container.len_utf8, splices)
            peer = derive_peer(session, root.file, branch)
            before = lineage.begin(doc, peer)
            for splice in splices:
                if splice.delete:
                    container.delete(splice.position, splice.delete)
                if splice.insert:
                    container.insert(splice.position, splice.insert)
            text = container.to_string()
            return TextEdit(lineage.finish(doc, peer, before, version), text)

    def text_at(
        self, root: TextRoot, entries: Iterable[KnownEntry], heads: Sequence[EntryRef]
    ) -> str:
        """Return the merged text at this frontier.

        Raises:
            BadUpdateError: an entry cannot be imported, or a head is not there.
        """
        with self._opened(root, entries, heads, is_complete=True) as lineage:
            return lineage.text_at(lineage.version_of(heads))

    def check_payload(self, known: KnownEntry) -> None:
        """Check, before import, that a payload holds only operations of its entry's author.

        Raises:
            BadUpdateError: somebody else's operations, a malformed or oversized payload.
        """
        if known.entry.payload:
            inspect_payload(known)

    def blame(
        self, root: TextRoot, entries: Iterable[KnownEntry], heads: Sequence[EntryRef]
    ) -> tuple[BlameSpan, ...]:
        """Return for the whole text at ``heads`` who wrote what, in order, without gaps.

        Raises:
            BadUpdateError: as ``text_at``.
        """
        with self._opened(root, entries, heads, is_complete=True) as lineage:
            return lineage.blame_at(lineage.version_of(heads))

    @contextmanager
    def _opened(
        self,
        root: TextRoot,
        entries: Iterable[KnownEntry],
        heads: Sequence[EntryRef],
        *,
        is_complete: bool = False,
    ) -> Iterator[Lineage]:
        """Lend the document with the history of ``heads`` in it; keep it unless it may be broken.

        ``is_complete``: a head that is nowhere is an error, not only when none counts.
        """
        key = (root.file, root.root.id)
        cached, weight = self._documents.pop(key, (None, 0))
        self._cache_bytes -= weight
        lineage, unknown = self._bring(cached, root, _Rereadable(entries), heads)
        try:
            if (unknown and is_complete) or not any(lineage.knows(head.id) for head in heads):
                names = ", ".join(sorted(short(entry) for entry in unknown)) or "none given"
                raise BadUpdateError(
                    f"the text of file {short(root.file)} is asked for at entries that are not "
                    f"there ({names}); fetch what this node lacks of the file"
                )
            yield lineage
        except BadEditError:
            self._keep(key, lineage)
            raise
        self._keep(key, lineage)

    def _bring(
        self,
        cached: Lineage | None,
        root: TextRoot,
        entries: Iterable[KnownEntry],
        heads: Sequence[EntryRef],
    ) -> tuple[Lineage, set[EntryId]]:
        """Return a document with the history of ``heads``, and the heads that are nowhere."""
        lineage = cached or self._build(root)
        unknown = {head.id for head in heads if not lineage.knows(head.id)}
        if unknown:
            try:
                aside = _admit_history(lineage, root.root.id, entries, unknown)
            except BadUpdateError:
                if cached is None:
                    raise
                # What the cached document holds beside that history must not decide: a session
                # that uses operation ids twice would be refused here and believed elsewhere.
                return self._bring(None, root, entries, heads)
            unknown = {one for one in unknown - aside if not lineage.knows(one)}
        return lineage, unknown

    def _build(self, root: TextRoot) -> Lineage:
        return Lineage(root)

    def _keep(self, key: tuple[FileId, EntryId], lineage: Lineage) -> None:
        self._documents[key] = (lineage, lineage.weight)
        self._cache_bytes += lineage.weight
        while len(self._documents) > 1 and (
            len(self._documents) > self._documents_max or self._cache_bytes > self._cache_bytes_max
        ):
            _, (_, weight) = self._documents.popitem(last=False)
            self._cache_bytes -= weight


class _Rereadable:
    """Lets entries be read again from the start, also if they come from an iterator."""

    def __init__(self, entries: Iterable[KnownEntry]) -> None:
        self._read: list[KnownEntry] = []
        self._rest = iter(entries)

    def __iter__(self) -> Iterator[KnownEntry]:
        yield from self._read
        for known in self._rest:
            self._read.append(known)
            yield known


def _admit_history(
    lineage: Lineage, root: EntryId, entries: Iterable[KnownEntry], wanted: set[EntryId]
) -> set[EntryId]:
    """Admit the history of the wanted entries; return the wanted ones that do not count.

    Reads ``entries`` until that history is complete.
    """
    offered: dict[EntryId, KnownEntry] = {}
    needed = set(wanted)
    aside: set[EntryId] = set()
    for known in entries:
        entry, this = known.entry, known.ref.id
        if entry.kind is EntryKind.UPDATE and entry.lineage in {root, NO_ENTRY}:
            offered[this] = known
            if this in needed:
                needed.discard(this)
                needed |= _lacking(lineage, offered, known)
        elif this in needed:
            needed.discard(this)
            aside.add(this)
        if not needed:
            break
    pending = sorted(wanted & offered.keys(), reverse=True)
    while pending:
        known = offered[pending[-1]]
        before = [
            parent.id
            for parent in known.entry.parents
            if parent.id in offered and not lineage.knows(parent.id)
        ]
        if before:
            pending += before
        else:
            lineage.admit(known)
            pending.pop()
    return aside & wanted


def _lacking(
    lineage: Lineage, offered: dict[EntryId, KnownEntry], known: KnownEntry
) -> set[EntryId]:
    """Return which ancestors of an entry are neither in the document nor offered yet."""
    lacking: set[EntryId] = set()
    seen: set[EntryId] = set()
    pending = [known]
    while pending:
        for parent in pending.pop().entry.parents:
            if parent.id in seen or lineage.knows(parent.id):
                continue
            seen.add(parent.id)
            if parent.id in offered:
                pending.append(offered[parent.id])
            else:
                lacking.add(parent.id)
    return lacking


def _encoded(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as fault:
        raise BadEditError("the text has a lone surrogate; treat the content as binary") from fault


def _apply(doc: LoroDoc, hunks: Sequence[Hunk]) -> None:
    """Apply ascending hunks to a text."""
    container = doc.get_text(TEXT_CONTAINER)
    if len(hunks) < _DELTA_HUNKS_MIN:
        for start, end, insert in reversed(hunks):
            if end > start:
                container.delete(start, end - start)
            if insert:
                container.insert(start, insert)
        return
    delta: list[TextDelta] = []
    at = 0
    for start, end, insert in hunks:
        if start > at:
            delta.append(TextDelta.Retain(start - at, None))
        if insert:
            delta.append(TextDelta.Insert(insert, None))
        if end > start:
            delta.append(TextDelta.Delete(end - start))
        at = end
    container.apply_delta(delta)


def _check_splices(characters: int, size: int, splices: Sequence[Splice]) -> None:
    """Check all splices before the first is applied."""
    if len(splices) > SPLICES_MAX:
        raise BadEditError(f"{len(splices)} splices in one edit; send at most {SPLICES_MAX}")
    for splice in splices:
        if splice.delete < 0 or not 0 <= splice.position <= characters - splice.delete:
            raise BadEditError(
                f"a splice of {splice.delete} characters at {splice.position} lies outside the "
                f"text of {characters}; read the text again and repeat the edit"
            )
        size += len(_encoded(splice.insert))
        characters += len(splice.insert) - splice.delete
    if size > TEXT_BYTES_MAX + PAYLOAD_BYTES_MAX // 2:
        raise BadEditError("the edit inserts more than an update holds; write the whole file")
