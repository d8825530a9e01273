"""What is particular to the Loro adapters: peers, faults, the cache, local mistakes."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.documents.engine.faults import (
    BadEditError,
    BadEntryError,
    loro_faults_as,
)
from aiplatform.mesh_ide.documents.engine.lineage import Lineage
from aiplatform.mesh_ide.documents.engine.payload import OperationSpan
from aiplatform.mesh_ide.documents.engine.peers import derive_peer, genesis_peer
from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.documents.engine.versions import Version
from aiplatform.mesh_ide.model.entries import Entry, EntryRef, KnownEntry, Principal
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import NO_ENTRY, BlobHash, EntryId, FileId, SessionId, TreeNodeId
from aiplatform.mesh_ide.ports.engine import MoveNode, PlaceNode, Splice, TextRoot
from aiplatform.mesh_ide.ports.errors import BadUpdateError

FILE = FileId(b"0123456789abcdef")
ADA, BOB = SessionId(b"a" * 32), SessionId(b"b" * 32)
ROOT = EntryRef(ADA, 1, EntryId(b"r" * 32))


def known(session: SessionId, parents: tuple[EntryRef, ...], payload: bytes) -> KnownEntry:
    """Return an update on branch 1."""
    made = Entry(
        session=session,
        sequence=2,
        previous=NO_ENTRY,
        file=FILE,
        kind=EntryKind.UPDATE,
        parents=parents,
        result=None,
        size=0,
        mode=FileMode.REGULAR,
        is_text=True,
        branch=1,
        is_save=True,
        time_ms=0,
        principal=Principal(PrincipalKind.PERSON, "somebody"),
        inference=BaseInference.KNOWN,
        payload=payload,
        lineage=ROOT.id,
    )
    return KnownEntry(EntryRef(session, 2, EntryId(sha256(payload).digest())), made, b"")


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**64 - 1))
def test_peers_are_valid_and_depend_on_every_part(session: bytes, branch: int) -> None:
    """Never one of the two ids that Loro or nobody owns; a genesis never looks like an author."""
    peer = derive_peer(SessionId(session), FILE, branch)
    others = {
        derive_peer(SessionId(session[::-1] + b"!"), FILE, branch),
        derive_peer(SessionId(session), FileId(bytes(16)), branch),
        derive_peer(SessionId(session), FILE, branch ^ 1),
        genesis_peer(FILE, BlobHash(session)),
    }
    assert 0 < peer < 2**64 - 1
    assert peer not in others
    assert peer == derive_peer(SessionId(session), FILE, branch)


def test_only_loros_own_faults_are_translated() -> None:
    """An interrupt, an exit and a mistake of ours pass through."""

    def raising(fault: BaseException) -> None:
        with loro_faults_as(BadUpdateError("bad")):
            raise fault

    panic = type("PanicException", (BaseException,), {})
    for fault in (BaseException("Decode error"), panic("index out of bounds")):
        with pytest.raises(BadUpdateError, match="bad"):
            raising(fault)
    for other in (KeyboardInterrupt(), SystemExit(1), GeneratorExit(), ValueError("ours")):
        with pytest.raises(type(other)):
            raising(other)


class Credulous(Lineage):
    """Takes whatever has a draft's bytes for the draft."""

    def _adopted(self, entry: Entry, base: Version) -> OperationSpan | None:
        draft = self._draft
        if draft is None or draft.payload != entry.payload or draft.base != base:
            return None
        self._draft = None
        return draft.span


class CredulousEngine(LoroTextEngine):
    """An engine of such lineages."""

    def _build(self, root: TextRoot) -> Lineage:
        return Credulous(root)


def takes_a_copied_draft(engine: LoroTextEngine) -> bool:
    """Return whether an engine believes an entry of Bob's that holds what Ada has just made."""
    root = TextRoot(FILE, ROOT, "one\ntwo\n")
    payload = engine.derive_update(root, (), (ROOT,), "one\ntwo\nthree\n", ADA, 1)
    assert payload
    copied = known(BOB, (ROOT,), payload)
    try:
        engine.text_at(root, [copied], (copied.ref,))
    except BadUpdateError:
        return False
    return True


def test_a_draft_is_recognised_by_its_author_alone() -> None:
    """Equal bytes under another name are somebody else's operations, also here."""
    assert not takes_a_copied_draft(LoroTextEngine())


def test_planted_bug_a_draft_recognised_by_its_bytes_is_caught() -> None:
    """It would let everybody claim what Ada has written."""
    assert takes_a_copied_draft(CredulousEngine())


def test_a_look_that_is_remembered_is_remembered_for_that_author() -> None:
    """The same bytes are sound as Ada's and refused as Bob's, in whatever order they come."""
    engine, root = LoroTextEngine(), TextRoot(FILE, ROOT, "one\n")
    payload = engine.derive_update(root, (), (ROOT,), "one\ntwo\n", ADA, 1)
    assert payload
    for _ in range(2):
        engine.check_payload(known(ADA, (ROOT,), payload))
        with pytest.raises(BadEntryError, match="author's"):
            engine.check_payload(known(BOB, (ROOT,), payload))


def test_a_refused_entry_is_named() -> None:
    """Whoever catches the error knows which entry to set aside."""
    bad = known(ADA, (ROOT,), b"nonsense")
    with pytest.raises(BadEntryError) as caught:
        LoroTextEngine().check_payload(bad)
    assert caught.value.entry == bad.ref
    assert bad.ref.id.hex()[:10] in str(caught.value)


def test_a_branch_whose_tip_is_not_in_the_base_is_not_continued() -> None:
    """Its next operation id is taken; the caller begins a new branch."""
    engine, root = LoroTextEngine(), TextRoot(FILE, ROOT, "one\ntwo\n")
    payload = engine.derive_update(root, (), (ROOT,), "one\ntwo\nthree\n", ADA, 1)
    assert payload
    first = known(ADA, (ROOT,), payload)
    engine.text_at(root, [first], (first.ref,))
    with pytest.raises(BadEditError, match="branch"):
        engine.derive_update(root, [first], (ROOT,), "1\ntwo\n", ADA, 1)
    assert engine.derive_update(root, [first], (ROOT,), "1\ntwo\n", ADA, 2)
    assert engine.text_at(root, (), (first.ref,)) == "one\ntwo\nthree\n"


@pytest.mark.parametrize(
    "splices",
    [
        [Splice(4, 0, "x")],
        [Splice(-1, 0, "x")],
        [Splice(2, 2, "")],
        [Splice(0, -1, "x")],
        [Splice(0, 3, ""), Splice(1, 0, "x")],
        [Splice(0, 0, "\ud800")],
        [Splice(0, 0, "")] * 5001,
        [Splice(0, 0, "x" * 4_000_000)],
    ],
)
def test_splices_outside_the_text_are_refused_before_anything_changed(
    splices: list[Splice],
) -> None:
    """The next edit finds the document as it was."""
    engine, root = LoroTextEngine(), TextRoot(FILE, ROOT, "abc")
    with pytest.raises(BadEditError):
        engine.splice_update(root, (), (ROOT,), splices, ADA, 1)
    again = engine.splice_update(root, (), (ROOT,), [Splice(3, 0, "d")], ADA, 1)
    assert again == LoroTextEngine().splice_update(root, (), (ROOT,), [Splice(3, 0, "d")], ADA, 1)


def test_texts_over_the_bound_are_no_updates() -> None:
    """They are blobs."""
    root = TextRoot(FILE, ROOT, "abc")
    assert LoroTextEngine().derive_update(root, (), (ROOT,), "é" * 600_000, ADA, 1) is None


def test_an_update_with_thousands_of_hunks_is_read_back_exactly() -> None:
    """Also by a replica, whose import takes another way than the author's delta."""
    lines = [f"\U0001f600 value_{i} = compute({i})\n" for i in range(3000)]
    root = TextRoot(FILE, ROOT, "".join(lines))
    text = "".join("    " + line.replace("compute", "calc") for line in lines)
    payload = LoroTextEngine().derive_update(root, (), (ROOT,), text, ADA, 1)
    assert payload
    update = known(ADA, (ROOT,), payload)
    assert LoroTextEngine().text_at(root, [update], (update.ref,)) == text


def test_the_cache_is_bounded_by_count_and_by_size() -> None:
    """The least recently used documents go; the answers stay."""
    engine = LoroTextEngine(documents_max=3, cache_bytes_max=200_000)
    chance = Random(1)
    for turn in range(60):
        number = chance.randrange(9) + (0 if turn < 30 else 9)
        ref = EntryRef(ADA, number + 1, EntryId(bytes([number]) * 32))
        text = f"{number}" * (10 if turn < 30 else 80_000)
        assert engine.text_at(TextRoot(FILE, ref, text), (), (ref,)) == text
        assert len(engine._documents) <= (3 if turn < 33 else 2)
        assert engine._cache_bytes == sum(weight for _, weight in engine._documents.values())


def test_entries_are_read_only_as_far_as_they_are_needed() -> None:
    """A caller that offers the newest first pays for what is new."""
    engine, root = LoroTextEngine(), TextRoot(FILE, ROOT, "one\n")
    history: list[KnownEntry] = []
    heads: tuple[EntryRef, ...] = (ROOT,)
    read: list[KnownEntry] = []

    def newest_first() -> Iterator[KnownEntry]:
        for one in reversed(history):
            read.append(one)
            yield one

    for number in range(20):
        read.clear()
        splices = [Splice(0, 0, str(number))]
        edit = engine.splice_update(root, newest_first(), heads, splices, ADA, 1)
        assert len(read) <= 1
        history.append(known(ADA, heads, edit.payload))
        heads = (history[-1].ref,)
    assert engine.text_at(root, newest_first(), heads).startswith("1918171615")


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (PlaceNode(None, "a/b", None), "slash"),
        (PlaceNode(None, "..", None), "folder itself"),
        (PlaceNode(None, "", None), "empty"),
        (PlaceNode(None, "é" * 128, None), "256 bytes"),
        (PlaceNode(None, "\ud800", None), "Unicode"),
        (PlaceNode(7, "x", None), "earlier"),
        (MoveNode(TreeNodeId("0@1"), None, "x"), "no node"),
        (MoveNode(TreeNodeId("nonsense"), None, "x"), "no node"),
        (MoveNode(TreeNodeId("99999999999999@99999999999999999999999"), None, "x"), "no node"),
    ],
)
def test_tree_edits_that_do_not_fit_change_nothing(
    operation: PlaceNode | MoveNode, why: str
) -> None:
    """Neither do the good operations before them in the same edit."""
    engine = LoroTreeEngine()
    engine.edit([PlaceNode(None, "d", None)], ADA, 1)
    before = engine.snapshot()
    with pytest.raises(BadEditError, match=why):
        engine.edit([PlaceNode(None, "good", None), operation], ADA, 1)
    assert LoroTreeEngine().load(before, ()) == LoroTreeEngine().load(engine.snapshot(), ())


def test_a_folder_does_not_move_into_itself() -> None:
    """Nor below itself; moving it where it stands is no operation."""
    engine = LoroTreeEngine()
    outer, inner = engine.edit([PlaceNode(None, "a", None), PlaceNode(0, "b", None)], ADA, 1).places
    for parent in (outer.node, inner.node):
        with pytest.raises(BadEditError, match="into itself"):
            engine.edit([MoveNode(outer.node, parent, "a")], ADA, 1)
    same = engine.edit([MoveNode(outer.node, None, "a")], ADA, 1)
    assert (same.payload, same.places) == (b"", (outer,))
