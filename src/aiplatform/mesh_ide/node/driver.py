"""The driver: one NodeCore on asyncio, with real lanes, links, folder and clock.

Everything that happens becomes an event in one inbox; events are handled one after another on
the event loop; commands go to their adapter at once. Nothing here decides anything.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Final, Protocol, TypeVar

from aiplatform.mesh_ide.mesh.codec import decode
from aiplatform.mesh_ide.mesh.outputs import AllowPeers, Dial, Disconnect
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import BlobHash, NodeId
from aiplatform.mesh_ide.model.messages import Pong
from aiplatform.mesh_ide.node.asking import Asking
from aiplatform.mesh_ide.node.clock import SteadyClock
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.events import (
    Command,
    Event,
    GarbageReceived,
    GoOn,
    LinkDown,
    LinkUp,
    PeerFlooded,
    Received,
    Replied,
    Request,
    Started,
    Tick,
    Told,
    WentOn,
)
from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.node.lanes import Lanes
from aiplatform.mesh_ide.node.memory import collect_rarely, give_back, limit_arenas
from aiplatform.mesh_ide.node.outbox import Outbox
from aiplatform.mesh_ide.node.pinging import Pinging
from aiplatform.mesh_ide.node.pressure import Pressure
from aiplatform.mesh_ide.node.reading import read_on
from aiplatform.mesh_ide.node.sending import Sending
from aiplatform.mesh_ide.node.telling import Listening
from aiplatform.mesh_ide.ports.errors import (
    BadFrameError,
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.filetree import Contents
from aiplatform.mesh_ide.ports.jobs import (
    Job,
    JobResult,
    Lane,
    PartsReceived,
    Persist,
    Persisted,
    SlicesVerified,
)
from aiplatform.mesh_ide.ports.store import Store
from aiplatform.mesh_ide.ports.transport import LinkEnd, Transport
from aiplatform.mesh_ide.replication.commands import SendBlobs, SendEntries, SendMessage

TICK_S: Final = 0.1
IDLE_TICKS: Final = 30
"""After three seconds without work, memory that was freed goes back to the system."""

PUMP_BUDGET_S: Final = 0.01
"""The inbox is worked off for at most this long before sockets get their turn."""

TOLD_WAITING_MAX: Final = 1024
"""A watcher that is slower than this loses the oldest events (and is told how many)."""

REQUEST_TIMEOUT_S: Final = 60.0

T = TypeVar("T")


class JoinHandler(Protocol):
    """Answers strangers who ask to join."""

    async def __call__(self, peer: NodeId, request: bytes) -> bytes:
        """Return the answer's frame."""


async def refuse_joins(peer: NodeId, request: bytes) -> bytes:
    """Answer nobody: an empty frame."""
    del peer, request
    return b""


class NodeDriver:
    """Runs one node until ``stop`` (or until a defect ends it, which ``wait`` raises).

    Use: ``await driver.start()``, then ``request``/``watch``/``read``; at last ``stop``.
    """

    def __init__(  # noqa: PLR0913 - it joins the adapters
        self,
        core: NodeCore,
        runner: JobRunner,
        store: Store,
        contents: Contents,
        transport: Transport,
        clock: SteadyClock,
    ) -> None:
        self.core = core
        self.store = store
        self.contents = contents
        self.transport = transport
        self.clock = clock
        self.on_join_request: JoinHandler = refuse_joins
        self.report_damage: Callable[[CorruptRecordError], None] = lambda _: None
        self.addresses: tuple[str, ...] = ()
        self._runner = runner
        self._inbox: deque[tuple[Event, int]] = deque()
        self._pressure = Pressure(core.intake.held_bytes)
        self._jobs: deque[Job] = deque()
        self._is_pumping = False
        self._was_busy = True
        self._asking = Asking(self.post)
        self._pinging = Pinging(transport, clock)
        self._watchers: set[Listening] = set()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._runs: asyncio.Task[None] | None = None
        self._spawned: list[asyncio.Task[None]] = []

    # --- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to serve; returns when links are listened for and the core has started.

        Raises:
            AddressInUseError: the port is taken and no other was allowed.
        """
        self._loop = asyncio.get_running_loop()
        self._up = self._loop.create_future()
        # Owned by this object: `stop` and `wait` await it, whoever started the node.
        self._runs = self._loop.create_task(self._run())
        await asyncio.wait({self._runs, self._up}, return_when=asyncio.FIRST_COMPLETED)
        if self._runs.done():
            await self._runs

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run something as long as the node runs; if it fails, the node ends with its error."""
        self._spawned.append(self._tasks.create_task(work))

    async def _run(self) -> None:
        worker = ThreadPoolExecutor(1, thread_name_prefix="mesh-outgoing")
        limit_arenas()
        collect_rarely()
        self._lanes = Lanes(self._runner, self._post_from_lane, self._fail_from_lane)
        self._lanes.start()
        try:
            # Outside of the group, which would wrap an address in use into an ExceptionGroup;
            # nobody is allowed to link yet, so nothing can arrive.
            self.addresses = await self.transport.start(self)
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._outbox = Outbox(self.transport, tasks, worker, self._say)
                self._sending = Sending(
                    self.transport,
                    self._outbox,
                    self.store,
                    self.contents,
                    self._path_of,
                    self.post,
                    self.tell,
                    self.report_damage,
                )
                self.core.membership.set_addresses(self.addresses)
                self.spawn(self._tick())
                self.post(Started())
                self._up.set_result(None)
                await self._stopping.wait()
                self._begin_jobs()
                if self._failure is None:
                    self._save_last()
                for task in self._spawned:
                    task.cancel()
                self._outbox.close()
        finally:
            await self.transport.close()
            await self._loop.run_in_executor(None, self._lanes.stop)
            worker.shutdown(wait=True, cancel_futures=True)
            self._asking.close()
        if self._failure is not None:
            raise self._failure

    def _save_last(self) -> None:
        """Have records written that would have waited for the next tick.

        They say what this node itself wrote into the folder. Without them the next start has to
        take an edit that somebody makes in between for another file of the same name.
        """
        for command in self.core.handle(Tick(), self.clock.now_ms()):
            if isinstance(command, Persist):
                self._lanes.submit(command)

    async def wait(self) -> None:
        """Return when the node was stopped; raise what ended it otherwise."""
        assert self._runs is not None, "start first"
        await asyncio.shield(self._runs)

    async def stop(self) -> None:
        """Stop serving; idempotent. What was acknowledged is on the disk already."""
        self._stopping.set()
        if self._runs is not None:
            await asyncio.wait({self._runs})

    async def _tick(self) -> None:
        idle_ticks = 0
        while True:
            await asyncio.sleep(TICK_S)
            self._asking.expire(self._loop.time())
            idle_ticks = 0 if self._was_busy else idle_ticks + 1
            self._was_busy = False
            if idle_ticks == IDLE_TICKS:
                await self._loop.run_in_executor(None, give_back)
            self.post(Tick())

    # --- events ------------------------------------------------------------------------------

    def post(self, event: Event, cost_bytes: int = 0) -> None:
        """Take an event (on the loop); ``cost_bytes`` is what a peer's frame counts."""
        self._inbox.append((event, cost_bytes))
        self._was_busy = self._was_busy or not isinstance(event, Tick | Persisted)
        if not self._is_pumping:
            self._is_pumping = True
            self._loop.call_soon(self._pump)

    def post_from_thread(self, event: Event) -> None:
        """Take an event from any thread; one that comes after the end is lost."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.post, event)

    def _post_from_lane(self, result: JobResult) -> None:
        self._loop.call_soon_threadsafe(self.post, result)

    def _fail_from_lane(self, error: BaseException) -> None:
        self._loop.call_soon_threadsafe(self._fail, error)

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stopping.set()

    def _pump(self) -> None:
        deadline = self._loop.time() + PUMP_BUDGET_S
        try:
            while self._inbox and not self._stopping.is_set():
                event, cost_bytes = self._inbox.popleft()
                commands = self.core.handle(event, self.clock.now_ms())
                if isinstance(event, SlicesVerified | PartsReceived):
                    self._pressure.done(event)
                if cost_bytes and isinstance(event, Received | GarbageReceived):
                    self._pressure.handled(event.peer, cost_bytes, commands)
                else:
                    self._pressure.asked(commands)
                for command in commands:
                    self._execute(command)
                if self._loop.time() > deadline:
                    break
        except BaseException as error:  # noqa: BLE001 - a defect: the owner of the node hears of it
            self._fail(error)
        if self._inbox and not self._stopping.is_set():
            self._loop.call_soon(self._pump)
        else:
            self._is_pumping = False

    def _execute(self, command: Command) -> None:
        match command:
            case SendMessage() | SendEntries() | SendBlobs():
                self._sending.send(command)
            case Dial():
                self.transport.dial(command.peer, command.addresses)
            case AllowPeers():
                self.transport.allow(command.peers)
            case Disconnect():
                self.transport.disconnect(command.peer, command.detail)
            case Replied():
                self._asking.answered(command)
            case Told():
                self.tell(command)
            case GoOn():
                self.post(WentOn())
            case _:
                self._begin_later(command)

    def _begin_later(self, job: Job) -> None:
        """Begin a job once what is to be sent and told by now has left.

        A lane that is woken takes the interpreter from the loop: frames left half a millisecond
        later for it. Two turns of the loop bring a frame to the link, an answer to its socket.
        """
        self._jobs.append(job)
        if len(self._jobs) == 1:
            self._loop.call_soon(self._loop.call_soon, self._begin_jobs)

    def _begin_jobs(self) -> None:
        try:
            while self._jobs:
                self._lanes.submit(self._jobs.popleft())
        except Exception as error:  # noqa: BLE001 - as in a turn: the node ends and says why
            self._fail(error)

    def _path_of(self, blob: BlobHash) -> str | None:
        return self.core.workspace.folder.source(blob).path

    def _say(self, peer: NodeId, problem: str) -> None:
        self.tell(Told("warning", f"an answer was cut short: {problem}", peer))

    def tell(self, told: Told) -> None:
        """Let those who watch know."""
        for watcher in self._watchers:
            watcher.tell(told)

    # --- the transport speaks ----------------------------------------------------------------

    def on_link_up(self, peer: NodeId, address: str) -> None:
        """See ``LinkListener``."""
        self.post(LinkUp(peer, address))

    def on_link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        """See ``LinkListener``."""
        self._outbox.drop(peer)
        self.post(LinkDown(peer, detail or end.value))

    def on_frame(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """See ``LinkListener``."""
        del channel
        cost_bytes = self._pressure.came(peer, len(frame))
        if cost_bytes is None:
            self.transport.disconnect(peer, "sent more than could be taken in")
            self.post(PeerFlooded(peer))
            return
        try:
            message = decode(frame)
        except BadFrameError as error:
            self.post(GarbageReceived(peer, str(error)), cost_bytes)
            return
        if isinstance(message, Pong):
            self._pinging.came(message, self._loop.time())
        self.post(Received(peer, message), cost_bytes)

    async def on_join(self, peer: NodeId, request: bytes) -> bytes:
        """See ``LinkListener``."""
        return await self.on_join_request(peer, request)

    # --- people speak ------------------------------------------------------------------------

    async def request(
        self, make: Callable[[int], Request], timeout_s: float = REQUEST_TIMEOUT_S
    ) -> Replied:
        """Put a request to the core and return its answer.

        Args:
            make: builds the request around the tag it is given.
            timeout_s: how long to wait for the answer, to a tick.

        Raises:
            RequestRefusedError: the core said no, or the node stopped.
            TimedOutError: no answer in time; the request may still take effect.
        """
        return await self._asking.request(make, timeout_s)

    async def ping(self, peer: NodeId, timeout_s: float) -> float | None:
        """Return how many ms a message took to a peer's event loop and back; ``None``: no answer.

        Raises:
            NoLinkError: there is no link to this peer.
        """
        return await self._pinging.ping(peer, timeout_s)

    def submit(self, job: Job) -> None:
        """Put a job on its lane besides what the core asks for; its result is an event."""
        self._begin_jobs()
        self._lanes.submit(job)

    async def read(self, lane: Lane, work: Callable[[], T], timeout_s: float = 60.0) -> T:
        """Run a read between the jobs of a lane and return what it returned (or raise it).

        Raises:
            TimedOutError: the lane did not get to it in time.
        """
        self._begin_jobs()  # a read comes behind what was asked for before it
        return await read_on(self._lanes, lane, work, timeout_s, self.report_damage)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[asyncio.Queue[Told]]:
        """Give a queue of what happens from now on (bounded; it tells what it lost)."""
        watcher = Listening(TOLD_WAITING_MAX)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
