"""Batches: what is sealed opens, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.batches import (
    BadBatchError,
    BadDraftError,
    BatchFault,
    SliceOpener,
    decode_entry,
    encode_entry,
    open_slice,
    pending_ref,
)
from aiplatform.mesh_ide.identity.merkle import leaf_hash
from aiplatform.mesh_ide.identity.subsets import subset
from aiplatform.mesh_ide.model.entries import (
    ENTRIES_PER_BATCH_MAX,
    BatchHeader,
    BatchSlice,
    KnownEntry,
)
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    EntryId,
    WorkspaceId,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

from tests.unit.identity.slices import (
    EMPTY,
    FOREIGN,
    KEY,
    SESSION,
    WORKSPACE,
    cut,
    draft,
    fault_of,
    forged,
    replaced,
    sealed,
)


def test_what_was_sealed_opens_to_the_same_entries() -> None:
    """Sealing and opening agree on ids, order and content, over the wire too."""
    batch, known = sealed([draft(), draft(branch=1), draft(kind=EntryKind.DELETE, **EMPTY)])
    wire = msgspec.msgpack.encode(batch)
    assert open_slice(msgspec.msgpack.decode(wire, type=BatchSlice), WORKSPACE) == known
    assert [item.entry.sequence for item in known] == [1, 2, 3]
    assert [item.entry.previous for item in known] == [NO_ENTRY, known[0].ref.id, known[1].ref.id]
    assert [item.entry.branch for item in known] == [1, 1, 1]
    assert {item.entry.lineage for item in known} == {draft().lineage}
    assert {item.entry.depth for item in known} == {draft().depth}
    assert [item.ref.id for item in known] == [leaf_hash(item.encoded) for item in known]
    assert [decode_entry(item.encoded) for item in known] == [item.entry for item in known]


@settings(max_examples=40)
@given(st.integers(1, 40), st.data())
def test_any_part_of_a_batch_opens_with_its_proofs(count: int, data: st.DataObject) -> None:
    """Entries travel alone and in any selection."""
    batch, known = sealed([draft(size=size) for size in range(count)])
    chosen = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    assert open_slice(cut(batch, chosen), WORKSPACE) == tuple(known[index] for index in chosen)


def test_the_next_batch_continues_the_chain() -> None:
    """Sequence and previous go on across calls."""
    _, first = sealed([draft(), draft()])
    batch, second = sealed([draft(branch=1)], 3, first[-1].ref.id)
    assert second[0].entry.previous == first[-1].ref.id
    assert open_slice(batch, WORKSPACE)[0].ref.sequence == 3


def test_a_draft_may_name_an_entry_of_the_same_call_as_parent() -> None:
    """Placeholders become real ids, and parents come out sorted."""
    genesis = draft(kind=EntryKind.GENESIS, parents=(), payload=b"")
    child = draft(parents=(pending_ref(SESSION, 1), FOREIGN))
    batch, known = sealed([genesis, child])
    assert set(known[1].entry.parents) == {known[0].ref, FOREIGN}
    assert list(known[1].entry.parents) == sorted(known[1].entry.parents)
    assert open_slice(batch, WORKSPACE) == known


@pytest.mark.parametrize("sequence", [0, 1, 2, 9])
def test_a_placeholder_for_no_earlier_draft_is_refused(sequence: int) -> None:
    """A draft cannot be its own parent, nor the child of a later one."""
    with pytest.raises(BadDraftError) as caught:
        sealed([draft(parents=(pending_ref(SESSION, sequence),)), draft()])
    assert caught.value.fault is BatchFault.PARENTS


def test_the_size_of_a_batch_is_bounded() -> None:
    """Neither none nor too many entries are signed."""
    for count in (0, ENTRIES_PER_BATCH_MAX + 1):
        with pytest.raises(BadDraftError) as caught:
            sealed([draft()] * count)
        assert caught.value.fault is BatchFault.COUNT
    batch, _ = sealed([draft()] * ENTRIES_PER_BATCH_MAX)
    assert len(open_slice(batch, WORKSPACE)) == ENTRIES_PER_BATCH_MAX


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\xc1", b"\x90", b"\x92" + b"\x91" * 9000, b"\xdd\xff\xff\xff\xff", b"\x91\xa2\xff\xfe"],
)
def test_garbage_under_a_good_signature_is_refused(garbage: bytes) -> None:
    """A decoder fault of any kind is the sender's fault and ours to survive."""
    assert fault_of(forged([garbage])) is BatchFault.ENCODING


def test_trailing_bytes_are_refused_and_later_fields_are_not() -> None:
    """Strict bytes, but a newer node may append fields."""
    entry = sealed([draft()])[1][0].entry
    encoded = encode_entry(entry)
    assert fault_of(forged([encoded + b"\xc0"])) is BatchFault.ENCODING
    fields = msgspec.msgpack.decode(encoded)
    longer = msgspec.msgpack.encode([*fields, "a later field"])
    assert open_slice(forged([longer]), WORKSPACE)[0].entry == entry


def test_headers_and_counts_out_of_bounds_are_refused() -> None:
    """Nothing is hashed or verified for a slice that cannot be right."""
    batch, _ = sealed([draft(), draft(), draft()])
    header = batch.header

    def with_header(**changes: object) -> BatchSlice:
        return msgspec.structs.replace(batch, header=msgspec.structs.replace(header, **changes))

    for changes in (
        {"session": b"short"},
        {"root": b""},
        {"signature": b""},
        {"first_sequence": 0},
        {"first_sequence": 2**63},
        {"count": 0},
        {"count": ENTRIES_PER_BATCH_MAX + 1},
    ):
        assert fault_of(with_header(**changes)) is BatchFault.HEADER, changes
    part = cut(batch, [0, 2])
    change = msgspec.structs.replace
    assert fault_of(change(part, proofs=part.proofs[:1])) is BatchFault.COUNT
    assert fault_of(change(part, proofs=())) is BatchFault.COUNT
    assert fault_of(change(part, indexes=(0,))) is BatchFault.COUNT
    assert fault_of(change(batch, indexes=(), entries=())) is BatchFault.COUNT
    assert fault_of(change(part, indexes=(2, 0))) is BatchFault.INDEX
    assert fault_of(change(part, indexes=(0, 0))) is BatchFault.INDEX
    assert fault_of(change(part, indexes=(0, 3))) is BatchFault.INDEX
    assert fault_of(change(part, indexes=(-1, 2))) is BatchFault.INDEX
    assert fault_of(change(part, proofs=(part.proofs[0], ()))) is BatchFault.PROOF


def test_a_batch_belongs_to_one_workspace() -> None:
    """The same session key used elsewhere does not carry its entries along."""
    batch, _ = sealed([draft()])
    with pytest.raises(BadBatchError) as caught:
        open_slice(batch, WorkspaceId(b"v" * 32))
    assert caught.value.fault is BatchFault.SIGNATURE
    assert SESSION.hex()[:10] in str(caught.value)


def wrong_signature() -> BatchSlice:
    """A batch with somebody else's signature."""
    batch, _ = sealed([draft()])
    message = b"another message"
    header = msgspec.structs.replace(batch.header, signature=KEY.sign(message))
    return msgspec.structs.replace(batch, header=header)


def swapped_entry() -> BatchSlice:
    """One entry of a signed batch replaced by another well-formed one, with the old proof."""
    batch, _ = sealed([draft(), draft()])
    other, _ = sealed([draft(size=99), draft()])
    part = cut(batch, [0])
    return msgspec.structs.replace(part, entries=(other.entries[0],))


def swapped_whole() -> BatchSlice:
    """The entries of another batch under this batch's header, without proofs."""
    batch, _ = sealed([draft(), draft()])
    other, _ = sealed([draft(size=99), draft()])
    return msgspec.structs.replace(batch, entries=other.entries)


ATTACKS = {
    wrong_signature: BatchFault.SIGNATURE,
    swapped_entry: BatchFault.ROOT,
    swapped_whole: BatchFault.ROOT,
}


class TrustsSignatures(SliceOpener):
    """Planted bug: takes every signature for good."""

    def is_signed(self, header: BatchHeader, workspace: WorkspaceId) -> bool:
        """Say yes."""
        del header, workspace
        return True


class SkipsProofs(SliceOpener):
    """Planted bug: never compares the root."""

    def check_root(self, batch: BatchSlice, ids: Sequence[EntryId]) -> None:
        """Look away."""


class SkipsChain(SliceOpener):
    """Planted bug: does not compare ``previous``."""

    def check_chain(self, header: BatchHeader, known: Sequence[KnownEntry]) -> None:
        """Look away."""


def survives_attacks(opener: SliceOpener) -> bool:
    """The check itself: every attack is refused for the right reason."""
    _, known = sealed([draft(), draft()])
    unchained = forged([known[0].entry, replaced(known[1].entry, previous=EntryId(b"p" * 32))])
    if fault_of(unchained, opener.open) is not BatchFault.PREVIOUS:
        return False
    return all(fault_of(attack(), opener.open) is fault for attack, fault in ATTACKS.items())


def test_the_opener_survives_the_attacks() -> None:
    """Wrong signature, swapped entries and a broken chain are refused."""
    assert survives_attacks(SliceOpener())


@pytest.mark.parametrize("broken", [TrustsSignatures, SkipsProofs, SkipsChain])
def test_planted_bugs_are_caught(broken: type[SliceOpener]) -> None:
    """The check above can fail."""
    assert not survives_attacks(broken())


def test_a_forgery_stays_refused_after_the_true_header_was_remembered() -> None:
    """The memory of verified headers is keyed by all that was signed, and by the signature."""
    batch, _ = sealed([draft(size=1), draft(size=2)])
    assert fault_of(batch) is None
    for changes in ({"count": 1}, {"first_sequence": 2}, {"root": bytes(32)},
                    {"signature": bytes(64)}):  # fmt: skip
        header = msgspec.structs.replace(batch.header, **changes)
        forged_slice = msgspec.structs.replace(cut(batch, [0]), header=header)
        assert fault_of(forged_slice) is not None, changes


@settings(max_examples=150)
@given(st.data())
def test_a_flipped_bit_anywhere_is_refused_or_undecodable(data: st.DataObject) -> None:
    """No byte of a slice is outside of what the session signed."""
    batch, _ = sealed([draft(), draft(kind=EntryKind.DELETE, **EMPTY)])
    wire = bytearray(msgspec.msgpack.encode(cut(batch, [1])))
    position = data.draw(st.integers(0, len(wire) - 1))
    wire[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        damaged = msgspec.msgpack.decode(bytes(wire), type=BatchSlice)
    except ValueError:
        return
    assert fault_of(damaged) is not None


@pytest.mark.parametrize("chosen", [(0,), (1, 3), (0, 1, 2, 3)])
def test_a_subset_of_a_slice_opens_to_those_entries(chosen: tuple[int, ...]) -> None:
    """Taken from a whole batch, and once more from a part with proofs."""
    batch, known = sealed([draft(size=size) for size in range(4)])
    part = subset(batch, known, chosen)
    opened = open_slice(part, WORKSPACE)
    assert opened == tuple(known[index] for index in chosen)
    again = subset(part, opened, (0,))
    assert open_slice(again, WORKSPACE) == opened[:1]
