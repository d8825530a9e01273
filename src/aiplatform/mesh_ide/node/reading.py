"""Reading: a call between the jobs of a lane, awaited on the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from aiplatform.mesh_ide.model.errors import MeshIDEError, TimedOutError
from aiplatform.mesh_ide.node.lanes import Lanes
from aiplatform.mesh_ide.ports.errors import CorruptRecordError
from aiplatform.mesh_ide.ports.jobs import Lane

T = TypeVar("T")


async def read_on(
    lanes: Lanes,
    lane: Lane,
    work: Callable[[], T],
    timeout_s: float,
    report_damage: Callable[[CorruptRecordError], None],
) -> T:
    """Run a read between the jobs of a lane and return what it returned (or raise it).

    Args:
        lanes: where it runs.
        lane: behind whose jobs it waits.
        work: the read; called once, on the lane's thread, also when nobody waits any more.
        timeout_s: how long to wait for it.
        report_damage: hears of a rotten record, on the lane's thread.

    Raises:
        TimedOutError: it was not done in time.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            value = work()
        except MeshIDEError as error:
            if isinstance(error, CorruptRecordError):
                report_damage(error)
            loop.call_soon_threadsafe(_settle, future, None, error)
        else:
            loop.call_soon_threadsafe(_settle, future, value, None)

    lanes.call(lane, run)
    try:
        async with asyncio.timeout(timeout_s):
            return await future
    except TimeoutError:
        message = (
            f"a read waited {timeout_s:g} s for the {lane.value} lane of this node, which did not "
            "get to it: it is very busy, or its disk hangs. Try again, and see `mesh doctor`"
        )
        raise TimedOutError(message) from None


def _settle(future: asyncio.Future[T], value: T | None, error: MeshIDEError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(value)  # type: ignore[arg-type]
    else:
        future.set_exception(error)
