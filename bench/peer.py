"""What can be measured of a program that keeps two folders equal."""

from __future__ import annotations

import random
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from bench.trees import SEED, rewrite_as_checkout
from bench.watch import wait_content, wait_seen

FIRST_SYNC_TIMEOUT_S: Final = 180.0
EDIT_TIMEOUT_S: Final = 20.0
CHECKOUT_TIMEOUT_S: Final = 60.0

_PAUSE_S: Final = (0.1, 0.4)
"""Between two saves: random, so that no program's polling falls into step with them."""


class NotMeasuredError(Exception):
    """A program does not do what this measure is about, or would not start."""


class Peer(ABC):
    """One program under test, on this machine, both ends of it over loopback.

    A peer is made for one pair of folders and a scratch folder for its own state; whatever it
    starts it ends. Subclasses give ``first_sync`` and ``live``; the two measures of the running
    program are the same for all and follow from these.
    """

    name: str

    def __init__(self, left: Path, right: Path, scratch: Path) -> None:
        self.left = left
        self.right = right
        self.scratch = scratch

    @classmethod
    @abstractmethod
    def version(cls) -> str | None:
        """Return the installed version, or ``None`` where the program is not installed."""

    @abstractmethod
    def first_sync(self, paths: Sequence[Path]) -> float:
        """Bring the files of ``left`` into the empty ``right``; return the seconds until seen.

        The time runs from the command that makes the program begin; what comes before any folder
        is known (starting daemons, exchanging keys) is not counted, for any program.

        Raises:
            NotSeenError: not within ``FIRST_SYNC_TIMEOUT_S``.
        """

    @abstractmethod
    def live(self) -> AbstractContextManager[None]:
        """Keep both folders, equal at the start, equal; ready when entered.

        Raises:
            NotMeasuredError: the program cannot run continuously.
        """

    def extra_measures(self) -> dict[str, float]:
        """Return further measures of the first synchronisation (time to archived, say)."""
        return {}

    def resting_measures(self) -> dict[str, float]:
        """Return what it costs to have this program run with nothing to do (only ours)."""
        return {}

    def live_measures(self, count: int) -> dict[str, float]:
        """Return what only this program can do live, by ``count`` edits; within ``live``."""
        del count
        return {}

    def close(self) -> None:  # noqa: B027 - most have nothing to end
        """End what ``first_sync`` left running."""

    def edit_latencies(self, paths: Sequence[Path], count: int) -> list[float]:
        """Save one more line ``count`` times, each in another file; return seconds until seen.

        To be called within ``live``. The save is a plain write of the whole file, as most editors
        do it; the time runs from its end.
        """
        chance = random.Random(SEED)
        latencies: list[float] = []
        for number in range(count):
            path = chance.choice(paths)
            content = (self.left / path).read_bytes() + f"# saved line {number}\n".encode()
            (self.left / path).write_bytes(content)
            saved_at = time.perf_counter()
            seen_at = wait_content(self.right / path, content, EDIT_TIMEOUT_S)
            latencies.append(seen_at - saved_at)
            time.sleep(chance.uniform(*_PAUSE_S))
        return latencies

    def checkout(self, paths: Sequence[Path], mark: str) -> float:
        """Rewrite files as ``git checkout`` does; return seconds from the first until all seen.

        To be called within ``live``.
        """
        began_at = time.perf_counter()
        for _ in rewrite_as_checkout(self.left, paths, mark):
            pass
        return wait_seen(self.left, self.right, paths, CHECKOUT_TIMEOUT_S) - began_at
