"""How the entries of others come in: verified slices in, jobs and notices out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import pytest

from aiplatform.mesh_ide.documents.intake import _SUSPECTS_MAX, Intake
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import (
    EntriesStored,
    FilesChanged,
    Notice,
    ParentsMissing,
    PathsChanged,
    PeerMisbehaved,
    TreeFlawed,
)
from aiplatform.mesh_ide.documents.places import PathChange
from aiplatform.mesh_ide.identity.batches import open_slice
from aiplatform.mesh_ide.identity.equivocation import signed_place
from aiplatform.mesh_ide.identity.subsets import subset
from aiplatform.mesh_ide.model.entries import BatchSlice, EntryRef, KnownEntry
from aiplatform.mesh_ide.model.ids import TREE_FILE, NodeId, SessionId
from aiplatform.mesh_ide.ports.jobs import (
    ImportTree,
    Job,
    Persist,
    Persisted,
    SliceFault,
    SlicesVerified,
    TreeImported,
    VerifySlices,
)
from aiplatform.mesh_ide.ports.store import PutEntries, PutRecord, RecordKind
from tests.unit.documents.authors import PEER, WORKSPACE, Author, file, place

Out = list[Job | Notice]
FILE = file(1)


class Strict:
    """A policy by session: who is listed may not write."""

    def __init__(self) -> None:
        """Let everybody write."""
        self.shut: dict[SessionId, str] = {}
        self.asked: list[tuple[SessionId, int, NodeId]] = []

    def objection(self, session: SessionId, sequence: int, deliverer: NodeId) -> str | None:
        """Return what was said against this session."""
        self.asked.append((session, sequence, deliverer))
        return self.shut.get(session)


class Door:
    """An intake with an empty ledger, whose verification the test plays."""

    def __init__(self) -> None:
        """Know nothing yet."""
        self.ledger = Ledger(Author("here").session)
        self.policy = Strict()
        self.intake = Intake(self.ledger, self.policy)

    def verified(self, ticket: int, *pieces: BatchSlice, now_ms: int = 0) -> Out:
        """Say that these slices are what their sessions signed."""
        good = tuple((piece, open_slice(piece, WORKSPACE)) for piece in pieces)
        return self.intake.on_verified(SlicesVerified(PEER, good, ()), ticket, now_ms)


def said(author: Author, *numbers: int) -> BatchSlice:
    """Let an author create files in one batch."""
    author.say(*(author.genesis(file(number)) for number in numbers))
    return author.said[-1]


def puts(job: Job | Notice) -> list[PutEntries]:
    """Return the entries a commit stores."""
    assert isinstance(job, Persist)
    return [write for write in job.writes if isinstance(write, PutEntries)]


def refs(known: Sequence[KnownEntry]) -> list[EntryRef]:
    """Return the names of entries."""
    return [one.ref for one in known]


# --- the usual way -------------------------------------------------------------------------------


def test_nothing_is_looked_at_before_it_is_verified() -> None:
    """What arrives goes to be checked; an empty message asks for nothing."""
    door, piece = Door(), said(Author("ben"), 1)
    assert door.intake.receive(PEER, (piece,)) == [VerifySlices(PEER, (piece,))]
    assert door.intake.receive(PEER, ()) == []
    assert door.ledger.state(FILE) is None


def test_a_good_slice_is_taken_stored_and_then_told() -> None:
    """Verified → persist, changed → persisted → stored, with the slice as it came."""
    door, piece = Door(), said(Author("ben"), 1, 2)
    persist, changed = door.verified(5, piece)
    assert isinstance(persist, Persist)
    assert persist.ticket == 5
    assert [put.slice for put in puts(persist)] == [piece]
    records = [write for write in persist.writes if isinstance(write, PutRecord)]
    assert [(one.kind, one.key) for one in records] == [
        (RecordKind.FILE, FILE),
        (RecordKind.FILE, file(2)),
    ]
    assert changed == FilesChanged((FILE, file(2)), PEER)
    assert door.ledger.is_storing(FILE)
    assert door.intake.on_persisted(Persisted(5)) == [
        EntriesStored((piece,), (FILE, file(2)), PEER)
    ]
    assert not door.ledger.is_storing(FILE)
    assert door.intake.on_persisted(Persisted(5)) == []


def test_what_is_known_already_asks_for_nothing() -> None:
    """The second copy of a slice leaves no job and no notice."""
    door, piece = Door(), said(Author("ben"), 1)
    door.verified(1, piece)
    assert door.verified(2, piece) == []


def test_faults_of_slices_are_told_of_the_peer_and_the_session() -> None:
    """What did not pass verification is nobody's entry."""
    door, ben = Door(), Author("ben")
    piece = said(ben, 1)
    (known,) = open_slice(piece, WORKSPACE)
    half = signed_place(piece, (known,), 0)
    fault = SliceFault(piece, "not signed", (half, half))
    out = door.intake.on_verified(SlicesVerified(PEER, (), (fault,)), 1)
    assert out == [PeerMisbehaved(PEER, "not signed", (half, half), ben.session)]
    assert door.ledger.state(FILE) is None


# --- refusals ------------------------------------------------------------------------------------


def test_an_author_without_the_role_is_refused_once_for_all_its_entries() -> None:
    """Nothing is taken or stored; one notice says why, who delivered it was asked about."""
    door, mallory = Door(), Author("mallory")
    door.policy.shut[mallory.session] = "may not edit"
    assert door.verified(1, said(mallory, 1, 2)) == [PeerMisbehaved(PEER, "may not edit")]
    assert door.policy.asked == [(mallory.session, 1, PEER), (mallory.session, 2, PEER)]
    assert door.ledger.state(FILE) is None


def test_entries_before_their_past_are_asked_for_with_it() -> None:
    """A missing parent drops the entry and names the file, once."""
    door, ben = Door(), Author("ben")
    said(ben, 1)
    ben.say(ben.change(FILE, "two"))
    ben.say(ben.change(FILE, "three"))
    assert door.verified(1, *ben.said[1:]) == [ParentsMissing(PEER, (FILE,))]
    persist, _ = door.verified(2, *ben.said)
    assert len(puts(persist)) == 3


def test_of_a_slice_only_what_was_taken_is_stored_with_its_proofs() -> None:
    """Two of four entries came too early: the others still prove what their session signed."""
    door, ben = Door(), Author("ben")
    said(ben, 1, 2)
    ben.say(
        ben.genesis(file(3)),
        ben.change(FILE, "two"),
        ben.genesis(file(4)),
        ben.change(file(2), "two"),
    )
    missing, persist, changed = door.verified(1, ben.said[1])
    assert missing == ParentsMissing(PEER, (FILE, file(2)))
    (put,) = puts(persist)
    assert put.slice.indexes == (0, 2)
    assert refs(open_slice(put.slice, WORKSPACE)) == refs(put.known)
    assert changed == FilesChanged((file(3), file(4)), PEER)
    stored = door.intake.on_persisted(Persisted(1))
    assert stored == [EntriesStored((put.slice,), (file(3), file(4)), PEER)]


def test_a_part_of_a_part_keeps_its_proofs() -> None:
    """A slice that came with proofs is cut further without the rest of its batch."""
    door, ben = Door(), Author("ben")
    said(ben, 1)
    known = ben.say(ben.genesis(file(2)), ben.change(FILE, "two"), ben.genesis(file(3)))
    part = subset(ben.said[1], known, [1, 2])
    _, persist, _ = door.verified(1, part)
    (put,) = puts(persist)
    assert put.slice.indexes == (2,)
    assert refs(open_slice(put.slice, WORKSPACE)) == refs(put.known)


# --- equivocation --------------------------------------------------------------------------------


def two_stories() -> tuple[BatchSlice, BatchSlice, Author]:
    """Return two batches of one session that say different things under one number."""
    ben = Author("ben")
    liar = ben.twin()
    return said(ben, 1), said(liar, 2), ben


def test_a_contradiction_is_not_taken_while_the_first_story_is_on_its_way() -> None:
    """It waits until the first is durable, and is looked at again then: the store has the proof."""
    door, (one, other, _) = Door(), two_stories()
    persist, _ = door.verified(1, one)
    assert isinstance(persist, Persist)
    assert door.verified(2, other) == []
    assert door.ledger.state(file(2)) is None
    stored, again = door.intake.on_persisted(Persisted(1))
    assert isinstance(stored, EntriesStored)
    assert isinstance(again, VerifySlices)
    (piece,) = again.slices
    assert refs(open_slice(piece, WORKSPACE)) == refs(open_slice(other, WORKSPACE))


def test_a_contradiction_of_what_is_durable_is_looked_at_at_once() -> None:
    """Nothing is under way: the second look is the next job."""
    door, (one, other, _) = Door(), two_stories()
    door.verified(1, one)
    door.intake.on_persisted(Persisted(1))
    (again,) = door.verified(2, other)
    assert isinstance(again, VerifySlices)
    assert door.verified(3, one) == []


def test_a_contradiction_does_not_hold_up_its_batch() -> None:
    """What else the lying session said is judged by itself, entry by entry."""
    door = Door()
    ben = Author("ben")
    liar = ben.twin()
    one, lies = said(ben, 1), said(liar, 2, 3)
    door.verified(1, one)
    persist, _ = door.verified(2, lies)
    assert puts(persist)[0].slice.indexes == (1,)
    assert door.ledger.state(file(2)) is None
    assert door.ledger.state(file(3)) is not None


def test_what_the_store_refuses_is_looked_at_again() -> None:
    """The store's unique key knows older entries than memory: its refusal asks for the proof."""
    door, (_, other, ben) = Door(), two_stories()
    door.verified(1, other)
    (known,) = open_slice(other, WORKSPACE)
    assert known.ref.session == ben.session
    again, stored = door.intake.on_persisted(Persisted(1, refused=(known.ref,)))
    assert again == VerifySlices(PEER, (other,))
    assert isinstance(stored, EntriesStored)


# --- what waits here -----------------------------------------------------------------------------


class Uncounted(Intake):
    """Lets suspects wait for nothing: the planted bug."""

    def _suspect(self, peer: NodeId, piece: BatchSlice) -> None:
        """Keep without counting."""
        self._suspects.append((peer, piece))


class Unreleased(Intake):
    """Goes on counting what is durable: the planted bug."""

    def _let_go(self, peer: NodeId, pieces: Iterable[BatchSlice]) -> None:
        """Let nothing go."""


def counts_what_waits(kind: type[Intake]) -> bool:
    """Return whether the sums are right after each step of a story with contradictions."""
    door, ben, liars = Door(), Author("ben"), _SUSPECTS_MAX + 2
    door.intake = kind(door.ledger, door.policy)
    twins = [ben.twin() for _ in range(liars)]
    door.verified(1, said(ben, 1))
    steps: list[Callable[[], object]] = [
        partial(door.verified, number, said(twin, number)) for number, twin in enumerate(twins, 2)
    ]
    steps.append(lambda: door.intake.on_persisted(Persisted(1)))
    for step in steps:
        step()
        try:
            door.intake._check_invariants()
        except AssertionError:
            return False
    return door.intake.held_bytes(PEER) == 0


def test_what_waits_is_counted_until_it_is_durable_or_looked_at_again() -> None:
    """Suspects over the bound are forgotten and cost nothing; at the end nothing is held."""
    assert counts_what_waits(Intake)


@pytest.mark.parametrize("broken", [Uncounted, Unreleased])
def test_variants_that_miscount_what_waits_are_caught(broken: type[Intake]) -> None:
    """The check of the sums can fail."""
    assert not counts_what_waits(broken)


def test_entries_are_held_until_the_disk_has_them() -> None:
    """As many bytes as their encoding has, on the account of who delivered them."""
    door, piece = Door(), said(Author("ben"), 1, 2)
    assert door.intake.held_bytes(PEER) == 0
    door.verified(1, piece)
    assert door.intake.held_bytes(PEER) == sum(map(len, piece.entries))
    assert door.intake.held_bytes(NodeId(b"o" * 32)) == 0
    door.intake.on_persisted(Persisted(1))
    assert door.intake.held_bytes(PEER) == 0


# --- mending -------------------------------------------------------------------------------------


def test_entries_that_rotted_are_stored_again() -> None:
    """A duplicate of a file that is being mended goes to the store, and changes nothing else."""
    door, piece = Door(), said(Author("ben"), 1, 2)
    door.verified(1, piece)
    door.intake.on_persisted(Persisted(1))
    door.intake.mending[FILE] = 0
    (persist,) = door.verified(2, piece, now_ms=77)
    assert [refs(put.known) for put in puts(persist)] == [refs(open_slice(piece, WORKSPACE)[:1])]
    assert door.intake.mending == {FILE: 77}
    assert door.intake.on_persisted(Persisted(2)) == []


# --- the tree ------------------------------------------------------------------------------------


def test_edits_of_the_tree_are_imported_before_they_are_durable() -> None:
    """Import, persist, changed: the index follows the ledger closely."""
    door, ben = Door(), Author("ben")
    known = ben.say(ben.tree_edit("a place"), ben.genesis(FILE))
    job, persist, changed = door.verified(1, ben.said[0])
    assert job == ImportTree(known[:1])
    assert len(puts(persist)) == 1
    assert changed == FilesChanged((TREE_FILE, FILE), PEER)


def test_new_places_reach_the_index_and_bad_names_are_told() -> None:
    """A name that no disk can have stands nowhere, with the reason; so do refused edits."""
    door, ben = Door(), Author("ben")
    (bad,) = ben.say(ben.tree_edit("bad"))
    result = TreeImported((place("a", FILE), place("..", file(2))), "not Loro", (bad.ref,))
    changed, flawed = door.intake.on_tree_imported(result)
    assert changed == PathsChanged((PathChange(FILE, None, "a"),))
    assert flawed == TreeFlawed((("..", "means a folder itself"),), "not Loro", (bad.ref,))
    assert door.ledger.index.path_of(FILE) == "a"
