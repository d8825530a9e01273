"""The ledger: every file's state, where it stands in the tree, and what is durable of it.

One object per node, in memory, rebuilt from records at the start. It decides nothing by itself:
``authoring`` changes it with this node's entries, ``intake`` with those of others. Metadata only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

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
from aiplatform.mesh_ide.model.ids import NO_ENTRY, TREE_FILE, BlobHash, FileId, SessionId
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind

_TREE_BRANCH: Final = 1
"""Tree edits always build on everything, so one branch serves the whole session."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(FileState)


class Ledger:
    """All file states of one node.

    Invariants:
        1. ``index`` knows as alive exactly the files with a living head.
        2. a claimed file is being written by exactly one local operation.
    """

    def __init__(self, session: SessionId) -> None:
        self.session = session
        self.index = TreeIndex()
        self._states: dict[FileId, FileState] = {}
        self._claimed: set[FileId] = set()
        self._branches: dict[FileId, tuple[int, EntryRef | None]] = {}

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
        self._claimed.difference_update(files)

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
            if known.ref.session == self.session:
                self._branches[known.entry.file] = (known.entry.branch, known.ref)
        return outcome

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
        branch, tip = self._branches.get(file, (0, None))
        state = self._states.get(file)
        is_on_top = tip in base or (state is not None and set(base) == set(state.refs()))
        return max(branch, 1) if branch and is_on_top else branch + 1

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
        branch: int = 0,
        inference: BaseInference = BaseInference.KNOWN,
        is_save: bool = True,
    ) -> EntryDraft:
        """Draft a new content: an update with these operations, or a replace (``None``)."""
        state = self._states[file]
        heads = winning(state)
        is_update = payload is not None and bool(heads)
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
            lineage=heads[0].lineage if is_update else NO_ENTRY,
            depth=next_depth(state, base),
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
