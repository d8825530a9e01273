"""The transport: who is linked, who is dialled, who waits at the door."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Final

from iroh import Connection, Endpoint, Incoming, IrohError, SecretKey

from aiplatform.mesh_ide.mesh.adapters.channels import check_frame, no_link
from aiplatform.mesh_ide.mesh.adapters.delivery import Delivery
from aiplatform.mesh_ide.mesh.adapters.iroh.closing import (
    CloseCode,
    Ended,
    LinkOverError,
    close,
    explain,
    how_it_ended,
)
from aiplatform.mesh_ide.mesh.adapters.iroh.dial import Dial
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import (
    JOIN_ALPN,
    LINK_ALPN,
    Listen,
    bind,
    dialable_addresses,
)
from aiplatform.mesh_ide.mesh.adapters.iroh.greeting import (
    GREETING_BYTES,
    INCARNATION_BYTES,
    Greeting,
    Verdict,
    decode_greeting,
    encode_greeting,
    judge,
)
from aiplatform.mesh_ide.mesh.adapters.iroh.joining import ask, limited, serve
from aiplatform.mesh_ide.mesh.adapters.iroh.link import Handshake, IrohLink, open_stream
from aiplatform.mesh_ide.mesh.adapters.iroh.reaching import NotReachedError, Reached, Reaching
from aiplatform.mesh_ide.mesh.adapters.joins import JoinGate, check_join_frame
from aiplatform.mesh_ide.mesh.adapters.tasks import TaskOwner
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId, short
from aiplatform.mesh_ide.ports.errors import BadFrameError, PeerUnreachableError
from aiplatform.mesh_ide.ports.transport import LinkEnd, LinkListener, LinkStats

DIAL_TIMEOUT_S: Final = 8.0
"""Below the ten seconds of ``Transport.dial``, with room for the answer to be told."""

HANDSHAKE_TIMEOUT_S: Final = 5.0
"""For somebody who dialled us to finish the handshake and greet."""

HANDSHAKES_MAX: Final = 64
"""Incoming connections that did not get so far as to be told apart."""

_UNPROVEN_MAX: Final = 16
"""Above so many handshakes, senders first prove their address (RFC 9000, section 8.1.2)."""

_WIND_UP_TIMEOUT_S: Final = 0.3
"""For links to let go of their streams once told to end: a turn of the loop or two."""

_CLOSE_TIMEOUT_S: Final = 1.5
"""For the last packets to go out. iroh waits 3 s for peers that are gone; ``close`` may not."""


class IrohTransport:
    """``Transport`` over iroh.

    Args of the constructor:
        seed: the node's Ed25519 seed, 32 bytes; the public key is the node's id and address.
        port: UDP port for IPv4 and IPv6; 0 takes any.
        port_range: ports tried in order when ``port`` is taken.
        listen: all interfaces or loopback only.
        relay_url: an iroh relay, for nodes behind NAT; none is used unless named.
        dial_timeout_s: how long a dial may take before it counts as unreachable.

    Invariants:
        1. A peer has at most one of: a link, a dial.
        2. Every link was told up once, and is told down once.
        3. Links, dials and guests belong to allowed keys.
    """

    def __init__(  # noqa: PLR0913 - settings by name, each with a default
        self,
        seed: bytes,
        *,
        port: int = 0,
        port_range: range = range(0),
        listen: Listen = Listen.EVERYWHERE,
        relay_url: str | None = None,
        dial_timeout_s: float = DIAL_TIMEOUT_S,
    ) -> None:
        self.node = NodeId(SecretKey.from_bytes(seed).public().to_bytes())
        self._seed = seed
        self._ports = (port, *(other for other in port_range if other != port))
        self._listen = listen
        self._relay_url = relay_url
        self._dial_timeout_s = dial_timeout_s
        self._allowed: frozenset[NodeId] = frozenset()
        self._links: dict[NodeId, IrohLink] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._dials: dict[NodeId, Dial] = {}
        self._handshakes = 0
        self._incarnation = secrets.token_bytes(INCARNATION_BYTES)
        self._serial = 0
        self._gate = JoinGate()
        self._tasks = TaskOwner(f"iroh transport {short(self.node)}")
        self._endpoint: Endpoint | None = None
        self._reaching: Reaching | None = None
        self._listener: LinkListener | None = None
        self._delivery: Delivery | None = None
        self._is_closing = False

    # --- what the port says -----------------------------------------------------------------

    async def start(self, listener: LinkListener) -> tuple[str, ...]:
        """See ``Transport.start``."""
        assert self._listener is None, "a transport starts once"
        self._endpoint = await bind(self._seed, self._listen, self._ports, self._relay_url)
        self._listener = listener
        self._delivery = Delivery(asyncio.get_running_loop())
        await self._tasks.start()
        self._reaching = Reaching(self._endpoint, self._bind_spare, self._tasks)
        self._tasks.run(self._accept(self._endpoint), "accept")
        return dialable_addresses(self._endpoint)

    async def _bind_spare(self) -> Endpoint:
        return await bind(self._seed, self._listen, (0,), None, accepts=False)

    def allow(self, peers: frozenset[NodeId]) -> None:
        """See ``Transport.allow``."""
        self._allowed = peers
        for peer in [*self._links, *self._dials]:
            if peer not in peers:
                self._end(peer, CloseCode.REFUSED, "no longer a member")

    def dial(self, peer: NodeId, addresses: Sequence[str]) -> None:
        """See ``Transport.dial``."""
        if not self._tasks.is_running or peer in self._links:
            return
        under_way = self._dials.get(peer)
        if under_way is not None:
            if under_way.guest is not None or set(addresses) <= set(under_way.addresses):
                return
            self._drop_dial(peer)
        dial = self._dials[peer] = Dial(tuple(addresses))
        dial.task = self._tasks.spawn(self._dial(peer, dial), f"dial {short(peer)}")

    def send_nowait(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """See ``Transport.send_nowait``."""
        check_frame(frame)
        self._standing(peer).queues[channel].put_nowait(frame)

    async def send(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """See ``Transport.send``."""
        check_frame(frame)
        await self._standing(peer).queues[channel].put(frame)

    def disconnect(self, peer: NodeId, detail: str) -> None:
        """See ``Transport.disconnect``; a dial under way ends the same way."""
        self._end(peer, CloseCode.DISCONNECT, detail)

    async def request_join(
        self, peer: NodeId, addresses: Sequence[str], request: bytes, timeout_s: float
    ) -> bytes:
        """See ``Transport.request_join``."""
        check_join_frame(request, "request")
        if self._reaching is None or not self._tasks.is_running:
            raise PeerUnreachableError(f"{short(peer)} cannot be dialled: the transport is closed")
        async with limited(peer, addresses, timeout_s):
            reached = await self._reaching.connect(peer, addresses, self._relay_url, JOIN_ALPN)
            return await ask(reached, self._reaching.let_go, peer, request)

    def stats(self) -> tuple[LinkStats, ...]:
        """See ``Transport.stats``."""
        return tuple(link.stats() for link in self._links.values())

    async def close(self) -> None:
        """See ``Transport.close``; takes at most two seconds."""
        self._is_closing = True
        for peer in [*self._links, *self._dials]:
            self._end(peer, CloseCode.SHUTDOWN, "shutting down")
        if self._delivery is not None:
            self._delivery.flush()
        try:
            # Links that end by themselves leave no traceback that holds their streams: a stream
            # that lives keeps the socket bound (a cancelled task group is a cycle of references).
            if self._running:
                await asyncio.wait(self._running, timeout=_WIND_UP_TIMEOUT_S)
            await self._tasks.stop()
        finally:
            reaching, self._reaching = self._reaching, None
            endpoints = [] if reaching is None else reaching.take_spares()
            del reaching  # it knows the endpoint, whose socket is bound as long as anybody does
            endpoint, self._endpoint = self._endpoint, None
            if endpoint is not None:
                endpoints.append(endpoint)
            with suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                    await asyncio.gather(*(one.close() for one in endpoints))

    # --- dialling ---------------------------------------------------------------------------

    async def _dial(self, peer: NodeId, dial: Dial) -> None:
        outcome: Handshake | Ended
        try:
            outcome = await self._shake_hands(peer, dial)
        except LinkOverError as over:
            outcome = over.ended
        assert self._dials.pop(peer) is dial, "whoever drops a dial cancels it"
        if isinstance(outcome, Handshake):
            self._establish(outcome)
        if dial.guest is not None:
            self._meet(dial.guest)
        elif isinstance(outcome, Ended):
            self._say_down(peer, outcome.end, outcome.detail)

    async def _shake_hands(self, peer: NodeId, dial: Dial) -> Handshake:
        """Connect, greet, and wait for the peer's greeting, which says that it took us.

        Raises:
            LinkOverError: it did not come to that.
        """
        if peer not in self._allowed:
            raise LinkOverError(LinkEnd.CLOSED_BY_US, "not a member: not dialled")
        where = ", ".join(dial.addresses) or "no address"
        reaching = self._reaching
        assert reaching is not None, "dials begin after the start"
        self._serial += 1
        reached: Reached | None = None
        is_done = False
        try:
            async with asyncio.timeout(self._dial_timeout_s) as dial.deadline:
                reached = await reaching.connect(peer, dial.addresses, self._relay_url, LINK_ALPN)
                connection = reached.connection
                outgoing = await open_stream(connection, Channel.CONTROL, self._own_greeting())
                incoming = await connection.accept_uni()
                greeting = decode_greeting(await incoming.read_exact(GREETING_BYTES))
            is_done = True
            return Handshake(peer, connection, greeting, incoming, outgoing, reached.spare)
        except TimeoutError:
            raise LinkOverError(
                LinkEnd.UNREACHABLE, f"no answer at {where}: is it running, does UDP reach it?"
            ) from None
        except BadFrameError as error:
            raise LinkOverError(LinkEnd.FAULT, str(error)) from None
        except NotReachedError as error:
            raise _unreachable(explain(error.words)) from None
        except IrohError as error:
            assert reached is not None, "what fails before is not reached"
            raise _unreachable(how_it_ended(reached.connection, error)) from None
        finally:
            if reached is not None and not is_done:
                close(reached.connection, CloseCode.CROSSED, "this dial was given up")
                reaching.let_go(reached.spare)

    # --- being dialled ----------------------------------------------------------------------

    async def _accept(self, endpoint: Endpoint) -> None:
        while True:
            incoming = await endpoint.accept_next()
            if incoming is None:
                return
            with suppress(IrohError):  # who came may have left again
                if await self._has_place(incoming):
                    self._tasks.run(self._welcome(incoming), "welcome")

    async def _has_place(self, incoming: Incoming) -> bool:
        """Turn away who comes while too many others are on the threshold."""
        if self._handshakes >= HANDSHAKES_MAX:
            await incoming.refuse()
            return False
        if self._handshakes >= _UNPROVEN_MAX and not await incoming.remote_addr_validated():
            await incoming.retry()
            return False
        return True

    async def _welcome(self, incoming: Incoming) -> None:
        """Finish a handshake and tell apart who came: strangers hear it and are read no further."""
        self._handshakes += 1
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                connection = await (await incoming.accept()).connect()
                guest = await self._greet(connection) if connection.alpn() == LINK_ALPN else None
        except (TimeoutError, IrohError):
            return  # it never became anything that the listener could have heard of
        finally:
            self._handshakes -= 1
        if guest is not None:
            self._meet(guest)
        elif connection.alpn() == JOIN_ALPN and self._listener is not None:
            await serve(connection, self._gate, self._listener)

    async def _greet(self, connection: Connection) -> Handshake | None:
        """Read the greeting of an allowed key, or close."""
        peer = NodeId(connection.remote_id().to_bytes())
        if peer not in self._allowed:
            close(connection, CloseCode.REFUSED, "this key is not a member: join first")
            return None
        try:
            stream = await connection.accept_uni()
            greeting = decode_greeting(await stream.read_exact(GREETING_BYTES))
        except BadFrameError as error:
            close(connection, CloseCode.FAULT, str(error))
            return None
        return Handshake(peer, connection, greeting, stream, None)

    def _meet(self, guest: Handshake) -> None:
        """Decide about an incoming connection."""
        peer = guest.peer
        if peer not in self._allowed or self._is_closing:
            close(guest.connection, CloseCode.REFUSED, "this key is not a member: join first")
            return
        link = self._links.get(peer)
        dial = self._dials.get(peer)
        standing = link.greeting if link else None
        verdict = judge(self.node, peer, guest.greeting, standing, is_dialling=dial is not None)
        if verdict is Verdict.DROP:
            close(guest.connection, CloseCode.CROSSED, "another link of the two nodes stands")
        elif verdict is Verdict.PARK and dial is not None:
            dial.park(guest)
        else:
            if dial is not None:
                self._drop_dial(peer)
            if link is not None:
                detail = "replaced by a newer connection of the same key"
                self._take_down(peer, CloseCode.REPLACED, LinkEnd.LOST, detail)
            self._establish(guest)

    # --- links ------------------------------------------------------------------------------

    def _establish(self, handshake: Handshake) -> None:
        peer = handshake.peer
        assert self._delivery is not None, "links begin after the start"
        assert self._listener is not None, "links begin after the start"
        deliver = partial(self._deliver, peer)
        link = IrohLink(handshake, self._own_greeting(), deliver)
        self._links[peer] = link
        task = self._tasks.spawn(self._run(link), f"link {short(peer)}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        self._delivery.now(partial(self._listener.on_link_up, peer, link.address))

    async def _run(self, link: IrohLink) -> None:
        ended = await link.run()
        if self._reaching is not None:
            self._reaching.let_go(link.spare)
        if ended is not None and self._links.get(link.peer) is link:
            del self._links[link.peer]
            self._say_down(link.peer, ended.end, ended.detail)

    def _deliver(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        if self._delivery is not None and self._listener is not None:
            self._delivery.now(partial(self._listener.on_frame, peer, channel, frame))

    def _end(self, peer: NodeId, code: CloseCode, detail: str) -> None:
        """End a link or a dial because we want to."""
        if peer in self._dials:
            self._drop_dial(peer, code)
            self._say_down(peer, LinkEnd.CLOSED_BY_US, detail)
        self._take_down(peer, code, LinkEnd.CLOSED_BY_US, detail)

    def _drop_dial(self, peer: NodeId, code: CloseCode = CloseCode.CROSSED) -> None:
        self._dials.pop(peer).drop(code)

    def _take_down(self, peer: NodeId, code: CloseCode, end: LinkEnd, detail: str) -> None:
        link = self._links.pop(peer, None)
        if link is not None:
            link.end(code, detail)
            self._say_down(peer, end, detail)

    def _say_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        if self._delivery is not None and self._listener is not None:
            self._delivery.soon(partial(self._listener.on_link_down, peer, end, detail))

    def _standing(self, peer: NodeId) -> IrohLink:
        link = self._links.get(peer)
        if link is None or not self._tasks.is_running:
            raise no_link(peer)
        return link

    def _own_greeting(self) -> bytes:
        return encode_greeting(Greeting(self._incarnation, self._serial))


def _unreachable(ended: Ended) -> LinkOverError:
    """Return what ends a dial: a link that never stood was not lost."""
    is_lost = ended.end is LinkEnd.LOST
    return LinkOverError(LinkEnd.UNREACHABLE if is_lost else ended.end, ended.detail)
