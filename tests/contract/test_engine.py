"""What every text engine must do and refuse, and a planted bug that is caught."""

from __future__ import annotations

from hashlib import sha256
from random import Random

import pytest
from blake3 import blake3
from loro import ExportMode, LoroDoc, VersionVector

from aiplatform.mesh_ide.documents.engine.peers import derive_peer, genesis_peer
from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.model.entries import EntryRef, KnownEntry
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import (
    TREE_FILE,
    BlobHash,
    EntryId,
)
from aiplatform.mesh_ide.ports.engine import (
    Splice,
    TextEngine,
    TextRoot,
)
from aiplatform.mesh_ide.ports.errors import BadUpdateError
from tests.contract.engine_kit import (
    ADA,
    BOB,
    EVE,
    FILE,
    ROOT,
    TEXT_ENGINES,
    History,
    entry,
    is_refused,
    loro_update,
)


@pytest.fixture(params=TEXT_ENGINES)
def text_engine(request: pytest.FixtureRequest) -> TextEngine:
    """Each text engine in turn."""
    return TEXT_ENGINES[request.param]()


# --- texts: what single calls promise -----------------------------------------------------------


def test_a_text_at_its_root_is_the_roots_text(text_engine: TextEngine) -> None:
    """Empty texts, astral characters and CRLF included."""
    for text in ("", "x", "\U0001f680 naïve\r\nzwei\r\n", "e\u0301"):
        root = TextRoot(FILE, EntryRef(ADA, 1, EntryId(sha256(text.encode()).digest())), text)
        assert text == text_engine.text_at(root, (), (root.root,))


def test_an_update_leads_to_exactly_the_text_that_was_asked_for(text_engine: TextEngine) -> None:
    """Also for characters outside the basic plane, and to and from the empty text."""
    history = History(text_engine, "a\U0001f600b\r\n")
    for text in ("a\U0001f680b\r\n", "", "neu\U0001f600", "neu\U0001f600!\n", "x" * 5000):
        known = history.write(ADA, text)
        assert text == text_engine.text_at(history.root, history.entries, (known.ref,))


def test_concurrent_edits_of_different_lines_both_stay(text_engine: TextEngine) -> None:
    """Neither side's line is lost or repeated."""
    history = History(text_engine)
    ours = history.write(ADA, "ONE\ntwo\nthree\n", (ROOT,))
    theirs = history.write(BOB, "one\ntwo\nthree!\n", (ROOT,))
    merged = text_engine.text_at(history.root, history.entries, (ours.ref, theirs.ref))
    assert merged == "ONE\ntwo\nthree!\n"


def test_equal_texts_give_an_empty_payload_that_joins_heads(text_engine: TextEngine) -> None:
    """A save of the merged text is an entry without operations on both heads."""
    history = History(text_engine)
    ours = history.write(ADA, "ONE\ntwo\nthree\n", (ROOT,))
    theirs = history.write(BOB, "one\ntwo\nTHREE\n", (ROOT,))
    joined = history.write(ADA, "ONE\ntwo\nTHREE\n", (ours.ref, theirs.ref))
    after = history.write(BOB, "ONE\n2\nTHREE\n", (joined.ref, theirs.ref))
    assert joined.entry.payload == b""
    assert text_engine.text_at(history.root, history.entries, (after.ref,)) == "ONE\n2\nTHREE\n"


def test_splices_apply_in_order_to_the_text_at_the_base(text_engine: TextEngine) -> None:
    """Positions count code points and see the splices before them."""
    history = History(text_engine, "\U0001f600ab")
    splices = (Splice(1, 1, "X\U0001f680"), Splice(2, 1, "y"), Splice(0, 1, ""))
    edit = text_engine.splice_update(history.root, (), (ROOT,), splices, ADA, 2)
    assert edit.text == "Xyb"
    known = history.add(ADA, (ROOT,), edit.payload, 2, "Xyb")
    assert text_engine.text_at(history.root, history.entries, (known.ref,)) == "Xyb"


def test_an_update_that_was_never_kept_leaves_no_trace(text_engine: TextEngine) -> None:
    """The same branch may say something else afterwards, and old heads look as before."""
    history = History(text_engine)
    for text in ("never kept\n", "one\nnot kept either\n"):
        text_engine.derive_update(history.root, (), (ROOT,), text, ADA, 1)
        assert text_engine.text_at(history.root, (), (ROOT,)) == history.root.text
    cold = History(LoroTextEngine())
    first = [history.write(ADA, "one\ntwo\n3\n"), history.write(BOB, "1\ntwo\n3\n")]
    second = [cold.write(ADA, "one\ntwo\n3\n"), cold.write(BOB, "1\ntwo\n3\n")]
    assert first == second


def test_a_delete_among_the_parents_does_not_count(text_engine: TextEngine) -> None:
    """An edit that keeps a deleted file alive builds on the edit beside the delete alone."""
    history = History(text_engine)
    ours = history.write(ADA, "ONE\ntwo\nthree\n", (ROOT,))
    gone = entry(BOB, 7, (ROOT,), b"", kind=EntryKind.DELETE)
    base = (ours.ref, gone.ref)
    payload = text_engine.derive_update(
        history.root, [*history.entries, gone], base, "ONE\ntwo\n3\n", BOB, 8
    )
    assert payload
    after = entry(BOB, 8, base, payload, branch=8)
    known = [*history.entries, after]
    assert text_engine.text_at(history.root, known, (after.ref,)) == "ONE\ntwo\n3\n"


def test_blame_names_the_entry_of_every_character(text_engine: TextEngine) -> None:
    """Spans follow each other without gaps, and untouched characters stay their author's."""
    history = History(text_engine, "\U0001f600one\ntwo\n")
    ours = history.write(ADA, "\U0001f600one\ntwo\nthree\n", (ROOT,))
    theirs = history.write(BOB, "\U0001f600ONE\ntwo\n", (ROOT,))
    heads = (ours.ref, theirs.ref)
    text = text_engine.text_at(history.root, history.entries, heads)
    spans = text_engine.blame(history.root, history.entries, heads)
    said = [(text[span.start : span.start + span.length], span.entry) for span in spans]
    assert said == [
        ("\U0001f600", ROOT),
        ("ONE", theirs.ref),
        ("\ntwo\n", ROOT),
        ("three\n", ours.ref),
    ]


# --- texts: what is refused ---------------------------------------------------------------------


def check_refuses_foreign_operations(engine: TextEngine) -> bool:
    """Return whether operations under another session's, file's or branch's peer are refused."""
    peers = (
        derive_peer(BOB, FILE, 1),
        derive_peer(ADA, TREE_FILE, 1),
        derive_peer(ADA, FILE, 2),
        12345,
    )
    foreign = [entry(ADA, 2, (ROOT,), loro_update(peer)) for peer in peers]
    both = LoroDoc()
    both.import_(loro_update(derive_peer(ADA, FILE, 1)))
    both.import_(loro_update(derive_peer(BOB, FILE, 1)))
    mixed = both.export(ExportMode.Updates(VersionVector()))
    foreign.append(entry(ADA, 2, (ROOT,), mixed))
    return all(is_refused(engine.check_payload, bad) for bad in foreign)


def test_operations_of_somebody_else_are_refused(text_engine: TextEngine) -> None:
    """Only the one peer derived from session, file and branch may speak."""
    assert check_refuses_foreign_operations(text_engine)
    honest = entry(ADA, 2, (ROOT,), loro_update(derive_peer(ADA, FILE, 1)))
    assert not is_refused(text_engine.check_payload, honest)


def test_planted_bug_an_engine_that_trusts_every_peer_is_caught() -> None:
    """The check above fails for an engine that skips it."""

    class Trusting(LoroTextEngine):
        def check_payload(self, known: KnownEntry) -> None:
            """Accept anything."""

    assert not check_refuses_foreign_operations(Trusting())


@pytest.mark.parametrize("cut", [0, 1, 10, 21, 22, 40, -1])
def test_malformed_payloads_are_refused_before_and_at_import(
    text_engine: TextEngine, cut: int
) -> None:
    """Truncated bytes and garbage never pass, never crash, and leave the document usable."""
    history = History(text_engine)
    good = history.write(ADA, "one\ntwo\n3\n")
    payload = good.entry.payload
    broken = [payload[:cut] or b"\0", Random(cut).randbytes(200), payload[:-4] + b"\0\0\0\0"]
    for bytes_ in broken:
        bad = entry(ADA, 2, (ROOT,), bytes_, branch=1)
        assert is_refused(text_engine.check_payload, bad)
        assert is_refused(text_engine.text_at, history.root, [bad], (bad.ref,))
    assert text_engine.text_at(history.root, history.entries, (good.ref,)) == "one\ntwo\n3\n"


def test_a_snapshot_is_not_an_update(text_engine: TextEngine) -> None:
    """Every mode but plain updates is refused, whoever's operations it holds."""
    peer = derive_peer(ADA, FILE, 1)
    for mode in (ExportMode.Snapshot(), ExportMode.StateOnly(None)):
        bad = entry(ADA, 2, (ROOT,), loro_update(peer, mode=mode))
        assert is_refused(text_engine.check_payload, bad)


@pytest.mark.parametrize("kind", ["mark", "map", "second text"])
def test_an_update_that_does_more_than_insert_and_delete_is_refused(
    text_engine: TextEngine, kind: str
) -> None:
    """Other containers and formatting have no meaning here, so nobody may hide them here."""
    doc = LoroDoc()
    doc.peer_id = derive_peer(ADA, FILE, 1)
    doc.get_text("text").insert(0, "hello")
    if kind == "mark":
        doc.get_text("text").mark(0, 3, "bold", value=True)
    elif kind == "map":
        doc.get_map("more").insert("key", "value")
    else:
        doc.get_text("other").insert(0, "hidden")
    doc.commit()
    bad = entry(ADA, 2, (ROOT,), doc.export(ExportMode.Updates(VersionVector())))
    root = TextRoot(FILE, ROOT, "")
    assert is_refused(text_engine.text_at, root, [bad], (bad.ref,))
    assert text_engine.text_at(root, (), (ROOT,)) == ""


def test_an_update_that_grows_a_text_beyond_every_bound_is_refused(
    text_engine: TextEngine,
) -> None:
    """A text cannot grow by more characters than its header's counters say."""
    bad = entry(ADA, 2, (ROOT,), loro_update(derive_peer(ADA, FILE, 1), "x" * 2_200_000))
    assert is_refused(text_engine.check_payload, bad)


def test_a_small_update_that_unfolds_to_very_many_operations_is_refused(
    text_engine: TextEngine,
) -> None:
    """Every second character deleted, run-length encoded: quadratic work for each replica."""
    history = History(text_engine, "ab" * 30_000)
    first = history.write(ADA, "ab" * 30_000 + "c")
    doc = LoroDoc()
    genesis = LoroDoc()
    genesis.peer_id = genesis_peer(FILE, BlobHash(blake3(history.root.text.encode()).digest()))
    genesis.get_text("text").insert(0, history.root.text)
    doc.import_(genesis.export(ExportMode.Updates(VersionVector())))
    doc.peer_id = derive_peer(EVE, FILE, 9)
    here = doc.oplog_vv
    for position in range(25_000, 0, -1):
        doc.get_text("text").insert(position * 2, "x")
    doc.commit()
    bad = entry(EVE, 9, (ROOT,), doc.export(ExportMode.Updates(here)), branch=9)
    assert not is_refused(text_engine.check_payload, bad)
    with pytest.raises(BadUpdateError, match="holds over 20000 operations"):
        text_engine.text_at(history.root, [bad], (bad.ref,))
    assert text_engine.text_at(history.root, [first], (first.ref,)) == "ab" * 30_000 + "c"


def test_an_update_that_lacks_what_it_builds_on_is_refused(text_engine: TextEngine) -> None:
    """The missing entry may be its parent, or one that its operations secretly need."""
    history = History(LoroTextEngine())
    first = history.write(ADA, "one\nmore\ntwo\nthree\n")
    second = history.write(BOB, "one\nmore and more\ntwo\nthree\n")
    assert is_refused(text_engine.text_at, history.root, [second], (second.ref,))
    liar = entry(BOB, 3, (ROOT,), second.entry.payload, branch=second.entry.branch)
    assert is_refused(text_engine.text_at, history.root, [liar], (liar.ref,))
    heads = (first.ref, liar.ref)
    assert is_refused(text_engine.text_at, history.root, [first, liar], heads)
    text = text_engine.text_at(history.root, history.entries, (second.ref,))
    assert text == "one\nmore and more\ntwo\nthree\n"


def test_heads_that_are_not_there_are_an_error(text_engine: TextEngine) -> None:
    """Nobody gets an older text in place of the one that was asked for."""
    history = History(text_engine)
    first = history.write(ADA, "one\n2\nthree\n")
    elsewhere = EntryRef(EVE, 5, EntryId(bytes(32)))
    heads = (first.ref, elsewhere)
    assert is_refused(text_engine.text_at, history.root, history.entries, heads)
    assert is_refused(text_engine.blame, history.root, history.entries, heads)
    assert is_refused(text_engine.text_at, history.root, history.entries, ())


def test_operation_ids_cannot_be_used_twice(text_engine: TextEngine) -> None:
    """Loro would silently ignore the second use; here it is refused, and nothing is harmed."""
    history = History(text_engine)
    first = history.write(ADA, "one\ntwo\nthree, four\n", (ROOT,))
    other = LoroTextEngine().derive_update(history.root, (), (ROOT,), "0\ntwo\nthree\n", ADA, 1)
    assert other
    again = entry(ADA, 3, (ROOT,), other, branch=1)
    heads = (first.ref, again.ref)
    assert is_refused(text_engine.text_at, history.root, [first, again], heads)
    assert text_engine.text_at(history.root, [first], (first.ref,)) == "one\ntwo\nthree, four\n"
