"""Batches: what is sealed opens, and nothing else does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    seal,
)
from aiplatform.mesh_ide.identity.keys import SigningKey, number, statement
from aiplatform.mesh_ide.identity.merkle import inclusion_proof, leaf_hash, merkle_root
from aiplatform.mesh_ide.model.entries import (
    ENTRIES_PER_BATCH_MAX,
    PAYLOAD_BYTES_MAX,
    BatchHeader,
    BatchSlice,
    Entry,
    EntryDraft,
    EntryRef,
    KnownEntry,
    Principal,
)
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    TREE_FILE,
    BlobHash,
    EntryId,
    FileId,
    SessionId,
    WorkspaceId,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WORKSPACE = WorkspaceId(b"w" * 32)
KEY = SigningKey.from_seed(b"s" * 32)
SESSION = SessionId(KEY.public)
FOREIGN = EntryRef(SessionId(b"f" * 32), 7, EntryId(b"e" * 32))
FILE = FileId(b"file-0000000001x")


def draft(**changes: object) -> EntryDraft:
    """A draft that every rule accepts."""
    fields: dict[str, Any] = {
        "file": FILE,
        "kind": EntryKind.UPDATE,
        "parents": (FOREIGN,),
        "result": BlobHash(b"r" * 32),
        "size": 12,
        "mode": FileMode.REGULAR,
        "is_text": True,
        "branch": 0,
        "is_save": True,
        "principal": Principal(PrincipalKind.PERSON, "ada"),
        "inference": BaseInference.KNOWN,
        "payload": b"operations",
    }
    return EntryDraft(**{**fields, **changes})


def sealed(
    drafts: Sequence[EntryDraft], first_sequence: int = 1, previous: EntryId = NO_ENTRY
) -> tuple[BatchSlice, tuple[KnownEntry, ...]]:
    """Seal with the constants of this module."""
    return seal(
        drafts,
        key=KEY,
        workspace=WORKSPACE,
        first_sequence=first_sequence,
        previous=previous,
        time_ms=1_700_000_000_000,
    )


def forged(entries: Sequence[Entry | bytes], first_sequence: int = 1) -> BatchSlice:
    """A batch signed by its session over whatever it likes: what a hostile member can send."""
    encoded = tuple(e if isinstance(e, bytes) else encode_entry(e) for e in entries)
    root = merkle_root([leaf_hash(data) for data in encoded])
    message = statement(
        b"mesh-ide batch 1", WORKSPACE, SESSION, number(first_sequence), number(len(encoded)), root
    )
    header = BatchHeader(SESSION, first_sequence, len(encoded), root, KEY.sign(message))
    return BatchSlice(header, tuple(range(len(encoded))), encoded)


def cut(batch: BatchSlice, indexes: Sequence[int]) -> BatchSlice:
    """Take some entries of a whole batch, with their proofs."""
    leaves = [leaf_hash(data) for data in batch.entries]
    return BatchSlice(
        batch.header,
        tuple(indexes),
        tuple(batch.entries[index] for index in indexes),
        tuple(inclusion_proof(leaves, index) for index in indexes),
    )


def replaced(entry: Entry, **changes: object) -> Entry:
    """Copy an entry with changes."""
    return msgspec.structs.replace(entry, **changes)


def fault_of(
    batch: BatchSlice,
    opener: Callable[[BatchSlice, WorkspaceId], object] = open_slice,
) -> BatchFault | None:
    """Why a slice is refused; ``None`` if it is not."""
    try:
        opener(batch, WORKSPACE)
    except BadBatchError as error:
        return error.fault
    return None


def test_what_was_sealed_opens_to_the_same_entries() -> None:
    """Sealing and opening agree on ids, order and content, over the wire too."""
    batch, known = sealed([draft(), draft(branch=1), draft(kind=EntryKind.DELETE, **EMPTY)])
    wire = msgspec.msgpack.encode(batch)
    assert open_slice(msgspec.msgpack.decode(wire, type=BatchSlice), WORKSPACE) == known
    assert [item.entry.sequence for item in known] == [1, 2, 3]
    assert [item.entry.previous for item in known] == [NO_ENTRY, known[0].ref.id, known[1].ref.id]
    assert [item.entry.branch for item in known] == [1, 1, 3]
    assert [item.ref.id for item in known] == [leaf_hash(item.encoded) for item in known]
    assert [decode_entry(item.encoded) for item in known] == [item.entry for item in known]


EMPTY: dict[str, object] = {"payload": b"", "result": None}


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


UNSORTED = (EntryRef(SessionId(b"z" * 32), 1, EntryId(b"e" * 32)), FOREIGN)
BROKEN_FIELDS: list[tuple[str, dict[str, object], BatchFault]] = [
    ("delete with result", {"kind": EntryKind.DELETE, "payload": b""}, BatchFault.KIND),
    ("delete with payload", {"kind": EntryKind.DELETE, "result": None}, BatchFault.KIND),
    ("genesis with parents", {"kind": EntryKind.GENESIS, "payload": b""}, BatchFault.KIND),
    ("genesis with payload", {"kind": EntryKind.GENESIS, "parents": ()}, BatchFault.KIND),
    (
        "genesis without result",
        {"kind": EntryKind.GENESIS, "parents": (), **EMPTY},
        BatchFault.KIND,
    ),
    ("replace with payload", {"kind": EntryKind.REPLACE}, BatchFault.KIND),
    ("replace without result", {"kind": EntryKind.REPLACE, **EMPTY}, BatchFault.KIND),
    ("update without parents", {"parents": ()}, BatchFault.KIND),
    ("tree with result", {"file": TREE_FILE}, BatchFault.KIND),
    (
        "tree delete",
        {"file": TREE_FILE, "kind": EntryKind.DELETE, **EMPTY},
        BatchFault.KIND,
    ),
    ("payload too large", {"payload": bytes(PAYLOAD_BYTES_MAX + 1)}, BatchFault.SIZE),
    ("short file id", {"file": FileId(b"x")}, BatchFault.IDS),
    ("short result", {"result": BlobHash(b"x")}, BatchFault.IDS),
    ("negative size", {"size": -1}, BatchFault.NUMBER),
    ("huge size", {"size": 2**63}, BatchFault.NUMBER),
    ("branch of the future", {"branch": 2}, BatchFault.NUMBER),
    ("negative branch", {"branch": -1}, BatchFault.NUMBER),
    ("repeated parents", {"parents": (FOREIGN, FOREIGN)}, BatchFault.PARENTS),
    (
        "parent without id",
        {"parents": (EntryRef(FOREIGN.session, 7, NO_ENTRY),)},
        BatchFault.PARENTS,
    ),
    (
        "parent that is itself",
        {"parents": (EntryRef(SESSION, 1, EntryId(b"e" * 32)),)},
        BatchFault.PARENTS,
    ),
    ("parent zero", {"parents": (EntryRef(FOREIGN.session, 0, FOREIGN.id),)}, BatchFault.PARENTS),
    ("parent id short", {"parents": (EntryRef(FOREIGN.session, 1, EntryId(b"")),)},
     BatchFault.PARENTS),
    ("no name", {"principal": Principal(PrincipalKind.RUN, "")}, BatchFault.PRINCIPAL),
    ("long name", {"principal": Principal(PrincipalKind.RUN, "n" * 201)}, BatchFault.PRINCIPAL),
    (
        "long reason",
        {"principal": Principal(PrincipalKind.RUN, "n", "r" * 2001)},
        BatchFault.PRINCIPAL,
    ),
]  # fmt: skip
BROKEN_IDS = [name for name, _, _ in BROKEN_FIELDS]


@pytest.mark.parametrize(("name", "changes", "fault"), BROKEN_FIELDS, ids=BROKEN_IDS)
def test_broken_drafts_are_not_signed(
    name: str, changes: dict[str, object], fault: BatchFault
) -> None:
    """An honest node learns of its defect before its peers do."""
    with pytest.raises(BadDraftError) as caught:
        sealed([draft(**changes)])
    assert caught.value.fault is fault, name


@pytest.mark.parametrize(("name", "changes", "fault"), BROKEN_FIELDS, ids=BROKEN_IDS)
def test_broken_entries_are_refused_though_signed(
    name: str, changes: dict[str, object], fault: BatchFault
) -> None:
    """A hostile session signs what it likes; each rule stands at the receiver too."""
    good = sealed([draft()])[1][0].entry
    assert fault_of(forged([replaced(good, **changes)])) is fault, name


def test_unsorted_parents_are_refused() -> None:
    """One order only, so that equal parents are equal bytes."""
    good = sealed([draft()])[1][0].entry
    assert fault_of(forged([replaced(good, parents=UNSORTED)])) is BatchFault.PARENTS
    assert fault_of(forged([replaced(good, parents=tuple(sorted(UNSORTED)))])) is None


def test_an_entry_stands_in_its_place_in_the_session() -> None:
    """Session, sequence and previous are those of the batch."""
    _, known = sealed([draft(), draft()])
    one, two = (item.entry for item in known)
    stranger = SessionId(b"o" * 32)
    assert fault_of(forged([replaced(one, session=stranger)])) is BatchFault.SESSION
    assert fault_of(forged([one, one])) is BatchFault.SEQUENCE
    assert fault_of(forged([two])) is BatchFault.SEQUENCE
    assert fault_of(forged([replaced(one, previous=EntryId(b"p" * 32))])) is BatchFault.PREVIOUS
    unchained = replaced(two, previous=EntryId(b"p" * 32))
    assert fault_of(forged([one, unchained])) is BatchFault.PREVIOUS
    assert fault_of(forged([replaced(two, previous=NO_ENTRY)], 2)) is BatchFault.PREVIOUS
    assert fault_of(forged([replaced(one, key_epoch=1)])) is BatchFault.KEY_EPOCH
    liar = replaced(two, parents=(EntryRef(SESSION, 1, EntryId(b"q" * 32)),))
    assert fault_of(forged([one, liar])) is BatchFault.PARENTS


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
