"""One simulated machine: its disk, and the node that runs on it while it lives.

It does what ``node.boot`` and ``node.driver`` do, with virtual adapters: events go to the core
one after another, jobs run on their lanes, results come back in order and late, long answers are
sent piece by piece. A crash drops everything but the disk.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.mesh.outputs import AllowPeers, Dial, Disconnect
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import BlobHash, NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage
from aiplatform.mesh_ide.node.events import (
    Command,
    Event,
    FolderTouched,
    FolderUnwatched,
    GarbageReceived,
    GoOn,
    LinkDown,
    LinkUp,
    Received,
    Replied,
    Request,
    Started,
    Tick,
    Told,
    WentOn,
)
from aiplatform.mesh_ide.node.outgoing import blob_messages, entry_messages
from aiplatform.mesh_ide.ports.errors import BadFrameError
from aiplatform.mesh_ide.ports.jobs import (
    LANE_OF,
    ApplyWrites,
    Job,
    JobResult,
    Lane,
    Persist,
)
from aiplatform.mesh_ide.ports.store import PutEntries
from aiplatform.mesh_ide.ports.transport import LinkEnd
from aiplatform.mesh_ide.replication.commands import SendBlobs, SendEntries, SendMessage
from aiplatform.mesh_ide.simulation.answers import Answers
from aiplatform.mesh_ide.simulation.clock import US_PER_MS
from aiplatform.mesh_ide.simulation.network import Frame
from aiplatform.mesh_ide.simulation.parts import boot_of
from aiplatform.mesh_ide.storage.contents import ContentCache, StoreContents
from aiplatform.mesh_ide.storage.errors import SimulatedDeathError
from aiplatform.mesh_ide.storage.memory_disk import DiskFault as StoreFault
from aiplatform.mesh_ide.workspace.adapters.memory_tree import SimulatedCrashError
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step
from aiplatform.mesh_ide.workspace.adapters.paths import BadPathError

if TYPE_CHECKING:
    from aiplatform.mesh_ide.simulation.world import World

TICK_MS: Final = 100
GROUP_COMMIT_MAX: Final = 8
_STEPS: Final = tuple(Step)


class OwnWrite(Struct, frozen=True):
    """A change of the folder by the node itself."""

    at_us: int
    before: bytes | None
    after: bytes | None


class Running(Struct):
    """A lane's work under way."""

    jobs: list[Job]


class SimulatedNode:
    """A machine with one node.

    Invariants:
        1. nothing reaches a core that died: every later action checks the incarnation.
        2. results of one lane reach the core in the order of the jobs.
    """

    def __init__(self, world: World, name: str, key: SigningKey) -> None:
        self.world = world
        self.name = name
        self.key = key
        self.id = NodeId(key.public)
        self.disk = world.factory.disk()
        self.allowed: frozenset[NodeId] = frozenset()
        self.is_running = False
        self.incarnation = 0
        self.skew_ms = 0
        self.roster: tuple[bytes, ...] = ()
        self.known_addresses: dict[NodeId, tuple[str, ...]] = {}
        self.has_joined = True
        self.events = 0
        self.git_us = -(10**9)
        self.own_writes: dict[str, OwnWrite] = {}
        self._told_disk: dict[str, None] = {}
        self._is_watch_due = False

    # --- life --------------------------------------------------------------------------------

    def start(self) -> None:
        """Boot from the disk."""
        world = self.world
        self.incarnation += 1
        self.is_running = True
        self.session = world.new_key()
        self.store = self.disk.open_store()
        self.cache = ContentCache()
        self.contents = StoreContents(self.cache, self.store, self.disk.read)
        self.tree = world.factory.tree(self)
        self.names = LoroTreeEngine()
        self._lanes: dict[Lane, deque[Job]] = {lane: deque() for lane in Lane}
        self._running: dict[Lane, Running] = {}
        self._last_us: dict[Lane, int] = dict.fromkeys(Lane, 0)
        self._answers = Answers(self._later, self._send)
        self._events_under_way = 0
        self.core = world.factory.core(boot_of(self))
        self.runner = world.factory.runner(self)
        self.core.load(self.now_ms())
        world.network.attach(self.id, self)
        self.disk.folder.take_changes()
        self._told_disk.clear()
        self.own_writes.clear()
        restored = self.tree.recover()
        self.post(Started())
        if restored:
            self.post(FolderTouched(tuple(seen.path for seen in restored)))
        self._later(world.random.randrange(TICK_MS) * US_PER_MS, self._tick)

    def crash(self) -> None:
        """Die at once; jobs under way end anywhere."""
        if not self.is_running:
            return
        self.world.trace("crash", self.name)
        self.is_running = False
        self.world.oracle.on_crash(self)
        self.world.users.on_crash(self)
        self._end_jobs()
        self.disk.crash(self.world.random)
        self.world.network.crash(self.id)

    def _end_jobs(self) -> None:
        """Let each job under way be done, half done or not begun; nobody hears of it."""
        random, faults = self.world.random, self.world.faults
        for lane in sorted(self._running, key=_lane_name):
            if random.random() < 0.5:  # noqa: PLR2004 - as likely as not
                continue
            for job in self._running[lane].jobs:
                if isinstance(job, Persist):
                    if random.random() < faults.lose_commit:
                        self.disk.store.inject(random.choice((StoreFault.LOST, StoreFault.TORN)))
                elif isinstance(job, ApplyWrites):
                    if random.random() < faults.torn_apply:
                        self.tree.crash_at = random.choice(_STEPS)
                else:
                    continue
                try:
                    list(self.runner.run(job))
                except (SimulatedDeathError, SimulatedCrashError):
                    return
                finally:
                    self.tree.crash_at = None
                    while self.disk.store.take_fault() is not None:
                        pass  # the commit failed before it met this fault

    def now_ms(self) -> int:
        """Return this machine's clock."""
        return self.world.epoch_ms + self.skew_ms + self.world.agenda.now_us // US_PER_MS

    def _later(self, delay_us: int, action: Callable[[], None]) -> None:
        incarnation = self.incarnation

        def guarded() -> None:
            if self.is_running and self.incarnation == incarnation:
                action()

        self.world.agenda.after(delay_us, guarded)

    def _tick(self) -> None:
        self.post(Tick())
        self._later(TICK_MS * US_PER_MS, self._tick)

    # --- events and commands -----------------------------------------------------------------

    def post(self, event: Event) -> None:
        """Let the core handle an event and do what it asks for."""
        if not self.is_running:
            return
        self.events += 1
        self.world.trace_event(self, event)
        commands = self.core.handle(event, self.now_ms())
        self.world.after_event(self, event)
        for command in commands:
            if not isinstance(command, Told):
                self.world.trace_command(self, command)
            self._execute(command)

    def _execute(self, command: Command) -> None:
        network = self.world.network
        match command:
            case SendMessage():
                self._send(command.peer, command.channel, command.message)
            case SendEntries():
                answer = entry_messages(self.store, command.wanted)
                self._answers.put(command.peer, Channel.DOCUMENTS, answer)
            case SendBlobs():
                answer = blob_messages(self.contents, command.request, self._path_of)
                self._answers.put(command.peer, Channel.BULK, answer)
            case Dial():
                network.dial(self.id, command.peer, command.addresses)
            case AllowPeers():
                self.allowed = command.peers
                network.allow(self.id)
            case Disconnect():
                network.disconnect(self.id, command.peer, command.detail)
            case Replied():
                self.world.oracle.on_replied(self, command)
            case Told():
                self.world.oracle.on_told(self, command)
            case GoOn():
                self._later(0, lambda: self.post(WentOn()))
            case _:
                self._lanes[LANE_OF[type(command)]].append(command)
                self._run_lane(LANE_OF[type(command)])

    def _send(self, peer: NodeId, channel: Channel, message: AnyMessage) -> None:
        world = self.world
        if world.network.has_link(self.id, peer):
            frame = encode(message) if world.faults.encodes else message
            world.network.send(self.id, peer, channel, frame)

    def _path_of(self, blob: BlobHash) -> str | None:
        return self.core.workspace.folder.source(blob).path

    def request(self, request: Request) -> None:
        """Ask the node for something, as a program does."""
        self.world.oracle.on_request(self, request)
        self.post(request)

    @property
    def is_idle(self) -> bool:
        """Return whether no job, result, answer or word of the watcher is under way."""
        return not (self._running or self._events_under_way or self._is_watch_due or self._answers)

    # --- lanes -------------------------------------------------------------------------------

    def _run_lane(self, lane: Lane) -> None:
        queue = self._lanes[lane]
        if lane in self._running or not queue:
            return
        jobs = [queue.popleft()]
        while isinstance(jobs[0], Persist) and queue and len(jobs) < GROUP_COMMIT_MAX:
            if not isinstance(queue[0], Persist):
                break
            jobs.append(queue.popleft())
        self._running[lane] = Running(jobs)
        least, most = self.world.faults.job_ms
        self._later(
            int(self.world.random.uniform(least, most) * US_PER_MS), lambda: self._end(lane)
        )

    def _end(self, lane: Lane) -> None:
        jobs = self._running[lane].jobs
        results: list[JobResult] = []
        stood = self._standing_before(jobs[0])
        try:
            if isinstance(jobs[0], Persist):
                group = [job for job in jobs if isinstance(job, Persist)]
                results.extend(self.runner.persist_group(group))
                self._tell_oracle(group, results)
            else:
                results.extend(self.runner.run(jobs[0]))
        except (SimulatedDeathError, SimulatedCrashError):
            self.crash()
            return
        for path, content in stood.items():
            after = self.disk.folder.read(path)
            if after != content:
                self.own_writes[path] = OwnWrite(self.world.agenda.now_us, content, after)
        self._running.pop(lane)
        if lane is Lane.FOLDER:
            self.folder_changed()
        for result in results:
            self._deliver(lane, result)
        self._run_lane(lane)

    def _standing_before(self, job: Job) -> dict[str, bytes | None]:
        """Return what stands where a job is about to write (a program may have read that)."""
        if not isinstance(job, ApplyWrites):
            return {}
        stood: dict[str, bytes | None] = {}
        for planned in job.writes:
            with suppress(BadPathError):  # the tree itself refuses such a write
                stood[planned.write.path] = self.disk.folder.read(planned.write.path)
        return stood

    def _tell_oracle(self, group: list[Persist], results: list[JobResult]) -> None:
        for job, result in zip(group, results, strict=True):
            if getattr(result, "problem", None) is not None:
                continue
            for write in job.writes:
                if isinstance(write, PutEntries):
                    self.world.oracle.on_durable(self, write.known)

    def _deliver(self, lane: Lane, result: JobResult) -> None:
        agenda = self.world.agenda
        late_us = self.world.random.randrange(2 * US_PER_MS)
        at_us = max(self._last_us[lane], agenda.now_us + late_us)
        self._last_us[lane] = at_us
        self._post_later(at_us - agenda.now_us, result)

    def _post_later(self, delay_us: int, event: Event) -> None:
        self._events_under_way += 1

        def hand_over() -> None:
            self._events_under_way -= 1
            self.post(event)

        self._later(delay_us, hand_over)

    # --- the network speaks ------------------------------------------------------------------

    def link_up(self, peer: NodeId, address: str) -> None:
        """See ``Linked``."""
        self.post(LinkUp(peer, address))

    def link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        """See ``Linked``."""
        self._answers.drop(peer)
        self.post(LinkDown(peer, detail or end.value))

    def frame(self, peer: NodeId, channel: Channel, frame: Frame) -> None:
        """See ``Linked``; what is no message is told as the driver tells it."""
        del channel
        if not isinstance(frame, bytes):
            self.post(Received(peer, frame))
            return
        try:
            message = decode(frame)
        except BadFrameError as error:
            self.post(GarbageReceived(peer, str(error)))
        else:
            self.post(Received(peer, message))

    # --- the watcher speaks ------------------------------------------------------------------

    def folder_changed(self) -> None:
        """Take note of what changed on the disk; the watcher tells of it later."""
        self._told_disk.update(dict.fromkeys(self.disk.folder.take_changes()))
        if not self.is_running or self._is_watch_due or not self._told_disk:
            return
        self._is_watch_due = True
        least, most = self.world.faults.watch_ms
        incarnation = self.incarnation

        def tell() -> None:
            self._is_watch_due = False
            if self.is_running and self.incarnation == incarnation:
                self._watch()

        delay_us = int(self.world.random.uniform(least, most) * US_PER_MS)
        self.world.agenda.after(delay_us, tell)

    def _watch(self) -> None:
        paths = tuple(self._told_disk)
        self._told_disk.clear()
        if not paths:
            return
        if self.world.random.random() < self.world.faults.lose_watch:
            self._post_later(self.world.random.randrange(500) * US_PER_MS, FolderUnwatched())
            return
        self.post(FolderTouched(paths))


def _lane_name(lane: Lane) -> str:
    return lane.value
