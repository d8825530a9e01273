"""Every planted bug is caught, in worlds that the unbroken node survives."""

from __future__ import annotations

from itertools import chain

import pytest

from tests.simulation.mutants import MUTANTS, catching, failing_anyway
from tests.simulation.recorded import CATCHING, MORE


def test_at_least_ten_bugs_are_planted() -> None:
    """Each mutant has seeds on record, and none has been forgotten."""
    assert len(CATCHING) >= 10
    assert set(CATCHING) == set(MUTANTS)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", sorted(CATCHING))
def test_a_planted_bug_is_caught_and_nothing_else(name: str) -> None:
    """A seed breaks a promise that the check notices, and does so because of the bug alone."""
    seeds = chain(CATCHING[name], range(MORE))
    caught = next(catching(name, seeds), None)

    assert caught is not None
    assert [*failing_anyway(name, [caught[0]])] == []
