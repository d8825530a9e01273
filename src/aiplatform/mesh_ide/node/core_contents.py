"""Contents that arrive: only what is missing here is taken, and only if it is what it claims."""

from __future__ import annotations

from aiplatform.mesh_ide.mesh.membership import MembershipCore
from aiplatform.mesh_ide.mesh.outputs import Warned
from aiplatform.mesh_ide.model.ids import NodeId, short
from aiplatform.mesh_ide.model.messages import Blobs
from aiplatform.mesh_ide.ports.jobs import PartsReceived, ReceiveParts
from aiplatform.mesh_ide.replication.fetch import Fetcher


class Arrivals:
    """Between what a peer sends and what was asked for."""

    def __init__(self, fetcher: Fetcher, membership: MembershipCore) -> None:
        self._fetcher = fetcher
        self._membership = membership

    def on_blobs(self, peer: NodeId, message: Blobs, now_ms: int) -> list[ReceiveParts | Warned]:
        """Take the parts of what is missing here; nobody fills this disk with anything else."""
        fetcher = self._fetcher
        parts = tuple(part for part in message.parts if fetcher.expects(part.blob, part.size))
        lies = [
            part.blob for part in message.parts if fetcher.expects(part.blob, part.size) is False
        ]
        out: list[ReceiveParts | Warned] = []
        if parts:
            fetcher.progressed(peer, now_ms)
            out.append(ReceiveParts(peer, parts))
        if lies:
            fetcher.missing(peer, lies)
            label = self._membership.label(peer)
            out.append(
                Warned(f"{label} sent content {short(lies[0])} with a size that it does not have")
            )
        return out

    def on_corrupt(self, result: PartsReceived) -> list[Warned]:
        """Ask others for what came wrong, and say so."""
        if not result.corrupt:
            return []
        self._fetcher.missing(result.peer, result.corrupt)
        # Thrown away as a whole: whoever is asked next begins anew.
        self._fetcher.kept([(blob, 0) for blob in result.corrupt])
        label, content = self._membership.label(result.peer), short(result.corrupt[0])
        text = f"{label} sent bytes that are not the content {content}; others are asked for it"
        if result.problem is not None:
            text = f"content {content} could not be kept: {result.problem}"
        return [Warned(text)]
