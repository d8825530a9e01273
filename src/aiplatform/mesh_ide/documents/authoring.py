"""Authoring: how this node's changes become signed, durable entries.

``submit`` queues; one round at a time goes tree edit → seal → persist. While a round is being
sealed the next gathers, which is what makes ten thousand files cost forty signatures and one
tree operation. Persisting does not hold up the next round: the store lane keeps the order.

Live edits leave before they are durable: a crash in between is harmless, since the next start is
another session and peers hand the tail back. They are acknowledged only once they are durable, and
everything else leaves only then.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import (
    EditsSealed,
    EntriesStored,
    FilesChanged,
    Notice,
    PathsChanged,
)
from aiplatform.mesh_ide.documents.places import PathError
from aiplatform.mesh_ide.documents.state import Refusal
from aiplatform.mesh_ide.model.entries import (
    BatchSlice,
    EntryDraft,
    EntryRef,
    KnownEntry,
    Principal,
)
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId
from aiplatform.mesh_ide.ports.engine import MoveNode, PlaceNode, TreeOperation
from aiplatform.mesh_ide.ports.jobs import (
    EditTree,
    EntriesSealed,
    Job,
    Persist,
    SealEntries,
    TreeEdited,
)
from aiplatform.mesh_ide.ports.store import PutEntries, Write

ROUND_ENTRIES_MAX: Final = 256
"""One full batch: more would only delay the first frame, and hold the core for longer."""


class CreatePath(Struct, frozen=True):
    """Give a new file its place."""

    path: str
    file: FileId


class MovePath(Struct, frozen=True):
    """Give a file another place."""

    file: FileId
    path: str


class MoveFolder(Struct, frozen=True):
    """Give a folder, and with it all below, another place: one operation."""

    old: str
    new: str


TreeIntent = CreatePath | MovePath | MoveFolder


class Submission(Struct, frozen=True):
    """One local change: what it does to the tree, its entries, and a tag to answer with.

    The files of ``drafts`` are claimed by the submitter and released once sealed.
    """

    intents: tuple[TreeIntent, ...]
    drafts: tuple[EntryDraft, ...]
    tag: int


class _Round(Struct):
    submissions: tuple[Submission, ...]
    tree_parents: tuple[EntryRef, ...] = ()
    sealed: tuple[BatchSlice, ...] = ()
    known: tuple[KnownEntry, ...] = ()
    problem: str | None = None
    is_sent: bool = False

    def tags(self) -> tuple[int, ...]:
        """Return whom to tell."""
        return tuple(submission.tag for submission in self.submissions)


class Authoring:
    """Turns submissions into durable entries, in the order of submission.

    Invariants:
        1. at most one round is between ``_take`` and ``EntriesSealed``.
        2. every submission is answered by exactly one ``EntriesStored`` that carries its tag.
        3. every round is handed out to be sent once, and never before one that it may build on.
    """

    def __init__(self, ledger: Ledger, principal: Principal) -> None:
        self._ledger = ledger
        self._principal = principal
        self._queue: deque[Submission] = deque()
        self._round: _Round | None = None
        self._persisting: dict[int, _Round] = {}

    @property
    def queued(self) -> int:
        """Return how many submissions are not durable yet."""
        rounds = sum(len(r.submissions) for r in self._persisting.values())
        return len(self._queue) + rounds + (len(self._round.submissions) if self._round else 0)

    def submit(self, submission: Submission, now_ms: int) -> list[Job | Notice]:
        """Queue a change."""
        self._queue.append(submission)
        return self._take(now_ms)

    def _take(self, now_ms: int) -> list[Job | Notice]:
        if self._round is not None or not self._queue:
            return []
        taken: list[Submission] = []
        entries = 0
        while self._queue and (not taken or entries < ROUND_ENTRIES_MAX):
            if taken and (_moves(taken[0]) or _moves(self._queue[0])):
                # What moves is planned against a tree in which all before has its place.
                break
            submission = self._queue.popleft()
            taken.append(submission)
            entries += len(submission.drafts)
        self._round = _Round(tuple(taken))
        try:
            operations = self._plan([intent for s in taken for intent in s.intents])
        except PathError as error:
            self._round.problem = str(error)
            operations = []
        if not operations:
            return [self._seal((), now_ms)]
        tree = self._ledger.state(TREE_FILE)
        self._round.tree_parents = tree.refs() if tree else ()
        return [EditTree(tuple(operations), self._ledger.tree_branch())]

    def _plan(self, intents: list[TreeIntent]) -> list[TreeOperation]:
        """Plan moves, each against the tree as it stands, and all creations together."""
        index = self._ledger.index
        operations: list[TreeOperation] = []
        creations: list[tuple[str, FileId]] = []
        for intent in intents:
            if isinstance(intent, CreatePath):
                creations.append((intent.path, intent.file))
            elif isinstance(intent, MovePath):
                _extend(operations, index.plan_move(intent.file, intent.path))
            else:
                _extend(operations, index.plan_move_folder(intent.old, intent.new))
        if creations:
            _extend(operations, index.plan_creates(creations))
        return operations

    def _seal(self, tree: tuple[EntryDraft, ...], now_ms: int) -> SealEntries:
        assert self._round is not None, "sealing needs a round"
        drafts = tuple(draft for s in self._round.submissions for draft in s.drafts)
        return SealEntries((*tree, *drafts), now_ms)

    def on_tree_edited(self, result: TreeEdited, now_ms: int) -> list[Job | Notice]:
        """Go on with sealing once the tree's operations are known."""
        assert self._round is not None, "a tree edit was answered without a round"
        if result.problem is not None or not result.payload:
            # Moved into itself by what others did meanwhile, or in its place already.
            self._round.problem = result.problem
            return [self._seal((), now_ms)]
        changes = self._ledger.index.apply(result.places)
        principal = self._principal_of(self._round.submissions)
        draft = self._ledger.draft_tree(self._round.tree_parents, result.payload, principal)
        return [PathsChanged(tuple(changes)), self._seal((draft,), now_ms)]

    def _principal_of(self, submissions: tuple[Submission, ...]) -> Principal:
        principals = {draft.principal for s in submissions for draft in s.drafts}
        return principals.pop() if len(principals) == 1 else self._principal

    def on_sealed(self, result: EntriesSealed, ticket: int, now_ms: int) -> list[Job | Notice]:
        """Take the entries into the ledger, persist them, and begin the next round."""
        done, self._round = self._round, None
        assert done is not None, "a seal was answered without a round"
        written: dict[FileId, EntryRef] = {}
        for known in result.known:
            outcome = self._ledger.accept(known)
            assert not isinstance(outcome, Refusal), f"own entry refused: {outcome}"
            written[known.entry.file] = known.ref
        files = tuple(written)
        self._ledger.release(files)
        self._ledger.begin_storing(result.known)
        done.sealed, done.known = result.slices, result.known
        done.is_sent = self._may_leave(result.known)
        self._persisting[ticket] = done
        writes: list[Write] = []
        position = 0
        for piece in result.slices:
            count = len(piece.entries)
            writes.append(PutEntries(piece, result.known[position : position + count]))
            position += count
        writes.extend(self._ledger.record_of(file) for file in files)
        leaving: list[Job | Notice] = [EditsSealed(result.slices)] if done.is_sent else []
        return [
            *leaving,
            FilesChanged(files, None, tuple(written.values()), done.tags()),
            Persist(ticket, tuple(writes)),
            *self._take(now_ms),
        ]

    def _may_leave(self, known: tuple[KnownEntry, ...]) -> bool:
        """Return whether a round is live edits alone and nothing of ours waits to be sent."""
        are_edits = all(k.entry.kind is EntryKind.UPDATE and not k.entry.is_save for k in known)
        return bool(known) and are_edits and all(r.is_sent for r in self._persisting.values())

    def on_persisted(self, ticket: int) -> list[Job | Notice]:
        """Tell that a round is durable; tickets of others are ignored."""
        done = self._persisting.pop(ticket, None)
        if done is None:
            return []
        self._ledger.end_storing(done.known)
        files = tuple(dict.fromkeys(known.entry.file for known in done.known))
        unsent = () if done.is_sent else done.sealed
        return [EntriesStored(unsent, files, None, done.tags(), done.problem)]


def _moves(submission: Submission) -> bool:
    return any(not isinstance(intent, CreatePath) for intent in submission.intents)


def _extend(operations: list[TreeOperation], more: list[TreeOperation]) -> None:
    """Append a plan; its references to its own earlier operations move along."""
    offset = len(operations)
    for operation in more:
        parent = operation.parent
        if isinstance(parent, int):
            parent += offset
        if isinstance(operation, PlaceNode):
            operations.append(PlaceNode(parent, operation.name, operation.file))
        else:
            operations.append(MoveNode(operation.node, parent, operation.name))
