"""From the ledger to the folder: what is written, when, and what if the disk says otherwise."""

from __future__ import annotations

import itertools

from msgspec.structs import replace

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.filetree import FileStat, FileWrite, WriteOutcome, WriteResult
from aiplatform.mesh_ide.ports.jobs import (
    BlobSource,
    Materialise,
    MaterialisedText,
    PlannedWrite,
    TextAt,
    WritesApplied,
)
from aiplatform.mesh_ide.workspace.core_needs import (
    MATERIALISE_PER_JOB_MAX,
    RETRY_WANT_MAX_MS,
    RETRY_WANT_MS,
)
from aiplatform.mesh_ide.workspace.records import (
    RETRY_WRITE_MS,
    WRITES_PER_JOB_MAX,
    DiskState,
)
from tests.unit.documents.authors import Author, blob, file
from tests.unit.workspace.bench import NOW_MS, Bench, seen, stat

FILE = file(1)
REGULAR, EXECUTABLE = FileMode.REGULAR, FileMode.EXECUTABLE


def plan(bench: Bench, *paths: str) -> list[PlannedWrite]:
    """Consider paths and return what is to be written."""
    for path in paths:
        bench.applier.consider(path)
    bench.folder.check_invariants()
    return [planned for job in bench.applier.take_writes() for planned in job.writes]


def write(bench: Bench, *paths: str) -> list[FileWrite]:
    """Consider paths and return the writes alone."""
    return [planned.write for planned in plan(bench, *paths)]


def applied(
    bench: Bench,
    planned: list[PlannedWrite],
    outcome: WriteOutcome = WriteOutcome.APPLIED,
    now_stat: FileStat | None = None,
    archived: tuple[BlobHash, ...] = (),
) -> list[str]:
    """Let the disk answer all writes alike; returns the paths to consider again."""
    results = tuple(WriteResult(p.write.path, outcome, now_stat) for p in planned)
    again, _ = bench.applier.on_applied(WritesApplied(tuple(planned), results, archived), NOW_MS)
    bench.folder.check_invariants()
    return again


# --- something comes -----------------------------------------------------------------------------


def test_a_file_whose_content_is_here_is_written() -> None:
    """Planned on record first; afterwards it stands, with its stat, written by us."""
    bench = Bench()
    bench.share("a", 1)
    bench.hold_content("one")
    (planned,) = plan(bench, "a")
    assert planned.write == FileWrite("a", blob("one"), REGULAR, None)
    assert not planned.archive_first
    assert bench.applier.is_busy("a")
    target = bench.disk("a").planned
    assert target is not None
    assert (target.file, target.heads, target.lineage) == (
        FILE,
        bench.state(1).refs(),
        bench.state(1).refs()[0].id,
    )
    assert applied(bench, [planned], now_stat=stat("one")) == []
    disk = bench.disk("a")
    assert (disk.now, disk.stat, disk.before, disk.written_ms) == (
        target,
        stat("one"),
        None,
        NOW_MS,
    )
    assert write(bench, "a") == []


def test_a_content_that_is_not_here_is_wanted_and_waited_for() -> None:
    """Fetched with its size; when it comes, the path is considered again and written."""
    bench = Bench()
    bench.share("a", 1)
    assert plan(bench, "a") == []
    assert bench.needs.wanted == {blob("one"): (FILE, 3)}
    assert bench.needs.outstanding == 1
    assert bench.needs.on_content([blob("other")]) == []
    assert bench.needs.on_content([blob("one")]) == ["a"]
    assert bench.needs.wanted == {}
    assert [w.blob for w in write(bench, "a")] == [blob("one")]


def test_a_newer_version_replaces_what_stands_there() -> None:
    """It says what it expects; the old content is archived first unless it is; it is ``before``."""
    bench = Bench()
    bench.stand("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "two")))
    bench.hold_content("two")
    old = bench.folder.standing("a")
    (planned,) = plan(bench, "a")
    assert planned.write == FileWrite("a", blob("two"), REGULAR, blob("one"), REGULAR)
    assert planned.archive_first
    applied(bench, [planned], now_stat=stat("two"), archived=(blob("one"),))
    assert bench.disk("a").before == old
    assert blob("one") in bench.folder.archived
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "two", mode=EXECUTABLE)))
    (planned,) = plan(bench, "a")
    assert (planned.write.mode, planned.write.expected_mode) == (EXECUTABLE, REGULAR)
    applied(bench, [planned], now_stat=stat("two"))
    assert bench.disk("a").before == old, "a mode alone does not hide what a writer had read"


def test_what_stands_there_already_is_only_named_anew() -> None:
    """Same bytes, another entry: no write, other heads."""
    bench = Bench()
    bench.stand("a", 1)
    ben = Author("ben")
    ben.hear(*bench.peer.heard)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "one", is_replace=True)))
    assert plan(bench, "a") == []
    standing = bench.folder.standing("a")
    assert standing is not None
    assert standing.heads == bench.state(1).refs()


def test_writes_come_in_bounded_jobs() -> None:
    """Six hundred files are three jobs, each ending with one sync."""
    bench = Bench()
    for number in range(1, 601):
        bench.share(f"{number}", number, f"text {number}")
        bench.hold_content(f"text {number}")
        bench.applier.consider(f"{number}")
    sizes = [len(job.writes) for job in bench.applier.take_writes()]
    assert sizes == [WRITES_PER_JOB_MAX, WRITES_PER_JOB_MAX, 88]
    assert bench.applier.busy_bytes == sum(len(f"text {n}") for n in range(1, 601))
    assert bench.applier.take_writes() == []


def test_nothing_is_written_while_others_are_at_work() -> None:
    """Path held, write under way, file claimed (the one there, the one to come): later."""
    bench = Bench()
    bench.stand("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "two")))
    bench.hold_content("two", "three")
    bench.folder.hold(["a"])
    assert write(bench, "a") == []
    bench.folder.settle(["a"])
    bench.ledger.claim(FILE)
    assert write(bench, "a") == []
    bench.ledger.release([FILE])
    bench.share("b", 2, "three")
    bench.ledger.claim(file(2))
    assert write(bench, "b") == []
    assert len(write(bench, "a", "a")) == 1


# --- texts ---------------------------------------------------------------------------------------


def test_an_edited_text_is_computed_from_its_root() -> None:
    """The root is here: the text at its heads is asked for, once."""
    bench = Bench()
    bench.stand("a", 1)
    root = bench.state(1).refs()[0]
    (edit,) = bench.peer.say(bench.peer.change(FILE, "two"))
    bench.arrive(edit)
    assert plan(bench, "a", "a") == []
    (job,) = bench.needs.take_merges()
    (item,) = job.items
    assert (item.lineage.root, item.lineage.content) == (root, BlobSource(blob("one"), "a"))
    assert item.heads == (edit.ref,)
    bench.applier.consider("a")
    assert bench.needs.take_merges() == []
    answer = MaterialisedText(FILE, (edit.ref,), blob("two"), 3)
    assert bench.needs.end_merge(answer) == ()
    assert bench.needs.on_content([blob("two")]) == ["a"]
    assert [w.blob for w in write(bench, "a")] == [blob("two")]


def test_a_texts_root_is_fetched_rather_than_its_head() -> None:
    """Later merges need it; it goes into the archive when it comes."""
    bench = Bench()
    bench.share("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "two")))
    assert plan(bench, "a") == []
    assert bench.needs.wanted == {blob("one"): (FILE, 3)}
    assert bench.needs.shelf == {blob("one"): {FILE: None}}
    assert bench.needs.on_content([blob("one")]) == ["a"]
    assert plan(bench, "a") == []
    assert len(bench.needs.take_merges()) == 1


def test_a_text_that_cannot_be_merged_is_fetched_as_it_is() -> None:
    """Its author has it: the head is asked for beside the root."""
    bench = Bench()
    bench.stand("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "two")))
    plan(bench, "a")
    bench.needs.take_merges()
    bench.needs.end_merge(MaterialisedText(FILE, bench.state(1).refs(), None, 0))
    bench.needs.give_up_merge(bench.state(1))
    assert plan(bench, "a") == []
    assert bench.needs.wanted == {blob("two"): (FILE, 3)}


def test_concurrent_edits_are_merged_before_they_are_written() -> None:
    """Both heads go into one computation."""
    bench = Bench()
    bench.stand("a", 1)
    ben = Author("ben")
    ben.hear(*bench.peer.heard)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "two")))
    bench.arrive(*ben.say(ben.change(FILE, "drei")))
    assert plan(bench, "a") == []
    (job,) = bench.needs.take_merges()
    assert [item.heads for item in job.items] == [bench.state(1).refs()]


def test_merges_come_in_bounded_jobs() -> None:
    """A hundred texts are two jobs."""
    bench = Bench()
    for number in range(1, 101):
        bench.stand(f"{number}", number, f"text {number}")
        bench.arrive(*bench.peer.say(bench.peer.change(file(number), f"edited {number}")))
        bench.applier.consider(f"{number}")
    jobs: list[Materialise] = bench.needs.take_merges()
    items: list[TextAt] = [item for job in jobs for item in job.items]
    assert [len(job.items) for job in jobs] == [
        MATERIALISE_PER_JOB_MAX,
        100 - MATERIALISE_PER_JOB_MAX,
    ]
    assert len({item.lineage.file for item in items}) == 100


# --- something goes ------------------------------------------------------------------------------


def test_a_file_that_others_deleted_is_removed() -> None:
    """Its content is archived first; the removal is on record before it happens."""
    bench = Bench()
    bench.stand("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.delete(FILE)))
    (planned,) = plan(bench, "a")
    assert planned.write == FileWrite("a", None, REGULAR, blob("one"), REGULAR)
    assert planned.archive_first
    assert bench.disk("a").is_leaving
    assert set(applied(bench, [planned])) == {"a"}
    assert bench.folder.get("a") is None


def test_what_has_no_entry_yet_is_never_removed() -> None:
    """A file that was seen and not sealed belongs to nobody's past: it stays."""
    bench = Bench()
    bench.stand("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.delete(FILE)))
    disk = bench.disk("a")
    assert disk.now is not None
    bench.folder.put("a", replace(disk, now=replace(disk.now, heads=())))
    assert plan(bench, "a") == []


def test_a_file_that_others_renamed_is_moved() -> None:
    """No content is written: the file goes from the old path to the new one."""
    bench = Bench()
    bench.stand("a", 1)
    bench.move(1, "dir/b")
    (planned,) = plan(bench, "a", "dir/b")
    assert planned.write == FileWrite("dir/b", blob("one"), REGULAR, None, moved_from="a")
    assert bench.applier.is_busy("a")
    assert bench.applier.is_busy("dir/b")
    assert sorted(applied(bench, [planned], now_stat=stat("one"))) == ["a", "dir/b"]
    assert (bench.folder.get("a"), bench.folder.path_of(FILE)) == (None, "dir/b")


def test_a_move_is_found_from_its_new_path_too() -> None:
    """Whichever path is considered first, the content is not fetched or written twice."""
    bench = Bench()
    bench.stand("a", 1)
    bench.move(1, "b")
    assert [w.moved_from for w in write(bench, "b", "a")] == ["a"]


def test_a_move_that_failed_leaves_the_old_path_as_it_was() -> None:
    """It is no longer about to leave; the new path is tried again later."""
    bench = Bench()
    bench.stand("a", 1)
    bench.move(1, "b")
    planned = plan(bench, "a")
    applied(bench, planned, WriteOutcome.FAILED)
    assert not bench.disk("a").is_leaving
    assert bench.folder.path_of(FILE) == "a"
    assert bench.applier.take_retries(NOW_MS + RETRY_WRITE_MS) == ["b"]


def test_a_file_makes_way_where_a_folder_shall_be() -> None:
    """Others created something below its path: it cannot stand there."""
    bench = Bench()
    bench.stand("a", 1)
    bench.share("a/b", 2, "two")
    assert [w.blob for w in write(bench, "a")] == [None]


def test_a_content_that_stands_nowhere_is_archived() -> None:
    """The hidden claim on a path is wanted for the shelf, not for the disk."""
    bench = Bench()
    bench.stand("a", 1)
    bench.share("a", 2, "hidden")
    assert plan(bench, "a") == []
    assert bench.needs.shelf == {blob("hidden"): {file(2): None}}
    assert bench.needs.wanted == {blob("hidden"): (file(2), 6)}


def test_both_sides_of_a_conflict_are_kept() -> None:
    """The rival of what stands on the disk is wanted for the archive."""
    bench = Bench()
    bench.stand("a", 1)
    ben = Author("ben")
    ben.hear(*bench.peer.heard)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "x", is_replace=True)))
    bench.arrive(*ben.say(ben.change(FILE, "y", is_replace=True)))
    plan(bench, "a")
    assert set(bench.needs.wanted) == {blob("x"), blob("y")}
    assert len(bench.needs.shelf) == 1


# --- the disk says otherwise ---------------------------------------------------------------------


def test_something_unexpected_is_handed_back_as_an_observation() -> None:
    """A person's edit stood there: nothing is believed to be ours, and it is looked at."""
    bench = Bench()
    bench.stand("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "two")))
    bench.hold_content("two")
    planned = plan(bench, "a")
    found = seen("a", "a person's")
    result = WriteResult("a", WriteOutcome.UNEXPECTED, found=found)
    again, unexpected = bench.applier.on_applied(
        WritesApplied(tuple(planned), (result,), ()), NOW_MS
    )
    assert (again, unexpected) == (["a"], [found])
    disk = bench.disk("a")
    assert disk.planned is None
    assert disk.now is not None
    assert disk.now.blob == blob("one")
    assert not bench.applier.is_busy("a")


def test_a_write_that_failed_is_tried_again_later() -> None:
    """The disk was full: five seconds later, not at once; why is shown meanwhile."""
    bench = Bench()
    bench.share("a", 1)
    bench.hold_content("one")
    planned = plan(bench, "a")
    assert applied(bench, planned, WriteOutcome.FAILED) == []
    assert bench.folder.get("a") is None
    assert bench.applier.failed == {"a": (NOW_MS, "the disk refused")}
    assert bench.applier.take_retries(NOW_MS + RETRY_WRITE_MS - 1) == []
    assert bench.applier.take_retries(NOW_MS + RETRY_WRITE_MS) == ["a"]
    planned = plan(bench, "a")
    applied(bench, planned, now_stat=stat("one"))
    assert (bench.applier.failed, bench.applier.busy_bytes) == ({}, 0)


def test_who_had_to_make_way_is_seen_to() -> None:
    """A file that owned the path before has its place elsewhere: that is considered too."""
    bench = Bench()
    bench.stand("a", 1)
    bench.move(1, "b")
    bench.share("a", 2, "two")
    bench.hold_content("two")
    again = applied(bench, plan(bench, "a"), now_stat=stat("two"))
    assert again == ["b"]


def test_what_changes_during_a_write_is_considered_after_it() -> None:
    """The path is busy when the next version comes: it is looked at again once it is not."""
    bench = Bench()
    bench.share("a", 1)
    bench.hold_content("one")
    planned = plan(bench, "a")
    bench.applier.consider("a")
    assert applied(bench, planned, now_stat=stat("one")) == ["a"]


def test_what_is_waited_for_is_found_out_anew() -> None:
    """A content that nobody has may be superseded: its path is considered anew, less often."""
    bench = Bench()
    bench.share("a", 1)
    plan(bench, "a")
    assert bench.needs.take_retries(NOW_MS) == ["a"]
    plan(bench, "a")
    assert bench.needs.take_retries(NOW_MS + 2 * RETRY_WANT_MS - 1) == []
    assert bench.needs.take_retries(NOW_MS + 2 * RETRY_WANT_MS) == ["a"]


def test_a_refused_write_is_told_once_and_forgotten_when_nobody_wants_it() -> None:
    """The same refusal again is no news; what was deleted meanwhile is no trouble any more."""
    bench = Bench()
    bench.share("a", 1)
    bench.hold_content("one")
    applied(bench, plan(bench, "a"), WriteOutcome.FAILED)
    assert [path for path, _ in bench.applier.refused] == ["a"]
    bench.applier.refused.clear()
    assert bench.applier.take_retries(NOW_MS + RETRY_WRITE_MS) == ["a"]
    applied(bench, plan(bench, "a"), WriteOutcome.FAILED)
    assert (bench.applier.refused, list(bench.applier.failed)) == ([], ["a"])
    bench.arrive(*bench.peer.say(bench.peer.delete(FILE)))
    plan(bench, "a")
    assert bench.applier.failed == {}


def test_what_nobody_has_is_looked_at_ever_less_until_something_happens() -> None:
    """The pause doubles up to its bound; a content that comes makes it short again."""
    bench = Bench()
    bench.share("a", 1)
    plan(bench, "a")
    rounds: list[int] = []
    for now_ms in range(NOW_MS, NOW_MS + 60_000, 100):
        if bench.needs.take_retries(now_ms):
            rounds.append(now_ms)
            plan(bench, "a")
    pauses = [late - early for early, late in itertools.pairwise(rounds)]
    assert pauses[:3] == [2 * RETRY_WANT_MS, 4 * RETRY_WANT_MS, RETRY_WANT_MAX_MS]
    assert set(pauses[2:]) == {RETRY_WANT_MAX_MS}
    bench.needs.on_content((blob("other"),))
    assert bench.needs.take_retries(rounds[-1] + RETRY_WANT_MS) == ["a"]


def test_what_somebody_saved_by_hand_has_not_failed_any_more() -> None:
    """The disk refused our write; the very content came to stand there without us."""
    bench = Bench()
    bench.share("a", 1)
    bench.hold_content("one")
    planned = plan(bench, "a")
    target = bench.disk("a").planned
    assert target is not None
    applied(bench, planned, WriteOutcome.FAILED)
    assert set(bench.applier.failed) == {"a"}
    bench.folder.put("a", DiskState(target, stat("one")))
    assert plan(bench, "a") == []
    assert bench.applier.failed == {}
