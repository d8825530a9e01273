"""What a peer may send before what it sent is worked off."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from random import Random

import pytest

from aiplatform.mesh_ide.model.entries import BatchHeader, BatchSlice
from aiplatform.mesh_ide.model.ids import NodeId, SessionId
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


def nothing(peer: NodeId) -> int:
    """Say that nothing of a peer waits behind its check."""
    del peer
    return 0


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


class Shortsighted(Pressure):
    """Counts the jobs of frames alone, not those that the intake asks for itself."""

    def asked(self, commands: Iterable[object]) -> None:
        """Look at no command."""


class Cursory(Pressure):
    """Keeps in step with the lane, but takes a second look for free: the planted bug."""

    def _enter_anew(self, job: VerifySlices | ReceiveParts) -> None:
        """Enter the job at no cost."""
        self._enter(job, 0)


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


class Victim:
    """A node that holds what its pressure lets in; the test says what its lane does next."""

    def __init__(self, kind: type[Pressure]) -> None:
        """Hold nothing, neither in the inbox nor on the lane."""
        self.pressure = kind(nothing)
        self.inbox: deque[tuple[int, int]] = deque()
        self.lane: deque[int] = deque()

    def hears(self, frame_bytes: int) -> None:
        """Take a frame of Anna's, if there is room."""
        cost = self.pressure.came(ANNA, frame_bytes)
        if cost is not None:
            self.inbox.append((frame_bytes, cost))

    def handles(self) -> None:
        """Put the next frame on the lane."""
        if self.inbox:
            size, cost = self.inbox.popleft()
            self.pressure.handled(ANNA, cost, [VerifySlices(ANNA, (slice_of(size),))])
            self.lane.append(size)

    def checks(self, suspects: int) -> None:
        """Finish a job of the lane; so many parts of what it checked are to be checked again."""
        if not self.lane:
            return
        size = self.lane.popleft() // max(1, suspects)
        self.pressure.done(SlicesVerified(ANNA, (), ()))
        self.pressure.asked([VerifySlices(ANNA, (slice_of(size),))] * suspects)
        self.lane.extend([size] * suspects)

    def held_bytes(self) -> int:
        """Return what of Anna's words really is in memory."""
        return sum(size for size, _ in self.inbox) + sum(self.lane)


def excess(kind: type[Pressure], steps: int = 4000) -> int:
    """Return how far above the bound a peer gets that contradicts itself all the time."""
    random, victim, most = Random(7), Victim(kind), 0
    for _ in range(steps):
        act = random.random()
        if act < 0.5:
            victim.hears(random.choice((0, 1, MIB, 8 * MIB)))
        elif act < 0.8:
            victim.handles()
        else:
            victim.checks(random.choice((0, 0, 1, 8, 64)))
        most = max(most, victim.held_bytes())
    while victim.inbox or victim.lane:
        victim.handles()
        victim.checks(0)
    assert victim.pressure.came(BEN, 0) is not None
    return most - WAITING_BYTES_MAX


def slice_of(size: int) -> BatchSlice:
    """Return entries of this size; whose they are does not matter here."""
    header = BatchHeader(SessionId(bytes(32)), 1, 1, bytes(32), bytes(64))
    return BatchSlice(header, (0,), (bytes(size),))


def test_what_is_checked_again_is_inside_the_bound() -> None:
    """A peer that contradicts itself has no more in memory than one that does not."""
    assert excess(Pressure) <= 0


@pytest.mark.parametrize("broken", [Shortsighted, Cursory])
def test_variants_that_miscount_second_looks_are_caught(broken: type[Pressure]) -> None:
    """One lets the end of a second look free a frame that waits; one does not count its bytes."""
    assert excess(broken) > 8 * MIB


def test_after_all_second_looks_there_is_as_much_room_as_before() -> None:
    """What was charged anew is released: nothing is left on anybody's account."""
    victim = Victim(Pressure)
    for _ in range(50):
        victim.hears(MIB)
        victim.handles()
        victim.checks(8)
    while victim.lane:
        victim.checks(0)
    assert is_bounded(victim.pressure)


def test_what_waits_behind_its_check_takes_room_too() -> None:
    """The intake says how much of a peer's words waits for the disk; there is so much less room."""
    waiting = {ANNA: 10 * MIB}
    pressure = Pressure(lambda peer: waiting.get(peer, 0))
    assert FRAMES_MAX - 11 <= len(filled(pressure)) <= FRAMES_MAX - 10
    waiting.clear()
    assert pressure.came(ANNA, 9 * MIB) is not None


def test_a_peer_that_sends_more_than_is_worked_off_is_refused() -> None:
    """The bound counts each frame's cost beside its bytes."""
    assert is_bounded(Pressure(nothing))


def test_a_variant_that_never_counts_is_caught() -> None:
    """The check of the bound can fail."""
    assert not is_bounded(Careless(nothing))


def test_what_was_handled_makes_room() -> None:
    """An honest peer is never refused, however much it sends in the end."""
    assert makes_room(Pressure(nothing))


def test_a_variant_that_never_releases_is_caught() -> None:
    """The check of the release can fail."""
    assert not makes_room(Grudging(nothing))


@pytest.mark.parametrize("lane", LANES)
def test_what_waits_on_a_lane_counts_until_that_is_done(lane: str) -> None:
    """One job that is done makes room for one frame."""
    assert counts_on_lane(Pressure(nothing), lane)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("broken", [Forgetful, Grudging])
def test_variants_that_miscount_what_is_on_a_lane_are_caught(
    broken: type[Pressure], lane: str
) -> None:
    """Released too early, or never."""
    assert not counts_on_lane(broken(nothing), lane)


# --- the rest -----------------------------------------------------------------------------------


def test_many_small_frames_are_bounded_too() -> None:
    """A frame without a byte costs what a decoded event costs."""
    pressure = Pressure(nothing)
    most = WAITING_BYTES_MAX // FRAME_COST_BYTES
    assert {pressure.came(ANNA, 0) for _ in range(most)} == {FRAME_COST_BYTES}
    assert pressure.came(ANNA, 0) is None


def test_a_frame_greater_than_the_bound_is_refused_and_not_counted() -> None:
    """A refused frame leaves the room as it was."""
    pressure = Pressure(nothing)
    assert pressure.came(ANNA, WAITING_BYTES_MAX) is None
    assert is_bounded(pressure)


def test_each_peer_has_a_bound_of_its_own() -> None:
    """One that floods takes nothing from another, nor does another's answer help it."""
    pressure = Pressure(nothing)
    for cost in filled(pressure):
        pressure.handled(ANNA, cost, [VerifySlices(BEN, ())])
    assert len(filled(pressure)) == FRAMES_MAX, "a job about another is not on Anna's account"
    assert pressure.came(BEN, MIB) is not None
    pressure.done(SlicesVerified(BEN, (), ()))
    assert pressure.came(ANNA, MIB) is None


def test_the_lanes_are_counted_apart() -> None:
    """A content that is done says nothing of entries that wait."""
    pressure = Pressure(nothing)
    for cost in filled(pressure):
        pressure.handled(ANNA, cost, [VerifySlices(ANNA, ())])
    pressure.done(PartsReceived(ANNA, (), ()))
    pressure.done(Persisted(1))
    assert pressure.came(ANNA, MIB) is None


def test_a_frame_that_is_on_two_lanes_counts_once() -> None:
    """Its cost is with the first; the second one's end releases nothing more."""
    pressure = Pressure(nothing)
    jobs = [VerifySlices(ANNA, ()), ReceiveParts(ANNA, ())]
    for cost in filled(pressure):
        pressure.handled(ANNA, cost, jobs)
    pressure.done(PartsReceived(ANNA, (), ()))
    assert pressure.came(ANNA, MIB) is None
    pressure.done(SlicesVerified(ANNA, (), ()))
    assert pressure.came(ANNA, MIB) is not None
