"""When what stands in the folder is copied into the archive."""

from __future__ import annotations

from msgspec.structs import replace

from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.jobs import ArchiveBlobs, BlobsArchived
from aiplatform.mesh_ide.workspace.core_archiving import (
    ARCHIVE_AFTER_MS,
    ARCHIVE_BUSY_MS,
    ARCHIVE_FEW,
    ARCHIVE_PER_JOB_MAX,
    ARCHIVE_RETRY_MS,
    ARCHIVE_ROOTS_AFTER_MS,
    Archiving,
)
from tests.unit.documents.authors import blob, file
from tests.unit.workspace.bench import NOW_MS, Bench, only, seen
from tests.unit.workspace.core_rig import Rig

MANY = 2 * ARCHIVE_PER_JOB_MAX + 10


class Restless(Archiving):
    """Asks a disk again at once that refused: the planted bug."""

    def done(self, result: BlobsArchived, now_ms: int) -> None:
        """Take no note of a problem."""
        super().done(replace(result, problem=None), now_ms)


def bench_with(files: int, *, is_text: bool = True) -> Bench:
    """Return a bench on whose disk so many files of the peer's stand, none archived."""
    bench = Bench()
    for number in range(1, files + 1):
        bench.stand(f"f{number}", number, f"text {number}", is_text=is_text)
    return bench


def blobs_of(out: list[object]) -> list[BlobHash]:
    """Return the contents that are to be archived."""
    return [source.blob for job in only(out, ArchiveBlobs) for source in job.sources]


def names(out: list[ArchiveBlobs]) -> list[BlobHash]:
    """Return the contents of at most one job."""
    assert len(out) <= 1
    return blobs_of(list(out))


# --- when ---------------------------------------------------------------------------------------


def test_a_quiet_folder_is_archived_with_where_each_content_stands() -> None:
    """Not while it changes: what is overwritten a moment later needs no copy."""
    bench = bench_with(2, is_text=False)
    archiving = Archiving(bench.ledger, bench.folder)
    assert archiving.due(NOW_MS, 0, is_busy=False) == []
    (job,) = archiving.due(NOW_MS, ARCHIVE_AFTER_MS, is_busy=False)
    assert [(s.blob, s.path) for s in job.sources] == [
        (blob("text 1"), "f1"),
        (blob("text 2"), "f2"),
    ]


def test_while_peers_are_served_it_waits_with_a_limit() -> None:
    """A first synchronisation goes first, but the promise is kept."""
    bench = bench_with(ARCHIVE_FEW + 1)
    archiving = Archiving(bench.ledger, bench.folder)
    assert archiving.due(NOW_MS, ARCHIVE_BUSY_MS - 1, is_busy=True) == []
    assert names(archiving.due(NOW_MS, ARCHIVE_BUSY_MS, is_busy=True)) != []


def test_the_roots_of_a_few_files_are_archived_at_once() -> None:
    """Every later merge builds on them; where many wait they take their turn."""
    few = bench_with(ARCHIVE_FEW)
    archiving = Archiving(few.ledger, few.folder)
    assert archiving.due(NOW_MS, ARCHIVE_ROOTS_AFTER_MS - 1, is_busy=True) == []
    assert len(names(archiving.due(NOW_MS, ARCHIVE_ROOTS_AFTER_MS, is_busy=True))) == ARCHIVE_FEW
    many = bench_with(ARCHIVE_FEW + 1)
    archiving = Archiving(many.ledger, many.folder)
    assert archiving.due(NOW_MS, ARCHIVE_ROOTS_AFTER_MS, is_busy=True) == []


def test_a_later_version_is_no_root_and_waits() -> None:
    """The merge is computed from the root; a version in between is in the entries."""
    bench = Bench()
    bench.share("a", 1)
    bench.arrive(*bench.peer.say(bench.peer.change(file(1), "later")))
    bench.agree("a", 1)
    archiving = Archiving(bench.ledger, bench.folder)
    assert archiving.due(NOW_MS, ARCHIVE_ROOTS_AFTER_MS, is_busy=False) == []
    assert names(archiving.due(NOW_MS, ARCHIVE_AFTER_MS, is_busy=False)) == [blob("later")]


# --- job after job ------------------------------------------------------------------------------


def test_there_is_one_job_at_a_time_and_each_is_bounded() -> None:
    """The next one begins where the last one ended, until nothing waits."""
    bench = bench_with(MANY)
    archiving = Archiving(bench.ledger, bench.folder)
    sizes: list[int] = []
    while job := names(archiving.due(NOW_MS, ARCHIVE_AFTER_MS, is_busy=False)):
        sizes.append(len(job))
        assert archiving.due(NOW_MS, ARCHIVE_AFTER_MS, is_busy=False) == []
        archiving.done(BlobsArchived(tuple(job), ()), NOW_MS)
    assert sizes == [ARCHIVE_PER_JOB_MAX, ARCHIVE_PER_JOB_MAX, 10]
    assert len(bench.folder.archived) == MANY


def test_what_no_file_holds_any_more_is_not_asked_for_again() -> None:
    """It was overwritten; it is not taken for archived either."""
    bench = bench_with(2)
    archiving = Archiving(bench.ledger, bench.folder)
    archiving.due(NOW_MS, ARCHIVE_AFTER_MS, is_busy=False)
    archiving.done(BlobsArchived((blob("text 1"),), (blob("text 2"),)), NOW_MS)
    assert archiving.due(NOW_MS, ARCHIVE_AFTER_MS, is_busy=False) == []
    assert bench.folder.archived == {blob("text 1")}


# --- a disk that refuses ------------------------------------------------------------------------


def asked_while_refused(archiving_type: type[Archiving]) -> int:
    """Refuse, and ask every 100 ms what is due; returns how often the disk is asked too early."""
    bench = bench_with(MANY)
    archiving = archiving_type(bench.ledger, bench.folder)
    archiving.due(NOW_MS, ARCHIVE_AFTER_MS, is_busy=False)
    archiving.done(BlobsArchived((), (), "no space"), NOW_MS)
    early = 0
    for after_ms in range(0, ARCHIVE_RETRY_MS, 100):
        for _ in archiving.due(NOW_MS + after_ms, ARCHIVE_AFTER_MS, is_busy=False):
            early += 1
            archiving.done(BlobsArchived((), (), "no space"), NOW_MS)
    again = archiving.due(NOW_MS + ARCHIVE_RETRY_MS, ARCHIVE_AFTER_MS, is_busy=False)
    assert len(names(again)) == ARCHIVE_PER_JOB_MAX, "what was refused is still to be archived"
    return early


def test_a_disk_that_refused_is_left_alone_for_a_while() -> None:
    """Then all that waits is tried again."""
    assert asked_while_refused(Archiving) == 0


def test_a_variant_that_asks_again_at_once_is_caught() -> None:
    """The check of the pause can fail."""
    assert asked_while_refused(Restless) > 1


def test_what_was_archived_before_the_disk_refused_is_not_archived_again() -> None:
    """A job may end in the middle."""
    bench = bench_with(2)
    archiving = Archiving(bench.ledger, bench.folder)
    archiving.due(NOW_MS, ARCHIVE_AFTER_MS, is_busy=False)
    archiving.done(BlobsArchived((blob("text 1"),), (), "no space"), NOW_MS)
    later_ms = NOW_MS + ARCHIVE_RETRY_MS
    again = archiving.due(later_ms, ARCHIVE_AFTER_MS, is_busy=False)
    assert names(again) == [blob("text 2")]


# --- in the core --------------------------------------------------------------------------------


def archived(rig: Rig, blobs: list[BlobHash], problem: str | None = None) -> list[object]:
    """Answer a job; where there is a problem nothing was archived."""
    done = () if problem else tuple(blobs)
    result = BlobsArchived(done, (), problem)
    return rig.does(rig.core.on_archived(result, NOW_MS + ARCHIVE_AFTER_MS))


def rig_with(files: int) -> Rig:
    """Return a core that has just seen so many new files."""
    rig = Rig()
    rig.begun()
    paths = [f"f{number}" for number in range(1, files + 1)]
    rig.core.watch(paths)
    rig.does([])
    rig.observed(*(seen(path, f"text of {path}", n) for n, path in enumerate(paths, 1)))
    return rig


def test_the_core_archives_job_after_job_without_waiting_for_a_tick() -> None:
    """Ten thousand contents in jobs of 64 at ten ticks a second would take 16 s."""
    rig = rig_with(MANY)
    assert blobs_of(rig.tick(ARCHIVE_AFTER_MS - 1)) == []
    jobs = 0
    waiting = blobs_of(rig.tick(ARCHIVE_AFTER_MS))
    while waiting:
        jobs += 1
        waiting = blobs_of(archived(rig, waiting))
    assert jobs == 3
    assert len(rig.folder.archived) == MANY


def test_the_core_pauses_where_the_disk_refused_and_goes_on_with_a_tick() -> None:
    """Nothing is dropped meanwhile."""
    rig = rig_with(1)
    waiting = blobs_of(rig.tick(ARCHIVE_AFTER_MS))
    assert waiting == [blob("text of f1")]
    assert blobs_of(archived(rig, waiting, "no space")) == []
    assert blobs_of(rig.tick(ARCHIVE_AFTER_MS + ARCHIVE_RETRY_MS - 1)) == []
    assert blobs_of(rig.tick(ARCHIVE_AFTER_MS + ARCHIVE_RETRY_MS)) == waiting


def test_nothing_is_archived_during_a_scan() -> None:
    """It has the disk for itself; afterwards the quiet time begins anew if it found something."""
    rig = rig_with(1)
    rig.does(rig.core.scan(NOW_MS))
    assert blobs_of(rig.tick(ARCHIVE_BUSY_MS)) == []
    rig.scanned(unchanged=["f1"])
    assert blobs_of(rig.tick(ARCHIVE_BUSY_MS)) == [blob("text of f1")]


def test_a_change_in_the_folder_begins_the_quiet_time_anew() -> None:
    """A program that writes all the time is not copied all the time."""
    rig = rig_with(ARCHIVE_FEW + 1)
    rig.core.taking.changed_ms = NOW_MS + 500
    assert blobs_of(rig.tick(ARCHIVE_AFTER_MS + 499)) == []
    assert len(blobs_of(rig.tick(ARCHIVE_AFTER_MS + 500))) == ARCHIVE_PER_JOB_MAX
