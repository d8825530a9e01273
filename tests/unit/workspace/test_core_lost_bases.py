"""Edits whose base nobody has: what a rewrite may supersede, and what it must leave beside it."""

from __future__ import annotations

from aiplatform.mesh_ide.model.entries import EntryRef, KnownEntry
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import EntryId
from aiplatform.mesh_ide.ports.filetree import FileStat
from aiplatform.mesh_ide.ports.jobs import DeriveOutcome
from aiplatform.mesh_ide.workspace.core_edits import Edits
from aiplatform.mesh_ide.workspace.records import BASE_PATIENCE_MS, DiskState, Standing
from tests.unit.documents.authors import PERSON, Author, blob, file
from tests.unit.workspace.bench import NOW_MS, Bench, derived, edit, entries, seen

FILE = file(1)


class Careless(Edits):
    """Builds on what stood before our write, although it is a side of a conflict still."""

    def _is_lost(self, edit: object, item: object, derived: object) -> bool:
        del edit, item, derived
        return True


def shown(known: KnownEntry, text: str) -> Standing:
    """Return what stands on the disk where this rewrite was written."""
    lineage = EntryId(known.ref.id)
    return Standing(FILE, (known.ref,), blob(text), FileMode.REGULAR, len(text), lineage)


def rewritten(*, is_open: bool, edits_type: type[Edits] = Edits) -> tuple[EntryRef, list[EntryRef]]:
    """Let a person rewrite a file shortly after we wrote a peer's rewrite over another one.

    ``is_open``: the two rewrites were made apart. Returns the older one, and the heads then.
    """
    bench = Bench()
    bench.changes = edits_type(bench.ledger, bench.observer, bench.folder, PERSON)
    bench.stand("a", 1)
    ben = Author("ben")
    ben.hear(*bench.peer.heard)
    old = bench.peer.say(bench.peer.change(FILE, "old", is_replace=True))
    if not is_open:
        ben.hear(*old)
    new = ben.say(ben.change(FILE, "new", is_replace=True))
    bench.arrive(*old)
    bench.arrive(*new)
    stat = FileStat(3, 1, 1, FileMode.REGULAR)
    state = DiskState(shown(new[0], "new"), stat, shown(old[0], "old"), written_ms=NOW_MS)
    bench.folder.put("a", state)
    (item,) = edit(bench, seen("a", "mine", inode=1))
    assert (item.base, item.base_before) == ((new[0].ref,), (old[0].ref,))
    derived(bench, item, DeriveOutcome.BASE_MISSING)
    derived(bench, item, DeriveOutcome.BASE_MISSING, NOW_MS + BASE_PATIENCE_MS)
    assert len(entries(bench)) == 1
    return old[0].ref, list(bench.state(1).refs())


def test_a_rewrite_leaves_the_side_of_a_conflict_that_nobody_here_saw() -> None:
    """What we wrote is what the person saw last; the other side waits for a decision still."""
    old, heads = rewritten(is_open=True)
    assert old in heads


def test_a_variant_that_builds_on_what_stood_before_is_caught() -> None:
    """The check can fail."""
    old, heads = rewritten(is_open=True, edits_type=Careless)
    assert old not in heads


def test_a_rewrite_of_unknown_base_stands_beside_our_last_write() -> None:
    """Without a conflict the older base is the safe one: both rewrites are kept."""
    _, heads = rewritten(is_open=False)
    assert len(heads) == 2
