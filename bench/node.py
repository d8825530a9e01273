"""One ``mesh`` daemon under test."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.answers import Status
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.api.locations import Locations
from aiplatform.mesh_ide.model.errors import MeshIDEError
from bench.peer import NotMeasuredError
from bench.processes import TERMINATE_TIMEOUT_S

MESH: Final = str(Path(sys.executable).parent / "mesh")
_COMMAND_TIMEOUT_S: Final = 120.0
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
