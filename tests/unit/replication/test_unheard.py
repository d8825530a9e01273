"""When a peer is asked for what it announced and did not send."""

from __future__ import annotations

from aiplatform.mesh_ide.replication.unheard import ASK_AFTER_MS, ASK_BUSY_AFTER_MS, Unheard
from tests.unit.documents.authors import file

START_MS = 1_000_000


def announced(*numbers: int) -> Unheard:
    """Return what a peer announced at the start."""
    unheard = Unheard()
    unheard.announced(map(file, numbers), START_MS)
    return unheard


def test_an_announced_head_is_due_after_a_while_and_once() -> None:
    """Its author may be on the way with it."""
    unheard = announced(1, 2)
    assert unheard.take_due(START_MS + ASK_AFTER_MS - 1) == []
    assert unheard.take_due(START_MS + ASK_AFTER_MS) == [file(1), file(2)]
    assert unheard.take_due(START_MS + 9 * ASK_AFTER_MS) == []


def test_announcing_again_does_not_put_it_off() -> None:
    """A peer that repeats itself is asked as soon as one that does not."""
    unheard = announced(1)
    unheard.announced([file(1)], START_MS + ASK_AFTER_MS - 1)
    assert unheard.take_due(START_MS + ASK_AFTER_MS) == [file(1)]


def test_what_was_heard_is_not_due() -> None:
    """It is known, so there is nothing to ask for."""
    unheard = announced(1, 2)
    unheard.heard([file(1), file(3)])
    assert unheard.take_due(START_MS + ASK_AFTER_MS) == [file(2)]


def test_entries_under_check_put_it_off_but_not_for_ever() -> None:
    """Announcements overtake entries; a peer that never pauses is asked in the end."""
    unheard = announced(1)
    unheard.entries_came()
    assert unheard.take_due(START_MS + ASK_BUSY_AFTER_MS - 1) == []
    assert unheard.take_due(START_MS + ASK_BUSY_AFTER_MS) == [file(1)]


def test_after_the_check_there_is_a_pause() -> None:
    """The next frame may be behind the one that was checked."""
    unheard = announced(1)
    unheard.entries_came()
    checked_ms = START_MS + ASK_AFTER_MS
    unheard.entries_checked(checked_ms)
    assert unheard.take_due(checked_ms + ASK_AFTER_MS - 1) == []
    assert unheard.take_due(checked_ms + ASK_AFTER_MS) == [file(1)]


def test_missing_parents_are_due_at_once() -> None:
    """Nothing can be taken without them, whatever else is under way."""
    unheard = announced(1)
    unheard.entries_came()
    unheard.parents_missing([file(7)])
    assert unheard.take_due(START_MS) == [file(7)]
    assert unheard.take_due(START_MS) == []
