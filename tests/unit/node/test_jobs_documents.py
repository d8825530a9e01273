"""Jobs of the document engines: differences, merges, exact edits, the tree."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.documents.state import base_of
from aiplatform.mesh_ide.model.entries import TEXT_BYTES_MAX, EntryRef, KnownEntry
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.node.jobs_documents import changed_characters, had_read_before
from aiplatform.mesh_ide.ports.engine import MoveNode, PlaceNode, Splice, TextRoot
from aiplatform.mesh_ide.ports.jobs import (
    BlobSource,
    DerivedUpdate,
    DeriveOutcome,
    DeriveUpdate,
    DeriveUpdates,
    EditTree,
    ImportTree,
    Materialise,
    Materialised,
    MaterialisedText,
    SpliceText,
    TextAt,
    TextLineage,
    TextSpliced,
    TreeEdited,
    TreeImported,
    UpdatesDerived,
)
from tests.unit.documents.authors import PERSON, Author, blob, file
from tests.unit.node.ports import Ports

FILE = file(1)


def derive(ports: Ports, item: DeriveUpdate) -> DerivedUpdate:
    """Derive one edit."""
    (result,) = ports.run(DeriveUpdates((item,)), UpdatesDerived).results
    return result


def materialise(
    ports: Ports, lineage: TextLineage, heads: tuple[EntryRef, ...]
) -> MaterialisedText:
    """Compute one text."""
    (result,) = ports.run(Materialise((TextAt(lineage, heads),)), Materialised).texts
    return result


def splice(ports: Ports, lineage: TextLineage, *splices: Splice) -> TextSpliced:
    """Splice the text as it stands."""
    base = base_of(ports.me.state(FILE))
    branch = ports.me.ledger.branch_for(FILE, base)
    return ports.run(SpliceText(lineage, base, splices, branch), TextSpliced)


def written(ports: Ports, text: str, payload: bytes, base: tuple[EntryRef, ...]) -> KnownEntry:
    """Write an update with these operations, stored."""
    branch = ports.me.ledger.branch_for(FILE, base)
    draft = ports.me.ledger.draft_change(
        FILE,
        base,
        blob(text),
        len(text.encode()),
        FileMode.REGULAR,
        PERSON,
        is_text=True,
        payload=payload,
        lineage=ports.me.state(FILE).roots[0].ref.id,
        branch=branch,
    )
    (known,) = ports.me.say(draft)
    ports.stored((known,))
    return known


def saved(ports: Ports, lineage: TextLineage, text: str) -> KnownEntry:
    """Save another text: derive and write."""
    base = base_of(ports.me.state(FILE))
    ports.contents.keep(blob(text), text.encode())
    branch = ports.me.ledger.branch_for(FILE, base)
    result = derive(ports, DeriveUpdate(lineage, base, BlobSource(blob(text)), branch))
    assert result.outcome is DeriveOutcome.DERIVED
    return written(ports, text, result.payload, base)


# --- differences ---------------------------------------------------------------------------------


def test_a_derived_update_merges_to_what_was_saved() -> None:
    """Derive → write → materialise gives the saved text, and keeps it at hand."""
    ports = Ports()
    lineage = ports.created("one\n")
    known = saved(ports, lineage, "one\ntwo\n")
    result = materialise(ports, lineage, (known.ref,))
    assert (result.blob, result.size, result.problem) == (blob("one\ntwo\n"), 8, None)
    assert ports.contents.read(blob("one\ntwo\n")) == b"one\ntwo\n"


def test_an_update_that_is_not_stored_yet_is_built_on() -> None:
    """What is on its way to the store comes with the lineage."""
    ports = Ports()
    lineage = ports.created("one\n")
    result = splice(ports, lineage, Splice(0, 0, "> "))
    (known,) = ports.me.say(replace(ports.me.change(FILE, "> one\n"), payload=result.payload))
    assert materialise(ports, lineage, (known.ref,)).blob is None
    pending = replace(lineage, pending=(known,))
    assert materialise(ports, pending, (known.ref,)).blob == blob("> one\n")


def test_what_is_missing_is_told_apart() -> None:
    """The new content is gone: look again. The root is gone: ask for it."""
    ports = Ports()
    lineage = ports.created("one\n")
    base = (lineage.root,)
    gone = DeriveUpdate(lineage, base, BlobSource(blob("gone")), 1)
    assert derive(ports, gone).outcome is DeriveOutcome.CONTENT_MISSING
    ports.contents.keep(blob("new"), b"new")
    rootless = replace(lineage, content=BlobSource(blob("nowhere")))
    missing = DeriveUpdate(rootless, base, BlobSource(blob("new")), 1)
    assert derive(ports, missing).outcome is DeriveOutcome.BASE_MISSING
    assert materialise(ports, rootless, base) == MaterialisedText(FILE, base, None, 0)


def test_a_content_is_read_from_the_file_that_holds_it() -> None:
    """No copy is made for it: the path in the source is enough."""
    ports = Ports()
    lineage = ports.created("one\n")
    ports.disk.folder.write("a", b"one\ntwo\n")
    item = DeriveUpdate(lineage, (lineage.root,), BlobSource(blob("one\ntwo\n"), "a"), 1)
    assert derive(ports, item).outcome is DeriveOutcome.DERIVED


def test_a_rewrite_is_not_merged() -> None:
    """Nothing in common: the new content stands on its own."""
    ports = Ports()
    lineage = ports.created("".join(f"{number} a line of text\n" for number in range(400)))
    text = "".join(f"quite another {number * 7919}\n" for number in range(400))
    ports.contents.keep(blob(text), text.encode())
    item = DeriveUpdate(lineage, (lineage.root,), BlobSource(blob(text)), 1)
    assert derive(ports, item).outcome is DeriveOutcome.TOO_DIFFERENT


def test_the_base_that_explains_the_save_with_fewer_changes_is_taken() -> None:
    """Saved without the peer's line, it was not read; saved with it, it was."""
    ports = Ports()
    lineage = ports.created("a\nb\nc\n")
    before = (lineage.root,)
    now = saved(ports, lineage, "a\npeer's line\nb\nc\n")
    for text, is_before in (("a\nb\nc\nmine\n", True), ("a\npeer's line\nb\nc\nmine\n", False)):
        ports.contents.keep(blob(text), text.encode())
        item = DeriveUpdate(lineage, (now.ref,), BlobSource(blob(text)), 1, before, 2)
        result = derive(ports, item)
        assert (result.outcome, result.is_from_before) == (DeriveOutcome.DERIVED, is_before)


def test_whoever_may_have_read_either_has_not_read_the_peers() -> None:
    """A peer put a line in the place of another, and one of them is gone: the peer's is kept.

    Unless what stood before is a side of a conflict: then it is that side which nobody here saw.
    """
    before, now, new = "old line\nkept\n", "new line\nkept\n", "kept\n"
    assert changed_characters(before, new) == changed_characters(now, new)
    assert had_read_before(before, now, new, is_before_open=False)
    assert not had_read_before(before, now, new, is_before_open=True)


def test_a_base_that_cannot_be_compared_is_missing() -> None:
    """One of the two texts is not here: nothing is guessed."""
    ports = Ports()
    lineage = ports.created("a\n")
    now = saved(ports, lineage, "a\nb\n")
    ports.contents.keep(blob("a\nc\n"), b"a\nc\n")
    elsewhere = TextLineage(FILE, lineage.root, BlobSource(blob("nowhere")))
    source = BlobSource(blob("a\nc\n"))
    item = DeriveUpdate(lineage, (now.ref,), source, 1, (lineage.root,), 2, elsewhere)
    assert derive(ports, item).outcome is DeriveOutcome.BASE_MISSING


TEXT = st.text("ab\n", max_size=30)


@given(TEXT, TEXT)
def test_changed_characters_measure_a_distance(one: str, other: str) -> None:
    """None from a text to itself, never more than all of both, at least the lengths' difference."""
    assert changed_characters(one, one) == 0
    changed = changed_characters(one, other)
    assert abs(len(one) - len(other)) <= changed <= len(one) + len(other)
    assert (changed == 0) == (one == other)


# --- exact edits ---------------------------------------------------------------------------------


def test_splices_are_applied_in_order() -> None:
    """Each on the text that the one before left; the operations give the same text."""
    ports = Ports()
    lineage = ports.created("hello\n")
    result = splice(ports, lineage, Splice(0, 1, "J"), Splice(5, 0, ", ü"), Splice(6, 1, ""))
    text = "Jello,ü\n"
    assert (result.blob, result.size, result.problem) == (blob(text), len(text.encode()), None)
    known = written(ports, text, result.payload, result.base)
    assert materialise(ports, lineage, (known.ref,)).blob == blob(text)


class Counting(LoroTextEngine):
    """Counts how often a text is asked for."""

    asked = 0

    def text_at(
        self, root: TextRoot, entries: Iterable[KnownEntry], heads: Sequence[EntryRef]
    ) -> str:
        """Count, and answer."""
        self.asked += 1
        return super().text_at(root, entries, heads)


def typed(ports: Ports, lineage: TextLineage, text: str, splices: Splice) -> KnownEntry:
    """Type something; its entry is signed and on its way to the store."""
    result = splice(ports, lineage, splices)
    assert result.blob == blob(text)
    change = replace(ports.me.change(FILE, text), payload=result.payload)
    (known,) = ports.me.say(change)
    return known


def test_what_was_typed_here_is_not_merged_a_second_time() -> None:
    """Its text is at hand since it was typed; once it is not any more, it is merged as others."""
    texts = Counting()
    ports = Ports(texts=texts)
    lineage = ports.created("hello\n")
    known = typed(ports, lineage, "> hello\n", Splice(0, 0, "> "))
    pending = replace(lineage, pending=(known,))
    asked = texts.asked
    assert materialise(ports, pending, (known.ref,)).blob == blob("> hello\n")
    assert texts.asked == asked
    ports.contents.forget(blob("> hello\n"))
    assert materialise(ports, pending, (known.ref,)).blob == blob("> hello\n")
    assert texts.asked == asked + 1


def test_what_others_say_they_typed_is_computed_before_it_is_believed() -> None:
    """The text that their entry claims may be at hand and be another than its operations give."""
    ports, other = Ports(), Author("other")
    lineage = ports.created("hello\n")
    known = typed(ports, lineage, "> hello\n", Splice(0, 0, "> "))
    ports.stored((known,))
    ports.contents.keep(blob("forged\n"), b"forged\n")
    other.hear(*ports.me.heard)
    (forged,) = other.say(replace(other.change(FILE, "forged\n"), payload=b""))
    pending = replace(lineage, pending=(forged,))
    assert materialise(ports, pending, (forged.ref,)).blob == blob("> hello\n")


def test_typing_goes_on_whether_the_last_entry_is_stored_or_on_its_way() -> None:
    """What was typed last is remembered; a restarted node reads it from the store."""
    ports = Ports()
    lineage = ports.created("hello\n")
    first = typed(ports, lineage, "> hello\n", Splice(0, 0, "> "))
    materialise(ports, replace(lineage, pending=(first,)), (first.ref,))
    assert splice(ports, lineage, Splice(7, 0, "!")).blob == blob("> hello!\n")
    ports.stored((first,))
    materialise(ports, lineage, (lineage.root,))
    assert splice(ports, lineage, Splice(0, 2, "")).blob == blob("hello\n")


def test_a_splice_outside_the_text_is_refused_with_why() -> None:
    """Nothing is written; what was meant is not guessed."""
    ports = Ports()
    lineage = ports.created("hello\n")
    for bad in (Splice(7, 0, "x"), Splice(0, 7, ""), Splice(-1, 0, "x")):
        result = splice(ports, lineage, bad)
        assert (result.blob, result.payload) == (None, b"")
        assert "outside the text of 6" in (result.problem or "")


def test_a_text_does_not_grow_over_its_bound() -> None:
    """Larger texts are blobs: the edit is refused."""
    ports = Ports()
    lineage = ports.created("hello\n")
    result = splice(ports, lineage, Splice(0, 0, "x" * TEXT_BYTES_MAX))
    assert result.blob is None
    assert "over" in (result.problem or "")


def test_a_splice_of_a_text_that_is_not_here_is_refused() -> None:
    """The root is gone: said, not raised."""
    ports = Ports()
    lineage = replace(ports.created("hello\n"), content=BlobSource(blob("nowhere")))
    assert splice(ports, lineage, Splice(0, 0, "x")).problem == "the base is not here"


# --- the tree ------------------------------------------------------------------------------------


def test_a_tree_edit_says_where_things_stand() -> None:
    """Its payload, imported elsewhere, gives the same places."""
    ports, other = Ports(), Ports()
    edit = ports.run(
        EditTree((PlaceNode(None, "src", None), PlaceNode(0, "a", FILE)), 1), TreeEdited
    )
    assert [(place.name, place.file) for place in edit.places] == [("src", None), ("a", FILE)]
    known = ports.me.say(ports.me.ledger.draft_tree((), edit.payload, PERSON))
    imported = other.run(ImportTree(known), TreeImported)
    assert set(imported.places) == set(edit.places)
    assert (imported.problem, imported.refused) == (None, ())


def test_an_impossible_move_is_a_problem_and_no_entry() -> None:
    """A folder into itself: nothing to sign."""
    ports = Ports()
    edit = ports.run(EditTree((PlaceNode(None, "a", None), PlaceNode(0, "b", None)), 1), TreeEdited)
    outer, inner = (place.node for place in edit.places)
    refused = ports.run(EditTree((MoveNode(outer, inner, "a"),), 1), TreeEdited)
    assert (refused.payload, refused.places) == (b"", ())
    assert refused.problem is not None


def test_a_bad_edit_of_the_tree_spoils_no_other() -> None:
    """Imported one by one then: the sound ones count, the bad ones are named."""
    ports, other, mallory = Ports(), Ports(), Author("mallory")
    edit = ports.run(EditTree((PlaceNode(None, "a", FILE),), 1), TreeEdited)
    good = ports.me.say(ports.me.ledger.draft_tree((), edit.payload, PERSON))
    (bad,) = mallory.say(mallory.tree_edit("no operations at all"))
    imported = other.run(ImportTree((bad, *good)), TreeImported)
    assert [place.name for place in imported.places] == ["a"]
    assert imported.refused == (bad.ref,)
    assert imported.problem is not None
