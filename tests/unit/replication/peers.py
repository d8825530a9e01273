"""A replication core with a real ledger, whose peers the test plays."""

from __future__ import annotations

from typing import TypeVar

from aiplatform.mesh_ide.documents.notices import EntriesStored
from aiplatform.mesh_ide.documents.state import fingerprint_of
from aiplatform.mesh_ide.model.entries import KnownEntry
from aiplatform.mesh_ide.model.ids import FileId, Fingerprint, NodeId, SessionId
from aiplatform.mesh_ide.model.messages import AnyMessage, Reconcile, Stored, Vectors
from aiplatform.mesh_ide.replication.commands import ReplicationCommand, SendMessage
from aiplatform.mesh_ide.replication.core import ReplicationCore
from tests.unit.documents.authors import Author, file

Kind = TypeVar("Kind")

ANNA, BEN, CARL = NodeId(b"a" * 32), NodeId(b"b" * 32), NodeId(b"c" * 32)
START_MS = 1_000_000


class Judged:
    """How the others judge this node: an editor, or a reader whose entries they took up to a cut.

    The planted bug of several tests is a reader that judges itself an editor.
    """

    def __init__(self, session: SessionId, cut: int = 0, *, may_edit: bool = True) -> None:
        """Know the node's session and its role."""
        self.session, self.cut, self.may_edit = session, cut, may_edit

    def is_refused(self, session: SessionId, sequence: int) -> bool:
        """Return whether nobody takes this entry."""
        return not self.may_edit and session == self.session and sequence > self.cut


class Side:
    """One node: an author with its ledger, and the replication core over it."""

    def __init__(self, me: NodeId, files: int = 0) -> None:
        """Hold so many files of one's own, all durable."""
        self.me = me
        self.author = Author(me.hex())
        self.judge = Judged(self.author.session)
        self.core = ReplicationCore(self.author.ledger, me, self.judge)
        for number in range(1, files + 1):
            self.author.say(self.author.genesis(file(number)))
            self.complete(file(number))

    def complete(self, *files: FileId) -> None:
        """Have entries and contents of these files on the disk."""
        for one in files:
            self.core.holdings.set_complete(one, is_complete=True)
        self.core.holdings.refresh(files)

    def edit(self, number: int, text: str) -> list[ReplicationCommand]:
        """Change a file here, durably; returns what is pushed."""
        self.author.say(self.author.change(file(number), text))
        self.core.holdings.on_files_changed([file(number)])
        self.complete(file(number))
        notice = EntriesStored((self.author.said[-1],), (file(number),), None)
        return self.core.on_entries_stored(notice)

    def hear(self, *known: KnownEntry) -> None:
        """Take entries of others in, durably and with their contents."""
        self.author.hear(*known)
        self.complete(*(one.entry.file for one in known))

    def fingerprint(self, number: int) -> Fingerprint:
        """Return what a file's frontier is called here."""
        return fingerprint_of(self.author.state(file(number)), is_complete=True)

    def stored(self, *numbers: int) -> Stored:
        """Return the message that says: these files are on my disk as they are."""
        return Stored(tuple((file(number), self.fingerprint(number)) for number in numbers))

    def meet(self, peer: NodeId, now_ms: int = START_MS) -> list[ReplicationCommand]:
        """Link with a peer that has nothing to say: it agrees with everything we show."""
        out = self.core.peer_ready(peer, now_ms)
        self.core.on_reconcile(peer, Reconcile(1), now_ms)
        return out


def said(
    commands: list[ReplicationCommand], kind: type[Kind], to: NodeId | None = None
) -> list[Kind]:
    """Return the messages of one kind among commands, to one peer or all."""
    return [
        command.message
        for command in commands
        if isinstance(command, SendMessage)
        and isinstance(command.message, kind)
        and to in {None, command.peer}
    ]


def messages(commands: list[ReplicationCommand]) -> list[type[AnyMessage]]:
    """Return the kinds of messages, in order."""
    return [type(command.message) for command in commands if isinstance(command, SendMessage)]


def reconciled(one: Side, other: Side, now_ms: int = START_MS) -> dict[NodeId, list[object]]:
    """Link two sides and pass control messages until there are none; returns what else was asked.

    Entries that one side is asked to send are given from its author's memory.
    """
    sides = {one.me: one, other.me: other}
    other_of = {one.me: other, other.me: one}
    rest: dict[NodeId, list[object]] = {one.me: [], other.me: []}
    queue: list[tuple[NodeId, ReplicationCommand]] = []
    for side in (one, other):
        queue.extend((side.me, c) for c in side.core.peer_ready(other_of[side.me].me, now_ms))
    steps = 0
    while queue:
        steps += 1
        assert steps < 1000, "the two never come to an end"
        sender, command = queue.pop(0)
        receiver = other_of[sender]
        out: list[ReplicationCommand] = []
        match command:
            case SendMessage(message=Reconcile() as message):
                out = receiver.core.on_reconcile(sender, message, now_ms)
            case SendMessage(message=Vectors() as message):
                out = receiver.core.on_vectors(sender, message)
            case _:
                rest[sender].append(command)
        queue.extend((receiver.me, c) for c in out)
    assert set(sides) == set(rest)
    return rest
