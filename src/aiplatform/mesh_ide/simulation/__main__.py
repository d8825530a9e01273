"""Run many seeds, or one with its trace: ``python -m aiplatform.mesh_ide.simulation --help``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial

from aiplatform.mesh_ide.simulation.oracle import FailedRunError
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.scenarios import Run, run_seed

_CHUNK = 4


def judged(seed: int, factory: Factory | None = None) -> tuple[int, str | None]:
    """Return a seed and what broke in its world, if anything did."""
    try:
        run_seed(seed, factory)
    except FailedRunError as error:
        return seed, str(error)
    return seed, None


def judgements(
    seeds: Iterable[int], jobs: int, factory: Factory | None = None
) -> Iterator[tuple[int, str | None]]:
    """Yield what became of seeds in order, computed by this many processes."""
    judge: Callable[[int], tuple[int, str | None]] = partial(judged, factory=factory)
    if jobs <= 1:
        yield from map(judge, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(judge, seeds, chunksize=_CHUNK)


def _show(seed: int) -> int:
    run = Run(seed, tracing=True)
    try:
        verdict, status = f"passed: {run.run()}", 0
    except FailedRunError as error:
        verdict, status = str(error), 1
    for line in (*(run.world.tracing or ()), verdict):
        sys.stdout.write(f"{line}\n")
    return status


def main() -> int:
    """Run what was asked for; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m aiplatform.mesh_ide.simulation")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds to run")
    parser.add_argument("--first", type=int, default=0, help="the first of them")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seed", type=int, help="run this one only")
    parser.add_argument("--trace", action="store_true", help="with --seed: print what happened")
    arguments = parser.parse_args()
    if arguments.seed is not None and arguments.trace:
        return _show(arguments.seed)
    first, count = arguments.first, arguments.seeds
    if arguments.seed is not None:
        first, count = arguments.seed, 1
    began = time.monotonic()
    failed = 0
    for _, problem in judgements(range(first, first + count), arguments.jobs):
        if problem is not None:
            failed += 1
            sys.stdout.write(f"{problem}\n")
    took_s = time.monotonic() - began
    sys.stdout.write(f"{count - failed} of {count} seeds passed in {took_s:.1f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
