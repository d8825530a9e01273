"""Our own program under the same measures: two real ``mesh`` daemons over loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.answers import Status
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.api.locations import Locations
from aiplatform.mesh_ide.model.errors import MeshIDEError
from bench.measures import ARCHIVED, CPU_LEFT, CPU_RIGHT
from bench.peer import FIRST_SYNC_TIMEOUT_S, NotMeasuredError, Peer
from bench.processes import TERMINATE_TIMEOUT_S, cpu_seconds, first_line
from bench.watch import wait_seen

MESH: Final = str(Path(sys.executable).parent / "mesh")
_COMMAND_TIMEOUT_S: Final = 120.0
_LINK_TIMEOUT_S: Final = 30.0
_ARCHIVE_TIMEOUT_S: Final = 90.0
_POLL_S: Final = 0.05


class Node:
    """One daemon with folders of its own for everything that it keeps."""

    def __init__(self, name: str, folder: Path, home: Path) -> None:
        """Describe it; nothing is started."""
        self.name = name
        self.folder = folder
        self.pid = 0
        self.environment = {**os.environ, "HOME": str(home)}
        for kind in ("STATE", "CONFIG"):
            self.environment[f"XDG_{kind}_HOME"] = str(home / kind.lower())
        self.environment["XDG_RUNTIME_DIR"] = str(home)
        home.mkdir(mode=0o700, exist_ok=True)

    def run(self, verb: str, *words: str) -> Any:  # noqa: ANN401 - JSON
        """Run ``mesh VERB``; return its answer.

        Raises:
            NotMeasuredError: it failed.
        """
        done = subprocess.run(
            [MESH, verb, *words, "--json"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=_COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise NotMeasuredError(f"mesh {verb} failed: {done.stderr.strip()[-200:]}")
        return json.loads(done.stdout.splitlines()[-1])["result"]

    def serve(self, verb: str, *words: str) -> None:
        """Run a verb that leaves a daemon behind; returns when it is ready."""
        port = ["--port", "0"]
        self.pid = int(self.run(verb, *words, "--detach", "--listen", "loopback", *port)["pid"])

    def end(self) -> None:
        """Stop the daemon; idempotent."""
        pid, self.pid = self.pid, 0
        if not pid:
            return
        for sign in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.perf_counter() + TERMINATE_TIMEOUT_S
            try:
                os.kill(pid, sign)
                while time.perf_counter() < deadline:
                    os.kill(pid, 0)
                    time.sleep(_POLL_S)
            except ProcessLookupError:
                return

    @property
    def socket(self) -> Path:
        """Return the daemon's control socket."""
        locations = Locations.of(self.environment, os.geteuid())
        return locations.socket(locations.find(self.folder).state)

    def status(self) -> Status:
        """Return what ``mesh status --json`` prints, without the cost of a process."""
        try:
            with ControlClient(self.socket) as client:
                return client.call(requests.AskStatus())
        except MeshIDEError as error:
            raise NotMeasuredError(f"the {self.name} node does not answer: {error}") from error


class Mesh(Peer):
    """Two nodes of one workspace; the right one joined with a ticket.

    Both serve empty folders and are linked before the clock starts, as with the other programs
    that stay. Then the tree is moved into the left folder by renames: it is there at once.
    """

    name = "mesh"

    def __init__(self, left: Path, right: Path, scratch: Path) -> None:
        super().__init__(left, right, scratch)
        self.nodes = (Node("left", left, scratch / "l"), Node("right", right, scratch / "r"))
        self._running = ExitStack()
        self._began_at = 0.0
        self._cpu_before = (0.0, 0.0)

    @classmethod
    def version(cls) -> str | None:
        """See ``Peer``."""
        return first_line([MESH, "--version"])

    def first_sync(self, paths: Sequence[Path]) -> float:
        """See ``Peer``. The nodes stay up until ``close``."""
        aside = self.scratch / "aside"
        _move_all(self.left, aside)
        left, right = self.nodes
        for node in self.nodes:
            self._running.callback(node.end)
        left.run("init", "--name", left.name)
        left.serve("up")
        ticket = left.run("share", "--role", "admin")["ticket"]
        right.serve("join", ticket, str(self.right), "--name", right.name)
        self.wait_quiet()
        self._cpu_before = (cpu_seconds(left.pid), cpu_seconds(right.pid))
        self._began_at = time.perf_counter()
        _move_all(aside, self.left)
        return wait_seen(self.left, self.right, paths, FIRST_SYNC_TIMEOUT_S) - self._began_at

    def extra_measures(self) -> dict[str, float]:
        """See ``Peer``: until both nodes have archived every content, and what it cost them."""
        left, right = self.nodes
        spent = [cpu_seconds(n.pid) - b for n, b in zip(self.nodes, self._cpu_before, strict=True)]
        _wait_for(
            lambda: not (left.status().unarchived or right.status().unarchived),
            "the contents were not archived",
            _ARCHIVE_TIMEOUT_S,
        )
        archived_s = time.perf_counter() - self._began_at
        return {ARCHIVED: archived_s, CPU_LEFT: spent[0], CPU_RIGHT: spent[1]}

    @contextmanager
    def live(self) -> Iterator[None]:
        """See ``Peer``."""
        if not all(node.pid for node in self.nodes):
            raise NotMeasuredError("the nodes of the first synchronisation are gone")
        self.wait_quiet()
        yield

    def wait_quiet(self) -> None:
        """Wait until both nodes are linked and agree that there is nothing to do."""

        def is_quiet() -> bool:
            return all(
                status.is_looked_at
                and not (status.outstanding or status.authoring)
                and all(p.is_in_step and p.pending == 0 for p in status.peers)
                and len(status.peers) == 1
                for status in (node.status() for node in self.nodes)
            )

        _wait_for(is_quiet, "the two nodes did not agree", _LINK_TIMEOUT_S)

    def close(self) -> None:
        """See ``Peer``."""
        self._running.close()


def _move_all(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for entry in sorted(source.iterdir()):
        entry.rename(target / entry.name)


def _wait_for(condition: Callable[[], bool], complaint: str, timeout_s: float) -> None:
    deadline = time.perf_counter() + timeout_s
    while not condition():
        if time.perf_counter() > deadline:
            raise NotMeasuredError(f"{complaint} within {timeout_s:g} s")
        time.sleep(_POLL_S)
