"""The document engine: texts that merge, and the tree of names. Loro stands behind it.

Everything here is proportional to content and therefore runs as a ``Compute`` job, never inside
a core. Results are deterministic: equal entries give equal bytes on every node.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from msgspec import Struct

from aiplatform.mesh_ide.model.entries import EntryRef, KnownEntry
from aiplatform.mesh_ide.model.ids import FileId, SessionId, TreeNodeId


class TextRoot(Struct, frozen=True):
    """Where a lineage of a text begins: a genesis or a replace, with the text it created."""

    file: FileId
    root: EntryRef
    text: str


class BlameSpan(Struct, frozen=True):
    """Consecutive characters (Unicode code points) last written by one entry."""

    start: int
    length: int
    entry: EntryRef


class Splice(Struct, frozen=True, array_like=True):
    """At ``position`` (code points) remove ``delete`` code points, then insert ``insert``."""

    position: int
    delete: int
    insert: str


class TextEdit(Struct, frozen=True):
    """What splices came to: operations to sign, and the whole text after them."""

    payload: bytes
    text: str


class TextEngine(Protocol):
    """Merges texts. ``entries`` are the lineage's UPDATE entries, parents before children.

    Calls may cache documents by ``root``; a call must give the same answer with a cold cache.
    Not thread-safe: one lane calls it.
    """

    def derive_update(  # noqa: PLR0913 - one value for each fact that determines the bytes
        self,
        root: TextRoot,
        entries: Iterable[KnownEntry],
        base: Sequence[EntryRef],
        text: str,
        session: SessionId,
        branch: int,
    ) -> bytes | None:
        """Return the operations that turn the text at ``base`` into ``text``.

        ``None`` means: too different to be worth a merge (write a REPLACE). The decision depends
        only on the two texts, not on time.
        """

    def splice_update(  # noqa: PLR0913 - as above
        self,
        root: TextRoot,
        entries: Iterable[KnownEntry],
        base: Sequence[EntryRef],
        splices: Sequence[Splice],
        session: SessionId,
        branch: int,
    ) -> TextEdit:
        """Apply these splices in order to the text at ``base``; return what came of it.

        Raises:
            BadUpdateError: as ``text_at``.
            BadEditError: a splice lies outside the text, or too much comes at once.
        """

    def text_at(
        self, root: TextRoot, entries: Iterable[KnownEntry], heads: Sequence[EntryRef]
    ) -> str:
        """Return the merged text at this frontier.

        Raises:
            BadUpdateError: an entry's payload cannot be imported, or needs what is not there.
        """

    def check_payload(self, known: KnownEntry) -> None:
        """Check, before import, that a payload holds only operations of its entry's author.

        Raises:
            BadUpdateError: somebody else's operations, a malformed or oversized payload.
        """

    def blame(
        self, root: TextRoot, entries: Iterable[KnownEntry], heads: Sequence[EntryRef]
    ) -> tuple[BlameSpan, ...]:
        """Return for the whole text at ``heads`` who wrote what, in order, without gaps."""


class TreePlace(Struct, frozen=True, array_like=True):
    """Where a tree node stands. ``file`` is ``None`` for a folder; ``parent`` for the root."""

    node: TreeNodeId
    parent: TreeNodeId | None
    name: str
    file: FileId | None


class PlaceNode(Struct, frozen=True):
    """Create a folder (``file=None``) or a file's node.

    ``parent`` is an existing node, the index of an earlier ``PlaceNode`` of the same call, or
    ``None`` for the root.
    """

    parent: TreeNodeId | int | None
    name: str
    file: FileId | None


class MoveNode(Struct, frozen=True):
    """Give an existing node another parent or name, or both."""

    node: TreeNodeId
    parent: TreeNodeId | int | None
    name: str


TreeOperation = PlaceNode | MoveNode


class TreeEdit(Struct, frozen=True):
    """What an edit of the tree came to: operations to sign, and where the nodes stand now."""

    payload: bytes
    places: tuple[TreePlace, ...]


class TreeEngine(Protocol):
    """The tree document, always loaded. Not thread-safe: one lane calls it."""

    def load(self, snapshot: bytes | None, payloads: Iterable[bytes]) -> tuple[TreePlace, ...]:
        """Begin from a snapshot and later payloads; return where every node stands."""

    def edit(
        self, operations: Sequence[TreeOperation], session: SessionId, branch: int
    ) -> TreeEdit:
        """Apply operations as this session and return what to sign."""

    def import_payloads(self, known: Sequence[KnownEntry]) -> tuple[TreePlace, ...]:
        """Merge checked remote payloads; return the places of nodes that changed.

        Raises:
            BadUpdateError: a payload holds somebody else's operations or is malformed.
        """

    def snapshot(self) -> bytes:
        """Return the whole tree for a quick start."""
