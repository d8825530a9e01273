"""Lanes: one worker thread per kind of work, results in order, commits in groups."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final

from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.ports.jobs import LANE_OF, Job, JobResult, Lane, Persist

GROUP_COMMIT_MAX: Final = 256
"""Commits that gathered while one was being synced share the next sync."""

STOP_TIMEOUT_S: Final = 10.0

Work = Job | Callable[[], None]


class Lanes:
    """Runs jobs off the event loop.

    ``deliver`` is called on the lane's thread with each result (it must hand over to the loop);
    ``fail`` with what a job raised: a defect, since jobs turn foreseen failures into results.
    The queues are as long as what the core asked for: its own windows bound them.
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
        """Queue a job on its lane."""
        self._queues[LANE_OF[type(job)]].put(job)

    def call(self, lane: Lane, work: Callable[[], None]) -> None:
        """Queue a call between the jobs of a lane (reads that need its engine)."""
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
                    carried = self._persist(work, waiting)
                    if carried is None:
                        continue
                    if carried is _STOP:
                        return
                elif callable(work):
                    work()
                else:
                    for result in self._runner.run(work):
                        self._deliver(result)
            except BaseException as error:  # noqa: BLE001 - handed to the owner, who ends the node
                self._fail(error)
                return

    def _persist(self, first: Persist, waiting: queue.SimpleQueue[Work | None]) -> Work | None:
        """Commit this and what follows directly in one transaction; returns what came after."""
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
        return after


def _stop() -> None:
    """Stand for the end of a lane within ``_persist``'s answer."""


_STOP: Final[Callable[[], None]] = _stop
