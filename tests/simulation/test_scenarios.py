"""What people meet, told step by step, on the same simulator as the seeds."""

from __future__ import annotations

from aiplatform.mesh_ide.documents.state import content_of
from aiplatform.mesh_ide.model.ids import TREE_FILE
from aiplatform.mesh_ide.node.events import RejectHold, ReleaseHold
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.stage import Stage
from aiplatform.mesh_ide.workspace.adapters.memory_disk import DiskFault
from tests.simulation.mutant_nodes import (
    Twisted,
    believe_disappearances,
    git_like_others,
    never_before,
)
from tests.simulation.steps import two_in_step

# --- merging -------------------------------------------------------------------------------------


def test_edits_made_apart_merge() -> None:
    """Two people edit one file offline; both edits are in it afterwards."""
    stage = two_in_step(a="one\ntwo\nthree\n")
    stage.part(1)
    stage.save(0, "a.txt", "one\ntwo\nthree\nfour\n")
    stage.save(1, "a.txt", "zero\none\ntwo\nthree\n")
    stage.wait(500)
    stage.heal()
    stage.settle()

    assert stage.text(0, "a.txt") == "zero\none\ntwo\nthree\nfour\n"
    assert stage.text(1, "a.txt") == "zero\none\ntwo\nthree\nfour\n"


def test_what_was_edited_while_the_node_was_down_is_found() -> None:
    """A file saved while no node ran is an edit of what stood there, not a rewrite."""
    stage = two_in_step(a="one\ntwo\n")
    stage.wait(2000)
    stage.crash(1)
    stage.save(1, "a.txt", "one\ntwo\nthree\n")
    stage.save(0, "a.txt", "zero\none\ntwo\n")
    stage.wait(1000)
    stage.start()
    stage.settle()

    assert stage.text(0, "a.txt") == "zero\none\ntwo\nthree\n"


def test_a_folder_that_goes_away_while_a_peer_writes_ends_nothing() -> None:
    """The write that was on its way fails; when the folder is back, it takes place."""
    stage = two_in_step(a="one\n")
    stage[1].disk.folder.faults.add(DiskFault.ROOT_MISSING)
    stage.save(0, "a.txt", "one\ntwo\n")
    stage.wait(5000)
    assert "gone" in stage[1].core.workspace.applier.failed["a.txt"][1]
    stage[1].disk.folder.faults.remove(DiskFault.ROOT_MISSING)
    stage.settle()

    assert stage.text(1, "a.txt") == "one\ntwo\n"


def test_an_edit_outlives_a_concurrent_delete() -> None:
    """One deletes a file while the other edits it: the edited file stays."""
    stage = two_in_step(a="one\n")
    stage.part(1)
    stage.remove(0, "a.txt")
    stage.save(1, "a.txt", "one\ntwo\n")
    stage.wait(1000)
    stage.heal()
    stage.settle()

    assert stage.text(0, "a.txt") == "one\ntwo\n"


def test_a_delete_reaches_everybody() -> None:
    """Without a concurrent edit a deleted file is gone everywhere."""
    stage = two_in_step(a="one\n", b="two\n")
    stage.remove(0, "a.txt")
    stage.settle()

    assert stage.paths(1) == ["b.txt"]


def test_two_creations_of_one_path_are_both_kept() -> None:
    """The lower id stands in the folder, the other waits beside it; nobody's bytes are lost."""
    stage = two_in_step()
    stage.part(1)
    stage.save(0, "same.txt", "mine\n")
    stage.save(1, "same.txt", "yours\n")
    stage.wait(500)
    stage.heal()
    stage.settle()

    claims = stage.claims(0, "same.txt")
    contents = set()
    for file in claims:
        state = stage[1].core.ledger.state(file)
        assert state is not None
        content = content_of(state)
        assert content is not None
        contents.add(stage[1].contents.read(content[0], "same.txt"))
    assert claims == stage.claims(1, "same.txt")
    assert contents == {b"mine\n", b"yours\n"}


def test_two_creations_with_the_same_bytes_are_one_file() -> None:
    """Nobody is bothered with a conflict between equals, and a rename takes both along."""
    stage = two_in_step()
    stage.part(1)
    stage.save(0, "same.txt", "equal\n")
    stage.save(1, "same.txt", "equal\n")
    stage.wait(500)
    stage.heal()
    stage.settle()
    stage.rename(0, "same.txt", "other.txt")
    stage.settle()

    assert stage.paths(0) == ["other.txt"]
    assert stage.paths(1) == ["other.txt"]


def stale_formatter(factory: Factory | None = None) -> Stage:
    """Let a program save what it read before a peer's edit was written to the folder."""
    stage = two_in_step(factory, a="one\ntwo\n")
    stage.save(1, "a.txt", "one\ntwo\ntyped by the other\n")
    stage.wait(400)
    assert stage.text(0, "a.txt") == "one\ntwo\ntyped by the other\n"
    stage.save(0, "a.txt", "formatted\none\ntwo\n")
    stage.settle()
    return stage


def test_a_formatter_that_read_too_early_undoes_nothing() -> None:
    """A save based on what stood before our own write is merged with what we wrote."""
    stage = stale_formatter()

    assert stage.text(0, "a.txt") == "formatted\none\ntwo\ntyped by the other\n"
    assert stage.text(1, "a.txt") == "formatted\none\ntwo\ntyped by the other\n"


def test_without_the_inference_the_formatter_would_win() -> None:
    """The planted bug: whoever never asks what a writer had read loses the other's line."""
    stage = stale_formatter(Twisted(never_before))

    assert stage.text(1, "a.txt") == "formatted\none\ntwo\n"


def test_deleting_a_line_that_a_peer_just_wrote_deletes_it() -> None:
    """Whoever deletes one of two fresh lines has read both: one goes, the other stays."""
    stage = two_in_step(a="one\n")
    stage.save(1, "a.txt", "one\nfirst fresh line\nsecond\n")
    stage.wait(400)
    stage.save(0, "a.txt", "one\nsecond\n")
    stage.settle()

    assert stage.text(1, "a.txt") == "one\nsecond\n"


def test_deleting_a_line_does_not_take_along_what_a_peer_put_in_its_place() -> None:
    """The save may be of before or after the peer's line came: what nobody here saw stays."""
    stage = two_in_step(a="alpha\nkept\n")
    stage.save(1, "a.txt", "12345\nkept\n")
    stage.wait(400)
    stage.save(0, "a.txt", "kept\n")
    stage.settle()

    assert (stage.text(1, "a.txt") or "").startswith("12345")


def test_bytes_saved_right_after_our_write_stand_beside_it() -> None:
    """Nothing tells what a writer of bytes had read: both versions are kept as a conflict."""
    stage = Stage(2)
    stage.save(0, "a.bin", b"\0one")
    stage.start()
    stage.settle()
    stage.save(1, "a.bin", b"\0theirs")
    stage.wait(400)
    stage.save(0, "a.bin", b"\0mine")
    stage.settle()

    head = stage.head(1, "a.bin")
    assert head is not None
    assert len(head.rivals) == 1


def git_after_a_write(factory: Factory | None = None) -> Stage:
    """Let git restore an old version right after a peer's edit was written."""
    stage = two_in_step(factory, a="one\ntwo\n")
    stage.save(1, "a.txt", "one\ntwo\nthree\n")
    stage.wait(400)
    stage.git_moved(0)
    stage.save(0, "a.txt", "one\ntwo\nof the branch\n")
    stage.settle()
    return stage


def test_git_means_what_it_writes() -> None:
    """A checkout right after our write is no stale save: its version is the version."""
    stage = git_after_a_write()

    assert stage.text(1, "a.txt") == "one\ntwo\nof the branch\n"


def test_git_taken_for_a_stale_program_brings_lines_back() -> None:
    """The planted bug: git's version gets a line that it does not have."""
    stage = git_after_a_write(Twisted(git_like_others))

    assert stage.text(1, "a.txt") != "one\ntwo\nof the branch\n"


# --- names ---------------------------------------------------------------------------------------


def test_renaming_a_folder_of_a_thousand_files_is_one_operation() -> None:
    """All files stand in the new place, and the tree gained a single entry."""
    stage = Stage(2)
    for number in range(1000):
        stage.save(0, f"old/f{number}.txt", f"{number}\n")
    stage.start()
    stage.settle()
    before = stage.entries(0, TREE_FILE)
    stage.rename(0, "old", "new")
    stage.settle()

    assert stage.entries(1, TREE_FILE) == before + 1
    assert stage.paths(1) == sorted(f"new/f{number}.txt" for number in range(1000))


def test_a_rename_and_an_edit_made_apart_both_take_effect() -> None:
    """One renames a file, the other edits it under its old name."""
    stage = two_in_step(a="one\n")
    stage.part(1)
    stage.rename(0, "a.txt", "b.txt")
    stage.save(1, "a.txt", "one\ntwo\n")
    stage.wait(1000)
    stage.heal()
    stage.settle()

    assert stage.paths(0) == ["b.txt"]
    assert stage.text(0, "b.txt") == "one\ntwo\n"


def test_only_the_case_of_a_name_can_change() -> None:
    """A case-only rename travels as a rename."""
    stage = two_in_step(readme="one\n")
    stage.rename(0, "readme.txt", "README.txt")
    stage.settle()

    assert stage.paths(1) == ["README.txt"]


# --- disappearances ------------------------------------------------------------------------------


def emptied(factory: Factory | None = None) -> Stage:
    """Let a folder of twenty files lose them all at once."""
    stage = two_in_step(factory, **{f"f{number}": f"{number}\n" for number in range(20)})
    stage.remove(0, *stage.paths(0))
    stage.wait(3000)
    return stage


def test_a_folder_emptied_at_once_wipes_nobody() -> None:
    """The deletions are held here, and the other machine keeps every file."""
    stage = emptied()

    assert len(stage[0].core.workspace.deletions.holds) == 1
    assert len(stage.paths(1)) == 20


def test_a_node_that_believes_disappearances_wipes_its_peer() -> None:
    """The planted bug: without the hold the other machine is empty too."""
    stage = emptied(Twisted(believe_disappearances))

    assert stage.paths(1) == []


def test_a_rejected_hold_brings_the_files_back() -> None:
    """Whoever says "no" has all files in the folder again."""
    stage = emptied()
    stage[0].request(RejectHold(stage.world.oracle.next_tag(), 1))
    stage.settle()

    assert len(stage.paths(0)) == 20


def test_a_released_hold_deletes() -> None:
    """Whoever says "yes" has meant it: the files are gone everywhere."""
    stage = emptied()
    stage[0].request(ReleaseHold(stage.world.oracle.next_tag(), 1))
    stage.settle()

    assert stage.paths(1) == []


def test_a_hold_outlives_a_crash() -> None:
    """What waits for a person still waits after a restart, and nothing was deleted."""
    stage = emptied()
    stage.crash(0)
    stage.start()
    stage.wait(3000)

    assert len(stage[0].core.workspace.deletions.holds) == 1
    assert len(stage.paths(1)) == 20
