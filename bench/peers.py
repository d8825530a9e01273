"""rsync, unison and lsyncd, as Debian packs them, each with its own recommended settings."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

from bench.measures import RSYNC
from bench.peer import FIRST_SYNC_TIMEOUT_S, NotMeasuredError, Peer
from bench.processes import first_line, running
from bench.watch import NotSeenError, wait_content, wait_seen

_READY_TIMEOUT_S: Final = 60.0
_PROBE: Final = "ready-probe.txt"


class Rsync(Peer):
    """A plain one-way copy of everything: the measure that others are multiples of."""

    name = RSYNC

    @classmethod
    def version(cls) -> str | None:
        """See ``Peer``."""
        return first_line(["rsync", "--version"])

    def first_sync(self, paths: Sequence[Path]) -> float:
        """See ``Peer``."""
        return _time_command(["rsync", "-a", f"{self.left}/", f"{self.right}/"], self, paths)

    def live(self) -> AbstractContextManager[None]:
        """See ``Peer``."""
        raise NotMeasuredError("rsync runs once")


class Unison(Peer):
    """Two-way, by comparing both folders with an archive of their last common state."""

    name = "unison"

    @classmethod
    def version(cls) -> str | None:
        """See ``Peer``."""
        return first_line(["unison", "-version"])

    def first_sync(self, paths: Sequence[Path]) -> float:
        """See ``Peer``."""
        return _time_command(self._command(), self, paths, self._environment())

    @contextmanager
    def live(self) -> Iterator[None]:
        """See ``Peer``. Debian packs no ``unison-fsmonitor``: without one it looks every second."""
        # Without its helper, `-repeat watch` ends after one round.
        repeat = "watch" if shutil.which("unison-fsmonitor") else "1"
        command = self._command("-repeat", repeat)
        with _ready(self, command, self._environment()):
            yield

    def _command(self, *options: str) -> list[str]:
        folders = [str(self.left), str(self.right)]
        return ["unison", *folders, "-batch", "-auto", "-ui", "text", "-silent", *options]

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "UNISON": str(self.scratch / "unison")}


class Lsyncd(Peer):
    """One-way: inotify collects, rsync copies."""

    name = "lsyncd"

    @classmethod
    def version(cls) -> str | None:
        """See ``Peer``."""
        return first_line(["lsyncd", "-version"])

    def first_sync(self, paths: Sequence[Path]) -> float:
        """See ``Peer``."""
        began_at = time.perf_counter()
        with running(self._command(), self.scratch / "lsyncd.log"):
            return wait_seen(self.left, self.right, paths, FIRST_SYNC_TIMEOUT_S) - began_at

    @contextmanager
    def live(self) -> Iterator[None]:
        """See ``Peer``."""
        with _ready(self, self._command()):
            yield

    def _command(self) -> list[str]:
        settings = self.scratch / "lsyncd.lua"
        settings.write_text(
            'settings { nodaemon = true, inotifyMode = "CloseWrite or Modify" }\n'
            "sync { default.rsync, delay = 0, delete = true,\n"
            f'  source = "{self.left}", target = "{self.right}",\n'
            "  rsync = { archive = true, whole_file = true } }\n",
            encoding="utf-8",
        )
        return ["lsyncd", str(settings)]


def _time_command(
    command: Sequence[str],
    peer: Peer,
    paths: Sequence[Path],
    environment: dict[str, str] | None = None,
) -> float:
    """Run a program that ends by itself; return the seconds until all files were seen."""
    log = peer.scratch / f"{command[0]}.log"
    began_at = time.perf_counter()
    with running(command, log, environment) as process:
        seen_at = wait_seen(peer.left, peer.right, paths, FIRST_SYNC_TIMEOUT_S)
        if process.wait(FIRST_SYNC_TIMEOUT_S) != 0:
            raise NotMeasuredError(f"{command[0]} failed; see {log}")
    return seen_at - began_at


@contextmanager
def _ready(
    peer: Peer, command: Sequence[str], environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a program that goes on, entered once two new contents came through one after another.

    One would not do: some programs copy everything at their start and then give up watching.
    """
    log = peer.scratch / f"{command[0]}.log"
    with running(command, log, environment):
        for word in (b"one\n", b"three\n"):
            (peer.left / _PROBE).write_bytes(word)
            try:
                wait_content(peer.right / _PROBE, word, _READY_TIMEOUT_S)
            except NotSeenError:
                last = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
                raise NotMeasuredError(f"{command[0]} does not go on: {last}") from None
        yield
