"""What a node that has nothing to do costs: memory, processor, and the time of ``mesh status``."""

from __future__ import annotations

import statistics
import subprocess
import time
from typing import Final

from bench.measures import IDLE_LEFT, IDLE_RIGHT, MEMORY_LEFT, MEMORY_RIGHT, STATUS
from bench.node import MESH, Node
from bench.peer import NotMeasuredError
from bench.processes import cpu_seconds, resident_bytes

SETTLE_S: Final = 5.0
"""After the last work: a node gives freed memory back when it has been idle for three seconds."""

IDLE_S: Final = 20.0
STATUS_RUNS: Final = 20


def measure(left: Node, right: Node, idle_s: float = IDLE_S) -> dict[str, float]:
    """Measure both nodes, which have agreed and archived everything.

    Raises:
        NotMeasuredError: ``mesh status`` failed.
        ProcessLookupError: a node is gone.
    """
    time.sleep(SETTLE_S)
    before = [(time.perf_counter(), cpu_seconds(node.pid)) for node in (left, right)]
    time.sleep(idle_s)
    shares = [
        (cpu_seconds(node.pid) - spent_s) / (time.perf_counter() - at_s) * 100
        for node, (at_s, spent_s) in zip((left, right), before, strict=True)
    ]
    return {
        MEMORY_LEFT: resident_bytes(left.pid),
        MEMORY_RIGHT: resident_bytes(right.pid),
        IDLE_LEFT: shares[0],
        IDLE_RIGHT: shares[1],
        STATUS: statistics.median(_time_status(left) for _ in range(STATUS_RUNS)),
    }


def _time_status(node: Node) -> float:
    began_at = time.perf_counter()
    done = subprocess.run(
        [MESH, "status"],
        cwd=node.folder,
        env=node.environment,
        capture_output=True,
        timeout=10,
        check=False,
    )
    if done.returncode != 0:
        raise NotMeasuredError(f"mesh status failed: {done.stderr.decode()[-200:]}")
    return time.perf_counter() - began_at
