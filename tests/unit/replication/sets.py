"""Sets of heads by number, and two sides that reconcile them and count what it costs."""

from __future__ import annotations

from collections.abc import Mapping

from blake3 import blake3
from msgspec import Struct

from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.model.ids import FileId, Fingerprint
from aiplatform.mesh_ide.model.messages import Reconcile
from aiplatform.mesh_ide.replication import reconcile
from aiplatform.mesh_ide.replication.heads import HeadIndex
from aiplatform.mesh_ide.replication.reconcile import ITEMS_PER_MESSAGE_MAX, RANGES_PER_MESSAGE_MAX

Heads = Mapping[int, int]
"""File number to the number of its state."""

_SPREAD = 0x9E3779B97F4A7C15F39CC0605CEDC835
"""An odd number: multiplied by it, modulo 2^128, small numbers lie like random ids."""


def file(number: int) -> FileId:
    """Return an id that lies anywhere, as random ones do."""
    return FileId((number * _SPREAD % (1 << 128)).to_bytes(16, "big"))


def fingerprint(number: int, value: int) -> Fingerprint:
    """Return the fingerprint of a file in a state: it names both, as the real one does."""
    return Fingerprint(blake3(b"%d %d" % (number, value)).digest(length=16))


def index_of(heads: Heads) -> HeadIndex:
    """Return the index of these heads."""
    index = HeadIndex()
    for number, value in heads.items():
        index.put(file(number), fingerprint(number, value))
    return index


def differences(one: Heads, other: Heads) -> set[FileId]:
    """Return what differs, by looking at everything: the slow oracle."""
    return {file(n) for n in one.keys() | other.keys() if one.get(n) != other.get(n)}


class Exchange(Struct):
    """What a reconciliation came to."""

    found: tuple[set[FileId], set[FileId]]
    messages: int
    wire_bytes: int
    items: int
    ranges_in_one_max: int
    items_in_one_max: int

    @property
    def differing(self) -> set[FileId]:
        """Return what either side found."""
        return self.found[0] | self.found[1]


def exchange(
    one: HeadIndex,
    other: HeadIndex,
    *,
    messages_max: int = 200,
    ranges_max: int = RANGES_PER_MESSAGE_MAX,
    items_max: int = ITEMS_PER_MESSAGE_MAX,
) -> Exchange:
    """Let two sides reconcile over the real codec until one has nothing more to ask."""
    done = Exchange((set(), set()), 0, 0, 0, 0, 0)
    message: Reconcile = reconcile.opening(one, 1)
    side = 1
    while not reconcile.is_end(message):
        assert done.messages < messages_max, "the exchange does not end"
        frame = encode(message)
        ranges = len(message.summaries) + len(message.asked)
        items = sum(len(part.items) for part in message.asked)
        done.messages += 1
        done.wire_bytes += len(frame)
        done.items += items
        done.ranges_in_one_max = max(done.ranges_in_one_max, ranges)
        done.items_in_one_max = max(done.items_in_one_max, items)
        received = decode(frame)
        assert isinstance(received, Reconcile)
        message, differing = reconcile.answer(
            (one, other)[side], received, ranges_max=ranges_max, items_max=items_max
        )
        done.found[side].update(differing)
        side = 1 - side
    return done
