"""Rules that bound what a decoded record may hold: sizes, numbers, counts, columns of rows.

A rule says in words which bound was broken and by how much. The loops run over columns (all ids
of a message at once), because a call for every id of ten thousand heads costs more than decoding
them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import chain, pairwise
from typing import Any, Final, Protocol

from msgspec import Struct

from aiplatform.mesh_ide.model.entries import ENTRIES_PER_BATCH_MAX
from aiplatform.mesh_ide.model.ids import HASH_BYTES, KEY_BYTES

SIGNATURE_BYTES: Final = 64
"""An Ed25519 signature (RFC 8032)."""

CERTIFICATE_SIGNATURE_BYTES: Final = 2 * SIGNATURE_BYTES
"""A certificate is signed by the node and by the session (``identity.sessions``)."""

PROOF_HASHES_MAX: Final = (ENTRIES_PER_BATCH_MAX - 1).bit_length()
"""The depth of a Merkle tree over a full batch."""

ITEMS_MAX: Final = 131_072
"""Heads, dots and ranges' items of one message: 4.5 MB. Two nodes of a hundred thousand files that
differ in all of them still reconcile in messages of this size."""

RANGES_MAX: Final = 16_384
"""Ranges of one reconciliation step: those hundred thousand files in ranges of eight."""

RECORDS_MAX: Final = 4_096
"""Roster records, certificates, entries or small blobs of one message."""

NUMBER_MAX: Final = 2**53 - 1
"""Counters and sizes: what JSON and SQLite carry exactly too."""

NONCE_MAX: Final = 2**64 - 1
"""The largest integer of MessagePack."""


class Rule(Protocol):
    """One bound on one record."""

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - a record of the rule's message
        """Return which bound ``record`` breaks and how, or ``None``."""


class Size(Struct, frozen=True):
    """The length of bytes, text (characters) or a tuple."""

    field: str
    least: int
    most: int

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare the length."""
        size = len(getattr(record, self.field))
        if self.least <= size <= self.most:
            return None
        return say(self.field, "length", size, self.least, self.most)


class Number(Struct, frozen=True):
    """The range of an integer."""

    field: str
    least: int
    most: int

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare the number."""
        number = getattr(record, self.field)
        if self.least <= number <= self.most:
            return None
        return say(self.field, "value", number, self.least, self.most)


class Finite(Struct, frozen=True):
    """A float that is a number."""

    field: str

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Refuse NaN and the infinities, which compare and add up to nonsense."""
        number = getattr(record, self.field)
        return None if math.isfinite(number) else f"{self.field} is {number}, must be finite"


class Sizes(Struct, frozen=True):
    """The lengths of all items of a tuple."""

    field: str
    least: int
    most: int

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare the shortest and the longest."""
        return check_sizes(self.field, getattr(record, self.field), self.least, self.most)


class Rows(Struct, frozen=True):
    """A tuple of rows: at most so many, each an id of one length and something more."""

    field: str
    count_max: int
    id_bytes: int
    second_bytes: int | None = None
    """Length of the second where it is an id; numbers and tuples have rules of their own."""

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare count and columns; a set of lengths keeps the loop in C."""
        rows = getattr(record, self.field)
        if len(rows) > self.count_max:
            return say(self.field, "length", len(rows), 0, self.count_max)
        text = check_sizes(f"{self.field}[][0]", [p[0] for p in rows], self.id_bytes, self.id_bytes)
        if text is None and self.second_bytes is not None:
            seconds = [p[1] for p in rows]
            text = check_sizes(f"{self.field}[][1]", seconds, self.second_bytes, self.second_bytes)
        return text


class ColumnNumbers(Struct, frozen=True):
    """The numbers in one column of a tuple of rows."""

    field: str
    column: int

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare the least and the greatest."""
        column = self.column
        numbers = (row[column] for row in getattr(record, self.field))
        return check_numbers(f"{self.field}[][{column}]", numbers)


class VectorDots(Struct, frozen=True):
    """The (session, sequence) rows of all file vectors of a message."""

    field: str

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare their total, the ids' lengths and the sequences."""
        dots = list(chain.from_iterable(vector for _, vector in getattr(record, self.field)))
        name = f"{self.field}[][1]"
        if len(dots) > ITEMS_MAX:
            return say(name, "total length", len(dots), 0, ITEMS_MAX)
        return check_sizes(
            f"{name}[][0]", [dot[0] for dot in dots], KEY_BYTES, KEY_BYTES
        ) or check_numbers(f"{name}[][1]", (dot[1] for dot in dots))


class Each(Struct, frozen=True):
    """Rules that every record of a tuple, or one nested record, keeps."""

    field: str
    rules: tuple[Rule, ...]

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Find the first broken rule and say where."""
        value = getattr(record, self.field)
        for index, item in enumerate(value if isinstance(value, tuple) else (value,)):
            for rule in self.rules:
                text = rule.broken(item)
                if text is not None:
                    return f"{self.field}[{index}].{text}"
        return None


class Disjoint(Struct, frozen=True):
    """Ranges ``low`` to ``high`` that ascend and do not overlap; an empty ``high`` has no end.

    Whoever answers looks at every item of every range: ranges that overlap would make a frame of
    a megabyte cost the product of its ranges and our files.
    """

    field: str

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare each range with the next."""
        ranges = getattr(record, self.field)
        if any(one.high and one.high <= one.low for one in ranges):
            return f"{self.field}: a range ends before it begins"
        if any(not one.high or one.high > other.low for one, other in pairwise(ranges)):
            return f"{self.field}: ranges must ascend without overlapping"
        return None


class Total(Struct, frozen=True):
    """The sum of the lengths of one field over all records of a tuple."""

    field: str
    of: str
    most: int

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare the sum."""
        total = sum(len(getattr(item, self.of)) for item in getattr(record, self.field))
        if total <= self.most:
            return None
        return say(f"{self.field}[].{self.of}", "total length", total, 0, self.most)


class SliceShape(Struct, frozen=True):
    """What holds between the fields of one ``BatchSlice``."""

    def broken(self, record: Any) -> str | None:  # noqa: ANN401 - as above
        """Compare counts, and that indexes ascend within the batch."""
        indexes, count = record.indexes, record.header.count
        if len(indexes) != len(record.entries):
            return f"indexes has {len(indexes)} items for {len(record.entries)} entries"
        if record.proofs and len(record.proofs) != len(record.entries):
            return f"proofs has {len(record.proofs)} items for {len(record.entries)} entries"
        if indexes and not 0 <= indexes[0] <= indexes[-1] < count:
            return say("indexes", "value", indexes[-1], 0, count - 1)
        if any(a >= b for a, b in pairwise(indexes)):
            return "indexes must ascend"
        for proof in record.proofs:
            if len(proof) > PROOF_HASHES_MAX:
                return say("proofs[]", "length", len(proof), 0, PROOF_HASHES_MAX)
        hashes = list(chain.from_iterable(record.proofs))
        return check_sizes("proofs[][]", hashes, HASH_BYTES, HASH_BYTES)


def check_sizes(name: str, items: Iterable[bytes | str], least: int, most: int) -> str | None:
    """Return what is wrong with the lengths of ``items``, or ``None``."""
    sizes = set(map(len, items))
    if not sizes or (min(sizes) >= least and max(sizes) <= most):
        return None
    wrong = next(size for size in sizes if not least <= size <= most)
    return say(f"{name}[]" if not name.endswith("]") else name, "length", wrong, least, most)


def check_numbers(name: str, numbers: Iterable[int]) -> str | None:
    """Return which number is no counter or size, or ``None``."""
    wrong = next((number for number in numbers if not 0 <= number <= NUMBER_MAX), None)
    return None if wrong is None else say(name, "value", wrong, 0, NUMBER_MAX)


def say(name: str, what: str, got: int, least: int, most: int) -> str:
    """Put a broken bound into words."""
    allowed = f"exactly {most}" if least == most else f"{least} to {most}"
    return f"{name} has {what} {got}, allowed {allowed}"
