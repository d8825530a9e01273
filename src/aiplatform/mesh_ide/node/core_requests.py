"""Requests of people and programs: edits, whole contents, deletions, moves.

A file is written by one operation at a time (``Ledger.claim``). Requests for a claimed file wait
in its queue; edits that wait are joined into one, which is what lets ten thousand keystrokes a
second become a few hundred signed entries.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

from aiplatform.mesh_ide.documents.authoring import Authoring, CreatePath, MovePath, Submission
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import EntriesStored, Notice
from aiplatform.mesh_ide.documents.places import PathError
from aiplatform.mesh_ide.documents.state import base_of, content_of, living, mode_of, winning
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.ids import NO_ENTRY, TREE_FILE, EntryId, FileId, short
from aiplatform.mesh_ide.node.events import (
    DeleteFile,
    EditText,
    MoveFile,
    PutContent,
    Replied,
)
from aiplatform.mesh_ide.ports.engine import Splice
from aiplatform.mesh_ide.ports.jobs import BlobSource, Job, SpliceText, TextSpliced
from aiplatform.mesh_ide.workspace.folder import Folder

WAITING_MAX: Final = 50_000
"""Requests that wait for one file; more are refused (the caller goes on once some are done)."""

SPLICES_PER_JOB_MAX: Final = 4096

_FileRequest = EditText | PutContent | DeleteFile
Out = list[Job | Notice | Replied]


class RequestsCore:
    """Turns requests into submissions and answers them once they are durable.

    Invariants:
        1. every request is answered exactly once.
        2. a file in ``_splicing`` is claimed by us.
    """

    def __init__(
        self,
        ledger: Ledger,
        authoring: Authoring,
        folder: Folder,
        new_file_id: Callable[[], FileId],
    ) -> None:
        self._ledger = ledger
        self._authoring = authoring
        self._folder = folder
        self._new_file_id = new_file_id
        self._waiting: dict[FileId, deque[_FileRequest]] = {}
        self._splicing: dict[FileId, tuple[list[EditText], EntryId, BlobSource]] = {}
        self._submitted: dict[int, tuple[list[int], FileId | None]] = {}
        self._next_tag = 1

    # --- entry points ------------------------------------------------------------------------

    def handle(self, request: EditText | PutContent | DeleteFile | MoveFile, now_ms: int) -> Out:
        """Take a request."""
        if isinstance(request, MoveFile):
            return self._move(request, now_ms)
        file = request.file
        if file is None:
            assert isinstance(request, PutContent)
            return self._create(request, now_ms)
        state = self._ledger.state(file)
        if state is None or file == TREE_FILE:
            return [Replied(request.tag, f"there is no file {short(file)}: see `mesh status`")]
        queue = self._waiting.setdefault(file, deque())
        if len(queue) >= WAITING_MAX:
            return [Replied(request.tag, "too many edits wait for this file: wait for answers")]
        queue.append(request)
        return self.next(file, now_ms)

    def next(self, file: FileId, now_ms: int) -> Out:
        """Begin what waits for a file, if nobody writes it."""
        queue = self._waiting.get(file)
        if not queue or not self._ledger.claim(file):
            return []
        request = queue[0]
        if isinstance(request, EditText):
            return self._splice(file, queue, now_ms)
        queue.popleft()
        if isinstance(request, PutContent):
            return self._put(file, request, now_ms)
        return self._delete(file, request, now_ms)

    # --- one file ----------------------------------------------------------------------------

    def _refuse(self, file: FileId, tags: list[int], problem: str, now_ms: int) -> Out:
        self._ledger.release((file,))
        out: Out = [Replied(tag, problem, file) for tag in tags]
        return out + self.next(file, now_ms)

    def _splice(self, file: FileId, queue: deque[_FileRequest], now_ms: int) -> Out:
        edits: list[EditText] = []
        splices: list[Splice] = []
        while queue and len(splices) < SPLICES_PER_JOB_MAX:
            edit = queue[0]
            if not isinstance(edit, EditText) or (edits and edit.base != edits[0].base):
                break
            queue.popleft()
            edits.append(edit)
            splices.extend(edit.splices)
        state = self._ledger.state(file)
        assert state is not None, "checked when the request came"
        heads = winning(state)
        if not heads or not all(head.is_text for head in heads):
            tags = [edit.tag for edit in edits]
            return self._refuse(file, tags, "the file is deleted or not a text", now_ms)
        base = edits[0].base or base_of(state)
        root = state.root(heads[0].lineage)
        source = self._folder.source(root.blob)
        self._splicing[file] = (edits, root.ref.id, source)
        lineage = self._ledger.lineage_of(file, root.ref, source)
        branch = self._ledger.branch_for(file, base)
        return [SpliceText(lineage, base, tuple(splices), branch)]

    def on_spliced(self, result: TextSpliced, now_ms: int) -> Out:
        """Submit an edit whose operations are known."""
        splicing = self._splicing.pop(result.file, None)
        if splicing is None:
            return []
        edits, lineage, root = splicing
        tags = [edit.tag for edit in edits]
        state = self._ledger.state(result.file)
        if result.problem is not None or result.blob is None or state is None:
            return self._refuse(result.file, tags, result.problem or "the base is gone", now_ms)
        self._folder.keep_root(root)
        draft = self._ledger.draft_change(
            result.file,
            result.base,
            result.blob,
            result.size,
            mode_of(state),
            edits[0].principal,
            is_text=True,
            payload=result.payload,
            lineage=lineage,
            branch=result.branch,
            is_save=False,
        )
        return self._submit(Submission((), (draft,), self._tag(tags, result.file)), now_ms)

    def _put(self, file: FileId, request: PutContent, now_ms: int) -> Out:
        state = self._ledger.state(file)
        assert state is not None, "checked when the request came"
        self._folder.mark_archived((request.blob,))
        content = content_of(state)
        is_same = content is not None and content[0] == request.blob
        # A rewrite with what stands there already decides a conflict: it must build on both sides.
        is_decision = request.is_rewrite and len({head.lineage for head in living(state)}) > 1
        if is_same and mode_of(state) == request.mode and not is_decision:
            self._ledger.release((file,))
            return [Replied(request.tag, None, file, state.refs()), *self.next(file, now_ms)]
        draft = self._ledger.draft_change(
            file,
            state.refs() if request.is_rewrite else base_of(state),
            request.blob,
            request.size,
            request.mode,
            request.principal,
            is_text=request.is_text,
            payload=None,
            lineage=NO_ENTRY,
        )
        return self._submit(Submission((), (draft,), self._tag([request.tag], file)), now_ms)

    def _delete(self, file: FileId, request: DeleteFile, now_ms: int) -> Out:
        if not self._ledger.is_alive(file):
            return self._refuse(file, [request.tag], "the file is deleted already", now_ms)
        draft = self._ledger.draft_delete(file, request.principal)
        return self._submit(Submission((), (draft,), self._tag([request.tag], file)), now_ms)

    # --- the tree ----------------------------------------------------------------------------

    def _create(self, request: PutContent, now_ms: int) -> Out:
        path = request.path or ""
        problem = self._path_problem(path)
        if problem is not None:
            return [Replied(request.tag, problem)]
        self._folder.mark_archived((request.blob,))
        file = self._new_file_id()
        self._ledger.claim(file)
        draft = self._ledger.draft_genesis(
            file,
            request.blob,
            request.size,
            request.mode,
            request.principal,
            is_text=request.is_text,
        )
        tag = self._tag([request.tag], file)
        return self._submit(Submission((CreatePath(path, file),), (draft,), tag), now_ms)

    def _move(self, request: MoveFile, now_ms: int) -> Out:
        problem = self._path_problem(request.path)
        if problem is None and not self._ledger.is_alive(request.file):
            problem = f"there is no file {short(request.file)}"
        if problem is not None:
            return [Replied(request.tag, problem, request.file)]
        tag = self._tag([request.tag], request.file)
        intent = MovePath(request.file, request.path)
        return self._submit(Submission((intent,), (), tag), now_ms)

    def _path_problem(self, path: str) -> str | None:
        try:
            self._ledger.index.plan_create(path, TREE_FILE)
        except PathError as error:
            return str(error)
        if self._ledger.index.owner(path) is not None:
            return f"{path} exists already: edit it, or choose another path"
        return None

    # --- answers -----------------------------------------------------------------------------

    def _tag(self, tags: list[int], file: FileId | None) -> int:
        self._next_tag += 1
        self._submitted[self._next_tag] = (tags, file)
        return self._next_tag

    def _submit(self, submission: Submission, now_ms: int) -> Out:
        return list(self._authoring.submit(submission, now_ms))

    def on_stored(self, notice: EntriesStored) -> list[Replied]:
        """Answer the requests whose entries are durable."""
        replies: list[Replied] = []
        for tag in notice.tags:
            tags, file = self._submitted.pop(tag, ([], None))
            heads: tuple[EntryRef, ...] = ()
            state = self._ledger.state(file) if file is not None else None
            if state is not None:
                heads = base_of(state)
            replies.extend(Replied(one, notice.problem, file, heads) for one in tags)
        return replies
