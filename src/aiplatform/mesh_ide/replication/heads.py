"""The set that two nodes compare: one fingerprint per file, summed over ranges of file ids."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

from aiplatform.mesh_ide.model.ids import FINGERPRINT_BYTES, FileId, Fingerprint
from aiplatform.mesh_ide.model.messages import RangeItems, RangeSummary

_MODULUS: Final = 1 << (8 * FINGERPRINT_BYTES)


class HeadIndex:
    """File ids in order with their fingerprints.

    A range's fingerprint is the sum of its items' modulo 2^128: order does not matter and an
    update costs O(1); a summary costs O(items in the range).
    """

    def __init__(self) -> None:
        self._values: dict[FileId, int] = {}
        self._order: list[FileId] = []
        self._is_sorted = True

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self._values)

    def put(self, file: FileId, fingerprint: Fingerprint) -> None:
        """Set a file's fingerprint."""
        if file not in self._values:
            self._order.append(file)
            self._is_sorted = False
        self._values[file] = int.from_bytes(fingerprint, "big")

    def get(self, file: FileId) -> Fingerprint | None:
        """Return a file's fingerprint."""
        value = self._values.get(file)
        return None if value is None else Fingerprint(value.to_bytes(FINGERPRINT_BYTES, "big"))

    def _span(self, low: bytes, high: bytes) -> list[FileId]:
        if not self._is_sorted:
            self._order.sort()
            self._is_sorted = True
        first = bisect_left(self._order, low)
        last = bisect_left(self._order, high) if high else len(self._order)
        return self._order[first:last]

    def summary(self, low: bytes, high: bytes) -> RangeSummary:
        """Return count and fingerprint of a range."""
        span = self._span(low, high)
        return self._summarise(low, high, span)

    def _summarise(self, low: bytes, high: bytes, span: list[FileId]) -> RangeSummary:
        total = sum(map(self._values.__getitem__, span)) % _MODULUS
        fingerprint = total.to_bytes(FINGERPRINT_BYTES, "big")
        return RangeSummary(low, high, len(span), fingerprint)

    def items(self, low: bytes, high: bytes) -> RangeItems:
        """Return every item of a range."""
        span = self._span(low, high)
        pairs = tuple(
            (file, Fingerprint(self._values[file].to_bytes(FINGERPRINT_BYTES, "big")))
            for file in span
        )
        return RangeItems(low, high, pairs)

    def split(self, low: bytes, high: bytes, parts: int) -> tuple[RangeSummary, ...]:
        """Return summaries of adjacent sub-ranges of about equal count that cover the range."""
        span = self._span(low, high)
        size = max(1, -(-len(span) // parts))
        bounds: list[bytes] = [low, *(span[i] for i in range(size, len(span), size)), high]
        return tuple(
            self._summarise(bounds[i], bounds[i + 1], span[i * size : (i + 1) * size])
            for i in range(len(bounds) - 1)
        )
