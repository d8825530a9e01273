"""A node in the background: ``python -m aiplatform.mesh_ide.cli.daemon`` and what starts it.

The starter runs this module in a session of its own and reads one line from a pipe: that the node
is ready, or why it is not. ``mesh up --detach`` therefore returns when the node serves, and not
before. No pid file: the store's lock and the socket's kernel credentials tell who serves; how the
last run ended is told by ``api.last_run``.
"""

from __future__ import annotations

import contextlib
import logging
import logging.handlers
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.api.locations import Place
from aiplatform.mesh_ide.cli.output import safe
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.errors import MeshIDEError

LOG_FILE: Final = "mesh.log"
CRASH_FILE: Final = "crash.log"
LOG_BYTES_MAX: Final = 1024 * 1024
LOG_FILES_MAX: Final = 3
FILES_LINE_S: Final = 60.0
"""At most one line in so long says that files changed: a line for each save would rotate away
within an hour of typing what the log is kept for."""

READY_TIMEOUT_S: Final = 120.0
_ANSWER_BYTES_MAX: Final = 64 * 1024
_WARNED: Final = frozenset({"warning", "storage", "damage", "folder"})


class Started(Struct, frozen=True):
    """What a starter is told over the pipe. ``problem`` is empty if the node serves."""

    pid: int
    workspace: str = ""
    node: str = ""
    folder: str = ""
    addresses: tuple[str, ...] = ()
    log: str = ""
    problem: str = ""
    exit_code: int = 0


class DaemonFailedError(MeshIDEError):
    """The node in the background did not come up."""


class DaemonRefusedError(DaemonFailedError):
    """The node in the background said why it does not serve.

    Attributes:
        exit_code: as it would have ended in the foreground.
    """

    def __init__(self, started: Started) -> None:
        super().__init__(started.problem)
        self.exit_code = started.exit_code  # type: ignore[misc]


def start(place: Place, arguments: list[str]) -> Started:
    """Start a node in the background; return when it is ready.

    Args:
        place: which node.
        arguments: options for ``main``.

    Raises:
        DaemonRefusedError: it said why not.
        DaemonFailedError: it ended or hangs without a word; names its log.
    """
    reader, writer = os.pipe()
    command = [sys.executable, "-m", __spec__.name, str(place.state), str(writer), *arguments]
    crash = place.state / CRASH_FILE
    with crash.open("wb") as output:  # what the log cannot catch: at most one run's worth
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            start_new_session=True,
            pass_fds=(writer,),
        )
    os.close(writer)
    try:
        answer = _read_all(reader)
    finally:
        os.close(reader)
    if not answer:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=1.0)
        tail = crash.read_bytes()[-2000:].decode(errors="replace").strip().splitlines()
        reason = f": {tail[-1]}" if tail else ""
        raise DaemonFailedError(f"the node did not come up{reason} (see {place.state / LOG_FILE})")
    started = msgspec.json.decode(answer, type=Started)
    if started.problem:
        raise DaemonRefusedError(started)
    # It goes on without us: not ours to wait for, and no warning that it still runs.
    process.returncode = 0
    return started


def _read_all(reader: int) -> bytes:
    """Read until the other end closes the pipe, in bounded time."""
    import select  # noqa: PLC0415 - only a starter needs it

    pieces: list[bytes] = []
    while True:
        ready, _, _ = select.select([reader], [], [], READY_TIMEOUT_S)
        piece = os.read(reader, _ANSWER_BYTES_MAX) if ready else b""
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _log_to(folder: Path) -> logging.Logger:
    """Log into a file that is rotated by size: at most three MiB, whatever happens."""
    handler = logging.handlers.RotatingFileHandler(
        folder / LOG_FILE, maxBytes=LOG_BYTES_MAX, backupCount=LOG_FILES_MAX - 1, encoding="utf-8"
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    return logging.getLogger("mesh")


class Journal:
    """Writes what happens into the log: changes of files gathered, everything else at once.

    Invariant: ``_changes`` counts the changes that no line has told of yet.
    """

    def __init__(self, log: logging.Logger, now_s: Callable[[], float] = time.monotonic) -> None:
        """Write into this log, by this clock."""
        self._log = log
        self._now_s = now_s
        self._next_s = now_s()
        self._changes = 0
        self._latest = ""

    def tell(self, kind: str, text: str) -> None:
        """Take note of something; names in it cannot forge a line."""
        if kind != "files":
            self.flush()
            level = logging.WARNING if kind in _WARNED else logging.INFO
            self._log.log(level, "%s", safe(text))
            return
        self._changes += 1
        self._latest = text
        if self._now_s() >= self._next_s:
            self.flush()

    def flush(self) -> None:
        """Write what was gathered, if anything."""
        if not self._changes:
            return
        more = (
            f" (and {counted(self._changes - 1, 'change')} before it)" if self._changes > 1 else ""
        )
        self._log.info("%s%s", safe(self._latest), more)
        self._changes = 0
        self._next_s = self._now_s() + FILES_LINE_S


def main(arguments: list[str]) -> int:
    """Serve as a daemon: ``STATE PIPE PORT LISTEN RELAY``."""
    state, pipe = Path(arguments[0]), int(arguments[1])
    log = _log_to(state)

    def answer(started: Started) -> None:
        with contextlib.suppress(OSError):  # whoever started us has gone: serve all the same
            os.write(pipe, msgspec.json.encode(started))
        with contextlib.suppress(OSError):
            os.close(pipe)

    try:
        _serve(state, arguments[2:], answer, log)
    except MeshIDEError as error:
        log.error("%s", error)  # noqa: TRY400 - foreseen: its message says it all
        answer(Started(os.getpid(), problem=str(error), exit_code=error.exit_code))
        return error.exit_code
    except BaseException as error:
        from aiplatform.mesh_ide.cli.serve import reason_of  # noqa: PLC0415 - as in ``_serve``

        log.exception("the node ended by a defect")
        log.critical("the node ended unexpectedly: %s", safe(reason_of(error)))
        raise
    log.info("stopped")
    return 0


def _serve(
    state: Path, arguments: list[str], answer: Callable[[Started], None], log: logging.Logger
) -> None:
    from aiplatform.mesh_ide.api.locations import read_place  # noqa: PLC0415 - with the next
    from aiplatform.mesh_ide.cli import serve  # noqa: PLC0415 - the starter imports this module too

    place = read_place(state)
    if place is None:
        raise DaemonFailedError(f"{state} is no node's state: run `mesh init` or `mesh join`")
    port, listen, relay = arguments
    written = str(state / LOG_FILE)

    def ready(serving: serve.Ready) -> None:
        log.info("serving %s as %s at %s", serving.folder, serving.node, serving.addresses)
        answer(
            Started(
                serving.pid,
                serving.workspace,
                serving.node,
                serving.folder,
                serving.addresses,
                written,
            )
        )

    journal = Journal(log)
    options = serve.ServeOptions(int(port), listen, relay, written)
    try:
        serve.run(place, options, ready, journal.tell)
    finally:
        journal.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
