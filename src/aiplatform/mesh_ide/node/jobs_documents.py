"""Jobs of the document engines: differences, merges, the tree."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

from blake3 import blake3

from aiplatform.mesh_ide.documents.engine.diff import plan_hunks
from aiplatform.mesh_ide.documents.engine.faults import BadEditError
from aiplatform.mesh_ide.model.entries import (
    TEXT_BYTES_MAX,
    EntryRef,
    KnownEntry,
)
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import BlobHash, FileId, SessionId
from aiplatform.mesh_ide.ports.engine import TextEngine, TextRoot, TreeEngine, TreePlace
from aiplatform.mesh_ide.ports.errors import (
    BadUpdateError,
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.filetree import (
    Contents,
)
from aiplatform.mesh_ide.ports.jobs import (
    DerivedUpdate,
    DeriveOutcome,
    DeriveUpdate,
    EditTree,
    ImportTree,
    MaterialisedText,
    SpliceText,
    TextAt,
    TextLineage,
    TextSpliced,
    TreeEdited,
    TreeImported,
)
from aiplatform.mesh_ide.ports.store import Store

_RECENT_MAX: Final = 16
"""Texts that are being typed into at the same time; of others, everything is read again."""

_RECENT_CHARACTERS_MAX: Final = 64 * 1024
"""Longer first texts are not held besides: reading them is little beside working on them."""


class DocumentJobs:
    """Reads contents and histories for the engines and gives their answers the jobs' form."""

    def __init__(  # noqa: PLR0913 - it joins the ports
        self,
        session: SessionId,
        store: Store,
        contents: Contents,
        texts: TextEngine,
        names: TreeEngine,
        report_damage: Callable[[CorruptRecordError], None],
    ) -> None:
        self.session = session
        self._store = store
        self._contents = contents
        self._texts = texts
        self._names = names
        self._report_damage = report_damage
        self._roots: OrderedDict[tuple[EntryRef, BlobHash], TextRoot] = OrderedDict()
        self._tips: OrderedDict[FileId, KnownEntry] = OrderedDict()

    def _root(self, lineage: TextLineage) -> TextRoot | None:
        key = (lineage.root, lineage.content.blob)
        root = self._roots.get(key)
        if root is not None and root.file == lineage.file:
            return root
        content = self._contents.read(lineage.content.blob, lineage.content.path)
        if content is None:
            return None
        root = TextRoot(lineage.file, lineage.root, content.decode())
        if len(root.text) <= _RECENT_CHARACTERS_MAX:
            _remember(self._roots, key, root)
        return root

    def _entries(self, lineage: TextLineage, heads: Sequence[EntryRef]) -> Iterator[KnownEntry]:
        """Yield the file's entries, those that are asked for first.

        The engine stops reading once it has what its cached document lacks: with the newest in
        front that is one entry per keystroke, not the whole history, and one that is on its way
        to the store is at hand without asking for it.
        """
        try:
            yield from reversed(lineage.pending)
            pending = {known.ref.id for known in lineage.pending}
            tip = self._tips.get(lineage.file)
            for head in heads:
                if head.id in pending:
                    continue
                known = tip if tip and tip.ref == head else self._store.entry(head.id)
                if known is not None:
                    yield known
            yield from self._store.entries_of(lineage.file)
        except CorruptRecordError as error:
            self._report_damage(error)
            raise

    def derive(self, item: DeriveUpdate) -> DerivedUpdate:  # noqa: PLR0911 - one per outcome
        """Find the operations of one edit."""
        file = item.lineage.file
        content = self._contents.read(item.content.blob, item.content.path)
        if content is None:
            return DerivedUpdate(file, DeriveOutcome.CONTENT_MISSING)
        text = content.decode()
        lineage, base, branch = item.lineage, item.base, item.branch
        is_before: bool | None = False
        try:
            if item.base_before:
                is_before = self._is_from_before(item, text)
            if is_before is None:
                return DerivedUpdate(file, DeriveOutcome.BASE_MISSING)
            if is_before:
                lineage = item.lineage_before or lineage
                base, branch = item.base_before, item.branch_before
            root = self._root(lineage)
            if root is None:
                return DerivedUpdate(file, DeriveOutcome.BASE_MISSING)
            self._keep_root(lineage, root)
            payload = self._texts.derive_update(
                root, self._entries(lineage, base), base, text, self.session, branch
            )
        except CorruptRecordError:
            # It is being asked for again; the edit waits for it as it would for a content.
            return DerivedUpdate(file, DeriveOutcome.BASE_MISSING)
        except MeshIDEError:
            # An entry of the history cannot be imported: the new content stands on its own.
            return DerivedUpdate(file, DeriveOutcome.TOO_DIFFERENT)
        if payload is None:
            outcome = DeriveOutcome.TOO_DIFFERENT
            return DerivedUpdate(file, outcome, is_from_before=is_before)
        return DerivedUpdate(file, DeriveOutcome.DERIVED, payload, is_from_before=is_before)

    def _keep_root(self, lineage: TextLineage, root: TextRoot) -> None:
        """Keep a root's content at hand: the core has it archived before the edit is durable."""
        self._contents.keep(lineage.content.blob, root.text.encode())

    def _text(self, lineage: TextLineage, heads: Sequence[EntryRef]) -> str | None:
        root = self._root(lineage)
        if root is None:
            return None
        return self._texts.text_at(root, self._entries(lineage, heads), heads)

    def _is_from_before(self, item: DeriveUpdate, text: str) -> bool | None:
        """Return whether the writer had read what stood before our own last write.

        ``None``: one of the two texts cannot be had now.
        """
        now = self._text(item.lineage, item.base)
        before = self._text(item.lineage_before or item.lineage, item.base_before)
        if now is None or before is None:
            return None
        return had_read_before(before, now, text, is_before_open=item.is_before_open)

    def splice(self, job: SpliceText) -> TextSpliced:
        """Turn exact edits into operations and their content."""
        file = job.lineage.file
        root = self._root(job.lineage)
        if root is None:
            return TextSpliced(file, job.base, job.branch, b"", None, 0, "the base is not here")
        try:
            edit = self._texts.splice_update(
                root,
                self._entries(job.lineage, job.base),
                job.base,
                job.splices,
                self.session,
                job.branch,
            )
        except MeshIDEError as error:
            return TextSpliced(file, job.base, job.branch, b"", None, 0, str(error))
        content = edit.text.encode()
        if len(content) > TEXT_BYTES_MAX:
            problem = f"the text would grow over {TEXT_BYTES_MAX} bytes"
            return TextSpliced(file, job.base, job.branch, b"", None, 0, problem)
        blob = BlobHash(blake3(content).digest())
        self._contents.keep(blob, content)
        self._keep_root(job.lineage, root)
        return TextSpliced(file, job.base, job.branch, edit.payload, blob, len(content))

    def materialise(self, item: TextAt) -> MaterialisedText:
        """Compute a text at a frontier and keep it."""
        file = item.lineage.file
        own = self._own_result(item)
        if own is not None:
            return own
        root = self._root(item.lineage)
        if root is None:
            return MaterialisedText(file, item.heads, None, 0)
        try:
            entries = self._entries(item.lineage, item.heads)
            text = self._texts.text_at(root, entries, item.heads)
        except (BadUpdateError, CorruptRecordError) as error:
            return MaterialisedText(file, item.heads, None, 0, problem=str(error))
        content = text.encode()
        blob = BlobHash(blake3(content).digest())
        self._contents.keep(blob, content)
        return MaterialisedText(file, item.heads, blob, len(content))

    def _own_result(self, item: TextAt) -> MaterialisedText | None:
        """Return what one edit of this session led to, if its content is still at hand.

        It was computed when the edit was made; only what others sign has to be computed to be
        believed. Otherwise every keystroke would be merged twice, in the way of its own commit.
        """
        if len(item.heads) != 1 or item.heads[0].session != self.session:
            return None
        ours = next((k for k in reversed(item.lineage.pending) if k.ref == item.heads[0]), None)
        if ours is None:
            return None
        entry = ours.entry
        if entry.result is None or self._contents.at_hand(entry.result) is None:
            return None
        _remember(self._tips, item.lineage.file, ours)  # the next keystroke builds on it
        return MaterialisedText(item.lineage.file, item.heads, entry.result, entry.size)

    def edit_tree(self, job: EditTree) -> TreeEdited:
        """Apply tree operations as this session."""
        try:
            edit = self._names.edit(job.operations, self.session, job.branch)
        except BadEditError as error:
            # What others did meanwhile is in the tree already: a folder cannot go there now.
            return TreeEdited(b"", (), problem=str(error))
        return TreeEdited(edit.payload, edit.places)

    def import_tree(self, job: ImportTree) -> TreeImported:
        """Merge checked tree entries; a bad one never spoils the others."""
        try:
            return TreeImported(self._names.import_payloads(job.known))
        except BadUpdateError:
            # One at a time: what is sound of it must not be lost with the rest.
            places: list[TreePlace] = []
            refused: list[EntryRef] = []
            problem: str | None = None
            for known in job.known:
                try:
                    places.extend(self._names.import_payloads((known,)))
                except BadUpdateError as error:
                    problem = str(error)
                    refused.append(known.ref)
            return TreeImported(tuple(places), problem=problem, refused=tuple(refused))


Key = TypeVar("Key")
Value = TypeVar("Value")


def _remember(recent: OrderedDict[Key, Value], key: Key, value: Value) -> None:
    """Hold a value, forgetting the one that was put there longest ago."""
    recent.pop(key, None)
    recent[key] = value
    if len(recent) > _RECENT_MAX:
        recent.popitem(last=False)


def had_read_before(before: str, now: str, new: str, *, is_before_open: bool) -> bool:
    """Return whether a writer's text was made from what stood before our write, not from ours.

    A line that only one of the two has is what the writer must have read. Where the new text has
    none of those, the text that explains it with fewer changes is taken. What keeps nothing of
    either (emptied, rewritten) is put beside our write, so that nothing unseen goes with it.
    Counting changed characters alone was tried first: whoever deleted one of two lines that a
    peer had just written was taken for somebody who had read neither.

    Args:
        before: what stood there before our last write.
        now: what we wrote.
        new: what the writer wrote.
        is_before_open: what stood before is a side of a conflict, unseen by who reads ours.
    """
    lines, lines_before, lines_now = (set(text.splitlines()) for text in (new, before, now))
    knew_now = bool(lines & (lines_now - lines_before))
    knew_before = bool(lines & (lines_before - lines_now))
    if knew_now != knew_before:
        return knew_before
    changed_since_now = changed_characters(now, new)
    kept_of_now = (len(now) + len(new) - changed_since_now) // 2
    if not lines & lines_before and 2 * kept_of_now <= len(now):
        return not is_before_open
    changed_since_before = changed_characters(before, new)
    if changed_since_before == changed_since_now:
        # A peer put one line in the place of another, and one of the two is gone: which, nobody
        # can tell. Taken for the old one, at worst a deleted line comes back; taken for the
        # peer's, a line may go that nobody here has seen.
        return not is_before_open
    return changed_since_before < changed_since_now


def changed_characters(old: str, new: str) -> int:
    """Return how many characters have to go or to come to make one text of another.

    Counting what lies between the common ends was tried first: whoever saved two lines, one above
    and one below what a peer had written, was taken for somebody who had not read the peer's.
    """
    hunks = plan_hunks(old, new)
    if hunks is None:
        return len(old) + len(new)
    return sum(end - start + len(insert) for start, end, insert in hunks)
