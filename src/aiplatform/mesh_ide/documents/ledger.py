"""The ledger: every file's state, where it stands in the tree, and what is durable of it.

One object per node, in memory, rebuilt from records at the start. It decides nothing by itself:
``authoring`` changes it with this node's entries, ``intake`` with those of others. Metadata only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.documents.places import TreeIndex
from aiplatform.mesh_ide.documents.state import (
    FileState,
    Refusal,
    accept,
    base_of,
    head_of,
    living,
    next_depth,
    winning,
)
from aiplatform.mesh_ide.model.entries import EntryDraft, EntryRef, FileHead, KnownEntry, Principal
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    TREE_FILE,
    BlobHash,
    EntryId,
    FileId,
    SessionId,
)
from aiplatform.mesh_ide.ports.jobs import BlobSource, TextLineage
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind

_TREE_BRANCH: Final = 1
"""Tree edits always build on everything, so one branch serves the whole session."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FileState)


class _Branch(Struct, frozen=True):
    """The CRDT branch on which this session last wrote a file; ``tip=None``: it is closed."""

    number: int
    tip: EntryRef | None
    lineage: EntryId


class Ledger:
    """All file states of one node.

    Invariants:
        1. ``index`` knows as alive exactly the files with a living head.
        2. a claimed file is being written by exactly one local operation.
        3. ``_storing`` holds the accepted entries whose commit was not confirmed yet.
    """

    def __init__(self, session: SessionId) -> None:
        self.session = session
        self.index = TreeIndex()
        self._states: dict[FileId, FileState] = {}
        self._claimed: set[FileId] = set()
        self._freed: dict[FileId, None] = {}
        self._storing: dict[FileId, list[KnownEntry]] = {}
        self._branches: dict[FileId, _Branch] = {}

    # --- reading -----------------------------------------------------------------------------

    def state(self, file: FileId) -> FileState | None:
        """Return a file's state, the tree's included."""
        return self._states.get(file)

    def head(self, file: FileId) -> FileHead | None:
        """Return what a file is now."""
        state = self._states.get(file)
        return None if state is None else head_of(state)

    def files(self) -> Iterator[FileId]:
        """Yield every known file, dead ones included, the tree excluded."""
        return (file for file in self._states if file != TREE_FILE)

    def states(self) -> Iterator[FileState]:
        """Yield every state, the tree's included."""
        return iter(self._states.values())

    @property
    def known(self) -> int:
        """Return how many files have a state, deleted ones and the tree among them."""
        return len(self._states)

    def is_alive(self, file: FileId) -> bool:
        """Return whether a file has a head that is not a delete."""
        state = self._states.get(file)
        return state is not None and bool(living(state))

    # --- claims ------------------------------------------------------------------------------

    def claim(self, file: FileId) -> bool:
        """Reserve a file for one local operation; ``False``: somebody writes it already."""
        if file in self._claimed:
            return False
        self._claimed.add(file)
        return True

    def release(self, files: Iterable[FileId]) -> None:
        """Give claims back."""
        for file in files:
            self._claimed.discard(file)
            self._freed[file] = None

    def take_freed(self) -> tuple[FileId, ...]:
        """Return the files released since the last call: others may have waited for them."""
        freed = tuple(self._freed)
        self._freed.clear()
        return freed

    def is_claimed(self, file: FileId) -> bool:
        """Return whether a local operation is writing the file."""
        return file in self._claimed

    @property
    def claimed(self) -> int:
        """Return how many files local operations are writing now."""
        return len(self._claimed)

    # --- changing ----------------------------------------------------------------------------

    def restore(self, records: Iterable[bytes]) -> None:
        """Take the states from their records, at the start."""
        for record in records:
            state = _decoder.decode(record)
            self._put(state)

    def accept(self, known: KnownEntry) -> FileState | Refusal:
        """Take one verified entry into its file's state."""
        outcome = accept(self._states.get(known.entry.file), known)
        if isinstance(outcome, FileState):
            self._put(outcome)
            self._note_branch(known)
        return outcome

    def _note_branch(self, known: KnownEntry) -> None:
        entry = known.entry
        held = self._branches.get(entry.file)
        if known.ref.session == self.session and entry.kind is EntryKind.UPDATE and entry.payload:
            self._branches[entry.file] = _Branch(entry.branch, known.ref, entry.lineage)
        elif held is not None and entry.kind is EntryKind.DELETE:
            # A text's history leaves deletes out: what was written before this one may be missing
            # in the text of an edit on top of it.
            self._branches[entry.file] = _Branch(held.number, None, held.lineage)

    # --- entries on their way to the store ---------------------------------------------------

    def begin_storing(self, known: Iterable[KnownEntry]) -> None:
        """Note entries that were accepted and whose commit begins now."""
        for one in known:
            self._storing.setdefault(one.entry.file, []).append(one)

    def end_storing(self, known: Iterable[KnownEntry]) -> None:
        """Note that the commit of these entries is confirmed."""
        for one in known:
            rest = [other for other in self._storing[one.entry.file] if other.ref != one.ref]
            if rest:
                self._storing[one.entry.file] = rest
            else:
                del self._storing[one.entry.file]

    def is_storing(self, file: FileId) -> bool:
        """Return whether some entry of a file is not durable yet."""
        return file in self._storing

    def lineage_of(self, file: FileId, root: EntryRef, content: BlobSource) -> TextLineage:
        """Return what a job needs to rebuild a text, with what the store may not have yet."""
        return TextLineage(file, root, content, tuple(self._storing.get(file, ())))

    def replace_state(self, state: FileState) -> None:
        """Put a state whose derived facts (merged content, fault) changed."""
        self._put(state)

    def record_of(self, file: FileId) -> PutRecord:
        """Return the write that keeps a file's state."""
        return PutRecord(RecordKind.FILE, file, _encoder.encode(self._states[file]))

    def _put(self, state: FileState) -> None:
        self._states[state.file] = state
        if state.file != TREE_FILE:
            self.index.set_alive(state.file, is_alive=bool(living(state)))

    # --- drafting ----------------------------------------------------------------------------

    def branch_for(self, file: FileId, base: tuple[EntryRef, ...]) -> int:
        """Return the CRDT branch for this session's next update of a file on this base.

        The branch goes on only if its tip is within the base: reusing operation ids beside it
        would make two different histories look alike to the CRDT.
        """
        held = self._branches.get(file)
        if held is None:
            return 1
        state = self._states.get(file)
        is_whole = (
            state is not None
            and set(base) == set(state.refs())
            and all(head.lineage == held.lineage for head in state.heads)
        )
        is_on_top = held.tip is not None and (held.tip in base or is_whole)
        return held.number if is_on_top else held.number + 1

    def _after(self, file: FileId) -> int:
        state = self._states.get(file)
        vector = () if state is None else state.vector
        return next((last for session, last in vector if session == self.session), 0)

    def draft_genesis(  # noqa: PLR0913 - one value per fact of the file
        self,
        file: FileId,
        blob: BlobHash,
        size: int,
        mode: FileMode,
        principal: Principal,
        *,
        is_text: bool,
    ) -> EntryDraft:
        """Draft the creation of a file."""
        return EntryDraft(
            file=file,
            kind=EntryKind.GENESIS,
            parents=(),
            result=blob,
            size=size,
            mode=mode,
            is_text=is_text,
            branch=0,
            is_save=True,
            principal=principal,
            inference=BaseInference.KNOWN,
            payload=b"",
        )

    def draft_change(  # noqa: PLR0913 - one value per fact of the change
        self,
        file: FileId,
        base: tuple[EntryRef, ...],
        blob: BlobHash,
        size: int,
        mode: FileMode,
        principal: Principal,
        *,
        is_text: bool,
        payload: bytes | None,
        lineage: EntryId,
        branch: int = 0,
        inference: BaseInference = BaseInference.KNOWN,
        is_save: bool = True,
    ) -> EntryDraft:
        """Draft a new content: an update with these operations, or a replace (``None``).

        ``lineage`` is the base's: it need not be the one that stands on the disk by now.
        """
        state = self._states[file]
        is_update = payload is not None
        return EntryDraft(
            file=file,
            kind=EntryKind.UPDATE if is_update else EntryKind.REPLACE,
            parents=tuple(sorted(base)),
            result=blob,
            size=size,
            mode=mode,
            is_text=is_text,
            branch=branch if payload else 0,
            is_save=is_save,
            principal=principal,
            inference=inference,
            payload=payload or b"",
            lineage=lineage if is_update else NO_ENTRY,
            depth=next_depth(state, base),
            after=self._after(file),
        )

    def draft_delete(
        self, file: FileId, principal: Principal, base: tuple[EntryRef, ...] | None = None
    ) -> EntryDraft:
        """Draft a file's deletion (of its visible side, if it is in conflict)."""
        state = self._states[file]
        parents = base or base_of(state)
        heads = winning(state) or state.heads
        return EntryDraft(
            file=file,
            kind=EntryKind.DELETE,
            parents=tuple(sorted(parents)),
            result=None,
            size=0,
            mode=heads[0].mode,
            is_text=False,
            branch=0,
            is_save=True,
            principal=principal,
            inference=BaseInference.KNOWN,
            payload=b"",
            lineage=heads[0].lineage,
            depth=next_depth(state, parents),
            after=self._after(file),
        )

    def draft_tree(
        self, parents: tuple[EntryRef, ...], payload: bytes, principal: Principal
    ) -> EntryDraft:
        """Draft an edit of the tree document."""
        state = self._states.get(TREE_FILE)
        return EntryDraft(
            file=TREE_FILE,
            kind=EntryKind.UPDATE,
            parents=parents,
            result=None,
            size=0,
            mode=FileMode.REGULAR,
            is_text=False,
            branch=_TREE_BRANCH,
            is_save=False,
            principal=principal,
            inference=BaseInference.KNOWN,
            payload=payload,
            depth=1 if state is None else next_depth(state, parents),
            after=self._after(TREE_FILE),
        )

    def tree_branch(self) -> int:
        """Return the CRDT branch of this session's tree edits."""
        return _TREE_BRANCH

    def _check_invariants(self) -> None:
        """Invariant 1 (2 is checked where claims are taken)."""
        for file, state in self._states.items():
            if file != TREE_FILE:
                alive = self.index.is_alive(file)
                assert alive == bool(living(state)), f"liveness of {file.hex()} is stale"
