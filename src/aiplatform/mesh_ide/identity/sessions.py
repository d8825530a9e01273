"""Session certificates: whose run a session is.

The node signs, and the session signs back. With the node's word alone a hostile member could
claim another node's session as its own and appear as the author of its entries; the session's
signature makes a certificate possible only for who holds both keys.
"""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.identity.entry_rules import NUMBER_MAX
from aiplatform.mesh_ide.identity.keys import (
    SIGNATURE_BYTES,
    SigningKey,
    number,
    statement,
    verify,
)
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.ids import KEY_BYTES, NodeId, SessionId, WorkspaceId

_NODE_DOMAIN: Final = b"mesh-ide session by node 1"
_SESSION_DOMAIN: Final = b"mesh-ide session by itself 1"


def certify(
    *, node: SigningKey, session: SigningKey, workspace: WorkspaceId, started_ms: int
) -> SessionCertificate:
    """Return the certificate of a session that this node begins.

    Args:
        node: the node's key.
        session: the session's fresh key.
        workspace: what the certificate is bound to.
        started_ms: the node's clock; shown, never trusted.
    """
    node_id, session_id = NodeId(node.public), SessionId(session.public)
    parts = (workspace, node_id, session_id, number(started_ms))
    signature = node.sign(statement(_NODE_DOMAIN, *parts)) + session.sign(
        statement(_SESSION_DOMAIN, *parts)
    )
    return SessionCertificate(session_id, node_id, started_ms, signature)


def is_certificate(certificate: SessionCertificate, workspace: WorkspaceId) -> bool:
    """Return whether node and session both signed this certificate for this workspace.

    A node's word holds only for its own sessions: the node that signed is the node named. Whether
    that node is a member is the roster's business. Costs two verifications, 0.3 ms.
    """
    if (
        len(certificate.node) != KEY_BYTES
        or len(certificate.session) != KEY_BYTES
        or len(certificate.signature) != 2 * SIGNATURE_BYTES
        or not -NUMBER_MAX <= certificate.started_ms <= NUMBER_MAX
    ):
        return False
    parts = (workspace, certificate.node, certificate.session, number(certificate.started_ms))
    by_node = certificate.signature[:SIGNATURE_BYTES]
    by_session = certificate.signature[SIGNATURE_BYTES:]
    return verify(certificate.node, statement(_NODE_DOMAIN, *parts), by_node) and verify(
        certificate.session, statement(_SESSION_DOMAIN, *parts), by_session
    )
