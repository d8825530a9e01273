"""How a state directory comes to be: found a workspace, or join one with a ticket.

A node's state directory holds ``node.key``, the store, and (for the founder) ``workspace.key``,
the root of all grants: a person can put that one somewhere safe, nothing here reads it again.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from aiplatform.mesh_ide.identity import membership
from aiplatform.mesh_ide.identity.joining import (
    JoinAccepted,
    decode_answer,
    encode_request,
    records_of,
    request_to_join,
)
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.keystore import KeyKind, read_or_create_key
from aiplatform.mesh_ide.identity.tickets import Ticket
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.model.enums import NodeType
from aiplatform.mesh_ide.model.errors import NotPermittedError
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.node.clock import SteadyClock
from aiplatform.mesh_ide.node.settings import (
    NODE_KEY,
    WORKSPACE_KEY,
    NodeSettings,
    keep_settings,
    open_store,
)


class JoinRefusedError(NotPermittedError):
    """The issuer of a ticket did not admit this node; the message says why."""


def create_workspace(  # noqa: PLR0913 - the facts of a workspace and its first node
    state: Path,
    *,
    folder: Path,
    name: str,
    node_name: str,
    node_type: NodeType,
    person: str,
    user: SigningKey,
) -> NodeSettings:
    """Found a workspace whose first member, an admin, is the node of this state directory."""
    workspace_key = read_or_create_key(
        state / WORKSPACE_KEY, KeyKind.WORKSPACE, secrets.token_bytes(32)
    )
    node_key = read_or_create_key(state / NODE_KEY, KeyKind.NODE, secrets.token_bytes(32))
    workspace = WorkspaceId(workspace_key.public)
    founder = membership.newcomer(
        node=NodeId(node_key.public),
        user=user,
        workspace=workspace,
        name=node_name,
        node_type=node_type,
    )
    record = membership.found(
        workspace_key=workspace_key, founder=founder, now_ms=SteadyClock().now_ms()
    )
    settings = NodeSettings(workspace, name, node_name, node_type, str(folder), person)
    store = open_store(state)
    try:
        keep_settings(store, settings, (record,))
        store.commit([records.joined_record()])
    finally:
        store.close()
    return settings


async def join_workspace(  # noqa: PLR0913 - the facts of a newcomer
    state: Path,
    ticket: Ticket,
    *,
    folder: Path | None,
    node_name: str,
    node_type: NodeType,
    person: str,
    user: SigningKey,
    listen: Listen = Listen.EVERYWHERE,
    timeout_s: float = 20.0,
) -> NodeSettings:
    """Redeem a ticket at its issuer; can be repeated if the answer was lost.

    Raises:
        JoinRefusedError: the issuer said no, and why.
        PeerUnreachableError: nobody answered at the ticket's addresses.
        BadJoinError: the answer is not one.
    """
    node_key = read_or_create_key(state / NODE_KEY, KeyKind.NODE, secrets.token_bytes(32))
    node = NodeId(node_key.public)
    newcomer = membership.newcomer(
        node=node, user=user, workspace=ticket.workspace, name=node_name, node_type=node_type
    )
    request = request_to_join(ticket, newcomer=newcomer, nonce=secrets.token_bytes(32))
    transport = IrohTransport(node_key.reveal_seed(), listen=listen)
    await transport.start(_Deaf())
    try:
        frame = await transport.request_join(
            ticket.issuer, ticket.addresses, encode_request(request), timeout_s
        )
    finally:
        await transport.close()
    answer = decode_answer(frame)
    if not isinstance(answer, JoinAccepted):
        raise JoinRefusedError(answer.explain())
    roster = records_of(answer, ticket, node)
    settings = NodeSettings(
        workspace=ticket.workspace,
        workspace_name=answer.workspace_name or ticket.workspace_name,
        node_name=node_name,
        node_type=node_type,
        folder=str(folder) if folder is not None else "",
        person=person,
        issuer=ticket.issuer,
    )
    store = open_store(state)
    try:
        keep_settings(store, settings, roster)
        writes = [records.addresses_record(ticket.issuer, ticket.addresses)]
        writes.extend(map(records.certificate_record, answer.certificates))
        store.commit(writes)
    finally:
        store.close()
    return settings


class _Deaf:
    """A listener for a transport that only asks to join."""

    def on_link_up(self, peer: NodeId, address: str) -> None:
        """Nobody is allowed, so this does not come."""

    def on_link_down(self, peer: NodeId, end: object, detail: str) -> None:
        """Nothing was dialled."""

    def on_frame(self, peer: NodeId, channel: object, frame: bytes) -> None:
        """Nobody is linked."""

    async def on_join(self, peer: NodeId, request: bytes) -> bytes:
        """Nobody can join through a newcomer."""
        del peer, request
        return b""
