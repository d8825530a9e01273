"""Our own program under the same measures: two real ``mesh`` daemons over loopback."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from bench import live, resources
from bench.measures import ARCHIVED, CPU_LEFT, CPU_RIGHT, OURS
from bench.node import MESH, Node
from bench.peer import FIRST_SYNC_TIMEOUT_S, NotMeasuredError, Peer
from bench.processes import cpu_seconds, first_line
from bench.watch import wait_seen

_LINK_TIMEOUT_S: Final = 60.0
_ARCHIVE_TIMEOUT_S: Final = 90.0
_POLL_S: Final = 0.05


class Mesh(Peer):
    """Two nodes of one workspace; the right one joined with a ticket.

    Both serve empty folders and are linked before the clock starts, as with the other programs
    that stay. Then the tree is moved into the left folder by renames: it is there at once.
    """

    name = OURS

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

    def resting_measures(self) -> dict[str, float]:
        """See ``Peer``."""
        self.wait_quiet()
        return resources.measure(*self.nodes)

    @contextmanager
    def live(self) -> Iterator[None]:
        """See ``Peer``."""
        if not all(node.pid for node in self.nodes):
            raise NotMeasuredError("the nodes of the first synchronisation are gone")
        self.wait_quiet()
        yield

    def live_measures(self, count: int) -> dict[str, float]:
        """See ``Peer``: edits through the API."""
        self.wait_quiet()
        left, right = (node.socket for node in self.nodes)
        return {**live.measure_latency(left, right, count), **live.measure_rate(left, right)}

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
