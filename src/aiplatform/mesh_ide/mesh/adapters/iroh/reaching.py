"""Reaching a node at its addresses, some of which may be another node's by now.

An iroh endpoint sends the beginning of a dial to every address that it was ever told of a key, and
goes on with whoever answers first. If that is another node, the dial fails although the right one
is there, and so does every later dial: addresses are not forgotten (measured with iroh 1.2.0,
``docs/decisions/0013``). It happens easily. All machines listen on the same port unless told
otherwise, so another machine's loopback or container bridge is this very machine; leases and ports
change hands.

So the node's own endpoint is told no loopback address of somebody who has others. Those, and all
addresses of a peer in whose place another node has answered, are dialled each by an endpoint of
its own, a *spare*, which carries the link if it is the one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Final

from iroh import Connection, Endpoint, EndpointAddr, EndpointId, IrohError
from msgspec import Struct

from aiplatform.mesh_ide.mesh.adapters.iroh.closing import CloseCode, close, is_other_key
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import is_loopback, usable_addresses
from aiplatform.mesh_ide.mesh.adapters.tasks import TaskOwner
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import AddressInUseError

HEAD_START_S: Final = 0.7
"""How long the endpoint's own dial goes before spares try the loopback addresses too."""

SPARE_TIMEOUT_S: Final = 2.5
"""For one address to answer a spare: handshake and a lost packet at a satellite's round trip."""

SPARES_MAX: Final = 16
"""That dial at once. Each costs 4 ms to bind, 1.2 MB and four descriptors."""

MISTAKEN_MAX: Final = 1024
"""Peers remembered in whose place others answered."""

_CLOSE_TIMEOUT_S: Final = 4.0
"""iroh waits 3 s for peers that are gone."""


class NotReachedError(Exception):
    """Nobody of this key answered; ``words`` are iroh's, of the attempt that tells most.

    Kept as text: the errors themselves hold the frames of their dials, and those hold sockets.
    """

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.words = words


class Reached(Struct, frozen=True):
    """A connection whose other end proved the key, and the spare that it needs to live, if any."""

    connection: Connection
    spare: Endpoint | None = None


class _Dial(Struct, frozen=True):
    """One dial: whom, where, for what, and what begins an attempt."""

    peer: NodeId
    usable: list[str]
    relay_url: str | None
    alpn: bytes
    begin: Callable[[Coroutine[None, None, Reached]], None]


class Reaching:
    """Dials for one endpoint.

    Invariant: every spare is in ``_spares`` until it is closed.
    """

    def __init__(
        self, endpoint: Endpoint, bind_spare: Callable[[], Awaitable[Endpoint]], tasks: TaskOwner
    ) -> None:
        """Join the node's endpoint, what binds another one of its key, and who owns tasks."""
        self._endpoint = endpoint
        self._bind_spare = bind_spare
        self._tasks = tasks
        self._mistaken: dict[NodeId, None] = {}
        self._spares: set[Endpoint] = set()
        self._turns = asyncio.Semaphore(SPARES_MAX)

    async def connect(
        self, peer: NodeId, addresses: Sequence[str], relay_url: str | None, alpn: bytes
    ) -> Reached:
        """Return a connection with the node of this key. The caller sets the time limit.

        Raises:
            NotReachedError: no address is of use, or none answered as this node.
        """
        usable = usable_addresses(addresses, self._endpoint)
        if not usable and relay_url is None:
            raise NotReachedError("no address is of use")
        outcomes: asyncio.Queue[Reached | str] = asyncio.Queue()
        outcome: Reached | str = ""
        is_done = False
        try:
            async with asyncio.TaskGroup() as group:
                tasks: list[asyncio.Task[None]] = []

                def begin(attempt: Coroutine[None, None, Reached]) -> None:
                    tasks.append(group.create_task(_settle(attempt, outcomes)))

                dial = _Dial(peer, usable, relay_url, alpn, begin)
                outcome = await self._first(dial, outcomes)
                for task in tasks:
                    task.cancel()
            is_done = True
        finally:
            if not is_done:
                self._drop(outcome)
            while not outcomes.empty():  # what succeeded beside the first
                self._drop(outcomes.get_nowait())
        if isinstance(outcome, str):
            raise NotReachedError(outcome)
        return outcome

    async def _first(self, dial: _Dial, outcomes: asyncio.Queue[Reached | str]) -> Reached | str:
        """Return what reaches the peer first, or why nothing did.

        Spares begin when the endpoint's own dial is late, or fails.
        """
        away = [address for address in dial.usable if not is_loopback(address)]
        together = away or dial.usable
        untried = [address for address in dial.usable if away and is_loopback(address)]
        if dial.peer in self._mistaken:
            together, untried = [], dial.usable
        pending = 0
        if together or dial.relay_url is not None:
            dial.begin(self._by_own(dial, together))
            pending = 1
        failures: list[str] = []
        tried: set[str] = set()
        while pending or untried:
            with suppress(TimeoutError):
                async with asyncio.timeout(_patience(pending, untried)):
                    outcome = await outcomes.get()
                    pending -= 1
                    if isinstance(outcome, Reached):
                        return outcome
                    failures.append(outcome)
                    if dial.peer in self._mistaken:  # just found, or known before
                        untried = [one for one in dial.usable if one not in tried]
            for address in untried:
                dial.begin(self._by_spare(dial, address))
                tried.add(address)
                pending += 1
            untried = []
        return next(filter(is_other_key, failures), failures[0])

    def _mistake(self, peer: NodeId) -> None:
        """Remember that the own endpoint knows an address of this peer that is another's."""
        self._mistaken[peer] = None
        if len(self._mistaken) > MISTAKEN_MAX:
            del self._mistaken[next(iter(self._mistaken))]

    async def _by_own(self, dial: _Dial, addresses: list[str]) -> Reached:
        target = EndpointAddr(EndpointId.from_bytes(dial.peer), dial.relay_url, addresses)
        try:
            return Reached(await self._endpoint.connect(target, dial.alpn))
        except IrohError as error:
            if is_other_key(error.message()):
                self._mistake(dial.peer)
            raise

    async def _by_spare(self, dial: _Dial, address: str) -> Reached:
        async with self._turns:
            spare = await self._bind_spare()
            self._spares.add(spare)
            is_reached = False
            try:
                target = EndpointAddr(EndpointId.from_bytes(dial.peer), None, [address])
                async with asyncio.timeout(SPARE_TIMEOUT_S):
                    connection = await spare.connect(target, dial.alpn)
                is_reached = True
                return Reached(connection, spare)
            except IrohError as error:
                if is_other_key(error.message()) and is_loopback(address):
                    # This machine's own other node: it says nothing of where the peer is.
                    raise TimeoutError from None
                raise
            finally:
                if not is_reached:
                    self.let_go(spare)

    def _drop(self, outcome: Reached | str) -> None:
        if isinstance(outcome, Reached):
            close(outcome.connection, CloseCode.CROSSED, "reached on another way")
            self.let_go(outcome.spare)

    # --- spares ------------------------------------------------------------------------------

    def let_go(self, spare: Endpoint | None) -> None:
        """Close a spare whose connection has ended, behind the caller's back."""
        if spare is not None and self._tasks.is_running:
            self._tasks.run(self._close(spare), "close a spare endpoint")

    async def _close(self, spare: Endpoint) -> None:
        with suppress(TimeoutError, IrohError):
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await spare.close()
        self._spares.discard(spare)

    def take_spares(self) -> list[Endpoint]:
        """Hand over all spares, to be closed with the endpoint."""
        spares = list(self._spares)
        self._spares.clear()
        return spares


async def _settle(
    attempt: Coroutine[None, None, Reached], outcomes: asyncio.Queue[Reached | str]
) -> None:
    """Await an attempt; its connection, or iroh's words for why there is none, go to the queue."""
    try:
        outcomes.put_nowait(await attempt)
    except TimeoutError:
        outcomes.put_nowait("no answer in time")
    except AddressInUseError as error:  # no port is left for a spare
        outcomes.put_nowait(str(error))
    except IrohError as error:
        outcomes.put_nowait(error.message())


def _patience(pending: int, untried: Sequence[str]) -> float | None:
    """Return how long to wait for attempts under way before more of them begin."""
    if not pending:
        return 0
    return HEAD_START_S if untried else None
