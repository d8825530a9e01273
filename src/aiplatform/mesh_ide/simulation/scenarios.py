"""A whole run from one seed: set up, let users and faults loose, heal, check."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from aiplatform.mesh_ide.node.events import LookAgain, ReleaseHold
from aiplatform.mesh_ide.simulation import checks, roles
from aiplatform.mesh_ide.simulation.clock import US_PER_MS
from aiplatform.mesh_ide.simulation.faults import drawn
from aiplatform.mesh_ide.simulation.node import SimulatedNode
from aiplatform.mesh_ide.simulation.oracle import FailedRunError
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.users import OPERATIONS
from aiplatform.mesh_ide.simulation.world import Options, World

QUIET_AFTER_MS: Final = 90_000
"""In this time after the last fault a world must have become quiet: dials that failed pause up to
45 s, and 60 s bring a reconciliation of links that stand."""

QUIET_AFTER_LOOK_MS: Final = 40_000
"""The same where everybody was told to look again (which redials at once): sooner than a second
reconciliation could mend what the protocol left out."""

STEP_MS: Final = 250
REPORTED_MAX: Final = 8


class Outcome(Struct, frozen=True):
    """How a run went."""

    seed: int
    trace_hash: str
    virtual_ms: int
    actions: int
    acknowledged: int


def options_of(seed: int) -> Options:
    """Return the options that a seed stands for."""
    random = Random(f"options {seed}")
    operations = {name: weight for name, (_, weight) in OPERATIONS.items()}
    for name in operations:
        operations[name] *= random.choice((0, 1, 1, 2))
    operations["insert"] += 1
    restrict = Random(f"roles of {seed}").choice((0.0, 0.0, 0.0, 0.1, 0.3))
    return Options(
        nodes=random.choice((2, 2, 3, 3, 4, 5)),
        files=random.randint(2, 7),
        operations=operations,
        faults=replace(drawn(random), restrict=restrict),
    )


class Run:
    """One run of a world."""

    def __init__(
        self,
        seed: int,
        options: Options | None = None,
        factory: Factory | None = None,
        *,
        tracing: bool = False,
    ) -> None:
        self.options = options or options_of(seed)
        self.world = World(seed, self.options, factory)
        if tracing:
            self.world.tracing = []
        self._random = Random(f"run {seed}")
        self._roles_random = Random(f"roles {seed}")
        self._limit_ms = QUIET_AFTER_MS

    def run(self) -> Outcome:
        """Do it all.

        Raises:
            FailedRunError: a promise was broken; the message names the seed.
        """
        world = self.world
        try:
            self.begin()
            self.live()
            self.heal()
            self.settle()
            self.check()
        except FailedRunError as error:
            raise FailedRunError(f"seed {world.seed}: {error}") from None
        except Exception as error:
            raise FailedRunError(f"seed {world.seed}: {type(error).__name__}: {error}") from error
        return Outcome(
            world.seed,
            world.trace_hash,
            world.agenda.now_us // US_PER_MS,
            world.agenda.done,
            len(world.oracle.acknowledged),
        )

    # --- phases ------------------------------------------------------------------------------

    def begin(self) -> None:
        """Fill the founder's folder (and perhaps a newcomer's) and start everybody."""
        world, users = self.world, self.world.users
        for _ in range(self.options.files):
            users.create(world.nodes[0])
        if self._random.random() < 0.3:  # noqa: PLR2004 - now and then
            users.create(world.nodes[-1])
        for node in world.nodes:
            node.start()
            world.run_for(self._random.randrange(300))
        world.run_for(self._random.choice((50, 1500, 3000)))

    def live(self) -> None:
        """Let users work and faults happen."""
        world = self.world
        names = [name for name, weight in self.options.operations.items() if weight]
        weights = [self.options.operations[name] for name in names]
        next_occasion = world.faults.occasion_ms
        lived = 0.0
        for name in self._random.choices(names, weights, k=self._random.randint(15, 45)):
            node = self._random.choice(world.nodes)
            OPERATIONS[name][0](world.users, node)
            pause = self._random.choice((0, 1, 5, 30, 100, 300, 600))
            world.run_for(pause)
            lived += pause
            while lived > next_occasion:
                next_occasion += world.faults.occasion_ms
                self._occasion()
                self.check_claims()

    def _occasion(self) -> None:
        """Give every kind of fault its chance."""
        world, random, faults = self.world, self._random, self.world.faults
        links = world.network.links()
        if links and random.random() < faults.break_link:
            world.network.break_link(*random.choice(links))
        if random.random() < faults.partition:
            sides = {node.id: random.randrange(2) for node in world.nodes}
            world.network.part(sides)
            world.agenda.after(
                random.randint(100, 6000) * US_PER_MS, lambda: world.network.part({})
            )
        if random.random() < faults.crash:
            self._crash(random.choice(world.nodes))
        if self._roles_random.random() < faults.restrict:
            roles.restrict(world, self._roles_random)
        if random.random() < faults.disk_full:
            disk = random.choice(world.nodes).disk
            disk.fill()
            world.agenda.after(random.randint(100, 4000) * US_PER_MS, disk.make_room)

    def _crash(self, node: SimulatedNode) -> None:
        node.crash()
        pause_us = self._random.randint(1, 4000) * US_PER_MS
        self.world.agenda.after(pause_us, lambda: None if node.is_running else node.start())

    def heal(self) -> None:
        """End all faults."""
        world = self.world
        world.run_for(self._random.choice((0, 500, 2500)))
        world.network.part({})
        calm = replace(
            world.faults, duplicate_frame=0.0, lose_watch=0.0, lose_commit=0.0, torn_apply=0.0
        )
        world.faults = world.network.faults = calm
        for node in world.nodes:
            node.disk.make_room()
            if not node.is_running:
                node.start()
        if self._random.random() < 0.5:  # noqa: PLR2004 - both ways
            self._limit_ms = QUIET_AFTER_LOOK_MS
            for node in world.nodes:
                node.request(LookAgain(world.oracle.next_tag()))

    def settle(self) -> None:
        """Let the world become quiet and equal."""
        world = self.world
        end_us = world.agenda.now_us + self._limit_ms * US_PER_MS
        while world.agenda.now_us < end_us:
            world.run_for(STEP_MS)
            for node in world.running():
                for hold in list(node.core.workspace.deletions.holds):
                    node.request(ReleaseHold(world.oracle.next_tag(), hold))
            for node in world.nodes:
                if not node.is_running:
                    node.start()
            roles.restore(world)
            if checks.is_quiet(world) and next(checks.differences(world), None) is None:
                return
        problems = [*islice(checks.unrest(world), REPORTED_MAX)]
        problems += islice(checks.differences(world), REPORTED_MAX)
        raise FailedRunError("never became quiet and equal: " + "; ".join(problems))

    # --- checks ------------------------------------------------------------------------------

    def check_claims(self) -> None:
        """Check what one node says of its files right now."""
        running = self.world.running()
        if running:
            node = self._random.choice(running)
            for problem in checks.false_claims(self.world, node):
                raise FailedRunError(problem)

    def check(self) -> None:
        """Check everything that must hold in the end."""
        world = self.world
        problems = [*islice(checks.losses(world), REPORTED_MAX)]
        problems += islice(checks.repetitions(world), REPORTED_MAX)
        for node in checks.members_of(world):
            node.core.check_invariants()
            problems += islice(checks.false_claims(world, node), REPORTED_MAX)
        if world.oracle.open_requests:
            problems.append(
                f"requests without an answer: {list(world.oracle.open_requests.values())}"
            )
        if problems:
            raise FailedRunError("; ".join(problems))


def run_seed(seed: int, factory: Factory | None = None) -> Outcome:
    """Run the world of one seed.

    Raises:
        FailedRunError: a promise was broken.
    """
    return Run(seed, factory=factory).run()
