"""Lanes: one worker thread per kind of work, results in order, commits in groups.

A keystroke's signature takes less time than waking a thread for it and being woken by it: what is
that small is done in line, where nothing of its lane is waiting or under way.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final

from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.ports.jobs import (
    LANE_OF,
    Job,
    JobResult,
    Lane,
    Persist,
    SealEntries,
    VerifySlices,
)

GROUP_COMMIT_MAX: Final = 256
"""Commits that gathered while one was being synced share the next sync."""

STOP_TIMEOUT_S: Final = 10.0

IN_LINE_ENTRIES_MAX: Final = 4
IN_LINE_BYTES_MAX: Final = 4096
"""Signing or checking so much takes 60 to 200 us (one signature, or as many as there are entries'
batches); a thread and back takes 200 to 600 when the node was idle before."""

Work = Job | Callable[[], None]


class Lanes:
    """Runs jobs off the event loop.

    ``deliver`` is called on the lane's thread with each result (it must hand over to the loop);
    ``fail`` with what a job raised: a defect, since jobs turn foreseen failures into results.
    The queues are as long as what the core asked for: its own windows bound them.

    Invariants:
        1. the results of a lane are delivered in the order of its jobs.
        2. one job of a lane is done at a time, whoever does it.
    """

    def __init__(
        self,
        runner: JobRunner,
        deliver: Callable[[JobResult], None],
        fail: Callable[[BaseException], None],
    ) -> None:
        self._runner = runner
        self._deliver = deliver
        self._fail = fail
        self._queues: dict[Lane, queue.SimpleQueue[Work | None]] = {}
        self._threads: list[threading.Thread] = []
        # One writer each, the event loop and the lane: equal only when the lane has nothing.
        self._asked = dict.fromkeys(Lane, 0)
        self._done = dict.fromkeys(Lane, 0)
        for lane in Lane:
            self._queues[lane] = queue.SimpleQueue()
            thread = threading.Thread(
                target=self._work, args=(lane,), name=f"mesh-{lane.value}", daemon=True
            )
            self._threads.append(thread)

    def start(self) -> None:
        """Start the workers."""
        for thread in self._threads:
            thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job on its lane, or do it here and now (see above). On the event loop only."""
        lane = LANE_OF[type(job)]
        if _is_small(job) and self._asked[lane] == self._done[lane]:
            self._do_in_line(job, lane)
            return
        self._asked[lane] += 1
        self._queues[lane].put(job)

    def _do_in_line(self, job: Job, lane: Lane) -> None:
        try:
            for result in self._runner.run(job):
                self._deliver(result)
        except BaseException as error:  # noqa: BLE001 - as in ``_work``
            self._asked[lane] += 1  # never idle again: what comes now waits behind the end
            self._queues[lane].put(None)
            self._fail(error)

    def call(self, lane: Lane, work: Callable[[], None]) -> None:
        """Queue a call between the jobs of a lane (reads that need its engine)."""
        self._asked[lane] += 1
        self._queues[lane].put(work)

    def stop(self) -> None:
        """Finish what is queued, then end the workers (at most ``STOP_TIMEOUT_S`` each)."""
        for lane in Lane:
            self._queues[lane].put(None)
        for thread in self._threads:
            thread.join(STOP_TIMEOUT_S)

    def _work(self, lane: Lane) -> None:
        waiting = self._queues[lane]
        carried: Work | None = None
        while True:
            work = carried if carried is not None else waiting.get()
            carried = None
            if work is None:
                return
            try:
                if isinstance(work, Persist):
                    carried, count = self._persist(work, waiting)
                    self._done[lane] += count
                    if carried is _STOP:
                        return
                    continue
                if callable(work):
                    work()
                else:
                    for result in self._runner.run(work):
                        self._deliver(result)
                self._done[lane] += 1
            except BaseException as error:  # noqa: BLE001 - handed to the owner, who ends the node
                self._fail(error)
                return

    def _persist(
        self, first: Persist, waiting: queue.SimpleQueue[Work | None]
    ) -> tuple[Work | None, int]:
        """Commit this and what follows directly in one transaction.

        Returns:
            What came after, and how many were committed.
        """
        group = [first]
        after: Work | None = None
        while len(group) < GROUP_COMMIT_MAX:
            try:
                more = waiting.get_nowait()
            except queue.Empty:
                break
            if not isinstance(more, Persist):
                after = _STOP if more is None else more
                break
            group.append(more)
        for result in self._runner.persist_group(group):
            self._deliver(result)
        return after, len(group)


def _is_small(job: Job) -> bool:
    """Return whether a job takes less time than a thread would to begin with it."""
    if isinstance(job, SealEntries):
        pieces = [draft.payload for draft in job.drafts]
    elif isinstance(job, VerifySlices):
        pieces = [entry for piece in job.slices for entry in piece.entries]
    else:
        return False
    return len(pieces) <= IN_LINE_ENTRIES_MAX and sum(map(len, pieces)) <= IN_LINE_BYTES_MAX


def _stop() -> None:
    """Stand for the end of a lane within ``_persist``'s answer."""


_STOP: Final[Callable[[], None]] = _stop
