"""The workspace core: when nothing may be written, and what then waits for what."""

from __future__ import annotations

from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.ports.filetree import Observation
from aiplatform.mesh_ide.ports.jobs import (
    ApplyWrites,
    DeriveUpdates,
    ObservePaths,
    ScanFolder,
)
from aiplatform.mesh_ide.workspace.core import CONSIDERED_MAX, Out, WorkspaceCore
from aiplatform.mesh_ide.workspace.core_looking import ROOT_RETRY_MS
from aiplatform.mesh_ide.workspace.notices import FolderTrouble
from aiplatform.mesh_ide.workspace.records import MASS_DELETION_MIN, RETRY_WRITE_MS, SETTLE_MS
from tests.unit.documents.authors import blob, file
from tests.unit.workspace.bench import NOW_MS, entries, only, seen
from tests.unit.workspace.core_rig import Rig, records, written

GONE = "the folder is gone"


class Blind(WorkspaceCore):
    """Goes by what it believed in an earlier run, and by a folder that is gone."""

    def flush(self) -> Out:
        """Consider what was touched, whatever hinders that."""
        for path in self._touched.take(CONSIDERED_MAX):
            self.applier.consider(path)
        return super().flush()


# --- when nothing is written --------------------------------------------------------------------


def writes_while_gone(core_type: type[WorkspaceCore]) -> list[str]:
    """Let a peer change files while the root is gone; returns what is written meanwhile."""
    rig = Rig(core_type)
    rig.stand("a", 1)
    rig.begun()
    rig.core.watch(["a"])
    rig.does([])
    assert FolderTrouble(GONE) in rig.observed(problem=GONE)
    rig.peer_edits(1, "two")
    rig.peer_creates("b", 2)
    out = [*rig.does([]), *rig.tick(ROOT_RETRY_MS - 1), *rig.store()]
    return written(out)


def test_nothing_is_written_while_the_root_is_gone() -> None:
    """What a peer does meanwhile waits."""
    assert writes_while_gone(WorkspaceCore) == []


def test_a_variant_that_writes_into_a_folder_that_is_gone_is_caught() -> None:
    """The check can fail."""
    assert sorted(writes_while_gone(Blind)) == ["a", "b"]


def test_a_root_that_is_gone_is_asked_for_and_scanned_when_it_is_back() -> None:
    """Told once each way; what a peer did meanwhile is written after the scan."""
    rig = Rig()
    rig.stand("a", 1)
    rig.begun()
    rig.does(rig.core.scan(NOW_MS))
    assert only(rig.scanned(problem=GONE), FolderTrouble) == [FolderTrouble(GONE)]
    rig.peer_edits(1, "two")
    assert not rig.core.has_more, "the node does not spin meanwhile"
    assert only(rig.tick(ROOT_RETRY_MS - 1), ObservePaths) == []
    (asked,) = only(rig.tick(ROOT_RETRY_MS), ObservePaths)
    assert asked.paths == (".",)
    assert only(rig.observed(problem=GONE), FolderTrouble) == []
    (asked,) = only(rig.tick(2 * ROOT_RETRY_MS), ObservePaths)
    out = rig.observed()
    assert only(out, FolderTrouble) == [FolderTrouble(None)]
    assert len(only(out, ScanFolder)) == 1
    rig.scanned(unchanged=["a"])
    assert written(rig.store()) == ["a"]


def test_no_deletion_is_decided_on_while_the_root_is_gone() -> None:
    """Everything vanished with it; nobody meant that."""
    rig = Rig()
    rig.stand("a", 1)
    rig.begun()
    rig.core.watch(["a"])
    rig.does([])
    rig.observed(Observation("a", None), problem=GONE)
    rig.tick(60_000)
    assert entries(rig) == []


def writes_before_the_scan(core_type: type[WorkspaceCore]) -> tuple[list[str], list[str]]:
    """Begin with what an earlier run knew; returns what is written before and after the scan."""
    earlier = Rig()
    earlier.stand("a", 1)
    earlier.stand("b", 2)
    rig = Rig(core_type)
    rig.share("a", 1)
    rig.share("b", 2)
    rig.core.load(records(earlier), [], [])
    rig.peer_edits(1, "two")
    before = [*rig.does(rig.core.scan(NOW_MS)), *rig.scanned(unchanged=["b"], is_last=False)]
    before += [*rig.tick(0), *rig.store()]
    after = [*rig.scanned(unchanged=["a"]), *rig.store()]
    return written(before), written(after)


def test_nothing_is_written_before_a_folder_of_an_earlier_run_was_scanned() -> None:
    """What somebody did while the node was down is told from what we believe first."""
    assert writes_before_the_scan(WorkspaceCore) == ([], ["a"])


def test_a_variant_that_writes_before_the_scan_is_caught() -> None:
    """The check can fail."""
    assert writes_before_the_scan(Blind) == (["a"], [])


def test_a_scan_that_failed_is_no_first_scan() -> None:
    """The folder of an earlier run is still unknown then."""
    earlier = Rig()
    earlier.stand("a", 1)
    rig = Rig()
    rig.share("a", 1)
    rig.core.load(records(earlier), [], [])
    rig.peer_edits(1, "two")
    rig.does(rig.core.scan(NOW_MS))
    rig.scanned(problem=GONE)
    rig.does(rig.core.tick(NOW_MS + ROOT_RETRY_MS))
    assert not rig.core.has_scanned
    assert len(only(rig.observed(), ScanFolder)) == 1
    assert written(rig.store()) == []
    rig.scanned(unchanged=["a"])
    assert written(rig.store()) == ["a"]


def test_an_edit_made_while_the_node_was_down_is_not_overwritten() -> None:
    """The scan sees it, and the peer's version waits until it is an entry."""
    earlier = Rig()
    earlier.stand("a", 1)
    rig = Rig()
    rig.share("a", 1)
    rig.core.load(records(earlier), [], [])
    rig.peer_edits(1, "two")
    assert not rig.core.has_more, "the node does not spin until the scan"
    rig.does(rig.core.scan(NOW_MS))
    (job,) = only(rig.scanned(seen("a", "mine", 1)), DeriveUpdates)
    assert job.items[0].base != rig.state(1).refs()
    assert written(rig.store()) == []


# --- held changes -------------------------------------------------------------------------------


def all_held() -> tuple[Rig, tuple[str, ...]]:
    """Return a folder whose files have all vanished at once, which is held, and their paths."""
    rig = Rig()
    for number in range(1, MASS_DELETION_MIN + 1):
        rig.stand(f"f{number}", number)
    rig.hold_content("one")
    rig.begun()
    paths = tuple(rig.folder.paths())
    rig.core.watch(paths)
    rig.does([])
    rig.observed(*(Observation(path, None) for path in paths))
    rig.tick(SETTLE_MS)
    return rig, paths


def test_held_paths_are_not_considered_until_a_person_decides() -> None:
    """A peer's change of them is not written; rejected, all come back in their newest version."""
    rig, paths = all_held()
    assert set(rig.core.deletions.holds) == {1}
    rig.store()
    rig.peer_edits(1, "two")
    assert written([*rig.does([]), *rig.tick(RETRY_WRITE_MS), *rig.store()]) == []
    assert entries(rig) == []
    rig.core.reject(1)
    rig.does([])
    out = rig.store()
    assert sorted(written(out)) == sorted(paths)
    contents = {p.write.path: p.write.blob for job in only(out, ApplyWrites) for p in job.writes}
    assert (contents["f1"], contents["f2"]) == (blob("two"), blob("one"))


def test_a_held_file_that_a_peer_moved_comes_back_at_its_new_place() -> None:
    """Until a person decides, nothing is moved that is not there."""
    rig, paths = all_held()
    rig.move(1, "new/f1")
    rig.changed(file(1))
    assert written([*rig.does([]), *rig.tick(RETRY_WRITE_MS), *rig.store()]) == []
    rig.core.reject(1)
    rig.does([])
    assert sorted(written(rig.store())) == sorted({*paths, "new/f1"} - {"f1"})


def test_released_deletions_are_written_and_a_number_is_not_given_again() -> None:
    """A person repeats commands: the second one finds nothing."""
    rig = Rig()
    for number in range(1, MASS_DELETION_MIN + 1):
        rig.stand(f"f{number}", number)
    rig.begun()
    paths = rig.folder.paths()
    rig.core.watch(paths)
    rig.does([])
    rig.observed(*(Observation(path, None) for path in paths))
    rig.tick(SETTLE_MS)
    rig.does(rig.core.release(1, NOW_MS))
    assert {known.entry.kind for known in entries(rig)} == {EntryKind.DELETE}
    assert len(entries(rig)) == MASS_DELETION_MIN
    assert rig.core.release(1, NOW_MS) == []
