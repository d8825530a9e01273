"""The losing side of a conflict: its content is kept, whoever has it and whoever does not."""

from __future__ import annotations

from aiplatform.mesh_ide.documents.state import FileState, Head, winning
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.jobs import (
    ArchiveBlobs,
    BlobsArchived,
    BlobSource,
    Materialise,
    Materialised,
    MaterialisedText,
    TextAt,
)
from aiplatform.mesh_ide.workspace.core_needs import RETRY_WANT_MS, Needs
from aiplatform.mesh_ide.workspace.notices import ContentHeld, ContentWanted
from tests.unit.documents.authors import Author, blob, file
from tests.unit.workspace.bench import NOW_MS, Bench, only
from tests.unit.workspace.core_rig import Rig

FILE = file(1)


# --- broken variants ----------------------------------------------------------------------------


class Trusting(Needs):
    """Takes it that somebody has every rival's bytes."""

    def keep_rival(self, state: FileState, head: Head) -> None:
        """Fetch it."""
        if head.blob is not None and self.keep(head.blob, state.file):
            self.shelve(head.blob, head.size, state.file)


class Credulous(Needs):
    """Takes whatever was computed for what the rival's author had."""

    def end_merge(self, text: MaterialisedText) -> tuple[BlobSource, ...]:
        """Have it archived, whatever it is."""
        blob, size = self._rivals.pop(text.heads)
        self._rivals[text.heads] = (text.blob or blob, size)
        return super().end_merge(text)


class Confused(Needs):
    """Takes the answer for a rival for the answer of the file's merge."""

    def end_merge(self, text: MaterialisedText) -> tuple[BlobSource, ...]:
        """Close whatever is under way of the file."""
        self._merging.pop(text.file, None)
        return super().end_merge(text)


# --- how a conflict comes about -----------------------------------------------------------------


def rewritten_and_edited(bench: Bench) -> tuple[EntryRef, EntryRef]:
    """Let the peer edit "one" while ben rewrites it, and his side win.

    Returns the root of the losing side, and its head.
    """
    root = bench.state(1).refs()[0]
    ben = Author("ben")
    ben.hear(*bench.peer.heard)
    (edit,) = bench.peer.say(bench.peer.change(FILE, "edited"))
    bench.arrive(edit)
    for text in ("rewritten", "rewritten again"):  # the deeper side wins
        bench.arrive(*ben.say(ben.change(FILE, text, is_replace=True)))
    (winner,) = winning(bench.state(1))
    assert winner.blob == blob("rewritten again")
    return root, edit.ref


def conflict(needs_type: type[Needs] = Needs) -> tuple[Bench, EntryRef, EntryRef]:
    """Return a bench on whose disk the winning side stands, and the losing side's refs.

    The root of the losing side is archived.
    """
    bench = Bench(needs_type)
    bench.stand("a", 1)
    bench.hold_content("one")
    refs = rewritten_and_edited(bench)
    bench.agree("a", 1)
    return bench, *refs


def asked(bench: Bench) -> list[TextAt]:
    """Consider the path and return what is to be computed."""
    bench.applier.consider("a")
    return [item for job in bench.needs.take_merges() for item in job.items]


def answer(bench: Bench, head: EntryRef, computed: BlobHash | None) -> tuple[BlobSource, ...]:
    """Answer what was asked; returns what is to be archived."""
    return bench.needs.end_merge(MaterialisedText(FILE, (head,), computed, 6))


# --- computed, or fetched -----------------------------------------------------------------------


def test_a_rival_that_was_edited_is_computed_from_its_root() -> None:
    """Nobody need have its bytes: its author may have died before they were on any disk."""
    bench, root, head = conflict()
    (item,) = asked(bench)
    assert (item.lineage.root, item.lineage.content.blob) == (root, blob("one"))
    assert item.heads == (head,)
    assert bench.needs.wanted == {}
    assert bench.needs.outstanding == 1
    assert answer(bench, head, blob("edited")) == (BlobSource(blob("edited")),)
    assert bench.needs.outstanding == 0


def test_a_variant_that_only_asks_others_is_caught() -> None:
    """The check can fail."""
    bench, _, _ = conflict(Trusting)
    assert asked(bench) == []


def test_a_rival_without_its_root_is_fetched() -> None:
    """Whoever has the root can compute it, and then send it."""
    bench = Bench()
    bench.share("a", 1)
    bench.hold_content("rewritten again")
    rewritten_and_edited(bench)
    assert asked(bench) == []
    assert bench.needs.wanted == {blob("edited"): (FILE, 6)}


def test_a_rival_that_was_rewritten_is_fetched() -> None:
    """Its bytes are in no operations."""
    bench = Bench()
    bench.stand("a", 1)
    bench.hold_content("one", "rewritten again")
    bench.arrive(*bench.peer.say(bench.peer.change(FILE, "other", is_replace=True)))
    ben = Author("ben")
    ben.hear(*bench.author.heard[:1])
    for text in ("rewritten", "rewritten again"):
        bench.arrive(*ben.say(ben.change(FILE, text, is_replace=True)))
    assert asked(bench) == []
    assert bench.needs.wanted == {blob("other"): (FILE, 5)}


def fetched_after(computed: BlobHash | None, needs_type: type[Needs] = Needs) -> set[BlobHash]:
    """Compute a rival with this result; returns what is fetched then."""
    bench, _, head = conflict(needs_type)
    assert len(asked(bench)) == 1
    archived = answer(bench, head, computed)
    assert {source.blob for source in archived}.isdisjoint(bench.needs.wanted)
    assert set(bench.needs.shelf) == {blob("edited")}, "it is asked for again until it is here"
    return set(bench.needs.wanted)


def test_a_rival_that_cannot_be_computed_is_fetched() -> None:
    """The root is gone after all, or an entry cannot be imported."""
    assert fetched_after(None) == {blob("edited")}


def test_a_rival_whose_author_said_otherwise_is_fetched() -> None:
    """What the author had is what is kept, not what the operations lead to."""
    assert fetched_after(blob("forged")) == {blob("edited")}


def test_a_variant_that_takes_what_was_computed_is_caught() -> None:
    """The check can fail."""
    assert fetched_after(blob("forged"), Credulous) == set()


# --- once ---------------------------------------------------------------------------------------


def test_a_rival_is_computed_once_at_a_time() -> None:
    """It is found missing again while its computation is still under way."""
    bench, _, head = conflict()
    assert len(asked(bench)) == 1
    assert bench.needs.take_retries(NOW_MS + RETRY_WANT_MS) == ["a"]
    assert asked(bench) == []
    answer(bench, head, None)
    bench.needs.take_retries(NOW_MS + 10 * RETRY_WANT_MS)
    assert len(asked(bench)) == 1


def merges_beside_a_rival(needs_type: type[Needs]) -> int:
    """Let the winning side need a merge too; returns how many are asked for in all."""
    bench = Bench(needs_type)
    bench.stand("a", 1)
    bench.hold_content("one", "rewritten again")
    _, head = rewritten_and_edited(bench)
    clara = Author("clara")
    clara.hear(*bench.author.heard)
    bench.arrive(*clara.say(clara.change(FILE, "rewritten again, edited")))
    first = asked(bench)
    assert {item.heads for item in first} == {(head,), (winning(bench.state(1))[0].ref,)}
    answer(bench, head, blob("edited"))
    return len(first) + len(asked(bench))


def test_a_rivals_answer_does_not_end_the_files_merge() -> None:
    """Both are under way at a time, of one file."""
    assert merges_beside_a_rival(Needs) == 2


def test_a_variant_that_takes_one_answer_for_the_other_is_caught() -> None:
    """The check can fail."""
    assert merges_beside_a_rival(Confused) == 3


# --- in the core --------------------------------------------------------------------------------


def test_the_core_archives_a_rival_that_it_computed() -> None:
    """Then it is held, nobody was asked for it, and nothing of it is asked again."""
    rig = Rig()
    rig.stand("a", 1)
    rig.hold_content("one", "rewritten again")
    rig.begun()
    _, head = rewritten_and_edited(rig)
    rig.changed(FILE)
    out = rig.does([])
    (job,) = only(out, Materialise)
    assert [item.heads for item in job.items] == [(head,)]
    text = MaterialisedText(FILE, (head,), blob("edited"), 6)
    out += rig.does(rig.core.on_materialised(Materialised((text,)), NOW_MS))
    assert only(out, ArchiveBlobs) == [ArchiveBlobs((BlobSource(blob("edited")),))]
    archived = BlobsArchived((blob("edited"),), ())
    held = rig.does(rig.core.on_archived(archived, NOW_MS))
    assert only(held, ContentHeld) == [ContentHeld((FILE,))]
    out += rig.tick(RETRY_WANT_MS)
    assert only(out, ContentWanted) == []
    assert len(only(out, Materialise)) == 1
