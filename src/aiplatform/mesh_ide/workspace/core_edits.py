"""Edits: what a program wrote where a file of ours stands, as an entry on what it had read.

The hard question is what the writing program had read. It cannot be known, only inferred (see
``DeriveUpdate.base_before``); the inference is recorded with the entry.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.documents.state import FileState, Root, content_of, mode_of, winning
from aiplatform.mesh_ide.model.entries import EntryRef, Principal
from aiplatform.mesh_ide.model.enums import BaseInference
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId
from aiplatform.mesh_ide.ports.filetree import FileStat, Observation
from aiplatform.mesh_ide.ports.jobs import (
    BlobSource,
    DerivedUpdate,
    DeriveOutcome,
    DeriveUpdate,
    DeriveUpdates,
    Job,
    TextLineage,
    UpdatesDerived,
)
from aiplatform.mesh_ide.workspace.core_observe import Observer, agreed
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import (
    BASE_PATIENCE_MS,
    GIT_ACTIVE_MS,
    OWN_WRITE_MS,
    DiskState,
    Standing,
)

DERIVATIONS_PER_JOB_MAX: Final = 64


class _Edit(Struct):
    """An edit whose operations are being derived."""

    file: FileId
    path: str
    seen: Observation
    base: tuple[EntryRef, ...]
    lineage: EntryId
    inference: BaseInference
    branch: int
    branch_before: int
    base_before: tuple[EntryRef, ...]
    lineage_before: EntryId
    file_before: FileId
    """Whose ``base_before`` is: another file's, where our last write put ours in its place."""

    stood: FileId
    """The file that stood at the path."""

    known_stat: FileStat | None
    deadline_ms: int = 0
    """Until when a missing base is waited for (0: it was not missing)."""


class Edits:
    """Turns other contents at known paths into submissions.

    Invariants:
        1. a file in ``_edits``, and the file it may turn out to be, are claimed by us.
        2. an edit in ``_baseless`` waits for a content; no derivation of it is under way.
    """

    def __init__(
        self, ledger: Ledger, observer: Observer, folder: Folder, principal: Principal
    ) -> None:
        self._ledger = ledger
        self._observer = observer
        self._folder = folder
        self._principal = principal
        self._edits: dict[FileId, _Edit] = {}
        self._derivations: list[DeriveUpdate] = []
        self._baseless: dict[FileId, DeriveUpdate] = {}
        self.bases_wanted: dict[BlobHash, tuple[FileId, int]] = {}
        self.git_moved_ms = -GIT_ACTIVE_MS

    def take_edit(self, seen: Observation, state: DiskState, now_ms: int) -> list[Job | Notice]:
        """Take another content (or mode) at a path where a file of ours stands."""
        stat, blob, standing = seen.stat, seen.blob, state.now
        assert stat is not None
        assert blob is not None
        assert standing is not None
        file = standing.file
        known = self._ledger.state(file)
        is_open = self._folder.is_held(seen.path) or not standing.heads
        if known is None or is_open or not self._ledger.claim(file):
            self._observer.look_again[seen.path] = None
            return []
        if not winning(known):
            self._ledger.release((file,))
            return self._observer.recreate(seen, now_ms)
        content = content_of(known)
        if content is not None and content[0] == blob and mode_of(known) == stat.mode:
            # Our own write, or another program that came to what is agreed on already.
            self._ledger.release((file,))
            self._folder.put(seen.path, DiskState(agreed(known, seen), stat))
            return []
        edit = self._inferred(seen, state, now_ms)
        if blob == standing.blob:
            return self._submit_edit(edit, b"", now_ms)
        return self._derive(edit, known, now_ms)

    def _derive(self, edit: _Edit, known: FileState, now_ms: int) -> list[Job | Notice]:
        """Have the operations of an edit found; bytes that are no text have none."""
        seen, file = edit.seen, edit.file
        assert seen.blob is not None
        root = known.root(edit.lineage)
        if not (seen.is_text and root.is_text):
            is_same_file = edit.file_before == file
            if is_same_file and edit.base_before and not set(edit.base_before) & set(known.refs()):
                # Nothing tells what a writer of bytes had read: beside our write, not on top.
                self._turn_back(edit)
            return self._submit_edit(edit, None, now_ms)
        if edit.file_before != file and not self._ledger.claim(edit.file_before):
            self._ledger.release((file,))
            self._observer.look_again[seen.path] = None
            return []
        known_before = self._ledger.state(edit.file_before)
        assert known_before is not None
        before = known_before.root(edit.lineage_before)
        is_other = before.ref != root.ref
        has_before = edit.base_before and before.is_text
        lineage_before = self._lineage(edit.file_before, before, seen.path)
        self._edits[file] = edit
        self._derivations.append(
            DeriveUpdate(
                lineage=self._lineage(file, root, seen.path),
                base=edit.base,
                content=BlobSource(seen.blob, seen.path),
                branch=edit.branch,
                base_before=edit.base_before if has_before else (),
                branch_before=edit.branch_before,
                lineage_before=lineage_before if has_before and is_other else None,
                is_before_open=edit.file_before != file
                or (is_other and bool(set(edit.base_before) & set(known.refs()))),
            )
        )
        return []

    def _lineage(self, file: FileId, root: Root, changed: str) -> TextLineage:
        """Return a text's lineage, its root to be read anywhere but where it was overwritten."""
        source = self._folder.source(root.blob, not_at=changed)
        return self._ledger.lineage_of(file, root.ref, source)

    def _inferred(self, seen: Observation, state: DiskState, now_ms: int) -> _Edit:
        standing = state.now
        assert standing is not None
        file, base = standing.file, standing.heads
        inference = BaseInference.ON_DISK
        before: tuple[EntryRef, ...] = ()
        lineage_before, file_before = standing.lineage, file
        if now_ms - self.git_moved_ms < GIT_ACTIVE_MS:
            inference = BaseInference.CURRENT_BY_GIT
        elif (
            state.before is not None
            and state.before.heads
            and state.before.heads != base
            and now_ms - state.written_ms < OWN_WRITE_MS
            and self._ledger.state(state.before.file) is not None
        ):
            before, lineage_before = state.before.heads, state.before.lineage
            file_before = state.before.file
        return _Edit(
            file=file,
            path=seen.path,
            seen=seen,
            base=base,
            lineage=standing.lineage,
            inference=inference,
            branch=self._ledger.branch_for(file, base),
            branch_before=self._ledger.branch_for(file_before, before) if before else 0,
            base_before=before,
            lineage_before=lineage_before,
            file_before=file_before,
            stood=file,
            known_stat=state.stat,
        )

    @property
    def deriving(self) -> int:
        """Return how many edits wait for their operations."""
        return len(self._edits)

    def take_derivations(self) -> list[Job | Notice]:
        """Hand out the derivations that gathered, in bounded batches."""
        gathered, self._derivations = self._derivations, []
        return [
            DeriveUpdates(tuple(gathered[i : i + DERIVATIONS_PER_JOB_MAX]))
            for i in range(0, len(gathered), DERIVATIONS_PER_JOB_MAX)
        ]

    def on_derived(self, result: UpdatesDerived, now_ms: int) -> list[Job | Notice]:
        """Submit edits whose operations are known."""
        out: list[Job | Notice] = []
        for item, derived in zip(result.items, result.results, strict=True):
            edit = self._edits[derived.file]
            if derived.outcome is DeriveOutcome.BASE_MISSING and self._await_base(item, now_ms):
                continue
            del self._edits[derived.file]
            if derived.outcome is DeriveOutcome.CONTENT_MISSING:
                self._ledger.release((edit.file, edit.file_before))
                self._observer.look_again[edit.path] = None
                continue
            if derived.is_from_before or self._is_lost(edit, item, derived):
                self._turn_back(edit)
            elif edit.file_before != edit.file:
                self._ledger.release((edit.file_before,))
            is_derived = derived.outcome is DeriveOutcome.DERIVED
            if is_derived:
                other = item.lineage_before if derived.is_from_before else None
                self._folder.keep_root((other or item.lineage).content)
            payload = derived.payload if is_derived else None
            out.extend(self._submit_edit(edit, payload, now_ms))
        return out

    def _is_lost(self, edit: _Edit, item: DeriveUpdate, derived: DerivedUpdate) -> bool:
        """Return whether nobody can tell any more what a writer had read.

        Then the answer that supersedes less is the safe one: it can only lead to a conflict. It is
        what stood before our write, unless that is a side of a conflict still: nobody here saw it
        last. Of two files it is the one whose content is lost that goes on with the new one.
        """
        if derived.outcome is not DeriveOutcome.BASE_MISSING or not item.base_before:
            return False
        before = item.lineage_before
        if before is None:
            return True
        if edit.file_before == edit.file:
            known = self._ledger.state(edit.file)
            return known is None or not set(edit.base_before) & set(known.refs())
        return before.content.blob not in self._folder.archived

    def _turn_back(self, edit: _Edit) -> None:
        """Take an edit for one of what stood before our own last write."""
        if edit.file_before != edit.file:
            self._ledger.release((edit.file,))
            edit.file = edit.file_before
        edit.base, edit.lineage = edit.base_before, edit.lineage_before
        edit.branch = edit.branch_before
        edit.inference = BaseInference.BEFORE_OUR_WRITE

    def _await_base(self, item: DeriveUpdate, now_ms: int) -> bool:
        """Let an edit wait until a peer has sent what it builds on; ``False``: long enough."""
        file = item.lineage.file
        edit = self._edits[file]
        edit.deadline_ms = edit.deadline_ms or now_ms + BASE_PATIENCE_MS
        if now_ms >= edit.deadline_ms:
            return False
        self._baseless[file] = item
        for lineage in (item.lineage, item.lineage_before):
            known = self._ledger.state(lineage.file) if lineage is not None else None
            if lineage is None or known is None:
                continue
            root = known.root(lineage.root.id)
            if root.blob not in self._folder.archived:
                self.bases_wanted[root.blob] = (file, root.size)
        return True

    def retry_baseless(self, blobs: frozenset[BlobHash] | None, now_ms: int) -> None:
        """Derive again what waited for these contents (``None``: what waited long enough)."""
        for file, item in list(self._baseless.items()):
            roots = {item.lineage.content.blob}
            if item.lineage_before is not None:
                roots.add(item.lineage_before.content.blob)
            if now_ms >= self._edits[file].deadline_ms if blobs is None else roots & blobs:
                del self._baseless[file]
                self._derivations.append(item)

    def _submit_edit(self, edit: _Edit, payload: bytes | None, now_ms: int) -> list[Job | Notice]:
        stat, blob, file = edit.seen.stat, edit.seen.blob, edit.file
        assert stat is not None
        assert blob is not None
        draft = self._ledger.draft_change(
            file,
            edit.base,
            blob,
            stat.size,
            stat.mode,
            self._principal,
            is_text=edit.seen.is_text,
            payload=payload,
            lineage=edit.lineage,
            branch=edit.branch,
            inference=edit.inference,
        )
        standing_there = self._folder.standing(edit.path)
        is_there = standing_there is not None and standing_there.file in {file, edit.stood}
        path = edit.path if is_there else self._folder.path_of(file)
        if path is None:
            # It was deleted (or given up) while its operations were derived.
            return self._observer.submit([], [draft], (), now_ms)
        standing = Standing(file, edit.base, blob, stat.mode, stat.size, edit.lineage)
        state = self._folder.get(path)
        if state is None or state.stat != edit.known_stat or path != edit.path:
            # It was seen again since: with the content that it had before this edit.
            self._observer.look_again[path] = None
            self._folder.put(path, DiskState(standing, None))
        elif state.now is not None and state.now.blob == blob:
            # Only the mode is another: who read before our last change of the content still did.
            self._folder.put(path, replace(state, now=standing, stat=stat))
        else:
            self._folder.put(path, DiskState(standing, stat))
        return self._observer.submit([], [draft], (path,), now_ms)
