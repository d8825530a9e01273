"""From what was seen in the folder to entries: creations, edits, renames."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.state import base_of, content_of
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode
from aiplatform.mesh_ide.ports.engine import MoveNode
from aiplatform.mesh_ide.ports.filetree import Observation
from aiplatform.mesh_ide.ports.jobs import (
    BlobSource,
    DeriveOutcome,
    DeriveUpdate,
    DeriveUpdates,
)
from aiplatform.mesh_ide.workspace.core_edits import DERIVATIONS_PER_JOB_MAX
from aiplatform.mesh_ide.workspace.core_observe import twins
from aiplatform.mesh_ide.workspace.records import (
    BASE_PATIENCE_MS,
    GIT_ACTIVE_MS,
    OWN_WRITE_MS,
    Standing,
)
from tests.unit.documents.authors import blob, file
from tests.unit.workspace.bench import NOW_MS, Bench, derived, edit, entries, only, seen, stat

FILE = file(1)


def new(bench: Bench, *observations: Observation, vanished: Sequence[str] = ()) -> set[str]:
    """Let new files be seen; returns which of the vanished paths were renames."""
    gone = {path: now for path in vanished if (now := bench.folder.standing(path))}
    out, renamed = bench.observer.take_new(list(observations), gone, NOW_MS)
    bench.run(out)
    return renamed


# --- creations -----------------------------------------------------------------------------------


def test_new_files_become_one_submission() -> None:
    """A thousand files: one tree operation for all, a genesis for each; heads follow."""
    bench = Bench()
    new(bench, *(seen(f"src/{n}", f"text {n}", n) for n in range(1, 1001)))
    assert len(bench.edits) == 1
    assert [known.entry.kind for known in entries(bench)] == [EntryKind.GENESIS] * 1000
    standing = bench.folder.standing("src/7")
    assert standing is not None
    known = next(known for known in entries(bench) if known.entry.file == standing.file)
    assert (standing.blob, standing.heads) == (blob("text 7"), (known.ref,))
    assert not bench.folder.is_held("src/7")
    assert bench.ledger.claimed == 0


def test_a_creation_is_held_until_it_is_sealed() -> None:
    """Its record must not be durable before its entry."""
    bench = Bench()
    bench.observer.take_new([seen("a", "one")], {}, NOW_MS)
    assert bench.folder.is_held("a")
    assert bench.folder.take_records() == []


def test_what_the_workspace_has_already_is_adopted() -> None:
    """Joining with a folder that holds the same: no entry, it stands as agreed."""
    bench = Bench()
    bench.share("a", 1)
    new(bench, seen("a", "one"))
    assert entries(bench) == []
    standing = bench.folder.standing("a")
    assert standing is not None
    assert (standing.file, standing.heads) == (FILE, bench.state(1).refs())


@pytest.mark.parametrize("difference", ["content", "mode"])
def test_another_file_at_a_path_of_the_workspace_yields_it(difference: str) -> None:
    """The lower id keeps the path: what was agreed first does, ours is a claim beside it."""
    bench = Bench()
    bench.share("a", 5000)
    mode = FileMode.EXECUTABLE if difference == "mode" else FileMode.REGULAR
    new(bench, seen("a", "other" if difference == "content" else "one", mode=mode))
    (genesis,) = entries(bench)
    assert genesis.entry.file > file(5000)
    assert bench.ledger.index.claims("a") == (file(5000), genesis.entry.file)


# --- renames -------------------------------------------------------------------------------------


def test_the_same_inode_and_content_is_a_rename() -> None:
    """One move in the tree, no entry of the file, which stands at the new path."""
    bench = Bench()
    bench.stand("a", 1)
    assert new(bench, seen("b", "one", inode=1), vanished=["a"]) == {"a"}
    assert entries(bench) == []
    assert (bench.path_of(1), bench.folder.path_of(FILE)) == ("b", "b")
    assert bench.folder.get("a") is None


def test_the_same_content_alone_is_a_rename_if_it_is_clear_which() -> None:
    """Copied and removed: one candidate is taken, of two none, of an empty file none."""
    bench = Bench()
    bench.stand("a", 1, "same")
    bench.stand("b", 2, "same")
    bench.stand("c", 3, "alone")
    bench.stand("e", 4, "")
    observations = (seen("x", "same", 91), seen("y", "alone", 92), seen("z", "", 93))
    assert new(bench, *observations, vanished=["a", "b", "c", "e"]) == {"c"}
    assert bench.path_of(3) == "y"
    assert len(entries(bench)) == 2


def test_an_inode_that_was_used_again_is_no_rename() -> None:
    """Another content under a number that was free is another file."""
    bench = Bench()
    bench.stand("a", 1)
    assert new(bench, seen("b", "quite different", inode=1), vanished=["a"]) == set()
    assert [known.entry.kind for known in entries(bench)] == [EntryKind.GENESIS]


def test_a_folder_that_moved_as_a_whole_is_one_operation() -> None:
    """A thousand files below, one move; a file that stayed behind makes it many."""
    bench = Bench()
    for number in range(1, 1001):
        bench.stand(f"old/{number % 7}/{number}", number, f"text {number}")
    old = {number: f"old/{number % 7}/{number}" for number in range(1, 1001)}
    found = [seen(f"new{old[n][3:]}", f"text {n}", n) for n in old]
    new(bench, *found, vanished=list(old.values()))
    assert [len(job.operations) for job in bench.edits] == [1]
    assert bench.path_of(8) == "new/1/8"
    assert bench.folder.path_of(file(8)) == "new/1/8"


def test_a_folder_from_which_a_file_stayed_did_not_move() -> None:
    """Each file moves by itself, and the one that stayed stays."""
    bench = Bench()
    for number in (1, 2, 3):
        bench.stand(f"old/{number}", number, f"text {number}")
    new(
        bench,
        seen("new/1", "text 1", 1),
        seen("new/2", "text 2", 2),
        vanished=["old/1", "old/2"],
    )
    assert [bench.path_of(number) for number in (1, 2, 3)] == ["new/1", "new/2", "old/3"]
    moves = [op for job in bench.edits for op in job.operations if isinstance(op, MoveNode)]
    assert len(moves) == 2


def test_a_rename_with_another_mode_is_looked_at_again() -> None:
    """Moved and made executable: the move now, the mode as an edit of its own."""
    bench = Bench()
    bench.stand("a", 1)
    new(bench, seen("b", "one", 1, FileMode.EXECUTABLE), vanished=["a"])
    assert list(bench.observer.look_again) == ["b"]
    assert bench.disk("b").stat is None


def test_a_twin_behind_a_renamed_file_does_not_turn_up() -> None:
    """Nobody saw that two files stood there: the hidden one is deleted."""
    bench = Bench()
    bench.stand("a", 1)
    bench.share("a", 2)
    new(bench, seen("b", "one", inode=1), vanished=["a"])
    assert [known.entry.file for known in entries(bench)] == [file(2)]
    assert not bench.ledger.is_alive(file(2))


# --- edits ---------------------------------------------------------------------------------------


def test_an_edit_of_a_text_is_derived_and_then_written() -> None:
    """take_edit → derive from what stood there → an update on it, with its inference."""
    bench = Bench()
    bench.stand("a", 1)
    base = bench.state(1).refs()
    (item,) = edit(bench, seen("a", "two", inode=1))
    assert (item.base, item.content, item.branch) == (base, BlobSource(blob("two"), "a"), 1)
    assert item.base_before == ()
    assert bench.ledger.is_claimed(FILE)
    derived(bench, item)
    (known,) = entries(bench)
    update = known.entry
    assert (update.kind, update.parents, update.result) == (EntryKind.UPDATE, base, blob("two"))
    assert (update.inference, update.payload) == (BaseInference.ON_DISK, b"operations")
    standing = bench.folder.standing("a")
    assert standing is not None
    assert (standing.blob, standing.heads) == (blob("two"), (known.ref,))
    assert bench.folder.take_roots() == (item.lineage.content,)


def test_a_text_that_is_quite_different_is_a_replace() -> None:
    """No operations, a lineage of its own."""
    bench = Bench()
    bench.stand("a", 1)
    (item,) = edit(bench, seen("a", "two", inode=1))
    derived(bench, item, DeriveOutcome.TOO_DIFFERENT)
    assert [known.entry.kind for known in entries(bench)] == [EntryKind.REPLACE]


@pytest.mark.parametrize("was_text", [True, False])
def test_what_is_no_text_is_replaced_at_once(*, was_text: bool) -> None:
    """Binary before or now: there is nothing to derive."""
    bench = Bench()
    bench.stand("a", 1, is_text=was_text)
    assert edit(bench, seen("a", "two", 1, is_text=not was_text)) == []
    assert [known.entry.kind for known in entries(bench)] == [EntryKind.REPLACE]


def test_a_mode_alone_is_an_update_without_operations() -> None:
    """The executable bit was set: the text is as it was."""
    bench = Bench()
    bench.stand("a", 1)
    assert edit(bench, seen("a", "one", 1, FileMode.EXECUTABLE)) == []
    (known,) = entries(bench)
    assert (known.entry.kind, known.entry.payload) == (EntryKind.UPDATE, b"")
    assert known.entry.mode is FileMode.EXECUTABLE


def test_what_the_ledger_says_already_is_no_edit() -> None:
    """Our own write, or another program's that came to the same: it is agreed."""
    bench = Bench()
    bench.stand("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "two")))
    assert edit(bench, seen("a", "two", inode=1)) == []
    assert (entries(bench), bench.ledger.claimed) == ([], 0)
    standing = bench.folder.standing("a")
    assert standing is not None
    assert standing.heads == bench.state(1).refs()


def test_a_file_that_is_being_written_is_looked_at_again() -> None:
    """Claimed, or its last edit not sealed yet: later."""
    bench = Bench()
    bench.stand("a", 1)
    bench.ledger.claim(FILE)
    assert edit(bench, seen("a", "two", inode=1)) == []
    bench.ledger.release([FILE])
    bench.folder.hold(["a"])
    assert edit(bench, seen("a", "three", inode=1)) == []
    assert (entries(bench), list(bench.observer.look_again)) == ([], ["a"])


def test_an_edit_of_what_others_deleted_is_a_new_file() -> None:
    """The old one stays deleted; the bytes live on under the same name."""
    bench = Bench()
    bench.stand("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.delete(FILE)))
    edit(bench, seen("a", "two", inode=1))
    (known,) = entries(bench)
    assert (known.entry.kind, known.entry.file == FILE) == (EntryKind.GENESIS, False)
    assert bench.ledger.index.owner("a") == known.entry.file


def test_a_content_that_is_gone_before_it_was_read_is_looked_at_again() -> None:
    """The next save came too soon; the file is free."""
    bench = Bench()
    bench.stand("a", 1)
    (item,) = edit(bench, seen("a", "two", inode=1))
    derived(bench, item, DeriveOutcome.CONTENT_MISSING)
    assert (entries(bench), bench.ledger.claimed, bench.changes.deriving) == ([], 0, 0)
    assert list(bench.observer.look_again) == ["a"]


def test_a_path_that_was_seen_again_meanwhile_is_looked_at_again() -> None:
    """While operations were derived the file changed once more: its stat is not trusted."""
    bench = Bench()
    bench.stand("a", 1)
    (item,) = edit(bench, seen("a", "two", inode=1))
    bench.folder.put("a", replace(bench.disk("a"), stat=stat("another look", 1)))
    derived(bench, item)
    assert bench.disk("a").stat is None
    assert list(bench.observer.look_again) == ["a"]


def test_derivations_come_in_bounded_jobs() -> None:
    """A hundred saves at once are two jobs, which cannot hold up the lane for long."""
    bench = Bench()
    for number in range(1, 101):
        bench.stand(f"{number}", number, f"text {number}")
        observation = seen(f"{number}", f"edited {number}", number)
        bench.changes.take_edit(observation, bench.disk(f"{number}"), NOW_MS)
    sizes = [len(job.items) for job in only(bench.changes.take_derivations(), DeriveUpdates)]
    assert sizes == [DERIVATIONS_PER_JOB_MAX, 100 - DERIVATIONS_PER_JOB_MAX]
    assert bench.changes.deriving == 100


# --- what the writer had read --------------------------------------------------------------------


def overwritten(bench: Bench, *, is_rewrite: bool = False) -> Standing:
    """Let our own write bring the peer's edit to the disk; returns what stood before it."""
    bench.stand("a", 1)
    before = bench.folder.standing("a")
    assert before is not None
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "peer's", is_replace=is_rewrite)))
    bench.agree("a", 1)
    bench.folder.put("a", replace(bench.disk("a"), before=before, written_ms=NOW_MS))
    return before


def test_soon_after_our_write_both_bases_are_tried() -> None:
    """The job decides which text explains the new one better; its choice is recorded."""
    bench = Bench()
    before = overwritten(bench)
    (item,) = edit(bench, seen("a", "mine", inode=1), NOW_MS + OWN_WRITE_MS - 1)
    assert (item.base_before, item.lineage_before) == (before.heads, None)
    derived(bench, item, is_from_before=True)
    (known,) = entries(bench)
    assert (known.entry.parents, known.entry.inference) == (
        before.heads,
        BaseInference.BEFORE_OUR_WRITE,
    )
    assert len(bench.state(1).heads) == 2


def test_a_base_of_another_lineage_comes_with_it() -> None:
    """Our write brought a rewrite: the text before it is rebuilt from its own root."""
    bench = Bench()
    before = overwritten(bench, is_rewrite=True)
    (item,) = edit(bench, seen("a", "mine", inode=1))
    assert item.lineage_before is not None
    assert item.lineage_before.root.id == before.lineage
    derived(bench, item, is_from_before=True)
    (known,) = entries(bench)
    assert known.entry.lineage == before.lineage


@pytest.mark.parametrize("cause", ["long after", "git"])
def test_later_or_by_git_the_current_state_is_the_base(cause: str) -> None:
    """An editor reads again in time; git always means what stands there."""
    bench = Bench()
    overwritten(bench)
    now_ms = NOW_MS + (OWN_WRITE_MS if cause == "long after" else 0)
    if cause == "git":
        bench.changes.git_moved_ms = now_ms - GIT_ACTIVE_MS + 1
    (item,) = edit(bench, seen("a", "mine", inode=1), now_ms)
    assert (item.base, item.base_before) == (base_of(bench.state(1)), ())
    derived(bench, item)
    expected = BaseInference.CURRENT_BY_GIT if cause == "git" else BaseInference.ON_DISK
    assert [known.entry.inference for known in entries(bench)] == [expected]


# --- a base that is not here ---------------------------------------------------------------------


def baseless(bench: Bench) -> DeriveUpdate:
    """Let an edit wait for its base, which no file and no archive of this node holds."""
    bench.stand("a", 1)
    (item,) = edit(bench, seen("a", "two", inode=1))
    derived(bench, item, DeriveOutcome.BASE_MISSING)
    assert entries(bench) == []
    return item


def test_a_missing_base_is_wanted_and_derived_from_once_it_came() -> None:
    """The edit waits, claimed; other contents do not wake it."""
    bench = Bench()
    item = baseless(bench)
    assert bench.changes.bases_wanted == {blob("one"): (FILE, 3)}
    bench.changes.retry_baseless(frozenset({blob("other")}), NOW_MS)
    assert bench.changes.take_derivations() == []
    bench.changes.retry_baseless(frozenset({blob("one")}), NOW_MS)
    assert bench.changes.take_derivations() == [DeriveUpdates((item,))]
    derived(bench, item)
    assert [known.entry.kind for known in entries(bench)] == [EntryKind.UPDATE]


def test_a_base_that_nobody_sends_makes_a_replace() -> None:
    """Patience ends; the content stands on its own, nothing is guessed."""
    bench = Bench()
    item = baseless(bench)
    bench.changes.retry_baseless(None, NOW_MS + BASE_PATIENCE_MS - 1)
    assert bench.changes.take_derivations() == []
    late_ms = NOW_MS + BASE_PATIENCE_MS
    bench.changes.retry_baseless(None, late_ms)
    assert len(bench.changes.take_derivations()) == 1
    derived(bench, item, DeriveOutcome.BASE_MISSING, late_ms)
    assert [known.entry.kind for known in entries(bench)] == [EntryKind.REPLACE]
    assert bench.ledger.claimed == 0


def test_what_is_not_merged_yet_is_nobodys_twin() -> None:
    """Two files of unknown content are not the same: a rename of one must not delete the other.

    Found by the simulator (seed 6044): acknowledged edits went with such a deletion.
    """
    bench = Bench()
    for number in (1, 2):
        bench.share("a", number)
        state = bench.state(number)
        head = state.heads[0]
        other = replace(head, ref=replace(head.ref, sequence=99), blob=blob("other"))
        bench.ledger.replace_state(replace(state, heads=(head, other)))
        assert content_of(bench.state(number)) is None
    assert twins(bench.ledger, "a", file(1)) == []
