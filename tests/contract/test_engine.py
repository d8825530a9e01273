"""What every text engine and every tree engine must do, and planted bugs that are caught."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from random import Random, SystemRandom

import pytest
from blake3 import blake3
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loro import ExportMode, LoroDoc, VersionVector

from aiplatform.mesh_ide.documents.engine.lineage import Lineage
from aiplatform.mesh_ide.documents.engine.peers import derive_peer, genesis_peer
from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.model.entries import Entry, EntryRef, KnownEntry, Principal
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    TREE_FILE,
    BlobHash,
    EntryId,
    FileId,
    SessionId,
)
from aiplatform.mesh_ide.ports.engine import (
    MoveNode,
    PlaceNode,
    Splice,
    TextEngine,
    TextRoot,
    TreeEngine,
    TreePlace,
)
from aiplatform.mesh_ide.ports.errors import BadUpdateError

FILE = FileId(b"a text file id.."[:16])
ROOT = EntryRef(SessionId(bytes(32)), 1, EntryId(sha256(b"root").digest()))
ADA, BOB, EVE = (SessionId(bytes([i]) * 32) for i in (1, 2, 3))

TEXT_ENGINES: dict[str, Callable[[], TextEngine]] = {
    "loro": LoroTextEngine,
    "loro-keeps-one": lambda: LoroTextEngine(documents_max=1, cache_bytes_max=0),
}
TREE_ENGINES: dict[str, Callable[[], TreeEngine]] = {"loro": LoroTreeEngine}


def entry(  # noqa: PLR0913 - one value per fact
    session: SessionId,
    sequence: int,
    parents: Sequence[EntryRef],
    payload: bytes,
    *,
    branch: int = 1,
    file: FileId = FILE,
    kind: EntryKind = EntryKind.UPDATE,
    lineage: EntryId = NO_ENTRY,
) -> KnownEntry:
    """Return an entry as the engine gets it; the id stands for a hash of the rest."""
    made = Entry(
        session=session,
        sequence=sequence,
        previous=NO_ENTRY,
        file=file,
        kind=kind,
        parents=tuple(parents),
        result=None,
        size=0,
        mode=FileMode.REGULAR,
        is_text=True,
        branch=branch,
        is_save=True,
        time_ms=0,
        principal=Principal(PrincipalKind.PERSON, "somebody"),
        inference=BaseInference.KNOWN,
        payload=payload,
        lineage=lineage,
    )
    name = sha256(session + sequence.to_bytes(8, "big") + payload + file).digest()
    return KnownEntry(EntryRef(session, sequence, EntryId(name)), made, b"")


class History:
    """Writes a history of one text through an engine, with honest branches."""

    def __init__(self, engine: TextEngine, text: str = "one\ntwo\nthree\n") -> None:
        self.engine = engine
        self.root = TextRoot(FILE, ROOT, text)
        self.entries: list[KnownEntry] = []
        self.texts: dict[EntryRef, str] = {ROOT: text}
        self._past: dict[EntryRef, frozenset[EntryRef]] = {ROOT: frozenset({ROOT})}
        self._tips: dict[SessionId, tuple[int, EntryRef]] = {}

    def past(self, heads: Iterable[EntryRef]) -> frozenset[EntryRef]:
        """Return everything that these entries build on, themselves included."""
        return frozenset().union(*(self._past[head] for head in heads))

    def heads(self) -> tuple[EntryRef, ...]:
        """Return the entries that nothing builds on."""
        built_on = {parent for known in self.entries for parent in known.entry.parents}
        return tuple(sorted(ref for ref in self.texts if ref not in built_on))

    def antichain(self, refs: Iterable[EntryRef]) -> tuple[EntryRef, ...]:
        """Return those of these entries that none of the others builds on."""
        chosen = set(refs)
        return tuple(
            sorted(
                ref
                for ref in chosen
                if not any(ref in self._past[other] for other in chosen - {ref})
            )
        )

    def branch(self, session: SessionId, base: Sequence[EntryRef]) -> int:
        """Return the branch that goes on at this base, or a new one."""
        branch, tip = self._tips.get(session, (0, None))
        return branch if tip in self.past(base) else len(self.entries) + 1

    def write(self, session: SessionId, text: str, base: Sequence[EntryRef] = ()) -> KnownEntry:
        """Let a session turn the text at ``base`` (all heads if empty) into ``text``."""
        base = base or self.heads()
        branch = self.branch(session, base)
        payload = self.engine.derive_update(self.root, self.entries, base, text, session, branch)
        assert payload is not None, "these texts are alike enough"
        return self.add(session, base, payload, branch, text)

    def add(
        self, session: SessionId, base: Sequence[EntryRef], payload: bytes, branch: int, text: str
    ) -> KnownEntry:
        """Append an entry to the history."""
        known = entry(session, len(self.entries) + 2, base, payload, branch=branch)
        self.entries.append(known)
        self.texts[known.ref] = text
        self._past[known.ref] = self.past(base) | {known.ref}
        self._tips[session] = (branch, known.ref)
        return known


@pytest.fixture(params=TEXT_ENGINES)
def text_engine(request: pytest.FixtureRequest) -> TextEngine:
    """Each text engine in turn."""
    return TEXT_ENGINES[request.param]()


@pytest.fixture(params=TREE_ENGINES)
def tree_engine(request: pytest.FixtureRequest) -> TreeEngine:
    """Each tree engine in turn."""
    return TREE_ENGINES[request.param]()


def is_refused(call: Callable[..., object], *arguments: object) -> bool:
    """Return whether a call says that an update is bad."""
    try:
        call(*arguments)
    except BadUpdateError:
        return True
    return False


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
    payload = text_engine.splice_update(history.root, (), (ROOT,), splices, ADA, 2)
    known = history.add(ADA, (ROOT,), payload, 2, "Xyb")
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


def loro_update(peer: int, text: str = "hello", mode: ExportMode | None = None) -> bytes:
    """Return an update that Loro itself made under a peer id."""
    doc = LoroDoc()
    doc.peer_id = peer
    doc.get_text("text").insert(0, text)
    doc.commit()
    return doc.export(mode or ExportMode.Updates(VersionVector()))


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


# --- texts: what holds for any history ----------------------------------------------------------

LINES = st.text(alphabet="ab \n\U0001f600é\r", max_size=30)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.lists(st.integers(0, 20), min_size=1, max_size=3),
        st.floats(0, 1),
        st.integers(0, 12),
        LINES,
    ),
    min_size=1,
    max_size=8,
)
Step = tuple[int, list[int], float, int, str]


def play(engine: TextEngine, steps: Sequence[Step]) -> History:
    """Let three sessions edit at any frontiers of the history so far."""
    history = History(engine, "one\r\ntwo \U0001f600\nthree\n")
    for who, bases, where, removed, insert in steps:
        refs = list(history.texts)
        base = history.antichain(refs[pick % len(refs)] for pick in bases)
        text = engine.text_at(history.root, history.entries, base)
        at = int(where * len(text))
        history.write((ADA, BOB, EVE)[who], text[:at] + insert + text[at + removed :], base)
    return history


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.randoms(use_true_random=False))
def test_merges_commute_associate_and_are_idempotent(steps: list[Step], chance: Random) -> None:
    """Whatever the order of delivery, the grouping and the repetition, the text is one."""
    history = play(LoroTextEngine(), steps)
    heads = history.heads()
    expected = LoroTextEngine().text_at(history.root, history.entries, heads)
    for _ in range(3):
        engine = LoroTextEngine()
        delivered: list[KnownEntry] = []
        waiting = list(history.entries)
        while waiting:
            there = {ROOT, *(known.ref for known in delivered)}
            ready = [known for known in waiting if there.issuperset(known.entry.parents)]
            chosen = chance.choice(ready)
            waiting.remove(chosen)
            delivered += [chosen] * chance.choice((1, 1, 2))
            frontier = history.antichain(known.ref for known in delivered)
            engine.text_at(history.root, delivered, frontier)
        assert expected == engine.text_at(history.root, delivered, tuple(reversed(heads)))
        assert expected == engine.text_at(history.root, reversed(delivered), heads * 2)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_cold_and_warm_caches_answer_alike(steps: list[Step]) -> None:
    """Texts, blame and the bytes of new updates do not depend on what is cached or known."""
    history = play(LoroTextEngine(), steps)
    again = play(LoroTextEngine(documents_max=1, cache_bytes_max=0), steps)
    assert history.entries == again.entries
    warm = history.engine
    for ref, text in history.texts.items():
        assert text == LoroTextEngine().text_at(history.root, history.entries, (ref,))
        assert text == warm.text_at(history.root, history.entries, (ref,))
        cold = LoroTextEngine().blame(history.root, reversed(history.entries), (ref,))
        assert cold == warm.blame(history.root, history.entries, (ref,))
        assert len(text) == sum(span.length for span in cold)
        branch = history.branch(EVE, (ref,))
        wanted = (history.root, history.entries, (ref,), text[1:] + "!", EVE, branch)
        assert LoroTextEngine().derive_update(*wanted) == warm.derive_update(*wanted)


def check_engines_agree(make: Callable[[], TextEngine]) -> bool:
    """Return whether an engine can read, byte for byte, what another of its kind wrote."""
    first, second = make(), make()
    history = History(first)
    written = [history.write(ADA, "one\n2\nthree\n"), history.write(BOB, "one\n2\nthree\n4\n")]
    again = History(second)
    if written[:1] != [again.write(ADA, "one\n2\nthree\n")]:
        return False
    return second.text_at(history.root, history.entries, history.heads()) == "one\n2\nthree\n4\n"


@pytest.mark.parametrize("make", TEXT_ENGINES.values(), ids=TEXT_ENGINES)
def test_two_engines_write_equal_bytes(make: Callable[[], TextEngine]) -> None:
    """The genesis needs no exchange: everybody derives it."""
    assert check_engines_agree(make)


def test_planted_bug_a_random_peer_for_the_genesis_is_caught() -> None:
    """Two such engines cannot read each other, and the check above says so."""

    class RandomGenesis(Lineage):
        @staticmethod
        def _genesis_peer(root: TextRoot, content: bytes) -> int:  # noqa: ARG004 - the bug
            return SystemRandom().randrange(1, 2**63)

    class RandomEngine(LoroTextEngine):
        def _build(self, root: TextRoot) -> Lineage:
            return RandomGenesis(root)

    assert not check_engines_agree(RandomEngine)


_DETERMINISM = """
import hashlib, random, sys
from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.ports.engine import PlaceNode, TextRoot
ref = EntryRef(bytes(32), 1, bytes(32))
lines = [f"line {i} of the text\\n" for i in range(300)]
new = [l.replace("text", "book") if i % 7 == 0 else l for i, l in enumerate(lines)]
random.Random(5).shuffle(new)
old = "".join(lines)
said = LoroTextEngine().derive_update(
    TextRoot(bytes(16), ref, old), (), (ref,), "".join(new[:90]) + old[2000:], b"s" * 32, 1)
tree = LoroTreeEngine()
places = [PlaceNode(None if i < 5 else i % 5, f"n{i}", None if i < 5 else bytes([i] * 16))
          for i in range(100)]
said += tree.edit(places, b"s" * 32, 1).payload + tree.snapshot()
sys.stdout.write(hashlib.sha256(said).hexdigest())
"""


def test_bytes_are_equal_across_hash_seeds() -> None:
    """Another process with another seed for its hash tables writes the same bytes."""
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DETERMINISM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=True,
            timeout=30,
        ).stdout
        for seed in ("0", "1", "77")
    }
    assert len(digests) == 1
    assert all(digests)


# --- trees --------------------------------------------------------------------------------------


def standing(places: Iterable[TreePlace]) -> dict[str, TreePlace]:
    """Return places by node."""
    return {place.node: place for place in places}


def everything(engine: TreeEngine) -> dict[str, TreePlace]:
    """Return where every node of a tree stands, by way of its snapshot."""
    return standing(LoroTreeEngine().load(engine.snapshot(), ()))


def tree_entry(session: SessionId, sequence: int, payload: bytes) -> KnownEntry:
    """Return an entry of the tree document."""
    return entry(session, sequence, (), payload, file=TREE_FILE)


def test_an_edit_tells_where_its_nodes_stand(tree_engine: TreeEngine) -> None:
    """Later operations of one edit may stand in folders that earlier ones make."""
    made = tree_engine.edit([PlaceNode(None, "src", None), PlaceNode(0, "a.py", FILE)], ADA, 1)
    folder, file = made.places
    assert (folder.parent, folder.name, folder.file) == (None, "src", None)
    assert (file.parent, file.name, file.file) == (folder.node, "a.py", FILE)
    moved = tree_engine.edit([MoveNode(file.node, None, "b.py")], ADA, 1)
    assert moved.places == (TreePlace(file.node, None, "b.py", FILE),)
    assert everything(tree_engine) == standing((folder, *moved.places))


def test_importing_returns_what_changed(tree_engine: TreeEngine) -> None:
    """Creations, moves and renames, in the words of the author's own edit; twice is once."""
    author = LoroTreeEngine()
    made = author.edit(
        [PlaceNode(None, "src", None), *(PlaceNode(0, f"{i}", FILE) for i in range(20))], ADA, 1
    )
    first = tree_entry(ADA, 1, made.payload)
    assert standing(tree_engine.import_payloads([first])) == standing(made.places)
    node = made.places[3].node
    for sequence, target in enumerate((None, made.places[0].node), 2):
        moved = author.edit([MoveNode(node, target, f"new {sequence}")], ADA, 1)
        changed = tree_engine.import_payloads([tree_entry(ADA, sequence, moved.payload)])
        assert changed == moved.places
    renamed = author.edit([MoveNode(node, made.places[0].node, "renamed")], ADA, 1)
    assert tree_engine.import_payloads([tree_entry(ADA, 4, renamed.payload)]) == renamed.places
    assert tree_engine.import_payloads([tree_entry(ADA, 4, renamed.payload)]) == ()
    assert everything(tree_engine) == everything(author)


def test_a_concurrent_move_and_rename_both_stay(tree_engine: TreeEngine) -> None:
    """A node's place and its name merge apart."""
    made = tree_engine.edit([PlaceNode(None, "d", None), PlaceNode(None, "f", FILE)], ADA, 1)
    other = LoroTreeEngine()
    other.import_payloads([tree_entry(ADA, 1, made.payload)])
    folder, file = made.places
    tree_engine.edit([MoveNode(file.node, folder.node, "f")], ADA, 1)
    renamed = other.edit([MoveNode(file.node, None, "g")], BOB, 1)
    changed = tree_engine.import_payloads([tree_entry(BOB, 1, renamed.payload)])
    assert changed == (TreePlace(file.node, folder.node, "g", FILE),)


def test_concurrent_moves_into_each_other_make_no_cycle(tree_engine: TreeEngine) -> None:
    """One of the moves stands on both nodes, whoever hears first."""
    made = tree_engine.edit([PlaceNode(None, "a", None), PlaceNode(None, "b", None)], ADA, 1)
    other = LoroTreeEngine()
    other.import_payloads([tree_entry(ADA, 1, made.payload)])
    a, b = (place.node for place in made.places)
    ours = tree_engine.edit([MoveNode(a, b, "a")], ADA, 1)
    theirs = other.edit([MoveNode(b, a, "b")], BOB, 1)
    before = everything(tree_engine)
    changed = tree_engine.import_payloads([tree_entry(BOB, 1, theirs.payload)])
    other.import_payloads([tree_entry(ADA, 2, ours.payload)])
    assert everything(tree_engine) == everything(other)
    assert before | standing(changed) == everything(tree_engine)
    assert sum(place.parent is None for place in everything(other).values()) == 1


@pytest.mark.parametrize("kind", ["stranger", "snapshot", "garbage", "gap", "deletion", "text"])
def test_bad_tree_updates_are_refused_and_leave_the_tree(
    tree_engine: TreeEngine, kind: str
) -> None:
    """Nothing of the call stays, not even the good updates beside the bad one."""
    author = LoroTreeEngine()
    made = author.edit([PlaceNode(None, "d", None)], ADA, 1)
    good = author.edit([PlaceNode(None, "e", None)], ADA, 1)
    more = author.edit([PlaceNode(None, "f", None)], ADA, 1)
    tree_engine.import_payloads([tree_entry(ADA, 1, made.payload)])
    before = everything(tree_engine)
    bad = {
        "stranger": tree_entry(BOB, 3, more.payload),
        "snapshot": tree_entry(ADA, 3, author.snapshot()),
        "garbage": tree_entry(ADA, 3, more.payload[:-7]),
        "gap": tree_entry(ADA, 3, more.payload),
        "deletion": tree_entry(EVE, 3, deletion(made.payload, made.places[0])),
        "text": entry(ADA, 3, (), more.payload),
    }[kind]
    given_ = [bad] if kind == "gap" else [tree_entry(ADA, 2, good.payload), bad]
    assert is_refused(tree_engine.import_payloads, given_)
    assert everything(tree_engine) == before
    rest = [tree_entry(ADA, 2, good.payload), tree_entry(ADA, 3, more.payload)]
    tree_engine.import_payloads(rest)
    assert everything(tree_engine) == everything(author)


def deletion(history: bytes, place: TreePlace) -> bytes:
    """Return an update that deletes a node, which no engine of ours writes."""
    doc = LoroDoc()
    doc.import_(history)
    doc.peer_id = derive_peer(EVE, TREE_FILE, 1)
    here = doc.oplog_vv
    tree = doc.get_tree("tree")
    (node,) = (one.id for one in tree.get_nodes(with_deleted=False))
    assert place.node == f"{node.counter}@{node.peer}"
    tree.delete(node)
    doc.commit()
    return doc.export(ExportMode.Updates(here))


def is_within(places: dict[str, TreePlace], node: str | None, ancestor: str) -> bool:
    """Return whether a node is another one or stands below it."""
    while node is not None and node != ancestor:
        node = places[node].parent
    return node is not None


def test_a_tree_loads_from_snapshot_and_later_payloads(tree_engine: TreeEngine) -> None:
    """And from payloads alone; damage is an error and leaves the tree as it was."""
    author = LoroTreeEngine()
    first = author.edit([PlaceNode(None, "d", None)], ADA, 1)
    snapshot = author.snapshot()
    second = author.edit([PlaceNode(first.places[0].node, "f", FILE)], ADA, 1)
    expected = standing((*first.places, *second.places))
    assert standing(tree_engine.load(snapshot, [second.payload])) == expected
    assert standing(tree_engine.load(None, [first.payload, second.payload])) == expected
    for damaged in (snapshot[:-5], b"", b"nonsense"):
        assert is_refused(tree_engine.load, damaged, ())
    assert is_refused(tree_engine.load, None, [second.payload])
    assert everything(tree_engine) == expected
    assert tree_engine.load(None, ()) == ()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(-1, 30), st.booleans()),
        max_size=20,
    ),
    st.randoms(use_true_random=False),
)
def test_trees_converge_and_changes_are_complete(
    steps: list[tuple[int, int, int, bool]], chance: Random
) -> None:
    """Three authors edit and exchange at random; what imports report is what happened."""
    sessions = (ADA, BOB, EVE)
    engines = [LoroTreeEngine() for _ in sessions]
    mirrors: list[dict[str, TreePlace]] = [{} for _ in sessions]
    said: list[tuple[int, KnownEntry]] = []
    heard = [0, 0, 0]

    def listen(who: int) -> None:
        news = [known for author, known in said[heard[who] :] if author != who]
        mirrors[who] |= standing(engines[who].import_payloads(news))
        heard[who] = len(said)

    for number, (who, pick, target, is_new) in enumerate(steps):
        nodes = sorted(mirrors[who])
        parent = mirrors[who][nodes[target % len(nodes)]].node if nodes and target >= 0 else None
        if is_new or not nodes:
            operation: PlaceNode | MoveNode = PlaceNode(parent, f"n{number}", None)
        else:
            node = mirrors[who][nodes[pick % len(nodes)]]
            if is_within(mirrors[who], parent, node.node):
                continue
            operation = MoveNode(node.node, parent, f"m{number}")
        made = engines[who].edit([operation], sessions[who], 1)
        mirrors[who] |= standing(made.places)
        if heard[who] == len(said):
            heard[who] += 1
        said.append((who, tree_entry(sessions[who], number + 1, made.payload)))
        if chance.random() < 0.4:
            listen(chance.randrange(3))
    for who in range(3):
        listen(who)
    assert everything(engines[0]) == everything(engines[1]) == everything(engines[2])
    assert [mirrors[who] == everything(engines[who]) for who in range(3)] == [True] * 3
