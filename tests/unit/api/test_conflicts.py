"""Conflicts of a real node: listed, counted and told by every verb alike; every way out is real."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from aiplatform.mesh_ide.api import contests, requests
from aiplatform.mesh_ide.api.answers import Changed, Conflict, Conflicts, Content, Held, Status, Why
from aiplatform.mesh_ide.api.deciding import NoSuchSideError
from aiplatform.mesh_ide.api.editing import write
from aiplatform.mesh_ide.api.operations import Operations
from aiplatform.mesh_ide.api.snapshot_answers import Snapshot, SnapshotShown
from aiplatform.mesh_ide.api.subjects import NoSuchFileError, Subjects
from aiplatform.mesh_ide.cli import present
from aiplatform.mesh_ide.model.enums import FileMode, HoldReason
from aiplatform.mesh_ide.node.events import PutContent
from aiplatform.mesh_ide.ports.jobs import ArchiveBlobs, BlobSource
from aiplatform.mesh_ide.workspace.records import Hold
from tests.integration.kit import Node, one_node, run, until
from tests.unit.documents.manifest_kit import blob_of


class Desk:
    """A node, asked as the command line asks it."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.subjects = Subjects(node.node, lambda: None)
        self._operations = Operations(self.subjects)

    async def ask(self, request: requests.AnyAsk) -> Any:  # noqa: ANN401 - any answer
        """Ask."""

        async def emit(item: object) -> None:
            """Take what streams."""

        return await self._operations.perform(request, emit)

    async def create(self, path: str, content: bytes) -> None:
        """Make a file at a path, whoever stands there: as on a node that knew of nobody."""
        await write(self.subjects, None, path, content, FileMode.REGULAR, is_rewrite=False)

    async def twins(self, path: str, *contents: bytes) -> None:
        """Make files of one name at once, as nodes do that have not met yet."""
        driver, principal = self.subjects.driver, self.subjects.principal()
        for content in contents:
            driver.contents.keep(blob_of(content), content)
            driver.submit(ArchiveBlobs((BlobSource(blob_of(content)),)))
        # None of them is durable before all are asked for.
        await asyncio.gather(
            *(
                driver.request(
                    lambda tag, c=content: PutContent(  # type: ignore[misc]
                        tag, None, path, blob_of(c), len(c), FileMode.REGULAR, True, principal
                    )
                )
                for content in contents
            )
        )
        assert len(self.subjects.ledger.index.claims(path)) == len(contents)

    async def hidden(self, path: str, content: bytes) -> None:
        """Make a folder with a file ``x`` in it, and a file of its name."""
        self.node.write(f"{path}/x", "in the folder\n")
        await self.node.look()
        await self.node.shows(f"{path}/x", "in the folder\n")
        await until(lambda: self.subjects.ledger.index.has_below(path), f"{path} is a folder")
        await self.create(path, content)

    async def conflicts(self) -> tuple[Conflict, ...]:
        """Return what is listed; the status counts as much."""
        listed: Conflicts = await self.ask(requests.AskConflicts())
        status: Status = await self.ask(requests.AskStatus())
        assert status.conflicts == len(listed.conflicts)
        return listed.conflicts

    async def why(self, path: str) -> Why:
        """Return what is known of a path."""
        answer: Why = await self.ask(requests.AskWhy(path))
        return answer

    async def cat(self, path: str, version: str = "") -> bytes:
        """Return a content."""
        answer: Content = await self.ask(requests.AskCat(path, version))
        return answer.content

    async def resolve(self, path: str, side: str, to: str = "") -> Changed:
        """Decide."""
        answer: Changed = await self.ask(requests.AskResolve(path, side, to))
        return answer

    async def type(self, commands: str) -> list[Changed]:
        """Do what a person does who types printed commands."""
        done: list[Changed] = []
        for command in commands.split(" && "):
            match shlex.split(command):
                case ["mesh", "restore", path, "--version", version]:
                    done.append(await self.ask(requests.AskRestore(path, version)))
                case ["mesh", "resolve", path, side]:
                    done.append(await self.resolve(path, side))
                case ["mesh", "resolve", path, side, "--to", to]:
                    done.append(await self.resolve(path, side, to))
                case ["rm", path]:
                    (self.node.folder / path).unlink()
                case ["mv", path, to]:
                    (self.node.folder / path).rename(self.node.folder / to)
                case _:
                    raise AssertionError(f"nobody can type {command!r}")
        return done


def at_a_desk(base: Path, test: Callable[[Desk], Coroutine[Any, Any, None]]) -> None:
    """Run a test on the only node of a workspace."""

    async def work() -> None:
        async with one_node(base) as node:
            await test(Desk(node))

    run(work())


def ways(conflict: Conflict) -> dict[str, str]:
    """Return the commands that are printed below a conflict, by what they do."""
    lines = present.conflicts(Conflicts((conflict,))).split("\n")
    return {
        what.strip(): command.strip()
        for what, _, command in (line.partition(": ") for line in lines)
        if what.strip().startswith("keep")
    }


# --- a file whose name is a folder ---------------------------------------------------------------


async def check_a_hidden_file_is_told(desk: Desk) -> None:
    """Look whether every verb tells of a file that stands in no folder."""
    await desk.hidden("d1", b"a file\n")
    (conflict,) = await desk.conflicts()
    assert (conflict.path, conflict.kind) == ("d1", "folder")
    assert [(side.id == "folder", side.is_on_disk) for side in conflict.sides] == [
        (True, True),
        (False, False),
    ]
    why = await desk.why("d1")
    assert why.state == "CONFLICT"
    assert "a folder of this name stands there" in why.explanation
    assert "`mesh cat d1`" in why.explanation
    assert await desk.cat("d1") == b"a file\n"
    status: Status = await desk.ask(requests.AskStatus())
    assert status.files == 1, "one file stands in the folder"


def test_a_file_that_a_folder_hides_is_listed_counted_and_explained(tmp_path: Path) -> None:
    """It is gone from its own folder, so every verb says where it is and why."""
    at_a_desk(tmp_path, check_a_hidden_file_is_told)


def test_a_hidden_file_that_is_not_told_would_be_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted: only files that claim one and the same path are looked at."""
    planted = contests.contest_at

    def blind(ledger: Any, path: str) -> contests.Contest | None:  # noqa: ANN401 - any ledger
        found = planted(ledger, path)
        return None if found is None or len(found.files) == 1 else found

    monkeypatch.setattr(contests, "contest_at", blind)
    with pytest.raises((AssertionError, ValueError)):
        at_a_desk(tmp_path, check_a_hidden_file_is_told)


def test_a_hidden_file_is_kept_under_another_name(tmp_path: Path) -> None:
    """By the command that is printed; its history goes with it, the folder stays."""

    async def test(desk: Desk) -> None:
        await desk.hidden("d 1", b"a file\n")
        (conflict,) = await desk.conflicts()
        (done,) = await desk.type(ways(conflict)["keep both"])
        assert done.path == "d 1-alpha"
        await desk.node.shows("d 1-alpha", "a file\n")
        assert desk.node.read("d 1/x") == b"in the folder\n"
        assert await desk.conflicts() == ()
        assert (await desk.why("d 1-alpha")).file == conflict.sides[1].id

    at_a_desk(tmp_path, test)


def test_a_file_takes_its_name_once_the_folder_has_another(tmp_path: Path) -> None:
    """By the command that is printed."""

    async def test(desk: Desk) -> None:
        await desk.hidden("d1", b"a file\n")
        (conflict,) = await desk.conflicts()
        await desk.type(ways(conflict)["keep the file's name"])
        await desk.node.look()
        await desk.node.shows("d1", "a file\n")
        await desk.node.shows("ANOTHER-NAME/x", "in the folder\n")
        assert await desk.conflicts() == ()

    at_a_desk(tmp_path, test)


def test_keeping_only_the_folder_can_be_undone_and_the_undo_too(tmp_path: Path) -> None:
    """The words that are printed bring the decision back, and take it away again."""

    async def test(desk: Desk) -> None:
        await desk.hidden("d1", b"a file\n")
        before = await desk.conflicts()
        (kept,) = await desk.type(ways(before[0])["keep only the folder"])
        assert await desk.conflicts() == ()
        (undone,) = await desk.type(kept.undo)
        assert [c.kind for c in await desk.conflicts()] == ["folder"]
        assert "in conflict now" in undone.message
        assert await desk.cat("d1") == b"a file\n"
        await desk.type(undone.undo)
        assert await desk.conflicts() == ()

    at_a_desk(tmp_path, test)


def test_a_file_cannot_take_a_folders_place(tmp_path: Path) -> None:
    """Its side alone says what is possible; other names must be free, and below no file."""

    async def test(desk: Desk) -> None:
        await desk.hidden("d1", b"a file\n")
        await desk.create("other", b"")
        with pytest.raises(NoSuchSideError, match="--to NEW"):
            await desk.resolve("d1", "alpha")
        with pytest.raises(NoSuchSideError, match="only a file"):
            await desk.resolve("d1", "folder", "d2")
        for taken in ("other", "other/below", "d1"):
            with pytest.raises(NoSuchFileError, match=r"exists already|is a file"):
                await desk.resolve("d1", "alpha", taken)
            with pytest.raises(NoSuchFileError, match=r"exists already|is a file"):
                await desk.ask(requests.AskRestore("d1/x", "1", taken))
        assert len(await desk.conflicts()) == 1

    at_a_desk(tmp_path, test)


# --- several files of one name -------------------------------------------------------------------


def test_the_undo_of_two_files_of_one_name_is_a_command_that_works(tmp_path: Path) -> None:
    """The printed words bring the other file back, whose content is the same as before."""

    async def test(desk: Desk) -> None:
        await desk.twins("a new.md", b"one\n", b"two\n")
        (before,) = await desk.conflicts()
        kept, lost = before.sides
        done = await desk.resolve("a new.md", kept.id[:10])
        assert await desk.conflicts() == ()
        assert await desk.cat("a new.md", lost.id[:10]) in {b"one\n", b"two\n"}
        (undone,) = await desk.type(done.undo)
        (after,) = await desk.conflicts()
        assert {side.id for side in after.sides} == {side.id for side in before.sides}
        assert {await desk.cat("a new.md", side.id) for side in after.sides} == {
            b"one\n",
            b"two\n",
        }
        await desk.type(undone.undo)
        assert await desk.conflicts() == ()
        assert (await desk.why("a new.md")).file == kept.id

    at_a_desk(tmp_path, test)


def test_three_files_of_one_name_come_back_together(tmp_path: Path) -> None:
    """The undo names every one that lost."""

    async def test(desk: Desk) -> None:
        await desk.twins("new.md", b"one\n", b"two\n", b"three\n")
        (before,) = await desk.conflicts()
        done = await desk.resolve("new.md", before.sides[1].id)
        assert len(await desk.type(done.undo)) == 2
        (after,) = await desk.conflicts()
        assert len(after.sides) == 3

    at_a_desk(tmp_path, test)


def test_both_files_of_one_name_are_kept_by_the_printed_command(tmp_path: Path) -> None:
    """Each has a name of its own then."""

    async def test(desk: Desk) -> None:
        await desk.twins("src/new.md", b"one\n", b"two\n")
        why = await desk.why("src/new.md")
        assert (why.state, "Several files" in why.explanation) == ("CONFLICT", True)
        (conflict,) = await desk.conflicts()
        await desk.type(ways(conflict)["keep both"])
        assert await desk.conflicts() == ()
        found = {await desk.cat("src/new.md"), await desk.cat("src/new-alpha.md")}
        assert found == {b"one\n", b"two\n"}

    at_a_desk(tmp_path, test)


def test_a_deleted_file_comes_back_beside_a_living_one_of_its_name(tmp_path: Path) -> None:
    """By its id, which the list of deleted files shows; into another file if so asked."""

    async def test(desk: Desk) -> None:
        await desk.twins("new.md", b"one\n", b"two\n")
        (conflict,) = await desk.conflicts()
        await desk.resolve("new.md", conflict.sides[0].id)
        deleted = await desk.ask(requests.AskDeleted())
        shown = present.deleted(deleted)
        lost = conflict.sides[1].id[:10]
        assert lost in shown
        with pytest.raises(NoSuchFileError, match="mesh restore --list new"):
            await desk.ask(requests.AskRestore("new.md"))
        restored: Changed = await desk.ask(requests.AskRestore("new.md", lost, "other.md"))
        assert await desk.conflicts() == ()
        await desk.node.shows("other.md", await desk.cat("new.md", lost))
        await desk.type(restored.undo)
        await desk.node.look()
        assert desk.node.read("other.md") is None

    at_a_desk(tmp_path, test)


def test_equal_files_of_one_name_are_no_conflict_anywhere(tmp_path: Path) -> None:
    """Status, list, why and snapshots agree; a file that stands once is counted once."""

    async def test(desk: Desk) -> None:
        await desk.twins("same.txt", b"same\n", b"same\n")
        assert await desk.conflicts() == ()
        status: Status = await desk.ask(requests.AskStatus())
        assert (status.files, status.bytes) == (1, 5)
        assert (await desk.why("same.txt")).state != "CONFLICT"
        await desk.node.shows("same.txt", "same\n")
        snapshot: Snapshot = await desk.ask(requests.AskSnapshotCreate("equal"))
        assert (snapshot.files, snapshot.aside) == (1, 0)
        shown: SnapshotShown = await desk.ask(requests.AskSnapshot("equal"))
        assert [file.is_aside for file in shown.files] == [False]
        await desk.twins("other.txt", b"one\n", b"two\n", b"two\n")
        snapshot = await desk.ask(requests.AskSnapshotCreate("different"))
        assert (snapshot.files, snapshot.aside) == (2, 1)
        assert len(await desk.conflicts()) == 1

    at_a_desk(tmp_path, test)


# --- holds ---------------------------------------------------------------------------------------


def test_held_paths_are_listed_in_order(tmp_path: Path) -> None:
    """People look for a name among the first ten."""

    async def test(desk: Desk) -> None:
        hold = Hold(1, HoldReason.MASS_DELETION, ("b", "c/a", "a"), 0, "3 of 3 files vanished")
        desk.subjects.core.workspace.deletions.load(hold)
        held: Held = await desk.ask(requests.AskHeld())
        assert held.holds[0].paths == ("a", "b", "c/a")

    at_a_desk(tmp_path, test)
