"""Snapshots as people read them."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from aiplatform.mesh_ide.api.snapshot_answers import (
    Snapshot,
    SnapshotDiff,
    SnapshotDifference,
    SnapshotFile,
    Snapshots,
    SnapshotShown,
)
from aiplatform.mesh_ide.cli import app, verbs_snapshot

ONE = Snapshot("ab" * 32, ("first",), 1, "ann", files=2, size=2048, aside=1)


def test_every_snapshot_is_a_line_and_a_damaged_one_says_so() -> None:
    """The beginning of the id is enough to name it."""
    text = verbs_snapshot._list(Snapshots((ONE, Snapshot("cd" * 32, problem="damaged: drop it"))))
    header, first, second = text.splitlines()
    assert header.split() == ["ID", "WHEN", "WHO", "WHAT", "NAMES"]
    assert first.startswith("ababababab ")
    assert "2 files, 2.0 KiB, 1 version aside (conflicts)" in first
    assert first.endswith("first")
    assert "damaged: drop it" in second


def test_files_are_shown_with_mode_size_and_content_and_what_is_left_out() -> None:
    """A name cannot drive the terminal."""
    files = (
        SnapshotFile("a\x1b[2J", "f", "executable", 3, "ef" * 32, ()),
        SnapshotFile("b", "f", "regular", 3, "ef" * 32, (), is_aside=True),
    )
    lines = verbs_snapshot._show(SnapshotShown(ONE, 5, files)).splitlines()
    assert lines[2].split() == ["executable", "3", "B", "efefefefef", "a\\x1b[2J"]
    assert lines[3].startswith("aside ")
    assert lines[-1] == "... and 3 more (--limit)"


def test_a_folder_that_a_snapshot_does_not_have_is_said_not_to_be_there() -> None:
    """A header alone would look like an empty answer; a snapshot without files is no such case."""
    empty = SnapshotShown(ONE, 0, ())
    assert verbs_snapshot._show(empty, "nodir").splitlines()[2].startswith("nothing lies at nodir")
    assert len(verbs_snapshot._show(empty).splitlines()) == 2


def test_two_names_for_one_snapshot_are_refused_before_anything_is_kept() -> None:
    """`--name x y`: whoever forgets the quotes learns it."""
    done = CliRunner().invoke(app.app, ["snapshot", "create", "--name", "x", "y"])
    assert isinstance(done.exception, verbs_snapshot.TwoNamesError)
    assert "(y, x)" in str(done.exception)


def test_differences_are_one_line_each() -> None:
    """A move names both places."""
    found = (SnapshotDifference("moved", "new", "old"), SnapshotDifference("added", "x"))
    text = verbs_snapshot._diff(SnapshotDiff("a", "b", 2, found))
    assert text.splitlines() == ["moved  old -> new", "added  x"]
    assert verbs_snapshot._diff(SnapshotDiff("a", "a", 0, ())) == "no differences"


@pytest.mark.parametrize("verb", ["create", "list", "show", "diff", "drop"])
def test_every_verb_has_an_example_and_json(verb: str) -> None:
    """As all other verbs."""
    shown = CliRunner().invoke(app.app, ["snapshot", verb, "--help"])
    assert shown.exit_code == 0
    assert f"Example: mesh snapshot {verb}" in shown.stdout
    assert "--json" in shown.stdout
