"""Disks that are full or cannot be written: told, nothing lost, and on it goes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.api.synchronising import Synchronising
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.model.entries import Principal
from aiplatform.mesh_ide.model.enums import PrincipalKind
from aiplatform.mesh_ide.node.boot import open_node
from aiplatform.mesh_ide.node.events import EditText
from aiplatform.mesh_ide.ports.engine import Splice
from aiplatform.mesh_ide.ports.errors import StorageFullError
from tests.integration.kit import Node, converged, run, two_nodes, until

MIB = 1024 * 1024
WHO = Principal(PrincipalKind.PERSON, "alpha")
Mount = Callable[[Path, int], Path]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Give small disks; skips where this user may not mount."""
    mounted: list[Path] = []

    def make(at: Path, size_bytes: int) -> Path:
        at.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=700", "tmpfs", str(at)],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, f"mounting a small disk needs root: {done.stderr!r}"
        mounted.append(at)
        return at

    yield make
    for at in mounted:
        subprocess.run(["umount", "-l", str(at)], check=False)


def fill(disk: Path) -> Path:
    """Leave no room on a disk; returns the file that takes it."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (MIB, 4096, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return ballast


def test_a_full_disk_under_the_state_holds_up_words_not_work(tmp_path: Path, mount: Mount) -> None:
    """Nothing is acknowledged that is not stored; once there is room, everything gets through."""

    async def work() -> None:
        state = mount(tmp_path / "alpha" / "state", 12 * MIB)
        async with two_nodes(tmp_path, {"a.txt": "one\n", "b.txt": "bee\n"}) as (alpha, beta):
            file = alpha.file("a.txt")
            ballast = fill(state)
            answers: list[str] = []

            async def edit() -> None:
                splice = (Splice(0, 0, "zero\n"),)
                await alpha.node.driver.request(lambda tag: EditText(tag, file, splice, WHO))
                answers.append("acknowledged")

            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(edit())
                await alpha.hears("is full", "Free some space", kind="storage")
                assert "is full" in (alpha.core.storage_problem or "")
                for number in range(30):
                    alpha.write(f"new{number}.txt", f"{number}\n" * 100)
                beta.write("b.txt", "bee\nbeta\n")
                await until(lambda: beta.has_agreed("b.txt"), "beta goes on")
                assert answers == []
                assert alpha.is_serving
                ballast.unlink()
                await alpha.hears("the store works again", kind="storage")
            assert answers == ["acknowledged"]
            await alpha.shows("a.txt", "zero\none\n")
            await beta.shows("a.txt", "zero\none\n")
            await alpha.shows("b.txt", "bee\nbeta\n")
            await converged(alpha, beta)
            assert len(beta.tree()) == 32
            assert alpha.core.storage_problem is None

    run(work())


def test_a_node_whose_disk_is_full_says_so_when_it_starts(tmp_path: Path, mount: Mount) -> None:
    """Not a traceback: which directory, what is wrong, what to do; afterwards it starts."""

    async def work() -> None:
        state = mount(tmp_path / "alpha" / "state", 8 * MIB)
        alpha = Node(tmp_path, "alpha")
        alpha.found()
        async with alpha.up():
            alpha.write("a.txt", "one\n")
            await until(lambda: alpha.has_agreed("a.txt"), "it is in")
        ballast = fill(state)
        with pytest.raises(StorageFullError, match=r"is full.*Free some space"):
            open_node(alpha.state, listen=Listen.LOOPBACK)
        ballast.unlink()
        async with alpha.up():
            await until(lambda: alpha.has_agreed("a.txt"), "it is still in")

    run(work())


def test_a_full_disk_under_the_folder_is_a_problem_of_those_files_alone(
    tmp_path: Path, mount: Mount
) -> None:
    """What does not fit is named with the reason; what fits arrives; later everything does."""

    async def work() -> None:
        disk = mount(tmp_path / "alpha" / "folder", 4 * MIB)
        async with two_nodes(tmp_path, {"a.txt": "one\n"}) as (alpha, beta):
            ballast = disk / ".venv" / "ballast"
            ballast.parent.mkdir()
            (ballast.parent / "pyvenv.cfg").write_bytes(b"")
            ballast.write_bytes(bytes(2 * MIB))
            beta.write("big.bin", os.urandom(3 * MIB))
            await until(lambda: "big.bin" in alpha.core.workspace.applier.failed, "it is named")
            assert "the disk is full" in alpha.core.workspace.applier.failed["big.bin"][1]
            blame = Synchronising(Subjects(alpha.node, lambda: None)).progress(only_online=False)
            assert not blame.is_done
            assert blame.lacking == (), "beta has it: it is alpha's disk that is full"
            assert blame.message.startswith("this node could not write 1 file: the disk is full")
            await alpha.hears("big.bin could not be written: the disk is full", kind="folder")
            beta.write("a.txt", "one\ntwo\n")
            await alpha.shows("a.txt", "one\ntwo\n")
            alpha.write("a.txt", "one\ntwo\nthree\n")
            await beta.shows("a.txt", "one\ntwo\nthree\n")
            assert alpha.is_serving
            ballast.unlink()
            await until(lambda: alpha.read("big.bin") == beta.read("big.bin"), "it arrives", 12.0)
            await until(
                lambda: "big.bin" not in alpha.core.workspace.applier.failed, "nothing is named"
            )

    run(work())


def test_a_file_that_did_not_fit_and_is_deleted_is_no_problem_any_more(
    tmp_path: Path, mount: Mount
) -> None:
    """What nobody wants written cannot fail; that it failed is told once, however often tried."""

    async def work() -> None:
        mount(tmp_path / "alpha" / "folder", 2 * MIB)
        async with two_nodes(tmp_path, {"a.txt": "one\n"}) as (alpha, beta):
            beta.write("big.bin", os.urandom(3 * MIB))
            failed = alpha.core.workspace.applier.failed
            await until(lambda: "big.bin" in failed, "it is named")
            since_ms = failed["big.bin"][0]
            await until(lambda: failed["big.bin"][0] > since_ms, "it is tried again", 12.0)
            assert sum("could not be written" in told.text for told in alpha.hear()) == 1
            (beta.folder / "big.bin").unlink()
            await until(lambda: not failed, lambda: f"nothing is named: {failed}", 12.0)
            await converged(alpha, beta)

    run(work())


def test_a_folder_that_becomes_read_only_keeps_all_that_comes(tmp_path: Path, mount: Mount) -> None:
    """Edits from elsewhere wait with the reason shown; writable again, they are written."""

    async def work() -> None:
        disk = mount(tmp_path / "alpha" / "folder", 16 * MIB)
        async with two_nodes(tmp_path, {"a.txt": "one\n", "b.txt": "two\n"}) as (alpha, beta):
            remount(disk, "ro")
            beta.write("a.txt", "one\nmore\n")
            (beta.folder / "b.txt").unlink()
            await until(
                lambda: {"a.txt", "b.txt"} <= alpha.core.workspace.applier.failed.keys(),
                lambda: f"both are named: {alpha.core.workspace.applier.failed}",
            )
            problem = alpha.core.workspace.applier.failed["a.txt"][1]
            assert "read-only" in problem.lower()
            assert alpha.read("a.txt") == b"one\n"
            assert alpha.is_serving
            remount(disk, "rw")
            await alpha.shows("a.txt", "one\nmore\n", 12.0)
            await alpha.shows("b.txt", None)
            await converged(alpha, beta)

    run(work())


def test_removals_renames_and_edits_met_by_a_read_only_folder_wait_for_it(
    tmp_path: Path, mount: Mount
) -> None:
    """Also where the node has written there before: it goes on, names each, and does them later."""

    async def work() -> None:
        disk = mount(tmp_path / "alpha" / "folder", 16 * MIB)
        files = {f"{name}.txt": f"{name}\n" for name in ("edited", "removed", "renamed")}
        files["d/last.txt"] = "the only one of its folder\n"
        async with two_nodes(tmp_path, files) as (alpha, beta):
            beta.write("first.txt", "makes the temporary folder\n")
            await alpha.shows("first.txt", "makes the temporary folder\n")
            assert (disk / ".mesh-tmp").is_dir()
            remount(disk, "ro")
            failed = alpha.core.workspace.applier.failed
            (beta.folder / "removed.txt").unlink()
            await until(lambda: "removed.txt" in failed, lambda: f"it is named: {failed}")
            beta.write("edited.txt", "edited\nmore\n")
            (beta.folder / "d" / "last.txt").unlink()
            (beta.folder / "renamed.txt").rename(beta.folder / "new.txt")
            await until(
                lambda: {"edited.txt", "d/last.txt", "new.txt"} <= failed.keys(),
                lambda: f"each is named: {failed}",
            )
            assert all("read-only" in problem for _, problem in failed.values())
            assert alpha.is_serving
            alpha.hear()
            remount(disk, "rw")
            await alpha.shows("removed.txt", None, 12.0)
            await alpha.shows("edited.txt", "edited\nmore\n", 12.0)
            await alpha.shows("new.txt", "renamed\n", 12.0)
            await alpha.shows("d/last.txt", None, 12.0)
            await converged(alpha, beta)
            assert not (disk / "d").exists()

    run(work())


def remount(disk: Path, word: str) -> None:
    """Make a disk ``ro`` or ``rw``."""
    subprocess.run(["mount", "-o", f"remount,{word}", str(disk)], check=True)
