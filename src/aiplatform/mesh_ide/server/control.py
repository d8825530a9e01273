"""The control socket: a Unix socket on which this user's programs talk to the node."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final, Protocol

import msgspec
from msgspec import Raw, Struct

from aiplatform.mesh_ide.api.control import (
    CALLS_MAX,
    LENGTH,
    PROTOCOL,
    Answer,
    Call,
    Cancel,
    ControlFrameError,
    FromClient,
    Item,
    Problem,
    Welcome,
    framed,
    length_of,
)
from aiplatform.mesh_ide.api.locations import own_folder
from aiplatform.mesh_ide.api.requests import AnyAsk
from aiplatform.mesh_ide.model.errors import LocalError, MeshIDEError, TimedOutError

CONNECTIONS_MAX: Final = 64
_CREDENTIALS: Final = struct.Struct("3i")
"""``struct ucred``: pid, uid, gid (unix(7))."""

_READ_BYTES: Final = 64 * 1024
_log = logging.getLogger(__name__)
_calls: Final[msgspec.msgpack.Decoder[FromClient]] = msgspec.msgpack.Decoder(FromClient)
_requests: Final[msgspec.msgpack.Decoder[AnyAsk]] = msgspec.msgpack.Decoder(AnyAsk)


class AlreadyServedError(MeshIDEError):
    """Another process serves this node.

    Attributes:
        pid: which one (0: not known).
    """

    code = "already-served"

    def __init__(self, message: str, pid: int) -> None:
        super().__init__(message)
        self.pid = pid


class BadRequestError(LocalError):
    """A request is none of those this node knows."""


class Performer(Protocol):
    """What carries out requests."""

    async def perform(self, request: AnyAsk, emit: Callable[[Struct], Awaitable[None]]) -> Struct:
        """Return the answer; see ``api.operations``."""


def package_version() -> str:
    """Return this program's version."""
    try:
        return version("mesh-ide")
    except PackageNotFoundError:
        return "unknown"


def peer_of(connection: socket.socket) -> tuple[int, int]:
    """Return pid and uid of a Unix socket's other end, as the kernel noted them at connect."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return 0, os.geteuid()  # no such option here: the folder's mode keeps others out
    raw = connection.getsockopt(socket.SOL_SOCKET, option, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    return int(pid), int(uid)


def server_pid(path: Path, timeout_s: float = 2.0) -> int | None:
    """Return the pid of who listens on a control socket, ``None`` if nobody does.

    The kernel vouches for it, so it is the one to signal even if it does not answer.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout_s)
        try:
            connection.connect(str(path))
        except OSError:
            return None
        return peer_of(connection)[0]


class ControlServer:
    """Serves one node's control socket between ``start`` and ``stop``."""

    def __init__(
        self,
        path: Path,
        performer: Performer,
        peer_of: Callable[[socket.socket], tuple[int, int]] = peer_of,
    ) -> None:
        """Serve on this path what ``performer`` can do; ``peer_of`` tells who connects."""
        self._path = path
        self._performer = performer
        self._peer_of = peer_of
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._identity: tuple[int, int] | None = None

    async def start(self) -> None:
        """Listen; a socket that a dead process left behind is replaced.

        Raises:
            AlreadyServedError: a living process listens there.
            UnsafeFolderError: the socket's folder is not ours alone.
        """
        own_folder(self._path.parent)
        pid = server_pid(self._path)
        if pid is not None:
            message = f"this workspace is served already, by process {pid}: `mesh down` ends it"
            raise AlreadyServedError(message, pid)
        with suppress(FileNotFoundError):
            if stat.S_ISSOCK(self._path.lstat().st_mode):
                self._path.unlink()
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, path=str(self._path))
        finally:
            os.umask(before)
        made = self._path.stat()
        self._identity = (made.st_dev, made.st_ino)

    async def stop(self) -> None:
        """Stop listening and end every connection; idempotent."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        with suppress(OSError):
            made = self._path.lstat()
            if (made.st_dev, made.st_ino) == self._identity:
                self._path.unlink()  # never the socket of one that took over
        for connection in self._connections:
            connection.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a connection is served in a task"
        self._connections.add(task)
        try:
            _, uid = self._peer_of(writer.get_extra_info("socket"))
            if uid not in {0, os.geteuid()} or len(self._connections) > CONNECTIONS_MAX:
                return
            await _Connection(reader, writer, self._performer).serve()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client went away
        except ControlFrameError as error:
            _log.warning("a control client was disconnected: %s", error)
        except asyncio.CancelledError:
            pass  # the server stops; nobody awaits this task but ``stop``
        finally:
            self._connections.discard(task)
            writer.close()


class _Connection:
    """One client: its calls under way and the way back to it.

    Both directions work in bulk: frames that came together are taken together, and what is
    answered within one turn of the event loop leaves in one write. One at a time, reading and
    writing cost more than an edit itself.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, performer: Performer
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._performer = performer
        self._calls: dict[int, asyncio.Task[None]] = {}
        self._room = asyncio.Semaphore(CALLS_MAX)
        self._outgoing: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> None:
        """Take calls until the client goes; what is under way then is cancelled."""
        await self._send(Welcome(PROTOCOL, os.getpid(), package_version()))
        try:
            async with asyncio.TaskGroup() as tasks:
                try:
                    await self._take(tasks)
                finally:
                    for call in self._calls.values():
                        call.cancel()
        except* (OSError, asyncio.IncompleteReadError):
            pass  # the client went away
        finally:
            self._flush()

    async def _take(self, tasks: asyncio.TaskGroup) -> None:
        buffer = bytearray()
        while True:
            piece = await self._reader.read(_READ_BYTES)
            if not piece:
                raise asyncio.IncompleteReadError(bytes(buffer), None)
            buffer += piece
            position = 0
            while len(buffer) >= position + LENGTH.size:
                end = (
                    position
                    + LENGTH.size
                    + length_of(bytes(buffer[position : position + LENGTH.size]))
                )
                if len(buffer) < end:
                    break
                await self._begin(bytes(buffer[position + LENGTH.size : end]), tasks)
                position = end
            del buffer[:position]

    async def _begin(self, body: bytes, tasks: asyncio.TaskGroup) -> None:
        """Begin a call, or cancel one."""
        try:
            message = _calls.decode(body)
        except ValueError as error:
            raise ControlFrameError(f"not the control protocol: {error}") from error
        if isinstance(message, Cancel):
            if (call := self._calls.get(message.id)) is not None:
                call.cancel()
            return
        await self._room.acquire()
        task = tasks.create_task(self._call(message))
        self._calls[message.id] = task
        task.add_done_callback(lambda _, number=message.id: self._done(number))  # type: ignore[misc]

    def _done(self, number: int) -> None:
        self._calls.pop(number, None)
        self._room.release()

    async def _call(self, call: Call) -> None:
        async def emit(item: Struct) -> None:
            await self._send(Item(call.id, Raw(msgspec.msgpack.encode(item))))

        try:
            request = _requests.decode(call.request)
        except ValueError as error:
            problem = BadRequestError(f"this node does not know the request: {error}")
            await self._send(_problem(call.id, problem))
            return
        bound: asyncio.Timeout | None = None
        try:
            if call.timeout_s is None:
                result = await self._performer.perform(request, emit)
            else:
                async with asyncio.timeout(call.timeout_s) as bound:
                    result = await self._performer.perform(request, emit)
            await self._send(Answer(call.id, Raw(msgspec.msgpack.encode(result))))
        except TimeoutError:
            # The caller's time, or that of a part of the node which has a bound of its own.
            if bound is not None and bound.expired():
                message = f"not done within {call.timeout_s:g} s; nothing was undone"
            else:
                message = (
                    "a part of this node did not answer in time: it is very busy, or its disk "
                    "hangs. Nothing was undone; try again, and see `mesh doctor`"
                )
            await self._send(_problem(call.id, TimedOutError(message)))
        except MeshIDEError as error:
            await self._send(_problem(call.id, error))

    async def _send(self, message: Struct) -> None:
        """Queue a frame; wait while the client is too slow to take what it was sent.

        To a client that has asked for one thing only it goes at once: nothing could join it, and
        a turn of the event loop is where other threads take over.
        """
        is_first = not self._outgoing
        self._outgoing.append(framed(message))
        if is_first and len(self._calls) <= 1:
            self._flush()
        elif is_first:
            self._loop.call_soon(self._flush)
        if self._writer.transport.get_write_buffer_size() > 0:
            await self._writer.drain()

    def _flush(self) -> None:
        if self._outgoing:
            self._writer.write(b"".join(self._outgoing))
            self._outgoing.clear()


def _problem(call: int, error: MeshIDEError) -> Problem:
    return Problem(call, error.code, error.exit_code, str(error))
