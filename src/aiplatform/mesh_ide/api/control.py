"""The control protocol: what goes over a node's Unix socket.

A frame is its length (four bytes, big-endian) and one MessagePack array. The server greets with
``Welcome``. Any number of calls may be under way on one connection; answers come in any order and
name their call. A call that streams gives ``Item`` frames and ends with ``Answer`` or ``Problem``.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec
from msgspec import Raw, Struct

from aiplatform.mesh_ide.model.errors import (
    LocalError,
    MeshIDEError,
    RemoteError,
    TimedOutError,
)
from aiplatform.mesh_ide.model.names import visible

PROTOCOL: Final = 1
FRAME_BYTES_MAX: Final = 16 * 1024 * 1024
"""Both ways: a longer answer is an error, never a longer frame."""

CALLS_MAX: Final = 4096
"""Calls under way on one connection; the next one waits in the socket."""

LENGTH: Final = struct.Struct(">I")


class Welcome(Struct, frozen=True, array_like=True, tag=1):
    """Who answers here."""

    protocol: int
    pid: int
    version: str


class Call(Struct, frozen=True, array_like=True, tag=2):
    """Do this; ``request`` is one of ``requests``, ``timeout_s`` bounds it at the server."""

    id: int
    request: Raw
    timeout_s: float | None = None


class Cancel(Struct, frozen=True, array_like=True, tag=3):
    """The caller does not wait for this call any more."""

    id: int


class Answer(Struct, frozen=True, array_like=True, tag=4):
    """A call is done."""

    id: int
    result: Raw


class Item(Struct, frozen=True, array_like=True, tag=5):
    """A streaming call goes on."""

    id: int
    item: Raw


class Problem(Struct, frozen=True, array_like=True, tag=6):
    """A call failed."""

    id: int
    code: str
    exit_code: int
    message: str


FromClient = Call | Cancel
FromServer = Welcome | Answer | Item | Problem


class ControlFrameError(RemoteError):
    """What came over a control socket is not the control protocol."""


class NotUtf8Error(LocalError):
    """A word that was typed, a file's name say, is not UTF-8."""


class CalledError(MeshIDEError):
    """The node answered a call with a problem.

    Attributes:
        code: of the error at the node.
        exit_code: what a command ends with.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.code = problem.code  # type: ignore[misc]
        self.exit_code = problem.exit_code  # type: ignore[misc]


class CallTimedOutError(CalledError, TimedOutError):
    """The node gave up after the time that the caller stated."""


def problem_error(problem: Problem) -> CalledError:
    """Return the error to raise for a problem."""
    is_timeout = problem.exit_code == TimedOutError.exit_code
    return CallTimedOutError(problem) if is_timeout else CalledError(problem)


def called(number: int, request: Struct, timeout_s: float | None) -> bytes:
    """Return the frame of a call.

    Raises:
        NotUtf8Error: a text in it is not UTF-8 (the system's form of such bytes is a surrogate).
        ControlFrameError: it is over ``FRAME_BYTES_MAX``.
    """
    try:
        encoded = msgspec.msgpack.encode(request)
    except UnicodeEncodeError as error:
        raise NotUtf8Error(
            f"{visible(str(error.object))} is not UTF-8: other machines could not write it, so "
            "no file, snapshot or node is called so. Choose another name"
        ) from None
    return framed(Call(number, Raw(encoded), timeout_s))


def framed(message: Struct) -> bytes:
    """Return the frame of a message.

    Raises:
        ControlFrameError: it is over ``FRAME_BYTES_MAX``.
    """
    body = msgspec.msgpack.encode(message)
    if len(body) > FRAME_BYTES_MAX:
        raise ControlFrameError(
            f"an answer of {len(body)} bytes is over the bound of {FRAME_BYTES_MAX}: ask for less"
        )
    return LENGTH.pack(len(body)) + body


def length_of(header: bytes) -> int:
    """Return the length that a frame's header announces.

    Raises:
        ControlFrameError: over ``FRAME_BYTES_MAX``.
    """
    (length,) = LENGTH.unpack(header)
    if length > FRAME_BYTES_MAX:
        raise ControlFrameError(f"a control frame of {length} bytes is over {FRAME_BYTES_MAX}")
    return int(length)
