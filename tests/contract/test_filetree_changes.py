"""What every FileTree does when it changes something."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.ports.filetree import (
    FileWrite,
    Observation,
)
from tests.contract.filetree_rig import (
    APPLIED,
    EXECUTABLE,
    FAILED,
    REGULAR,
    SYMLINK,
    UNEXPECTED,
    Rig,
    blob_of,
    gone,
)

# --- changing --------------------------------------------------------------------------------


def test_new_files_appear_with_their_folders(rig: Rig) -> None:
    """Text, empty, executable and link; the returned stats are those of the next scan."""
    results = rig.apply(
        rig.place("a/b/c.txt", b"hello"),
        rig.place("empty", b""),
        rig.place("run", b"#!/bin/sh\n", mode=EXECUTABLE),
        rig.place("a/link", b"b/c.txt", mode=SYMLINK),
    )
    assert [r.outcome for r in results] == [APPLIED] * 4
    expected = {"a/b/c.txt": b"hello", "empty": b"", "run": b"#!/bin/sh\n", "a/link": b"b/c.txt"}
    assert rig.files() == expected
    known = {r.path: r.stat for r in results if r.stat is not None}
    modes = {path: stat.mode for path, stat in known.items()}
    assert modes == {"a/b/c.txt": REGULAR, "empty": REGULAR, "run": EXECUTABLE, "a/link": SYMLINK}
    batch = rig.scan(known)
    assert (set(batch.unchanged), batch.observations) == (set(expected), ())


def test_what_was_expected_is_replaced(rig: Rig) -> None:
    """Content, mode, or kind."""
    rig.write("text", b"1")
    rig.write("script", b"s")
    rig.write("was-file", b"f")
    results = rig.apply(
        rig.place("text", b"2", b"1", REGULAR, REGULAR),
        rig.place("script", b"s", b"s", EXECUTABLE, REGULAR),
        rig.place("was-file", b"text", b"f", SYMLINK, REGULAR),
    )
    assert [r.outcome for r in results] == [APPLIED] * 3
    assert rig.files() == {"text": b"2", "script": b"s", "was-file": b"text"}
    assert [r.stat.mode for r in results if r.stat] == [REGULAR, EXECUTABLE, SYMLINK]


def test_something_unexpected_stays_and_is_found(rig: Rig) -> None:
    """A person's content stands at the path as before, is told, and its bytes are at hand."""
    rig.write("a", b"by a person")
    result = rig.apply_one(rig.place("a", b"by a peer", b"what we believed"))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert (result.found.path, result.found.blob) == ("a", blob_of(b"by a person"))
    assert rig.files() == {"a": b"by a person"}
    assert blob_of(b"by a person") in rig.cache.kept


def test_another_mode_is_unexpected(rig: Rig) -> None:
    """A chmod by a person is an edit like any other."""
    rig.write("a", b"1", EXECUTABLE)
    result = rig.apply_one(rig.place("a", b"2", b"1", REGULAR, REGULAR))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert result.found.stat is not None
    assert result.found.stat.mode is EXECUTABLE
    assert rig.files() == {"a": b"1"}


def test_a_file_that_a_person_removed_is_not_written_again(rig: Rig) -> None:
    """Nothing there is something unexpected."""
    result = rig.apply_one(rig.place("a", b"2", b"1"))
    assert (result.outcome, result.found) == (UNEXPECTED, Observation("a", None))
    assert rig.files() == {}


def test_where_nothing_was_expected_a_file_stays(rig: Rig) -> None:
    """Unless it is the same file already."""
    rig.write("other", b"mine")
    rig.write("same", b"content")
    other, same = rig.apply(rig.place("other", b"yours"), rig.place("same", b"content"))
    assert other.outcome is UNEXPECTED
    assert other.found is not None
    assert other.found.blob == blob_of(b"mine")
    assert same.outcome is APPLIED
    assert rig.files() == {"other": b"mine", "same": b"content"}


def test_a_removal_takes_only_what_was_expected(rig: Rig) -> None:
    """What is gone already is fine; empty folders go along, others stay."""
    rig.write("deep/er/a", b"1")
    rig.write("kept/b", b"1")
    rig.write("kept/c", b"1")
    rig.write("edited", b"by a person")
    results = rig.apply(
        rig.place("deep/er/a", None, b"1"),
        rig.place("kept/b", None, b"1"),
        rig.place("edited", None, b"1"),
        rig.place("never/was", None, b"1"),
    )
    assert [r.outcome for r in results] == [APPLIED, APPLIED, UNEXPECTED, APPLIED]
    assert rig.files() == {"kept/c": b"1", "edited": b"by a person"}
    assert results[2].found is not None
    assert results[2].found.blob == blob_of(b"by a person")


def test_a_rename_takes_the_file_along(rig: Rig) -> None:
    """The inode stays, folders come and go."""
    rig.write("old/a", b"1")
    inode = rig.known()["old/a"].inode
    result = rig.apply_one(rig.place("new/b", b"1", moved_from="old/a"))
    assert result.outcome is APPLIED
    assert result.stat is not None
    assert result.stat.inode == inode
    assert rig.files() == {"new/b": b"1"}
    assert gone(rig.scan(rig.known())) == set()


def test_a_rename_of_a_folder_with_a_thousand_files(rig: Rig) -> None:
    """One batch; nothing stays behind."""
    for number in range(1000):
        rig.write(f"old/{number % 10}/{number}", b"%d" % number)
    before = rig.files()
    writes = [
        rig.place(path.replace("old", "new", 1), content, moved_from=path)
        for path, content in before.items()
    ]
    assert {r.outcome for r in rig.apply(*writes)} == {APPLIED}
    assert rig.files() == {p.replace("old", "new", 1): c for p, c in before.items()}


def test_a_rename_of_an_edited_file_puts_it_back(rig: Rig) -> None:
    """The edit is found where the person made it."""
    rig.write("old", b"edited")
    result = rig.apply_one(rig.place("new", b"1", moved_from="old"))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert (result.found.path, result.found.blob) == ("old", blob_of(b"edited"))
    assert rig.files() == {"old": b"edited"}


def test_a_rename_to_a_taken_path_changes_nothing(rig: Rig) -> None:
    """Both files stay."""
    rig.write("old", b"1")
    rig.write("new", b"somebody's")
    result = rig.apply_one(rig.place("new", b"1", moved_from="old"))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert result.found.blob == blob_of(b"somebody's")
    assert rig.files() == {"old": b"1", "new": b"somebody's"}


def test_a_rename_over_an_expected_file_replaces_it(rig: Rig) -> None:
    """The old path is free afterwards."""
    rig.write("old", b"1")
    rig.write("new", b"2")
    result = rig.apply_one(rig.place("new", b"1", b"2", moved_from="old"))
    assert result.outcome is APPLIED
    assert rig.files() == {"new": b"1"}


def test_a_rename_of_a_file_that_is_gone_writes_its_content(rig: Rig) -> None:
    """The content is at hand; the peer's file shall stand at its new path."""
    result = rig.apply_one(rig.place("new", b"1", moved_from="old"))
    assert result.outcome is APPLIED
    assert rig.files() == {"new": b"1"}


def test_a_change_of_case_is_a_rename(rig: Rig) -> None:
    """README becomes Readme."""
    rig.write("README", b"1")
    assert rig.apply_one(rig.place("Readme", b"1", moved_from="README")).outcome is APPLIED
    assert rig.files() == {"Readme": b"1"}


def test_a_file_in_the_way_of_a_folder_is_found(rig: Rig) -> None:
    """It stays; the result says where it stands."""
    rig.write("a", b"a file")
    result = rig.apply_one(rig.place("a/b", b"1"))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert (result.found.path, result.found.blob) == ("a", blob_of(b"a file"))
    assert rig.files() == {"a": b"a file"}


def test_a_folder_in_the_way_of_a_file_stays(rig: Rig) -> None:
    """Somebody made a folder where a file shall stand."""
    rig.write("a/b", b"1")
    assert rig.apply_one(rig.place("a", b"a file")).outcome is UNEXPECTED
    assert rig.files() == {"a/b": b"1"}


def test_files_and_folders_change_places_within_a_batch(rig: Rig) -> None:
    """The removal that makes room comes first, in the same call."""
    rig.write("a/x/b", b"1")
    rig.write("c", b"2")
    results = rig.apply(
        rig.place("a/x/b", None, b"1"),
        rig.place("a", b"now a file"),
        rig.place("c", None, b"2"),
        rig.place("c/d", b"now a folder"),
    )
    assert [r.outcome for r in results] == [APPLIED] * 4
    assert rig.files() == {"a": b"now a file", "c/d": b"now a folder"}


@pytest.mark.parametrize(
    "path",
    ["../out", "/outside/of/it", "a/../../out", "", ".git/hooks/post-checkout", ".GIT/config",
     "git~1/x", "a/.git", ".mesh-tmp/x", ".env", "a/id_rsa", "a\0b", "x" * 300],
)  # fmt: skip
def test_a_path_that_nobody_may_write_is_refused(rig: Rig, path: str) -> None:
    """A peer cannot reach outside, into git's folder, or at a secret; the others are written."""
    refused, written = rig.apply(rig.place(path, b"evil"), rig.place("fine", b"1"))
    assert (refused.outcome, written.outcome) == (FAILED, APPLIED)
    assert refused.problem is not None
    assert rig.files() == {"fine": b"1"}


@pytest.mark.parametrize("target", [b"/etc", b"../../x", b"a/../../../x", b"", b"\xff", b".git/x"])
def test_a_link_that_leads_outside_is_refused(rig: Rig, target: bytes) -> None:
    """A peer cannot plant one either."""
    result = rig.apply_one(rig.place("sub/link", target, mode=SYMLINK))
    assert result.outcome is FAILED
    assert rig.files() == {}


def test_a_secret_that_stands_there_is_not_handed_on(rig: Rig) -> None:
    """What does not travel is not found as somebody's edit, and is not touched."""
    rig.write("deploy", b"-----BEGIN PRIVATE KEY-----\n")
    result = rig.apply_one(rig.place("deploy", b"new"))
    assert (result.outcome, result.found) == (FAILED, None)
    assert rig.cache.kept == []
    assert rig.files() == {"deploy": b"-----BEGIN PRIVATE KEY-----\n"}


def test_missing_and_corrupt_contents_change_nothing(rig: Rig) -> None:
    """Each write by itself; the results keep the order of the writes."""
    rig.write("a", b"old")
    missing = FileWrite("a", blob_of(b"nobody has this"), REGULAR, blob_of(b"old"))
    corrupt = rig.place("b", b"torn")
    rig.cache.corrupt.add(blob_of(b"torn"))
    results = rig.apply(missing, corrupt, rig.place("c", b"1"))
    assert [(r.path, r.outcome) for r in results] == [("a", FAILED), ("b", FAILED), ("c", APPLIED)]
    assert rig.files() == {"a": b"old", "c": b"1"}
