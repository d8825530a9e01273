"""What a node says of its own folder: what it could not write, and folders without files."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.answers import Status, SyncProgress
from aiplatform.mesh_ide.api.overview import _unreachable
from aiplatform.mesh_ide.cli import present
from tests.integration.kit import until
from tests.unit.api.test_conflicts import Desk, at_a_desk

FULL = "the disk is full"


async def written(desk: Desk, *paths: str) -> None:
    """Save files, and wait until the node knows them."""
    for path in paths:
        desk.node.write(path, "one\n")
    await desk.node.look()
    for path in paths:
        await until(lambda p=path: desk.node.has_agreed(p), f"{path} is in")  # type: ignore[misc]
    core = desk.node.core
    await until(
        lambda: (
            not (core.workspace.outstanding or core.authoring.queued or core.ledger.claimed)
            and not core.replication.holdings.lacking
        ),
        "all of it is on the disk",
    )


def test_what_could_not_be_written_is_told_before_anything_else(tmp_path: Path) -> None:
    """Not synced, by any verb: nothing is everywhere that is not in this folder."""

    async def test(desk: Desk) -> None:
        await written(desk, "a.txt", "d/b.txt")
        status: Status = await desk.ask(requests.AskStatus())
        assert (status.is_synced, status.unwritten, status.lacking) == (True, 0, 0)
        assert (await desk.why("a.txt")).state == "SYNCED"
        desk.node.core.workspace.applier.failed.update({"d/b.txt": (desk.subjects.now_ms(), FULL)})
        status = await desk.ask(requests.AskStatus())
        assert (status.is_synced, status.unwritten) == (False, 1)
        assert "1 file could not be written here" in present.status(status)
        assert "synced" not in present.status(status)
        why = await desk.why("d/b.txt")
        assert why.state == "PENDING"
        assert "This node could not write it: the disk is full" in why.explanation
        assert (await desk.why("a.txt")).state == "SYNCED"
        folder = (await desk.why("d")).explanation
        assert "1 that this node could not write" in folder
        assert "every member has all" not in folder
        said: SyncProgress = await desk.ask(requests.AskSync(wait=False, only_online=False))
        assert not said.is_done
        assert said.message.startswith("this node could not write 1 file: the disk is full")

    at_a_desk(tmp_path, test)


def test_a_file_that_could_not_be_taken_out_is_told_with_its_deletion(tmp_path: Path) -> None:
    """Deleted elsewhere, it still stands in this folder."""

    async def test(desk: Desk) -> None:
        await written(desk, "it's gone")
        (desk.node.folder / "it's gone").unlink()
        await desk.node.look()
        file = desk.node.core.ledger.index.owner("it's gone")
        await until(lambda: not desk.node.core.ledger.is_alive(file), "it is deleted")
        why = await desk.why("it's gone")
        assert (
            why.explanation
            == """It was deleted. Bring it back with: mesh restore 'it'"'"'s gone'"""
        )
        desk.node.core.workspace.applier.failed["it's gone"] = (desk.subjects.now_ms(), "read-only")
        assert (
            "not take it out of the folder: read-only" in (await desk.why("it's gone")).explanation
        )

    at_a_desk(tmp_path, test)


def test_an_empty_folder_is_no_unknown_path(tmp_path: Path) -> None:
    """It is there, and does not replicate; a name of nothing is told as before."""

    async def test(desk: Desk) -> None:
        (desk.node.folder / "empty").mkdir()
        await desk.node.look()
        await until(lambda: not desk.node.core.workspace.outstanding, "it looked")
        why = await desk.why("empty")
        assert why.state == "FOLDER"
        assert "empty folders do not" in why.explanation
        why = await desk.why("nothing")
        assert why.state == "UNKNOWN"
        assert "there is no file nothing" in why.explanation

    at_a_desk(tmp_path, test)


@pytest.mark.parametrize("is_refused", [True, False])
def test_who_was_refused_is_not_asked_about_the_way_there(*, is_refused: bool) -> None:
    """The other node answered: it is up, and nothing is in between."""
    said = _unreachable("desk", "this key is not a member: join first", is_refused=is_refused)
    assert said.startswith("desk is not reachable (this key is not a member: join first)")
    assert ("UDP" in said) is not is_refused
