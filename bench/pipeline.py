"""A control connection that asks again before the last answer came, in one thread."""

from __future__ import annotations

import select
import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import msgspec
from msgspec import Raw

from aiplatform.mesh_ide.api.control import LENGTH, Call, FromServer, Problem, framed
from aiplatform.mesh_ide.api.requests import AnyAsk
from bench.peer import NotMeasuredError

TIMEOUT_S: Final = 20.0
_RECEIVE_BYTES: Final = 1 << 18
_decoder: Final[msgspec.msgpack.Decoder[FromServer]] = msgspec.msgpack.Decoder(FromServer)


class Pipeline:
    """Requests go out and answers come in, each when there are some; a context manager."""

    def __init__(self, path: Path) -> None:
        """Connect, and take the greeting."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(TIMEOUT_S)
        self._socket.connect(str(path))
        self._buffer = bytearray()
        self._next = 0
        self.receive(TIMEOUT_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()

    def send(self, asked: list[AnyAsk]) -> None:
        """Put these requests.

        Raises:
            NotMeasuredError: the node does not take them.
        """
        first = self._next + 1
        self._next += len(asked)
        calls = (
            framed(Call(first + index, Raw(msgspec.msgpack.encode(request))))
            for index, request in enumerate(asked)
        )
        try:
            self._socket.sendall(b"".join(calls))
        except OSError as error:
            raise NotMeasuredError(f"the node does not take requests: {error}") from error

    def receive(self, wait_s: float) -> list[FromServer]:
        """Return what came, once something has come or the time is up.

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
                raise NotMeasuredError(f"the node refused: {message.message}")
        return found

    def _whole(self) -> list[FromServer]:
        """Take the frames that are complete out of the buffer."""
        found: list[FromServer] = []
        position = 0
        while len(self._buffer) >= position + LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer, position)
            end = position + LENGTH.size + length
            if len(self._buffer) < end:
                break
            found.append(_decoder.decode(bytes(self._buffer[position + LENGTH.size : end])))
            position = end
        del self._buffer[:position]
        return found
