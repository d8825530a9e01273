"""The first look at the folder, which waits until the workspace is known."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.node.core_boot import Boot
from aiplatform.mesh_ide.node.core_inner import Internal
from aiplatform.mesh_ide.node.core_keeping import Keeping
from aiplatform.mesh_ide.replication.core import ReplicationCore
from aiplatform.mesh_ide.workspace.core import WorkspaceCore

FIRST_SYNC_PATIENCE_MS: Final = 30_000
"""A new member looks at its folder after its first reconciliation, or after this long alone."""


class FirstLook:
    """Decides when a node may take what stands in its folder for edits.

    Invariant: a node whose tree is damaged does not look before a peer has sent the rest.
    """

    def __init__(
        self, boot: Boot, workspace: WorkspaceCore, replication: ReplicationCore, keeping: Keeping
    ) -> None:
        self._workspace = workspace
        self._replication = replication
        self._keeping = keeping
        self._is_joining = boot.is_joining
        self._is_damaged = boot.damage is not None
        self._is_waiting = boot.has_folder
        self._started_ms = 0

    @property
    def is_done(self) -> bool:
        """Return whether the folder was looked at, or there is none."""
        return not self._is_waiting

    def on_started(self, now_ms: int) -> list[Internal]:
        """Look at once, unless the workspace is not known here yet."""
        self._started_ms = now_ms
        return [] if self._is_joining else self._look(now_ms)

    def again(self, now_ms: int) -> list[Internal]:
        """Look once more, unless the first look is still to come.

        Taken before it, what stands in a newcomer's folder would be new files, beside those of the
        same names that everybody has.
        """
        return [] if self._is_waiting else [*self._workspace.scan(now_ms)]

    def tick(self, now_ms: int) -> list[Internal]:
        """Look once somebody was met, or nobody came for long."""
        if not self._is_waiting:
            return []
        has_met = any(map(self._replication.is_in_step, self._replication.peers()))
        is_alone = now_ms - self._started_ms >= FIRST_SYNC_PATIENCE_MS
        if has_met or (is_alone and not self._is_damaged):
            return self._look(now_ms)
        return []

    def _look(self, now_ms: int) -> list[Internal]:
        if not self._is_waiting:
            return []
        self._is_waiting = False
        return [self._keeping.keep_joined(), *self._workspace.scan(now_ms)]
