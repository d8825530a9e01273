"""What is listed as staying at home: what the last look found, no more."""

from __future__ import annotations

from aiplatform.mesh_ide.ports.filetree import Skipped, SkipReason
from aiplatform.mesh_ide.workspace.core_skips import SKIPPED_MAX, Skips


def listed(*paths: str) -> Skips:
    """Return a list with these paths."""
    skips = Skips()
    skips.meet(Skipped(path, SkipReason.SPECIAL) for path in paths)
    return skips


def test_what_is_looked_at_leaves_the_list_with_all_below_it() -> None:
    """The look tells again what is still there."""
    skips = listed("a/fifo", "a/b/link", "ab", "c")
    skips.look_at(("a", "c", "unknown"))
    assert list(skips.by_path) == ["ab"]
    skips.meet((Skipped("c", SkipReason.SPECIAL),))
    assert list(skips.by_path) == ["ab", "c"]


def test_a_scan_ends_with_what_it_met() -> None:
    """What was removed while nobody looked is not listed for ever; a scan that failed ends nothing.

    Until the end the list is whole: a person who asks meanwhile sees no gap.
    """
    skips = listed("gone", "there")
    skips.begin_scan()
    skips.meet((Skipped("there", SkipReason.SPECIAL), Skipped("new", SkipReason.SPECIAL)))
    assert list(skips.by_path) == ["gone", "there", "new"]
    skips.begin_scan()
    skips.meet((Skipped("there", SkipReason.SPECIAL), Skipped("new", SkipReason.SPECIAL)))
    skips.end_scan()
    assert list(skips.by_path) == ["there", "new"]


def test_the_list_is_bounded_and_has_room_again() -> None:
    """A folder of a million sockets fills no memory."""
    skips = listed(*(f"d/{number}" for number in range(SKIPPED_MAX + 5)))
    assert len(skips.by_path) == SKIPPED_MAX
    skips.look_at(("d",))
    skips.meet((Skipped("late", SkipReason.SPECIAL),))
    assert list(skips.by_path) == ["late"]
