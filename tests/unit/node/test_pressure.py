"""What a peer may send before what it sent is worked off."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.node.pressure import FRAME_COST_BYTES, WAITING_BYTES_MAX, Pressure
from aiplatform.mesh_ide.ports.jobs import (
    Job,
    JobResult,
    PartsReceived,
    Persisted,
    ReceiveParts,
    SlicesVerified,
    VerifySlices,
)

ANNA, BEN = NodeId(b"a" * 32), NodeId(b"b" * 32)
MIB = 1024 * 1024
FRAMES_MAX = WAITING_BYTES_MAX // (MIB + FRAME_COST_BYTES)
"""So many frames of 1 MiB fit."""

LANES: dict[str, tuple[Job, JobResult]] = {
    "entries": (VerifySlices(ANNA, ()), SlicesVerified(ANNA, (), ())),
    "contents": (ReceiveParts(ANNA, ()), PartsReceived(ANNA, (), ())),
}


class Careless(Pressure):
    """Never counts: the planted bug."""

    def came(self, peer: NodeId, frame_bytes: int) -> int | None:
        """Take any frame for nothing."""
        return 0


class Grudging(Pressure):
    """Never releases: the planted bug."""

    def _release(self, peer: NodeId, cost: int) -> None:
        """Forget nothing."""


class Forgetful(Pressure):
    """Releases what still waits on a lane: the planted bug."""

    def handled(self, peer: NodeId, cost: int, commands: Iterable[object]) -> None:
        """Look at no command."""
        super().handled(peer, cost, ())


def filled(pressure: Pressure, frames_max: int = 2 * FRAMES_MAX) -> list[int]:
    """Let Anna send frames of 1 MiB until one is refused; returns what they cost."""
    costs: list[int] = []
    while len(costs) < frames_max and (cost := pressure.came(ANNA, MIB)) is not None:
        costs.append(cost)
    return costs


# --- the checks, and what they catch ------------------------------------------------------------


def is_bounded(pressure: Pressure) -> bool:
    """Return whether a peer that sends without end is refused in time."""
    return len(filled(pressure)) == FRAMES_MAX and pressure.came(ANNA, MIB) is None


def makes_room(pressure: Pressure) -> bool:
    """Return whether what was handled makes room for just as much."""
    for cost in filled(pressure):
        pressure.handled(ANNA, cost, ())
    return len(filled(pressure)) == FRAMES_MAX


def counts_on_lane(pressure: Pressure, lane: str) -> bool:
    """Return whether what waits on a lane counts until each job of it is done."""
    job, result = LANES[lane]
    for cost in filled(pressure):
        pressure.handled(ANNA, cost, [job])
    if pressure.came(ANNA, MIB) is not None:
        return False
    pressure.done(result)
    return pressure.came(ANNA, MIB) is not None and pressure.came(ANNA, MIB) is None


def test_a_peer_that_sends_more_than_is_worked_off_is_refused() -> None:
    """The bound counts each frame's cost beside its bytes."""
    assert is_bounded(Pressure())


def test_a_variant_that_never_counts_is_caught() -> None:
    """The check of the bound can fail."""
    assert not is_bounded(Careless())


def test_what_was_handled_makes_room() -> None:
    """An honest peer is never refused, however much it sends in the end."""
    assert makes_room(Pressure())


def test_a_variant_that_never_releases_is_caught() -> None:
    """The check of the release can fail."""
    assert not makes_room(Grudging())


@pytest.mark.parametrize("lane", LANES)
def test_what_waits_on_a_lane_counts_until_that_is_done(lane: str) -> None:
    """One job that is done makes room for one frame."""
    assert counts_on_lane(Pressure(), lane)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("broken", [Forgetful, Grudging])
def test_variants_that_miscount_what_is_on_a_lane_are_caught(
    broken: type[Pressure], lane: str
) -> None:
    """Released too early, or never."""
    assert not counts_on_lane(broken(), lane)


# --- the rest -----------------------------------------------------------------------------------


def test_many_small_frames_are_bounded_too() -> None:
    """A frame without a byte costs what a decoded event costs."""
    pressure = Pressure()
    most = WAITING_BYTES_MAX // FRAME_COST_BYTES
    assert {pressure.came(ANNA, 0) for _ in range(most)} == {FRAME_COST_BYTES}
    assert pressure.came(ANNA, 0) is None


def test_a_frame_greater_than_the_bound_is_refused_and_not_counted() -> None:
    """A refused frame leaves the room as it was."""
    pressure = Pressure()
    assert pressure.came(ANNA, WAITING_BYTES_MAX) is None
    assert is_bounded(pressure)


def test_each_peer_has_a_bound_of_its_own() -> None:
    """One that floods takes nothing from another, nor does another's answer help it."""
    pressure = Pressure()
    for cost in filled(pressure):
        pressure.handled(ANNA, cost, [VerifySlices(BEN, ())])
    assert len(filled(pressure)) == FRAMES_MAX, "a job about another is not on Anna's account"
    assert pressure.came(BEN, MIB) is not None
    pressure.done(SlicesVerified(BEN, (), ()))
    assert pressure.came(ANNA, MIB) is None


def test_the_lanes_are_counted_apart() -> None:
    """A content that is done says nothing of entries that wait."""
    pressure = Pressure()
    for cost in filled(pressure):
        pressure.handled(ANNA, cost, [VerifySlices(ANNA, ())])
    pressure.done(PartsReceived(ANNA, (), ()))
    pressure.done(Persisted(1))
    assert pressure.came(ANNA, MIB) is None


def test_a_frame_that_is_on_two_lanes_counts_once() -> None:
    """Its cost is with the first; the second one's end releases nothing more."""
    pressure = Pressure()
    jobs = [VerifySlices(ANNA, ()), ReceiveParts(ANNA, ())]
    for cost in filled(pressure):
        pressure.handled(ANNA, cost, jobs)
    pressure.done(PartsReceived(ANNA, (), ()))
    assert pressure.came(ANNA, MIB) is None
    pressure.done(SlicesVerified(ANNA, (), ()))
    assert pressure.came(ANNA, MIB) is not None
