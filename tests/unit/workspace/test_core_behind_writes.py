"""The workspace core: what is seen at a path while a write of ours to it is under way."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.documents.state import content_of
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.ports.filetree import Observation, WriteOutcome, WriteResult
from aiplatform.mesh_ide.ports.jobs import ApplyWrites, Job, ObservePaths, WritesApplied
from aiplatform.mesh_ide.workspace.core import WorkspaceCore
from aiplatform.mesh_ide.workspace.core_taking import Taking
from aiplatform.mesh_ide.workspace.records import SETTLE_MS
from tests.unit.documents.authors import file
from tests.unit.workspace.bench import NOW_MS, entries, only, seen
from tests.unit.workspace.core_rig import Rig, with_taking

UNEXPECTED, FAILED = WriteOutcome.UNEXPECTED, WriteOutcome.FAILED


class EagerTaking(Taking):
    """Takes what was seen although a write may find something else."""

    def _must_wait(self, seen: Observation) -> bool:
        del seen
        return False


class HastyTaking(Taking):
    """Decides on deletions although the other half of a rename may wait behind a write."""

    def settle(self, now_ms: int) -> list[Job | Notice]:
        """Decide as if nothing were under way."""
        return self._deletions.tick(now_ms)


def being_written(path: str, core_type: type[WorkspaceCore]) -> tuple[Rig, list[object]]:
    """Let a peer's new file be on its way to a path; ``b`` stands already."""
    rig = Rig(core_type)
    rig.stand("b", 2, "two")
    rig.begun()
    rig.peer_creates(path, 1)
    rig.does([])
    out = rig.store()
    assert len(only(out, ApplyWrites)) == 1
    return rig, out


def nowhere(rig: Rig) -> list[FileId]:
    """Return living files whose content is not to be had on this node."""
    contents = {s.file: content_of(s) for s in rig.ledger.states() if rig.ledger.is_alive(s.file)}
    return [one for one, got in contents.items() if got and not rig.folder.holds(got[0])]


# --- gone before our write came -----------------------------------------------------------------


def gone_before_the_write(taking_type: type[Taking]) -> list[FileId]:
    """Let somebody's file be seen at the path and be gone again when the write comes."""
    rig, out = being_written("a", with_taking(taking_type))
    rig.observed(seen("a", "a person's", 9))
    rig.apply(out)
    rig.tick(SETTLE_MS)
    standing = rig.folder.standing("a")
    assert standing is not None
    assert standing.file == file(1)
    return nowhere(rig)


def test_a_file_that_is_gone_before_our_write_comes_leaves_nothing_behind() -> None:
    """Nobody waits for its content for ever."""
    assert gone_before_the_write(Taking) == []


def test_a_variant_that_takes_it_at_once_is_caught() -> None:
    """The check can fail."""
    assert len(gone_before_the_write(EagerTaking)) == 1


@pytest.mark.parametrize("outcome", [WriteOutcome.APPLIED, FAILED])
def test_the_path_is_looked_at_again_once_the_write_ended(outcome: WriteOutcome) -> None:
    """Whatever became of the write, nothing that stands there is overlooked."""
    rig, out = being_written("a", WorkspaceCore)
    rig.observed(seen("a", "a person's", 9))
    assert only(rig.tick(10), ObservePaths) == []
    after = [*rig.apply(out, outcome), *rig.tick(20)]
    assert [job.paths for job in only(after, ObservePaths)] == [("a",)]


def test_what_the_write_found_is_a_new_file() -> None:
    """It stood there still: both are kept."""
    rig, out = being_written("a", WorkspaceCore)
    rig.observed(seen("a", "a person's", 9))
    assert entries(rig) == []
    found(rig, out, seen("a", "a person's", 9))
    assert [known.entry.kind for known in entries(rig)] == [EntryKind.GENESIS]
    assert len(rig.ledger.index.claims("a")) == 2


def found(rig: Rig, out: list[object], *observations: Observation) -> None:
    """Let the disk answer a write with what stood there unexpectedly."""
    (job,) = only(out, ApplyWrites)
    results = tuple(WriteResult(one.path, UNEXPECTED, None, one) for one in observations)
    rig.does(rig.core.on_applied(WritesApplied(job.writes, results, ()), NOW_MS))


# --- renames and deletions ----------------------------------------------------------------------


def renamed_onto_the_path(taking_type: type[Taking]) -> list[EntryKind]:
    """Let ``b`` be renamed to a path that we are writing; returns what became of its file."""
    rig, out = being_written("a", with_taking(taking_type))
    rig.observed(Observation("b", None), seen("a", "two", 2))
    rig.tick(SETTLE_MS)
    found(rig, out, seen("a", "two", 2))
    rig.tick(3 * SETTLE_MS)
    return [known.entry.kind for known in entries(rig) if known.entry.file == file(2)]


def test_a_rename_onto_a_path_that_we_are_writing_is_a_rename() -> None:
    """The old path is no deletion while its other half waits behind the write."""
    assert renamed_onto_the_path(Taking) == []


def test_a_variant_that_does_not_wait_with_deletions_is_caught() -> None:
    """The check can fail."""
    assert renamed_onto_the_path(HastyTaking) == [EntryKind.DELETE]


def test_what_was_gone_and_is_there_again_for_our_write_was_not_deleted() -> None:
    """The write found what it expected: the path has a file, whatever was seen in between."""
    rig = Rig()
    rig.stand("a", 1)
    rig.begun()
    rig.peer_edits(1, "two")
    rig.does([])
    out = rig.store()
    rig.observed(Observation("a", None))
    rig.tick(SETTLE_MS)
    assert entries(rig) == [], "our write will tell"
    rig.apply(out)
    rig.tick(3 * SETTLE_MS)
    assert entries(rig) == []
    assert rig.folder.standing("a") is not None


def test_a_new_file_where_a_move_takes_one_away_is_looked_at_after_the_move() -> None:
    """Both paths of a move are ours until it ended."""
    rig = Rig()
    rig.stand("a", 1)
    rig.begun()
    rig.move(1, "b")
    rig.changed(file(1))
    rig.does([])
    out = rig.store()
    rig.observed(Observation("a", None), seen("c", "one", 1))
    rig.observed(seen("a", "a new file", 9))
    assert entries(rig) == []
    after = [*rig.apply(out, FAILED), *rig.tick(SETTLE_MS)]
    assert ("a",) in [job.paths for job in only(after, ObservePaths)]
