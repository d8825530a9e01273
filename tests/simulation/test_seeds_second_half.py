"""Worlds with every fault end quiet, equal and with nothing lost (the second five hundred)."""

from __future__ import annotations

import pytest

from tests.simulation.shards import SEEDS, SHARD, acknowledged_in


@pytest.mark.timeout(180)
@pytest.mark.parametrize("first", range(SEEDS // 2, SEEDS, SHARD))
def test_worlds_become_equal_and_lose_nothing(first: int) -> None:
    """Whatever fails, nodes agree in the end and every acknowledged edit is there."""
    assert acknowledged_in(first) > 10 * SHARD
