"""The workspace core: what a crash cut off, and what somebody did while the node was down."""

from __future__ import annotations

from collections.abc import Callable

from msgspec.structs import replace

from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.ports.filetree import FileStat, Observation
from aiplatform.mesh_ide.ports.jobs import DeriveUpdates
from aiplatform.mesh_ide.workspace.core_deletions import Deletions
from aiplatform.mesh_ide.workspace.core_taking import Taking
from aiplatform.mesh_ide.workspace.records import SETTLE_MS, DiskState, disk_record
from tests.unit.documents.authors import Author, blob, file
from tests.unit.workspace.bench import NOW_MS, entries, only, seen
from tests.unit.workspace.core_rig import Rig, with_taking, written

GONE = Observation("a", None)
INODE = 1


class CredulousTaking(Taking):
    """Believes that whatever is gone was taken away by us."""

    def _is_lost(self, path: str, state: DiskState) -> bool:
        del path, state
        return False


class SuspiciousTaking(Taking):
    """Takes what stands at a new path for a new file, whatever we were about to move there."""

    def _has_moved(self, stat: FileStat, file: object) -> bool:
        del stat, file
        return False


class HastyTaking(Taking):
    """Judges what stands at the old path of a move before it saw the new one."""

    def _may_have_left(self, seen: Observation) -> bool:
        del seen
        return False


class CertainDeletions(Deletions):
    """Takes what stood there last for what is gone, whatever we were about to write over it."""

    def _is_unsure(self, path: str) -> bool:
        del path
        return False


# --- moves --------------------------------------------------------------------------------------


def moving(taking_type: type[Taking] = Taking) -> Rig:
    """Begin after a crash during a move of ours from ``a`` to ``b``, done or not."""
    earlier = Rig()
    earlier.stand("a", INODE)
    state = earlier.folder.get("a")
    assert state is not None
    rig = Rig(with_taking(taking_type))
    rig.share("b", INODE)
    records = (
        disk_record("a", replace(state, is_leaving=True)),
        disk_record("b", DiskState(None, None, planned=state.now)),
    )
    known = [(one.key, one.value) for one in records if one.value is not None]
    rig.core.load(known, [], [])
    rig.does(rig.core.scan(NOW_MS))
    return rig


def standing(rig: Rig) -> list[str]:
    """Return where the file stands, by belief."""
    return list(rig.folder.paths_of(file(INODE)))


def test_a_move_that_was_carried_out_is_no_deletion() -> None:
    """The file stands at its new path, and nobody did anything."""
    rig = moving()
    rig.scanned(seen("b", "one", INODE), GONE)
    rig.tick(SETTLE_MS)
    assert standing(rig) == ["b"]
    assert entries(rig) == []


def deleted_while_down(taking_type: type[Taking]) -> list[EntryKind]:
    """Let the file be gone from both paths."""
    rig = moving(taking_type)
    rig.scanned(GONE)
    rig.tick(SETTLE_MS)
    return [known.entry.kind for known in entries(rig)]


def test_what_is_gone_from_both_paths_of_a_move_was_deleted() -> None:
    """Nobody has its content: to wait for it would be to wait for ever."""
    assert deleted_while_down(Taking) == [EntryKind.DELETE]


def test_a_variant_that_takes_the_absence_for_its_own_work_is_caught() -> None:
    """The check can fail."""
    assert deleted_while_down(CredulousTaking) == []


def test_what_was_renamed_instead_of_moved_is_found() -> None:
    """A person was quicker than we were: the file stands where the person put it."""
    rig = moving()
    rig.scanned(seen("c", "one", INODE), GONE)
    rig.tick(SETTLE_MS)
    assert standing(rig) == ["c"]
    assert rig.ledger.index.path_of(file(INODE)) == "c"
    assert entries(rig) == []


def test_what_is_in_the_archive_comes_back() -> None:
    """Our own removal may have been done, and its content is there: nothing is deleted."""
    rig = moving()
    rig.hold_content("one")
    rig.scanned(GONE)
    out = [*rig.tick(SETTLE_MS), *rig.store()]
    assert entries(rig) == []
    assert written(out) == ["b"]


def edited_where_we_moved_it(taking_type: type[Taking]) -> tuple[int, int]:
    """Let somebody edit the file at its new path; returns the edits and the new files."""
    rig = moving(taking_type)
    out = rig.scanned(seen("b", "one more", INODE), GONE)
    edits = [item.lineage.file for job in only(out, DeriveUpdates) for item in job.items]
    return edits.count(file(INODE)), len(rig.ledger.index.claims("b")) - 1


def test_what_somebody_edited_where_we_had_moved_it_is_an_edit() -> None:
    """It is the very file that we were about to move."""
    assert edited_where_we_moved_it(Taking) == (1, 0)


def test_a_variant_that_takes_it_for_a_new_file_is_caught() -> None:
    """The check can fail."""
    assert edited_where_we_moved_it(SuspiciousTaking) == (0, 1)


def test_another_file_at_the_new_path_is_not_taken_for_the_moved_one() -> None:
    """Somebody made it while the node was down: the moved file is looked for elsewhere."""
    rig = moving()
    out = rig.scanned(seen("b", "quite another", INODE + 1), GONE)
    assert only(out, DeriveUpdates) == []
    assert len(rig.ledger.index.claims("b")) == 2


def another_at_the_old_path(taking_type: type[Taking]) -> tuple[int, int]:
    """Let the move be done and another file be put at the old path; returns edits, new files."""
    rig = moving(taking_type)
    out = rig.scanned(seen("a", "quite another", 9), seen("b", "one", INODE))
    edits = [item.lineage.file for job in only(out, DeriveUpdates) for item in job.items]
    return edits.count(file(INODE)), len(rig.ledger.index.claims("a"))


def test_what_somebody_put_where_we_had_moved_a_file_away_is_a_new_file() -> None:
    """The moved file stands at its new path, and keeps its content."""
    assert another_at_the_old_path(Taking) == (0, 1)


def test_a_variant_that_does_not_look_at_the_new_path_first_is_caught() -> None:
    """The check can fail."""
    assert another_at_the_old_path(HastyTaking) == (1, 0)


def test_an_edit_of_what_was_still_to_be_moved_is_an_edit() -> None:
    """Nothing stands at the new path: the move was not done."""
    rig = moving()
    (job,) = only(rig.scanned(seen("a", "one more", INODE)), DeriveUpdates)
    assert [item.lineage.file for item in job.items] == [file(INODE)]


# --- writes over another file, or over another side of a conflict -------------------------------


def with_another_file(rig: Rig) -> tuple[DiskState | None, DiskState | None]:
    """Let file 2 stand where file 1 has its place; returns what is believed before and after."""
    rig.stand("a", 2, "two")
    before = rig.folder.get("a")
    rig.share("a", 1)
    rig.agree("a", 1)
    return before, rig.folder.get("a")


def with_another_side(rig: Rig) -> tuple[DiskState | None, DiskState | None]:
    """Let one side of a conflict of file 2 stand where the other has won; returns the same."""
    rig.stand("a", 2)
    ben = Author("ben")
    ben.hear(*rig.peer.heard)
    rig.arrive(*rig.peer.say(rig.peer.change(file(2), "two")))
    rig.agree("a", 2)
    before = rig.folder.get("a")
    for text in ("rewritten", "rewritten again"):  # the deeper side wins
        rig.arrive(*ben.say(ben.change(file(2), text, is_replace=True)))
    rig.agree("a", 2)
    return before, rig.folder.get("a")


Situation = Callable[[Rig], tuple[DiskState | None, DiskState | None]]


def writing(situation: Situation, *archived: str) -> Rig:
    """Begin after a crash during a write of ours over another file or side, done or not."""
    before, after = situation(Rig())
    assert before is not None
    assert after is not None
    rig = Rig()
    situation(rig)
    rig.folder.put("a", None)
    record = disk_record("a", replace(before, planned=after.now))
    assert record.value is not None
    rig.core.load([(record.key, record.value)], [], map(blob, archived))
    rig.hold_content("one", "rewritten again")
    rig.does(rig.core.scan(NOW_MS))
    return rig


def removed_while_down(
    situation: Situation, *archived: str, deletions_type: type[Deletions] = Deletions
) -> tuple[list[EntryKind], list[str]]:
    """Let nothing stand there any more; returns our entries and what is written then."""
    rig = writing(situation, *archived)
    rig.core.deletions.__class__ = deletions_type
    rig.scanned(GONE)
    out = [*rig.tick(SETTLE_MS), *rig.store()]
    return [known.entry.kind for known in entries(rig)], written(out)


def test_what_may_have_been_written_over_is_not_deleted_with_what_stood_there() -> None:
    """Which of the two a person removed, nobody can tell: none is deleted, and one comes back."""
    assert removed_while_down(with_another_file, "two") == ([], ["a"])
    assert removed_while_down(with_another_side, "two") == ([], ["a"])


def test_a_variant_that_is_sure_of_what_stood_there_is_caught() -> None:
    """The check can fail: it deletes what the person perhaps did not see."""
    for situation in (with_another_file, with_another_side):
        out = removed_while_down(situation, "two", deletions_type=CertainDeletions)
        assert out == ([EntryKind.DELETE], ["a"])


def test_what_was_not_archived_was_not_written_over_yet() -> None:
    """So it stood there still, and it is what the person removed."""
    assert removed_while_down(with_another_file) == ([EntryKind.DELETE], ["a"])


def test_what_was_renamed_before_we_wrote_over_it_is_found() -> None:
    """It stands at its new path, and the other file gets its place."""
    rig = writing(with_another_file, "two")
    rig.scanned(seen("b", "two", 2), GONE)
    out = [*rig.tick(SETTLE_MS), *rig.store()]
    assert (rig.path_of(2), entries(rig), written(out)) == ("b", [], ["a"])
