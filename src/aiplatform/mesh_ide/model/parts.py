"""Cutting a sequence into parts of a bounded size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def parts(
    items: Iterable[T], items_max: int, weigh: Callable[[T], int], weight_max: int
) -> Iterator[list[T]]:
    """Yield items in their order in lists that keep both bounds (one heavy item may break one)."""
    part: list[T] = []
    total = 0
    for item in items:
        weight = weigh(item)
        if part and (len(part) >= items_max or total + weight > weight_max):
            yield part
            part, total = [], 0
        part.append(item)
        total += weight
    if part:
        yield part
