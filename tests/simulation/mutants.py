"""Planted bugs: nodes that break one rule each, and the seeds that catch them.

Run as a program it searches afresh: ``python -m tests.simulation.mutants --seeds 300``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.simulation.faults import Faults
from aiplatform.mesh_ide.simulation.oracle import FailedRunError
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.scenarios import Run
from aiplatform.mesh_ide.simulation.world import Options
from tests.simulation.mutant_nodes import (
    BoastfulHoldings,
    CarelessReplication,
    CredulousLedger,
    DeadlyLedger,
    ForgetfulFactory,
    HastyFactory,
    HurriedFolder,
    LateLedger,
    OneBranchLedger,
    PlanlessFolder,
    PrematureHoldings,
    RecklessFactory,
    SilentHoldings,
    Twisted,
    UnorderedLedger,
    folder_twist,
    holdings_twist,
    ignore_heads,
    ledger_twist,
    never_before,
    replication_twist,
)

_CRASHES: Final = Options(
    nodes=2,
    files=2,
    operations={"insert": 4, "edit": 2, "create": 1, "rename": 1},
    faults=Faults(job_ms=(5.0, 60.0), crash=0.7, lose_commit=0.4, torn_apply=0.4, occasion_ms=250),
)
"""Nodes that hardly live: what is only right if nobody dies shows here."""

_LINKS: Final = Options(
    nodes=3,
    files=1,
    operations={"insert": 3, "edit": 5, "format": 2},
    faults=Faults(job_ms=(1.0, 60.0), break_link=0.9, slow_link=0.2, occasion_ms=120),
)
"""Links that hardly stand, and one file that people and programs write at once."""

_READERS: Final = Options(
    nodes=3,
    files=2,
    operations={"insert": 3, "edit": 3, "create": 3, "rename": 2},
    faults=Faults(job_ms=(20.0, 120.0), restrict=0.5, break_link=0.5, occasion_ms=60),
)
"""Members who lose the right to edit while all edit."""


class Mutant(Struct, frozen=True):
    """A planted bug, and the worlds in which it is looked for (``None``: the seed's own)."""

    factory: Factory
    options: Options | None = None


MUTANTS: Final[dict[str, Mutant]] = {
    "acknowledges before it persists": Mutant(HastyFactory()),
    "loses the last commits in a crash": Mutant(ForgetfulFactory(), _CRASHES),
    "accepts entries without their parents": Mutant(Twisted(ledger_twist(CredulousLedger))),
    "takes a session's entries in any order": Mutant(
        Twisted(ledger_twist(UnorderedLedger)), _LINKS
    ),
    "lets deletes win over concurrent edits": Mutant(Twisted(ledger_twist(DeadlyLedger))),
    "lets the latest arrival win a conflict": Mutant(Twisted(ledger_twist(LateLedger))),
    "reuses its branch beside the base": Mutant(Twisted(ledger_twist(OneBranchLedger)), _LINKS),
    "writes over what it did not expect": Mutant(RecklessFactory()),
    "does not record a plan before a write": Mutant(
        Twisted(folder_twist(PlanlessFolder)), _CRASHES
    ),
    "records the folder before the entry": Mutant(Twisted(folder_twist(HurriedFolder)), _CRASHES),
    "never asks what a writer had read": Mutant(Twisted(never_before), _LINKS),
    "ignores a head in the fingerprint": Mutant(Twisted(ignore_heads)),
    "forgets to announce what it stored": Mutant(Twisted(holdings_twist(SilentHoldings))),
    "announces what it has only heard of": Mutant(Twisted(holdings_twist(BoastfulHoldings))),
    "promises a vector before it is stored": Mutant(
        Twisted(holdings_twist(PrematureHoldings)), _READERS
    ),
    "never asks for what is missing": Mutant(Twisted(replication_twist(CarelessReplication))),
}
"""Caught by seeds. More are caught by scenarios: see ``test_scenarios`` and its neighbours,
``test_contradictions``, ``test_hostile`` and ``test_simulated_links``."""


def catching(name: str, seeds: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Yield the seeds that catch a mutant, with what they say."""
    mutant = MUTANTS[name]
    for seed in seeds:
        try:
            Run(seed, mutant.options, mutant.factory).run()
        except FailedRunError as error:
            yield seed, str(error)


def failing_anyway(name: str, seeds: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Yield the seeds that fail in the same worlds without the bug."""
    for seed in seeds:
        try:
            Run(seed, MUTANTS[name].options).run()
        except FailedRunError as error:
            yield seed, str(error)


def main() -> int:
    """Search afresh for seeds that catch each mutant; 1 if one got away."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=300, help="how many to try for each")
    parser.add_argument("--keep", type=int, default=5, help="stop after so many that catch")
    parser.add_argument("--only", default="", help="part of a mutant's name")
    arguments = parser.parse_args()
    missed = 0
    for name in MUTANTS:
        if arguments.only not in name:
            continue
        caught: list[int] = []
        for seed, problem in catching(name, range(arguments.seeds)):
            if not caught:
                sys.stdout.write(f"    # {problem[:90]}\n")
            caught.append(seed)
            if len(caught) == arguments.keep:
                break
        missed += not caught
        sys.stdout.write(f'    "{name}": {tuple(caught)},\n')
        sys.stdout.flush()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
