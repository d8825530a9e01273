"""Whatever can stand in a folder: it arrives byte for byte, or is listed with a reason."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

from aiplatform.mesh_ide.node.events import RejectHold
from tests.integration.kit import Node, converged, run, two_nodes, until

MIB = 1024 * 1024


def test_all_kinds_of_files_arrive_byte_for_byte_and_mode_for_mode(tmp_path: Path) -> None:
    """Empty, binary, CRLF, other encodings, executables, links, odd names, 64 MB."""

    async def work() -> None:
        async with two_nodes(tmp_path) as (alpha, beta):
            alpha.write("empty", b"")
            alpha.write("crlf.txt", b"one\r\ntwo\r\n")
            alpha.write("latin1.txt", "grün\n".encode("latin-1"))
            alpha.write("utf16.txt", "two bytes\n".encode("utf-16"))
            alpha.write("nul.bin", b"a\0b")
            alpha.write("no newline", b"end")
            alpha.write("ünï/cödé 🎈.txt", "é\n")
            alpha.write("-rf *", b"a name\n")
            alpha.write("new\nline", b"in its name\n")
            alpha.write("run.sh", b"#!/bin/sh\necho hi\n")
            (alpha.folder / "run.sh").chmod(0o755)
            (alpha.folder / "link").symlink_to("crlf.txt")
            (alpha.folder / "dangling").symlink_to("nowhere")
            big = os.urandom(MIB) * 64
            (alpha.folder / "big.bin").write_bytes(big)
            await converged(alpha, beta, 20.0)
            there = beta.tree()
            assert there["run.sh"][0] == "executable"
            assert there["link"] == ("link", b"crlf.txt")
            assert there["dangling"] == ("link", b"nowhere")
            assert there["big.bin"][1] == big
            assert there["new\nline"][1] == b"in its name\n"
            assert len(there) == 13

    run(work(), 40.0)


def test_modes_change_and_files_become_links_and_back(tmp_path: Path) -> None:
    """An executable bit set and cleared, a file replaced by a link and the reverse."""

    async def work() -> None:
        async with two_nodes(tmp_path, {"tool": "#!/bin/sh\n", "data": "x\n"}) as (alpha, beta):
            (alpha.folder / "tool").chmod(0o755)
            await until(lambda: beta.tree()["tool"][0] == "executable", "the bit arrives")
            (beta.folder / "tool").chmod(0o644)
            await until(lambda: alpha.tree()["tool"][0] == "file", "its clearing arrives")
            (alpha.folder / "data").unlink()
            (alpha.folder / "data").symlink_to("tool")
            await until(lambda: beta.tree().get("data") == ("link", b"tool"), "the link arrives")
            (beta.folder / "data").unlink()
            (beta.folder / "data").write_bytes(b"a file again\n")
            await until(lambda: alpha.tree().get("data") == ("file", b"a file again\n"), "the file")
            await converged(alpha, beta)

    run(work())


def test_a_case_only_rename_keeps_history_and_content(tmp_path: Path) -> None:
    """``Readme`` to ``README`` is one file with another name, on both sides."""

    async def work() -> None:
        async with two_nodes(tmp_path, {"Readme": "hello\n"}) as (alpha, beta):
            file = alpha.file("Readme")
            (alpha.folder / "Readme").rename(alpha.folder / "README")
            await beta.shows("README", "hello\n")
            await beta.shows("Readme", None)
            assert alpha.file("README") == beta.file("README") == file
            await converged(alpha, beta)

    run(work())


def test_what_cannot_replicate_is_listed_with_its_reason(tmp_path: Path) -> None:
    """FIFO, socket, device, names and links that no other machine can have: told, never opened."""

    async def work() -> None:
        async with two_nodes(tmp_path, {"fine.txt": "fine\n"}) as (alpha, beta):
            root = alpha.folder
            os.mkfifo(root / "fifo")
            listener = socket_at(root / "socket")
            (root / "outside").symlink_to("../../etc/passwd")
            (root / "absolute").symlink_to("/etc/passwd")
            (root / "loop").symlink_to("loop")
            (root / "sub").mkdir()
            (root / "sub" / "up").symlink_to("..")
            unnameable = root / os.fsdecode(b"bad-\xff-name")
            unnameable.write_bytes(b"lost?")
            expected = {
                "fifo": "special-file",
                "socket": "special-file",
                "outside": "link-leaves-the-root",
                "absolute": "link-leaves-the-root",
            }
            if os.geteuid() == 0:
                os.mknod(root / "device", 0o020600, os.makedev(1, 3))
                expected["device"] = "special-file"
            alpha.write("later.txt", "later\n")
            await beta.shows("later.txt", "later\n")
            await until(
                lambda: (
                    expected.items() <= alpha.skipped().items()
                    and "name-is-not-utf8" in alpha.skipped().values()
                ),
                lambda: f"all are listed: {alpha.skipped()}",
            )
            listener.close()
            await until(lambda: beta.tree().get("loop") == ("link", b"loop"), "a link is a link")
            await until(lambda: beta.tree().get("sub/up") == ("link", b".."), "also to a folder")
            assert set(beta.tree()) == {"fine.txt", "later.txt", "loop", "sub/up"}
            assert unnameable.read_bytes() == b"lost?"
            assert alpha.is_serving
            for path in (unnameable, root / "fifo", root / "outside"):
                path.unlink()
            await alpha.look()
            await until(
                lambda: (
                    not {"fifo", "outside"} & set(alpha.skipped())
                    and "name-is-not-utf8" not in alpha.skipped().values()
                ),
                lambda: f"what is gone is not listed: {alpha.skipped()}",
            )
            assert alpha.skipped()["absolute"] == "link-leaves-the-root"

    run(work())


def socket_at(path: Path) -> socket.socket:
    """Make a socket stand at a path (its name is short enough only from here, unix(7))."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(os.path.relpath(path))
    return listener


GROWING = """
import sys
file = open(sys.argv[1], "ab", buffering=0)
for number in range(4000):
    file.write(b"%06d %s\\n" % (number, b"x" * 500))
"""


def test_a_file_saved_again_right_after_its_creation_is_an_edit_at_once(tmp_path: Path) -> None:
    """What the second save builds on was never archived, and is not waited for either."""

    async def work() -> None:
        async with two_nodes(tmp_path) as (alpha, beta):
            for number in range(5):
                path = f"new{number}.txt"
                alpha.write(path, "first\n")
                await until(lambda path=path: alpha.has_agreed(path), "it is in")  # type: ignore[misc]
                alpha.write(path, "first\nsecond\n")
                await beta.shows(path, "first\nsecond\n", 1.5)
                state = alpha.core.ledger.state(alpha.file(path))
                assert [head.kind.name for head in state.heads] == ["UPDATE"]
            await converged(alpha, beta)

    run(work())


def test_a_file_that_grows_while_it_is_read_arrives_whole(tmp_path: Path) -> None:
    """A log that a program appends to all the time: never torn, in the end complete."""

    async def work() -> None:
        async with two_nodes(tmp_path) as (alpha, beta):
            growing = [sys.executable, "-c", GROWING, str(alpha.folder / "grows.log")]
            writer = await asyncio.create_subprocess_exec(*growing)
            assert await writer.wait() == 0
            whole = (alpha.folder / "grows.log").read_bytes()
            assert len(whole) == 4000 * 508
            await beta.shows("grows.log", whole)
            await converged(alpha, beta)

    run(work())


UNPRIVILEGED = """
import asyncio, os, sys
from pathlib import Path
base = Path(sys.argv[1])
sys.path.insert(0, sys.argv[2])
from aiplatform.mesh_ide.node.events import RejectHold
from tests.integration.kit import Node, one_node, until

async def work():
    async with one_node(base) as alpha:
        alpha.write("open.txt", "open\\n")
        alpha.write("shut/in.txt", "in\\n")
        alpha.write("secretive.txt", "first\\n")
        await until(lambda: all(alpha.has_agreed(p)
            for p in ("open.txt", "shut/in.txt", "secretive.txt")), "all are in")
        (alpha.folder / "secretive.txt").chmod(0)
        (alpha.folder / "shut").chmod(0)
        await alpha.look()
        await until(lambda: alpha.skipped().get("shut") == "unreadable", alpha.skipped)
        alpha.write("open.txt", "still\\n")
        await until(lambda: alpha.has_agreed("open.txt"), "others go on")
        for path in ("shut/in.txt", "secretive.txt"):
            assert alpha.core.ledger.is_alive(alpha.file(path)), path
        (alpha.folder / "shut").chmod(0o755)
        (alpha.folder / "secretive.txt").chmod(0o644)
        await alpha.look()
        alpha.write("shut/in.txt", "again\\n")
        await until(lambda: alpha.has_agreed("shut/in.txt"), "it is read again")
        assert not alpha.core.workspace.deletions.holds
        assert alpha.is_serving
asyncio.run(work())
print("done")
"""


def test_a_folder_without_permission_is_listed_and_nothing_in_it_is_deleted(
    tmp_path: Path,
) -> None:
    """What cannot be read is not gone: it stays as it was known, and comes back when it can."""
    ordinary: list[str] = []
    if os.geteuid() == 0:
        # Root, without the two rights that make permissions void (capabilities(7)).
        ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
        ordinary.append("--inh-caps=-dac_override,-dac_read_search")
    done = subprocess.run(
        [*ordinary, sys.executable, "-c", UNPRIVILEGED, str(tmp_path), str(Path.cwd())],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout == "done\n", done.stderr[-3000:]


def test_a_folder_that_moves_away_stops_and_tells_and_nothing_is_deleted_elsewhere(
    tmp_path: Path,
) -> None:
    """Moved, then back: the node says so, peers keep everything, and work goes on."""

    async def work() -> None:
        files = {f"f{n}.txt": f"{n}\n" for n in range(20)}
        async with two_nodes(tmp_path, files) as (alpha, beta):
            away = tmp_path / "away"
            alpha.folder.rename(away)
            await alpha.hears("folder", str(alpha.folder), kind="folder")
            beta.write("f1.txt", "written meanwhile\n")
            await until(
                lambda: alpha.core.ledger.head(alpha.file("f1.txt")).version == 2, "it hears of it"
            )
            assert len(beta.tree()) == 20
            assert all(beta.core.ledger.is_alive(beta.file(path)) for path in files)
            (away / "f2.txt").write_text("edited while away\n")
            away.rename(alpha.folder)
            await alpha.hears("the folder is back", kind="folder")
            await beta.shows("f2.txt", "edited while away\n")
            await alpha.shows("f1.txt", "written meanwhile\n")
            await converged(alpha, beta)
            assert len(alpha.tree()) == 20

    run(work())


def test_a_folder_that_is_deleted_deletes_nothing_elsewhere(tmp_path: Path) -> None:
    """``rm -rf`` of the working folder itself, and an empty one in its place."""

    async def work() -> None:
        files = {f"f{n}.txt": f"{n}\n" for n in range(20)}
        async with two_nodes(tmp_path, files) as (alpha, beta):
            away = tmp_path / "rubbish"
            alpha.folder.rename(away)
            alpha.folder.mkdir()
            await alpha.hears("folder", kind="folder")
            await alpha.look()
            beta.write("new.txt", "new\n")
            await until(lambda: alpha.core.ledger.index.owner("new.txt") is not None, "it hears")
            assert len(beta.tree()) == 21
            assert all(beta.core.ledger.is_alive(beta.file(path)) for path in files)
            assert alpha.is_serving

    run(work())


def test_more_than_half_of_the_files_gone_is_held(tmp_path: Path) -> None:
    """Nothing is deleted elsewhere until a person says so; rejecting brings everything back."""

    async def work() -> None:
        files = {f"f{n}.txt": f"{n}\n" for n in range(20)}
        async with two_nodes(tmp_path, files) as (alpha, beta):
            for n in range(15):
                (alpha.folder / f"f{n}.txt").unlink()
            await until(lambda: len(alpha.core.workspace.deletions.holds) == 1, "it is held")
            hold = next(iter(alpha.core.workspace.deletions.holds.values()))
            assert "15 of 20 files vanished" in hold.detail
            beta.write("f19.txt", "life goes on\n")
            await alpha.shows("f19.txt", "life goes on\n")
            assert len(beta.tree()) == 20
            await reject(alpha, hold.id)
            await converged(alpha, beta)
            assert len(alpha.tree()) == 20

    run(work())


async def reject(node: Node, hold: int) -> None:
    """Say no to a held change."""
    await node.node.driver.request(lambda tag: RejectHold(tag, hold))
