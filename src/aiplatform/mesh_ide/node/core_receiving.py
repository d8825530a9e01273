"""Receiving: what peers send goes to the part it is for, and what is missing is asked for."""

from __future__ import annotations

from collections.abc import Iterable

from aiplatform.mesh_ide.documents.intake import Intake
from aiplatform.mesh_ide.mesh.membership import MembershipCore
from aiplatform.mesh_ide.model.ids import BlobHash, NodeId
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobRequest,
    Blobs,
    BlobsMissing,
    Entries,
    Reconcile,
    Sent,
    Stored,
    Vectors,
)
from aiplatform.mesh_ide.node.core_contents import Arrivals
from aiplatform.mesh_ide.node.core_doubts import Doubts
from aiplatform.mesh_ide.node.core_inner import Internal
from aiplatform.mesh_ide.ports.jobs import PartsReceived
from aiplatform.mesh_ide.replication.commands import ReplicationCommand
from aiplatform.mesh_ide.replication.core import CONGESTED_BYTES, ReplicationCore
from aiplatform.mesh_ide.workspace.core import WorkspaceCore


class Receiving:
    """Gives each message to its part; asks for no more than the folder can take."""

    def __init__(
        self,
        membership: MembershipCore,
        intake: Intake,
        replication: ReplicationCore,
        workspace: WorkspaceCore,
        doubts: Doubts,
    ) -> None:
        self._membership = membership
        self._intake = intake
        self._replication = replication
        self._workspace = workspace
        self._doubts = doubts
        self._arrivals = Arrivals(replication.fetcher, membership)

    def on_message(  # noqa: C901, PLR0911 - one line per message
        self, peer: NodeId, message: AnyMessage, now_ms: int
    ) -> list[Internal]:
        """Take a message; membership decides first whether its sender may speak."""
        taken = self._membership.on_message(peer, message, now_ms)
        if taken is not None:
            return [*taken]
        replication = self._replication
        match message:
            case Entries():
                if message.slices:
                    replication.on_entries_received(peer)
                return [*self._intake.receive(peer, message.slices)]
            case Blobs():
                return [*self._arrivals.on_blobs(peer, message, now_ms)]
            case Reconcile():
                return [*replication.on_reconcile(peer, message, now_ms)]
            case Vectors():
                return [*replication.on_vectors(peer, self._doubts.widened(peer, message))]
            case Sent():
                replication.on_sent(peer, message)
            case Stored():
                replication.on_stored(peer, message, now_ms)
            case BlobRequest():
                return [*replication.on_blob_request(peer, message)]
            case BlobsMissing():
                return [*replication.on_blobs_missing(peer, message, now_ms)]
            case _:
                raise AssertionError(f"no reaction to {type(message).__name__}")
        return []

    def on_parts(self, result: PartsReceived, now_ms: int) -> list[Internal]:
        """Take contents, or parts of them, that are on the disk now."""
        fetcher = self._replication.fetcher
        wanted = fetcher.arrived(result.complete)
        fetcher.kept(result.partial)
        out: list[Internal] = [*self._arrivals.on_corrupt(result)]
        out.extend(self._workspace.on_content(wanted, now_ms))
        out.extend(self._workspace.flush())  # what is busy now bounds what is asked for
        out.extend(self.ask(now_ms))
        return out

    def want(self, blobs: Iterable[tuple[BlobHash, int]], now_ms: int) -> list[Internal]:
        """Ask for contents of these sizes."""
        for blob, size in blobs:
            self._replication.fetcher.want(blob, size)
        return self.ask(now_ms)

    def ask(self, now_ms: int) -> list[Internal]:
        """Ask peers for what is missing here, and tell them what is not."""
        return self._bounded(self._replication.flush(now_ms))

    def tick(self, now_ms: int) -> list[Internal]:
        """Let replication do what is due."""
        return self._bounded(self._replication.tick(now_ms))

    def _bounded(self, commands: Iterable[ReplicationCommand]) -> list[Internal]:
        busy_bytes = self._workspace.applier.busy_bytes
        self._replication.is_congested = busy_bytes > CONGESTED_BYTES
        return list(commands)
