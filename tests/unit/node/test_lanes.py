"""One worker thread per kind of work: order, group commits, defects, the end."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Self

from aiplatform.mesh_ide.model.entries import EntryDraft
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode
from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.node.lanes import (
    GROUP_COMMIT_MAX,
    IN_LINE_BYTES_MAX,
    IN_LINE_ENTRIES_MAX,
    Lanes,
)
from aiplatform.mesh_ide.ports.filetree import ScanBatch
from aiplatform.mesh_ide.ports.jobs import (
    ArchiveBlobs,
    BlobsArchived,
    EntriesSealed,
    FolderScanned,
    Job,
    JobResult,
    Lane,
    Persist,
    Persisted,
    ScanFolder,
    SealEntries,
)
from tests.unit.documents.authors import PERSON, file

WAIT_S = 5.0


class Runner(JobRunner):
    """Answers at once, unless a gate is shut; remembers how commits were grouped."""

    def __init__(self) -> None:  # it has no ports
        """Begin with the gate open."""
        self.groups: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.has_begun = threading.Event()
        self.threads: list[str] = []

    def run(self, job: Job) -> Iterator[JobResult]:
        """Answer, or fail where nothing is given to seal."""
        if isinstance(job, SealEntries) and not job.drafts:
            raise ZeroDivisionError
        if isinstance(job, SealEntries):
            self.threads.append(threading.current_thread().name)
            yield EntriesSealed((), ())
            return
        if isinstance(job, ScanFolder):
            for is_last in (False, True):
                yield FolderScanned(ScanBatch((), (), ()), is_last=is_last)
        else:
            yield BlobsArchived((), ())

    def persist_group(self, jobs: Sequence[Persist]) -> list[Persisted]:
        """Commit what is given once the gate is open."""
        self.has_begun.set()
        assert self.gate.wait(WAIT_S)
        self.groups.append([job.ticket for job in jobs])
        return [Persisted(job.ticket) for job in jobs]


class Running:
    """Lanes under test, their results and failures in order; always stopped in the end."""

    def __enter__(self) -> Self:
        """Start."""
        self.runner = Runner()
        self.results: queue.Queue[JobResult] = queue.Queue()
        self.failures: queue.Queue[BaseException] = queue.Queue()
        self.lanes = Lanes(self.runner, self.results.put, self.failures.put)
        self.lanes.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop, and see that no thread is left."""
        self.runner.gate.set()
        self.lanes.stop()
        assert not any(thread.is_alive() for thread in self.lanes._threads)

    def next(self) -> JobResult:
        """Return the next result."""
        return self.results.get(timeout=WAIT_S)

    def gather(self, submit: Callable[[], None]) -> None:
        """Submit while a first commit is being synced, then let everything through."""
        self.runner.gate.clear()
        self.lanes.submit(Persist(0, ()))
        assert self.runner.has_begun.wait(WAIT_S)
        submit()
        self.runner.gate.set()


def persist(running: Running, *tickets: int) -> None:
    """Queue commits."""
    for ticket in tickets:
        running.lanes.submit(Persist(ticket, ()))


def test_results_of_a_lane_come_in_the_order_of_its_jobs() -> None:
    """A job with several results gives them together."""
    with Running() as running:
        running.lanes.submit(ScanFolder({}))
        running.lanes.submit(ScanFolder({}))
        found = [running.next() for _ in range(4)]
    assert [r.is_last for r in found if isinstance(r, FolderScanned)] == [False, True] * 2


def test_commits_that_gathered_share_one_transaction() -> None:
    """While one is synced three more come: one sync for the three."""
    with Running() as running:
        running.gather(lambda: persist(running, 1, 2, 3))
        found = [running.next() for _ in range(4)]
        assert running.runner.groups == [[0], [1, 2, 3]]
    assert [r.ticket for r in found if isinstance(r, Persisted)] == [0, 1, 2, 3]


def test_only_commits_that_follow_directly_are_joined() -> None:
    """Another job between keeps its place; nothing is lost."""
    with Running() as running:

        def submit() -> None:
            persist(running, 1, 2)
            running.lanes.submit(ArchiveBlobs(()))
            persist(running, 3, 4)

        running.gather(submit)
        kinds = [type(running.next()) for _ in range(6)]
        assert running.runner.groups == [[0], [1, 2], [3, 4]]
    assert kinds == [Persisted, Persisted, Persisted, BlobsArchived, Persisted, Persisted]


def test_a_group_is_bounded() -> None:
    """More commits than fit one transaction take two."""
    with Running() as running:
        running.gather(lambda: persist(running, *range(1, GROUP_COMMIT_MAX + 11)))
        for _ in range(GROUP_COMMIT_MAX + 11):
            running.next()
        assert [len(group) for group in running.runner.groups] == [1, GROUP_COMMIT_MAX, 10]


def test_lanes_do_not_wait_for_each_other() -> None:
    """A disk that hangs holds up no look at the folder."""
    with Running() as running:
        running.runner.gate.clear()
        running.lanes.submit(Persist(1, ()))
        running.lanes.submit(ScanFolder({}))
        assert isinstance(running.next(), FolderScanned)


def test_a_defect_ends_its_lane_and_is_reported_once() -> None:
    """What a job raised goes to the owner; later jobs of the lane are not done, others are."""
    with Running() as running:
        running.lanes.submit(SealEntries((), 0))
        running.lanes.submit(SealEntries((), 0))
        assert isinstance(running.failures.get(timeout=WAIT_S), ZeroDivisionError)
        running.lanes.submit(Persist(1, ()))
        assert running.next() == Persisted(1)
    assert running.failures.empty()
    assert running.results.empty()


def drafts(count: int, size: int) -> SealEntries:
    """Return something to seal."""
    draft = EntryDraft(
        file=file(1),
        kind=EntryKind.UPDATE,
        parents=(),
        result=None,
        size=0,
        mode=FileMode.REGULAR,
        is_text=True,
        branch=1,
        is_save=False,
        principal=PERSON,
        inference=BaseInference.KNOWN,
        payload=bytes(size),
    )
    return SealEntries((draft,) * count, 0)


def test_a_keystroke_is_sealed_in_line_and_more_is_not() -> None:
    """Waking a thread would take longer; many entries, or large ones, would hold up the loop."""
    me = threading.current_thread().name
    with Running() as running:
        for job in (
            drafts(1, 100),
            drafts(IN_LINE_ENTRIES_MAX + 1, 1),
            drafts(1, IN_LINE_BYTES_MAX + 1),
        ):
            running.lanes.submit(job)
            assert isinstance(running.next(), EntriesSealed)
    assert running.runner.threads == [me, "mesh-sealing", "mesh-sealing"]


def test_nothing_overtakes_what_its_lane_has_begun() -> None:
    """A small job waits behind others of its lane, also behind one that is under way."""
    is_in, may_go = threading.Event(), threading.Event()

    def wait() -> None:
        is_in.set()
        assert may_go.wait(WAIT_S)

    with Running() as running:
        running.lanes.call(Lane.SEALING, wait)
        assert is_in.wait(WAIT_S)
        running.lanes.submit(drafts(1, 100))
        assert running.results.empty()
        may_go.set()
        assert isinstance(running.next(), EntriesSealed)
    assert running.runner.threads == ["mesh-sealing"]


def test_calls_run_between_the_jobs_of_a_lane() -> None:
    """A read that needs the lane's engine sees what was asked before it, on the lane's thread."""
    names: queue.Queue[str] = queue.Queue()
    with Running() as running:

        def submit() -> None:
            persist(running, 1)
            running.lanes.call(Lane.STORE, lambda: names.put(threading.current_thread().name))
            persist(running, 2)

        running.gather(submit)
        assert names.get(timeout=WAIT_S) == "mesh-store"
        for _ in range(3):
            running.next()
        assert running.runner.groups == [[0], [1], [2]]


def test_stopping_finishes_what_is_queued() -> None:
    """Commits that were asked for are made, also where the end comes right behind them."""
    with Running() as running:
        running.gather(lambda: persist(running, 1, 2))
    assert running.runner.groups[-1][-1] == 2
    assert running.results.qsize() == 3
