"""Mending: what rotted in the store is asked for again until it is whole."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.documents.intake import Intake
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId, NodeId, short
from aiplatform.mesh_ide.node.events import DamageFound, Told
from aiplatform.mesh_ide.ports.jobs import Job
from aiplatform.mesh_ide.replication.commands import ReplicationCommand
from aiplatform.mesh_ide.replication.core import ReplicationCore
from aiplatform.mesh_ide.workspace.core import WorkspaceCore
from aiplatform.mesh_ide.workspace.notices import WorkspaceNotice

ASK_AGAIN_MS: Final = 5_000
"""Whole histories are asked for this often while nobody has sent one."""

SETTLED_MS: Final = 5_000
"""A history comes in several messages; after this long without one it is taken for whole. What is
still rotten then is found by the next read."""

Out = list[Job | Notice | ReplicationCommand | WorkspaceNotice | Told]


class Mending:
    """Histories that are damaged here, and what was done about it.

    Invariant: the intake stores entries of ``Intake.mending`` again although it has them.
    """

    def __init__(
        self,
        ledger: Ledger,
        intake: Intake,
        replication: ReplicationCore,
        workspace: WorkspaceCore,
    ) -> None:
        self._ledger = ledger
        self._intake = intake
        self._replication = replication
        self._workspace = workspace
        self._asked_ms: dict[FileId, int] = {}

    @property
    def files(self) -> tuple[FileId, ...]:
        """Return whose histories are damaged."""
        return tuple(self._asked_ms)

    def found(self, event: DamageFound, now_ms: int) -> Out:
        """A record was found rotten."""
        out: Out = []
        if event.blob is not None and event.blob in self._workspace.folder.archived:
            out.append(Told("damage", event.text))
            self._workspace.on_content_lost(event.blob)
        if event.file is not None and event.file not in self._asked_ms:
            out.append(Told("damage", event.text, None, (event.file,)))
            self._asked_ms[event.file] = now_ms
            self._intake.mending[event.file] = 0
            out.extend(self._replication.ask_whole((event.file,)))
        return out

    def on_peer_ready(self, peer: NodeId) -> Out:
        """Somebody came who may have what rotted."""
        return [*self._replication.ask_whole(self.files, peer)] if self._asked_ms else []

    def tick(self, now_ms: int) -> Out:
        """Ask again, and end what was mended."""
        out: Out = []
        for file, asked_ms in list(self._asked_ms.items()):
            mended_ms = self._intake.mending[file]
            if mended_ms and now_ms - mended_ms >= SETTLED_MS:
                del self._asked_ms[file], self._intake.mending[file]
                out.append(Told("mended", f"the history of {self._label(file)} is whole again"))
            elif not mended_ms and now_ms - asked_ms >= ASK_AGAIN_MS:
                self._asked_ms[file] = now_ms
                out.extend(self._replication.ask_whole((file,)))
        return out

    def _label(self, file: FileId) -> str:
        if file == TREE_FILE:
            return "the tree of names"
        return self._ledger.index.path_of(file) or short(file)
