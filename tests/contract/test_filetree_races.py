"""What every FileTree does when others write too, and when the disk fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.ports.filetree import (
    FileStat,
    SkipReason,
    WriteResult,
)
from aiplatform.mesh_ide.workspace.adapters.memory_disk import DiskFault
from aiplatform.mesh_ide.workspace.adapters.memory_tree import (
    MemoryFileTree,
    SimulatedCrashError,
)
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step
from tests.contract.filetree_rig import (
    APPLIED,
    FAILED,
    UNEXPECTED,
    Cache,
    LocalRig,
    MemoryRig,
    Rig,
    blob_of,
    reasons,
)

# --- other programs in between ---------------------------------------------------------------


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("how", ["write", "write_by_rename"])
@pytest.mark.parametrize("change", ["create", "replace", "remove", "move"])
def test_a_save_in_the_middle_of_a_change_is_not_lost(
    rig: Rig, step: Step, how: str, change: str
) -> None:
    """Whatever was saved at the path last stands there; older bytes are somewhere."""
    path = "new" if change == "move" else "a"
    if change != "create":
        rig.write("a", b"base")
    is_refused = step is Step.REFUSED
    if is_refused and change != "create":
        rig.write("a", b"first save")
    rig.at_step[step] = lambda: getattr(rig, how)(path, b"the save")
    write = {
        "create": lambda: rig.place("a", b"by a peer"),
        "replace": lambda: rig.place("a", b"by a peer", b"base"),
        "remove": lambda: rig.place("a", None, b"base"),
        "move": lambda: rig.place("new", b"base", moved_from="a"),
    }[change]()
    result = rig.apply_one(write)
    if rig.at_step:
        # The step does not occur in this change: then the program saves right after it.
        rig.on_step(step)
    assert rig.files()[path] == b"the save"
    if is_refused and change in {"replace", "remove"}:
        assert result.outcome is UNEXPECTED
        assert b"first save" in rig.versions()
    if result.outcome is UNEXPECTED and result.found is not None:
        assert result.found.blob == blob_of(rig.files()[result.found.path])


@pytest.mark.parametrize("step", list(Step))
def test_a_removal_in_the_middle_of_a_change_loses_no_edit(rig: Rig, step: Step) -> None:
    """A person removes the file while ours goes in: nothing fails."""
    rig.write("a", b"a save")
    # (Without exchange the path is free for a moment, and `rm` finds nothing.)
    rig.at_step[step] = lambda: rig.remove("a") if "a" in rig.files() else None
    result = rig.apply_one(rig.place("a", b"by a peer", b"base"))
    assert result.outcome is UNEXPECTED
    if step is not Step.PREPARED:
        assert b"a save" in rig.versions()


def test_saves_that_keep_coming_end(rig: Rig) -> None:
    """Each round of putting back meets another save; in the end the last one stands."""
    rig.write("a", b"save 0")
    rig.at_step[Step.TAKEN_OUT] = lambda: rig.write_by_rename("a", b"save 1")
    rig.at_step[Step.REFUSED] = lambda: rig.write_by_rename("a", b"save 2")
    result = rig.apply_one(rig.place("a", b"by a peer", b"base"))
    assert result.outcome is UNEXPECTED
    assert rig.files() == {"a": b"save 2"}
    assert b"save 0" in rig.versions()


# --- the two trees are one -------------------------------------------------------------------

NAMES = ("a", "b", "d/a", "d/b", "d/e/a")
CONTENTS = (b"", b"1", b"2", b"\0")
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(("save", "remove", "rename", "place", "take", "move", "look")),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.sampled_from(CONTENTS),
        st.sampled_from((None, *CONTENTS)),
    ),
    max_size=14,
)


@settings(max_examples=120)
@given(OPERATIONS)
def test_the_memory_tree_does_what_the_real_one_does(
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[str, str, str, bytes, bytes | None]],
) -> None:
    """The same programs and peers lead to the same files, outcomes and observations."""
    root = tmp_path_factory.mktemp("twin")
    local, memory = LocalRig(root), MemoryRig()
    known: list[dict[str, FileStat]] = [{}, {}]
    for operation, path, other, content, expected in operations:
        told = []
        for index, rig in enumerate((local, memory)):
            told.append(_perform(rig, operation, path, other, content, expected, known, index))
        assert told[0] == told[1]
        assert local.files() == memory.files()
    local.tree.close()
    assert sorted(p.name for p in root.iterdir() if p.name.startswith(".")) == []


def _perform(  # noqa: PLR0913 - one operation's facts
    rig: Rig,
    operation: str,
    path: str,
    other: str,
    content: bytes,
    expected: bytes | None,
    known: list[dict[str, FileStat]],
    index: int,
) -> object:
    files = rig.files()
    match operation:
        case "save" if not _is_blocked(files, path):
            rig.write(path, content)
        case "remove" if path in files:
            rig.remove(path)
        case "rename" if path in files and not _is_blocked(files, other) and path != other:
            if not other.startswith(path + "/"):
                rig.rename(path, other)
                if isinstance(rig, LocalRig):
                    _prune(rig.root)
        case "place":
            return _told(rig.apply_one(rig.place(path, content, expected)))
        case "take":
            return _told(rig.apply_one(rig.place(path, None, expected or b"")))
        case "move" if path != other and not other.startswith(path + "/"):
            return _told(rig.apply_one(rig.place(other, content, moved_from=path)))
        case "look":
            batch = rig.scan(known[index])
            known[index] = rig.known()
            seen = {(o.path, o.blob, o.is_text) for o in batch.observations}
            return (seen, set(batch.unchanged), set(batch.skipped))
        case _:
            pass  # not possible as things stand
    return None


def _is_blocked(files: dict[str, bytes], path: str) -> bool:
    return any(path.startswith(f + "/") or f.startswith(path + "/") for f in files)


def _prune(root: Path) -> None:
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if folder.name != ".mesh-tmp" and not any(folder.iterdir()):
            folder.rmdir()


def _told(result: WriteResult) -> object:
    found = result.found
    return (result.outcome, found and (found.path, found.blob), result.stat and result.stat.size)


# --- the simulator's faults ------------------------------------------------------------------


@pytest.mark.parametrize("fault", [DiskFault.FULL, DiskFault.READ_ONLY])
def test_a_simulated_disk_that_says_no_changes_nothing(fault: DiskFault) -> None:
    """As the real ones in the unit tests; a full disk still removes."""
    rig = MemoryRig()
    rig.write("a", b"old")
    rig.write("b", b"old")
    rig.disk.faults.add(fault)
    results = rig.apply(rig.place("a", b"new", b"old"), rig.place("b", None, b"old"))
    removal = APPLIED if fault is DiskFault.FULL else FAILED
    assert [r.outcome for r in results] == [FAILED, removal]
    assert rig.files()["a"] == b"old"


def test_a_simulated_folder_without_permission_hides_nothing() -> None:
    """Known files below it are not gone."""
    rig = MemoryRig()
    for path in ("d/a", "b"):
        rig.write(path, b"1")
    known = rig.known()
    rig.disk.denied = {"d", "b"}
    rig.write("b", b"2")
    batch = rig.scan(known)
    told = [(o.path, o.stat, o.problem) for o in batch.observations]
    assert told == [("b", None, "permission denied")]
    assert reasons(batch.skipped) == dict.fromkeys(("b", "d"), SkipReason.UNREADABLE)


@pytest.mark.parametrize("is_removal", [True, False])
@pytest.mark.parametrize("is_newer", [True, False])
def test_a_simulated_crash_loses_no_save(is_removal: bool, is_newer: bool) -> None:
    """The disk outlives the node; its next start brings back what had just come out."""
    rig = MemoryRig()
    rig.write("a", b"a save")
    rig.tree.crash_at = Step.TAKEN_OUT
    with pytest.raises(SimulatedCrashError):
        rig.apply(rig.place("a", None if is_removal else b"by a peer", b"base"))
    if is_newer:
        rig.write("a", b"a newer save")
    cache = Cache()
    restored = MemoryFileTree(rig.disk, cache).recover()
    assert cache.held[blob_of(b"a save")] == b"a save"
    if is_newer:
        assert (restored, rig.files()) == ((), {"a": b"a newer save"})
        assert b"a save" in rig.versions()
    else:
        assert [(o.path, o.blob) for o in restored] == [("a", blob_of(b"a save"))]
        assert rig.files() == {"a": b"a save"}


def test_a_simulated_disk_tells_what_was_touched() -> None:
    """The simulator's watcher; our own writes are told too, as on a real disk."""
    rig = MemoryRig()
    rig.write("a", b"1")
    rig.apply(rig.place("d/b", b"2"))
    rig.rename("a", "c")
    assert set(rig.disk.take_changes()) == {"a", "c", "d/b"}
    assert rig.disk.take_changes() == ()


def test_two_simulated_disks_are_equal_to_the_byte() -> None:
    """Stats come from a counter: a run can be replayed."""
    seen = []
    for _ in range(2):
        rig = MemoryRig()
        rig.write("a", b"1")
        rig.apply(rig.place("b", b"2"), rig.place("a", b"3", b"1"))
        seen.append(rig.scan())
    assert seen[0] == seen[1]
