"""The demonstration's nodes: real processes with folders of their own, all ended at the end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from aiplatform.mesh_ide.api import answers, requests
from aiplatform.mesh_ide.api.client import ControlClient, NodeWentAwayError, NotServedError
from aiplatform.mesh_ide.api.locations import Locations
from aiplatform.mesh_ide.api.requests import Ask
from aiplatform.mesh_ide.model.errors import MeshIDEError

READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0

A = TypeVar("A", bound=Struct)


class DemoFailedError(MeshIDEError):
    """The demonstration could not go on."""


class DemoNode:
    """One machine, played by one process and one folder.

    ``on_event`` is called on a thread of its own with each thing that happens at the node.
    """

    def __init__(
        self,
        root: Path,
        name: str,
        listen: str,
        on_event: Callable[[str, answers.Happening], None],
    ) -> None:
        """Give the node its folders."""
        self.name = name
        self.folder = root / "rocket"
        self._environment = {
            **os.environ,
            "XDG_STATE_HOME": str(root / "state"),
            "XDG_CONFIG_HOME": str(root / "config"),
            "XDG_RUNTIME_DIR": str(root / "run"),
            "MESH_LISTEN": listen,
        }
        for names in ("MESH_PORT", "MESH_FOLDER", "MESH_RELAY"):
            self._environment.pop(names, None)
        self._on_event = on_event
        self._process: subprocess.Popen[str] | None = None
        root.mkdir(mode=0o700)
        (root / "run").mkdir(mode=0o700)

    @property
    def is_up(self) -> bool:
        """Return whether its process runs."""
        return self._process is not None and self._process.poll() is None

    def run(self, *arguments: str) -> str:
        """Run one ``mesh`` command of this machine to its end; return what it printed.

        Raises:
            DemoFailedError: it failed; repeats its message.
        """
        done = subprocess.run(  # noqa: S603 - our own interpreter and module
            [*_mesh(), *arguments],
            env=self._environment,
            cwd=self.folder.parent,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=READY_TIMEOUT_S,
            check=False,
        )
        if done.returncode:
            message = done.stderr.strip() or f"exit code {done.returncode}"
            raise DemoFailedError(f"`mesh {arguments[0]}` failed on {self.name}: {message}")
        return done.stdout.strip()

    def start(self, *arguments: str) -> None:
        """Serve (``up`` or ``join``) in a process of its own; return when it is ready."""
        self._process = subprocess.Popen(  # noqa: S603 - as above
            [*_mesh(), *arguments, "--json"],
            env=self._environment,
            cwd=self.folder.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is ours to pass on, once
        )
        assert self._process.stdout is not None, "asked for a pipe"
        guard = threading.Timer(READY_TIMEOUT_S, self._process.kill)
        guard.start()
        line = self._process.stdout.readline()
        guard.cancel()
        if not line:
            _, problem = self._process.communicate()
            raise DemoFailedError(f"{self.name} did not come up: {problem.strip()}")
        json.loads(line)
        for pipe in (self._process.stdout, self._process.stderr):
            assert pipe is not None, "asked for a pipe"
            threading.Thread(target=pipe.read, daemon=True).start()
        threading.Thread(target=self._listen, daemon=True).start()

    def stop(self) -> None:
        """End its process; idempotent."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def ask(self, request: Ask[A], timeout_s: float = 60.0) -> A:
        """Put a request to the node."""
        with self._connect() as client:
            return client.call(request, timeout_s)

    def status(self) -> answers.Status | None:
        """Return how it is, ``None`` while it is down."""
        try:
            return self.ask(requests.AskStatus(), 5.0)
        except MeshIDEError:
            return None

    def _connect(self) -> ControlClient:
        places = Locations.of(self._environment, os.geteuid())
        for place in places.places():
            return ControlClient(places.socket(place.state))
        raise NotServedError(f"{self.name} is not set up")

    def _listen(self) -> None:
        with suppress(MeshIDEError, NodeWentAwayError), self._connect() as client:
            for happening in client.stream(requests.AskEvents(), answers.Happening):
                if isinstance(happening, answers.Happening):
                    self._on_event(self.name, happening)


def _mesh() -> list[str]:
    return [sys.executable, "-m", "aiplatform.mesh_ide.cli.main"]
