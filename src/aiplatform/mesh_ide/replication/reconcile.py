"""One reconciliation with one peer: which files differ, at a cost in proportion to how many.

The two sides alternate; each message answers the one before. A message without ranges ends it.
Both sides learn of differences: whoever can tell that a file differs reports it, and the vectors
exchanged next say which side lacks what.
"""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.model.messages import RangeItems, RangeSummary, Reconcile
from aiplatform.mesh_ide.replication.heads import HeadIndex

ITEMS_MAX: Final = 64
"""Ranges up to this size are sent whole: 2 KB, less than two more summaries' round trip."""

BRANCHING: Final = 16
RANGES_PER_MESSAGE_MAX: Final = 4096
"""Four levels of branching, 250 KB. ``mesh.bounds.RANGES_MAX`` is what a peer may send at most."""

ITEMS_PER_MESSAGE_MAX: Final = 32_768
"""1.2 MB and about 30 ms of comparing: a heartbeat on the same channel waits no longer. A message
may exceed it by one range (``ITEMS_MAX``); ``mesh.bounds.ITEMS_MAX`` allows four times as much."""


def opening(index: HeadIndex, session: int) -> Reconcile:
    """Return the first message: everything in one range."""
    return Reconcile(session, summaries=(index.summary(b"", b""),))


def answer(
    index: HeadIndex,
    message: Reconcile,
    *,
    ranges_max: int = RANGES_PER_MESSAGE_MAX,
    items_max: int = ITEMS_PER_MESSAGE_MAX,
) -> tuple[Reconcile, set[FileId]]:
    """Return the answer to a message, and the files found to differ.

    The answer has a bounded size. What does not fit is put back as one range over all that is
    left: the exchange comes to it once the ranges before it are settled. It ends nevertheless,
    since the first range that differs is always answered, and each answer narrows it.
    """
    summaries: list[RangeSummary] = []
    asked: list[RangeItems] = []
    differing: set[FileId] = set()
    items = 0
    for theirs in message.summaries:
        is_full = len(summaries) + BRANCHING > ranges_max or len(asked) >= ranges_max
        if is_full or items >= items_max:
            summaries.append(index.summary(theirs.low, message.summaries[-1].high))
            break
        ours = index.summary(theirs.low, theirs.high)
        if ours.count == theirs.count and ours.fingerprint == theirs.fingerprint:
            continue
        if theirs.count == 0:
            differing.update(file for file, _ in index.items(theirs.low, theirs.high).items)
        elif ours.count <= ITEMS_MAX:
            asked.append(index.items(theirs.low, theirs.high))
            items += ours.count
        else:
            summaries.extend(index.split(theirs.low, theirs.high, BRANCHING))
    for theirs_items in message.asked:
        differing.update(_differences(index, theirs_items))
    return Reconcile(message.session, tuple(summaries), tuple(asked)), differing


def _differences(index: HeadIndex, theirs: RangeItems) -> set[FileId]:
    ours = dict(index.items(theirs.low, theirs.high).items)
    known = dict(theirs.items)
    return {file for file in ours.keys() | known.keys() if ours.get(file) != known.get(file)}


def is_end(message: Reconcile) -> bool:
    """Return whether a message asks for nothing more."""
    return not message.summaries and not message.asked
