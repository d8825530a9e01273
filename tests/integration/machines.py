"""Machines for tests: real ``mesh`` processes with folders of their own on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiplatform.mesh_ide.api.locations import Locations
from aiplatform.mesh_ide.server.control import server_pid

MESH = [sys.executable, "-m", "aiplatform.mesh_ide.cli.main"]
TIMEOUT_S = 40.0


def _free_port() -> int:
    """Return a UDP port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Machine:
    """One user on one machine: its own state, keys and sockets."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.prefix: tuple[str, ...] = ()
        """What commands run under, for example in a network namespace of their own."""
        self.root = root / name
        self.folder = self.root / "rocket"
        self.environment = {
            **os.environ,
            "XDG_STATE_HOME": str(self.root / "state"),
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "MESH_LISTEN": "loopback",
            # A port of its own: with the default one, tests that run side by side take each
            # other's while a node is down, and two nodes that both moved meet by a ticket only.
            "MESH_PORT": str(_free_port()),
            "COLUMNS": "200",
        }
        for folder in (self.folder, self.root / "run"):
            folder.mkdir(mode=0o700, parents=True)

    def run(
        self, *words: str, cwd: Path | None = None, code: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run one command to its end and check its exit code."""
        done = subprocess.run(
            [*self.prefix, *MESH, *words],
            env=self.environment,
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        said = f"mesh {' '.join(words)}: {done.stdout}{done.stderr}{self.log()}"
        assert code == done.returncode, said
        return done

    def json(self, *words: str, cwd: Path | None = None) -> Any:  # noqa: ANN401 - any answer
        """Run one command with ``--json`` and return its result."""
        said = json.loads(self.run(*words, "--json", cwd=cwd).stdout)
        assert said["schema"] == 1
        return said["result"]

    def move(self) -> None:
        """Be served at another port from the next ``up`` on."""
        self.environment["MESH_PORT"] = str(_free_port())

    def up(self) -> int:
        """Serve in the background; return the process."""
        return int(self.json("up", "--detach")["pid"])

    def sync(self, *words: str) -> None:
        """Wait until every member has everything."""
        self.run("sync", "--wait", "--timeout", "20", *words)

    def settle(self) -> None:
        """Wait until every content is archived, as it is after a second of quiet.

        A text that a program overwrites before that cannot be merged with another side's edit.
        """
        deadline_s = time.monotonic() + TIMEOUT_S
        while self.json("status")["unarchived"]:
            assert time.monotonic() < deadline_s, f"not archived{self.log()}"

    def write(self, path: str, text: str) -> None:
        """Save a file as a program does."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def read(self, path: str) -> str:
        """Return a file's text."""
        return (self.folder / path).read_text(encoding="utf-8")

    def files(self) -> dict[str, bytes]:
        """Return everything in the folder."""
        return {
            path.relative_to(self.folder).as_posix(): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and ".mesh-tmp" not in path.parts
        }

    def log(self) -> str:
        """Return the end of the node's log, for messages."""
        logs = sorted((self.root / "state").glob("mesh/*/mesh.log"))
        return "".join(f"\n{log.read_text(encoding='utf-8')[-1500:]}" for log in logs)

    def end(self) -> None:
        """Stop every node of this machine, by force if need be."""
        places = Locations.of(self.environment, os.geteuid())
        for place in places.places():
            pid = server_pid(places.socket(place.state))
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def _is_gone(pid: int) -> bool:
    """Return whether a process has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def wait_gone(pid: int) -> None:
    """Return when a process has ended."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while not _is_gone(pid):
        assert time.monotonic() < deadline_s, f"process {pid} is still there"
        time.sleep(0.01)


Machines = Callable[[str], Machine]


@pytest.fixture
def machines() -> Iterator[Machines]:
    """Give machines by name; all their nodes are ended afterwards."""
    root = Path(tempfile.mkdtemp(prefix="mesh-t-"))
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(Machine(root, name))
        return made[-1]

    yield make
    for machine in made:
        machine.end()
    shutil.rmtree(root, ignore_errors=True)


def founded(machine: Machine, **files: str) -> Machine:
    """Make a workspace with some files and serve it."""
    for name, text in files.items():
        machine.write(name.replace("__", "/").replace("_", "."), text)
    machine.run("init", "--name", machine.name)
    machine.up()
    return machine


def joined(machine: Machine, issuer: Machine, *words: str) -> Machine:
    """Join the issuer's workspace and serve it."""
    ticket = issuer.json("share", *words)["ticket"]
    machine.json("join", ticket, str(machine.folder), "--name", machine.name, "--detach")
    machine.sync()
    return machine
