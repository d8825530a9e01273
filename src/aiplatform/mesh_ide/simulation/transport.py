"""``Transport`` over the simulator's network: the same links that simulated nodes have.

It exists to hold that network to the port's contract: the suite of ``tests/contract`` runs over
it as over iroh. It adds what a transport has beside its network: bounded queues, an order in
which the listener hears, and the gate of the join protocol. Needs a ``VirtualLoop`` on the
network's agenda.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial

from aiplatform.mesh_ide.mesh.adapters.channels import SendQueue
from aiplatform.mesh_ide.mesh.adapters.in_process import InProcessEnd, InProcessTransport
from aiplatform.mesh_ide.mesh.adapters.joins import ANSWER_TIMEOUT_S, JoinGate, check_join_frame
from aiplatform.mesh_ide.mesh.adapters.tasks import TaskOwner
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import NodeId, short
from aiplatform.mesh_ide.ports.errors import PeerUnreachableError
from aiplatform.mesh_ide.ports.transport import LinkEnd, LinkListener
from aiplatform.mesh_ide.simulation.network import Frame, Network, Reply, address_of


class _End(InProcessEnd):
    """This side of a link."""

    def __init__(self, peer: NodeId, address: str) -> None:
        super().__init__(peer, address, rtt_ms=None)
        self.is_cut = False
        """We ended it: what arrived and was not heard yet is not heard any more."""


class SimulatedTransport(InProcessTransport[_End]):
    """One node's links on a simulated network.

    A frame counts as queued until it has arrived, so the bounds hold for what is in flight too,
    and a link that a partition holds up makes its sender wait.
    """

    def __init__(self, network: Network, node: NodeId) -> None:
        super().__init__(node, TaskOwner(f"simulated transport {short(node)}"))
        self.allowed: frozenset[NodeId] = frozenset()
        self._network = network
        self._gate = JoinGate()
        self._listener: LinkListener | None = None
        self._unheard: deque[Callable[[], None]] = deque()
        self._has_unheard = asyncio.Event()

    # --- the port ----------------------------------------------------------------------------

    async def start(self, listener: LinkListener) -> tuple[str, ...]:
        """Enter the network; see ``Transport.start``."""
        assert self._listener is None, "a transport starts once"
        self._listener = listener
        await self._tasks.start()
        self._tasks.run(self._tell(), "listener")
        self._network.attach(self.node, self, self)
        return (address_of(self.node),)

    def allow(self, peers: frozenset[NodeId]) -> None:
        """See ``Transport.allow``."""
        self.allowed = peers
        for peer in [peer for peer in self._ends if peer not in peers]:
            self._let_go(peer)
        if self._tasks.is_running:
            self._network.allow(self.node)

    def dial(self, peer: NodeId, addresses: Sequence[str]) -> None:
        """See ``Transport.dial``."""
        if self._tasks.is_running:
            self._network.dial(self.node, peer, addresses)

    def disconnect(self, peer: NodeId, detail: str) -> None:
        """See ``Transport.disconnect``; a dial under way ends the same way."""
        self._let_go(peer)
        if self._tasks.is_running:
            self._network.disconnect(self.node, peer, detail)

    async def request_join(
        self, peer: NodeId, addresses: Sequence[str], request: bytes, timeout_s: float
    ) -> bytes:
        """See ``Transport.request_join``."""
        check_join_frame(request, "request")
        if not self._tasks.is_running:
            raise PeerUnreachableError(f"{short(peer)} was not asked: this transport is closed")
        answered: asyncio.Future[bytes | MeshIDEError] = asyncio.get_running_loop().create_future()

        def reply(answer: bytes | MeshIDEError) -> None:
            if not answered.done():
                answered.set_result(answer)

        self._network.ask(self.node, peer, addresses, request, reply)
        try:
            async with asyncio.timeout(timeout_s):
                answer = await answered
        except TimeoutError:
            raise PeerUnreachableError(
                f"{short(peer)} did not answer the join request in time"
            ) from None
        if isinstance(answer, MeshIDEError):
            raise PeerUnreachableError(
                f"{short(peer)} did not answer the join request: {answer}"
            ) from answer
        return answer

    async def close(self) -> None:
        """See ``Transport.close``."""
        if self._tasks.is_running:
            for peer in list(self._ends):
                self._let_go(peer)
            self._network.leave(self.node, "shutting down")
            self._hear()
        await self._tasks.stop()

    async def vanish(self) -> None:
        """Die without a word: nobody is told, this side's listener neither."""
        self._network.crash(self.node)
        for peer in list(self._ends):
            self._let_go(peer)
        self._unheard.clear()
        await self._tasks.stop()

    # --- the network speaks ------------------------------------------------------------------

    def link_up(self, peer: NodeId, address: str) -> None:
        """See ``network.Linked``."""
        end = self._ends[peer] = _End(peer, address)
        end.task = self._tasks.spawn(
            end.carry(partial(self._hand_to_network, end)), f"link {short(peer)}"
        )
        if self._listener is not None:
            self._say(partial(self._listener.on_link_up, peer, address))

    def link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        """See ``network.Linked``."""
        ours = self._ends.pop(peer, None)
        if ours is not None:
            ours.stop()
        if self._listener is not None:
            self._say(partial(self._listener.on_link_down, peer, end, detail))

    def frame(self, peer: NodeId, channel: Channel, frame: Frame) -> None:
        """See ``network.Linked``."""
        assert isinstance(frame, bytes), "a transport carries bytes"
        end = self._ends.get(peer)
        if end is not None:
            end.received_bytes += len(frame)
            self._say(partial(self._hand_over, end, channel, frame))

    def join_asked(self, peer: NodeId, request: bytes, reply: Reply) -> None:
        """See ``network.Door``."""
        self._tasks.run(self._answer_join(peer, request, reply), f"join of {short(peer)}")

    # --- inside ------------------------------------------------------------------------------

    def _hand_to_network(
        self, end: _End, channel: Channel, queue: SendQueue, frames: list[bytes]
    ) -> None:
        for frame in frames:
            landed = partial(self._landed, end, queue, frame)
            self._network.send(self.node, end.peer, channel, frame, landed)

    def _landed(self, end: _End, queue: SendQueue, frame: bytes) -> None:
        queue.done([frame])
        end.filled.set()  # whoever waited for room is let in by that

    async def _tell(self) -> None:
        """Let the listener hear one thing after the other; its error ends the transport."""
        while True:
            await self._has_unheard.wait()
            self._has_unheard.clear()
            self._hear()

    def _hear(self) -> None:
        while self._unheard:
            self._unheard.popleft()()

    def _say(self, call: Callable[[], None]) -> None:
        self._unheard.append(call)
        self._has_unheard.set()

    def _hand_over(self, end: _End, channel: Channel, frame: bytes) -> None:
        if not end.is_cut and self._listener is not None:
            self._listener.on_frame(end.peer, channel, frame)

    async def _answer_join(self, peer: NodeId, request: bytes, reply: Reply) -> None:
        assert self._listener is not None, "a door that opened before the start"
        try:
            with self._gate.admit(peer, asyncio.get_running_loop().time()):
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    answer = await self._listener.on_join(peer, request)
            check_join_frame(answer, "answer")
        except TimeoutError:
            reply(PeerUnreachableError("the join request took too long"))
        except MeshIDEError as error:
            reply(error)
        else:
            reply(answer)

    def _let_go(self, peer: NodeId) -> None:
        """Take our side of a link away; what is on its way to the listener is dropped."""
        end = self._ends.pop(peer, None)
        if end is not None:
            end.is_cut = True
            end.stop()
