"""What a greeting must be before it is believed."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.identity.sealing import BadSealError, open_offer
from aiplatform.mesh_ide.identity.sessions import is_certificate
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId
from aiplatform.mesh_ide.model.messages import Hello

CLOCK_SKEW_MS: Final = 24 * 3600 * 1000


def greeting_problem(peer: NodeId, hello: Hello, workspace: WorkspaceId) -> str | None:
    """Return why a greeting cannot be true, or ``None``.

    Args:
        peer: the key that the link proved.
        hello: what it says of itself.
        workspace: ours.
    """
    if hello.workspace != workspace:
        return "serves another workspace"
    if hello.node != peer or hello.certificate.node != peer:
        return "greeted under another name"
    if not is_certificate(hello.certificate, workspace):
        return "showed a session it does not own"
    if hello.sealing:
        try:
            open_offer(hello.sealing, peer, workspace)
        except BadSealError:
            return "offered a sealing key that it did not sign"
    return None


def clock_warning(label: str, ahead_ms: int) -> str | None:
    """Return what to tell people of a member's clock that is days off, or ``None``."""
    if abs(ahead_ms) <= CLOCK_SKEW_MS:
        return None
    days = ahead_ms // CLOCK_SKEW_MS
    return (
        f"the clock of {label} is {abs(days)} days {'ahead of' if days > 0 else 'behind'} ours; "
        "times in the history are off, nothing else depends on them"
    )
