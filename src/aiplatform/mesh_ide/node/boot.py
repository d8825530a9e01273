"""From a state directory to a node that can serve."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.keystore import KeyKind, read_key
from aiplatform.mesh_ide.identity.sealing import SealingKey, encode_offer, offer_sealing
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.model.entries import Principal
from aiplatform.mesh_ide.model.enums import PrincipalKind
from aiplatform.mesh_ide.model.ids import BlobHash, NodeId
from aiplatform.mesh_ide.model.messages import Hello
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.node.admission import Admitter
from aiplatform.mesh_ide.node.clock import SteadyClock
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.core_boot import Boot
from aiplatform.mesh_ide.node.damage import DamageLog
from aiplatform.mesh_ide.node.driver import NodeDriver
from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.node.restoring import load_tree
from aiplatform.mesh_ide.node.settings import (
    NODE_KEY,
    NodeSettings,
    NotANodeError,
    open_store,
    settings_of,
)
from aiplatform.mesh_ide.node.watching import FolderFeed
from aiplatform.mesh_ide.ports.store import RecordKind, Store
from aiplatform.mesh_ide.storage.contents import ContentCache, StoreContents
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.reading import FolderReader

LINK_PORT: Final = 7311
PORTS_TRIED: Final = 64


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
    store = open_store(state)
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
    settings = settings_of(store, state)
    key = read_key(state / NODE_KEY, KeyKind.NODE)
    if key is None:
        message = f"the node's key {state / NODE_KEY} is gone: restore it, or join again"
        raise NotANodeError(message)
    session = SigningKey.from_seed(secrets.token_bytes(32))
    cache = ContentCache()
    folder = Path(settings.folder) if settings.folder else None
    damage = DamageLog(store, store.file_of)
    reader = FolderReader(folder) if folder else _no_folder
    contents = StoreContents(cache, store, reader, damage.found)
    tree = LocalFileTree(folder, contents) if folder is not None else None
    texts, names = LoroTextEngine(), LoroTreeEngine()
    boot = _boot(settings, key, session, store, names, clock)
    core = NodeCore(boot)
    core.load(clock.now_ms())
    runner = JobRunner(
        settings.workspace, session, store, contents, tree, texts, names, damage.found
    )
    span = range(LINK_PORT, LINK_PORT + PORTS_TRIED) if port is None else range(0)
    transport = IrohTransport(
        key.reveal_seed(),
        port=(records.port(store) or LINK_PORT) if port is None else port,
        port_range=span,
        listen=listen,
        relay_url=relay or None,
    )
    driver = NodeDriver(core, runner, store, contents, transport, clock)
    driver.report_damage = damage.found
    damage.connect(driver.post_from_thread)
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
        sealing=encode_offer(
            offer_sealing(
                node=key,
                sealing=SealingKey.of_session(session),
                workspace=settings.workspace,
            )
        ),
    )
    tree = load_tree(store, names)
    return Boot(
        workspace=settings.workspace,
        hello=hello,
        principal=Principal(PrincipalKind.PERSON, settings.person),
        seed=secrets.token_bytes(32),
        has_folder=bool(settings.folder),
        is_joining=tree.damage is not None or not records.has_joined(store),
        damage=tree.damage,
        roster=tuple(value for _, value in store.records(RecordKind.ROSTER)),
        certificates=records.certificates(store),
        addresses=records.addresses(store),
        files=tree.files,
        disk=tuple(store.records(RecordKind.DISK)),
        holds=tuple(value for _, value in store.records(RecordKind.HOLD)),
        archived=_archived(store),
        places=tree.places,
        equivocations=records.equivocations(store),
        sponsor=settings.issuer or None,
    )


def _archived(store: Store) -> tuple[BlobHash, ...]:
    """Return which contents that file states name are in the archive."""
    named = records.named_blobs(value for _, value in store.records(RecordKind.FILE))
    return tuple(store.held_blobs(named))
