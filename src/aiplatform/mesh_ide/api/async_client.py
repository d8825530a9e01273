"""The client of the control socket on an event loop: many calls under way at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from aiplatform.mesh_ide.api.client import NodeWentAwayError, NotServedError
from aiplatform.mesh_ide.api.control import (
    LENGTH,
    Answer,
    Call,
    Cancel,
    ControlFrameError,
    FromServer,
    Item,
    Problem,
    Welcome,
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
_WENT_AWAY: Final = "The node stopped before it answered: see its log, then run `mesh up` again"


class AsyncControlClient:
    """One connection, pipelined: every ``call`` may be awaited at the same time as others."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pid: int
    ) -> None:
        """Join the parts; use ``connect``."""
        self._reader = reader
        self._writer = writer
        self.pid = pid
        self._next = 0
        self._waiting: dict[int, asyncio.Queue[Answer | Item | Problem | None]] = {}

    @classmethod
    @asynccontextmanager
    async def connect(cls, path: Path) -> AsyncIterator[AsyncControlClient]:
        """Connect to a serving node for the time of the context.

        Raises:
            NotServedError: nobody answers there.
        """
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
            first = await _receive(reader)
        except (OSError, asyncio.IncompleteReadError) as error:
            message = "Nobody serves this workspace: run `mesh up` (or `mesh up --detach`) first"
            raise NotServedError(message) from error
        if not isinstance(first, Welcome):
            raise ControlFrameError("the node did not greet: `mesh down`, then up")
        client = cls(reader, writer, first.pid)
        async with asyncio.TaskGroup() as tasks:
            receiving = tasks.create_task(client._receive_all())
            try:
                yield client
            finally:
                receiving.cancel()
                writer.close()

    async def call(self, request: Ask[A], timeout_s: float | None = 60.0) -> A:
        """Put a request and return its answer; raises as ``ControlClient.call``."""
        async for message in self._messages(request, timeout_s):
            if isinstance(message, Answer):
                return msgspec.msgpack.decode(message.result, type=answer_type(request))
        raise NodeWentAwayError(_WENT_AWAY)

    async def stream(
        self, request: Ask[A], item: type[Streamed], timeout_s: float | None = None
    ) -> AsyncIterator[Streamed]:
        """Put a streaming request and yield its items; ends with the call."""
        async for message in self._messages(request, timeout_s):
            if isinstance(message, Answer):
                return
            yield msgspec.msgpack.decode(message.item, type=item)

    async def _messages(
        self, request: Ask[A], timeout_s: float | None
    ) -> AsyncIterator[Answer | Item]:
        self._next += 1
        number = self._next
        waiting: asyncio.Queue[Answer | Item | Problem | None] = asyncio.Queue(ITEMS_WAITING_MAX)
        self._waiting[number] = waiting
        is_over = False
        try:
            call = Call(number, Raw(msgspec.msgpack.encode(request)), timeout_s)
            self._writer.write(framed(call))
            await self._writer.drain()
            while True:
                message = await waiting.get()
                is_over = not isinstance(message, Item)
                if message is None:
                    raise NodeWentAwayError(_WENT_AWAY)
                if isinstance(message, Problem):
                    raise problem_error(message)
                yield message
                if is_over:
                    return
        finally:
            del self._waiting[number]
            if not is_over and not self._writer.is_closing():
                self._writer.write(framed(Cancel(number)))

    async def _receive_all(self) -> None:
        try:
            while True:
                message = await _receive(self._reader)
                if isinstance(message, Welcome):
                    continue
                waiting = self._waiting.get(message.id)
                if waiting is not None:
                    await waiting.put(message)
        except (OSError, asyncio.IncompleteReadError):
            for waiting in self._waiting.values():
                await waiting.put(None)


async def _receive(reader: asyncio.StreamReader) -> FromServer:
    length = length_of(await reader.readexactly(LENGTH.size))
    try:
        return _decoder.decode(await reader.readexactly(length))
    except ValueError as error:
        raise ControlFrameError(f"the node said what is no answer: {error}") from error
