"""The least that a program like ours does in a first synchronisation, as a column of the table.

Two processes of the same interpreter over the same link: one reads, hashes and sends, the other
checks, writes beside and renames. No merging, no watching, nothing about crashes or strangers.
What stands between this and ``rsync -a`` is the price of the link and the language; what stands
between this and ours is the price of everything else, and that alone is ours to lower.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Final

from bench.measures import CPU_LEFT, CPU_RIGHT
from bench.peer import FIRST_SYNC_TIMEOUT_S, NotMeasuredError, Peer
from bench.processes import TERMINATE_TIMEOUT_S, cpu_seconds

_START_TIMEOUT_S: Final = 30.0


class Bare(Peer):
    """Nothing but the contents: no record of anything is kept."""

    name = "bare copy"
    options: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def version(cls) -> str | None:
        """See ``Peer``."""
        return "two Python processes over iroh, no history"

    def first_sync(self, paths: Sequence[Path]) -> float:
        """See ``Peer``."""
        ends = [self._start("right", str(len(paths))), self._start("left", "0")]
        try:
            greetings = [_line(end) for end in ends]
            for end, other in zip(ends, reversed(greetings), strict=True):
                _say(end, other)
            for end in ends:
                _line(end)
            before = [cpu_seconds(end.pid) for end in ends]
            began_at = time.perf_counter()
            _say(ends[1], "go")
            _line(ends[0], FIRST_SYNC_TIMEOUT_S)
            took_s = time.perf_counter() - began_at
            self._spent = [cpu_seconds(end.pid) - b for end, b in zip(ends, before, strict=True)]
            return took_s
        finally:
            for end in ends:
                end.kill()
                end.wait(TERMINATE_TIMEOUT_S)

    def extra_measures(self) -> dict[str, float]:
        """See ``Peer``: what it cost both processes."""
        right, left = self._spent
        return {CPU_LEFT: left, CPU_RIGHT: right}

    def live(self) -> AbstractContextManager[None]:
        """See ``Peer``."""
        raise NotMeasuredError("it copies once")

    def _start(self, side: str, files: str) -> subprocess.Popen[str]:
        folder = self.left if side == "left" else self.right
        words = [side, str(folder), files, str(self.scratch / f"{side}.db"), *self.options]
        with (self.scratch / f"{side}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "bench.bare_end", *words],
                cwd=Path(__file__).parent.parent,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )


class Recorded(Bare):
    """With what any history must keep: an entry and a record for each file, signed by batches.

    Durable on both sides before a file is written, the entries checked on the right.
    """

    name = "bare, recorded"
    options: ClassVar[tuple[str, ...]] = ("--records",)

    @classmethod
    def version(cls) -> str | None:
        """See ``Peer``."""
        return "the same with signed entries in SQLite"


def _line(end: subprocess.Popen[str], timeout_s: float = _START_TIMEOUT_S) -> str:
    output = end.stdout
    assert output is not None, "piped"
    line = output.readline() if select.select([output], [], [], timeout_s)[0] else ""
    if not line:
        raise NotMeasuredError("one of its processes says nothing")
    return str(json.loads(line))


def _say(end: subprocess.Popen[str], word: str) -> None:
    assert end.stdin is not None, "piped"
    end.stdin.write(json.dumps(word) + "\n")
    end.stdin.flush()
