"""Jobs of the working folder: look, and change."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.node.jobs_storing import StoringJobs
from aiplatform.mesh_ide.ports.errors import (
    RootMissingError,
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
    BlobSource,
    FolderScanned,
    JobResult,
    ObservePaths,
    PathsObserved,
    ScanFolder,
    WritesApplied,
)

_EMPTY = ScanBatch((), (), ())
_NEW_PATHS_MAX = 4
"""New paths looked at together: folders among them may hold a hundred files each."""

_NEW_KEPT_MAX = 8
"""When so few paths are looked at, contents of new files are kept too: a program that saves again
before the first content was archived would otherwise take away what its own edit builds on, and
the edit would wait three seconds for a peer to send that. A copy or checkout is more paths."""

_OBSERVED_MAX = 256
"""Handed on at once: what the core does with an observation takes some 20 µs, and its turns are to
be short."""

_PLACED_MAX = 4096
"""As many as can be planned at a time, in small files: sixteen jobs of 256."""


class FolderJobs:
    """Looks at the folder and changes it; what is overwritten is archived first."""

    def __init__(self, tree: FileTree | None, contents: Contents, storing: StoringJobs) -> None:
        self._tree = tree
        self._contents = contents
        self._storing = storing
        self._placed: OrderedDict[BlobHash, str] = OrderedDict()
        """Where contents were put lately: another write of the same one may have been planned
        before the first had put it anywhere, and memory has let it go since."""

    def scan(self, job: ScanFolder) -> Iterator[JobResult]:
        """Look at everything, in parts."""
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

    def observe(self, job: ObservePaths) -> Iterator[JobResult]:
        """Look at what is known first (its absence may explain what is new), the rest in parts."""
        if self._tree is None:
            yield PathsObserved(_EMPTY)
            return
        folders = {path.partition("/")[0] for path in job.known}
        near = [p for p in job.paths if p in job.known or p.partition("/")[0] in folders]
        close = set(near)
        far = [path for path in job.paths if path not in close]
        is_few = len(job.paths) <= _NEW_KEPT_MAX and "." not in job.paths
        parts = [near, *(far[i : i + _NEW_PATHS_MAX] for i in range(0, len(far), _NEW_PATHS_MAX))]
        try:
            for part in parts[:-1]:
                if part:
                    yield from _in_pieces(self._tree.observe(part, job.known, keeps_new=is_few))
            yield PathsObserved(self._tree.observe(parts[-1], job.known, keeps_new=is_few))
        except RootMissingError as error:
            yield PathsObserved(_EMPTY, problem=str(error))

    def apply(self, job: ApplyWrites) -> WritesApplied:
        """Change the folder; keep first what is overwritten."""
        assert self._tree is not None, "only nodes with a folder apply writes"
        old = tuple(
            BlobSource(planned.write.expected, planned.write.path)
            for planned in job.writes
            if planned.archive_first and planned.write.expected is not None
        )
        archived: tuple[BlobHash, ...] = ()
        if old:
            kept = self._storing.archive(ArchiveBlobs(old))
            archived = kept.archived
            if kept.problem is not None:
                # Nothing is overwritten that could not be kept.
                return _refused(job, archived, kept.problem)
        hints: dict[BlobHash, str | None] = {}
        for planned in job.writes:
            if planned.source is not None:
                blob, path = planned.source.blob, planned.source.path
                hints[blob] = path or self._placed.get(blob)
        writes = tuple(planned.write for planned in job.writes)
        try:
            results = self._tree.apply(writes, HintedContents(self._contents, hints))
        except UnavailableError as error:
            # The folder is gone, or its disk failed at the end. What took place all the same is
            # found to be there already when it is tried again.
            return _refused(job, archived, str(error))
        for write, result in zip(writes, results, strict=True):
            if write.blob is not None and result.outcome is WriteOutcome.APPLIED:
                self._contents.forget(write.blob)
                self._placed[write.blob] = write.path
                self._placed.move_to_end(write.blob)
        while len(self._placed) > _PLACED_MAX:
            self._placed.popitem(last=False)
        return WritesApplied(job.writes, results, archived)


def _refused(job: ApplyWrites, archived: tuple[BlobHash, ...], problem: str) -> WritesApplied:
    """Say of all writes that they did not take place, and why."""
    failed = (WriteResult(p.write.path, WriteOutcome.FAILED, problem=problem) for p in job.writes)
    return WritesApplied(job.writes, tuple(failed), archived)


def _in_pieces(batch: ScanBatch) -> Iterator[PathsObserved]:
    """Cut what was seen at new paths; where nothing was known, nothing needs the whole."""
    seen = batch.observations
    for first in range(0, len(seen), _OBSERVED_MAX):
        piece = ScanBatch(seen[first : first + _OBSERVED_MAX], (), ())
        yield PathsObserved(piece, is_last=False)
    yield PathsObserved(ScanBatch((), batch.unchanged, batch.skipped), is_last=False)


class HintedContents:
    """Contents that know for some blobs which file may hold them."""

    def __init__(self, contents: Contents, hints: dict[BlobHash, str | None]) -> None:
        self._contents = contents
        self._hints = hints

    def at_hand(self, blob: BlobHash) -> bytes | None:
        """See ``Contents.at_hand``."""
        return self._contents.at_hand(blob)

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
