"""Sessions that write real, signed entries, each in a ledger of its own, and tell each other."""

from __future__ import annotations

from collections.abc import Sequence

from blake3 import blake3

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import FileState, Refusal, base_of, lineage_of, mode_of
from aiplatform.mesh_ide.identity.batches import seal
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.model.entries import (
    BatchSlice,
    EntryDraft,
    EntryRef,
    KnownEntry,
    Principal,
)
from aiplatform.mesh_ide.model.enums import FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    TREE_FILE,
    BlobHash,
    EntryId,
    FileId,
    NodeId,
    SessionId,
    TreeNodeId,
    WorkspaceId,
)
from aiplatform.mesh_ide.ports.engine import TreePlace

WORKSPACE = WorkspaceId(b"w" * 32)
PERSON = Principal(PrincipalKind.PERSON, "anna")
PEER = NodeId(b"p" * 32)


def file(number: int) -> FileId:
    """Return a file id that sorts by its number."""
    return FileId(number.to_bytes(16, "big"))


def blob(text: str) -> BlobHash:
    """Return the name of a content."""
    return BlobHash(blake3(text.encode()).digest())


def place(path: str, one: FileId) -> TreePlace:
    """Return a file's place directly below the root."""
    return TreePlace(TreeNodeId(f"node of {path}"), None, path, one)


class Author:
    """A session: what it says is signed, numbered, and taken into its own ledger.

    ``said`` are its batches so far; ``heard`` everything it holds, in the order it came.
    """

    def __init__(self, name: str) -> None:
        """Begin a session that stands for a name."""
        self.key = SigningKey.from_seed(blake3(name.encode()).digest())
        self.session = SessionId(self.key.public)
        self.ledger = Ledger(self.session)
        self.said: list[BatchSlice] = []
        self.heard: list[KnownEntry] = []
        self._sequence = 0
        self._previous: EntryId = NO_ENTRY

    # --- speaking ----------------------------------------------------------------------------

    def sign(self, drafts: Sequence[EntryDraft]) -> tuple[BatchSlice, tuple[KnownEntry, ...]]:
        """Sign drafts as this session's next batch, without taking them in."""
        piece, known = seal(
            drafts,
            key=self.key,
            workspace=WORKSPACE,
            first_sequence=self._sequence + 1,
            previous=self._previous,
            time_ms=0,
        )
        self._sequence += len(known)
        self._previous = known[-1].ref.id
        self.said.append(piece)
        return piece, known

    def say(self, *drafts: EntryDraft) -> tuple[KnownEntry, ...]:
        """Sign drafts and take them in."""
        _, known = self.sign(drafts)
        self.hear(*known)
        return known

    def hear(self, *known: KnownEntry) -> None:
        """Take entries in, own ones or those of others."""
        for one in known:
            if isinstance(self.ledger.accept(one), FileState):
                self.heard.append(one)

    def tell(self, *others: Author) -> None:
        """Give others everything that is held here."""
        for other in others:
            other.hear(*self.heard)

    def twin(self) -> Author:
        """Return a session with the same key and past: what a stolen key can say."""
        other = Author("")
        other.key, other.session = self.key, self.session
        other.ledger = Ledger(self.session)
        other.hear(*self.heard)
        other._sequence, other._previous = self._sequence, self._previous
        return other

    # --- drafts ------------------------------------------------------------------------------

    def genesis(self, one: FileId, text: str = "one", *, is_text: bool = True) -> EntryDraft:
        """Draft the creation of a file."""
        return self.ledger.draft_genesis(
            one, blob(text), len(text), FileMode.REGULAR, PERSON, is_text=is_text
        )

    def change(  # noqa: PLR0913 - one value for each fact that a test may choose
        self,
        one: FileId,
        text: str,
        *,
        base: tuple[EntryRef, ...] | None = None,
        is_replace: bool = False,
        mode: FileMode | None = None,
        is_save: bool = True,
    ) -> EntryDraft:
        """Draft another content: an update of what is visible here, or a replace."""
        state = self.state(one)
        parents = base_of(state) if base is None else base
        return self.ledger.draft_change(
            one,
            parents,
            blob(text),
            len(text),
            mode or mode_of(state),
            PERSON,
            is_text=True,
            payload=None if is_replace else text.encode(),
            lineage=lineage_of(state),
            branch=self.ledger.branch_for(one, parents),
            is_save=is_save,
        )

    def delete(self, one: FileId) -> EntryDraft:
        """Draft the deletion of a file."""
        return self.ledger.draft_delete(one, PERSON)

    def tree_edit(self, word: str) -> EntryDraft:
        """Draft an edit of the tree."""
        tree = self.ledger.state(TREE_FILE)
        return self.ledger.draft_tree(tree.refs() if tree else (), word.encode(), PERSON)

    # --- looking -----------------------------------------------------------------------------

    def state(self, one: FileId) -> FileState:
        """Return a file's state here."""
        state = self.ledger.state(one)
        assert state is not None, "this author does not know the file"
        return state


def created(name: str = "anna", text: str = "one") -> tuple[Author, KnownEntry]:
    """Return an author who has created file 1."""
    author = Author(name)
    (known,) = author.say(author.genesis(file(1), text))
    return author, known


def taken(outcome: FileState | Refusal) -> FileState:
    """Return the state after an entry that must have been taken."""
    assert isinstance(outcome, FileState), outcome
    return outcome
