"""A member of a simulated world that is no honest node: what it says is made by hand."""

from __future__ import annotations

from blake3 import blake3

from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.model.entries import BatchSlice
from aiplatform.mesh_ide.model.enums import Channel, NodeType, Role
from aiplatform.mesh_ide.model.ids import BlobHash, NodeId
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobPart,
    BlobRequest,
    Blobs,
    Certificates,
    Entries,
    Hello,
    Ping,
    Pong,
)
from aiplatform.mesh_ide.ports.transport import LinkEnd
from aiplatform.mesh_ide.simulation.network import Frame, address_of
from aiplatform.mesh_ide.simulation.node import SimulatedNode
from aiplatform.mesh_ide.simulation.stage import Stage
from tests.forging import Mouth

LINKING_MS = 2000


class Mallory:
    """A key on the roster; it links, greets and answers like a node, and says what it is told."""

    def __init__(self, stage: Stage, role: Role = Role.EDIT, name: str = "mallory") -> None:
        """Be admitted by the founder."""
        self.stage = stage
        self.number = stage.admit(name, role)
        self.node: SimulatedNode = stage[self.number]
        self.id = self.node.id
        self.mouth = Mouth(self.node.key, stage.world.workspace, stage.world.new_seed())
        self.allowed: frozenset[NodeId] = frozenset(n.id for n in stage.world.nodes)
        self.linked: set[NodeId] = set()
        self.ends: list[tuple[NodeId, LinkEnd, str]] = []
        self.contents: dict[BlobHash, bytes] = {}
        stage.world.network.attach(self.id, self)
        stage.wait(200)

    # --- the network speaks ------------------------------------------------------------------

    def link_up(self, peer: NodeId, address: str) -> None:
        """Greet."""
        self.linked.add(peer)
        world = self.stage.world
        self.tell(
            peer,
            Hello(
                workspace=world.workspace,
                node=self.id,
                name=self.node.name,
                node_type=NodeType.LOCAL,
                certificate=self.mouth.certificate,
                addresses=(address_of(self.id),),
                roster_digest=world.node(peer).core.membership.roster.digest,
                clock_ms=world.node(peer).now_ms(),
            ),
        )

    def link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        """Remember how it ended."""
        self.linked.discard(peer)
        self.ends.append((peer, end, detail))

    def frame(self, peer: NodeId, channel: Channel, frame: Frame) -> None:
        """Answer what keeps a link alive, and hand out contents."""
        message = decode(frame) if isinstance(frame, bytes) else frame
        if isinstance(message, Ping):
            self.tell(peer, Pong(message.nonce, message.sent_ms))
        elif isinstance(message, BlobRequest):
            parts = tuple(
                BlobPart(blob, size, 0, self.contents[blob])
                for blob, size, _ in message.blobs
                if blob in self.contents
            )
            if parts:
                self.tell(peer, Blobs(parts), Channel.BULK)

    # --- saying ------------------------------------------------------------------------------

    def link(self, number: int) -> None:
        """Dial a machine, and give it time to take the greeting."""
        peer = self.stage[number].id
        self.stage.world.network.dial(self.id, peer, (address_of(peer),))
        self.stage.wait(LINKING_MS)

    def send(self, number: int, frame: bytes, channel: Channel = Channel.DOCUMENTS) -> None:
        """Send bytes."""
        self.stage.world.network.send(self.id, self.stage[number].id, channel, frame)

    def tell(self, peer: NodeId, message: AnyMessage, channel: Channel = Channel.CONTROL) -> None:
        """Send a message to a node."""
        self.stage.world.network.send(self.id, peer, channel, encode(message))

    def say(self, number: int, message: AnyMessage, channel: Channel = Channel.CONTROL) -> None:
        """Send a message to a machine."""
        self.tell(self.stage[number].id, message, channel)

    def entries(self, number: int, *pieces: BatchSlice) -> None:
        """Send slices, with the certificate of the session."""
        self.say(number, Certificates((self.mouth.certificate,)), Channel.DOCUMENTS)
        self.say(number, Entries(pieces), Channel.DOCUMENTS)

    def offer(self, content: bytes) -> bytes:
        """Have a content to hand out; returns it."""
        self.contents[BlobHash(blake3(content).digest())] = content
        return content
