"""Edits through the API: one at a time, and as many as one writer can get acknowledged."""

from __future__ import annotations

import random
import statistics
import time
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.model.errors import MeshIDEError
from bench.measures import (
    LIVE_P50,
    LIVE_P99,
    RATE_SEEN,
    RATE_SENT,
    TOLD_P50,
    TOLD_P99,
    percentile,
)
from bench.peer import NotMeasuredError
from bench.pipeline import Pipeline
from bench.trees import SEED

TEXT: Final = "".join(f"line {number} of a file that is edited live\n" for number in range(100))
"""4 KB, as a small module."""

SUSTAINED_S: Final = 5.0
_ARRIVED_TIMEOUT_S: Final = 20.0
_PAUSE_S: Final = (0.02, 0.08)
_WINDOW: Final = 2_000
"""Edits under way: a fifth of a second's worth, so that waiting for answers costs no rate."""

_BURST: Final = 100


def measure_latency(left: Path, right: Path, count: int) -> dict[str, float]:
    """Make single edits at one node; time until the other one's API gives the new text.

    The reader hears from its stream of events that the file changed (*told*), asks for the text,
    and compares (*seen*): what an editor at that node would show.

    Args:
        left: the writer's control socket.
        right: the reader's.
        count: how many edits.

    Raises:
        NotMeasuredError: an edit did not arrive.
    """
    chance = random.Random(SEED)
    path, text = "live-latency.txt", TEXT
    told: list[float] = []
    seen: list[float] = []
    with ControlClient(left) as writer, ControlClient(right) as reader, Pipeline(right) as events:
        _create(writer, reader, path)
        events.send([requests.AskEvents()])
        for number in range(count):
            time.sleep(chance.uniform(*_PAUSE_S))
            events.receive(0.0)
            position, character = chance.randrange(len(text)), str(number % 10)
            text = text[:position] + character + text[position:]
            began_at = time.perf_counter()
            writer.call(requests.AskEdit(path, ((position, 0, character),)))
            events.receive(_ARRIVED_TIMEOUT_S)
            told.append(time.perf_counter() - began_at)
            _wait_text(reader, path, text)
            seen.append(time.perf_counter() - began_at)
    return {
        LIVE_P50: statistics.median(seen),
        LIVE_P99: percentile(seen, 0.99),
        TOLD_P50: statistics.median(told),
        TOLD_P99: percentile(told, 0.99),
    }


def measure_rate(left: Path, right: Path, duration_s: float = SUSTAINED_S) -> dict[str, float]:
    """Type single characters as fast as they are acknowledged, each edit a request of its own.

    An answer means that the edit is signed and on the writer's disk. The reader is looked at only
    after the last answer, so that looking costs no rate; both texts must be equal then.

    Raises:
        NotMeasuredError: the texts did not become equal.
    """
    path = "live-rate.txt"
    typed: list[str] = []
    answered = 0
    with ControlClient(left) as writer, ControlClient(right) as reader, Pipeline(left) as pipe:
        _create(writer, reader, path)
        began_at = time.perf_counter()
        while time.perf_counter() - began_at < duration_s:
            if len(typed) - answered < _WINDOW:
                burst = "abcdefghijklmnopqrstuvwxyz\n "[len(typed) % 28]
                first = len(TEXT) + len(typed)
                edits = [
                    requests.AskEdit(path, ((first + index, 0, burst),)) for index in range(_BURST)
                ]
                pipe.send(list(edits))
                typed.extend([burst] * _BURST)
                answered += len(pipe.receive(0.0))
            else:
                answered += len(pipe.receive(_ARRIVED_TIMEOUT_S))
        while answered < len(typed):
            got = pipe.receive(_ARRIVED_TIMEOUT_S)
            if not got:
                raise NotMeasuredError(f"{len(typed) - answered} edits were not acknowledged")
            answered += len(got)
        acknowledged_s = time.perf_counter() - began_at
        _wait_text(reader, path, TEXT + "".join(typed))
        seen_s = time.perf_counter() - began_at
        if writer.call(requests.AskCat(path)).content.decode() != TEXT + "".join(typed):
            raise NotMeasuredError("the writer's node does not have the writer's text")
    return {RATE_SENT: answered / acknowledged_s, RATE_SEEN: answered / seen_s}


def _create(writer: ControlClient, reader: ControlClient, path: str) -> None:
    """Make the file and wait until the reader has it and both nodes have nothing else to do."""
    writer.call(requests.AskPut(path, TEXT.encode()))
    _wait_text(reader, path, TEXT)
    time.sleep(1.0)


def _wait_text(reader: ControlClient, path: str, text: str) -> None:
    """Ask a node for a text until it is this one.

    Raises:
        NotMeasuredError: not in time.
    """
    expected = text.encode()
    deadline = time.perf_counter() + _ARRIVED_TIMEOUT_S
    while time.perf_counter() < deadline:
        try:
            if reader.call(requests.AskCat(path)).content == expected:
                return
        except MeshIDEError:
            time.sleep(0.01)  # no such file yet
    raise NotMeasuredError("the reader never had the writer's text")
