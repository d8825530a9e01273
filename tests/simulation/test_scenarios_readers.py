"""Members who may only read, and change files: nobody waits for them, and nothing is lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import cast

import pytest

from aiplatform.mesh_ide.documents.state import FileState
from aiplatform.mesh_ide.mesh.membership import MembershipCore
from aiplatform.mesh_ide.model.enums import Role, SyncState
from aiplatform.mesh_ide.model.ids import FileId, NodeId
from aiplatform.mesh_ide.model.messages import Entries, Ping, Pong, Stored
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.core_completeness import Completeness
from aiplatform.mesh_ide.node.core_deciding import Deciding
from aiplatform.mesh_ide.node.core_inner import Internal
from aiplatform.mesh_ide.node.events import Event, Received, RejectHold, ReleaseHold
from aiplatform.mesh_ide.replication.commands import ReplicationCommand
from aiplatform.mesh_ide.replication.core import ReplicationCore
from aiplatform.mesh_ide.replication.holdings import Holdings
from aiplatform.mesh_ide.replication.own_work import OwnWork
from aiplatform.mesh_ide.simulation import checks
from aiplatform.mesh_ide.simulation.node import SimulatedNode
from aiplatform.mesh_ide.simulation.stage import Stage
from tests.simulation.mutant_nodes import Twisted, holdings_twist, insist, replication_twist

EDITOR, OTHER, READER = 0, 1, 2


class SilentWork(OwnWork):
    """Does not say which files hold what nobody takes: the planted bug."""

    def staying(self, files: Iterable[FileId]) -> frozenset[FileId]:
        """Return none."""
        return frozenset()


def say_nothing(core: NodeCore) -> None:
    """Make a reader keep to itself what it holds beside its own changes."""
    core.replication.own_work.__class__ = SilentWork


class Incurious(ReplicationCore):
    """Does not compare again when roles change: the planted bug."""

    def on_roles_changed(self, members: frozenset[NodeId], now_ms: int) -> list[ReplicationCommand]:
        """Do nothing."""
        return []


def reader_changes(twist: Callable[[NodeCore], None] | None = None) -> Stage:
    """Let a member that may only read change one file, make another and move a third."""
    stage = Stage(2, factory=None if twist is None else Twisted(twist))
    for name in ("a", "b", "moved"):
        stage.save(EDITOR, f"{name}.txt", "one\n")
    stage.start()
    stage.settle()
    assert stage.admit("reader", Role.READ) == READER
    stage.start()
    stage.settle()
    stage.save(READER, "a.txt", "one\nthe reader's\n")
    stage.save(READER, "new.txt", "the reader's too\n")
    stage.rename(READER, "moved.txt", "elsewhere.txt")
    stage.wait(3000)
    return stage


def waits_for(stage: Stage, number: int) -> frozenset[FileId] | None:
    """Return what a machine waits for the reader to confirm."""
    return stage[number].core.replication.holdings.pending_at(stage[READER].id)


def edited(stage: Stage) -> Stage:
    """Let an editor change what the reader changed, and some time pass."""
    stage.save(EDITOR, "a.txt", "zero\none\n")
    stage.save(EDITOR, "another.txt", "made by the editor\n")
    stage.wait(3000)
    return stage


# --- nobody waits for a reader's own version -----------------------------------------------------


def test_a_reader_confirms_what_it_holds_beside_its_own_changes() -> None:
    """Its fingerprints are never the others'; that it has all of theirs is told by its vectors."""
    stage = edited(reader_changes())

    assert stage.text(READER, "a.txt") == "zero\none\nthe reader's\n"
    assert stage.text(OTHER, "a.txt") == "zero\none\n"
    for number in (EDITOR, OTHER):
        assert waits_for(stage, number) == frozenset()
        core = stage[number].core
        others = [node.id for node in stage.world.nodes if node is not stage[number]]
        states = {core.replication.holdings.sync_state(f, others) for f in core.ledger.files()}
        assert states == {SyncState.SYNCED}
        assert [*checks.false_claims(stage.world, stage[number])] == []


def test_without_its_vectors_everybody_waits_for_a_reader() -> None:
    """The planted bug: what it changed is never confirmed."""
    stage = edited(reader_changes(say_nothing))

    assert waits_for(stage, EDITOR)


def test_it_confirms_after_meeting_anew_too() -> None:
    """A link that breaks makes both forget what was said; the comparison brings it back."""
    stage = reader_changes()
    stage.part(READER)
    stage.save(EDITOR, "a.txt", "zero\none\n")
    stage.wait(3000)
    assert waits_for(stage, EDITOR) is None
    stage.heal()
    stage.wait(60_000)

    assert waits_for(stage, EDITOR) == frozenset()
    assert stage.text(READER, "a.txt") == "zero\none\nthe reader's\n"


def test_what_a_reader_lacks_is_still_waited_for() -> None:
    """Its vector covers no entry that it has not stored: a full disk confirms nothing."""
    stage = reader_changes()
    stage[READER].disk.fill()
    stage.save(EDITOR, "a.txt", "zero\none\n")
    stage.wait(3000)
    file = stage[EDITOR].core.ledger.index.owner("a.txt")

    assert file in (waits_for(stage, EDITOR) or ())
    assert [*checks.false_claims(stage.world, stage[EDITOR])] == []
    stage[READER].disk.make_room()
    stage.wait(60_000)
    assert waits_for(stage, EDITOR) == frozenset()


def sent_by_the_reader(twist: Callable[[NodeCore], None] | None = None) -> int:
    """Return how many messages with entries a reader sends of what it changes."""
    stage = reader_changes(twist)
    count = 0

    def look(node: SimulatedNode, event: Event) -> None:
        nonlocal count
        del node
        if isinstance(event, Received) and event.peer == stage[READER].id:
            count += isinstance(event.message, Entries) and bool(event.message.slices)

    stage.world.after_event = look  # type: ignore[method-assign]
    stage.save(READER, "a.txt", "one\nthe reader's\nand more\n")
    stage.wait(70_000)
    return count


def test_a_reader_does_not_send_what_nobody_takes() -> None:
    """Neither at once nor when asked: refusing it would cost everybody at every comparison."""
    assert sent_by_the_reader() == 0


def test_one_that_sends_it_is_seen() -> None:
    """The planted bug: the count of the test above is not always none."""
    assert sent_by_the_reader(insist)


# --- roles that change ---------------------------------------------------------------------------


def test_what_a_reader_wrote_travels_once_it_may_edit() -> None:
    """Within seconds, linked as it is: no restart, no minute until the next comparison."""
    stage = edited(reader_changes())
    stage.change_role(READER, Role.EDIT)
    stage.wait(5000)

    for number in (EDITOR, OTHER):
        assert stage.text(number, "a.txt") == "zero\none\nthe reader's\n"
        assert stage.text(number, "new.txt") == "the reader's too\n"
        assert "elsewhere.txt" in stage.paths(number)
    stage.settle()


def test_without_another_comparison_it_waits_for_the_next_one() -> None:
    """The planted bug: roles change, and nobody asks for what was refused."""
    stage = edited(reader_changes(replication_twist(Incurious)))
    stage.change_role(READER, Role.EDIT)
    stage.wait(5000)

    assert "new.txt" not in stage.paths(OTHER)


@pytest.mark.parametrize("late", [EDITOR, OTHER, READER])
def test_it_does_not_matter_who_learns_of_the_new_role_last(late: int) -> None:
    """Who refused something asks again when it learns that it may be taken."""
    stage = edited(reader_changes())
    stage.part(late)
    stage.wait(500)
    stage.change_role(READER, Role.EDIT)
    stage.wait(2000)
    stage.heal()
    stage.settle()

    assert stage.text(OTHER, "new.txt") == "the reader's too\n"


def test_an_editor_made_a_reader_keeps_what_was_taken() -> None:
    """What the others had is theirs; what it writes afterwards stays with it, and nobody waits."""
    stage = Stage(3)
    stage.save(EDITOR, "a.txt", "one\n")
    stage.start()
    stage.settle()
    stage.save(READER, "a.txt", "one\nof an editor\n")
    stage.settle()
    stage.change_role(READER, Role.READ)
    stage.wait(1000)
    stage.save(READER, "a.txt", "one\nof an editor\nof a reader\n")
    stage.save(EDITOR, "a.txt", "zero\none\nof an editor\n")
    stage.wait(3000)

    assert stage.text(OTHER, "a.txt") == "zero\none\nof an editor\n"
    assert stage.text(READER, "a.txt") == "zero\none\nof an editor\nof a reader\n"
    assert waits_for(stage, EDITOR) == frozenset()
    assert waits_for(stage, OTHER) == frozenset()


def test_what_was_under_way_when_its_author_became_a_reader_stays() -> None:
    """Written offline while it might, brought when it may not: nobody takes it, nobody waits."""
    stage = Stage(3)
    stage.save(EDITOR, "a.txt", "one\n")
    stage.start()
    stage.settle()
    stage.part(READER)
    stage.save(READER, "a.txt", "one\noffline\n")
    stage.wait(500)
    stage.change_role(READER, Role.READ)
    stage.wait(500)
    stage.heal()
    stage.wait(70_000)

    assert stage.text(OTHER, "a.txt") == "one\n"
    assert waits_for(stage, EDITOR) == frozenset()
    assert waits_for(stage, OTHER) == frozenset()
    stage.change_role(READER, Role.EDIT)
    stage.settle()
    assert stage.text(OTHER, "a.txt") == "one\noffline\n"


# --- a reader that empties its folder -----------------------------------------------------------


class Lenient(Deciding):
    """Lets a node release what it may not tell anybody: the planted bug."""

    def _end_hold(self, request: ReleaseHold | RejectHold, now_ms: int) -> list[Internal]:
        judge = self._membership
        self._membership = cast("MembershipCore", SimpleNamespace(may_edit=True))
        try:
            return super()._end_hold(request, now_ms)
        finally:
            self._membership = judge


def be_lenient(core: NodeCore) -> None:
    """Let a core release held deletions whatever its role."""
    core._deciding.__class__ = Lenient


def emptied_by_a_reader(twist: Callable[[NodeCore], None] | None = None) -> Stage:
    """Let a member that may only read empty its folder, and release that."""
    stage = Stage(2, factory=None if twist is None else Twisted(twist))
    for number in range(20):
        stage.save(EDITOR, f"{number}.txt", f"{number}\n")
    stage.start()
    stage.settle()
    assert stage.admit("reader", Role.READ) == READER
    stage.start()
    stage.settle()
    stage.remove(READER, *stage.paths(READER))
    stage.wait(3000)
    stage[READER].request(ReleaseHold(stage.world.oracle.next_tag(), 1))
    stage.wait(3000)
    assert len(stage.paths(OTHER)) == 20
    stage.change_role(READER, Role.EDIT)
    stage.wait(5000)
    return stage


def test_a_new_role_deletes_nothing_by_itself() -> None:
    """What a reader emptied waits for a person when its changes begin to travel."""
    stage = emptied_by_a_reader()

    assert len(stage.paths(EDITOR)) == len(stage.paths(OTHER)) == 20
    assert stage.paths(READER) == []
    assert set(stage[READER].core.workspace.deletions.holds) == {1}
    stage[READER].request(ReleaseHold(stage.world.oracle.next_tag(), 1))
    stage.settle()
    assert stage.paths(EDITOR) == [], "now it was meant"


def test_a_release_while_it_may_not_edit_would_wipe_everybody_later() -> None:
    """The planted bug: an admin's innocent word about a role empties every folder."""
    stage = emptied_by_a_reader(be_lenient)

    assert stage.paths(EDITOR) == stage.paths(OTHER) == []


# --- quiet, and what a vector may promise --------------------------------------------------------


class TalkativeHoldings(Holdings):
    """Asks for a head again each time that it is named: the planted bug."""

    def on_stored(self, peer: NodeId, message: Stored) -> tuple[list[FileId], list[FileId]]:
        """Forget what was named before."""
        state = self._peers[peer]
        for file, _ in message.heads:
            state.told.pop(file, None)
            state.beyond.pop(file, None)
        return super().on_stored(peer, message)


def said_while_idle(twist: Callable[[NodeCore], None] | None = None) -> int:
    """Return how many messages but pings all nodes get in five seconds without any change."""
    stage = reader_changes(twist)
    stage.wait(6000)
    count = 0

    def look(node: SimulatedNode, event: Event) -> None:
        nonlocal count
        del node
        count += isinstance(event, Received) and not isinstance(event.message, Ping | Pong)

    stage.world.after_event = look  # type: ignore[method-assign]
    stage.wait(5000)
    return count


def test_a_reader_with_changes_lets_the_mesh_rest() -> None:
    """What it holds is said and asked about once, not twice a second for ever."""
    assert said_while_idle() == 0


def test_one_that_asks_whenever_a_head_is_named_never_rests() -> None:
    """The planted bug: the reader answers by naming it again."""
    assert said_while_idle(holdings_twist(TalkativeHoldings)) > 10


class RashCompleteness(Completeness):
    """Looks at the version that stands alone: the planted bug."""

    def _holds_all_sides(self, state: FileState) -> bool:
        """Take it for held."""
        return True


def be_rash(core: NodeCore) -> None:
    """Let a reader confirm versions whose contents it has not got."""
    core._completeness.__class__ = RashCompleteness


def confirmed_without_content(twist: Callable[[NodeCore], None] | None = None) -> bool:
    """Return whether an editor ever believes that the reader has what it has not got."""
    stage = Stage(1, factory=None if twist is None else Twisted(twist))
    stage.save(EDITOR, "logo.bin", b"\0first")
    stage.start()
    reader = stage.admit("reader", Role.READ)
    stage.start()
    stage.settle()
    stage.part(reader)
    for number in range(4):
        stage.save(reader, "logo.bin", b"\0the reader's %d" % number)
        stage.wait(1500)
    stage.save(EDITOR, "logo.bin", b"\0the editor's")
    stage.wait(3000)
    head = stage.head(EDITOR, "logo.bin")
    assert head is not None
    assert head.blob is not None
    stage.heal()
    holdings = stage[EDITOR].core.replication.holdings
    for _ in range(6000):
        stage.wait(2)
        if holdings.pending_at(stage[reader].id) == frozenset():
            return not stage[reader].core.workspace.folder.holds(head.blob)
    raise AssertionError("it is never confirmed")


def test_a_reader_confirms_a_version_behind_its_own_with_its_content() -> None:
    """Its own version stands in the folder; the other one has to be here all the same."""
    assert not confirmed_without_content()


def test_one_that_looks_at_what_stands_confirms_too_early() -> None:
    """The planted bug: the only copy may be lost after everybody was said to have it."""
    assert confirmed_without_content(be_rash)
