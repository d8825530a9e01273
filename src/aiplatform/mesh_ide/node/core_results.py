"""Results: what a job found goes to the part that asked for it."""

from __future__ import annotations

from collections.abc import Callable

from aiplatform.mesh_ide.documents.authoring import Authoring
from aiplatform.mesh_ide.documents.intake import Intake
from aiplatform.mesh_ide.node.core_completeness import Completeness
from aiplatform.mesh_ide.node.core_inner import Internal
from aiplatform.mesh_ide.node.core_receiving import Receiving
from aiplatform.mesh_ide.node.core_requests import RequestsCore
from aiplatform.mesh_ide.node.core_storing import Storing
from aiplatform.mesh_ide.ports.jobs import (
    BlobsArchived,
    EntriesSealed,
    FolderScanned,
    JobResult,
    Materialised,
    PartsReceived,
    PathsObserved,
    Persisted,
    SlicesVerified,
    TextSpliced,
    TreeEdited,
    TreeImported,
    UpdatesDerived,
    WritesApplied,
)
from aiplatform.mesh_ide.replication.core import ReplicationCore
from aiplatform.mesh_ide.workspace.core import WorkspaceCore


class Results:
    """Gives each result to its part; keeps nothing itself."""

    def __init__(  # noqa: PLR0913 - one for every part that asks for jobs
        self,
        workspace: WorkspaceCore,
        authoring: Authoring,
        intake: Intake,
        replication: ReplicationCore,
        requests: RequestsCore,
        receiving: Receiving,
        storing: Storing,
        completeness: Completeness,
        new_ticket: Callable[[], int],
    ) -> None:
        self._workspace = workspace
        self._authoring = authoring
        self._intake = intake
        self._replication = replication
        self._requests = requests
        self._receiving = receiving
        self._storing = storing
        self._completeness = completeness
        self._new_ticket = new_ticket

    def handle(self, result: JobResult, now_ms: int) -> list[Internal]:  # noqa: C901, PLR0911, PLR0912
        """Take a result: one line each."""
        match result:
            case FolderScanned():
                return [*self._workspace.on_scanned(result, now_ms)]
            case PathsObserved():
                return [*self._workspace.on_observed(result, now_ms)]
            case WritesApplied():
                return [*self._workspace.on_applied(result, now_ms)]
            case UpdatesDerived():
                return [*self._workspace.on_derived(result, now_ms)]
            case TextSpliced():
                out = self._requests.on_spliced(result, now_ms)
                return [*self._workspace.archive_roots(), *out]
            case Materialised():
                merged = [*self._workspace.on_materialised(result, now_ms)]
                self._completeness.recheck(text.file for text in result.texts)
                return [*merged]
            case TreeEdited():
                return [*self._authoring.on_tree_edited(result, now_ms)]
            case TreeImported():
                return [*self._intake.on_tree_imported(result)]
            case EntriesSealed():
                return [*self._authoring.on_sealed(result, self._new_ticket(), now_ms)]
            case SlicesVerified():
                self._replication.on_entries_checked(result.peer, now_ms)
                return [*self._intake.on_verified(result, self._new_ticket(), now_ms)]
            case Persisted():
                return self._storing.on_persisted(result, now_ms)
            case BlobsArchived():
                return [*self._workspace.on_archived(result, now_ms)]
            case PartsReceived():
                return self._receiving.on_parts(result, now_ms)
            case _:
                raise AssertionError(f"no reaction to {type(result).__name__}")
