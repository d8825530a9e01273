"""The rules of single entries, at the sealing and at the opening side."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.identity.batches import (
    BadDraftError,
    BatchFault,
)
from aiplatform.mesh_ide.model.entries import (
    PAYLOAD_BYTES_MAX,
    EntryRef,
    Principal,
)
from aiplatform.mesh_ide.model.enums import EntryKind, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    TREE_FILE,
    BlobHash,
    EntryId,
    FileId,
    SessionId,
)
from tests.unit.identity.slices import (
    EMPTY,
    FOREIGN,
    SESSION,
    draft,
    fault_of,
    forged,
    replaced,
    sealed,
)

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
