"""From a state directory to a node that can serve, and how such a directory comes to be.

A node's state directory holds ``node.key``, the store, and (for the founder) ``workspace.key``,
the root of all grants: a person can put that one somewhere safe, nothing here reads it again.
"""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.identity import membership
from aiplatform.mesh_ide.identity.joining import (
    JoinAccepted,
    decode_answer,
    encode_request,
    records_of,
    request_to_join,
)
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.keystore import KeyKind, read_key, read_or_create_key
from aiplatform.mesh_ide.identity.records import KnownRecord
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.identity.tickets import Ticket
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.model.entries import Principal
from aiplatform.mesh_ide.model.enums import NodeType, PrincipalKind
from aiplatform.mesh_ide.model.errors import LocalError, NotPermittedError
from aiplatform.mesh_ide.model.ids import TREE_FILE, BlobHash, NodeId, SessionId, WorkspaceId
from aiplatform.mesh_ide.model.messages import Hello
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.node.admission import Admitter
from aiplatform.mesh_ide.node.clock import SteadyClock
from aiplatform.mesh_ide.node.core import Boot, NodeCore
from aiplatform.mesh_ide.node.driver import NodeDriver
from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.node.watching import FolderFeed
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind, Store
from aiplatform.mesh_ide.storage.contents import ContentCache, StoreContents
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.reading import FolderReader

_SETTINGS: Final = b"settings"
_NODE_KEY: Final = "node.key"
_WORKSPACE_KEY: Final = "workspace.key"
_STORE: Final = "store"
LINK_PORT: Final = 7311
PORTS_TRIED: Final = 64


class NotANodeError(LocalError):
    """The state directory holds no node."""


class JoinRefusedError(NotPermittedError):
    """The issuer of a ticket did not admit this node; the message says why."""


class NodeSettings(Struct, frozen=True, array_like=True):
    """What a node is, as it was set up.

    Attributes:
        workspace: which it belongs to.
        workspace_name: for people.
        node_name: what people call this node.
        node_type: as declared.
        folder: the working folder, absolute; empty for a headless node.
        person: in whose name its entries are written.
        issuer: who admitted it (empty for the founder).
    """

    workspace: WorkspaceId
    workspace_name: str
    node_name: str
    node_type: NodeType
    folder: str
    person: str
    issuer: NodeId = NodeId(b"")


_settings = msgspec.msgpack.Decoder(NodeSettings)


def _open_store(state: Path) -> SqliteStore:
    return SqliteStore.open(state / _STORE)


def _keep_settings(store: Store, settings: NodeSettings, roster: tuple[KnownRecord, ...]) -> None:
    store.commit(
        [
            PutRecord(RecordKind.NODE, _SETTINGS, msgspec.msgpack.encode(settings)),
            *(PutRecord(RecordKind.ROSTER, known.id, known.encoded) for known in roster),
        ]
    )


def _settings_of(store: Store, state: Path) -> NodeSettings:
    value = store.record(RecordKind.NODE, _SETTINGS)
    if value is None:
        message = f"{state} holds no node that was set up: run `mesh init` or `mesh join` again"
        raise NotANodeError(message)
    return _settings.decode(value)


def read_settings(state: Path) -> NodeSettings:
    """Return what the node in a state directory is (the node must not be running)."""
    store = _open_store(state)
    try:
        return _settings_of(store, state)
    finally:
        store.close()


def move_folder(state: Path, folder: Path) -> None:
    """Take note that a node's working folder stands elsewhere now (it must not be running)."""
    store = _open_store(state)
    try:
        settings = msgspec.structs.replace(_settings_of(store, state), folder=str(folder))
        _keep_settings(store, settings, ())
    finally:
        store.close()


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
        state / _WORKSPACE_KEY, KeyKind.WORKSPACE, secrets.token_bytes(32)
    )
    node_key = read_or_create_key(state / _NODE_KEY, KeyKind.NODE, secrets.token_bytes(32))
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
    store = _open_store(state)
    try:
        _keep_settings(store, settings, (record,))
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
    node_key = read_or_create_key(state / _NODE_KEY, KeyKind.NODE, secrets.token_bytes(32))
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
    store = _open_store(state)
    try:
        _keep_settings(store, settings, roster)
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


class ServingNode:
    """A node with all its parts, ready to ``start``.

    Attributes:
        settings: what it is.
        key: the node's key.
        driver: runs it.
        texts: its text engine; call it on ``Lane.DOCUMENTS`` only.
        folder: the working folder, if any.
    """

    def __init__(  # noqa: PLR0913 - what it holds
        self,
        settings: NodeSettings,
        key: SigningKey,
        store: SqliteStore,
        driver: NodeDriver,
        texts: LoroTextEngine,
        tree: LocalFileTree | None,
    ) -> None:
        self.settings = settings
        self.key = key
        self.driver = driver
        self.texts = texts
        self.folder = Path(settings.folder) if settings.folder else None
        self._store = store
        self._tree = tree
        self._feed = FolderFeed(self.folder, driver) if self.folder is not None else None
        self.admitter = Admitter(key, settings.workspace_name, driver)
        driver.on_join_request = self.admitter.answer

    async def start(self) -> None:
        """Begin to serve.

        The folder is watched before it is scanned: what changes in between is seen twice rather
        than never. What a crash left half done in it is settled before anything is looked at.
        """
        if self._feed is not None and self._tree is not None:
            await self._feed.open()
            await asyncio.to_thread(self._tree.recover)
        try:
            await self.driver.start()
        except BaseException:
            self._close_feed()
            raise
        if self._feed is not None:
            self.driver.spawn(self._feed.run())

    def _close_feed(self) -> None:
        if self._feed is not None:
            self._feed.close()

    async def wait(self) -> None:
        """Return when the node was stopped; raise what ended it otherwise."""
        await self.driver.wait()

    async def stop(self) -> None:
        """Stop serving and release the state directory; idempotent."""
        await self.driver.stop()
        self._close_feed()
        if self._tree is not None:
            self._tree.close()
        self._store.close()




def open_node(
    state: Path,
    *,
    port: int | None = None,
    listen: Listen = Listen.EVERYWHERE,
    relay: str = "",
    clock: SteadyClock | None = None,
) -> ServingNode:
    """Put a node together from its state directory.

    Args:
        state: the directory.
        port: UDP port for links, taken as given or not at all; 0 takes any. ``None`` takes the
            one it had last time, since that is where others look for it; failing that, the first
            free one from ``LINK_PORT`` on.
        listen: who can reach it.
        relay: URL of an iroh relay for nodes behind NAT, or empty.
        clock: its time; ``None`` for the system's.

    Raises:
        StateInUseError: another process serves this node.
        NotANodeError: nothing was set up here.
        NewerStateError: a newer version wrote it.
        RootMissingError: the working folder is gone.
    """
    store = _open_store(state)
    try:
        return _assemble(state, store, port, listen, relay, clock or SteadyClock())
    except BaseException:
        store.close()
        raise


def _assemble(  # noqa: PLR0913 - as open_node
    state: Path,
    store: SqliteStore,
    port: int | None,
    listen: Listen,
    relay: str,
    clock: SteadyClock,
) -> ServingNode:
    settings = _settings_of(store, state)
    key = read_key(state / _NODE_KEY, KeyKind.NODE)
    if key is None:
        message = f"the node's key {state / _NODE_KEY} is gone: restore it, or join again"
        raise NotANodeError(message)
    session = SigningKey.from_seed(secrets.token_bytes(32))
    cache = ContentCache()
    folder = Path(settings.folder) if settings.folder else None
    contents = StoreContents(cache, store, FolderReader(folder) if folder else _no_folder)
    tree = LocalFileTree(folder, contents) if folder is not None else None
    texts, names = LoroTextEngine(), LoroTreeEngine()
    boot = _boot(settings, key, session, store, names, clock)
    core = NodeCore(boot)
    core.load(clock.now_ms())
    runner = JobRunner(settings.workspace, session, store, contents, tree, texts, names)
    span = range(LINK_PORT, LINK_PORT + PORTS_TRIED) if port is None else range(0)
    transport = IrohTransport(
        key.reveal_seed(),
        port=(records.port(store) or LINK_PORT) if port is None else port,
        port_range=span,
        listen=listen,
        relay_url=relay or None,
    )
    driver = NodeDriver(core, runner, store, contents, transport, clock)
    return ServingNode(settings, key, store, driver, texts, tree)


def _no_folder(path: str) -> None:
    del path


def _boot(  # noqa: PLR0913 - what a boot is made of
    settings: NodeSettings,
    key: SigningKey,
    session: SigningKey,
    store: Store,
    names: LoroTreeEngine,
    clock: SteadyClock,
) -> Boot:
    now_ms = clock.now_ms()
    certificate = certify(
        node=key, session=session, workspace=settings.workspace, started_ms=now_ms
    )
    hello = Hello(
        workspace=settings.workspace,
        node=NodeId(key.public),
        name=settings.node_name,
        node_type=settings.node_type,
        certificate=certificate,
        addresses=(),
        roster_digest=b"",
        clock_ms=now_ms,
    )
    payloads = (k.entry.payload for k in store.entries_of(TREE_FILE))
    return Boot(
        workspace=settings.workspace,
        hello=hello,
        principal=Principal(PrincipalKind.PERSON, settings.person),
        seed=secrets.token_bytes(32),
        has_folder=bool(settings.folder),
        is_joining=not records.has_joined(store),
        roster=tuple(value for _, value in store.records(RecordKind.ROSTER)),
        certificates=records.certificates(store),
        addresses=records.addresses(store),
        files=tuple(value for _, value in store.records(RecordKind.FILE)),
        disk=tuple(store.records(RecordKind.DISK)),
        holds=tuple(value for _, value in store.records(RecordKind.HOLD)),
        archived=_archived(store),
        places=names.load(None, payloads),
        equivocators=tuple(
            SessionId(session) for session, _ in store.records(RecordKind.EQUIVOCATION)
        ),
        sponsor=settings.issuer or None,
    )


def _archived(store: Store) -> tuple[BlobHash, ...]:
    """Return which contents that file states name are in the archive."""
    named = records.named_blobs(value for _, value in store.records(RecordKind.FILE))
    return tuple(store.held_blobs(named))


__all__ = [
    "JoinRefusedError",
    "Listen",
    "NodeSettings",
    "NotANodeError",
    "ServingNode",
    "create_workspace",
    "join_workspace",
    "open_node",
    "read_settings",
]
