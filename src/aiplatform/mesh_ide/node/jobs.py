"""Doing what the core asked for: the same functions in production and in the simulator.

Synchronous, over ports. The driver runs each lane on one worker; the only state shared between
lanes is behind the ports (thread-safe) and the commit lock.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import assert_never

from blake3 import blake3
from msgspec import msgpack

from aiplatform.mesh_ide.documents.engine.diff import plan_hunks
from aiplatform.mesh_ide.documents.engine.faults import BadEditError
from aiplatform.mesh_ide.identity.batches import BadBatchError, open_slice, seal
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.subsets import subset
from aiplatform.mesh_ide.model.entries import (
    ENTRIES_PER_BATCH_MAX,
    TEXT_BYTES_MAX,
    BatchSlice,
    EntryRef,
    KnownEntry,
)
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import NO_ENTRY, BlobHash, EntryId, SessionId, WorkspaceId
from aiplatform.mesh_ide.ports.engine import TextEngine, TextRoot, TreeEngine
from aiplatform.mesh_ide.ports.errors import (
    BadUpdateError,
    CorruptContentError,
    CorruptRecordError,
    RootMissingError,
    StorageFullError,
    StorageReadOnlyError,
)
from aiplatform.mesh_ide.ports.filetree import (
    Contents,
    FileTree,
    ScanBatch,
    WriteOutcome,
    WriteResult,
)
from aiplatform.mesh_ide.ports.jobs import (
    ApplyWrites,
    ArchiveBlobs,
    BlobsArchived,
    BlobSource,
    DerivedUpdate,
    DeriveOutcome,
    DeriveUpdate,
    DeriveUpdates,
    EditTree,
    EntriesSealed,
    FolderScanned,
    ImportTree,
    Job,
    JobResult,
    Materialise,
    Materialised,
    MaterialisedText,
    ObservePaths,
    PartsReceived,
    PathsObserved,
    Persist,
    Persisted,
    ReceiveParts,
    ScanFolder,
    SealEntries,
    SliceFault,
    SlicesVerified,
    SpliceText,
    TextAt,
    TextLineage,
    TextSpliced,
    TreeEdited,
    TreeImported,
    UpdatesDerived,
    VerifySlices,
    WritesApplied,
)
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES, PutBlob, PutChunk, PutEntries, Store, Write

_EMPTY = ScanBatch((), (), ())


class JobRunner:
    """Runs jobs over one node's ports."""

    def __init__(  # noqa: PLR0913 - it joins the ports
        self,
        workspace: WorkspaceId,
        key: SigningKey,
        store: Store,
        contents: Contents,
        tree: FileTree | None,
        texts: TextEngine,
        names: TreeEngine,
    ) -> None:
        self._workspace = workspace
        self._key = key
        self._store = store
        self._contents = contents
        self._tree = tree
        self._texts = texts
        self._names = names
        self._next_sequence = 1
        self._previous: EntryId = NO_ENTRY
        self._commit_lock = threading.Lock()
        self._stuck: int | None = None

    def run(self, job: Job) -> Iterator[JobResult]:  # noqa: C901, PLR0912 - one line per job
        """Do a job; most give one result, a scan gives several."""
        match job:
            case ScanFolder():
                yield from self._scan(job)
            case ObservePaths():
                yield from self._observe(job)
            case ApplyWrites():
                yield self._apply(job)
            case DeriveUpdates():
                yield UpdatesDerived(job.items, tuple(self._derive(item) for item in job.items))
            case SpliceText():
                yield self._splice(job)
            case Materialise():
                yield Materialised(tuple(self._materialise(item) for item in job.items))
            case EditTree():
                yield self._edit_tree(job)
            case ImportTree():
                yield self._import_tree(job)
            case SealEntries():
                yield self._seal(job)
            case VerifySlices():
                yield self._verify(job)
            case Persist():
                yield self._persist(job)
            case ArchiveBlobs():
                yield self._archive(job)
            case ReceiveParts():
                yield self._receive(job)
            case _:
                assert_never(job)

    @property
    def session(self) -> SessionId:
        """Return the session that seals."""
        return SessionId(self._key.public)

    # --- folder ------------------------------------------------------------------------------

    def _scan(self, job: ScanFolder) -> Iterator[JobResult]:
        if self._tree is None:
            yield FolderScanned(_EMPTY, is_last=True)
            return
        try:
            for batch in self._tree.scan(job.known):
                yield FolderScanned(batch, is_last=False)
        except RootMissingError as error:
            yield FolderScanned(_EMPTY, is_last=True, problem=str(error))
            return
        yield FolderScanned(_EMPTY, is_last=True)

    def _observe(self, job: ObservePaths) -> Iterator[JobResult]:
        """Look at what is known first (its absence may explain what is new), the rest in parts."""
        if self._tree is None:
            yield PathsObserved(_EMPTY)
            return
        folders = {path.partition("/")[0] for path in job.known}
        near = [p for p in job.paths if p in job.known or p.partition("/")[0] in folders]
        close = set(near)
        far = [path for path in job.paths if path not in close]
        parts = [near, *(far[i : i + _NEW_PATHS_MAX] for i in range(0, len(far), _NEW_PATHS_MAX))]
        try:
            for part in parts[:-1]:
                if part:
                    yield PathsObserved(self._tree.observe(part, job.known), is_last=False)
            yield PathsObserved(self._tree.observe(parts[-1], job.known))
        except RootMissingError as error:
            yield PathsObserved(_EMPTY, problem=str(error))

    def _apply(self, job: ApplyWrites) -> WritesApplied:
        assert self._tree is not None, "only nodes with a folder apply writes"
        old = tuple(
            BlobSource(planned.write.expected, planned.write.path)
            for planned in job.writes
            if planned.archive_first and planned.write.expected is not None
        )
        archived: tuple[BlobHash, ...] = ()
        if old:
            kept = self._archive(ArchiveBlobs(old))
            if kept.problem is not None:
                # Nothing is overwritten that could not be kept.
                failed = tuple(
                    WriteResult(p.write.path, WriteOutcome.FAILED, problem=kept.problem)
                    for p in job.writes
                )
                return WritesApplied(job.writes, failed, kept.archived)
            archived = kept.archived
        hints = {p.source.blob: p.source.path for p in job.writes if p.source is not None}
        writes = tuple(planned.write for planned in job.writes)
        results = self._tree.apply(writes, HintedContents(self._contents, hints))
        for write, result in zip(writes, results, strict=True):
            if write.blob is not None and result.outcome is WriteOutcome.APPLIED:
                self._contents.forget(write.blob)
        return WritesApplied(job.writes, results, archived)

    # --- documents ---------------------------------------------------------------------------

    def _root(self, lineage: TextLineage) -> TextRoot | None:
        content = self._contents.read(lineage.content.blob, lineage.content.path)
        if content is None:
            return None
        return TextRoot(lineage.file, lineage.root, content.decode())

    def _entries(
        self, lineage: TextLineage, heads: Sequence[EntryRef]
    ) -> Iterator[KnownEntry]:
        """Yield the file's entries, those that are asked for first.

        The engine stops reading once it has what its cached document lacks: with the heads in
        front that is one entry per keystroke, not the whole history.
        """
        for head in heads:
            known = self._store.entry(head.id)
            if known is not None:
                yield known
        yield from reversed(lineage.pending)
        yield from self._store.entries_of(lineage.file)

    def _derive(self, item: DeriveUpdate) -> DerivedUpdate:
        file = item.lineage.file
        content = self._contents.read(item.content.blob, item.content.path)
        if content is None:
            return DerivedUpdate(file, DeriveOutcome.CONTENT_MISSING)
        text = content.decode()
        lineage, base, branch = item.lineage, item.base, item.branch
        is_before: bool | None = False
        try:
            if item.base_before:
                is_before = self._is_nearer_before(item, text)
            if is_before is None:
                return DerivedUpdate(file, DeriveOutcome.BASE_MISSING)
            if is_before:
                lineage = item.lineage_before or lineage
                base, branch = item.base_before, item.branch_before
            root = self._root(lineage)
            if root is None:
                return DerivedUpdate(file, DeriveOutcome.BASE_MISSING)
            payload = self._texts.derive_update(
                root, self._entries(lineage, base), base, text, self.session, branch
            )
        except MeshIDEError:
            # An entry of the history cannot be imported: the new content stands on its own.
            return DerivedUpdate(file, DeriveOutcome.TOO_DIFFERENT)
        if payload is None:
            outcome = DeriveOutcome.TOO_DIFFERENT
            return DerivedUpdate(file, outcome, is_from_before=is_before)
        return DerivedUpdate(file, DeriveOutcome.DERIVED, payload, is_from_before=is_before)

    def _text(self, lineage: TextLineage, heads: Sequence[EntryRef]) -> str | None:
        root = self._root(lineage)
        if root is None:
            return None
        return self._texts.text_at(root, self._entries(lineage, heads), heads)

    def _is_nearer_before(self, item: DeriveUpdate, text: str) -> bool | None:
        """Return whether the text before our write explains the new one with fewer changes.

        ``None``: one of the two texts cannot be had now.
        """
        now = self._text(item.lineage, item.base)
        before = self._text(item.lineage_before or item.lineage, item.base_before)
        if now is None or before is None:
            return None
        return changed_characters(before, text) < changed_characters(now, text)

    def _splice(self, job: SpliceText) -> TextSpliced:
        file = job.lineage.file
        root = self._root(job.lineage)
        if root is None:
            return TextSpliced(file, job.base, job.branch, b"", None, 0, "the base is not here")
        try:
            text = self._texts.text_at(root, self._entries(job.lineage, job.base), job.base)
        except MeshIDEError as error:
            return TextSpliced(file, job.base, job.branch, b"", None, 0, str(error))
        for splice in job.splices:
            if not 0 <= splice.position <= splice.position + splice.delete <= len(text):
                problem = (
                    f"the text has {len(text)} characters; position {splice.position} is not in it"
                )
                return TextSpliced(file, job.base, job.branch, b"", None, 0, problem)
            after = text[splice.position + splice.delete :]
            text = text[: splice.position] + splice.insert + after
        content = text.encode()
        if len(content) > TEXT_BYTES_MAX:
            problem = f"the text would grow over {TEXT_BYTES_MAX} bytes"
            return TextSpliced(file, job.base, job.branch, b"", None, 0, problem)
        try:
            payload = self._texts.splice_update(
                root,
                self._entries(job.lineage, job.base),
                job.base,
                job.splices,
                self.session,
                job.branch,
            )
        except MeshIDEError as error:
            return TextSpliced(file, job.base, job.branch, b"", None, 0, str(error))
        blob = BlobHash(blake3(content).digest())
        self._contents.keep(blob, content)
        return TextSpliced(file, job.base, job.branch, payload, blob, len(content))

    def _materialise(self, item: TextAt) -> MaterialisedText:
        file = item.lineage.file
        root = self._root(item.lineage)
        if root is None:
            return MaterialisedText(file, item.heads, None, 0)
        try:
            entries = self._entries(item.lineage, item.heads)
            text = self._texts.text_at(root, entries, item.heads)
        except BadUpdateError as error:
            return MaterialisedText(file, item.heads, None, 0, problem=str(error))
        content = text.encode()
        blob = BlobHash(blake3(content).digest())
        self._contents.keep(blob, content)
        return MaterialisedText(file, item.heads, blob, len(content))

    def _edit_tree(self, job: EditTree) -> TreeEdited:
        try:
            edit = self._names.edit(job.operations, self.session, job.branch)
        except BadEditError as error:
            # What others did meanwhile is in the tree already: a folder cannot go there now.
            return TreeEdited(b"", (), problem=str(error))
        return TreeEdited(edit.payload, edit.places)

    def _import_tree(self, job: ImportTree) -> TreeImported:
        try:
            return TreeImported(self._names.import_payloads(job.known))
        except BadUpdateError as error:
            return TreeImported((), problem=str(error))

    # --- entries -----------------------------------------------------------------------------

    def _seal(self, job: SealEntries) -> EntriesSealed:
        slices: list[BatchSlice] = []
        sealed: list[KnownEntry] = []
        for first in range(0, len(job.drafts), ENTRIES_PER_BATCH_MAX):
            piece, known = seal(
                job.drafts[first : first + ENTRIES_PER_BATCH_MAX],
                key=self._key,
                workspace=self._workspace,
                first_sequence=self._next_sequence,
                previous=self._previous,
                time_ms=job.time_ms,
            )
            self._next_sequence += len(known)
            self._previous = known[-1].ref.id
            slices.append(piece)
            sealed.extend(known)
        return EntriesSealed(tuple(slices), tuple(sealed))

    def _verify(self, job: VerifySlices) -> SlicesVerified:
        good: list[tuple[BatchSlice, tuple[KnownEntry, ...]]] = []
        faults: list[SliceFault] = []
        for piece in job.slices:
            try:
                known = open_slice(piece, self._workspace)
                for entry in known:
                    if entry.entry.kind is EntryKind.UPDATE and entry.entry.payload:
                        self._texts.check_payload(entry)
            except (BadBatchError, BadUpdateError) as error:
                faults.append(SliceFault(piece, str(error)))
                continue
            good_or_fault = self._equivocation(piece, known)
            if good_or_fault is None:
                good.append((piece, known))
            else:
                faults.append(good_or_fault)
        return SlicesVerified(job.peer, tuple(good), tuple(faults))

    def _equivocation(
        self, piece: BatchSlice, known: tuple[KnownEntry, ...]
    ) -> SliceFault | None:
        """Return the fault of a slice that contradicts what is stored, with the proof of it."""
        stored = self._store.dots((k.ref.session, k.ref.sequence) for k in known)
        for position, entry in enumerate(known):
            held = stored.get((entry.ref.session, entry.ref.sequence))
            if held is None or held == entry.ref.id:
                continue
            reason = f"two entries with sequence number {entry.ref.sequence} of one session"
            first = self._slice_of(held)
            if first is None:
                # What is stored cannot be read any more: no proof that anybody else would take.
                return SliceFault(piece, f"{reason}; the stored one is damaged")
            second = subset(piece, known, [position])
            return SliceFault(piece, reason, (msgpack.encode(first), msgpack.encode(second)))
        return None

    def _slice_of(self, entry: EntryId) -> BatchSlice | None:
        """Return a stored entry as its session signed it; ``None``: it is damaged."""
        try:
            known = self._store.entry(entry)
            if known is None:
                return None
            before = ((known.ref.session, known.ref.sequence - 1),)
            for piece in self._store.slices([(known.entry.file, before)]):
                if piece.header.session != known.ref.session:
                    continue
                index = known.ref.sequence - piece.header.first_sequence
                if index in piece.indexes:
                    opened = open_slice(piece, self._workspace)
                    return subset(piece, opened, [piece.indexes.index(index)])
        except (CorruptRecordError, BadBatchError):
            return None
        return None

    # --- store -------------------------------------------------------------------------------

    def _commit(self, writes: tuple[Write, ...]) -> tuple[EntryRef, ...]:
        with self._commit_lock:
            return self._store.commit(writes)

    def _persist(self, job: Persist) -> Persisted:
        return self.persist_group([job])[0]

    def persist_group(self, jobs: Sequence[Persist]) -> list[Persisted]:
        """Commit several jobs in one transaction: one sync for all of them.

        Commits keep their order also when one fails: those behind it are refused until the same
        one was tried again. Otherwise its older records would one day overwrite newer ones.
        """
        if self._stuck is not None and jobs[0].ticket != self._stuck:
            problem = "an earlier change waits for the disk"
            return [Persisted(job.ticket, problem=problem) for job in jobs]
        try:
            refused = self._commit(tuple(write for job in jobs for write in job.writes))
        except (StorageFullError, StorageReadOnlyError) as error:
            self._stuck = jobs[0].ticket
            return [Persisted(job.ticket, problem=str(error)) for job in jobs]
        self._stuck = None
        if not refused:
            return [Persisted(job.ticket) for job in jobs]
        return [Persisted(job.ticket, _refused_of(job, refused)) for job in jobs]

    def _archive(self, job: ArchiveBlobs) -> BlobsArchived:
        held = self._store.held_blobs(source.blob for source in job.sources)
        archived = [source.blob for source in job.sources if source.blob in held]
        missing: list[BlobHash] = []
        writes: list[Write] = []
        problem: str | None = None
        try:
            for source in job.sources:
                if source.blob in held:
                    continue
                put = self._archive_writes(source)
                if put is None:
                    missing.append(source.blob)
                else:
                    writes.extend(put)
                    archived.append(source.blob)
            if writes:
                self._commit(tuple(writes))
        except (StorageFullError, StorageReadOnlyError) as error:
            archived = [source.blob for source in job.sources if source.blob in held]
            problem = str(error)
        return BlobsArchived(tuple(archived), tuple(missing), problem)

    def _archive_writes(self, source: BlobSource) -> list[Write] | None:
        """Return the writes that archive a blob; a large one is committed on the way."""
        chunks = self._contents.chunks(source.blob, source.path)
        if chunks is None:
            return None
        pieces: list[bytes] = []
        try:
            for chunk in chunks:
                pieces.append(chunk)
                if len(pieces) > _CHUNKS_IN_MEMORY_MAX:
                    return self._archive_large(source)
        except CorruptContentError:
            return None
        return [PutBlob(source.blob, b"".join(pieces))]

    def _archive_large(self, source: BlobSource) -> list[Write] | None:
        size = sum(len(chunk) for chunk in self._contents.chunks(source.blob, source.path) or ())
        chunks = self._contents.chunks(source.blob, source.path)
        if chunks is None:
            return None
        try:
            for index, chunk in enumerate(chunks):
                self._commit((PutChunk(source.blob, size, index, chunk),))
        except CorruptContentError:
            self._store.erase_blob(source.blob)
            return None
        return []

    # --- transfer ----------------------------------------------------------------------------

    def _receive(self, job: ReceiveParts) -> PartsReceived:
        complete: list[BlobHash] = []
        corrupt: list[BlobHash] = []
        problem: str | None = None
        for part in job.parts:
            if part.size <= CHUNK_BYTES and part.index == 0:
                is_blob = blake3(part.content).digest() == part.blob
                if is_blob:
                    self._contents.keep(part.blob, part.content)
                (complete if is_blob else corrupt).append(part.blob)
                continue
            try:
                self._commit((PutChunk(part.blob, part.size, part.index, part.content),))
            except (StorageFullError, StorageReadOnlyError) as error:
                problem = str(error)
                corrupt.append(part.blob)
                continue
            if not self._store.missing_chunks(part.blob, part.size):
                (complete if self._is_sound(part.blob) else corrupt).append(part.blob)
        return PartsReceived(job.peer, tuple(complete), tuple(corrupt), problem)

    def _is_sound(self, blob: BlobHash) -> bool:
        digest = blake3()
        try:
            for chunk in self._store.blob_chunks(blob):
                digest.update(chunk)
        except CorruptRecordError:
            self._store.erase_blob(blob)
            return False
        if digest.digest() != blob:
            self._store.erase_blob(blob)
            return False
        return True


_NEW_PATHS_MAX = 16
"""New paths looked at together: folders among them may hold a hundred files each."""

_CHUNKS_IN_MEMORY_MAX = 16
"""Archiving holds at most 16 MiB of one file in memory."""


class HintedContents:
    """Contents that know for some blobs which file may hold them."""

    def __init__(self, contents: Contents, hints: dict[BlobHash, str | None]) -> None:
        self._contents = contents
        self._hints = hints

    def read(self, blob: BlobHash, path: str | None = None) -> bytes | None:
        """See ``Contents.read``."""
        return self._contents.read(blob, path or self._hints.get(blob))

    def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
        """See ``Contents.chunks``."""
        return self._contents.chunks(blob, path or self._hints.get(blob))

    def keep(self, blob: BlobHash, content: bytes) -> None:
        """See ``Contents.keep``."""
        self._contents.keep(blob, content)

    def forget(self, blob: BlobHash) -> None:
        """See ``Contents.forget``."""
        self._contents.forget(blob)


def _refused_of(job: Persist, refused: tuple[EntryRef, ...]) -> tuple[EntryRef, ...]:
    own = {k.ref for write in job.writes if isinstance(write, PutEntries) for k in write.known}
    return tuple(ref for ref in refused if ref in own)


def changed_characters(old: str, new: str) -> int:
    """Return how many characters have to go or to come to make one text of another.

    Counting what lies between the common ends was tried first: whoever saved two lines, one above
    and one below what a peer had written, was taken for somebody who had not read the peer's.
    """
    hunks = plan_hunks(old, new)
    if hunks is None:
        return len(old) + len(new)
    return sum(end - start + len(insert) for start, end, insert in hunks)
