"""A member that is no honest node: its key is on the roster, what it says is made by hand."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from blake3 import blake3
from loro import ExportMode, LoroDoc, TreeID
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.engine.operations import TEXT_CONTAINER, TREE_CONTAINER
from aiplatform.mesh_ide.documents.engine.peers import derive_peer
from aiplatform.mesh_ide.identity.batches import decode_entry, encode_entry
from aiplatform.mesh_ide.identity.batches import seal as seal_batch
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.keystore import KeyKind, read_key
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.mesh.adapters.iroh.link import open_stream
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.model.entries import (
    BatchSlice,
    EntryDraft,
    KnownEntry,
    Principal,
    SessionCertificate,
)
from aiplatform.mesh_ide.model.enums import (
    BaseInference,
    Channel,
    EntryKind,
    FileMode,
    NodeType,
    PrincipalKind,
    Role,
)
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    TREE_FILE,
    BlobHash,
    EntryId,
    FileId,
    Fingerprint,
    NodeId,
    SessionId,
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
from tests.integration.kit import Node, one_node, until

MALLORY: Final = Principal(PrincipalKind.PERSON, "mallory")
ENTER_S: Final = 10.0


def genesis(file: FileId, content: bytes, *, is_text: bool = True) -> EntryDraft:
    """Draft a file's creation."""
    return EntryDraft(
        file=file,
        kind=EntryKind.GENESIS,
        parents=(),
        result=BlobHash(blake3(content).digest()),
        size=len(content),
        mode=FileMode.REGULAR,
        is_text=is_text,
        branch=0,
        is_save=True,
        principal=MALLORY,
        inference=BaseInference.KNOWN,
        payload=b"",
    )


def update(base: KnownEntry, payload: bytes, result: bytes, size: int | None = None) -> EntryDraft:
    """Draft a text's change on top of its genesis."""
    return EntryDraft(
        file=base.entry.file,
        kind=EntryKind.UPDATE,
        parents=(base.ref,),
        result=BlobHash(blake3(result).digest()),
        size=len(result) if size is None else size,
        mode=FileMode.REGULAR,
        is_text=True,
        branch=1,
        is_save=True,
        principal=MALLORY,
        inference=BaseInference.KNOWN,
        payload=payload,
        lineage=base.ref.id,
        depth=2,
        after=0,
    )


def tree_update(payload: bytes) -> EntryDraft:
    """Draft an edit of the tree that builds on nothing."""
    return EntryDraft(
        file=TREE_FILE,
        kind=EntryKind.UPDATE,
        parents=(),
        result=None,
        size=0,
        mode=FileMode.REGULAR,
        is_text=False,
        branch=1,
        is_save=False,
        principal=MALLORY,
        inference=BaseInference.KNOWN,
        payload=payload,
    )


class Mouth:
    """One session of the hostile node: its key, and how far its chain is."""

    def __init__(self, node: SigningKey, workspace: WorkspaceId) -> None:
        self.key = SigningKey.from_seed(secrets.token_bytes(32))
        self.workspace = workspace
        self.certificate = certify(
            node=node, session=self.key, workspace=workspace, started_ms=1_700_000_000_000
        )
        self.sequence = 1
        self.previous: EntryId = NO_ENTRY

    @property
    def session(self) -> SessionId:
        """Its id."""
        return SessionId(self.key.public)

    def seal(
        self, drafts: Sequence[EntryDraft], *, advance: bool = True
    ) -> tuple[BatchSlice, tuple[KnownEntry, ...]]:
        """Sign drafts; ``advance=False`` leaves the chain where it was (to sign another)."""
        piece, known = seal_batch(
            drafts,
            key=self.key,
            workspace=self.workspace,
            first_sequence=self.sequence,
            previous=self.previous,
            time_ms=1_700_000_000_000,
        )
        if advance:
            self.sequence += len(known)
            self.previous = known[-1].ref.id
        return piece, known

    def text_operations(self, file: FileId, insert: str, *, peer: int | None = None) -> bytes:
        """Return operations that insert a text at the beginning."""
        doc = LoroDoc()
        doc.peer_id = derive_peer(self.session, file, 1) if peer is None else peer
        doc.get_text(TEXT_CONTAINER).insert(0, insert)
        doc.commit()
        return bytes(doc.export(ExportMode.Updates(LoroDoc().oplog_vv)))

    def tree_operations(self, places: Sequence[tuple[int | None, str, FileId | None]]) -> bytes:
        """Return operations that make nodes; a place names an earlier one as its parent."""
        doc = LoroDoc()
        doc.peer_id = derive_peer(self.session, TREE_FILE, 1)
        tree = doc.get_tree(TREE_CONTAINER)
        tree.disable_fractional_index()
        made: list[TreeID] = []
        for parent, name, file in places:
            node = tree.create(None if parent is None else made[parent])
            values = tree.get_meta(node)
            values.insert("n", name)
            if file is not None:
                values.insert("f", file)
            made.append(node)
        doc.commit()
        return bytes(doc.export(ExportMode.Updates(LoroDoc().oplog_vv)))


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


def altered(piece: BatchSlice, **changes: object) -> BatchSlice:
    """Return a slice with its first entry changed after it was signed."""
    entry = replace(decode_entry(piece.entries[0]), **changes)
    return replace(piece, entries=(encode_entry(entry), *piece.entries[1:]))


def certificate_for(session: SessionId, node: NodeId) -> SessionCertificate:
    """Return a certificate that nobody signed."""
    return SessionCertificate(session, node, 0, bytes(128))


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
