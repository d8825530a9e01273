"""One standing link: a connection, three streams each way, three bounded queues."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from functools import partial
from typing import Final

from iroh import Connection, Endpoint, IrohError, RecvStream, SendStream
from msgspec import Struct

from aiplatform.mesh_ide.mesh.adapters.channels import SendQueue
from aiplatform.mesh_ide.mesh.adapters.iroh.closing import (
    CloseCode,
    Ended,
    LinkOverError,
    close,
    explain,
    how_it_ended,
)
from aiplatform.mesh_ide.mesh.adapters.iroh.greeting import Greeting
from aiplatform.mesh_ide.mesh.framing import FrameReader, length_prefix
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import BadFrameError
from aiplatform.mesh_ide.ports.transport import LinkEnd, LinkStats

WRITE_BYTES_MAX: Final = 256 * 1024
"""Goes out in one awaited call, small frames joined and large ones cut. Measured on loopback: a
quarter megabyte gives 257 MB/s, four megabytes 170."""

_READ_BYTES: Final = 64 * 1024
"""Asked for between frames; the binding zeroes that much for each call."""

_READ_BYTES_MAX: Final = 1024 * 1024
"""Asked for in the middle of a large frame."""

_RECEIVE_WINDOW_BYTES: Final = 16 * 1024 * 1024
"""Unread bytes a peer may have on its way on one connection, over all streams it opens; quinn
holds each of them to 1.25 MB. Together with one unfinished frame per channel this bounds what a
peer can make us hold."""

_LEAVING_S_MAX: Final = 1.0
"""Between the end of a stream and the end of the connection, when a peer leaves in order."""

_PRIORITY: Final[dict[Channel, int]] = {
    Channel.CONTROL: 2,
    Channel.DOCUMENTS: 1,
    Channel.BULK: 0,
}


_Work = Callable[[], Coroutine[None, None, None]]


class Handshake(Struct, frozen=True):
    """A connection on which the peer's greeting was read.

    Attributes:
        peer: whose key the connection proves.
        connection: the connection.
        greeting: what the peer said of itself.
        incoming: the peer's control stream, after its greeting.
        outgoing: our control stream if our greeting went out already (we dialled).
        spare: the endpoint that the connection lives on, if it is not the node's own.
    """

    peer: NodeId
    connection: Connection
    greeting: Greeting
    incoming: RecvStream
    outgoing: SendStream | None
    spare: Endpoint | None = None


async def open_stream(connection: Connection, channel: Channel, first: bytes) -> SendStream:
    """Open the outgoing stream of a channel and write its first bytes."""
    stream = await connection.open_uni()
    await stream.set_priority(_PRIORITY[channel])
    await stream.write_all(first)
    return stream


class IrohLink:
    """Carries frames both ways until the connection ends, or ``end`` is called.

    Invariants:
        1. ``on_frame`` is never called after ``end``.
        2. Each channel has at most one incoming and one outgoing stream.
    """

    def __init__(
        self, handshake: Handshake, greeting: bytes, on_frame: Callable[[Channel, bytes], None]
    ) -> None:
        """Take over a connection; ``greeting`` goes out first if it did not yet."""
        self.peer = handshake.peer
        self.greeting = handshake.greeting
        self.connection = handshake.connection
        self.spare = handshake.spare
        self.address = _selected_address(handshake.connection)
        self.queues = {channel: SendQueue(self.peer, channel) for channel in Channel}
        self.sent_bytes = 0
        self.received_bytes = 0
        self._own_greeting = greeting
        self._control_in = handshake.incoming
        self._control_out = handshake.outgoing
        self._on_frame = on_frame
        self._over = asyncio.Event()
        self._ended: Ended | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.connection.set_receive_window(_RECEIVE_WINDOW_BYTES)

    async def run(self) -> Ended | None:
        """Carry frames until the link is over; return why, or ``None`` after ``end``."""
        async with asyncio.TaskGroup() as group:
            self._spawn(group, self._watch)
            self._spawn(group, partial(self._accept, group))
            self._spawn(group, partial(self._read, Channel.CONTROL, self._control_in))
            for channel in Channel:
                self._spawn(group, partial(self._write, channel))
            await self._over.wait()
            for task in self._tasks:
                task.cancel()
        self._tasks.clear()
        return self._ended

    def end(self, code: CloseCode, detail: str) -> None:
        """Close the connection at once and drop what is queued; idempotent.

        The connection closes before tasks let their streams go: a stream that is let go looks to
        the peer as if we had ended it in the middle of a frame.
        """
        self._over.set()
        for queue in self.queues.values():
            queue.close()
        close(self.connection, code, detail)

    def stats(self) -> LinkStats:
        """Return what is measured now."""
        path = next((path for path in self.connection.paths() if path.is_selected), None)
        return LinkStats(
            peer=self.peer,
            address=path.remote_addr if path else self.address,
            rtt_ms=float(path.rtt_ms) if path else None,
            sent_bytes=self.sent_bytes,
            received_bytes=self.received_bytes,
            queued_bytes=sum(queue.queued_bytes for queue in self.queues.values()),
        )

    def _spawn(self, group: asyncio.TaskGroup, work: _Work) -> None:
        """Start a task; its work is made by the task itself, which may be cancelled before."""
        self._tasks.append(group.create_task(self._guard(work)))

    async def _guard(self, work: _Work) -> None:
        """End the link when a task finds it over.

        Not by an error that ends the task group: its tracebacks would keep the streams alive.
        """
        try:
            await work()
        except LinkOverError as over:
            self._end_because(over.ended)
        except IrohError as error:
            self._end_because(how_it_ended(self.connection, error))

    def _end_because(self, ended: Ended) -> None:
        if not self._over.is_set():
            self._ended = ended
            is_fault = ended.end is LinkEnd.FAULT
            self.end(CloseCode.FAULT if is_fault else CloseCode.DISCONNECT, ended.detail)

    async def _watch(self) -> None:
        self._end_because(explain(await self.connection.closed()))

    async def _accept(self, group: asyncio.TaskGroup) -> None:
        """Take the peer's further streams; it opens each when it first needs it."""
        seen = {Channel.CONTROL}
        while True:
            stream = await self.connection.accept_uni()
            number = (await stream.read_exact(1))[0]
            try:
                channel = Channel(number)
            except ValueError:
                raise LinkOverError(LinkEnd.FAULT, f"unknown channel {number}") from None
            if channel in seen:
                raise LinkOverError(LinkEnd.FAULT, f"a second stream for {channel.name}")
            seen.add(channel)
            self._spawn(group, partial(self._read, channel, stream))

    async def _read(self, channel: Channel, stream: RecvStream) -> None:
        reader = FrameReader()
        while True:
            wanted = min(max(reader.missing_bytes, _READ_BYTES), _READ_BYTES_MAX)
            chunk = await stream.read(wanted)
            if not chunk:
                self._end_because(await self._why_ended(channel))
                return
            self.received_bytes += len(chunk)
            try:
                frames = reader.feed(chunk)
            except BadFrameError as error:
                raise LinkOverError(LinkEnd.FAULT, f"on {channel.name}: {error}") from None
            for frame in frames:
                if self._over.is_set():
                    return
                self._on_frame(channel, frame)

    async def _why_ended(self, channel: Channel) -> Ended:
        """Tell a peer that leaves, whose streams may end first, from one that is at fault."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LEAVING_S_MAX):
                return explain(await self.connection.closed())
        return Ended(LinkEnd.FAULT, f"the peer ended its {channel.name} stream")

    async def _write(self, channel: Channel) -> None:
        """Write what is queued; what comes in meanwhile goes out together next time."""
        queue = self.queues[channel]
        stream = self._control_out if channel is Channel.CONTROL else None
        first = bytes((channel,))
        if channel is Channel.CONTROL:
            first = self._own_greeting
            stream = stream or await open_stream(self.connection, channel, first)
        while True:
            await queue.wait_filled()
            if stream is None:
                stream = await open_stream(self.connection, channel, first)
            frames = queue.take(WRITE_BYTES_MAX)
            if not frames:  # the link ended between waking and running
                return
            for piece in _pieces(frames):
                await stream.write_all(piece)
                self.sent_bytes += len(piece)
            queue.done(frames)


def _pieces(frames: list[bytes]) -> Iterator[bytes]:
    """Put lengths before frames and cut what is too large for one write."""
    if len(frames) > 1 or len(frames[0]) <= WRITE_BYTES_MAX:
        yield b"".join(part for frame in frames for part in (length_prefix(frame), frame))
        return
    frame = frames[0]
    yield length_prefix(frame) + frame[:WRITE_BYTES_MAX]
    for start in range(WRITE_BYTES_MAX, len(frame), WRITE_BYTES_MAX):
        yield frame[start : start + WRITE_BYTES_MAX]


def _selected_address(connection: Connection) -> str:
    paths = sorted(connection.paths(), key=lambda path: not path.is_selected)
    return paths[0].remote_addr if paths else ""
