"""What the disk has to wait for: contents that more than one needs, paths of unknown fate."""

from __future__ import annotations

from collections.abc import Callable

from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.ports.jobs import PlannedWrite
from aiplatform.mesh_ide.workspace.core_apply import Applier
from aiplatform.mesh_ide.workspace.core_needs import Needs
from tests.unit.documents.authors import blob, file
from tests.unit.workspace.bench import NOW_MS, Bench


def plan(bench: Bench, path: str) -> list[PlannedWrite]:
    """Consider a path and return what is to be written."""
    bench.applier.consider(path)
    return [planned for job in bench.applier.take_writes() for planned in job.writes]


# --- contents -----------------------------------------------------------------------------------


class OneOwner(Needs):
    """Remembers only who needed a content first."""

    def keep(self, blob: BlobHash, file: FileId) -> bool:
        """See ``Needs.keep``."""
        return blob not in self.shelf and super().keep(blob, file)


def asked_again(needs_type: type[Needs]) -> set[str]:
    """Let two hidden files need one content that nobody sends; returns for whom it is retried."""
    bench = Bench(needs_type)
    for number, path in enumerate("ab"):
        bench.stand(path, 1 + 2 * number, path)
        bench.share(path, 2 + 2 * number, "hidden")
        assert plan(bench, path) == []
    return set(bench.needs.take_retries(NOW_MS))


def test_a_content_is_asked_for_again_for_all_who_need_it() -> None:
    """Two hidden files have the same bytes; the first of them may be gone by then."""
    assert asked_again(Needs) == {"a", "b"}


def test_a_variant_that_remembers_only_the_first_is_caught() -> None:
    """The check can fail."""
    assert asked_again(OneOwner) == {"a"}


def test_a_hidden_content_that_stands_in_place_of_another_file_is_not_trusted_to_stay() -> None:
    """Overwritten before it was archived, it is fetched, and the file counts as incomplete."""
    bench = Bench()
    bench.stand("a", 1)
    bench.share("a", 2, "hidden")
    bench.stand("b", 3, "hidden")
    assert plan(bench, "a") == []
    assert bench.needs.wanted == {}, "it is here"
    bench.stand("b", 4, "another")
    bench.folder.take_placed()
    assert set(bench.needs.take_retries(NOW_MS)) == {"a"}
    assert bench.folder.take_placed() == (file(2),)
    assert plan(bench, "a") == []
    assert bench.needs.wanted == {blob("hidden"): (file(2), 6)}


def test_a_hidden_content_that_is_archived_needs_nothing() -> None:
    """It stays, whatever becomes of the files that it stands in."""
    bench = Bench()
    bench.stand("a", 1)
    bench.share("a", 2, "hidden")
    bench.hold_content("hidden")
    assert plan(bench, "a") == []
    assert (bench.needs.shelf, bench.needs.wanted) == ({}, {})


# --- paths --------------------------------------------------------------------------------------


def moved_although_gone(is_waiting: Callable[[str], bool] | None) -> list[str | None]:
    """Let a file vanish that a peer gave another place; returns from where it is to be moved."""
    bench = Bench()
    bench.stand("a", 1)
    standing = bench.folder.standing("a")
    assert standing is not None
    bench.deletions.vanish("a", standing, NOW_MS)
    bench.move(1, "b")
    waits = is_waiting or bench.deletions.is_waiting
    bench.applier = Applier(bench.ledger, bench.folder, bench.needs, waits)
    return [planned.write.moved_from for planned in plan(bench, "b")]


def test_what_is_gone_is_not_moved() -> None:
    """Whether it was deleted or renamed is found out first."""
    assert moved_although_gone(None) == []


def test_a_variant_that_moves_what_is_gone_is_caught() -> None:
    """The check can fail."""
    assert moved_although_gone(lambda _: False) == ["a"]
