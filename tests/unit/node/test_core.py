"""The node core: what is said, to whom, and never before the disk has it."""

from __future__ import annotations

from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.model.messages import Blobs, Entries, Stored
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.core_commits import PERSIST_RETRY_MS
from aiplatform.mesh_ide.node.events import (
    Command,
    DeleteFile,
    EditText,
    Event,
    KeepRecords,
    MoveFile,
    Replied,
    Tick,
)
from aiplatform.mesh_ide.ports.engine import Splice
from aiplatform.mesh_ide.ports.store import PutEntries, PutRecord, RecordKind
from tests.simulation.mutant_nodes import HastyCore
from tests.unit.documents.authors import PERSON
from tests.unit.identity.boards import founded
from tests.unit.node.desk import Desk, deliver, two

FULL = "no space left"
KEY = b"a ticket"


# --- broken variants ----------------------------------------------------------------------------


class Boaster(NodeCore):
    """Announces files whose content or entries are not here."""

    def handle(self, event: Event, now_ms: int) -> tuple[Command, ...]:
        """Take every file for complete."""
        out = super().handle(event, now_ms)
        files = self.replication.holdings.incomplete()
        for one in files:
            self.replication.holdings.set_complete(one, is_complete=True)
        self.replication.holdings.refresh(files)
        return (*out, *self.replication.flush(now_ms))


class Jumbler(NodeCore):
    """Tries commits again in another order."""

    def handle(self, event: Event, now_ms: int) -> tuple[Command, ...]:
        """Turn what a tick asks for around."""
        out = super().handle(event, now_ms)
        return out[::-1] if isinstance(event, Tick) else out


# --- acknowledging ------------------------------------------------------------------------------


def replied_early(core_type: type[NodeCore]) -> list[int]:
    """Create, edit, move and delete a file; returns what was answered before it was durable."""
    desk = Desk("f", founded(), core_type)
    early: list[int] = []

    def ends(tag: int) -> None:
        if desk.replies:
            early.append(tag)
        desk.commit_all()
        assert [(reply.tag, reply.problem) for reply in desk.replies] == [(tag, None)]
        desk.replies.clear()

    desk.put(1, "a.txt", "one")
    ends(1)
    one = desk.file_at("a.txt")
    desk.hears(EditText(2, one, (Splice(0, 0, "x"),), PERSON))
    ends(2)
    desk.hears(MoveFile(3, one, "b.txt", PERSON))
    ends(3)
    desk.hears(DeleteFile(4, one, PERSON))
    ends(4)
    desk.hears(KeepRecords(5, (PutRecord(RecordKind.TICKET, KEY, b"1"),)))
    ends(5)
    return early


def test_no_request_is_acknowledged_before_it_is_durable() -> None:
    """A new file, an edit, a move, a deletion, a record: each is answered once, and then."""
    assert replied_early(NodeCore) == []


def test_a_node_that_does_not_wait_for_the_disk_is_caught() -> None:
    """The check of acknowledgements can fail."""
    assert replied_early(HastyCore) == [1, 2, 3, 4, 5]


def test_an_answer_names_the_frontier_that_the_next_edit_builds_on() -> None:
    """The entry that was just made durable."""
    desk = Desk("f", founded())
    desk.put(1, "a.txt", "one")
    desk.commit_all()
    one = desk.file_at("a.txt")
    state = desk.core.ledger.state(one)
    assert state is not None
    assert desk.replies == [Replied(1, None, one, state.refs())]


# --- announcing ---------------------------------------------------------------------------------


def announced(desk: Desk, one: FileId) -> bool:
    """Return whether a node said that it has a file on its disk."""
    return any(one in dict(message.heads) for message in desk.messages(Stored))


def has_entries(desk: Desk, one: FileId) -> bool:
    """Return whether a file's entries are on a node's disk."""
    return any(True for _ in desk.store.entries_of(one))


def announced_without_content(core_type: type[NodeCore]) -> bool:
    """Let a peer's entries be durable while its content is lost on the way."""
    giver, taker = two(core_type)
    giver.put(1, "a.txt", "one")
    giver.commit_all()
    deliver(giver, taker, lost=(Blobs,))
    taker.commit_all()
    deliver(giver, taker, lost=(Blobs,))
    one = giver.file_at("a.txt")
    assert has_entries(taker, one)
    return announced(taker, one)


def announced_without_entries(core_type: type[NodeCore]) -> bool:
    """Let a peer's file arrive whose content is here already, and the disk take its time."""
    giver, taker = two(core_type)
    taker.put(1, "same.txt", "one")
    taker.commit_all()
    deliver(giver, taker)
    giver.put(2, "a.txt", "one")
    giver.commit_all()
    deliver(giver, taker)
    one = giver.file_at("a.txt")
    assert not has_entries(taker, one)
    assert any(isinstance(write, PutEntries) for job in taker.commits for write in job.writes)
    return announced(taker, one)


def test_an_entry_is_announced_once_it_and_its_content_are_on_the_disk() -> None:
    """Both sides then know that the other has it."""
    giver, taker = two()
    giver.put(1, "a.txt", "one")
    assert giver.messages(Entries) == [], "what is not durable does not leave"
    giver.commit_all()
    deliver(giver, taker)
    one = giver.file_at("a.txt")
    assert not announced(taker, one)
    assert one in (giver.core.replication.holdings.pending_at(taker.id) or ())
    taker.commit_all()
    deliver(giver, taker)
    taker.commit_all()
    deliver(giver, taker)
    assert announced(taker, one)
    assert taker.disk.folder.read("a.txt") == b"one"
    assert one not in (giver.core.replication.holdings.pending_at(taker.id) or ())


def test_an_entry_whose_content_is_missing_is_not_announced() -> None:
    """A peer that heard of it would think it safe."""
    assert not announced_without_content(NodeCore)


def test_an_entry_that_is_not_durable_is_not_announced() -> None:
    """Not even where its content is here already."""
    assert not announced_without_entries(NodeCore)


def test_nodes_that_announce_too_early_are_caught() -> None:
    """The checks can fail: one ignores what is missing, one the disk."""
    assert announced_without_content(Boaster)
    assert announced_without_entries(HastyCore)


# --- a disk that refuses ------------------------------------------------------------------------


def kept_after_refusal(core_type: type[NodeCore]) -> bytes | None:
    """Write a record three times on a disk that is full for a while; returns what it holds."""
    desk = Desk("f", founded(), core_type)
    desk.hears(keep(1), keep(2))
    desk.refuse(FULL)
    desk.hears(keep(3))
    desk.refuse(FULL)
    desk.passes(PERSIST_RETRY_MS)
    desk.commit_all()
    assert sorted(reply.tag for reply in desk.replies) == [1, 2, 3]
    return dict(desk.store.records(RecordKind.TICKET)).get(KEY)


def keep(tag: int) -> KeepRecords:
    """Return the request to keep its own tag under one key."""
    return KeepRecords(tag, (PutRecord(RecordKind.TICKET, KEY, str(tag).encode()),))


def test_commits_that_the_disk_refused_are_tried_again_in_their_order() -> None:
    """The newest value stands in the end, also of what came while the disk was full."""
    assert kept_after_refusal(NodeCore) == b"3"


def test_a_node_that_tries_them_in_another_order_is_caught() -> None:
    """The check of the order can fail."""
    assert kept_after_refusal(Jumbler) != b"3"


def test_a_refusal_is_told_once_and_so_is_its_end() -> None:
    """Nobody is answered meanwhile, and nothing newer goes to the disk."""
    desk = Desk("f", founded())
    desk.told.clear()
    desk.hears(keep(1), keep(2))
    desk.refuse(FULL)
    desk.refuse(FULL)
    desk.hears(keep(3))
    assert (list(desk.commits), desk.replies) == ([], [])
    problems = [desk.core.storage_problem]
    desk.passes(PERSIST_RETRY_MS - 1)
    assert list(desk.commits) == []
    desk.passes(1)
    assert [[w.value for w in job.writes if isinstance(w, PutRecord)] for job in desk.commits] == [
        [b"1"],
        [b"2"],
        [b"3"],
    ]
    desk.commit_all()
    assert [reply.tag for reply in desk.replies] == [1, 2, 3]
    problems.append(desk.core.storage_problem)
    assert problems == [FULL, None]
    storage = [told.text for told in desk.told if told.kind == "storage"]
    assert storage == [FULL, "the store works again"]


def test_a_disk_that_stays_full_is_asked_again_and_again() -> None:
    """Each time with everything, in order."""
    desk = Desk("f", founded())
    desk.hears(keep(1), keep(2))
    for _ in range(3):
        assert len(desk.commits) == 2
        desk.refuse(FULL)
        desk.refuse(FULL)
        desk.passes(PERSIST_RETRY_MS)
    desk.commit_all()
    assert [reply.tag for reply in desk.replies] == [1, 2]
