"""The client of the control socket: for commands (synchronous, quick to import).

Programs on an event loop use ``api.async_client``.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.api.control import (
    LENGTH,
    PROTOCOL,
    Answer,
    ControlFrameError,
    FromServer,
    Item,
    Problem,
    Welcome,
    called,
    length_of,
    problem_error,
)
from aiplatform.mesh_ide.api.requests import Ask, answer_type
from aiplatform.mesh_ide.model.errors import LocalError, TimedOutError, UnavailableError

CONNECT_TIMEOUT_S: Final = 5.0
GRACE_S: Final = 5.0
"""The node ends a call after its stated time; this much later the caller stops listening."""

NOBODY: Final = "Nobody serves this workspace: run `mesh up` (or `mesh up --detach`) first"

A = TypeVar("A", bound=Struct)
Streamed = TypeVar("Streamed", bound=Struct)

_decoder: Final[msgspec.msgpack.Decoder[FromServer]] = msgspec.msgpack.Decoder(FromServer)


class NotServedError(LocalError):
    """No node serves this folder now."""


class NodeDiedError(NotServedError):
    """The node that served this folder ended without being asked to."""

    code = "node-died"


class NodeWentAwayError(UnavailableError):
    """The node stopped while it was being asked."""


def not_served(state: Path | None, nobody: str = NOBODY) -> NotServedError:
    """Return the error of a folder that nobody serves; a node that died is told with its log.

    Args:
        state: the node's state directory, if it is known.
        nobody: what to say where the last run ended as it should.
    """
    from aiplatform.mesh_ide.api.last_run import last_run  # noqa: PLC0415 - for failures alone

    run = None if state is None else last_run(state)
    if run is None:
        return NotServedError(nobody)
    if run.is_running:
        return NotServedError(
            f"The node is starting or stopping (process {run.pid}): try again in a moment. If that "
            "stays so, it was started with another XDG_RUNTIME_DIR (by cron or sudo, say)"
        )
    what = "The node ended unexpectedly" if run.is_of_this_boot else "The machine restarted"
    seen = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.seen_s))
    reason = f": {''.join(c for c in run.reason if c.isprintable())}" if run.reason else ""
    log = f"its log: {run.log}; " if run.log else ""
    return NodeDiedError(f"{what} (node last seen {seen}){reason}; {log}`mesh up` starts it again")


def went_away(state: Path | None) -> NodeWentAwayError:
    """Return the error of a node that was there a moment ago; names its log, if it has one."""
    from aiplatform.mesh_ide.api.last_run import last_run  # noqa: PLC0415 - as above

    run = None if state is None else last_run(state)
    log = f": see its log {run.log}" if run is not None and run.log else ""
    return NodeWentAwayError(f"The node stopped before it answered{log}; `mesh up` starts it again")


class ControlClient:
    """One connection to a serving node; one call at a time. Use as a context manager."""

    def __init__(
        self, path: Path, state: Path | None = None, *, timeout_s: float = CONNECT_TIMEOUT_S
    ) -> None:
        """Connect.

        Args:
            path: the node's control socket.
            state: its state directory, where it is known how its last run ended.
            timeout_s: for connecting.

        Raises:
            NotServedError: nobody answers there; says so if the node died.
        """
        self._state = state
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
            first = self._receive()
        except (OSError, NodeWentAwayError) as error:
            self._socket.close()
            raise not_served(state) from error
        if not isinstance(first, Welcome) or first.protocol != PROTOCOL:
            self._socket.close()
            message = "The node that serves this folder is of another version: `mesh down`, then up"
            raise ControlFrameError(message)
        self.pid = first.pid
        self._next = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the connection; calls under way are cancelled at the node. Idempotent."""
        self._socket.close()

    def call(self, request: Ask[A], timeout_s: float | None = 60.0) -> A:
        """Put a request and return its answer.

        Raises:
            CalledError: the node said no; the message says why.
            TimedOutError: no answer in time.
            NodeWentAwayError: the node stopped meanwhile.
        """
        number = self._send(request, timeout_s)
        while True:
            message = self._receive()
            if isinstance(message, Item):
                continue
            return self._result(message, number, request)

    def stream(
        self, request: Ask[A], item: type[Streamed], timeout_s: float | None = None
    ) -> Iterator[Streamed | A]:
        """Put a streaming request; yield its items, then its answer. Raises as ``call``.

        A caller that stops early closes the client, which cancels the call.
        """
        number = self._send(request, timeout_s)
        while True:
            message = self._receive()
            if isinstance(message, Item):
                yield msgspec.msgpack.decode(message.item, type=item)
                continue
            yield self._result(message, number, request)
            return

    def _result(self, message: FromServer, number: int, request: Ask[A]) -> A:
        if isinstance(message, Problem):
            raise problem_error(message)
        if not isinstance(message, Answer) or message.id != number:
            raise ControlFrameError("the node answered what was not asked: `mesh down`, then up")
        return msgspec.msgpack.decode(message.result, type=answer_type(request))

    def _send(self, request: Ask[A], timeout_s: float | None) -> int:
        self._next += 1
        frame = called(self._next, request, timeout_s)
        self._socket.settimeout(None if timeout_s is None else timeout_s + GRACE_S)
        try:
            self._socket.sendall(frame)
        except OSError as error:
            raise went_away(self._state) from error
        return self._next

    def _receive(self) -> FromServer:
        length = length_of(self._exactly(LENGTH.size))
        try:
            return _decoder.decode(self._exactly(length))
        except ValueError as error:
            raise ControlFrameError(f"the node said what is no answer: {error}") from error

    def _exactly(self, count: int) -> bytes:
        pieces: list[bytes] = []
        while count:
            try:
                piece = self._socket.recv(min(count, 1 << 20))
            except TimeoutError:
                message = "The node does not answer: see its log, or stop it with `mesh down`"
                raise TimedOutError(message) from None
            except OSError as error:
                raise went_away(self._state) from error
            if not piece:
                raise went_away(self._state)
            pieces.append(piece)
            count -= len(piece)
        return b"".join(pieces)
