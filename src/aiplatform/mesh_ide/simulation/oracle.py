"""What users were told, and what they meant: the record that the end of a run is held against.

Everything a user writes carries tokens, words that occur nowhere else. A token is *acknowledged*
once an entry whose content holds it is durable on the node that wrote it: from then on the node
may say "saved". It is *given up* once a user deleted it on purpose (a line, a file, a rewrite),
or a program of the same machine wrote over it without having read it, which no program beside it
can mend. An acknowledged token that nobody gave up must be there at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from blake3 import blake3
from msgspec import Struct

from aiplatform.mesh_ide.model.entries import EntryRef, KnownEntry
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId, NodeId
from aiplatform.mesh_ide.node.events import DeleteFile, EditText, PutContent, Replied, Request, Told

if TYPE_CHECKING:
    from aiplatform.mesh_ide.simulation.node import SimulatedNode

_TOKEN: Final = re.compile(rb"tk[0-9a-f]{10}")

Tokens = frozenset[bytes]


class FailedRunError(AssertionError):
    """A run ended otherwise than promised; the message names the seed."""


def tokens_of(content: bytes | None) -> Tokens:
    """Return the tokens in a content."""
    return frozenset(_TOKEN.findall(content)) if content else frozenset()


def repeated_in(content: bytes) -> Tokens:
    """Return the tokens that stand in a content more than once."""
    found = _TOKEN.findall(content)
    return frozenset(token for token in found if found.count(token) > 1)


def _written_by(request: Request, contents: dict[BlobHash, bytes]) -> Tokens:
    """Return the tokens that a request brings in."""
    if isinstance(request, PutContent):
        return tokens_of(contents.get(request.blob))
    if isinstance(request, EditText):
        return tokens_of("".join(splice.insert for splice in request.splices).encode())
    return frozenset()


class Durable(Struct, frozen=True):
    """An entry as its author's disk has it."""

    known: KnownEntry
    content: Tokens


class Oracle:
    """What was told and meant in one world."""

    def __init__(self) -> None:
        self.contents: dict[BlobHash, bytes] = {}
        self.acknowledged: dict[bytes, str] = {}
        self.given_up: set[bytes] = set()
        self.may_return: set[bytes] = set()
        self.durable: dict[EntryId, Durable] = {}
        self.open_requests: dict[int, tuple[NodeId, Request]] = {}
        self.refusals: list[str] = []
        self.warnings: list[tuple[str, str]] = []
        self._overwriting: set[tuple[NodeId, FileId]] = set()
        self._overwritten: dict[EntryId, Tokens] = {}
        self._tag = 0

    # --- what users do -----------------------------------------------------------------------

    def wrote(self, content: bytes) -> BlobHash:
        """Remember a content that a user or program wrote."""
        blob = BlobHash(blake3(content).digest())
        self.contents[blob] = content
        return blob

    def gave_up(self, tokens: Iterable[bytes]) -> None:
        """Note that a user deleted these."""
        self.given_up.update(tokens)

    def next_tag(self) -> int:
        """Return a number for a request."""
        self._tag += 1
        return self._tag

    def on_request(self, node: SimulatedNode, request: Request) -> None:
        """A program asks a node for something."""
        self.open_requests[request.tag] = (node.id, request)
        if isinstance(request, DeleteFile | PutContent) and request.file is not None:
            self._overwriting.add((node.id, request.file))

    # --- what nodes say ----------------------------------------------------------------------

    def on_replied(self, node: SimulatedNode, reply: Replied) -> None:
        """A node answers; "no problem" means that what was asked for is on its disk."""
        asked = self.open_requests.pop(reply.tag, None)
        if asked is None or asked[0] != node.id:
            raise FailedRunError(f"{node.name} answered request {reply.tag} that is not open")
        if reply.problem is not None:
            self.refusals.append(reply.problem)
        else:
            for token in _written_by(asked[1], self.contents):
                self.acknowledged.setdefault(token, f"told by {node.name}")

    def on_told(self, node: SimulatedNode, told: Told) -> None:
        """A node says something to whoever watches."""
        if told.kind == "warning":
            self.warnings.append((node.name, told.text))

    def on_crash(self, node: SimulatedNode) -> None:
        """Nobody answers what a dead node was asked."""
        for tag in [tag for tag, (owner, _) in self.open_requests.items() if owner == node.id]:
            del self.open_requests[tag]

    def on_durable(self, node: SimulatedNode, known: Iterable[KnownEntry]) -> None:
        """Entries are on a node's disk, and the node knows it."""
        for one in known:
            if one.ref.session != node.session.public:
                continue
            content = self._content_of(node, one.entry.result)
            self.durable[one.ref.id] = Durable(one, content)
            for token in content:
                self.acknowledged.setdefault(token, f"saved by {node.name}")
            # Live edits leave before they are on their author's disk: another may write over one
            # sooner.
            self.given_up.update(content - self._overwritten.pop(one.ref.id, content))
            is_asked = (node.id, one.entry.file) in self._overwriting
            if is_asked and one.entry.kind in {EntryKind.DELETE, EntryKind.REPLACE}:
                for parent in one.entry.parents:
                    before = self.durable.get(parent.id)
                    if before is not None:
                        self.given_up.update(before.content - content)
                    else:
                        self._overwritten[parent.id] = content
                        self.given_up.update(self._shown_by(node, parent) - content)

    def _shown_by(self, node: SimulatedNode, ref: EntryRef) -> Tokens:
        """Return what an entry of another shows, whose author may die before it is on that disk."""
        known = node.store.entry(ref.id)
        return self._content_of(node, known.entry.result) if known is not None else frozenset()

    def _content_of(self, node: SimulatedNode, blob: BlobHash | None) -> Tokens:
        if blob is None:
            return frozenset()
        content = self.contents.get(blob)
        if content is None:
            content = node.contents.read(blob, node.core.workspace.folder.source(blob).path)
        if content is not None:
            self.contents[blob] = content
        return tokens_of(content)
