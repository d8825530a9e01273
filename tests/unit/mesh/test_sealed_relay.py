"""Two nodes that cannot reach each other talk through a third, which can neither read nor forge.

Routing through a third node is not built yet; what it needs on the wire is. Here the third node
does by hand what a relay will do: greetings and introductions are real, and it passes on frames
of which it reads the first 65 bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.sealing import (
    BadSealError,
    FrameSeal,
    ReplayWindow,
    SealFault,
    SealingKey,
    derive_seal,
    encode_offer,
    offer_sealing,
    open_frame,
    open_offer,
    seal_frame,
)
from aiplatform.mesh_ide.mesh.adapters.memory import MemoryHub
from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.mesh.framing import (
    Envelope,
    SealedFrame,
    decode_sealed,
    encode_sealed,
    envelope_of,
)
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import (
    Acquaintances,
    AnyMessage,
    Goodbye,
    Hello,
    Whereabouts,
)
from aiplatform.mesh_ide.ports.errors import BadFrameError
from aiplatform.mesh_ide.ports.transport import LinkEnd
from tests.unit.identity.boards import WORKSPACE, founded, key_of, node_of
from tests.unit.mesh.members import Node, hello_of, told

SECRET = Goodbye("what only the two of them should read")


def sealing_of(name: str) -> SealingKey:
    """Return the sealing key of a node's session."""
    return SealingKey.of_session(SigningKey.from_seed(f"session {name}".encode().ljust(32)))


def offer_of(name: str) -> bytes:
    """Return what a node's greeting carries."""
    offer = offer_sealing(node=key_of(name), sealing=sealing_of(name), workspace=WORKSPACE)
    return encode_offer(offer)


def greeting_of(name: str) -> Hello:
    """Return a node's greeting, as it comes off the wire."""
    plain = hello_of(name, founded("a", "b"))
    heard = decode(encode(replace(plain, sealing=offer_of(name))))
    assert isinstance(heard, Hello)
    return heard


def introduced() -> dict[str, bytes]:
    """Let ``a`` and ``b`` greet ``f``; return the offers that each hears of the other from it."""
    relay = Node(founded("a", "b"))
    relay.up("a")
    relay.hears("a", greeting_of("a"))
    relay.up("b")
    out = relay.hears("b", greeting_of("b"))
    heard: dict[str, bytes] = {}
    for name, other in (("a", "b"), ("b", "a")):
        node = Node(founded("a", "b"), me=name)
        node.greeted("f")
        for message in told(out, Acquaintances, name):
            again = decode(encode(message))
            node.hears("f", again)
        heard[name] = node.core.offer_of(node_of(other))
    return heard


def seal_of(name: str, peer: str, offer: bytes) -> FrameSeal:
    """Return a node's keys for control frames to and from a peer whose offer it heard."""
    return derive_seal(
        own=sealing_of(name),
        own_node=node_of(name),
        peer=open_offer(offer, node_of(peer), WORKSPACE),
        workspace=WORKSPACE,
        channel=Channel.CONTROL,
    )


def sealed(message: AnyMessage, counter: int = 1) -> bytes:
    """Return the frame in which ``a`` says something to ``b``."""
    closed = seal_frame(seal_of("a", "b", introduced()["a"]), counter, encode(message))
    return encode_sealed(SealedFrame(node_of("b"), node_of("a"), closed))


class End:
    """Who opens frames at their destination, and remembers which came."""

    def __init__(self) -> None:
        """Know the peer's key from the relay's introduction."""
        self.seal = seal_of("b", "a", introduced()["b"])
        self.window = ReplayWindow()

    def open(self, frame: bytes) -> AnyMessage:
        """Return what a sealed frame says."""
        record = decode_sealed(frame)
        inner, self.window = open_frame(self.seal, self.window, record.sealed)
        return decode(inner)


# --- over real links -----------------------------------------------------------------------------


class Listener:
    """Hands what arrives to a function."""

    def __init__(self, on_frame: Callable[[NodeId, Channel, bytes], None]) -> None:
        """Begin unlinked."""
        self.arrived = on_frame
        self.linked: set[NodeId] = set()
        self.changed = asyncio.Event()

    def on_link_up(self, peer: NodeId, address: str) -> None:
        """Note the link."""
        self.linked.add(peer)
        self.changed.set()

    def on_link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        """Nothing depends on it here."""

    def on_frame(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """Hand it on."""
        self.arrived(peer, channel, frame)
        self.changed.set()

    async def on_join(self, peer: NodeId, request: bytes) -> bytes:
        """Nobody joins."""
        return b""


async def _carried(frames: list[bytes], alter: Callable[[bytes], list[bytes]]) -> list[bytes]:
    """Send frames from ``a`` by way of ``f``, which may alter them; return what ``b`` gets."""
    hub = MemoryHub()
    a, f, b = (hub.transport(node_of(name)) for name in "afb")
    arrived: list[bytes] = []

    def relay(peer: NodeId, channel: Channel, frame: bytes) -> None:
        assert envelope_of(frame) is Envelope.SEALED
        destination = decode_sealed(frame).destination
        for altered in alter(frame):
            f.send_nowait(destination, channel, altered)

    ends = [Listener(lambda *_: None), Listener(relay), Listener(lambda *x: arrived.append(x[2]))]
    addresses = [await t.start(end) for t, end in zip((a, f, b), ends, strict=True)]
    a.allow(frozenset({node_of("f")}))
    f.allow(frozenset({node_of("a"), node_of("b")}))
    b.allow(frozenset({node_of("f")}))
    a.dial(node_of("f"), addresses[1])
    f.dial(node_of("b"), addresses[2])
    while ends[1].linked < {node_of("a"), node_of("b")}:
        await ends[1].changed.wait()
        ends[1].changed.clear()
    while not ends[0].linked:
        await ends[0].changed.wait()
    for frame in frames:
        a.send_nowait(node_of("f"), Channel.CONTROL, frame)
    expected = sum(len(alter(frame)) for frame in frames)
    while len(arrived) < expected:
        await ends[2].changed.wait()
        ends[2].changed.clear()
    await asyncio.gather(a.close(), f.close(), b.close())
    return arrived


def carried(
    frames: list[bytes], alter: Callable[[bytes], list[bytes]] = lambda frame: [frame]
) -> list[bytes]:
    """Run it."""
    return asyncio.run(_carried(frames, alter))


def test_a_sealed_frame_goes_through_a_third_node_and_opens_at_its_end_only() -> None:
    """The relay sees whose it is, and neither the message nor how to read it."""
    frame = sealed(SECRET)
    (arrived,) = carried([frame])
    assert End().open(arrived) == SECRET
    assert SECRET.reason.encode() not in frame
    record = decode_sealed(frame)
    assert (record.source, record.destination) == (node_of("a"), node_of("b"))
    for peer in ("a", "b"):
        with pytest.raises(BadSealError, match=SealFault.TAMPERED.value):
            open_frame(seal_of("f", peer, offer_of(peer)), ReplayWindow(), record.sealed)
    with pytest.raises(BadFrameError, match="sealed"):
        decode(frame)


@pytest.mark.parametrize("position", [65, 66, 73, 74, -1])
def test_what_a_relay_changed_is_refused(position: int) -> None:
    """Version, counter, ciphertext and tag: one bit anywhere behind the addresses."""

    def flip(frame: bytes) -> list[bytes]:
        changed = bytearray(frame)
        changed[position] ^= 1
        return [bytes(changed)]

    (arrived,) = carried([sealed(SECRET)], flip)
    with pytest.raises(BadSealError):
        End().open(arrived)


def test_what_a_relay_repeats_is_refused_and_the_rest_is_taken_in_any_order() -> None:
    """Frames may overtake each other on their way; none counts twice."""
    frames = carried([sealed(Goodbye(str(n)), n) for n in (2, 1, 3)], lambda frame: [frame] * 2)
    end, opened, refused = End(), [], []
    for frame in frames:
        try:
            opened.append(end.open(frame))
        except BadSealError as error:
            refused.append(error.fault)
    assert opened == [Goodbye("2"), Goodbye("1"), Goodbye("3")]
    assert refused == [SealFault.REPLAYED] * 3


def test_planted_bug_an_end_without_a_memory_takes_a_frame_twice() -> None:
    """The window is what refuses the repetition."""

    class Forgetful(End):
        def open(self, frame: bytes) -> AnyMessage:
            self.window = ReplayWindow()
            return super().open(frame)

    end = Forgetful()
    frames = carried([sealed(SECRET)], lambda frame: [frame] * 2)
    assert [end.open(frame) for frame in frames] == [SECRET] * 2


# --- a relay that would read along ---------------------------------------------------------------


def test_a_relay_cannot_put_its_own_key_in_anothers_place() -> None:
    """An offer that the relay made under the other's name is no offer."""
    forged = offer_sealing(node=key_of("f"), sealing=sealing_of("f"), workspace=WORKSPACE)
    with pytest.raises(BadSealError, match=SealFault.OFFER.value):
        seal_of("a", "b", encode_offer(forged))


def test_planted_bug_an_unchecked_offer_lets_the_relay_read() -> None:
    """Sealed to whatever key the relay named, the frame opens at the relay."""
    # What believing the relay comes to: its key under the other's name, as if that had signed.
    believed = offer_sealing(node=key_of("b"), sealing=sealing_of("f"), workspace=WORKSPACE)
    seal = seal_of("a", "b", encode_offer(believed))
    closed = seal_frame(seal, 1, encode(SECRET))
    at_relay = derive_seal(
        own=sealing_of("f"),
        own_node=node_of("b"),
        peer=open_offer(offer_of("a"), node_of("a"), WORKSPACE),
        workspace=WORKSPACE,
        channel=Channel.CONTROL,
    )
    assert decode(open_frame(at_relay, ReplayWindow(), closed)[0]) == SECRET


def test_a_greeting_whose_offer_was_swapped_ends_the_link() -> None:
    """The offer is checked in the handshake: membership refuses the greeting."""
    node = Node(founded("a", "b"))
    node.up("a")
    false = replace(greeting_of("a"), sealing=offer_of("b"))
    node.hears("a", false)
    assert node.core.ready() == ()
    assert node.core.offer_of(node_of("a")) == b""


def hearing(*hints: Whereabouts) -> Node:
    """Return node ``a`` after ``f`` told it these things of others."""
    node = Node(founded("a", "b"), me="a")
    node.greeted("f")
    node.hears("f", Acquaintances(hints))
    return node


def test_a_true_offer_is_not_displaced_by_what_others_invent() -> None:
    """What a member passes on of another is kept only if that one signed it."""
    true, junk = offer_of("b"), bytes(96)
    node = hearing(Whereabouts(node_of("b"), ("b:1",), true))
    node.hears("f", Acquaintances((Whereabouts(node_of("b"), ("b:1",), junk),)))
    assert node.core.offer_of(node_of("b")) == true
    assert hearing(Whereabouts(node_of("b"), ("b:1",), junk)).core.offer_of(node_of("b")) == b""


def test_a_message_of_invented_offers_costs_a_bounded_number_of_checks() -> None:
    """Behind so many false ones even a true one is not looked at: it comes at another meeting."""
    false = [Whereabouts(node_of("b"), (), n.to_bytes(96, "big")) for n in range(1, 65)]
    true = Whereabouts(node_of("b"), (), offer_of("b"))
    assert hearing(*false[1:], true).core.offer_of(node_of("b")) == offer_of("b")
    assert hearing(*false, true).core.offer_of(node_of("b")) == b""
