"""The benchmarks measure what they say: same trees at every run, and *seen* only when it stands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.measures import (
    FIRST_SYNC,
    RATE_SENT,
    STATUS,
    TARGETS,
    Unit,
    percentile,
    show,
)
from bench.processes import cpu_seconds, family, resident_bytes
from bench.report import Report, Result
from bench.trees import TEXT_BYTES_MAX, TEXT_BYTES_MIN, make_texts, rewrite_as_checkout
from bench.watch import NotSeenError, wait_content, wait_seen


def test_texts_are_the_same_at_every_run(tmp_path: Path) -> None:
    """Two runs make equal files, whose sizes keep the stated range."""
    paths = make_texts(tmp_path / "one", files=30)
    assert make_texts(tmp_path / "two", files=30) == paths
    contents = [(tmp_path / "one" / path).read_bytes() for path in paths]
    assert contents == [(tmp_path / "two" / path).read_bytes() for path in paths]
    assert len(set(contents)) == len(paths)
    assert all(TEXT_BYTES_MIN <= len(content) <= TEXT_BYTES_MAX for content in contents)


def test_equal_folders_are_seen(tmp_path: Path) -> None:
    """What stands in the destination is seen at once."""
    paths = make_texts(tmp_path / "left", files=3)
    make_texts(tmp_path / "right", files=3)
    assert wait_seen(tmp_path / "left", tmp_path / "right", paths, timeout_s=1) > 0


@pytest.mark.parametrize("content", [None, b"short", b"y" * 5_000], ids=["none", "part", "wrong"])
def test_a_file_not_right_yet_is_not_seen(tmp_path: Path, content: bytes | None) -> None:
    """Missing, half written, or of the right size with other bytes: none of these counts."""
    path = Path("file")
    for folder in ("left", "right"):
        (tmp_path / folder).mkdir()
    (tmp_path / "left" / path).write_bytes(b"x" * 5_000)
    if content is not None:
        (tmp_path / "right" / path).write_bytes(content)
    with pytest.raises(NotSeenError, match="file"):
        wait_seen(tmp_path / "left", tmp_path / "right", [path], timeout_s=0.05)
    with pytest.raises(NotSeenError, match="file"):
        wait_content(tmp_path / "right" / path, b"x" * 5_000, timeout_s=0.05)


def test_checkout_makes_new_files_with_new_content(tmp_path: Path) -> None:
    """As git does, the old file is unlinked: somebody who has it open keeps the old content."""
    (path,) = make_texts(tmp_path, files=1)
    with (tmp_path / path).open("rb") as opened_before:
        before = (tmp_path / path).read_bytes()
        assert list(rewrite_as_checkout(tmp_path, [path], "branch")) == [path]
        assert opened_before.read() == before
    assert (tmp_path / path).read_bytes() != before


def _row(measure: str, **figures: float | None) -> str:
    """Return the table's only row for these programs' figures."""
    report = Report(machine={}, versions={})
    for peer, figure in figures.items():
        name = {"rsync": "rsync -a"}.get(peer, peer)
        report.results.append(Result(measure, "texts", "tmpfs", name, figure))
    (line,) = report.table().splitlines()[2:]
    return line


def test_table_shows_multiples_of_the_first_figure() -> None:
    """Each cell's ratio is to the first program of the row that has a figure."""
    line = _row("first sync, archived", a=None, b=0.5, c=2.0)
    assert line == "| first sync, archived, texts, tmpfs | — | 500 ms | 2.0 s (4.0 x) |  |  |"


def test_table_judges_our_figure_by_the_others_of_its_row() -> None:
    """Within 3.5 times rsync and ahead of both others: met; else it says what is short."""
    assert _row(FIRST_SYNC, rsync=1.0, mesh=3.4, unison=4.0, syncthing=9.0).endswith("| met |")
    missed = _row(FIRST_SYNC, rsync=1.0, mesh=3.6, unison=3.5, syncthing=9.0)
    assert missed.endswith("| MISSED: 3.6 x rsync, unison is faster |")
    assert _row(FIRST_SYNC, mesh=3.4, unison=4.0).endswith("| met (without rsync -a, syncthing) |")


@pytest.mark.parametrize(
    ("measure", "figure", "verdict"),
    [
        (STATUS, 0.250, "met"),
        (STATUS, 0.500, "MISSED: 2.0 x the bound"),
        (RATE_SENT, 10_000.0, "met"),
        (RATE_SENT, 5_000.0, "MISSED: 50% of it"),
    ],
)
def test_bounds_hold_to_the_figure_itself(measure: str, figure: float, verdict: str) -> None:
    """A bound from above and one from below both take the very figure that they name."""
    assert TARGETS[measure].verdict({"mesh": figure}) == verdict


def test_a_target_without_our_figure_is_not_met() -> None:
    """A measure that failed never counts as reached."""
    assert TARGETS[STATUS].verdict({}) == "not measured"
    assert TARGETS[STATUS].verdict({"unison": 0.1}) == "not measured"


def test_a_target_is_for_its_file_system_alone() -> None:
    """The first synchronisation is judged on tmpfs; on disks it is printed."""
    report = Report(machine={}, versions={})
    report.results.append(Result(FIRST_SYNC, "texts", "ext4", "mesh", 60.0))
    assert report.verdicts() == {}


def test_figures_are_shown_in_their_units() -> None:
    """Seconds in three steps, bytes in millions, rates with their thousands apart."""
    assert [show(seconds, Unit.SECONDS) for seconds in (0.0042, 0.42, 4.2)] == [
        "4.2 ms",
        "420 ms",
        "4.2 s",
    ]
    assert show(1.5e8, Unit.BYTES) == "150 MB"
    assert show(12_345.6, Unit.PER_SECOND) == "12,346/s"
    assert show(0.44, Unit.SHARE) == "0.4 %"


def test_costs_are_those_of_a_process_and_its_children() -> None:
    """A child's memory counts to its parent's, and its processor time never goes back."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    alone = resident_bytes(os.getpid())
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.pid in family(os.getpid())
        assert resident_bytes(os.getpid()) > alone
        assert 0 <= cpu_seconds(child.pid) <= cpu_seconds(os.getpid()) + cpu_seconds(child.pid)
    with pytest.raises(ProcessLookupError):
        cpu_seconds(child.pid)


def test_percentile_is_a_value_that_was_measured() -> None:
    """By nearest rank: of a hundred values the 99th is not the mean of two."""
    assert percentile([float(number) for number in range(100, 0, -1)], 0.99) == 99.0
