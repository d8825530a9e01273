"""What is particular to iroh: nonsense on the wire, ports and addresses, the mended binding."""

from __future__ import annotations

import asyncio
import importlib
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from iroh import Connection, Endpoint, EndpointAddr, EndpointId, IrohError, SendStream

from aiplatform.mesh_ide.mesh.adapters.iroh import binding
from aiplatform.mesh_ide.mesh.adapters.iroh.closing import CloseCode, Ended, close, explain
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import (
    LINK_ALPN,
    Listen,
    bind,
    dialable_addresses,
    usable_addresses,
)
from aiplatform.mesh_ide.mesh.adapters.iroh.greeting import (
    Greeting,
    Verdict,
    decode_greeting,
    encode_greeting,
    judge,
)
from aiplatform.mesh_ide.mesh.adapters.iroh.link import Handshake
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import AddressInUseError, BadFrameError, PeerUnreachableError
from aiplatform.mesh_ide.ports.transport import LinkEnd
from tests.contract.transport_kit import (
    Down,
    Frame,
    IrohNetwork,
    Party,
    Recorder,
    Up,
    close_all,
    linked_pair,
    run_on_asyncio,
    seed_of,
)

GREETING = encode_greeting(Greeting(b"incarnat", 1))
LOW, HIGH = NodeId(b"\x01" * 32), NodeId(b"\x02" * 32)


def target(node: NodeId, addresses: Sequence[str]) -> EndpointAddr:
    """Return what to dial."""
    return EndpointAddr(EndpointId.from_bytes(node), None, list(addresses))


class RawPeer:
    """An endpoint that says what it likes, under the key of a name."""

    def __init__(self, endpoint: Endpoint, connection: Connection) -> None:
        self.endpoint = endpoint
        self.connection = connection
        self.streams: list[SendStream] = []

    @classmethod
    async def connect(cls, name: str, host: Party) -> RawPeer:
        endpoint = await bind(seed_of(name), Listen.LOOPBACK, (0,), None)
        return cls(endpoint, await endpoint.connect(target(host.node, host.addresses), LINK_ALPN))

    async def say(self, content: bytes) -> None:
        """Open a stream and write; it stays open."""
        self.streams.append(await self.connection.open_uni())
        await self.streams[-1].write_all(content)

    async def leave(self) -> None:
        close(self.connection, CloseCode.SHUTDOWN, "")
        await self.endpoint.close()


async def _check_alive(a: Party, b: Party) -> None:
    """Frames still go over a link."""
    before = b.recorder.count(Frame)
    a.say(b, Channel.CONTROL, b"still there")
    await b.recorder.until_count(Frame, before + 1)


# --- nonsense on the wire -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("streams", "why"),
    [
        ([GREETING + b"\xff\xff\xff\xff"], "4294967295 bytes was announced"),
        ([GREETING + b"GET / HTTP/1.1\r\n\r\n"], "bytes was announced"),
        ([GREETING, b"\x09rest"], "unknown channel 9"),
        ([GREETING, b"\x03" + b"\x00\x80\x00\x01"], "on BULK: a frame of 8388609 bytes"),
        ([GREETING, b"\x01again"], "second stream for CONTROL"),
        ([GREETING, b"\x02", b"\x02"], "second stream for DOCUMENTS"),
    ],
)
def test_nonsense_on_a_link_ends_that_link_alone(streams: list[bytes], why: str) -> None:
    """The host hears of the fault and why; another peer's link does not notice."""

    async def work() -> None:
        a, b = await linked_pair(IrohNetwork())
        raw = await RawPeer.connect("c", a)
        for content in streams:
            await raw.say(content)
        await a.recorder.until_count(Down, 1)
        assert [type(heard) for heard in a.recorder.heard] == [Up, Up, Down]
        assert a.recorder.downs[0].end is LinkEnd.FAULT
        assert why in a.recorder.downs[0].detail
        assert f"(code {CloseCode.FAULT:d})" in await raw.connection.closed()
        await _check_alive(a, b)
        await raw.leave()
        await close_all(a, b)

    run_on_asyncio(work())


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"\x03" + GREETING[1:], bytes(99)])
def test_nonsense_instead_of_a_greeting_never_becomes_a_link(first: bytes) -> None:
    """An allowed key that does not greet is turned away, and nobody hears of it."""

    async def work() -> None:
        a, b = await linked_pair(IrohNetwork())
        raw = await RawPeer.connect("c", a)
        await raw.say(first)
        assert f"(code {CloseCode.FAULT:d})" in await raw.connection.closed()
        await _check_alive(a, b)
        assert a.recorder.heard == [Up(b.node)]
        await raw.leave()
        await close_all(a, b)

    run_on_asyncio(work())


def test_a_strangers_bytes_are_never_read() -> None:
    """A perfect greeting and frame under an unknown key: closed by code, nothing delivered."""

    async def work() -> None:
        a, b = await linked_pair(IrohNetwork())
        raw = await RawPeer.connect("stranger", a)
        assert f"(code {CloseCode.REFUSED:d})" in await raw.connection.closed()
        await _check_alive(a, b)
        assert a.recorder.heard == [Up(b.node)]
        await raw.leave()
        await close_all(a, b)

    run_on_asyncio(work())


def test_a_peer_that_ends_a_stream_but_stays_is_at_fault() -> None:
    """Streams last as long as their link."""

    async def work() -> None:
        a = await Party.start(IrohNetwork(), "a", "c")
        raw = await RawPeer.connect("c", a)
        await raw.say(GREETING)
        await a.recorder.until_count(Up, 1)
        await raw.streams[0].finish()
        await a.recorder.until_count(Down, 1)
        assert a.recorder.downs[0].end is LinkEnd.FAULT
        assert "ended its CONTROL stream" in a.recorder.downs[0].detail
        await raw.leave()
        await close_all(a)

    run_on_asyncio(work())


# --- which connection stays ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("guest", "standing", "is_dialling", "ours", "expected"),
    [
        ((b"x", 1), None, False, LOW, Verdict.ACCEPT),
        ((b"x", 1), None, True, LOW, Verdict.PARK),
        ((b"x", 1), None, True, HIGH, Verdict.ACCEPT),
        ((b"x", 3), (b"x", 3), False, LOW, Verdict.DROP),
        ((b"x", 2), (b"x", 3), False, HIGH, Verdict.DROP),
        ((b"x", 4), (b"x", 3), False, LOW, Verdict.ACCEPT),
        ((b"y", 1), (b"x", 3), False, LOW, Verdict.ACCEPT),
    ],
)
def test_the_verdict_on_an_incoming_connection(
    guest: tuple[bytes, int],
    standing: tuple[bytes, int] | None,
    is_dialling: bool,
    ours: NodeId,
    expected: Verdict,
) -> None:
    """The lower key's dial goes first; older dials of one run are dropped; a new run replaces."""
    peer = HIGH if ours == LOW else LOW
    facts = Greeting(*standing) if standing else None

    assert expected == judge(ours, peer, Greeting(*guest), facts, is_dialling=is_dialling)


class TakesAll(IrohTransport):
    """A planted bug: every incoming connection becomes the link."""

    def _meet(self, guest: Handshake) -> None:
        if guest.peer in self._dials:
            self._drop_dial(guest.peer)
        self._take_down(guest.peer, CloseCode.REPLACED, LinkEnd.LOST, "")
        self._establish(guest)


async def _crossed(host: IrohTransport) -> tuple[Recorder, str]:
    """Let the host's dial and a raw peer's dial cross; tell which of the two the host closed.

    The raw peer greets on its own connection first, and answers the host's dial only then.
    """
    recorder, raw_key = Recorder(), IrohNetwork().node("raw")
    addresses = await host.start(recorder)
    host.allow(frozenset({raw_key}))
    endpoint = await bind(seed_of("raw"), Listen.LOOPBACK, (0,), None)
    host.dial(raw_key, dialable_addresses(endpoint))
    incoming = await endpoint.accept_next()
    assert incoming is not None
    from_host = RawPeer(endpoint, await (await incoming.accept()).connect())
    to_host = RawPeer(endpoint, await endpoint.connect(target(host.node, addresses), LINK_ALPN))
    await to_host.say(GREETING)
    while not recorder.heard and host._dials[raw_key].guest is None:  # noqa: ASYNC110 - parking
        await asyncio.sleep(0.001)  # is told to nobody; becoming the link is
    with suppress(IrohError):  # the host gave its dial up already
        await from_host.say(GREETING)
    await recorder.until_count(Up, 1)
    async with asyncio.TaskGroup() as group:
        ends = {
            group.create_task(from_host.connection.closed()): "the host's",
            group.create_task(to_host.connection.closed()): "the peer's",
        }
        done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await host.close()
    await endpoint.close()
    (first,) = done
    assert f"(code {CloseCode.CROSSED:d})" in first.result()
    return recorder, ends[first]


def _host_seed(*, is_lower: bool) -> bytes:
    """Return a seed whose key is below, or above, the raw peer's."""
    names = (f"host {index}" for index in range(100))
    return next(
        seed_of(name)
        for name in names
        if (IrohNetwork().node(name) < IrohNetwork().node("raw")) is is_lower
    )


@pytest.mark.parametrize("is_lower", [True, False])
def test_of_crossing_dials_the_lower_keys_stays(is_lower: bool) -> None:
    """The other connection is closed as crossing; one up is heard, and no down before the end."""

    async def work() -> None:
        host = IrohTransport(_host_seed(is_lower=is_lower), listen=Listen.LOOPBACK)
        recorder, closed = await _crossed(host)
        assert closed == ("the peer's" if is_lower else "the host's")
        assert [type(heard) for heard in recorder.heard] == [Up, Down]
        assert recorder.downs[0].end is LinkEnd.CLOSED_BY_US

    run_on_asyncio(work())


def test_planted_bug_taking_every_connection_is_caught() -> None:
    """A host that takes whatever comes closes its own dial although its key is lower."""

    async def work() -> None:
        host = TakesAll(_host_seed(is_lower=True), listen=Listen.LOOPBACK)
        _, closed = await _crossed(host)
        assert closed == "the host's"

    run_on_asyncio(work())


def test_a_peer_at_the_door_is_let_in_when_our_own_dial_fails() -> None:
    """Our addresses of it were stale, its connection works: one up, and no down for the dial."""

    async def work() -> None:
        host = IrohTransport(_host_seed(is_lower=True), listen=Listen.LOOPBACK, dial_timeout_s=0.5)
        recorder, raw_key = Recorder(), IrohNetwork().node("raw")
        addresses = await host.start(recorder)
        host.allow(frozenset({raw_key}))
        host.dial(raw_key, ("127.0.0.1:9",))
        raw = await RawPeer.connect("raw", Party(host, recorder, host.node, addresses))
        await raw.say(GREETING)
        await recorder.until_count(Up, 1)
        stream = await raw.connection.accept_uni()
        assert decode_greeting(await stream.read_exact(len(GREETING))).serial == 1
        assert recorder.heard == [Up(raw_key)]
        await raw.leave()
        await host.close()

    run_on_asyncio(work())


@given(st.binary(min_size=8, max_size=8), st.integers(0, 2**64 - 1))
def test_greetings_round_trip(incarnation: bytes, serial: int) -> None:
    """Which run, and how many dials it had begun."""
    greeting = Greeting(incarnation, serial)

    assert decode_greeting(encode_greeting(greeting)) == greeting


@given(st.binary(max_size=40))
def test_what_is_no_greeting_is_refused(first: bytes) -> None:
    """Anything but a control stream's first bytes."""
    if len(first) == len(GREETING) and first[0] == Channel.CONTROL:
        return
    with pytest.raises(BadFrameError):
        decode_greeting(first)


# --- ends ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "end", "detail"),
    [
        ("closed by peer: go away (code 1)", LinkEnd.CLOSED_BY_PEER, "go away"),
        ("closed by peer: 0", LinkEnd.CLOSED_BY_PEER, "the peer left"),
        ("closed by peer: not a member (code 2)", LinkEnd.REFUSED, "not a member"),
        ("closed by peer: 2", LinkEnd.REFUSED, "the peer does not know this node"),
        ("closed by peer: x (code 2) (code 1)", LinkEnd.CLOSED_BY_PEER, "x (code 2)"),
        ("closed by peer: a\n\x1b[31mb (code 1)", LinkEnd.CLOSED_BY_PEER, "a [31mb"),
        ("timed out", LinkEnd.LOST, "no answer for 30 s"),
        ("reset by peer", LinkEnd.LOST, "reset by peer"),
        ("E::A (/path/x.rs:1)\nCaused by:\n    aborted", LinkEnd.LOST, "aborted"),
    ],
)
def test_the_end_of_a_connection_is_explained(reason: str, end: LinkEnd, detail: str) -> None:
    """Our codes decide; a peer's words are shown, printable, and cannot pose as a code."""
    assert explain(reason) == Ended(end, detail)


async def _start_when_free(port: int) -> IrohTransport:
    """Start on a port that iroh may hold for 3 s more, for which ``close`` does not wait."""
    while True:
        transport = IrohTransport(seed_of("a"), port=port, listen=Listen.LOOPBACK)
        with suppress(AddressInUseError):
            await transport.start(Recorder())
            return transport
        await asyncio.sleep(0.05)


def test_close_returns_in_time_while_a_peer_is_frozen() -> None:
    """A peer that is stopped with full buffers cannot hold us back; the port is free after."""

    async def work() -> None:
        a = await Party.start(IrohNetwork(), "a", "b")
        code = "import sys; from tests.contract.transport_kit import _GHOST as g; exec(g)"
        arguments = ("b", a.node.hex(), *a.addresses)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, *arguments)
        await a.recorder.until_count(Up, 1)
        process.send_signal(signal.SIGSTOP)
        for _ in range(15):
            a.transport.send_nowait(a.recorder.heard[0].peer, Channel.BULK, bytes(1024 * 1024))
        began = asyncio.get_running_loop().time()
        await a.transport.close()
        assert asyncio.get_running_loop().time() - began < 2
        process.kill()
        await process.wait()
        port = int(a.addresses[0].rpartition(":")[2])
        again = await _start_when_free(port)
        assert again.stats() == ()
        await again.close()

    run_on_asyncio(work())


def test_a_dial_begins_anew_where_somebody_knows_better() -> None:
    """One that waits at an old address does not hold up the new one; it is heard of once."""

    async def work() -> None:
        network = IrohNetwork()
        a = await Party.start(network, "a", "b")
        b = await Party.start(network, "b", "a")
        a.transport.dial(b.node, ("192.0.2.1:7311",))
        await asyncio.sleep(0.05)
        a.transport.dial(b.node, (*b.addresses, "192.0.2.1:7311"))
        await a.recorder.until_count(Up, 1)
        assert a.recorder.count(Down) == 0
        await close_all(a, b)

    run_on_asyncio(work())


def test_cancelled_calls_do_no_harm() -> None:
    """Dials and join requests given up at any moment leave nothing behind that matters."""

    async def work() -> None:
        network = IrohNetwork()
        a = await Party.start(network, "a", "b")
        b = await Party.start(network, "b", "a")
        for step in range(24):
            a.dial(b)
            with pytest.raises((TimeoutError, PeerUnreachableError)):
                await a.transport.request_join(b.node, b.addresses, b"?", step / 10_000)
            a.transport.disconnect(b.node, "enough")
        await a.recorder.until_count(Down, 24)
        assert a.recorder.count(Down) == 24
        a.dial(b)
        await a.recorder.until(lambda: isinstance(a.recorder.heard[-1], Up))
        await b.recorder.until(lambda: isinstance(b.recorder.heard[-1], Up))
        await _check_alive(a, b)
        await close_all(a, b)

    run_on_asyncio(work())


_CLEAN = """
import asyncio
from tests.contract.transport_kit import Frame, IrohNetwork, close_all, linked_pair
from aiplatform.mesh_ide.model.enums import Channel
async def main():
    a, b = await linked_pair(IrohNetwork())
    for _ in range(15):
        a.say(b, Channel.BULK, bytes(1 << 20))
    await b.recorder.until_count(Frame, 3)
    if CLOSE:
        await close_all(a, b)
asyncio.run(main())
print("done")
"""


@pytest.mark.parametrize("is_closed", [True, False], ids=["closed", "left open"])
def test_the_interpreter_ends_without_a_word(is_closed: bool) -> None:
    """No warning, no thread that calls into a dead interpreter, whether closed or not."""
    ended = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", f"CLOSE = {is_closed}\n{_CLEAN}"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


# --- endpoint -----------------------------------------------------------------------------------


def test_the_address_is_the_public_key() -> None:
    """The endpoint's id, the node id and the Ed25519 public key of the seed are one."""

    async def work() -> None:
        seed = seed_of("a")
        public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
        endpoint = await bind(seed, Listen.LOOPBACK, (0,), None)
        assert endpoint.id().to_bytes() == public
        assert IrohTransport(seed).node == public
        await endpoint.close()

    run_on_asyncio(work())


def test_every_address_that_start_returns_can_be_dialled() -> None:
    """Interfaces and loopback, IPv4 and IPv6; never an unspecified one."""

    async def work() -> None:
        network = IrohNetwork()
        host, recorder = IrohTransport(seed_of("host")), Recorder()
        addresses = await host.start(recorder)
        host.allow(frozenset({network.node("a")}))
        a = await Party.start(network, "a", "host")
        assert len(addresses) >= 1
        assert not any(
            ip_address(text.rpartition(":")[0].strip("[]")).is_unspecified for text in addresses
        )
        local = [address for address in addresses if address.startswith(("127.", "[::1]"))]
        assert local
        for count, address in enumerate(local, start=1):
            a.transport.dial(host.node, (address,))
            await a.recorder.until_count(Up, count)
            a.transport.disconnect(host.node, "next")
            await a.recorder.until_count(Down, count)
        await host.close()
        await close_all(a)

    run_on_asyncio(work())


def test_a_taken_port_is_told_or_the_next_free_one_taken() -> None:
    """Without a range it is an error that says what to do; with one the first free port serves."""

    async def work() -> None:
        taken = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(1)]
        taken[0].bind(("127.0.0.1", 0))
        port = taken[0].getsockname()[1]
        alone = IrohTransport(seed_of("a"), port=port, listen=Listen.LOOPBACK)
        with pytest.raises(AddressInUseError, match=f"{port} is taken"):
            await alone.start(Recorder())
        await alone.close()
        several = range(port, min(port + 20, 65_536))
        flexible = IrohTransport(
            seed_of("a"), port=port, port_range=several, listen=Listen.LOOPBACK
        )
        addresses = await flexible.start(Recorder())
        assert int(addresses[0].rpartition(":")[2]) in several[1:]
        await flexible.close()
        taken[0].close()

    run_on_asyncio(work())


@pytest.mark.parametrize(
    "addresses",
    [(), ("nonsense",), ("0.0.0.0:7",), ("127.0.0.1:0",), ("127.0.0.1:99999",), ("::1",), ("a:1",)],
)
def test_addresses_of_no_use_are_not_dialled(addresses: tuple[str, ...]) -> None:
    """They come from other nodes and from people; none of them raises."""

    async def work() -> None:
        endpoint = await bind(seed_of("a"), Listen.LOOPBACK, (0,), None)
        assert usable_addresses(addresses, endpoint) == []
        own = dialable_addresses(endpoint)
        assert usable_addresses((*own, "10.0.0.7:7"), endpoint) == ["10.0.0.7:7"], "not oneself"
        await endpoint.close()

    run_on_asyncio(work())


# --- the binding --------------------------------------------------------------------------------

ffi: Any = importlib.import_module("iroh.iroh_ffi")


def test_the_binding_is_mended_once_and_for_all() -> None:
    """After a start the slow copy is gone; mending again changes nothing."""
    assert binding.mend()
    mended = ffi._UniffiRustBufferBuilder.write
    assert binding.mend()

    assert ffi._UniffiRustBufferBuilder.write is mended
    assert not binding.is_slow(mended)


def _slow(builder: Any, value: bytes) -> None:  # noqa: ANN401 - a private class
    """Copy as the generated code of iroh 1.2.0 does."""
    with builder._reserve(len(value)):
        for index, byte in enumerate(value):
            builder.rbuf.data[builder.rbuf.len + index] = byte


@given(st.lists(st.binary(max_size=100), max_size=6))
def test_the_fast_copy_builds_what_the_slow_one_builds(parts: list[bytes]) -> None:
    """Whatever is written in whatever pieces."""
    built = []
    for write in (_slow, binding.fast_write):
        builder = ffi._UniffiRustBufferBuilder()
        for part in parts:
            write(builder, part)
        built.append(bytes(builder.rbuf.data[: builder.rbuf.len]))
        builder.discard()

    assert built[0] == built[1] == b"".join(parts)


def test_planted_bug_a_copy_that_loses_bytes_is_not_put_in() -> None:
    """The self-check tells a wrong copy from a right one, and the slow one is recognised."""

    def loses_the_last(builder: Any, value: bytes) -> None:  # noqa: ANN401 - as above
        binding.fast_write(builder, value[:-1])

    assert not binding.builds_equal_bytes(ffi, loses_the_last)
    assert binding.builds_equal_bytes(ffi, binding.fast_write)
    assert binding.is_slow(_slow)
