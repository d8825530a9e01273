"""How much goes wrong, and how fast things are: every probability of a run in one object."""

from __future__ import annotations

from random import Random

from msgspec import Struct
from msgspec.structs import replace


class Faults(Struct, frozen=True):
    """The options of one world. Probabilities are per occasion, times in milliseconds.

    Attributes:
        link_delay_ms: one way, least and most; each pair of nodes draws its own from this.
        slow_link: a pair's chance to be twenty times slower.
        job_ms: how long a job takes, least and most.
        duplicate_frame: a frame is delivered a second time.
        break_link: a link breaks, at each fault occasion, and loses what is in flight.
        partition: the nodes are parted into two sets for a while.
        crash: a node dies, at each fault occasion.
        lose_commit: a crash comes in the midst of a commit, which is then lost or torn.
        torn_apply: a crash comes in the midst of a write to the folder.
        disk_full: a disk takes no commits for a while.
        lose_watch: the watcher loses track of what changed (and says so later).
        restrict: a member may not edit any more until the faults end, at each fault occasion.
        watch_ms: how late the watcher tells, least and most.
        occasion_ms: how far apart the occasions for faults are.
        encodes: messages travel as the bytes of ``mesh.codec``, not as objects.
    """

    link_delay_ms: tuple[float, float] = (1.0, 30.0)
    slow_link: float = 0.0
    job_ms: tuple[float, float] = (0.1, 8.0)
    duplicate_frame: float = 0.0
    break_link: float = 0.0
    partition: float = 0.0
    crash: float = 0.0
    lose_commit: float = 0.0
    torn_apply: float = 0.0
    disk_full: float = 0.0
    lose_watch: float = 0.0
    restrict: float = 0.0
    watch_ms: tuple[float, float] = (1.0, 40.0)
    occasion_ms: float = 400.0
    encodes: bool = True


CALM = Faults()
"""Nothing fails; times still vary."""

ROUGH = Faults(
    slow_link=0.1,
    duplicate_frame=0.02,
    break_link=0.2,
    partition=0.12,
    crash=0.12,
    lose_commit=0.4,
    torn_apply=0.4,
    disk_full=0.06,
    lose_watch=0.05,
)


def drawn(random: Random) -> Faults:
    """Return faults for one seed: each kind is there or not, more or less.

    Swarm testing: runs that leave some faults out find more than runs that always have all
    (Groce et al., "Swarm Testing", ISSTA 2012).
    """
    rough = {
        name: getattr(ROUGH, name) * random.choice((0.0, 0.5, 1.0, 2.0))
        for name in (
            "slow_link",
            "duplicate_frame",
            "break_link",
            "partition",
            "crash",
            "lose_commit",
            "torn_apply",
            "disk_full",
            "lose_watch",
        )
    }
    jobs = random.choice(((0.1, 3.0), (0.1, 8.0), (1.0, 60.0)))
    return replace(CALM, job_ms=jobs, **rough)
