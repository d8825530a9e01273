"""Jobs of the working folder: look in parts, and change nothing that could not be kept."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.node.jobs_folder import HintedContents
from aiplatform.mesh_ide.ports.filetree import Contents, FileWrite, WriteOutcome, WriteResult
from aiplatform.mesh_ide.ports.jobs import (
    ApplyWrites,
    BlobSource,
    FolderScanned,
    ObservePaths,
    PathsObserved,
    PlannedWrite,
    ScanFolder,
    WritesApplied,
)
from aiplatform.mesh_ide.workspace.adapters.memory_disk import DiskFault
from tests.unit.documents.authors import blob
from tests.unit.node.ports import Ports

REGULAR = FileMode.REGULAR


def apply(ports: Ports, *writes: PlannedWrite) -> WritesApplied:
    """Change the folder."""
    return ports.run(ApplyWrites(writes), WritesApplied)


def place(
    path: str, text: str, expected: str | None = None, *, archive: bool = False
) -> PlannedWrite:
    """Plan a content at a path."""
    old = None if expected is None else blob(expected)
    mode = None if expected is None else REGULAR
    write = FileWrite(path, blob(text), REGULAR, old, mode)
    return PlannedWrite(write, BlobSource(blob(text)), archive_first=archive)


# --- looking -------------------------------------------------------------------------------------


def test_a_scan_comes_in_parts_and_says_which_is_the_last() -> None:
    """Every file in one of them, and one end."""
    ports = Ports()
    for number in range(600):
        ports.disk.folder.write(f"{number}", b"x")
    parts = ports.all(ScanFolder({}), FolderScanned)
    found = [seen.path for part in parts for seen in part.batch.observations]
    assert sorted(found) == sorted(f"{number}" for number in range(600))
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert len(parts) > 2


def test_a_folder_that_is_gone_is_a_problem_and_no_deletion() -> None:
    """The scan ends with why, and reports nothing as gone."""
    ports = Ports()
    ports.disk.folder.faults.add(DiskFault.ROOT_MISSING)
    for results in (
        ports.all(ScanFolder({}), FolderScanned),
        ports.all(ObservePaths(("a",), {}), PathsObserved),
    ):
        assert [bool(part.problem) for part in results] == [True]
        assert results[0].is_last
        assert results[0].batch.observations == ()


def test_what_is_gone_comes_in_the_first_part() -> None:
    """So a rename is seen as one: the old path's absence, then the new files in parts."""
    ports = Ports()
    stat = ports.disk.folder.write("old", b"one")
    for number in range(100):
        ports.disk.folder.write(f"new{number}", b"x")
    ports.disk.folder.remove("old")
    paths = (*(f"new{number}" for number in range(100)), "old")
    parts = ports.all(ObservePaths(paths, {"old": stat}), PathsObserved)
    first = parts[0].batch.observations
    assert [(seen.path, seen.stat) for seen in first] == [("old", None)]
    assert [part.is_last for part in parts] == [False] * (len(parts) - 1) + [True]
    assert sum(len(part.batch.observations) for part in parts) == 101


def test_a_node_without_a_folder_sees_nothing() -> None:
    """Headless: both looks are answered, once."""
    ports = Ports(has_folder=False)
    assert [part.is_last for part in ports.all(ScanFolder({}), FolderScanned)] == [True]
    assert len(ports.all(ObservePaths(("a",), {}), PathsObserved)) == 1


# --- changing ------------------------------------------------------------------------------------


def test_a_write_takes_its_content_from_what_was_kept_and_lets_it_go() -> None:
    """Once it stands in the folder, memory need not hold it."""
    ports = Ports()
    ports.contents.keep(blob("one"), b"one")
    result = apply(ports, place("dir/a", "one"))
    assert [one.outcome for one in result.results] == [WriteOutcome.APPLIED]
    assert ports.disk.folder.files() == {"dir/a": b"one"}
    assert ports.cache.get(blob("one")) is None


def test_a_second_file_of_the_same_content_is_made_from_the_first() -> None:
    """Planned together, written one after the other: memory holds the content only once."""
    ports = Ports()
    ports.contents.keep(blob("one"), b"one")
    for path in ("a", "b", "c"):
        result = apply(ports, place(path, "one"))
        assert [one.outcome for one in result.results] == [WriteOutcome.APPLIED]
    assert ports.disk.folder.files() == {"a": b"one", "b": b"one", "c": b"one"}


def test_what_is_overwritten_is_archived_first() -> None:
    """The bytes before the write are in the archive when it returns."""
    ports = Ports()
    ports.disk.folder.write("a", b"old")
    ports.contents.keep(blob("new"), b"new")
    result = apply(ports, place("a", "new", "old", archive=True))
    assert result.archived == (blob("old"),)
    assert ports.store.held_blobs([blob("old")]) == {blob("old")}
    assert ports.disk.folder.read("a") == b"new"


def test_nothing_is_overwritten_that_could_not_be_kept() -> None:
    """The archive is full: all writes of the job fail, the folder is as it was."""
    ports = Ports()
    ports.disk.folder.write("a", b"old")
    ports.contents.keep(blob("new"), b"new")
    ports.disk.is_full = True
    result = apply(ports, place("a", "new", "old", archive=True), place("b", "new"))
    assert [one.outcome for one in result.results] == [WriteOutcome.FAILED] * 2
    assert all(one.problem for one in result.results)
    assert ports.disk.folder.files() == {"a": b"old"}


def test_a_folder_that_went_away_refuses_writes_and_says_why() -> None:
    """Moved between the plan and the write: each write failed, what was archived is told."""
    ports = Ports()
    ports.disk.folder.write("a", b"old")
    ports.disk.folder.faults.add(DiskFault.ROOT_MISSING)
    result = apply(ports, place("a", "new", "old"), place("b", "new"))
    assert [one.outcome for one in result.results] == [WriteOutcome.FAILED] * 2
    assert all("gone" in (one.problem or "") for one in result.results)


def test_something_unexpected_is_left_and_reported() -> None:
    """A person's edit stands there: its bytes stay, and are kept at hand."""
    ports = Ports()
    ports.disk.folder.write("a", b"a person's")
    ports.contents.keep(blob("new"), b"new")
    (result,) = apply(ports, place("a", "new", "old")).results
    assert result.outcome is WriteOutcome.UNEXPECTED
    assert result.found is not None
    assert result.found.blob == blob("a person's")
    assert ports.disk.folder.read("a") == b"a person's"
    assert ports.contents.read(blob("new")) == b"new", "it is still needed"


def test_a_content_may_be_read_from_a_file_that_holds_it() -> None:
    """The plan's hint names the path; nothing was kept or archived."""
    ports = Ports()
    ports.disk.folder.write("a", b"one")
    write = FileWrite("b", blob("one"), REGULAR, None)
    result = apply(ports, PlannedWrite(write, BlobSource(blob("one"), "a"), archive_first=False))
    assert [one.outcome for one in result.results] == [WriteOutcome.APPLIED]
    assert ports.disk.folder.files() == {"a": b"one", "b": b"one"}


def test_hints_do_not_replace_what_the_caller_knows() -> None:
    """A path that is given wins; without one the hint is used; keeping passes through."""
    ports = Ports()
    ports.disk.folder.write("a", b"one")
    hinted = HintedContents(ports.contents, {blob("one"): "a"})
    assert hinted.read(blob("one")) == b"one"
    assert hinted.read(blob("one"), "elsewhere") is None
    assert list(hinted.chunks(blob("one")) or ()) == [b"one"]
    hinted.keep(blob("two"), b"two")
    assert ports.cache.get(blob("two")) == b"two"
    hinted.forget(blob("two"))
    assert ports.cache.get(blob("two")) is None


def test_a_disk_that_fails_at_the_end_of_a_change_is_a_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An exception of a job would end the node; what took place is found when it is tried again."""
    ports = Ports()
    do = ports.tree.apply

    def fail(writes: Sequence[FileWrite], contents: Contents) -> tuple[WriteResult, ...]:
        do(writes, contents)
        raise UnavailableError("the disk failed to keep them for sure")

    monkeypatch.setattr(ports.tree, "apply", fail)
    ports.contents.keep(blob("text"), b"text")
    first = apply(ports, place("a", "text"))
    assert [result.outcome for result in first.results] == [WriteOutcome.FAILED]
    assert "failed to keep" in str(first.results[0].problem)
    monkeypatch.undo()
    again = apply(ports, place("a", "text"))
    assert [result.outcome for result in again.results] == [WriteOutcome.APPLIED]
