"""Edits through the API: one at a time, and as fast as one writer can send them."""

from __future__ import annotations

import random
import select
import socket
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Raw

from aiplatform.mesh_ide.api import answers, requests
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.api.control import LENGTH, Answer, Call, FromServer, Item, Problem, framed
from bench.measures import LIVE_P50, LIVE_P99, RATE_SEEN, RATE_SENT
from bench.peer import NotMeasuredError
from bench.statistics import percentile
from bench.trees import SEED

PATH: Final = "live-edit.txt"
TEXT: Final = "".join(f"line {number} of a file that is edited live\n" for number in range(100))
"""4 KB, as a small module."""

_SEEN_TIMEOUT_S: Final = 10.0
_PAUSE_S: Final = (0.02, 0.08)
_WINDOW: Final = 2_000
"""Edits under way: a fifth of a second's worth, so that waiting for answers costs no rate."""

_RECEIVE_BYTES: Final = 1 << 18
_decoder: Final[msgspec.msgpack.Decoder[FromServer]] = msgspec.msgpack.Decoder(FromServer)


class Pipeline:
    """A control connection that asks again before the last answer came."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_SEEN_TIMEOUT_S)
        self._socket.connect(str(path))
        self._buffer = bytearray()
        self._next = 0
        self.receive()  # the greeting

    def close(self) -> None:
        """End the connection."""
        self._socket.close()

    def send(self, request: requests.AnyAsk) -> None:
        """Put one request."""
        self._next += 1
        self._socket.sendall(framed(Call(self._next, Raw(msgspec.msgpack.encode(request)))))

    def receive(self, wait_s: float = _SEEN_TIMEOUT_S) -> list[FromServer]:
        """Return what came, once something came or the time is up.

        Raises:
            NotMeasuredError: the node refused a request or went away.
        """
        found: list[FromServer] = []
        while not found and select.select([self._socket], [], [], wait_s)[0]:
            piece = self._socket.recv(_RECEIVE_BYTES)
            if not piece:
                raise NotMeasuredError("the node went away")
            self._buffer += piece
            found = self._whole()
        for message in found:
            if isinstance(message, Problem):
                raise NotMeasuredError(f"the node refused an edit: {message.message}")
        return found

    def _whole(self) -> list[FromServer]:
        found: list[FromServer] = []
        position = 0
        while len(self._buffer) >= position + LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, position)
            end = position + LENGTH.size + length
            if len(self._buffer) < end:
                break
            found.append(_decoder.decode(memoryview(self._buffer)[position + LENGTH.size : end]))
            position = end
        del self._buffer[:position]
        return found


def measure_latency(left: Path, right: Path, count: int) -> dict[str, float]:
    """Make single edits at one node; time until the other node's API gives the new text.

    The reader is told by its stream of events that the file changed, asks for the text, and
    compares: what a person's editor would show.

    Args:
        left: the writer's control socket.
        right: the reader's.
        count: how many edits.
    """
    chance = random.Random(SEED)
    latencies: list[float] = []
    with _file(left, right) as text, ControlClient(left) as writer, ControlClient(right) as reader:
        events = Pipeline(right)
        events.send(requests.AskEvents())
        for number in range(count):
            time.sleep(chance.uniform(*_PAUSE_S))
            events.receive(0.0)
            position = chance.randrange(len(text))
            text = text[:position] + str(number % 10) + text[position:]
            began_at = time.perf_counter()
            writer.call(requests.AskEdit(PATH, ((position, 0, str(number % 10)),)))
            latencies.append(_wait_text(events, reader, text) - began_at)
        events.close()
    return {LIVE_P50: statistics.median(latencies), LIVE_P99: percentile(latencies, 0.99)}


def _wait_text(events: Pipeline, reader: ControlClient, text: str) -> float:
    """Return when a node's API gave this text; it is asked whenever it says that it changed."""
    deadline = time.perf_counter() + _SEEN_TIMEOUT_S
    while time.perf_counter() < deadline:
        content = reader.call(requests.AskCat(PATH)).content
        if content == text.encode():
            return time.perf_counter()
        events.receive(0.05)
    raise NotMeasuredError("the reader never had the writer's text")
