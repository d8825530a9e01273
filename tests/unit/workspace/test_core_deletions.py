"""What vanished: half of a rename, a deletion, or a disaster that a person decides about."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.model.enums import EntryKind, HoldReason
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind
from aiplatform.mesh_ide.workspace.records import (
    MASS_DELETION_MIN,
    SETTLE_MANY_MAX_MS,
    SETTLE_MAX_MS,
    SETTLE_MS,
    Hold,
    decode_hold,
)
from tests.unit.documents.authors import file
from tests.unit.workspace.bench import NOW_MS, Bench

LATER_MS = NOW_MS + SETTLE_MS


def standing(count: int) -> Bench:
    """Return a folder with so many files, ``1`` and so on, known and at rest."""
    bench = Bench()
    for number in range(1, count + 1):
        bench.stand(f"{number}", number, f"text {number}")
    return bench


def vanish(bench: Bench, *numbers: int, now_ms: int = NOW_MS) -> None:
    """Let files be seen to be gone."""
    for number in numbers:
        now = bench.folder.standing(f"{number}")
        assert now is not None
        bench.deletions.vanish(f"{number}", now, now_ms)


def deleted(bench: Bench) -> set[int]:
    """Return the files for which this node wrote deletions."""
    assert all(known.entry.kind is EntryKind.DELETE for known in bench.sealed)
    return {int.from_bytes(known.entry.file, "big") for known in bench.sealed}


def records(bench: Bench) -> list[Hold | None]:
    """Return what is to be written of holds, in order."""
    found: list[Hold | None] = []
    for write in bench.deletions.unsaved:
        assert isinstance(write, PutRecord)
        assert write.kind is RecordKind.HOLD
        found.append(None if write.value is None else decode_hold(write.value))
    bench.deletions.unsaved = []
    return found


# --- ordinary deletions --------------------------------------------------------------------------


def test_a_vanished_file_is_deleted_once_the_folder_is_quiet() -> None:
    """Not before: it may be half of a rename. The path is considered again."""
    bench = standing(3)
    vanish(bench, 2)
    assert bench.deletions.is_waiting("2")
    assert bench.deletions.tick(LATER_MS - 1) == []
    bench.run(bench.deletions.tick(LATER_MS))
    assert deleted(bench) == {2}
    assert not bench.ledger.is_alive(file(2))
    assert not bench.deletions.is_waiting("2")
    assert bench.deletions.decided == ["2"]
    assert bench.folder.get("2") is None


def test_a_deletion_builds_on_what_stood_there() -> None:
    """An edit that had not reached the disk yet is concurrent with it, and keeps the file."""
    bench = standing(1)
    bench.arrive(*bench.peer.say(bench.peer.change(file(1), "newer")))
    vanish(bench, 1)
    bench.run(bench.deletions.tick(LATER_MS))
    assert deleted(bench) == {1}
    assert bench.ledger.is_alive(file(1))


def test_what_keeps_vanishing_is_waited_for_but_not_for_ever() -> None:
    """Every loss begins the quiet time anew, up to a bound."""
    bench = standing(9)
    for step in range(9):
        vanish(bench, step + 1, now_ms=NOW_MS + step * (SETTLE_MS - 1))
        assert bench.deletions.tick(NOW_MS + step * (SETTLE_MS - 1)) == []
    bench.run(bench.deletions.tick(NOW_MS + SETTLE_MAX_MS))
    assert deleted(bench) == set(range(1, 10))


def test_what_comes_back_was_not_deleted() -> None:
    """Saved by rename, moved away and back: nobody hears of it."""
    bench = standing(2)
    vanish(bench, 1)
    bench.deletions.came_back("1")
    assert bench.deletions.tick(LATER_MS) == []
    assert not bench.deletions.is_waiting("1")


def test_a_file_that_somebody_is_writing_waits() -> None:
    """Claimed or on its way into the ledger, its deletion comes afterwards."""
    bench = standing(2)
    bench.ledger.claim(file(1))
    bench.folder.hold(["2"])
    vanish(bench, 1, 2)
    assert bench.deletions.tick(LATER_MS) == []
    bench.ledger.release([file(1)])
    bench.run(bench.deletions.tick(LATER_MS))
    assert deleted(bench) == {1}
    bench.folder.settle(["2"])
    bench.run(bench.deletions.tick(LATER_MS))
    assert deleted(bench) == {1, 2}


def test_a_file_that_was_deleted_by_others_needs_no_deletion() -> None:
    """Nothing is written about what is dead; the path is free."""
    bench = standing(1)
    bench.arrive(*bench.peer.say(bench.peer.delete(file(1))))
    vanish(bench, 1)
    assert bench.deletions.tick(LATER_MS) == []
    assert bench.sealed == []
    assert bench.folder.get("1") is None


def test_a_file_that_stands_elsewhere_by_now_is_not_deleted() -> None:
    """Its old path is empty because it moved."""
    bench = standing(1)
    vanish(bench, 1)
    bench.folder.put("elsewhere", bench.disk("1"))
    assert bench.deletions.tick(LATER_MS) == []
    assert bench.folder.path_of(file(1)) == "elsewhere"


def test_a_hidden_twin_goes_with_the_file_that_people_saw() -> None:
    """Two files of the same bytes at one path are one to people: both are deleted."""
    bench = Bench()
    bench.stand("a", 1, "same")
    bench.share("a", 2, "same")
    bench.share("a", 3, "other")
    now = bench.folder.standing("a")
    assert now is not None
    bench.deletions.vanish("a", now, NOW_MS)
    bench.run(bench.deletions.tick(LATER_MS))
    assert deleted(bench) == {1, 2}


# --- disasters -----------------------------------------------------------------------------------


def struck(count: int = 20, lost: int = 11) -> Bench:
    """Return a folder that lost so many of its files at once, decided upon."""
    bench = standing(count)
    vanish(bench, *range(1, lost + 1))
    bench.run(bench.deletions.tick(LATER_MS))
    return bench


def test_more_than_half_at_once_is_held() -> None:
    """Nothing is deleted; what it is, is on record and told."""
    bench = struck()
    (hold,) = bench.deletions.holds.values()
    assert (hold.reason, len(hold.paths)) == (HoldReason.MASS_DELETION, 11)
    assert hold.detail == "11 of 20 files vanished from the folder at once"
    assert records(bench) == [hold]
    assert bench.sealed == []
    assert bench.deletions.is_waiting("1")


def test_half_or_less_and_small_numbers_are_ordinary() -> None:
    """Ten of twenty, nine of nine: an afternoon's work."""
    for count, lost in ((20, 10), (MASS_DELETION_MIN - 1, MASS_DELETION_MIN - 1)):
        bench = struck(count, lost)
        assert len(deleted(bench)) == lost
        assert bench.deletions.holds == {}


def test_a_folder_that_is_emptied_slowly_is_still_held() -> None:
    """One file every 100 ms for five seconds: not a third, then half of what is left, and so on."""
    bench = standing(60)
    for step in range(50):
        vanish(bench, step + 1, now_ms=NOW_MS + 100 * step)
        bench.run(bench.deletions.tick(NOW_MS + 100 * step))
    bench.run(bench.deletions.tick(NOW_MS + SETTLE_MANY_MAX_MS))
    assert deleted(bench) == set()
    assert [len(hold.paths) for hold in bench.deletions.holds.values()] == [50]


def test_a_disaster_is_decided_on_as_a_whole() -> None:
    """Half of what vanished is being written: the rest must not pass as the smaller part."""
    bench = standing(20)
    bench.ledger.claim(file(1))
    bench.ledger.claim(file(2))
    vanish(bench, *range(1, 12))
    assert bench.deletions.tick(LATER_MS) == []
    assert bench.deletions.holds == {}
    bench.ledger.release([file(1), file(2)])
    bench.deletions.tick(LATER_MS)
    assert [len(hold.paths) for hold in bench.deletions.holds.values()] == [11]
    assert bench.sealed == []


def test_held_paths_that_vanish_again_change_nothing() -> None:
    """A later look finds them gone still: no second hold, no deletion."""
    bench = struck()
    vanish(bench, *range(1, 12), now_ms=LATER_MS)
    assert bench.deletions.tick(LATER_MS + SETTLE_MS) == []
    assert len(bench.deletions.holds) == 1


def test_what_comes_back_leaves_the_hold() -> None:
    """The disk was mounted again: the hold shrinks on record, and ends with its last path."""
    bench = struck()
    records(bench)
    for number in range(1, 9):
        bench.deletions.came_back(f"{number}")
    bench.deletions.tick(LATER_MS)
    for number in range(9, 12):
        bench.deletions.came_back(f"{number}")
    bench.deletions.tick(LATER_MS)
    assert [len(hold.paths) if hold else None for hold in records(bench)] == [3, 0]
    assert bench.deletions.holds == {}
    assert not bench.deletions.is_waiting("1")


def test_released_deletions_are_written() -> None:
    """A person meant it: entries, and the hold is over."""
    bench = struck()
    records(bench)
    bench.run(bench.deletions.release(1, LATER_MS))
    assert deleted(bench) == set(range(1, 12))
    assert [hold.paths for hold in records(bench) if hold] == [()]
    assert not bench.deletions.is_waiting("1")


def test_a_release_waits_for_what_is_being_written() -> None:
    """That file's deletion follows by itself."""
    bench = struck()
    bench.ledger.claim(file(3))
    bench.run(bench.deletions.release(1, LATER_MS))
    assert 3 not in deleted(bench)
    bench.ledger.release([file(3)])
    bench.run(bench.deletions.tick(LATER_MS + SETTLE_MS))
    assert deleted(bench) == set(range(1, 12))


def test_rejected_deletions_bring_the_files_back() -> None:
    """No entry; the paths are empty in belief, so that the files are written again."""
    bench = struck()
    records(bench)
    paths = bench.deletions.reject(1)
    assert sorted(paths, key=int) == [f"{number}" for number in range(1, 12)]
    assert all(bench.folder.get(path) is None for path in paths)
    assert all(bench.ledger.is_alive(file(number)) for number in range(1, 12))
    assert [hold.paths for hold in records(bench) if hold] == [()]
    assert bench.sealed == []


def test_the_number_of_a_hold_is_not_given_again() -> None:
    """A command repeated from the shell's history must not decide on another hold."""
    bench = struck()
    bench.deletions.reject(1)
    (over,) = [hold for hold in records(bench) if hold and not hold.paths]

    restarted = standing(20)
    restarted.deletions.load(over)
    assert restarted.deletions.holds == {}
    vanish(restarted, *range(1, 12))
    restarted.run(restarted.deletions.tick(LATER_MS))
    assert list(restarted.deletions.holds) == [2]
    restarted.deletions.reject(2)
    told = records(restarted)
    assert [hold.id for hold in told if hold and not hold.paths] == [2]
    assert told[-1] is None, "one record is kept, not one for each hold that ever was"


def test_a_hold_that_is_not_there_is_nothing() -> None:
    """Released or rejected twice, or a wrong number: no effect."""
    bench = struck()
    assert bench.deletions.release(7, LATER_MS) == []
    assert bench.deletions.reject(7) == ()
    bench.deletions.reject(1)
    assert bench.deletions.reject(1) == ()


def test_a_hold_survives_a_restart() -> None:
    """From its record: the paths wait again, whatever the first scan says."""
    (hold,) = struck().deletions.holds.values()
    bench = standing(20)
    bench.deletions.load(hold)
    vanish(bench, 1)
    assert bench.deletions.tick(LATER_MS) == []
    assert bench.deletions.is_waiting("1")


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["vanish", "many", "back", "tick", "release", "reject"]),
        st.integers(1, 16),
    ),
    max_size=25,
)


@settings(max_examples=40)
@given(STEPS)
def test_whatever_happens_no_tick_deletes_more_than_half(steps: list[tuple[str, int]]) -> None:
    """Only a person lets more than half go; a path waits in one place at most."""
    bench, now_ms = standing(16), NOW_MS
    for deed, number in steps:
        now_ms += 60
        before, total = len(bench.sealed), len(bench.folder)
        if deed in {"vanish", "many"}:
            last = number + (11 if deed == "many" else 0)
            there = [n for n in range(number, last + 1) if bench.folder.standing(f"{n}")]
            vanish(bench, *there, now_ms=now_ms)
        elif deed == "back":
            bench.deletions.came_back(f"{number}")
        elif deed == "tick":
            bench.run(bench.deletions.tick(now_ms + SETTLE_MS))
            gone = len(bench.sealed) - before
            assert gone < MASS_DELETION_MIN or 2 * gone <= total
        elif deed == "release":
            bench.run(bench.deletions.release(1 + number % 2, now_ms))
        else:
            bench.deletions.reject(1 + number % 2)
        held = [path for hold in bench.deletions.holds.values() for path in hold.paths]
        assert len(held) == len(set(held))
        assert not set(held) & set(bench.deletions.vanished)
        assert set(held) == bench.deletions._held
