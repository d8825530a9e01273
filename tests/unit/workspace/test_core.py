"""The workspace core: what is looked at, when something is written, and what waits."""

from __future__ import annotations

from msgspec.structs import replace

from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.ports.filetree import Observation, WriteOutcome
from aiplatform.mesh_ide.ports.jobs import (
    DerivedUpdate,
    DeriveOutcome,
    DeriveUpdates,
    FolderScanned,
    ObservePaths,
    PathsObserved,
    Persist,
    ScanFolder,
    UpdatesDerived,
)
from aiplatform.mesh_ide.workspace.core import CONSIDERED_MAX, Out, WorkspaceCore
from aiplatform.mesh_ide.workspace.notices import WritesFailed
from aiplatform.mesh_ide.workspace.records import RETRY_WRITE_MS, SETTLE_MS
from tests.unit.documents.authors import blob, file
from tests.unit.workspace.bench import NOW_MS, entries, only, seen
from tests.unit.workspace.core_rig import Rig, written

MANY = CONSIDERED_MAX + 88


# --- broken variants: each breaks one rule, and a check below must catch it ---------------------


class Hasty(WorkspaceCore):
    """Hands writes out before their plans are durable."""

    def flush(self) -> Out:
        """Take every commit for done."""
        out = super().flush()
        return [*out, *(job for p in only(out, Persist) for job in self.on_persisted(p.ticket))]


class Eager(WorkspaceCore):
    """Takes the first part of an answer for all of it."""

    def on_observed(self, result: PathsObserved, now_ms: int) -> Out:
        """Ask again although more is to come."""
        return super().on_observed(replace(result, is_last=True), now_ms)


class Impatient(WorkspaceCore):
    """Takes new paths before the scan told what is gone."""

    def on_scanned(self, result: FolderScanned, now_ms: int) -> Out:
        """End the scan with each part."""
        return [*super().on_scanned(result, now_ms), *self.taking.end_scan(now_ms)]


class Greedy(WorkspaceCore):
    """Considers more paths in one turn than it may."""

    def flush(self) -> Out:
        """Count anew in each flush."""
        self.begin_turn()
        return super().flush()


# --- the folder speaks --------------------------------------------------------------------------


def test_a_scan_of_an_empty_workspace_takes_what_stands_there() -> None:
    """Each file is created once, with its place; the folder was looked at then."""
    rig = Rig()
    assert rig.core.scan(NOW_MS) == [ScanFolder({})]
    assert (rig.core.has_scanned, rig.core.outstanding) == (False, 1)
    rig.scanned(seen("a", "one", 1), is_last=False)
    rig.scanned(seen("sub/b", "two", 2))
    assert rig.core.has_scanned
    assert [(k.entry.kind, k.entry.result) for k in entries(rig)] == [
        (EntryKind.GENESIS, blob("one")),
        (EntryKind.GENESIS, blob("two")),
    ]
    places = {path for path, _ in rig.ledger.index.owned()}
    assert places == {"a", "sub/b"}
    assert rig.core.outstanding == 0


def test_a_scan_that_is_asked_for_during_another_follows_it() -> None:
    """What happened behind the first one's back is not missed; there is one at a time."""
    rig = Rig()
    rig.core.scan(NOW_MS)
    assert rig.core.scan(NOW_MS) == []
    assert rig.core.scan(NOW_MS) == []
    assert only(rig.scanned(is_last=False), ScanFolder) == []
    assert len(only(rig.scanned(), ScanFolder)) == 1
    assert only(rig.scanned(), ScanFolder) == []


def test_a_scan_shows_what_is_known_so_that_only_changes_are_read() -> None:
    """The stats of the last look go with it."""
    rig = Rig()
    rig.stand("a", 1)
    assert rig.core.scan(NOW_MS) == [ScanFolder(rig.folder.known_stats())]
    assert set(rig.folder.known_stats()) == {"a"}


def test_a_file_that_is_seen_at_a_new_path_is_created() -> None:
    """The watcher names the path, the disk is asked, and the answer is an entry."""
    rig = Rig()
    rig.core.watch(["new"])
    assert rig.does([]) == [ObservePaths(("new",), {})]
    rig.observed(seen("new", "text"))
    (known,) = entries(rig)
    assert (known.entry.kind, known.entry.result) == (EntryKind.GENESIS, blob("text"))
    assert rig.ledger.index.owner("new") == known.entry.file
    standing = rig.folder.standing("new")
    assert standing is not None
    assert standing.heads == (known.ref,)


def test_another_content_at_a_known_path_is_an_edit() -> None:
    """Its operations are derived from what stood there, and sealed as an update on it."""
    rig = Rig()
    rig.stand("a", 1)
    rig.begun()
    before = rig.state(1).refs()
    rig.core.watch(["a"])
    rig.does([])
    (job,) = only(rig.observed(seen("a", "one and more")), DeriveUpdates)
    (item,) = job.items
    assert (item.lineage.file, item.base) == (file(1), before)
    answer = DerivedUpdate(file(1), DeriveOutcome.DERIVED, b"operations")
    rig.does(rig.core.on_derived(UpdatesDerived((item,), (answer,)), NOW_MS))
    (known,) = entries(rig)
    assert (known.entry.kind, known.entry.parents) == (EntryKind.UPDATE, before)
    assert known.entry.result == blob("one and more")
    assert rig.core.outstanding == 0


def test_what_is_seen_as_it_is_known_leads_to_nothing() -> None:
    """No entry, no write."""
    rig = Rig()
    rig.stand("a", 1)
    rig.begun()
    rig.core.watch(["a"])
    rig.does([])
    assert only(rig.observed(seen("a", "one", 1)), DeriveUpdates) == []
    assert (rig.sealed, rig.commits) == ([], [])


# --- renames ------------------------------------------------------------------------------------


def renamed_in_a_scan(core_type: type[WorkspaceCore]) -> tuple[int, list[str]]:
    """Scan after a rename, the new path first; returns how many files were created, and places."""
    rig = Rig(core_type)
    rig.stand("old", 1)
    rig.stand("other", 2, "two")
    rig.begun()
    rig.does(rig.core.scan(NOW_MS))
    rig.scanned(seen("anew", "one", 1), is_last=False)
    rig.scanned(seen("brand", "three", 3), is_last=False)
    rig.scanned(Observation("old", None), unchanged=["other"])
    rig.tick(SETTLE_MS)
    created = sum(known.entry.kind is EntryKind.GENESIS for known in entries(rig))
    return created, [path for number in (1, 2) if (path := rig.path_of(number)) is not None]


def test_a_rename_is_seen_as_one_although_a_scan_meets_the_new_path_first() -> None:
    """New paths wait for the end of the scan: the file keeps its id, only the tree changes."""
    assert renamed_in_a_scan(WorkspaceCore) == (1, ["anew", "other"])


def test_a_variant_that_does_not_wait_for_the_end_of_the_scan_is_caught() -> None:
    """It takes the other half of the rename for a new file."""
    assert renamed_in_a_scan(Impatient) != (1, ["anew", "other"])


def test_a_rename_that_the_watcher_tells_is_one_operation() -> None:
    """Both halves in one answer, whichever comes first; nothing is deleted afterwards."""
    for halves in (
        (Observation("old", None), seen("new", "one", 1)),
        (seen("new", "one", 1), Observation("old", None)),
    ):
        rig = Rig()
        rig.stand("old", 1)
        rig.begun()
        rig.core.watch(["old", "new"])
        rig.does([])
        rig.observed(*halves)
        rig.tick(SETTLE_MS)
        assert (rig.path_of(1), entries(rig)) == ("new", [])
        assert len(rig.edits) == 1
        assert rig.core.outstanding == 0


def test_a_path_that_vanished_for_good_is_deleted_once_it_is_quiet() -> None:
    """Not before: it may be half of a rename."""
    rig = Rig()
    rig.stand("a", 1)
    rig.begun()
    rig.core.watch(["a"])
    rig.does([])
    rig.observed(Observation("a", None))
    rig.tick(SETTLE_MS - 1)
    assert entries(rig) == []
    rig.tick(SETTLE_MS)
    assert [known.entry.kind for known in entries(rig)] == [EntryKind.DELETE]


# --- invariant 1: one look at a time ------------------------------------------------------------


def looks_at_once(core_type: type[WorkspaceCore]) -> tuple[int, list[str]]:
    """Watch while an answer comes in parts; returns how many looks were under way, and at what."""
    rig = Rig(core_type)
    under_way = most = 0
    asked: list[str] = []

    def count(out: list[object]) -> None:
        nonlocal under_way, most
        for job in only(out, ObservePaths):
            under_way += 1
            asked.extend(job.paths)
        most = max(most, under_way)

    for path in ("a", "b", "c", "b"):
        rig.core.watch([path])
        count(rig.does([]))
    count(rig.observed(seen("a/1", "one", 1), is_last=False))
    count(rig.tick(50))
    under_way -= 1
    count(rig.observed(seen("a/2", "two", 2)))
    under_way -= 1
    count(rig.observed())
    return most, asked


def test_at_most_one_look_at_paths_is_under_way() -> None:
    """What the watcher names meanwhile gathers, each path once, until the last part came."""
    assert looks_at_once(WorkspaceCore) == (1, ["a", "b", "c"])


def test_a_variant_that_looks_again_too_early_is_caught() -> None:
    """The check of invariant 1 can fail."""
    assert looks_at_once(Eager)[0] > 1


# --- invariant 2: plans before writes -----------------------------------------------------------


def writes_before_plans(core_type: type[WorkspaceCore]) -> list[str]:
    """Let a peer create, change and delete; returns the writes that came before their plan."""
    rig = Rig(core_type)
    rig.stand("kept", 1)
    rig.stand("left", 2, "two")
    rig.begun()
    rig.peer_creates("new", 3, "three")
    rig.peer_edits(1, "changed")
    rig.arrive(*rig.peer.say(rig.peer.delete(file(2))))
    rig.changed(file(2))
    out = rig.does([])
    out += rig.store()
    assert sorted(written(out)) == ["kept", "left", "new"]
    rig.apply(out)
    rig.store()
    return rig.unplanned


def test_a_write_is_handed_out_once_its_plan_is_durable() -> None:
    """For a file that comes, one that changes and one that goes."""
    assert writes_before_plans(WorkspaceCore) == []


def test_a_variant_that_hands_writes_out_at_once_is_caught() -> None:
    """The check of invariant 2 can fail."""
    assert sorted(writes_before_plans(Hasty)) == ["kept", "left", "new"]


def test_the_answer_to_another_commit_begins_no_write() -> None:
    """Only the ticket of the plan does, and only once."""
    rig = Rig()
    rig.begun()
    rig.peer_creates("a", 1)
    (persist,) = only(rig.does([]), Persist)
    assert rig.core.on_persisted(persist.ticket + 1) == []
    assert written(list(rig.core.on_persisted(persist.ticket))) == ["a"]
    assert rig.core.on_persisted(persist.ticket) == []


def test_a_write_that_the_disk_refuses_is_told_and_tried_again() -> None:
    """The one who reads it learns which file; nothing is forgotten."""
    rig = Rig()
    rig.begun()
    rig.peer_creates("a", 1)
    rig.does([])
    out = rig.apply(rig.store(), WriteOutcome.FAILED)
    assert only(out, WritesFailed) == [WritesFailed(1, "a", "full")]
    rig.tick(RETRY_WRITE_MS)
    assert written(rig.store()) == ["a"]


# --- how much in one turn -----------------------------------------------------------------------


def considered_in_one_turn(core_type: type[WorkspaceCore]) -> int:
    """Touch many paths; returns how many the flushes of one turn planned a write for."""
    rig = Rig(core_type)
    rig.begun()
    for number in range(1, MANY + 1):
        rig.peer_creates(f"f{number}", number)
    assert rig.core.has_more
    rig.core.begin_turn()
    rig.core.flush()
    rig.core.flush()
    return rig.core.applier.outstanding


def test_one_turn_considers_a_bounded_number_of_paths() -> None:
    """The node is never busy for long."""
    assert considered_in_one_turn(WorkspaceCore) == CONSIDERED_MAX


def test_a_variant_that_considers_all_at_once_is_caught() -> None:
    """The check of the bound can fail."""
    assert considered_in_one_turn(Greedy) > CONSIDERED_MAX


def test_what_one_flush_left_is_said_and_done_in_the_next_ones() -> None:
    """``has_more`` holds until all was considered; every file is written once in the end."""
    rig = Rig()
    rig.begun()
    for number in range(1, MANY + 1):
        rig.peer_creates(f"f{number}", number)
    rig.core.begin_turn()
    first = rig.core.flush()
    more = [rig.core.has_more]
    rig.does(first)
    more.append(rig.core.has_more)
    assert more == [True, False]
    paths: list[str] = []
    while asked := rig.store():
        paths += written(asked)
        rig.apply(asked)
    assert sorted(paths) == sorted(f"f{number}" for number in range(1, MANY + 1))
    assert (rig.unplanned, rig.core.outstanding) == ([], 0)
