"""How local changes become signed, durable entries: submissions in, jobs and notices out."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.documents.authoring import (
    ROUND_ENTRIES_MAX,
    Authoring,
    CreatePath,
    MoveFolder,
    MovePath,
    Submission,
)
from aiplatform.mesh_ide.documents.notices import (
    EntriesStored,
    FilesChanged,
    Notice,
    PathsChanged,
)
from aiplatform.mesh_ide.documents.places import PathChange
from aiplatform.mesh_ide.model.entries import BatchSlice, EntryDraft, KnownEntry
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId
from aiplatform.mesh_ide.ports.engine import MoveNode, PlaceNode
from aiplatform.mesh_ide.ports.jobs import (
    EditTree,
    EntriesSealed,
    Job,
    Persist,
    SealEntries,
    TreeEdited,
)
from aiplatform.mesh_ide.ports.store import PutEntries, PutRecord
from tests.unit.documents.authors import PERSON, Author, file, place

Out = list[Job | Notice]


class Desk:
    """An authoring whose jobs the test answers one by one."""

    def __init__(self) -> None:
        """Begin with an empty ledger."""
        self.author = Author("anna")
        self.ledger = self.author.ledger
        self.authoring = Authoring(self.ledger, PERSON)
        self.tickets = 0

    def submit(self, tag: int, *drafts: EntryDraft, intents: tuple[object, ...] = ()) -> Out:
        """Submit a change as the workspace and requests do: with its files claimed."""
        for draft in drafts:
            self.ledger.claim(draft.file)
        return self.authoring.submit(Submission(intents, drafts, tag), 7)  # type: ignore[arg-type]

    def create(self, tag: int, number: int) -> Out:
        """Submit the creation of a file without a place."""
        return self.submit(tag, self.author.genesis(file(number)))

    def seal(self, job: Job | Notice) -> Out:
        """Answer a seal."""
        assert isinstance(job, SealEntries)
        slices: list[BatchSlice] = []
        known: list[KnownEntry] = []
        for first in range(0, len(job.drafts), 256):
            piece, entries = self.author.sign(job.drafts[first : first + 256])
            slices.append(piece)
            known.extend(entries)
        self.tickets += 1
        result = EntriesSealed(tuple(slices), tuple(known))
        return self.authoring.on_sealed(result, self.tickets, 8)


def files_of(job: Job | Notice) -> list[FileId]:
    """Return the files of a seal's drafts, in order."""
    assert isinstance(job, SealEntries)
    return [draft.file for draft in job.drafts]


# --- a round -------------------------------------------------------------------------------------


def test_a_change_is_sealed_persisted_and_only_then_told() -> None:
    """Submit → seal → changed, persist → stored; each once, the tag with it."""
    desk = Desk()
    (seal,) = desk.create(1, 1)
    assert isinstance(seal, SealEntries)
    assert (files_of(seal), seal.time_ms) == ([file(1)], 7)
    changed, persist = desk.seal(seal)
    assert isinstance(changed, FilesChanged)
    assert (changed.files, changed.peer, changed.tags) == ((file(1),), None, (1,))
    assert changed.written == desk.author.state(file(1)).refs()
    assert isinstance(persist, Persist)
    assert [type(write) for write in persist.writes] == [PutEntries, PutRecord]
    (stored,) = desk.authoring.on_persisted(persist.ticket)
    assert isinstance(stored, EntriesStored)
    assert (stored.files, stored.peer, stored.tags) == ((file(1),), None, (1,))
    assert stored.slices == tuple(desk.author.said)


def test_claims_are_given_back_once_sealed_and_storing_ends_once_durable() -> None:
    """The next edit may begin before the disk has answered; what is not durable is known."""
    desk = Desk()
    (seal,) = desk.create(1, 1)
    assert desk.ledger.is_claimed(file(1))
    _, persist = desk.seal(seal)
    assert not desk.ledger.is_claimed(file(1))
    assert desk.ledger.is_storing(file(1))
    assert isinstance(persist, Persist)
    desk.authoring.on_persisted(persist.ticket)
    assert not desk.ledger.is_storing(file(1))


def test_changes_gather_while_a_round_is_sealed() -> None:
    """Three more come meanwhile: they share the next seal, in the order of submission."""
    desk = Desk()
    (first,) = desk.create(1, 1)
    assert [desk.create(tag, tag) for tag in (4, 3, 2)] == [[], [], []]
    _, _, second = desk.seal(first)
    assert files_of(second) == [file(4), file(3), file(2)]
    assert desk.authoring.queued == 4
    changed, persist = desk.seal(second)
    assert isinstance(changed, FilesChanged)
    assert changed.tags == (4, 3, 2)
    assert isinstance(persist, Persist)


def test_persisting_does_not_hold_up_the_next_round() -> None:
    """Two rounds wait for the disk at once; each is told with its own tags, once."""
    desk = Desk()
    (first,) = desk.create(1, 1)
    desk.create(2, 2)
    _, one, second = desk.seal(first)
    _, two = desk.seal(second)
    assert isinstance(one, Persist)
    assert isinstance(two, Persist)
    told = [desk.authoring.on_persisted(ticket) for ticket in (one.ticket, two.ticket, one.ticket)]
    tags = [[n.tags for n in notices if isinstance(n, EntriesStored)] for notices in told]
    assert tags == [[(1,)], [(2,)], []]
    assert desk.authoring.queued == 0


def test_tickets_of_others_are_ignored() -> None:
    """The store answers everybody: what is not ours changes nothing."""
    assert Desk().authoring.on_persisted(99) == []


def test_a_round_is_bounded() -> None:
    """Thousands of waiting changes are cut into rounds; one large change is never torn."""
    desk = Desk()
    (first,) = desk.create(1, 1)
    for number in range(2, ROUND_ENTRIES_MAX + 12):
        desk.create(number, number)
    *_, second = desk.seal(first)
    assert len(files_of(second)) == ROUND_ENTRIES_MAX
    large = [desk.author.genesis(file(9000 + n)) for n in range(ROUND_ENTRIES_MAX + 5)]
    desk.submit(9, *large)
    *_, third = desk.seal(second)
    assert len(files_of(third)) == 10 + len(large)


def test_a_batch_of_entries_goes_into_the_store_with_its_own_known() -> None:
    """Several slices of a round: each write pairs a slice with exactly its entries."""
    desk = Desk()
    drafts = [desk.author.genesis(file(n)) for n in range(1, 301)]
    (seal,) = desk.submit(1, *drafts)
    _, persist = desk.seal(seal)
    assert isinstance(persist, Persist)
    puts = [write for write in persist.writes if isinstance(write, PutEntries)]
    assert [len(put.known) for put in puts] == [256, 44]
    assert all(tuple(k.encoded for k in put.known) == put.slice.entries for put in puts)


# --- the tree ------------------------------------------------------------------------------------


def placed(desk: Desk, **paths: int) -> None:
    """Let files stand at paths already."""
    desk.ledger.index.apply([place(path, file(number)) for path, number in paths.items()])
    for number in paths.values():
        desk.author.say(desk.author.genesis(file(number)))


def test_creations_of_a_round_are_one_tree_operation() -> None:
    """Their folder is made once; the tree's entry comes first, then the files'."""
    desk = Desk()
    desk.create(1, 9)
    for number in (1, 2):
        draft = desk.author.genesis(file(number))
        desk.submit(number, draft, intents=(CreatePath(f"src/{number}.py", file(number)),))
    seal = SealEntries((desk.author.genesis(file(9)),), 7)
    *_, edit = desk.seal(seal)
    assert isinstance(edit, EditTree)
    assert edit.operations == (
        PlaceNode(None, "src", None),
        PlaceNode(0, "1.py", file(1)),
        PlaceNode(0, "2.py", file(2)),
    )
    answer = TreeEdited(b"operations", (place("one", file(1)), place("two", file(2))))
    changed, sealing = desk.authoring.on_tree_edited(answer, 9)
    assert changed == PathsChanged(
        (PathChange(file(1), None, "one"), PathChange(file(2), None, "two"))
    )
    assert files_of(sealing) == [TREE_FILE, file(1), file(2)]


def test_an_edit_of_the_tree_builds_on_the_tree_it_was_planned_against() -> None:
    """Its parents are the heads at planning, whatever arrives while it is made."""
    desk = Desk()
    placed(desk, old=1)
    desk.author.say(desk.author.tree_edit("before"))
    before = desk.author.state(TREE_FILE).refs()
    (edit,) = desk.submit(1, intents=(MovePath(file(1), "new"),))
    assert isinstance(edit, EditTree)
    ben = Author("ben")
    desk.author.hear(*ben.say(ben.tree_edit("meanwhile")))
    _, seal = desk.authoring.on_tree_edited(TreeEdited(b"move", (place("old", file(1)),)), 9)
    assert isinstance(seal, SealEntries)
    assert seal.drafts[0].parents == before


@pytest.mark.parametrize(
    "intents",
    [(MovePath(file(1), "b"),), (MoveFolder("a", "b"),), (MovePath(file(9), "b"),)],
    ids=["a place that is taken in", "no such folder", "a file without a place"],
)
def test_moves_that_cannot_be_planned_are_answered_with_why(intents: tuple[object, ...]) -> None:
    """The entries of the change are written all the same, and the problem comes with them."""
    desk = Desk()
    if intents == (MovePath(file(1), "b"),):
        placed(desk, a=1)
        (edit,) = desk.submit(5, intents=intents)
        assert isinstance(edit, EditTree)
        assert isinstance(edit.operations[0], MoveNode)
        out = desk.authoring.on_tree_edited(TreeEdited(b"", (), problem="into itself"), 9)
    else:
        out = desk.submit(5, desk.author.genesis(file(3)), intents=intents)
    (seal,) = out
    assert isinstance(seal, SealEntries)
    if not seal.drafts:
        return
    _, persist = desk.seal(seal)
    assert isinstance(persist, Persist)
    (stored,) = desk.authoring.on_persisted(persist.ticket)
    assert isinstance(stored, EntriesStored)
    assert stored.problem is not None
    assert stored.tags == (5,)


def test_a_change_without_any_entry_is_answered_too() -> None:
    """A move that the tree did not take has nothing to sign: its tag is answered nevertheless."""
    desk = Desk()
    placed(desk, a=1)
    desk.submit(5, intents=(MovePath(file(1), "b"),))
    out = desk.authoring.on_tree_edited(TreeEdited(b"", (), problem="into itself"), 9)
    assert out == [SealEntries((), 9)]
    out = desk.authoring.on_sealed(EntriesSealed((), ()), 1, 9)
    assert out == [FilesChanged((), None, (), (5,)), Persist(1, ())]
    (stored,) = desk.authoring.on_persisted(1)
    assert stored == EntriesStored((), (), None, (5,), "into itself")


def test_a_move_is_planned_alone() -> None:
    """Neither what was submitted before nor after shares its round: the tree must be current."""
    desk = Desk()
    placed(desk, a=1)
    (first,) = desk.create(1, 11)
    desk.create(2, 12)
    desk.submit(3, intents=(MovePath(file(1), "b"),))
    desk.create(4, 14)
    *_, second = desk.seal(first)
    assert files_of(second) == [file(12)]
    *_, edit = desk.seal(second)
    assert isinstance(edit, EditTree)
    _, third = desk.authoring.on_tree_edited(TreeEdited(b"move", (place("a", file(1)),)), 9)
    assert files_of(third) == [TREE_FILE]
    *_, fourth = desk.seal(third)
    assert files_of(fourth) == [file(14)]
