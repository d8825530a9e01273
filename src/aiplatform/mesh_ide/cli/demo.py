"""``make run``: two nodes on this machine, one folder, edits on both sides, shown live.

Two real processes over real links, each with state, keys and folder of its own in a temporary
directory. Everything that was started is ended, also on Ctrl-C or failure.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.cli.demo_nodes import DemoFailedError, DemoNode
from aiplatform.mesh_ide.cli.demo_stage import Stage
from aiplatform.mesh_ide.model.errors import MeshIDEError

SYNC_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.1
_OURS: Final = ".mesh-tmp"
_SKIPPED: Final = shutil.ignore_patterns("__pycache__", ".git", ".venv", "*.pyc")


def contents(folder: Path) -> dict[str, str]:
    """Return what stands in a folder: by path its mode and the hash of its bytes."""
    found: dict[str, str] = {}
    for base, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name != _OURS]
        for name in names:
            path = Path(base, name)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            executable = "x" if path.stat().st_mode & 0o100 else "-"
            found[path.relative_to(folder).as_posix()] = f"{executable} {digest}"
    return found


class Demonstration:
    """The story: join, edit on both sides, edit apart, meet again, compare."""

    def __init__(self, root: Path, example: Path, stage: Stage, listen: str) -> None:
        """Set the stage; nothing runs yet."""
        self._example = example
        self._stage = stage
        self.one = DemoNode(root / "1", "one", listen, stage.event)
        self.two = DemoNode(root / "2", "two", listen, stage.event)
        stage.nodes = [self.one, self.two]

    def close(self) -> None:
        """End both processes."""
        self.two.stop()
        self.one.stop()

    def perform(self) -> None:
        """Tell the whole story.

        Raises:
            DemoFailedError: a step failed, or the folders differ at the end.
        """
        self._begin()
        self._edit_together()
        self._edit_apart()
        self._compare()

    def ticket(self) -> str:
        """Return a ticket for one more machine."""
        return self.one.ask(requests.AskShare("edit", 3600.0)).ticket

    # --- the acts ----------------------------------------------------------------------------

    def _begin(self) -> None:
        say, one, two = self._stage.say, self.one, self.two
        shutil.copytree(self._example, one.folder, ignore=_SKIPPED)
        if not (one.folder / "README.md").exists():
            (one.folder / "README.md").write_text("# Example\n", encoding="utf-8")
        say(f"1. {one.folder} becomes a workspace; node one serves it")
        one.run("init", str(one.folder), "--name", "one")
        one.start("up", str(one.folder))
        say("2. node two joins with a ticket: its folder fills")
        began = time.monotonic()
        two.start("join", self.ticket(), str(two.folder), "--name", "two")
        self._synchronise()
        count = len(contents(two.folder))
        say(f"   {count} files are on both, {_ms(began)} after the join began")
        self._stage.table()

    def _edit_together(self) -> None:
        say, one, two = self._stage.say, self.one, self.two
        say("3. one line is saved on each side, into the same file, at the same moment")
        readme = "README.md"
        began = time.monotonic()
        _append(one.folder / readme, "Written on node one.")
        _prepend(two.folder / readme, "<!-- written on node two -->")
        self._synchronise()
        took = _ms(began)
        self._expect(readme, "Written on node one.", "<!-- written on node two -->")
        say(f"   both lines are in both folders, {took} later: no conflict file, nothing lost")

    def _edit_apart(self) -> None:
        say, one, two = self._stage.say, self.one, self.two
        self._archive()
        say("4. node two goes offline; both sides go on")
        two.stop()
        source = next(iter(sorted(one.folder.rglob("*.py"))), one.folder / "README.md")
        name = source.relative_to(one.folder).as_posix()
        _prepend(one.folder / name, "# changed on node one while two was away")
        _append(two.folder / name, "# changed on node two while it was away")
        (one.folder / "notes-of-one.md").write_text("made on one\n", encoding="utf-8")
        (two.folder / "notes-of-two.md").write_text("made on two\n", encoding="utf-8")
        (two.folder / "README.md").rename(two.folder / "READ-ME.md")
        say(f"   {name} changed on both, a new file on each, README.md renamed on two")
        began = time.monotonic()
        two.start("up", str(two.folder))
        say("5. node two is back")
        self._synchronise()
        self._expect(name, "changed on node one while", "changed on node two while")
        for made in ("notes-of-one.md", "notes-of-two.md", "READ-ME.md"):
            self._expect(made, "")
        say(f"   merged on both, {_ms(began)} after it was started again")
        self._stage.table()

    def _compare(self) -> None:
        ours, theirs = contents(self.one.folder), contents(self.two.folder)
        differing = sorted(
            path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path)
        )
        if differing:
            raise DemoFailedError(f"the folders differ: {', '.join(differing[:10])}")
        self._stage.say(f"6. compared: {len(ours)} files, equal in both folders, byte for byte")

    def _synchronise(self) -> None:
        for node in (self.one, self.two):
            node.ask(requests.AskSync(wait=True), SYNC_TIMEOUT_S)

    def _archive(self) -> None:
        """Wait until both nodes hold every content twice: in the folder and in the archive.

        Before that (it takes a second of quiet) a program that overwrites a file takes away what
        a merge with the other side would begin from, and the two versions would be a conflict.
        """
        deadline = time.monotonic() + SYNC_TIMEOUT_S
        for node in (self.one, self.two):
            while node.ask(requests.AskStatus()).unarchived:
                if time.monotonic() > deadline:
                    raise DemoFailedError(f"node {node.name} does not archive: see `mesh doctor`")
                time.sleep(POLL_S)

    def _expect(self, name: str, *texts: str) -> None:
        for node in (self.one, self.two):
            path = node.folder / name
            if not path.exists():
                raise DemoFailedError(f"{name} is missing on node {node.name}")
            content = path.read_text(encoding="utf-8")
            for text in texts:
                if text not in content:
                    raise DemoFailedError(f"{text!r} is missing from {name} on node {node.name}")


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")


def _prepend(path: Path, line: str) -> None:
    path.write_text(f"{line}\n" + path.read_text(encoding="utf-8"), encoding="utf-8")


def _ms(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:.0f} ms"


def _stay(demonstration: Demonstration, stage: Stage, ended: threading.Event) -> None:
    one = demonstration.one
    stage.say("")
    stage.say("Both nodes stay up. Edit files in either folder with anything you like:")
    stage.say(f"  {one.folder}")
    stage.say(f"  {demonstration.two.folder}")
    stage.say("Ctrl-C ends both and removes the folders.")
    stage.print_whole("Another machine (or another folder here) joins with:")
    stage.print_whole(f"  mesh join {demonstration.ticket()}")
    ended.wait()


def main() -> int:
    """Run the demonstration; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="demo", description="Two nodes, one folder, on this machine, live."
    )
    parser.add_argument("--example", type=Path, required=True, help="the project to begin with")
    parser.add_argument("--once", action="store_true", help="show, compare, and end")
    options = parser.parse_args()
    if not options.example.is_dir():
        sys.stderr.write(f"demo: there is no folder {options.example}\n")
        return 2
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: _interrupt())
    stage = Stage()
    root = Path(tempfile.mkdtemp(prefix="mesh-demo-"))
    listen = "loopback" if options.once else "everywhere"
    demonstration = Demonstration(root, options.example, stage, listen)
    try:
        with stage.live():
            demonstration.perform()
            if not options.once:
                _stay(demonstration, stage, ended)
    except KeyboardInterrupt:
        return 0 if not options.once else 130
    except MeshIDEError as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    finally:
        stage.close()
        demonstration.close()
        shutil.rmtree(root, ignore_errors=True)
    return 0


def _interrupt() -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
