"""How stored entries travel: grouped by batch, parents first, with proofs where they must.

The order in which entries were stored has every parent before its children, because they were
accepted so. Entries of one batch that were stored together are one run of that order, and runs in
order are slices in order. A batch whose parts came at different times is more than one run; then
the batches are sorted by what their entries build on (a session signs a batch after all of it was
written, so honest batches never depend on each other in a circle).
"""

from __future__ import annotations

import heapq
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from aiplatform.mesh_ide.identity.merkle import inclusion_proof
from aiplatform.mesh_ide.model.entries import BatchSlice
from aiplatform.mesh_ide.storage.codec import check_entry, corrupt_entry, read_entry

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiplatform.mesh_ide.model.entries import BatchHeader, FileVector
    from aiplatform.mesh_ide.model.ids import EntryId, FileId, SessionId

SLICE_BYTES_MAX: Final = 4 * 1024 * 1024
"""Half a frame (``FRAME_BYTES_MAX``): one more entry of the largest payload still fits."""

_DECODED_AT_ONCE: Final = 64
"""How many entries are read at once while only their parents matter; bounds memory."""


class WantedRow(NamedTuple):
    """A stored entry that somebody lacks: its place in the order of storing, and its batch."""

    number: int
    batch: int


class BatchRow(NamedTuple):
    """An entry held under a batch, without its bytes."""

    number: int
    sequence: int
    id: EntryId
    size: int


class ContentRow(NamedTuple):
    """An entry's bytes, and its proof if it came with one."""

    encoded: bytes
    proof: tuple[bytes, ...] | None


class SliceSource(Protocol):
    """What slicing needs of a store. Numbers are the order of storing."""

    def wanted_rows(self, file: FileId, after: FileVector) -> Sequence[WantedRow]:
        """Return the file's entries beyond a vector."""

    def batch_header(self, batch: int) -> BatchHeader:
        """Return the header under which entries were stored."""

    def batch_rows(self, batch: int) -> Sequence[BatchRow]:
        """Return all entries stored under a batch, by sequence."""

    def contents(self, rows: Sequence[BatchRow]) -> Sequence[ContentRow]:
        """Return the bytes of these entries, in the order given."""

    def entry_bytes(self, numbers: Sequence[int]) -> Sequence[tuple[EntryId, bytes]]:
        """Return ids and bytes of these entries, in the order given."""


Group = tuple[int, list[int]]
"""A batch and the numbers of the entries that are wanted of it, ascending."""


def slices_from(
    source: SliceSource, wanted: Sequence[tuple[FileId, FileVector]], entries_max: int
) -> Iterator[BatchSlice]:
    """Yield the wanted entries as slices; see ``Store.slices``.

    Beyond that contract a slice stays under ``SLICE_BYTES_MAX`` unless one entry alone is larger,
    so that it fits a frame: a batch above that travels in parts with proofs.

    Raises:
        CorruptRecordError: an entry's bytes do not match its id (names it).
    """
    rows = {row for file, after in wanted for row in source.wanted_rows(file, after)}
    for batch, numbers in _ordered_groups(source, sorted(rows)):
        yield from _batch_slices(source, batch, set(numbers), entries_max)


def _ordered_groups(source: SliceSource, rows: Sequence[WantedRow]) -> list[Group]:
    runs: list[Group] = [
        (batch, [row.number for row in run]) for batch, run in groupby(rows, key=itemgetter(1))
    ]
    groups: dict[int, list[int]] = {}
    for batch, numbers in runs:
        groups.setdefault(batch, []).extend(numbers)
    if len(groups) == len(runs):
        return runs
    # Rows alone cannot order a batch that came in parts: neither its first nor its last entry's
    # number puts it after everything that it builds on and before all that builds on it.
    order = _dependency_order(groups, _batch_needs(source, rows))
    return runs if order is None else [(batch, groups[batch]) for batch in order]


def _batch_needs(source: SliceSource, rows: Sequence[WantedRow]) -> dict[int, set[int]]:
    """Return for each batch the other wanted batches that its entries build on."""
    batch_of: dict[tuple[SessionId, int], int] = {}
    needed: list[tuple[int, tuple[SessionId, int]]] = []
    for start in range(0, len(rows), _DECODED_AT_ONCE):
        window = rows[start : start + _DECODED_AT_ONCE]
        stored = source.entry_bytes([row.number for row in window])
        for row, (entry_id, encoded) in zip(window, stored, strict=True):
            entry = read_entry(encoded, entry_id).entry
            batch_of[entry.session, entry.sequence] = row.batch
            needed.append((row.batch, (entry.session, entry.sequence - 1)))
            needed.extend(
                (row.batch, (parent.session, parent.sequence)) for parent in entry.parents
            )
    needs: dict[int, set[int]] = {row.batch: set() for row in rows}
    for batch, dot in needed:
        other = batch_of.get(dot, batch)
        if other != batch:
            needs[batch].add(other)
    return needs


def _dependency_order(groups: dict[int, list[int]], needs: dict[int, set[int]]) -> list[int] | None:
    """Sort batches topologically, the earliest stored first among the ready ones (Kahn 1962).

    Returns:
        ``None`` if they depend on each other in a circle, which only a dishonest author makes.
    """
    waiting = {batch: len(others) for batch, others in needs.items()}
    dependents: dict[int, list[int]] = {}
    for batch, others in needs.items():
        for other in others:
            dependents.setdefault(other, []).append(batch)
    ready = [(groups[batch][0], batch) for batch, count in waiting.items() if count == 0]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        batch = heapq.heappop(ready)[1]
        order.append(batch)
        for dependent in dependents.get(batch, ()):
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                heapq.heappush(ready, (groups[dependent][0], dependent))
    return order if len(order) == len(groups) else None


def _batch_slices(
    source: SliceSource, batch: int, numbers: set[int], entries_max: int
) -> Iterator[BatchSlice]:
    header = source.batch_header(batch)
    held = source.batch_rows(batch)
    picked = [row for row in held if row.number in numbers]
    parts = _parts(picked, entries_max)
    if len(parts) == 1 and len(picked) == header.count:
        yield _slice(source, header, picked, None)
        return
    leaves = [row.id for row in held] if len(held) == header.count else None
    for part in parts:
        yield _slice(source, header, part, leaves or [])


def _parts(rows: Sequence[BatchRow], entries_max: int) -> list[list[BatchRow]]:
    parts: list[list[BatchRow]] = []
    size = 0
    for row in rows:
        size += row.size
        if not parts or len(parts[-1]) >= entries_max or size > SLICE_BYTES_MAX:
            parts.append([])
            size = row.size
        parts[-1].append(row)
    return parts


def _slice(
    source: SliceSource,
    header: BatchHeader,
    rows: Sequence[BatchRow],
    leaves: Sequence[EntryId] | None,
) -> BatchSlice:
    """Build one slice; ``leaves`` is ``None`` for a whole batch, empty where they are not held."""
    contents = source.contents(rows)
    for row, content in zip(rows, contents, strict=True):
        check_entry(content.encoded, row.id)
    indexes = tuple(row.sequence - header.first_sequence for row in rows)
    proofs: tuple[tuple[bytes, ...], ...] = ()
    if leaves is not None:
        proofs = tuple(
            _proof(row, index, content, leaves)
            for row, index, content in zip(rows, indexes, contents, strict=True)
        )
    return BatchSlice(header, indexes, tuple(content.encoded for content in contents), proofs)


def _proof(
    row: BatchRow, index: int, content: ContentRow, leaves: Sequence[EntryId]
) -> tuple[bytes, ...]:
    if content.proof is not None:
        return content.proof
    if not leaves:
        raise corrupt_entry(row.id, "neither its proof nor its whole batch is stored")
    return inclusion_proof(leaves, index)
