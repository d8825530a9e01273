"""Parts of a bounded size."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.model.parts import parts


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([], []),
        ([1, 1, 1, 1], [[1, 1, 1], [1]]),
        ([5, 5, 1], [[5, 5], [1]]),
        ([99, 1], [[99], [1]]),
        ([0, 0, 0], [[0, 0, 0]]),
    ],
)
def test_parts_keep_both_bounds(items: list[int], expected: list[list[int]]) -> None:
    """At most three items, at most ten together; a single one may be heavier."""
    assert [*parts(iter(items), 3, int, 10)] == expected
