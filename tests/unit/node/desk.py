"""Nodes whose jobs are done at once, except commits: the test says when the disk answers."""

from __future__ import annotations

from collections import deque
from typing import TypeVar

from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.mesh.outputs import AllowPeers, Dial, Disconnect
from aiplatform.mesh_ide.model.enums import FileMode, NodeType
from aiplatform.mesh_ide.model.ids import BlobHash, FileId, NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage, Hello
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.core_boot import Boot
from aiplatform.mesh_ide.node.events import (
    Command,
    Event,
    GoOn,
    LinkUp,
    PutContent,
    Received,
    Replied,
    Started,
    Tick,
    Told,
    WentOn,
)
from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.node.outgoing import blob_messages, entry_messages
from aiplatform.mesh_ide.ports.jobs import Persist, Persisted
from aiplatform.mesh_ide.ports.store import PutBlob
from aiplatform.mesh_ide.replication.commands import SendBlobs, SendEntries, SendMessage
from aiplatform.mesh_ide.simulation.disk import SimulatedDisk
from aiplatform.mesh_ide.storage.contents import ContentCache, StoreContents
from aiplatform.mesh_ide.workspace.adapters.memory_tree import MemoryFileTree
from tests.unit.documents.authors import PERSON, blob
from tests.unit.identity.boards import WORKSPACE, Board, founded, key_of, node_of

Kind = TypeVar("Kind")
NOW_MS = 1_000_000_000


def boot_of(name: str, board: Board, session: SigningKey, holds: tuple[bytes, ...] = ()) -> Boot:
    """Return what a node starts from that belongs to a workspace and has an empty disk."""
    hello = Hello(
        workspace=WORKSPACE,
        node=node_of(name),
        name=name,
        node_type=NodeType.LOCAL,
        certificate=certify(
            node=key_of(name), session=session, workspace=WORKSPACE, started_ms=NOW_MS
        ),
        addresses=(f"{name}:1",),
        roster_digest=board.roster.digest,
        clock_ms=NOW_MS,
    )
    return Boot(
        workspace=WORKSPACE,
        hello=hello,
        principal=PERSON,
        seed=name.encode(),
        has_folder=True,
        is_joining=False,
        roster=tuple(record.encoded for record in board.records),
        certificates=(),
        addresses={},
        files=(),
        disk=(),
        holds=holds,
        archived=(),
    )


class Desk:
    """One node on real ports in memory.

    ``commits`` were asked of the disk and are not answered; ``said`` are all its messages in
    order, ``outgoing`` those that were not delivered yet.
    """

    def __init__(
        self,
        name: str,
        board: Board,
        core_type: type[NodeCore] = NodeCore,
        holds: tuple[bytes, ...] = (),
    ) -> None:
        """Start, and let the disk do what the start asks of it."""
        session = SigningKey.from_seed(f"session of {name}".encode().ljust(32, b"."))
        self.id, self.now_ms = node_of(name), NOW_MS
        self.disk = SimulatedDisk()
        self.store = self.disk.open_store()
        self.contents = StoreContents(ContentCache(), self.store, self.disk.read)
        names = LoroTreeEngine()
        names.load(None, ())
        tree = MemoryFileTree(self.disk.folder, self.contents)
        self.runner = JobRunner(
            WORKSPACE, session, self.store, self.contents, tree, LoroTextEngine(), names
        )
        self.commits: deque[Persist] = deque()
        self.replies: list[Replied] = []
        self.told: list[Told] = []
        self.ended: list[Disconnect] = []
        self.said: list[tuple[NodeId, AnyMessage]] = []
        self.outgoing: deque[tuple[NodeId, AnyMessage]] = deque()
        self.core = core_type(boot_of(name, board, session, holds))
        self.core.load(NOW_MS)
        self.hears(Started())
        self.commit_all()

    # --- events ------------------------------------------------------------------------------

    def hears(self, *events: Event) -> None:
        """Let the core handle events, and all that their jobs result in."""
        queue: deque[Event] = deque(events)
        while queue:
            for command in self.core.handle(queue.popleft(), self.now_ms):
                queue.extend(self._does(command))
        self.core.check_invariants()

    def _does(self, command: Command) -> list[Event]:  # noqa: C901 - one line per command
        match command:
            case Persist():
                self.commits.append(command)
            case Replied():
                self.replies.append(command)
            case Told():
                self.told.append(command)
            case Disconnect():
                self.ended.append(command)
            case SendMessage():
                self._say(command.peer, command.message)
            case SendEntries():
                for message in entry_messages(self.store, command.wanted):
                    self._say(command.peer, message)
            case SendBlobs():
                for message in blob_messages(self.contents, command.request, self._path_of):
                    self._say(command.peer, message)
            case GoOn():
                return [WentOn()]
            case Dial() | AllowPeers():
                pass
            case _:
                return list(self.runner.run(command))
        return []

    def _say(self, peer: NodeId, message: AnyMessage) -> None:
        self.said.append((peer, message))
        self.outgoing.append((peer, message))

    def _path_of(self, content: BlobHash) -> str | None:
        return self.core.workspace.folder.source(content).path

    def passes(self, ms: int) -> None:
        """Let time pass, and tick once."""
        self.now_ms += ms
        self.hears(Tick())

    # --- the disk ----------------------------------------------------------------------------

    def commit(self) -> None:
        """Let the disk do the first commit that waits."""
        self.hears(*self.runner.persist_group([self.commits.popleft()]))

    def commit_all(self) -> None:
        """Let the disk do what waits and what follows from it."""
        while self.commits:
            self.commit()

    def refuse(self, problem: str) -> None:
        """Let the disk refuse the first commit that waits."""
        self.hears(Persisted(self.commits.popleft().ticket, problem=problem))

    # --- people ------------------------------------------------------------------------------

    def put(self, tag: int, path: str, text: str) -> None:
        """Ask for a new file; its content is in the archive."""
        self.store.commit((PutBlob(blob(text), text.encode()),))
        self.hears(
            PutContent(tag, None, path, blob(text), len(text), FileMode.REGULAR, True, PERSON)
        )

    def file_at(self, path: str) -> FileId:
        """Return the file that owns a path."""
        owner = self.core.ledger.index.owner(path)
        assert owner is not None, f"nothing owns {path}"
        return owner

    def messages(self, kind: type[Kind]) -> list[Kind]:
        """Return all it said of one kind."""
        return [message for _, message in self.said if isinstance(message, kind)]


def link(one: Desk, other: Desk) -> None:
    """Let a link between two nodes stand, and both greet."""
    one.hears(LinkUp(other.id, "there:1"))
    other.hears(LinkUp(one.id, ""))
    deliver(one, other)


def deliver(one: Desk, other: Desk, lost: tuple[type[AnyMessage], ...] = ()) -> None:
    """Carry messages both ways until there are none; those of the kinds ``lost`` are dropped."""
    while one.outgoing or other.outgoing:
        for sender, receiver in ((one, other), (other, one)):
            while sender.outgoing:
                to, message = sender.outgoing.popleft()
                if to == receiver.id and not isinstance(message, lost):
                    receiver.hears(Received(sender.id, message))


def two(core_type: type[NodeCore] = NodeCore) -> tuple[Desk, Desk]:
    """Return two linked nodes in step; the second one is of the given kind."""
    board = founded("a")
    giver, taker = Desk("f", board), Desk("a", board, core_type)
    link(giver, taker)
    while giver.commits or taker.commits:
        giver.commit_all()
        taker.commit_all()
        deliver(giver, taker)
    return giver, taker
