"""Looking back: every version of a file, who wrote each line, what was deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.subjects import NoSuchFileError, Subjects
from aiplatform.mesh_ide.documents.state import FileState, content_of, winning
from aiplatform.mesh_ide.model.entries import EntryRef, KnownEntry
from aiplatform.mesh_ide.model.enums import EntryKind, FileMode
from aiplatform.mesh_ide.model.errors import LocalError
from aiplatform.mesh_ide.model.ids import TREE_FILE, BlobHash, EntryId, FileId, SessionId, short
from aiplatform.mesh_ide.node.events import FetchContents
from aiplatform.mesh_ide.ports.engine import BlameSpan, TextRoot
from aiplatform.mesh_ide.ports.errors import BlobMissingError
from aiplatform.mesh_ide.ports.jobs import Lane

CAT_BYTES_MAX: Final = 12 * 1024 * 1024
"""What fits a control frame with room to spare; larger versions are restored to a file."""

HISTORY_MAX: Final = 10_000
ID_DIGITS_MIN: Final = 6
"""Fewer digits are taken for a mistyped number."""

FETCH_TIMEOUT_S: Final = 20.0
"""For a content that only another node has: a gigabyte's worth of a fast link."""

POLL_S: Final = 0.02


class TooLargeToShowError(LocalError):
    """A version is over ``CAT_BYTES_MAX``."""


class NotATextError(LocalError):
    """Only texts have lines."""


def versions_of(known: Sequence[KnownEntry]) -> dict[EntryId, int]:
    """Return each entry's version: the number of saves in its causal past, itself included.

    A session's entries to one file are causally ordered, so a past is, per session, a prefix: it
    suffices to carry the number of saves in each prefix.

    Args:
        known: all entries of one file, parents before children.
    """
    pasts: dict[EntryId, dict[SessionId, int]] = {}
    spoken: dict[SessionId, int] = {}
    versions: dict[EntryId, int] = {}
    for entry in known:
        past: dict[SessionId, int] = {}
        for parent in entry.entry.parents:
            for session, saves in pasts.get(parent.id, {}).items():
                past[session] = max(saves, past.get(session, 0))
        session = entry.ref.session
        past[session] = spoken.get(session, 0) + entry.entry.is_save
        spoken[session] = past[session]
        pasts[entry.ref.id] = past
        versions[entry.ref.id] = sum(past.values())
    return versions


class LookingBack:
    """Reads the store and the engine; nothing is changed."""

    def __init__(self, subjects: Subjects) -> None:
        """Ask this node."""
        self._subjects = subjects

    async def entries(self, file: FileId) -> list[KnownEntry]:
        """Return all entries of a file, parents before children. Cost: reads all of them."""
        return await asyncio.to_thread(lambda: list(self._subjects.store.entries_of(file)))

    async def history(self, path: str, limit: int, *, with_edits: bool) -> answers.History:
        """Return a file's versions, the newest first; live edits between saves if asked for."""
        file, state, head = self._subjects.file_ever_at(path)
        known = await self.entries(file)
        versions = versions_of(known)
        heads = {ref.id for ref in state.refs()}
        shown = [
            self._version(entry, versions[entry.ref.id], is_head=entry.ref.id in heads)
            for entry in reversed(known)
            if with_edits or entry.entry.is_save or entry.ref.id in heads
        ]
        bound = min(max(1, limit), HISTORY_MAX)
        return answers.History(path, file.hex(), head.is_deleted, len(shown), tuple(shown[:bound]))

    def _version(self, known: KnownEntry, version: int, *, is_head: bool) -> answers.Version:
        entry = known.entry
        return answers.Version(
            id=short(known.ref.id),
            version=version,
            time_ms=entry.time_ms,
            who=entry.principal.name,
            node=self._subjects.author(entry.session),
            kind=entry.kind.name.lower(),
            size=entry.size,
            mode=entry.mode.name.lower(),
            is_text=entry.is_text,
            is_save=entry.is_save,
            inference=entry.inference.name.lower(),
            is_head=is_head,
            reason=entry.principal.reason,
            principal=entry.principal.kind.name.lower(),
            parents=tuple(short(parent.id) for parent in entry.parents),
        )

    # --- one version -------------------------------------------------------------------------

    async def find(self, path: str, file: FileId, version: str) -> KnownEntry:
        """Return the entry that a version number or the beginning of an id names.

        Empty: the newest one that has a content.

        Raises:
            NoSuchFileError: none, or several.
        """
        known = await self.entries(file)
        if not version:
            with_content = [k for k in known if k.entry.kind is not EntryKind.DELETE]
            return max(with_content, key=lambda k: (k.entry.depth, k.ref))
        numbers = versions_of(known)
        found: list[KnownEntry] = []
        # Numbers first: an id may begin with any digits, and people type 1 for the first version.
        if version.isdigit():
            found = [k for k in known if numbers[k.ref.id] == int(version) and k.entry.is_save]
        if not found and len(version) >= ID_DIGITS_MIN:
            found = [k for k in known if k.ref.id.hex().startswith(version.casefold())]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(short(k.ref.id) for k in found[:5])
            message = f"{path} has several versions {version}, written apart: name one of {ids}"
            raise NoSuchFileError(message)
        raise NoSuchFileError(f"{path} has no version {version}: see `mesh history {path}`")

    async def find_at(self, path: str, version: str) -> tuple[FileId, KnownEntry]:
        """Return the file and the entry that a word names, among all files ever at a path.

        A word for a version of the file that stands there means that one. Otherwise it may be of
        another file that stands or stood there: a version's id, or the file's own (``mesh
        conflicts`` and ``mesh restore --list`` show it), which means its newest version.

        Raises:
            NoSuchFileError: none, or several.
        """
        first, _, _ = self._subjects.file_ever_at(path)
        try:
            return first, await self.find(path, first, version)
        except NoSuchFileError:
            if len(version) < ID_DIGITS_MIN:
                raise
            others = [*self._subjects.ledger.index.claims(path), *self._subjects.deleted_at(path)]
            named = [file for file in others if file.hex().startswith(version.casefold())]
            if len(named) == 1:
                return named[0], await self.find(path, named[0], "")
            for file in others:
                if file == first:
                    continue
                with suppress(NoSuchFileError):
                    return file, await self.find(path, file, version)
            raise

    async def content_at(self, path: str, file: FileId, known: KnownEntry) -> bytes:
        """Return the bytes of one version.

        Raises:
            BlobMissingError: nobody here has them.
            NoSuchFileError: the version is a deletion.
        """
        entry = known.entry
        if entry.result is None:
            raise NoSuchFileError(f"this version of {path} is its deletion: choose another one")
        content = await self.read(entry.result, entry.size)
        if content is None and entry.kind is EntryKind.UPDATE and entry.is_text:
            text = await self.text_at(file, entry.lineage, (known.ref,))
            content = None if text is None else text.encode()
        if content is None:
            raise BlobMissingError(
                f"the content of this version of {path} is neither here nor on a node that is "
                "online: it was overwritten before it was archived, or who has it is offline"
            )
        return content

    async def read(self, blob: BlobHash, size: int) -> bytes | None:
        """Return a content that is on this node or on one that is linked."""
        content = await self._read_here(blob)
        core = self._subjects.core
        if content is not None or not core.replication.peers():
            return content
        self._subjects.driver.post(FetchContents(((blob, size),)))
        with suppress(TimeoutError):
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                await asyncio.sleep(POLL_S)
                while core.replication.fetcher.is_wanted(blob):  # noqa: ASYNC110 - a counter, read
                    await asyncio.sleep(POLL_S)
        return await self._read_here(blob)

    async def _read_here(self, blob: BlobHash) -> bytes | None:
        contents = self._subjects.driver.contents
        content = contents.at_hand(blob)
        if content is not None:
            return content
        source = self._subjects.core.workspace.folder.source(blob)
        return await asyncio.to_thread(contents.read, blob, source.path)

    async def _merged(self, blob: BlobHash) -> bytes | None:
        """Return a content that is here, or is being merged at this moment.

        A change that has just come is merged on the documents lane; waiting for our turn there
        is shorter than asking the peer, which would be asked for what we are about to have.
        """
        contents = self._subjects.driver.contents
        content = contents.at_hand(blob)
        if content is None and self._subjects.core.workspace.folder.holds(blob):
            content = await self._read_here(blob)
        if content is not None:
            return content
        return await self._subjects.driver.read(Lane.DOCUMENTS, lambda: contents.read(blob))

    async def text_at(
        self, file: FileId, lineage: EntryId, heads: tuple[EntryRef, ...]
    ) -> str | None:
        """Return a text at a frontier of one lineage; ``None``: its first content is not here."""
        known = await self.entries(file)
        root = await self._root(file, lineage, known)
        if root is None:
            return None
        updates = _updates(known, lineage)
        texts = self._subjects.node.texts
        return await self._subjects.driver.read(
            Lane.DOCUMENTS, lambda: texts.text_at(root, updates, heads)
        )

    async def _root(
        self, file: FileId, lineage: EntryId, known: Sequence[KnownEntry]
    ) -> TextRoot | None:
        root = next(k for k in known if k.ref.id == lineage)
        assert root.entry.result is not None, "a lineage begins with a content"
        content = await self.read(root.entry.result, root.entry.size)
        return None if content is None else TextRoot(file, root.ref, content.decode())

    async def cat(self, path: str, version: str) -> answers.Content:
        """Return a version's bytes (the present ones by default)."""
        file, state, head = self._subjects.file_ever_at(path)
        if not version and not head.is_deleted:
            content, name = await self.present(path, file, state), "now"
            mode = head.mode
        else:
            file, known = await self.find_at(path, version)
            content, name = await self.content_at(path, file, known), short(known.ref.id)
            mode = known.entry.mode
        if len(content) > CAT_BYTES_MAX:
            raise TooLargeToShowError(
                f"this version of {path} has {len(content)} bytes, too many to show: bring it "
                f"back as a file with `mesh restore {path} --version {name} --to NEW`"
            )
        return answers.Content(path, name, mode.name.lower(), content)

    async def present(self, path: str, file: FileId, state: FileState) -> bytes:
        """Return what a living file holds now, merged."""
        held = content_of(state)
        content = await self._merged(held[0]) if held is not None else None
        if content is None and held is not None:
            content = await self.read(*held)
        heads = winning(state)
        if content is None and heads and all(head.is_text for head in heads):
            refs = tuple(head.ref for head in heads)
            text = await self.text_at(file, heads[0].lineage, refs)
            content = None if text is None else text.encode()
        if content is None:
            message = f"the content of {path} is not on this node yet: see `mesh why {path}`"
            raise BlobMissingError(message)
        return content

    # --- lines -------------------------------------------------------------------------------

    async def blame(self, path: str) -> answers.Blame:
        """Return who last wrote each line of a living text.

        Raises:
            NotATextError: it has no lines.
        """
        file, state, head = self._subjects.file_at(path)
        heads = winning(state)
        if not head.is_text or not heads or head.mode is FileMode.SYMLINK:
            raise NotATextError(f"{path} is not a text: see `mesh history {path}` for its versions")
        known = await self.entries(file)
        lineage = heads[0].lineage
        root = await self._root(file, lineage, known)
        if root is None:
            raise BlobMissingError(f"the first content of {path} is not on this node yet")
        refs = tuple(h.ref for h in heads)
        updates = _updates(known, lineage)
        texts = self._subjects.node.texts

        def read() -> tuple[str, tuple[BlameSpan, ...]]:
            return texts.text_at(root, updates, refs), texts.blame(root, updates, refs)

        text, spans = await self._subjects.driver.read(Lane.DOCUMENTS, read)
        by_id = {k.ref.id: k for k in known}
        versions = versions_of(known)
        lines: list[answers.BlameLine] = []
        for number, (line, entries) in enumerate(_lines(text, spans), 1):
            author = max((by_id[e.id] for e in entries), key=lambda k: (k.entry.depth, k.ref))
            lines.append(
                answers.BlameLine(
                    line=number,
                    who=author.entry.principal.name,
                    node=self._subjects.author(author.entry.session),
                    time_ms=author.entry.time_ms,
                    version=versions[author.ref.id],
                    id=short(author.ref.id),
                    text=line,
                    principal=author.entry.principal.kind.name.lower(),
                )
            )
        return answers.Blame(path, tuple(lines))

    # --- the recovery bin --------------------------------------------------------------------

    async def deleted(self) -> answers.Deleted:
        """Return the deleted files, the latest first. Cost: reads one entry for each."""
        subjects = self._subjects
        index = subjects.ledger.index
        found: list[answers.DeletedFile] = []
        for state in list(subjects.ledger.states()):
            path = index.path_of(state.file)
            if state.file == TREE_FILE or index.is_alive(state.file) or path is None:
                continue
            newest = max(state.heads, key=lambda head: (head.depth, head.ref))
            entry = await asyncio.to_thread(subjects.store.entry, newest.ref.id)
            if entry is None:
                continue
            found.append(
                answers.DeletedFile(
                    path=path,
                    file=state.file.hex(),
                    time_ms=entry.entry.time_ms,
                    who=entry.entry.principal.name,
                    node=subjects.author(entry.entry.session),
                    version=state.saves,
                    is_replaced=index.owner(path) is not None or index.has_below(path),
                )
            )
        found.sort(key=lambda file: (-file.time_ms, file.path))
        return answers.Deleted(tuple(found))


def _updates(known: Sequence[KnownEntry], lineage: EntryId) -> list[KnownEntry]:
    return [k for k in known if k.entry.kind is EntryKind.UPDATE and k.entry.lineage == lineage]


def _lines(text: str, spans: Sequence[BlameSpan]) -> list[tuple[str, list[EntryRef]]]:
    """Return each line (without its end) with the entries that wrote a part of it."""
    lines: list[tuple[str, list[EntryRef]]] = []
    start = position = 0
    while start < len(text):
        newline = text.find("\n", start)
        end = len(text) if newline < 0 else newline + 1
        while position < len(spans) and spans[position].start + spans[position].length <= start:
            position += 1
        entries: list[EntryRef] = []
        other = position
        while other < len(spans) and spans[other].start < end:
            entries.append(spans[other].entry)
            other += 1
        lines.append((text[start:end].removesuffix("\n").removesuffix("\r"), entries))
        start = end
    return lines
