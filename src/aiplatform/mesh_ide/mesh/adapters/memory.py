"""Links inside one process, for embedded nodes and tests: the contract without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from aiplatform.mesh_ide.mesh.adapters.channels import SendQueue
from aiplatform.mesh_ide.mesh.adapters.delivery import Delivery
from aiplatform.mesh_ide.mesh.adapters.in_process import InProcessEnd, InProcessTransport
from aiplatform.mesh_ide.mesh.adapters.joins import (
    ANSWER_TIMEOUT_S,
    JoinBusyError,
    JoinGate,
    check_join_frame,
)
from aiplatform.mesh_ide.mesh.adapters.tasks import TaskOwner
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import NodeId, short
from aiplatform.mesh_ide.ports.errors import PeerUnreachableError
from aiplatform.mesh_ide.ports.transport import LinkEnd, LinkListener


class MemoryHub:
    """The "network": who can be reached under which key. One event loop, any number of nodes."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, MemoryTransport] = {}
        self._count = 0

    def transport(self, node: NodeId) -> MemoryTransport:
        """Return a new transport with this key, not started yet."""
        return MemoryTransport(self, node)

    async def kill(self, node: NodeId) -> None:
        """Let a node vanish without a word: its peers keep links that nothing comes out of."""
        transport = self._nodes.pop(node, None)
        if transport is not None:
            await transport._die()  # noqa: SLF001 - hub and transport are one adapter

    def _enter(self, transport: MemoryTransport) -> str:
        self._nodes[transport.node] = transport
        self._count += 1
        return f"memory:{self._count}"

    def _leave(self, transport: MemoryTransport) -> None:
        if self._nodes.get(transport.node) is transport:
            del self._nodes[transport.node]

    def _find(self, node: NodeId, addresses: Sequence[str]) -> MemoryTransport | None:
        found = self._nodes.get(node)
        return found if found is not None and found.address in addresses else None


class _End(InProcessEnd):
    """One side of a link, which knows the other."""

    def __init__(self, owner: MemoryTransport, peer: NodeId, address: str) -> None:
        super().__init__(peer, address, rtt_ms=0.0)
        self.owner = owner
        self.other: _End | None = None

    def hand_over(self, channel: Channel, queue: SendQueue, frames: list[bytes]) -> None:
        """Move frames to the other side; they count as queued until it has taken them."""
        for frame in frames:
            if self.other is not None:
                self.other.receive(channel, frame)
        queue.done(frames)

    def receive(self, channel: Channel, frame: bytes) -> None:
        """Hand a frame to this side's listener, if this side still stands."""
        self.received_bytes += len(frame)
        self.owner._receive(self, channel, frame)  # noqa: SLF001 - one adapter


class MemoryTransport(InProcessTransport[_End]):
    """``Transport`` over a ``MemoryHub``.

    Guarantees what the port says. Both ends of a link come up in one step, so two crossing dials
    cannot make two links. Frames reach the other side's listener from this side's task.
    """

    def __init__(self, hub: MemoryHub, node: NodeId) -> None:
        super().__init__(node, TaskOwner(f"memory transport {short(node)}"))
        self.address = ""
        self._hub = hub
        self._allowed: frozenset[NodeId] = frozenset()
        self._dials: dict[NodeId, asyncio.Task[None]] = {}
        self._gate = JoinGate()
        self._listener: LinkListener | None = None
        self._delivery: Delivery | None = None
        self._is_dead = False

    async def start(self, listener: LinkListener) -> tuple[str, ...]:
        """Enter the hub; see ``Transport.start``."""
        assert self._listener is None, "a transport starts once"
        self._listener = listener
        self._delivery = Delivery(asyncio.get_running_loop())
        await self._tasks.start()
        self.address = self._hub._enter(self)  # noqa: SLF001 - one adapter
        return (self.address,)

    def allow(self, peers: frozenset[NodeId]) -> None:
        """See ``Transport.allow``."""
        self._allowed = peers
        for peer in [*self._ends, *self._dials]:
            if peer not in peers:
                self._end(peer, "no longer a member", LinkEnd.REFUSED)

    def dial(self, peer: NodeId, addresses: Sequence[str]) -> None:
        """See ``Transport.dial``."""
        if not self._tasks.is_running or peer in self._ends or peer in self._dials:
            return
        self._dials[peer] = self._tasks.spawn(
            self._connect(peer, tuple(addresses)), f"dial {short(peer)}"
        )

    def disconnect(self, peer: NodeId, detail: str) -> None:
        """See ``Transport.disconnect``; a dial under way ends the same way."""
        self._end(peer, detail, LinkEnd.CLOSED_BY_PEER)

    async def request_join(
        self, peer: NodeId, addresses: Sequence[str], request: bytes, timeout_s: float
    ) -> bytes:
        """See ``Transport.request_join``."""
        check_join_frame(request, "request")
        found = self._hub._find(peer, addresses)  # noqa: SLF001 - one adapter
        if found is None or not self._tasks.is_running:
            raise PeerUnreachableError(
                f"{short(peer)} does not answer at {', '.join(addresses) or 'no address'}"
            )
        try:
            async with asyncio.timeout(timeout_s):
                return await found._answer_join(self.node, request)  # noqa: SLF001 - one adapter
        except TimeoutError:
            raise PeerUnreachableError(
                f"{short(peer)} did not answer the join request in time"
            ) from None
        except MeshIDEError as error:
            raise PeerUnreachableError(
                f"{short(peer)} did not answer the join request: {error}"
            ) from error

    async def close(self) -> None:
        """See ``Transport.close``."""
        self._hub._leave(self)  # noqa: SLF001 - one adapter
        for peer in [*self._ends, *self._dials]:
            self._end(peer, "shutting down", LinkEnd.CLOSED_BY_PEER)
        if self._delivery is not None and not self._is_dead:
            self._delivery.flush()
        await self._tasks.stop()

    async def _connect(self, peer: NodeId, addresses: tuple[str, ...]) -> None:
        await asyncio.sleep(0)
        del self._dials[peer]
        found = self._hub._find(peer, addresses)  # noqa: SLF001 - one adapter
        if peer not in self._allowed:
            self._say_down(peer, LinkEnd.CLOSED_BY_US, "not a member: not dialled")
        elif found is None:
            where = ", ".join(addresses) or "no address"
            self._say_down(peer, LinkEnd.UNREACHABLE, f"nobody answers at {where}")
        elif self.node not in found._allowed:  # noqa: SLF001 - one adapter
            self._say_down(peer, LinkEnd.REFUSED, "the peer does not know this node as a member")
        else:
            ours = _End(self, peer, found.address)
            theirs = _End(found, self.node, self.address)
            ours.other, theirs.other = theirs, ours
            found._adopt(theirs)  # noqa: SLF001 - one adapter
            self._adopt(ours)

    def _adopt(self, end: _End) -> None:
        """Take a new link in place of a dial under way or of a half-dead link."""
        dial = self._dials.pop(end.peer, None)
        if dial is not None:
            dial.cancel()
        old = self._ends.pop(end.peer, None)
        if old is not None:
            old.stop()
            self._say_down(end.peer, LinkEnd.LOST, "replaced by a newer connection of the peer")
        self._ends[end.peer] = end
        end.task = self._tasks.spawn(end.carry(end.hand_over), f"link {short(end.peer)}")
        if self._delivery is not None and self._listener is not None:
            self._delivery.now(partial(self._listener.on_link_up, end.peer, end.address))

    def _end(self, peer: NodeId, detail: str, told_as: LinkEnd) -> None:
        """End a link or a dial because we want to; the peer hears ``told_as``."""
        dial = self._dials.pop(peer, None)
        if dial is not None:
            dial.cancel()
            self._say_down(peer, LinkEnd.CLOSED_BY_US, detail)
        end = self._ends.pop(peer, None)
        if end is None:
            return
        end.stop()
        self._say_down(peer, LinkEnd.CLOSED_BY_US, detail)
        if end.other is not None:
            end.other.owner._hear_end(end.other, told_as, detail)  # noqa: SLF001 - one adapter

    def _hear_end(self, end: _End, how: LinkEnd, detail: str) -> None:
        if self._ends.get(end.peer) is end:
            del self._ends[end.peer]
            end.stop()
            self._say_down(end.peer, how, detail)

    def _receive(self, end: _End, channel: Channel, frame: bytes) -> None:
        if self._ends.get(end.peer) is end and self._delivery is not None and self._listener:
            self._delivery.now(partial(self._listener.on_frame, end.peer, channel, frame))

    async def _answer_join(self, peer: NodeId, request: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        with self._gate.admit(peer, loop.time()):
            if self._listener is None:
                raise JoinBusyError("not ready")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                answer = await self._listener.on_join(peer, request)
        check_join_frame(answer, "answer")
        return answer

    def _say_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        if self._delivery is not None and self._listener is not None and not self._is_dead:
            self._delivery.soon(partial(self._listener.on_link_down, peer, end, detail))

    async def _die(self) -> None:
        """Vanish: nobody is told, this side's listener neither."""
        self._is_dead = True
        for end in self._ends.values():
            end.stop()
            if end.other is not None:
                end.other.other = None
        self._ends.clear()
        await self._tasks.stop()
