"""Real node processes that are killed at random moments while programs write through them.

``KILLS`` and ``KILL_SEED`` in the environment make a longer or another run:
``KILLS=500 pytest -n0 tests/integration/test_kill9_edits.py -o timeout=3600``.
"""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.api.locations import Locations
from aiplatform.mesh_ide.api.requests import AskEdit, AskStatus, AskSync, AskWhy
from aiplatform.mesh_ide.model.errors import MeshIDEError
from tests.integration.machines import MESH, Machine

KILLS: Final = int(os.environ.get("KILLS", "25"))
"""In each of the two test files: fifty with every run of the suite."""

KILLS_A_ROUND: Final = 5
"""A round is one test: two minutes in one test are what a stuck one is ended after."""

ROUNDS: Final = max(1, KILLS // KILLS_A_ROUND)
SEED: Final = int(os.environ.get("KILL_SEED", "1"))
READY_S: Final = 20.0
END_S: Final = 40.0
CALL_S: Final = 5.0


class Victim:
    """One node process, and how to reach it."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        places = Locations.of(machine.environment, os.geteuid())
        (place,) = places.places()
        self.socket = places.socket(place.state)
        self._log = machine.root / "served.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*MESH, "up"],
                env=self.machine.environment,
                cwd=self.machine.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        waited(lambda: self.status() is not None, f"{self.machine.name} serves", self.log)

    def kill(self) -> None:
        """End it as a power cut ends a process."""
        assert self._process is not None, "start it first"
        assert self._process.poll() is None, f"{self.machine.name} ended by itself: {self.log()}"
        self._process.kill()
        self._process.wait(READY_S)

    def end(self) -> None:
        """Make sure that nothing is left."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(READY_S)

    def log(self) -> str:
        """The end of what it said."""
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    def client(self) -> ControlClient:
        """A connection of its own."""
        return ControlClient(self.socket, timeout_s=CALL_S)

    def status(self) -> answers.Status | None:
        """How it is; ``None``: it does not answer."""
        try:
            with self.client() as client:
                return client.call(AskStatus(), CALL_S)
        except (MeshIDEError, OSError):
            return None


def waited(
    is_there: Callable[[], bool], what: str, log: Callable[[], str], limit_s: float = READY_S
) -> None:
    """Wait for a condition; a bounded time."""
    deadline = time.monotonic() + limit_s
    while not is_there():
        assert time.monotonic() < deadline, f"not within {limit_s:g} s: {what}: {log()}"
        time.sleep(0.02)


class Writer(threading.Thread):
    """Writes numbered tokens until told to stop; remembers which were acknowledged."""

    def __init__(self, victim: Victim, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.victim = victim
        self.acknowledged: list[str] = []
        self.written = 0
        self._stopping = threading.Event()
        self.failure: BaseException | None = None

    def stop(self) -> None:
        """End it after the token it is at."""
        self._stopping.set()

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self.written += 1
                token = f"<{self.name}:{self.written}>"
                if self.write(token):
                    self.acknowledged.append(token)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.failure = error

    def write(self, token: str) -> bool:
        """Write one; returns whether it was acknowledged."""
        raise NotImplementedError


class EditWriter(Writer):
    """Types tokens into one shared file through the control socket, as an editor does."""

    path = "shared.txt"

    def write(self, token: str) -> bool:
        try:
            with self.victim.client() as client:
                client.call(AskEdit(self.path, ((0, 0, token + "\n"),)), CALL_S)
        except (MeshIDEError, OSError):
            self._stopping.wait(0.02)
            return False
        return True


class FolderWriter(Writer):
    """Saves a file of its own with one more token, and waits until that is durable.

    Durable means: the node has that content as the file's head, and nothing waits for its disk.
    """

    def write(self, token: str) -> bool:
        from blake3 import blake3  # noqa: PLC0415 - here alone

        path = f"{self.name}.txt"
        target = self.victim.machine.folder / path
        text = (target.read_text() if target.exists() else "") + token + "\n"
        beside = target.with_suffix(".save~")
        beside.write_text(text)
        beside.replace(target)
        digest = blake3(text.encode()).hexdigest()
        deadline = time.monotonic() + CALL_S
        while time.monotonic() < deadline and not self._stopping.is_set():
            with contextlib.suppress(MeshIDEError, OSError), self.victim.client() as client:
                why = client.call(AskWhy(path), CALL_S)
                status = client.call(AskStatus(), CALL_S)
                if why.content == digest and not status.authoring:
                    return True
            time.sleep(0.01)
        return False


def kill_at_random(victims: list[Victim], kills: int, seed: int) -> None:
    """Kill one of them at a time, at random moments, and start it again."""
    chance = random.Random(seed)
    for _ in range(kills):
        time.sleep(chance.uniform(0.0, 0.4))
        victim = chance.choice(victims)
        victim.kill()
        victim.start()


def settled(victims: list[Victim]) -> None:
    """Wait until every node has everything of the others, and the folders are equal."""

    def is_even() -> bool:
        for victim in victims:
            try:
                with victim.client() as client:
                    client.call(AskSync(wait=True), CALL_S)
            except (MeshIDEError, OSError):
                return False
        first, *others = [victim.machine.files() for victim in victims]
        return all(first == other for other in others)

    logs = "\n".join
    waited(is_even, "they converge", lambda: logs(victim.log() for victim in victims), END_S)


def check_tokens(text: str, writers: list[Writer]) -> None:
    """Every acknowledged token is there exactly once, every other at most once."""
    for writer in writers:
        if writer.failure is not None:
            raise writer.failure
        lost = [token for token in writer.acknowledged if text.count(token) != 1]
        assert not lost, f"{writer.name}: {len(lost)} of {len(writer.acknowledged)}: {lost[:5]}"
        for number in range(1, writer.written + 1):
            assert text.count(f"<{writer.name}:{number}>") <= 1
        done = f"{writer.name}: {len(writer.acknowledged)} of {writer.written} tokens"
        assert len(writer.acknowledged) >= KILLS_A_ROUND // 2, done


def texts(folder: Path) -> str:
    """All texts of a folder together."""
    return "".join(path.read_text() for path in sorted(folder.glob("*.txt")))
