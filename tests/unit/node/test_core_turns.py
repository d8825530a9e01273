"""The node core: turn after turn, what people decide, and peers that misbehave."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.mesh.outputs import Disconnect
from aiplatform.mesh_ide.model.enums import FileMode, HoldReason, Role
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.events import (
    AddRosterRecords,
    Command,
    Event,
    GarbageReceived,
    GitMoved,
    GoOn,
    PeerFlooded,
    RejectHold,
    ReleaseHold,
    Started,
    Tick,
    WentOn,
)
from aiplatform.mesh_ide.ports.filetree import FileStat, ScanBatch
from aiplatform.mesh_ide.ports.jobs import FolderScanned
from aiplatform.mesh_ide.workspace.core import CONSIDERED_MAX
from aiplatform.mesh_ide.workspace.records import (
    DiskState,
    Hold,
    Standing,
    disk_record,
    hold_record,
)
from tests.unit.documents.authors import blob, file
from tests.unit.identity.boards import Board, founded, node_of
from tests.unit.node.desk import NOW_MS, Desk, boot_of, two


class Nagging(NodeCore):
    """Asks to go on after every event."""

    def handle(self, event: Event, now_ms: int) -> tuple[Command, ...]:
        """Ask although it was asked for."""
        out = super().handle(event, now_ms)
        return (*out, GoOn()) if self.workspace.has_more else out


# --- going on -----------------------------------------------------------------------------------

PATHS = tuple(f"f{number}" for number in range(20 * CONSIDERED_MAX))


def knowing_many(core_type: type[NodeCore]) -> NodeCore:
    """Return a core that begins with many paths in its folder, none of which needs a write."""
    stat = FileStat(3, 1, 1, FileMode.REGULAR)
    disk: list[tuple[bytes, bytes]] = []
    for number, path in enumerate(PATHS, 1):
        standing = Standing(file(number), (), blob("one"), FileMode.REGULAR, 3)
        write = disk_record(path, DiskState(standing, stat))
        assert write.value is not None
        disk.append((write.key, write.value))
    boot = boot_of("f", founded(), SigningKey.from_seed(b"s" * 32))
    core = core_type(replace(boot, disk=tuple(disk)))
    core.load(NOW_MS)
    return core


def asked_to_go_on(core_type: type[NodeCore]) -> list[int]:
    """Let many paths wait; returns after each event how often going on was asked for in vain."""
    core = knowing_many(core_type)
    scanned = FolderScanned(ScanBatch((), PATHS, ()), is_last=True)
    asked: list[int] = []
    waiting = 0
    for event in (Started(), Tick(), scanned, Tick(), GitMoved(), Tick()):
        waiting += core.handle(event, NOW_MS).count(GoOn())
        asked.append(waiting)
    more = [core.workspace.has_more]
    while waiting and len(asked) < len(PATHS):
        waiting -= 1
        waiting += core.handle(WentOn(), NOW_MS).count(GoOn())
        asked.append(waiting)
    more.append(core.workspace.has_more)
    assert more == [True, False]
    return asked


def test_going_on_is_asked_for_once_at_a_time_until_no_path_waits() -> None:
    """Not before the folder was scanned, and not again by what happens in between."""
    asked = asked_to_go_on(NodeCore)
    assert asked[:6] == [0, 0, 1, 1, 1, 1]
    turns = asked[6:]
    assert turns == [*[1] * (len(turns) - 1), 0]
    assert len(turns) > 1, "one turn does not consider them all"


def test_a_node_that_asks_after_every_event_is_caught() -> None:
    """The check can fail."""
    assert max(asked_to_go_on(Nagging)) > 1


# --- people -------------------------------------------------------------------------------------


@pytest.mark.parametrize("request_type", [ReleaseHold, RejectHold])
def test_an_unknown_hold_is_refused_and_the_way_to_find_them_is_named(
    request_type: type[ReleaseHold | RejectHold],
) -> None:
    """A number that was mistyped does nothing to the hold that is there."""
    hold = Hold(1, HoldReason.MASS_DELETION, ("a", "b"), NOW_MS, "2 of 2 files vanished")
    value = hold_record(hold).value
    assert value is not None
    desk = Desk("f", founded(), holds=(value,))
    desk.hears(request_type(7, 99))
    (reply,) = desk.replies
    assert reply.tag == 7
    assert "no hold 99" in (reply.problem or "")
    assert "mesh held" in (reply.problem or "")
    assert set(desk.core.workspace.deletions.holds) == {1}
    assert list(desk.commits) == []
    desk.replies.clear()
    desk.hears(request_type(8, 1))
    assert desk.replies == [], "a crash now would bring the hold back"
    desk.passes(100)
    desk.commit_all()
    assert [(reply.tag, reply.problem) for reply in desk.replies] == [(8, None)]
    assert desk.core.workspace.deletions.holds == {}
    desk.hears(request_type(9, 1))
    assert "no hold 1" in (desk.replies[-1].problem or "")


def held_by_a_reader(core_type: type[NodeCore] = NodeCore) -> tuple[Desk, Board]:
    """Return a node that may only read and holds a mass deletion, and its workspace's records."""
    hold = Hold(1, HoldReason.MASS_DELETION, ("a", "b"), NOW_MS, "2 of 2 files vanished")
    value = hold_record(hold).value
    assert value is not None
    board = founded().admit("f", "r", Role.READ)
    return Desk("r", board, core_type, holds=(value,)), board


def test_a_held_deletion_is_not_released_by_a_node_that_may_not_edit() -> None:
    """Nobody would take it now, and everybody would, unasked, once the node's role changes."""
    desk, board = held_by_a_reader()
    desk.hears(ReleaseHold(7, 1))
    (reply,) = desk.replies
    assert reply.tag == 7
    assert "stay held" in (reply.problem or "")
    assert "`mesh reject`" in (reply.problem or "")
    assert set(desk.core.workspace.deletions.holds) == {1}
    promotion = board.role("f", "r", Role.EDIT).records[-1]
    desk.hears(AddRosterRecords(8, (promotion.encoded,)))
    assert set(desk.core.workspace.deletions.holds) == {1}, "the person is asked again"
    desk.hears(ReleaseHold(9, 1))
    desk.passes(100)
    desk.commit_all()
    assert (desk.replies[-1].tag, desk.replies[-1].problem) == (9, None)
    assert desk.core.workspace.deletions.holds == {}


def test_a_node_that_may_not_edit_can_still_reject() -> None:
    """To bring the files back concerns nobody else."""
    desk, _ = held_by_a_reader()
    desk.hears(RejectHold(7, 1))
    desk.passes(100)
    desk.commit_all()
    assert [(reply.tag, reply.problem) for reply in desk.replies] == [(7, None)]
    assert desk.core.workspace.deletions.holds == {}


# --- peers that misbehave -----------------------------------------------------------------------


def test_garbage_ends_the_link_of_the_peer_with_a_warning() -> None:
    """The warning names who and why; nobody else's link ends, and nothing is written."""
    _, taker = two()
    taker.told.clear()
    taker.hears(GarbageReceived(node_of("f"), "no such message"))
    assert taker.ended == [Disconnect(node_of("f"), "sent garbage")]
    (told,) = [told for told in taker.told if told.kind == "warning"]
    assert "f sent what is no message: no such message" in told.text
    assert list(taker.commits) == []


def test_repeated_garbage_ends_each_link_but_is_told_once() -> None:
    """Who repeats a fault does not fill the log."""
    _, taker = two()
    taker.told.clear()
    taker.hears(*[GarbageReceived(node_of("f"), "no such message")] * 5)
    assert len(taker.ended) == 5
    assert len([told for told in taker.told if told.kind == "warning"]) == 1


def test_a_peer_that_flooded_is_told_of() -> None:
    """The driver ended the link already."""
    _, taker = two()
    taker.told.clear()
    taker.hears(PeerFlooded(node_of("f")))
    assert taker.ended == []
    assert ["more than this node can take in" in told.text for told in taker.told] == [True]
