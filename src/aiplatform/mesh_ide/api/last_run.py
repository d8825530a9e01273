"""How a node's last run ended: known from a file that the run holds locked and empties at its end.

``run.json`` in the state directory says which process serves, since which start of the machine,
and where its log is. The kernel lets go of the lock with the process, however that ends; so what
is written there and not locked is a run that nobody ended, and no process id has to be believed.
The file is never removed: two processes could then hold two files of its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Final

from msgspec import Struct

RUN_FILE: Final = "run.json"
SEEN_EVERY_S: Final = 60.0
"""How exactly it is known when a node that was killed was last there. Each costs one inode's
write; a killed machine is not reconstructed to the second."""

REASON_CHARS_MAX: Final = 300
_RUN_BYTES_MAX: Final = 16 * 1024
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_FLAGS: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class LastRun(Struct, frozen=True):
    """A run that is under way, or that did not end as it should have.

    Attributes:
        pid: its process.
        boot: the start of the machine it belongs to; empty: this system has no name for it.
        log: its log's path, empty if it had none (in the foreground).
        reason: why it ended, where it could still say so.
        seen_s: when it was last known to be there, in seconds since 1970.
        is_running: its process is there: it starts, serves or stops.
    """

    pid: int
    boot: str
    log: str
    reason: str = ""
    seen_s: float = 0.0
    is_running: bool = False

    @property
    def is_of_this_boot(self) -> bool:
        """Return whether the machine has run since."""
        return self.boot == boot_id()


class RunMark:
    """This process's run of a node: made when it begins, ended when it ends."""

    def __init__(self, state: Path, log: str) -> None:
        """Begin a run. Only the process that holds the state directory's store may.

        A disk that does not take it hinders nothing: the node serves, only its end is not told.
        """
        self._said: dict[str, object] = {"pid": os.getpid(), "boot": boot_id(), "log": log}
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.open(state / RUN_FILE, _FLAGS, 0o600)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        self._write(json.dumps(self._said))

    def seen(self) -> None:
        """Note that it is still there."""
        with contextlib.suppress(OSError):
            os.utime(self._fd)

    def end(self) -> None:
        """End it as it should end; idempotent."""
        self._write("")
        self._close()

    def fail(self, reason: str) -> None:
        """End it by a fault; idempotent."""
        self._write(json.dumps({**self._said, "reason": reason[:REASON_CHARS_MAX]}))
        self._close()

    def _write(self, text: str) -> None:
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, text.encode(), 0)
            os.fsync(self._fd)

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def last_run(state: Path) -> LastRun | None:
    """Return the run that is under way or ended unexpectedly; ``None``: the last one ended well."""
    try:
        fd = os.open(state / RUN_FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        is_running = _is_locked(fd)
        seen_s = os.fstat(fd).st_mtime
        text = os.pread(fd, _RUN_BYTES_MAX, 0)
    except OSError:
        return None
    finally:
        os.close(fd)
    if not text and not is_running:
        return None
    try:
        said = json.loads(text)
        run = LastRun(int(said["pid"]), str(said["boot"]), str(said["log"]))
        reason = str(said.get("reason", ""))
    except (ValueError, KeyError, TypeError):  # cut off as it was written
        return LastRun(0, boot_id(), "", "", seen_s, is_running)
    return LastRun(run.pid, run.boot, run.log, reason, seen_s, is_running)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(fd, fcntl.LOCK_UN)
    return False


def boot_id() -> str:
    """Return what names the time since the machine started, empty if the system has no name."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""
