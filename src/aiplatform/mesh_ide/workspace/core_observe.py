"""From what was seen in the folder to entries: creations, edits, renames.

The hard question is what the writing program had read. It cannot be known, only inferred (see
``DeriveUpdate.base_before``); the inference is recorded with the entry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.authoring import (
    Authoring,
    CreatePath,
    MoveFolder,
    MovePath,
    Submission,
    TreeIntent,
)
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.documents.state import (
    FileState,
    Root,
    base_of,
    content_of,
    lineage_of,
    mode_of,
    winning,
)
from aiplatform.mesh_ide.model.entries import EntryDraft, EntryRef, Principal
from aiplatform.mesh_ide.model.enums import BaseInference
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId
from aiplatform.mesh_ide.ports.filetree import FileStat, Observation
from aiplatform.mesh_ide.ports.jobs import (
    BlobSource,
    DeriveOutcome,
    DeriveUpdate,
    DeriveUpdates,
    Job,
    TextLineage,
    UpdatesDerived,
)
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import (
    BASE_PATIENCE_MS,
    GIT_ACTIVE_MS,
    OWN_WRITE_MS,
    DiskState,
    Standing,
)

UNTAGGED: Final = 0
"""The tag of changes that nobody waits for."""

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
    known_stat: FileStat | None
    deadline_ms: int = 0
    """Until when a missing base is waited for (0: it was not missing)."""


class Observer:
    """Turns observations into submissions.

    Invariants:
        1. a file in ``_edits`` is claimed by us.
        2. after a submission the path's standing names the new content; its heads follow when
           the entry is sealed (``on_written``).
    """

    def __init__(
        self,
        ledger: Ledger,
        authoring: Authoring,
        folder: Folder,
        principal: Principal,
        new_file_id: Callable[[], FileId],
    ) -> None:
        self._ledger = ledger
        self._authoring = authoring
        self._folder = folder
        self._principal = principal
        self._new_file_id = new_file_id
        self._edits: dict[FileId, _Edit] = {}
        self._derivations: list[DeriveUpdate] = []
        self._baseless: dict[FileId, DeriveUpdate] = {}
        self.bases_wanted: dict[BlobHash, tuple[FileId, int]] = {}
        self._submitted: dict[int, tuple[str, ...]] = {}
        self._next_tag = UNTAGGED
        self.look_again: dict[str, None] = {}
        self.git_moved_ms = -GIT_ACTIVE_MS

    # --- submissions -------------------------------------------------------------------------

    def submit(
        self,
        intents: list[TreeIntent],
        drafts: list[EntryDraft],
        paths: tuple[str, ...],
        now_ms: int,
    ) -> list[Job | Notice]:
        """Submit what was seen at these paths; they are held until its entries are sealed."""
        self._next_tag -= 1  # below zero: requests count up from one
        self._submitted[self._next_tag] = paths
        self._folder.hold(paths)
        submission = Submission(tuple(intents), tuple(drafts), self._next_tag)
        return self._authoring.submit(submission, now_ms)

    def on_sealed(self, tags: tuple[int, ...]) -> list[str]:
        """Let the records of what was submitted go with its entries; returns the paths."""
        settled: list[str] = []
        for tag in tags:
            paths = self._submitted.pop(tag, ())
            self._folder.settle(paths)
            settled.extend(paths)
        return settled

    # --- creations and renames ---------------------------------------------------------------

    def take_new(
        self, seen: list[Observation], vanished: dict[str, Standing], now_ms: int
    ) -> tuple[list[Job | Notice], set[str]]:
        """Take files at paths where none stood.

        Returns the commands and those of ``vanished`` that turned out to be renamed.
        """
        by_inode = {
            (state.stat.inode, standing.blob): path
            for path, standing in vanished.items()
            if (state := self._folder.get(path)) is not None
            and state.now is not None
            and state.stat is not None
        }
        by_blob: dict[bytes, list[str]] = {}
        for path, standing in vanished.items():
            if standing.size and self._folder.standing(path) is not None:
                by_blob.setdefault(standing.blob, []).append(path)
        renames: dict[str, Observation] = {}
        created: list[Observation] = []
        for observation in seen:
            assert observation.stat is not None
            assert observation.blob is not None
            old = by_inode.get((observation.stat.inode, observation.blob))
            if old is None:
                twins = [p for p in by_blob.get(observation.blob, ()) if p not in renames]
                old = twins[0] if len(twins) == 1 else None
            if old is None or old in renames:
                created.append(observation)
            else:
                renames[old] = observation
        out = self._rename(renames, now_ms) if renames else []
        if created:
            out.extend(self._create(created, now_ms))
        return out, set(renames)

    def _create(self, seen: list[Observation], now_ms: int) -> list[Job | Notice]:
        intents: list[TreeIntent] = []
        drafts: list[EntryDraft] = []
        for observation in seen:
            stat, blob = observation.stat, observation.blob
            assert stat is not None
            assert blob is not None
            owner = self._ledger.index.owner(observation.path)
            if owner is not None and self._adopt(owner, observation):
                continue
            file = self._new_file_id()
            while owner is not None and file <= owner:
                # The lower id keeps the path. What the workspace agreed on before this copy
                # was looked at keeps it too; ours stands in ``conflicts``.
                file = self._new_file_id()
            standing = Standing(file, (), blob, stat.mode, stat.size)
            self._folder.put(observation.path, DiskState(standing, stat))
            self._ledger.claim(file)
            intents.append(CreatePath(observation.path, file))
            drafts.append(
                self._ledger.draft_genesis(
                    file,
                    blob,
                    stat.size,
                    stat.mode,
                    self._principal,
                    is_text=observation.is_text,
                )
            )
        if not drafts:
            return []
        paths = tuple(intent.path for intent in intents if isinstance(intent, CreatePath))
        return self.submit(intents, drafts, paths, now_ms)

    def _adopt(self, owner: FileId, seen: Observation) -> bool:
        """Recognise content that the workspace has at this path already."""
        state = self._ledger.state(owner)
        stat, blob = seen.stat, seen.blob
        assert stat is not None
        assert blob is not None
        content = content_of(state) if state is not None else None
        if state is None or content is None or content[0] != blob or mode_of(state) != stat.mode:
            return False
        self._folder.put(seen.path, DiskState(_agreed(state, seen), stat))
        return True

    def _rename(self, renames: dict[str, Observation], now_ms: int) -> list[Job | Notice]:
        folders = self._whole_folders(renames)
        intents: list[TreeIntent] = [MoveFolder(old, new) for old, new in folders.items()]
        drafts: list[EntryDraft] = []
        for old, observation in renames.items():
            state = self._folder.get(old)
            assert state is not None
            assert state.now is not None
            assert observation.stat is not None
            self._folder.put(old, None)
            is_same = observation.stat.mode == state.now.mode
            stat = observation.stat if is_same else None
            self._folder.put(observation.path, DiskState(state.now, stat))
            if not is_same:
                self.look_again[observation.path] = None
            if not any(old.startswith(folder + "/") for folder in folders):
                intents.append(MovePath(state.now.file, observation.path))
            # Nobody saw that two files stood there: the other must not turn up now.
            drafts.extend(
                self._ledger.draft_delete(twin, self._principal)
                for twin in twins(self._ledger, old, state.now.file)
                if self._ledger.claim(twin)
            )
        paths = (*renames, *(observation.path for observation in renames.values()))
        return self.submit(intents, drafts, paths, now_ms)

    def _whole_folders(self, renames: dict[str, Observation]) -> dict[str, str]:
        """Return the folders that moved as a whole: one operation instead of one per file."""
        candidates: dict[str, str] = {}
        for old, observation in renames.items():
            pair = _moved_folder(old, observation.path)
            if pair is not None:
                candidates.setdefault(*pair)
        moved: dict[str, str] = {}
        for old, new in candidates.items():
            inside = self._ledger.index.files_below(old)
            is_whole = all(
                (path := self._ledger.index.path_of(file)) is not None
                and path in renames
                and renames[path].path == new + path[len(old) :]
                for file in inside
                if self._ledger.is_alive(file)
            )
            is_free = not any(
                self._ledger.is_alive(file) for file in self._ledger.index.files_below(new)
            )
            if is_whole and is_free:
                moved[old] = new
        return moved

    # --- edits -------------------------------------------------------------------------------

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
            self.look_again[seen.path] = None
            return []
        if not winning(known):
            self._ledger.release((file,))
            return self._recreate(seen, now_ms)
        content = content_of(known)
        if content is not None and content[0] == blob and mode_of(known) == stat.mode:
            # Our own write, or another program that came to what is agreed on already.
            self._ledger.release((file,))
            self._folder.put(seen.path, DiskState(_agreed(known, seen), stat))
            return []
        edit = self._inferred(seen, state, now_ms)
        if blob == standing.blob:
            return self._submit_edit(edit, b"", now_ms)
        root = known.root(standing.lineage)
        if not (seen.is_text and root.is_text):
            if edit.base_before and not set(edit.base_before) & set(known.refs()):
                # Nothing tells what a writer of bytes had read: beside our write, not on top.
                edit.base, edit.lineage = edit.base_before, edit.lineage_before
                edit.inference = BaseInference.BEFORE_OUR_WRITE
            return self._submit_edit(edit, None, now_ms)
        before = known.root(edit.lineage_before)
        is_other = before.ref != root.ref
        has_before = edit.base_before and before.is_text
        self._edits[file] = edit
        self._derivations.append(
            DeriveUpdate(
                lineage=self._lineage(file, root),
                base=edit.base,
                content=BlobSource(blob, seen.path),
                branch=edit.branch,
                base_before=edit.base_before if has_before else (),
                branch_before=edit.branch_before,
                lineage_before=self._lineage(file, before) if has_before and is_other else None,
            )
        )
        return []

    def _lineage(self, file: FileId, root: Root) -> TextLineage:
        return self._ledger.lineage_of(file, root.ref, self._folder.source(root.blob))

    def _recreate(self, seen: Observation, now_ms: int) -> list[Job | Notice]:
        """A path whose file was deleted by others while a program wrote it: a new file."""
        self._folder.put(seen.path, None)
        return self._create([seen], now_ms)

    def _inferred(self, seen: Observation, state: DiskState, now_ms: int) -> _Edit:
        standing = state.now
        assert standing is not None
        file, base = standing.file, standing.heads
        inference = BaseInference.ON_DISK
        before: tuple[EntryRef, ...] = ()
        lineage_before = standing.lineage
        if now_ms - self.git_moved_ms < GIT_ACTIVE_MS:
            inference = BaseInference.CURRENT_BY_GIT
        elif (
            state.before is not None
            and state.before.file == file
            and state.before.heads
            and state.before.heads != base
            and now_ms - state.written_ms < OWN_WRITE_MS
        ):
            before, lineage_before = state.before.heads, state.before.lineage
        return _Edit(
            file=file,
            path=seen.path,
            seen=seen,
            base=base,
            lineage=standing.lineage,
            inference=inference,
            branch=self._ledger.branch_for(file, base),
            branch_before=self._ledger.branch_for(file, before) if before else 0,
            base_before=before,
            lineage_before=lineage_before,
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
                self._ledger.release((derived.file,))
                self.look_again[edit.path] = None
                continue
            is_open = derived.outcome is DeriveOutcome.BASE_MISSING and item.base_before
            if derived.is_from_before or is_open:
                # Where nobody can tell any more what the writer had read, the answer that
                # supersedes less is the safe one: it can only lead to a conflict.
                edit.base, edit.lineage = edit.base_before, edit.lineage_before
                edit.branch = edit.branch_before
                edit.inference = BaseInference.BEFORE_OUR_WRITE
            is_derived = derived.outcome is DeriveOutcome.DERIVED
            if is_derived:
                other = item.lineage_before if derived.is_from_before else None
                self._folder.keep_root((other or item.lineage).content)
            payload = derived.payload if is_derived else None
            out.extend(self._submit_edit(edit, payload, now_ms))
        return out

    def _await_base(self, item: DeriveUpdate, now_ms: int) -> bool:
        """Let an edit wait until a peer has sent what it builds on; ``False``: long enough."""
        file = item.lineage.file
        edit = self._edits[file]
        edit.deadline_ms = edit.deadline_ms or now_ms + BASE_PATIENCE_MS
        if now_ms >= edit.deadline_ms:
            return False
        self._baseless[file] = item
        known = self._ledger.state(file)
        for lineage in (item.lineage, item.lineage_before):
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
        is_there = standing_there is not None and standing_there.file == file
        path = edit.path if is_there else self._folder.path_of(file)
        if path is None:
            # It was deleted (or given up) while its operations were derived.
            return self.submit([], [draft], (), now_ms)
        standing = Standing(file, edit.base, blob, stat.mode, stat.size, edit.lineage)
        state = self._folder.get(path)
        if state is None or state.stat != edit.known_stat or path != edit.path:
            # It was seen again since: with the content that it had before this edit.
            self.look_again[path] = None
            self._folder.put(path, DiskState(standing, None))
        else:
            self._folder.put(path, DiskState(standing, stat))
        return self.submit([], [draft], (path,), now_ms)

    def on_written(self, file: FileId, ref: EntryRef) -> None:
        """Name the entry that what stands on the disk became."""
        known = self._ledger.state(file)
        head = next((h for h in known.heads if h.ref == ref), None) if known else None
        for path in self._folder.paths_of(file):
            state = self._folder.get(path)
            assert state is not None
            assert state.now is not None
            if head is not None and head.blob == state.now.blob:
                now = replace(state.now, heads=(ref,), lineage=head.lineage)
                self._folder.put(path, replace(state, now=now))


def _agreed(state: FileState, seen: Observation) -> Standing:
    """Return what stands at a path where the ledger and the folder say the same."""
    stat, blob = seen.stat, seen.blob
    assert stat is not None
    assert blob is not None
    lineage = lineage_of(state)
    return Standing(state.file, base_of(state), blob, stat.mode, stat.size, lineage)


def twins(ledger: Ledger, path: str, file: FileId) -> list[FileId]:
    """Return files hidden behind this one at a path because their bytes are the same."""
    state = ledger.state(file)
    content = content_of(state) if state is not None else None
    return [
        other
        for other in ledger.index.claims(path)
        if other != file
        and (twin := ledger.state(other)) is not None
        and content_of(twin) == content
    ]


def _moved_folder(old: str, new: str) -> tuple[str, str] | None:
    """Return the greatest folders (old, new) that explain a rename, if the name stayed."""
    olds, news = old.split("/"), new.split("/")
    while len(olds) > 1 and len(news) > 1 and olds[-1] == news[-1]:
        olds.pop()
        news.pop()
    is_folder = len(olds) < old.count("/") + 1
    return ("/".join(olds), "/".join(news)) if is_folder and olds != news else None
