"""A read on a lane returns, fails or times out in the project's own words."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import pytest

from aiplatform.mesh_ide.model.errors import TimedOutError, UnavailableError
from aiplatform.mesh_ide.node.reading import read_on
from aiplatform.mesh_ide.ports.errors import CorruptRecordError
from aiplatform.mesh_ide.ports.jobs import Lane
from tests.unit.node.test_lanes import WAIT_S, Running

T = TypeVar("T")


def unforeseen(error: CorruptRecordError) -> None:
    """Fail: nothing is rotten here."""
    raise AssertionError(error)


def read(work: Callable[[], T], timeout_s: float = WAIT_S) -> T:
    """Read on lanes of its own; nothing rotten is foreseen."""

    async def story(running: Running) -> T:
        return await read_on(running.lanes, Lane.STORE, work, timeout_s, unforeseen)

    with Running() as running:
        return asyncio.run(story(running))


def test_a_read_runs_on_the_lane_and_returns_what_it_read() -> None:
    """Not on the event loop, which it would hold up."""
    assert read(lambda: threading.current_thread().name) == f"mesh-{Lane.STORE.value}"


def test_what_a_read_raises_is_raised_to_who_waits() -> None:
    """The lane goes on: such an error is foreseen."""

    def fail() -> None:
        raise UnavailableError("the disk is full")

    with pytest.raises(UnavailableError, match="the disk is full"):
        read(fail)


def test_a_rotten_record_is_reported_besides() -> None:
    """Who asked hears of it, and so does who mends."""
    rotten = CorruptRecordError("a record is rotten", what="entry", key=b"k")
    reported: list[CorruptRecordError] = []

    def fail() -> None:
        raise rotten

    async def story(running: Running) -> None:
        with pytest.raises(CorruptRecordError):
            await read_on(running.lanes, Lane.STORE, fail, WAIT_S, reported.append)

    with Running() as running:
        asyncio.run(story(running))
    assert reported == [rotten]


def test_a_read_that_the_lane_does_not_get_to_says_what_was_waited_for_and_how_long() -> None:
    """Callers catch the project's errors; a bare timeout would end them."""
    gate = threading.Event()

    async def story(running: Running) -> None:
        running.lanes.call(Lane.STORE, lambda: assert_opened(gate))
        with pytest.raises(TimedOutError, match=r"waited 0\.01 s for the store lane"):
            await read_on(running.lanes, Lane.STORE, int, 0.01, unforeseen)
        gate.set()
        # Behind the late read, whose value nobody wants any more: the lane goes on.
        assert await read_on(running.lanes, Lane.STORE, int, WAIT_S, unforeseen) == 0

    with Running() as running:
        asyncio.run(story(running))
        assert running.failures.empty()


def assert_opened(gate: threading.Event) -> None:
    """Hold a lane up until a gate opens."""
    assert gate.wait(WAIT_S)
