"""The benchmarks measure what they say: same trees at every run, and *seen* only when it stands."""

from __future__ import annotations

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


def test_table_shows_multiples_of_the_first_figure() -> None:
    """Each cell's ratio is to the first program of the row that has a figure."""
    report = Report(machine={}, versions={})
    for peer, seconds in (("a", None), ("b", 0.5), ("c", 2.0)):
        report.results.append(Result("first sync", "texts", "tmpfs", peer, seconds))
    assert report.table().splitlines()[2:] == [
        "| first sync, texts, tmpfs | — | 500 ms | 2.0 s (4.0 x) |"
    ]


def test_percentile_is_a_value_that_was_measured() -> None:
    """By nearest rank: of a hundred values the 99th is not the mean of two."""
    assert percentile([float(number) for number in range(100, 0, -1)], 0.99) == 99.0
