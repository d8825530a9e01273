"""Members who come, go, read and fail, told step by step as in ``test_scenarios``."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aiplatform.mesh_ide.api.contests import contest_at
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.events import LookAgain
from aiplatform.mesh_ide.simulation import checks
from aiplatform.mesh_ide.simulation.oracle import FailedRunError
from aiplatform.mesh_ide.simulation.stage import Stage
from tests.simulation.mutant_nodes import (
    Twisted,
    insist,
    skip_roles,
)
from tests.simulation.steps import two_in_step

# --- members -------------------------------------------------------------------------------------


def test_a_member_admitted_while_all_run_gets_everything() -> None:
    """A machine that joins with files of its own keeps them and gets the others'."""
    stage = two_in_step(a="one\n")
    number = stage.admit("late")
    stage.save(number, "own.txt", "brought along\n")
    stage.start()
    stage.settle()

    assert stage.paths(number) == ["a.txt", "own.txt"]
    assert stage.paths(1) == ["a.txt", "own.txt"]


def test_joining_with_another_version_of_a_file_keeps_both() -> None:
    """The workspace's version keeps the path; the newcomer's stands beside it."""
    stage = two_in_step(a="agreed on\n")
    number = stage.admit("late")
    stage.save(number, "a.txt", "brought along\n")
    stage.start()
    stage.settle()

    assert stage.text(number, "a.txt") == "agreed on\n"
    assert len(stage.claims(0, "a.txt")) == 2


@pytest.mark.parametrize("is_asked", [True, False])
def test_a_newcomer_with_the_same_files_takes_them_for_the_same(*, is_asked: bool) -> None:
    """Also if somebody asks it to look, or saves a file, before it has met anybody."""
    stage = two_in_step(a="one\n", b="two\n")
    number = stage.admit("late")
    stage.part(number)
    for name, text in (("a.txt", "one\n"), ("b.txt", "two\n")):
        stage.save(number, name, text)
    stage.start()
    stage.wait(1000)
    if is_asked:
        stage[number].request(LookAgain(stage.world.oracle.next_tag()))
    else:
        stage.save(number, "b.txt", "two\n")
    stage.wait(1000)
    stage.heal()
    stage.settle()

    assert [len(stage.claims(0, name)) for name in ("a.txt", "b.txt")] == [1, 1]


def test_files_made_alike_on_two_machines_stay_one_to_people() -> None:
    """Both pull the same commit at one time; later one edits the file, and deletes it at last."""
    stage = two_in_step(other="kept\n", another="kept too\n")
    stage.part(1)
    for number in (0, 1):
        stage.save(number, "new.txt", "pulled\n")
    stage.wait(1000)
    stage.heal()
    stage.settle()
    assert len(stage.claims(0, "new.txt")) == 2

    stage.save(0, "new.txt", "pulled\nedited\n")
    stage.settle()
    assert stage.text(1, "new.txt") == "pulled\nedited\n"
    assert [contest_at(stage[n].core.ledger, "new.txt") for n in (0, 1)] == [None, None]

    stage.remove(1, "new.txt")
    stage.settle()
    assert stage.paths(0) == ["another.txt", "other.txt"]
    assert stage.claims(0, "new.txt") == ()


def test_a_removed_member_hears_nothing_more() -> None:
    """After its removal a machine gets no edits and its own are taken by nobody."""
    stage = Stage(3)
    stage.save(0, "a.txt", "one\n")
    stage.start()
    stage.settle()
    stage.remove_member(2)
    stage.wait(2000)
    stage.save(0, "a.txt", "one\ntwo\n")
    stage.save(2, "secret.txt", "not for you\n")
    stage.wait(5000)

    assert stage.text(1, "a.txt") == "one\ntwo\n"
    assert stage.text(2, "a.txt") == "one\n"
    assert stage.paths(1) == ["a.txt"]


def reader_writes(*twists: Callable[[NodeCore], None]) -> Stage:
    """Let a member that may only read write a file, and send it as if it might."""

    def twist(core: NodeCore) -> None:
        for one in (insist, *twists):
            one(core)

    stage = Stage(1, factory=Twisted(twist))
    stage.save(0, "a.txt", "one\n")
    stage.start()
    number = stage.admit("reader", Role.READ)
    stage.start()
    stage.wait(3000)
    stage.save(number, "b.txt", "written by a reader\n")
    stage.wait(5000)
    return stage


def test_what_a_reader_writes_is_taken_by_nobody() -> None:
    """Roles are enforced on every entry, by whoever receives it."""
    stage = reader_writes()

    assert stage.paths(0) == ["a.txt"]
    assert stage.text(1, "a.txt") == "one\n"


def test_without_the_role_check_a_reader_writes() -> None:
    """The planted bug: a node that skips the check has the reader's file."""
    stage = reader_writes(skip_roles)

    assert stage.paths(0) == ["a.txt", "b.txt"]


# --- disks and clocks ----------------------------------------------------------------------------


def test_a_full_disk_holds_up_and_loses_nothing() -> None:
    """While nothing fits, nothing is claimed; with room again everything arrives."""
    stage = two_in_step(a="one\n")
    stage[1].disk.fill()
    stage.save(0, "a.txt", "one\ntwo\n")
    stage.save(1, "b.txt", "written on the full disk\n")
    stage.wait(5000)
    assert stage.text(1, "a.txt") == "one\n"
    assert [*checks.false_claims(stage.world, stage[0])] == []
    stage[1].disk.make_room()
    stage.settle()

    assert stage.text(1, "a.txt") == "one\ntwo\n"
    assert stage.text(0, "b.txt") == "written on the full disk\n"


def test_a_clock_ten_years_off_changes_nothing_but_a_warning() -> None:
    """Edits merge as ever; people are told of the clock."""
    stage = Stage(2)
    stage[1].skew_ms = -10 * 365 * 24 * 3600 * 1000
    stage.save(0, "a.txt", "one\n")
    stage.start()
    stage.settle()
    stage.part(1)
    stage.save(0, "a.txt", "one\ntwo\n")
    stage.save(1, "a.txt", "zero\none\n")
    stage.wait(500)
    stage.heal()
    stage.settle()

    assert stage.text(0, "a.txt") == "zero\none\ntwo\n"
    assert any("clock" in text for _, text in stage.world.oracle.warnings)


def test_what_nobody_can_reach_is_not_called_synced() -> None:
    """While the other is away the claim is PENDING; the check of claims agrees."""
    stage = two_in_step(a="one\n")
    stage.part(1)
    stage.save(0, "a.txt", "one\ntwo\n")
    stage.wait(5000)

    with pytest.raises(FailedRunError):
        stage.settle(limit_ms=500)
    assert [*checks.false_claims(stage.world, stage[0])] == []
