"""A node's log: what people need to read later, however much somebody types."""

from __future__ import annotations

import logging

import pytest

from aiplatform.mesh_ide.cli.daemon import FILES_LINE_S, LOG_BYTES_MAX, LOG_FILES_MAX, Journal


class Clock:
    """Time by hand."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands."""
    return Clock()


@pytest.fixture
def journal(clock: Clock, caplog: pytest.LogCaptureFixture) -> Journal:
    """Give a journal whose lines ``caplog`` has."""
    caplog.set_level(logging.INFO)
    return Journal(logging.getLogger("test-journal"), clock)


def test_an_hour_of_typing_is_sixty_lines(
    journal: Journal, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten saves a second: one line a minute, which counts them; two days of it fit the files."""
    saves = 36_000
    for _ in range(saves):
        journal.tell("files", "1 file changed: a.txt")
        clock.now_s += 0.1
    journal.flush()
    lines = caplog.messages
    assert 60 <= len(lines) <= 61
    assert lines[0] == "1 file changed: a.txt"
    told = sum(
        1 + (int(line.split("(and ")[1].split()[0]) if "(and" in line else 0) for line in lines
    )
    assert told == saves
    a_line_bytes = 24 + 6 + max(map(len, lines))  # the time and the level stand before it
    assert 48 * 60 * a_line_bytes < LOG_BYTES_MAX * LOG_FILES_MAX


def test_other_words_stand_at_once_and_after_what_happened_before_them(
    journal: Journal, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing waits behind a save, and the order of things is kept."""
    journal.tell("files", "1 file changed: a.txt")
    journal.tell("files", "1 file changed: b.txt")
    journal.tell("files", "2 files changed: c.txt, d.txt")
    journal.tell("peer-down", "desk is gone: shutting down")
    journal.tell("warning", "the clock of desk is off")
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("INFO", "1 file changed: a.txt"),
        ("INFO", "2 files changed: c.txt, d.txt (and 1 change before it)"),
        ("INFO", "desk is gone: shutting down"),
        ("WARNING", "the clock of desk is off"),
    ]
    clock.now_s += FILES_LINE_S
    journal.flush()
    assert len(caplog.records) == 4, "nothing is told twice"


def test_a_files_name_cannot_forge_a_line(
    journal: Journal, caplog: pytest.LogCaptureFixture
) -> None:
    """Control characters are shown; a percent sign is no format."""
    journal.tell("warning", "odd%s\n2026-01-01 ERROR all is lost\x1b[2J")
    assert caplog.messages == ["odd%s\\x0a2026-01-01 ERROR all is lost\\x1b[2J"]
