"""The client of the control socket on an event loop: many calls under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from aiplatform.mesh_ide.api.client import not_served, went_away
from aiplatform.mesh_ide.api.control import (
    LENGTH,
    Answer,
    CalledError,
    Cancel,
    ControlFrameError,
    FromServer,
    Item,
    Problem,
    Welcome,
    called,
    framed,
    length_of,
    problem_error,
)
from aiplatform.mesh_ide.api.requests import Ask, answer_type

A = TypeVar("A", bound=Struct)
Streamed = TypeVar("Streamed", bound=Struct)

ITEMS_WAITING_MAX: Final = 4096
"""A stream's reader that is slower than this holds up its connection, and so the node's sending."""

_decoder: Final[msgspec.msgpack.Decoder[FromServer]] = msgspec.msgpack.Decoder(FromServer)


class AsyncControlClient:
    """One connection, pipelined: every ``call`` may be awaited at the same time as others."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pid: int,
        state: Path | None = None,
    ) -> None:
        """Join the parts; use ``connect``."""
        self._state = state
        self._reader = reader
        self._writer = writer
        self.pid = pid
        self._next = 0
        self._is_over = False
        self._calls: dict[int, asyncio.Future[Raw]] = {}
        self._streams: dict[int, asyncio.Queue[Raw | CalledError | None]] = {}

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, path: Path, state: Path | None = None
    ) -> AsyncIterator[AsyncControlClient]:
        """Connect to a serving node for the time of the context.

        Args:
            path: the node's control socket.
            state: its state directory, where it is known how its last run ended.

        Raises:
            NotServedError: nobody answers there; says so if the node died.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
            first = await _receive(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            raise not_served(state) from error
        if not isinstance(first, Welcome):
            raise ControlFrameError("the node did not greet: `mesh down`, then up")
        client = cls(reader, writer, first.pid, state)
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(client._receive_all())
            try:
                yield client
            finally:
                receiving.cancel()
                writer.close()

    async def call(self, request: Ask[A], timeout_s: float | None = 60.0) -> A:
        """Put a request and return its answer; raises as ``ControlClient.call``."""
        answered: asyncio.Future[Raw] = asyncio.get_running_loop().create_future()
        number = self._send(request, timeout_s)
        self._calls[number] = answered
        try:
            await self._writer.drain()
            result = await answered
        except asyncio.CancelledError:
            self._cancel(number)
            raise
        finally:
            del self._calls[number]
        return msgspec.msgpack.decode(result, type=answer_type(request))

    async def stream(
        self, request: Ask[A], item: type[Streamed], timeout_s: float | None = None
    ) -> AsyncIterator[Streamed]:
        """Put a streaming request and yield its items; ends with the call."""
        waiting: asyncio.Queue[Raw | CalledError | None] = asyncio.Queue(ITEMS_WAITING_MAX)
        number = self._send(request, timeout_s)
        self._streams[number] = waiting
        is_over = False
        try:
            await self._writer.drain()
            while True:
                message = await waiting.get()
                is_over = not isinstance(message, Raw)
                if isinstance(message, CalledError):
                    raise message
                if message is None:
                    return
                yield msgspec.msgpack.decode(message, type=item)
        finally:
            del self._streams[number]
            if not is_over:
                self._cancel(number)

    def _send(self, request: Ask[A], timeout_s: float | None) -> int:
        if self._is_over:
            raise went_away(self._state)
        self._next += 1
        frame = called(self._next, request, timeout_s)
        self._writer.write(frame)
        return self._next

    def _cancel(self, number: int) -> None:
        if not self._writer.is_closing():
            self._writer.write(framed(Cancel(number)))

    async def _receive_all(self) -> None:
        try:
            while True:
                await self._take(await _receive(self._reader))
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._is_over = True
            for answered in self._calls.values():
                if not answered.done():
                    answered.set_exception(went_away(self._state))
            for waiting in self._streams.values():
                if waiting.full():
                    waiting.get_nowait()  # the end must be heard
                waiting.put_nowait(None)

    async def _take(self, message: FromServer) -> None:
        if isinstance(message, Welcome):
            return
        waiting = self._streams.get(message.id)
        if waiting is not None:
            if isinstance(message, Item):
                await waiting.put(message.item)
            else:
                await waiting.put(problem_error(message) if isinstance(message, Problem) else None)
            return
        answered = self._calls.get(message.id)
        if answered is None or answered.done():
            return
        if isinstance(message, Answer):
            answered.set_result(message.result)
        elif isinstance(message, Problem):
            answered.set_exception(problem_error(message))


async def _receive(reader: asyncio.StreamReader) -> FromServer:
    length = length_of(await reader.readexactly(LENGTH.size))
    try:
        return _decoder.decode(await reader.readexactly(length))
    except ValueError as error:
        raise ControlFrameError(f"the node said what is no answer: {error}") from error
