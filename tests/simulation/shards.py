"""A thousand seeds in two test files: a file is what one test process takes at a time."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.simulation.scenarios import run_seed

SEEDS: Final = 1000
SHARD: Final = 50


def acknowledged_in(first: int) -> int:
    """Run one shard; return how many words of users were acknowledged in its worlds.

    Raises:
        FailedRunError: a promise was broken; the message names the seed.
    """
    return sum(run_seed(seed).acknowledged for seed in range(first, first + SHARD))
