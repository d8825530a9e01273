"""Doing what the core asked for: the same functions in production and in the simulator.

Synchronous, over ports. The driver runs each lane on one worker; the only state shared between
lanes is behind the ports (thread-safe) and the commit lock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import assert_never

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.model.ids import SessionId, WorkspaceId
from aiplatform.mesh_ide.node.jobs_documents import DocumentJobs
from aiplatform.mesh_ide.node.jobs_folder import FolderJobs
from aiplatform.mesh_ide.node.jobs_sealing import SealingJobs
from aiplatform.mesh_ide.node.jobs_storing import StoringJobs
from aiplatform.mesh_ide.ports.engine import TextEngine, TreeEngine
from aiplatform.mesh_ide.ports.errors import (
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.filetree import (
    Contents,
    FileTree,
)
from aiplatform.mesh_ide.ports.jobs import (
    ApplyWrites,
    ArchiveBlobs,
    DeriveUpdates,
    EditTree,
    ImportTree,
    Job,
    JobResult,
    Materialise,
    Materialised,
    ObservePaths,
    Persist,
    Persisted,
    ReceiveParts,
    ScanFolder,
    SealEntries,
    SpliceText,
    UpdatesDerived,
    VerifySlices,
)
from aiplatform.mesh_ide.ports.store import Store


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
        report_damage: Callable[[CorruptRecordError], None] = lambda _: None,
    ) -> None:
        self.session = SessionId(key.public)
        self._storing = StoringJobs(store, contents, report_damage)
        self._folder = FolderJobs(tree, contents, self._storing)
        self._documents = DocumentJobs(self.session, store, contents, texts, names, report_damage)
        self._sealing = SealingJobs(workspace, key, store, texts)

    def run(self, job: Job) -> Iterator[JobResult]:  # noqa: C901, PLR0912 - one line per job
        """Do a job; most give one result, a scan gives several."""
        match job:
            case ScanFolder():
                yield from self._folder.scan(job)
            case ObservePaths():
                yield from self._folder.observe(job)
            case ApplyWrites():
                yield self._folder.apply(job)
            case DeriveUpdates():
                yield UpdatesDerived(
                    job.items, tuple(self._documents.derive(item) for item in job.items)
                )
            case SpliceText():
                yield self._documents.splice(job)
            case Materialise():
                yield Materialised(tuple(self._documents.materialise(item) for item in job.items))
            case EditTree():
                yield self._documents.edit_tree(job)
            case ImportTree():
                yield self._documents.import_tree(job)
            case SealEntries():
                yield self._sealing.seal(job)
            case VerifySlices():
                yield self._sealing.verify(job)
            case Persist():
                yield self._storing.persist_group([job])[0]
            case ArchiveBlobs():
                yield self._storing.archive(job)
            case ReceiveParts():
                yield self._storing.receive(job)
            case _:
                assert_never(job)

    def persist_group(self, jobs: Sequence[Persist]) -> list[Persisted]:
        """Commit several jobs in one transaction: one sync for all of them."""
        return self._storing.persist_group(jobs)
