"""A member that is no honest node: its key is on the roster, what it says is made by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from blake3 import blake3

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.keystore import KeyKind, read_key
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.mesh.adapters.iroh.link import open_stream
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.model.entries import (
    BatchSlice,
)
from aiplatform.mesh_ide.model.enums import (
    Channel,
    NodeType,
    Role,
)
from aiplatform.mesh_ide.model.ids import (
    BlobHash,
    FileId,
    Fingerprint,
    NodeId,
    WorkspaceId,
)
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobPart,
    BlobRequest,
    Blobs,
    Entries,
    Hello,
)
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.founding import join_workspace
from aiplatform.mesh_ide.ports.transport import LinkEnd
from tests.forging import Mouth
from tests.integration.kit import Node, one_node, until

ENTER_S: Final = 10.0


class Hostile:
    """Links like a node and says what it is told to."""

    def __init__(self, victim: Node, seed_key: SigningKey, workspace: WorkspaceId) -> None:
        self.victim = victim
        self.key = seed_key
        self.workspace = workspace
        self.mouth = Mouth(seed_key, workspace)
        self.is_up = False
        self.ends: list[tuple[LinkEnd, str]] = []
        self.heard: list[AnyMessage] = []
        self.contents: dict[BlobHash, bytes] = {}
        """What it hands out when asked."""
        self.lie: dict[BlobHash, bytes] = {}
        """What it hands out under these names instead."""
        self.transport = IrohTransport(seed_key.reveal_seed(), listen=Listen.LOOPBACK)

    # --- the transport speaks ----------------------------------------------------------------

    def on_link_up(self, peer: NodeId, address: str) -> None:
        self.is_up = True
        self.say(self.hello())

    def on_link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        self.is_up = False
        self.ends.append((end, detail))

    def on_frame(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        message = decode(frame)
        self.heard.append(message)
        if isinstance(message, BlobRequest):
            self.serve(message)

    async def on_join(self, peer: NodeId, request: bytes) -> bytes:
        return b""

    # --- saying ------------------------------------------------------------------------------

    def hello(self) -> Hello:
        """Return its greeting."""
        core = self.victim.core
        return Hello(
            workspace=self.workspace,
            node=NodeId(self.key.public),
            name="mallory",
            node_type=NodeType.LOCAL,
            certificate=self.mouth.certificate,
            addresses=(),
            roster_digest=core.membership.roster.digest,
            clock_ms=self.victim.node.driver.clock.now_ms(),
        )

    def serve(self, request: BlobRequest) -> None:
        """Answer with contents, true or not."""
        parts = []
        for blob, size, _first in request.blobs:
            content = self.lie.get(blob, self.contents.get(blob))
            if content is not None:
                parts.append(BlobPart(blob, size, 0, content))
        if parts:
            self.say(Blobs(tuple(parts)), Channel.BULK)

    def say(self, message: AnyMessage, channel: Channel = Channel.CONTROL) -> None:
        """Send a message."""
        self.send(encode(message), channel)

    def send(self, frame: bytes, channel: Channel = Channel.CONTROL) -> None:
        """Send a frame."""
        self.transport.send_nowait(self.victim.id, channel, frame)

    def entries(self, *pieces: BatchSlice) -> None:
        """Send slices."""
        self.say(Entries(pieces), Channel.DOCUMENTS)

    async def send_raw(self, channel: Channel, raw: bytes) -> None:
        """Write bytes below the frames, on a channel that was not used yet."""
        link = self.transport._links[self.victim.id]
        self._stream = await open_stream(link.connection, channel, bytes((channel,)) + raw)

    def offer(self, content: bytes) -> None:
        """Have a content to hand out."""
        self.contents[BlobHash(blake3(content).digest())] = content

    # --- linking -----------------------------------------------------------------------------

    async def link(self) -> None:
        """Dial until linked and greeted."""
        self.transport.allow(frozenset({self.victim.id}))
        self.transport.dial(self.victim.id, self.victim.node.driver.addresses)
        await until(
            lambda: self.is_up and NodeId(self.key.public) in self.victim.core.membership.ready(),
            lambda: f"the hostile node links; {self.ends}; {self.victim.texts()}",
        )

    async def is_cut(self) -> None:
        """Wait until its link was ended."""
        await until(lambda: bool(self.ends), "its link ends")


@asynccontextmanager
async def hostile(base: Path, victim: Node, role: Role = Role.EDIT) -> AsyncIterator[Hostile]:
    """Give a hostile member, linked."""
    state = base / "mallory"
    async with asyncio.timeout(ENTER_S):
        settings = await join_workspace(
            state,
            await victim.ticket(role),
            folder=None,
            node_name="mallory",
            node_type=NodeType.LOCAL,
            person="mallory",
            user=SigningKey.from_seed(b"m" * 32),
            listen=Listen.LOOPBACK,
        )
    key = read_key(state / "node.key", KeyKind.NODE)
    assert key is not None
    mallory = Hostile(victim, key, settings.workspace)
    await mallory.transport.start(mallory)
    try:
        await mallory.link()
        yield mallory
    finally:
        await mallory.transport.close()


FILES = {"a.txt": b"alpha wrote this\n", "deep/b.bin": bytes(range(256))}
MIB = 1024 * 1024
NEW = FileId(b"n" * 16)
PRINT = Fingerprint(b"f" * 16)
Act = Callable[[Hostile], Awaitable[None]]


@asynccontextmanager
async def attacked(base: Path, role: Role = Role.EDIT) -> AsyncIterator[tuple[Node, Hostile]]:
    """Give an honest node with files and a hostile member linked to it.

    Afterwards the honest one must still serve, have its files, take a save and keep its invariants.
    """
    async with one_node(base) as alpha:
        for path, content in FILES.items():
            alpha.write(path, content)
        await until(lambda: all(alpha.has_agreed(path) for path in FILES), "its files are in")
        async with hostile(base, alpha, role) as mallory:
            yield alpha, mallory
            await is_unharmed(alpha)


def names_in(folder: Path) -> list[str]:
    """What stands in a folder, ours beside the node's."""
    return sorted(path.name for path in folder.iterdir())


async def is_unharmed(alpha: Node) -> None:
    """Check that a node goes on as if nothing had been."""
    assert alpha.is_serving, "it is up"
    alpha.write("after.txt", "still here\n")
    await until(lambda: alpha.has_agreed("after.txt"), "it takes a save")
    for path, content in FILES.items():
        assert alpha.read(path) == content, path
    core: NodeCore = alpha.core
    core.check_invariants()
    assert alpha.is_serving, "it is up"
