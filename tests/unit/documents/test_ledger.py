"""The ledger: claims, branches, what is not durable yet, and drafts that every peer accepts."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import Refusal, base_of
from aiplatform.mesh_ide.model.enums import EntryKind, FileMode
from aiplatform.mesh_ide.model.ids import NO_ENTRY, TREE_FILE
from aiplatform.mesh_ide.ports.jobs import BlobSource
from aiplatform.mesh_ide.ports.store import RecordKind
from tests.unit.documents.authors import PERSON, Author, blob, created, file, place

FILE = file(1)


# --- states --------------------------------------------------------------------------------------


def test_a_ledger_comes_back_from_its_records() -> None:
    """What was kept is all there is: states, liveness, and no claim."""
    anna, _ = created()
    anna.say(anna.genesis(file(2)))
    anna.say(anna.delete(file(2)))
    anna.say(anna.tree_edit("places"))
    records = [anna.ledger.record_of(one) for one in (FILE, file(2), TREE_FILE)]
    assert {record.kind for record in records} == {RecordKind.FILE}
    again = Ledger(anna.session)
    again.restore(record.value for record in records if record.value is not None)
    assert list(again.states()) == list(anna.ledger.states())
    assert set(again.files()) == {FILE, file(2)}
    assert (again.is_alive(FILE), again.is_alive(file(2))) == (True, False)
    again._check_invariants()


def test_the_index_hears_of_life_and_death() -> None:
    """A place is owned while its file lives."""
    anna, _ = created()
    anna.ledger.index.apply([place("a", FILE)])
    assert anna.ledger.index.owner("a") == FILE
    anna.say(anna.delete(FILE))
    assert anna.ledger.index.owner("a") is None
    anna.ledger._check_invariants()


def test_a_refused_entry_leaves_no_trace() -> None:
    """Neither state, nor branch, nor liveness changes for a duplicate."""
    anna, genesis = created()
    before = anna.ledger.record_of(FILE)
    assert anna.ledger.accept(genesis) is Refusal.DUPLICATE
    assert anna.ledger.record_of(FILE) == before
    assert anna.ledger.head(file(9)) is None


# --- claims --------------------------------------------------------------------------------------


def test_one_operation_at_a_time_writes_a_file() -> None:
    """The second claim waits, and is told when it may go on."""
    ledger = Ledger(Author("anna").session)
    assert ledger.claim(FILE)
    assert not ledger.claim(FILE)
    assert ledger.claimed == 1
    ledger.release((FILE,))
    assert ledger.take_freed() == (FILE,)
    assert ledger.take_freed() == ()
    assert not ledger.is_claimed(FILE)
    assert ledger.claim(FILE)


# --- entries on their way ------------------------------------------------------------------------


def test_a_lineage_brings_what_the_store_may_not_have() -> None:
    """Between acceptance and commit a text is rebuilt with the pending entries, not after."""
    anna, genesis = created()
    (one,) = anna.say(anna.change(FILE, "two"))
    (two,) = anna.say(anna.change(FILE, "three"))
    source = BlobSource(blob("one"))
    anna.ledger.begin_storing((one,))
    anna.ledger.begin_storing((two,))
    assert anna.ledger.lineage_of(FILE, genesis.ref, source).pending == (one, two)
    anna.ledger.end_storing((one,))
    assert anna.ledger.lineage_of(FILE, genesis.ref, source).pending == (two,)
    assert anna.ledger.is_storing(FILE)
    anna.ledger.end_storing((two,))
    assert not anna.ledger.is_storing(FILE)


# --- branches ------------------------------------------------------------------------------------


def test_edits_one_after_another_share_a_branch() -> None:
    """While each builds on the last, the CRDT author goes on."""
    anna, _ = created()
    branches = [anna.say(anna.change(FILE, text))[0].entry.branch for text in ("a", "b", "c")]
    assert branches == [1, 1, 1]


def test_an_edit_beside_the_tip_begins_a_branch() -> None:
    """What builds on older text must not reuse the operation ids of the newer."""
    anna, genesis = created()
    anna.say(anna.change(FILE, "two"))
    assert anna.ledger.branch_for(FILE, (genesis.ref,)) == 2
    (beside,) = anna.say(anna.change(FILE, "drei", base=(genesis.ref,)))
    assert beside.entry.branch == 2
    assert anna.ledger.branch_for(FILE, (beside.ref,)) == 2


def test_a_branch_goes_on_over_the_edits_of_others() -> None:
    """On the whole frontier everything is included, the own tip too."""
    anna, genesis = created()
    ben = Author("ben")
    ben.hear(genesis)
    anna.say(anna.change(FILE, "two"))
    anna.tell(ben)
    ben.say(ben.change(FILE, "three"))
    ben.tell(anna)
    assert anna.ledger.branch_for(FILE, base_of(anna.state(FILE))) == 1


def test_a_rewrite_ends_the_branch() -> None:
    """In another lineage nothing of the old operations is there."""
    anna, _ = created()
    anna.say(anna.change(FILE, "two"))
    anna.say(anna.change(FILE, "new", is_replace=True))
    assert anna.ledger.branch_for(FILE, base_of(anna.state(FILE))) == 2


def test_a_delete_ends_the_branch() -> None:
    """A text's history leaves deletes out: an edit on top may lack what came before."""
    anna, _ = created()
    anna.say(anna.change(FILE, "two"))
    (gone,) = anna.say(anna.delete(FILE))
    assert anna.ledger.branch_for(FILE, (gone.ref,)) == 2


def test_the_branches_of_others_are_theirs() -> None:
    """An edit of another session leaves this session's numbering alone."""
    anna, genesis = created()
    ben = Author("ben")
    ben.hear(genesis)
    ben.say(ben.change(FILE, "two"))
    ben.tell(anna)
    assert anna.ledger.branch_for(FILE, base_of(anna.state(FILE))) == 1


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["now", "old", "hear"])), max_size=12))
def test_a_branch_is_never_written_twice_from_one_point(steps: list[tuple[int, str]]) -> None:
    """Entries of one (session, file, branch) form a chain: each is built on all before it."""
    anna, genesis = created()
    ben = Author("ben")
    ben.hear(genesis)
    authors, past = (anna, ben), {genesis.ref: {genesis.ref}}
    tips: dict[tuple[bytes, int], object] = {}
    for number, (who, deed) in enumerate(steps):
        author = authors[who]
        if deed == "hear":
            authors[1 - who].tell(author)
            continue
        base = (genesis.ref,) if deed == "old" else None
        (known,) = author.say(author.change(FILE, f"text {number}", base=base))
        behind = set[object]().union(*(past[parent] for parent in known.entry.parents))
        past[known.ref] = {known.ref, *behind}  # type: ignore[arg-type]
        tip = tips.get((author.session, known.entry.branch))
        assert tip is None or tip in behind
        tips[author.session, known.entry.branch] = known.ref


# --- drafts --------------------------------------------------------------------------------------


def test_drafts_say_where_they_stand() -> None:
    """Parents sorted, one deeper than they are, after the session's last entry to the file."""
    anna, genesis = created()
    ben = Author("ben")
    ben.hear(genesis)
    anna.say(anna.genesis(file(2)))
    (two,) = anna.say(anna.change(FILE, "two"))
    (drei,) = ben.say(ben.change(FILE, "drei"))
    ben.tell(anna)
    draft = anna.change(FILE, "both")
    assert draft.parents == tuple(sorted((two.ref, drei.ref)))
    assert (draft.depth, draft.after, draft.lineage) == (3, two.ref.sequence, genesis.ref.id)
    assert ben.change(FILE, "more").after == drei.ref.sequence


def test_a_replace_begins_a_lineage_and_has_no_operations() -> None:
    """It names no lineage and no branch; an update without operations has no branch either."""
    anna, genesis = created()
    rewrite = anna.change(FILE, "new", is_replace=True)
    assert (rewrite.kind, rewrite.lineage, rewrite.branch) == (EntryKind.REPLACE, NO_ENTRY, 0)
    chmod = anna.ledger.draft_change(
        FILE,
        (genesis.ref,),
        blob("one"),
        3,
        FileMode.EXECUTABLE,
        PERSON,
        is_text=True,
        payload=b"",
        lineage=genesis.ref.id,
        branch=1,
    )
    assert (chmod.kind, chmod.branch) == (EntryKind.UPDATE, 0)


def test_a_deletion_takes_the_visible_side_only() -> None:
    """Of a conflict only the side that stands on the disk is deleted."""
    anna, genesis = created()
    ben = Author("ben")
    ben.hear(genesis)
    anna.say(anna.change(FILE, "a", is_replace=True))
    ben.say(ben.change(FILE, "b", is_replace=True))
    anna.tell(ben)
    draft = ben.delete(FILE)
    (gone,) = ben.say(draft)
    assert len(draft.parents) == 1
    assert gone.ref in ben.state(FILE).refs()
    assert ben.ledger.is_alive(FILE)


def test_the_first_edit_of_a_tree_is_as_shallow_as_can_be() -> None:
    """Without a tree there are no parents, and depth one; then it counts up."""
    anna = Author("anna")
    (one,) = anna.say(anna.tree_edit("a"))
    (two,) = anna.say(anna.tree_edit("b"))
    assert (one.entry.depth, one.entry.parents) == (1, ())
    assert (two.entry.depth, two.entry.parents) == (2, (one.ref,))
    assert two.entry.after == one.ref.sequence
