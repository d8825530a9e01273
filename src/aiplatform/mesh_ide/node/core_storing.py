"""Storing: what is committed together, and who hears of it once it is durable."""

from __future__ import annotations

from aiplatform.mesh_ide.documents.authoring import Authoring
from aiplatform.mesh_ide.documents.intake import Intake
from aiplatform.mesh_ide.documents.notices import StorageChanged
from aiplatform.mesh_ide.node.core_commits import Commits
from aiplatform.mesh_ide.node.core_inner import Internal
from aiplatform.mesh_ide.node.core_keeping import Keeping
from aiplatform.mesh_ide.ports.jobs import Persist, Persisted
from aiplatform.mesh_ide.workspace.core import WorkspaceCore


class Storing:
    """Stands between the parts that want something durable and the store.

    Invariant: no part hears of a commit that the store refused.
    """

    def __init__(
        self, workspace: WorkspaceCore, authoring: Authoring, intake: Intake, keeping: Keeping
    ) -> None:
        self._workspace = workspace
        self._authoring = authoring
        self._intake = intake
        self._keeping = keeping
        self._commits = Commits()

    @property
    def problem(self) -> str | None:
        """Return why the store refuses to write, or ``None``."""
        return self._commits.problem

    def begin(self, persist: Persist) -> list[Persist]:
        """Begin a commit; what stands in the folder is recorded together with its entries."""
        settled = self._workspace.take_settled()
        if settled:
            persist = Persist(persist.ticket, (*persist.writes, *settled))
        return self._commits.begin(persist)

    def retried(self, now_ms: int) -> list[Persist]:
        """Return the commits that were refused, once it is time to try them again."""
        return self._commits.retried(now_ms)

    def on_persisted(self, result: Persisted, now_ms: int) -> list[Internal]:
        """Take the store's answer."""
        before = self._commits.problem
        is_durable = self._commits.on_persisted(result, now_ms)
        out: list[Internal] = []
        if self._commits.problem != before:
            out.append(StorageChanged(self._commits.problem))
        if not is_durable:
            return out
        out.extend(self._workspace.on_persisted(result.ticket))
        out.extend(self._authoring.on_persisted(result.ticket))
        out.extend(self._intake.on_persisted(result))
        out.extend(self._keeping.on_persisted(result.ticket))
        return out
