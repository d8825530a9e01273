"""The outgoing queue of one channel of one link, bounded in bytes, first in, first out."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId, short
from aiplatform.mesh_ide.ports.errors import FrameTooLargeError, LinkFullError, NoLinkError
from aiplatform.mesh_ide.ports.transport import FRAME_BYTES_MAX

QUEUE_BYTES_MAX: Final[dict[Channel, int]] = {
    Channel.CONTROL: 1024 * 1024,
    Channel.DOCUMENTS: 16 * 1024 * 1024,
    Channel.BULK: 16 * 1024 * 1024,
}
"""What waits at most on each channel. Control frames are small; a megabyte of them means that the
peer has stopped reading. The others hold two of the largest frames, thus the wire never idles."""

_FRAME_OVERHEAD_BYTES: Final = 64
"""What a queued frame costs besides its content (object header, queue slot): without it a queue
of empty frames would have no bound."""


def check_frame(frame: bytes) -> None:
    """Refuse a frame that no peer would accept.

    Raises:
        FrameTooLargeError: over ``FRAME_BYTES_MAX``.
    """
    if len(frame) > FRAME_BYTES_MAX:
        raise FrameTooLargeError(
            f"a frame of {len(frame)} bytes is over the bound of {FRAME_BYTES_MAX}: split it"
        )


def no_link(peer: NodeId) -> NoLinkError:
    """Return the error for a peer without a link."""
    return NoLinkError(f"there is no link to {short(peer)}: dial it first")


class SendQueue:
    """Frames on their way out, and those who wait to add one.

    An empty queue takes any frame, also one above its bound: otherwise the largest frame could
    never be sent on ``CONTROL``. A frame counts until it was written (``done``), so what the
    writer holds is inside the bound.

    Invariants:
        1. ``queued_bytes`` is the cost of frames queued, taken and not done.
        2. Somebody waits only while ``queued_bytes > 0``.
        3. Frames leave in the order in which their senders came.
    """

    def __init__(self, peer: NodeId, channel: Channel) -> None:
        self._peer = peer
        self._channel = channel
        self._bytes_max = QUEUE_BYTES_MAX[channel]
        self._frames: deque[bytes] = deque()
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._filled = asyncio.Event()
        self._is_closed = False
        self.queued_bytes = 0

    @property
    def is_empty(self) -> bool:
        """Nothing is there to take."""
        return not self._frames

    def put_nowait(self, frame: bytes) -> None:
        """Add a frame at the end.

        Raises:
            NoLinkError: the link has ended.
            LinkFullError: no room, or others wait for it already.
        """
        if self._is_closed:
            raise no_link(self._peer)
        if self._waiting or not self._has_room(frame):
            raise LinkFullError(
                f"{self.queued_bytes} bytes wait for {short(self._peer)} on "
                f"{self._channel.name} (bound {self._bytes_max}): wait, or send less"
            )
        self._append(frame)

    async def put(self, frame: bytes) -> None:
        """Add a frame once there is room; cancelling takes it out unless it was added.

        Raises:
            NoLinkError: the link has ended, or ended while waiting.
        """
        if self._is_closed:
            raise no_link(self._peer)
        if not self._waiting and self._has_room(frame):
            self._append(frame)
            return
        entry = (frame, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        try:
            await entry[1]
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._admit()

    async def wait_filled(self) -> None:
        """Return once there is a frame to take."""
        await self._filled.wait()

    def take(self, bytes_max: int) -> list[bytes]:
        """Return the first frame and as many more as fit ``bytes_max``; they still count."""
        taken: list[bytes] = []
        size = 0
        while self._frames and (not taken or size + len(self._frames[0]) <= bytes_max):
            taken.append(self._frames.popleft())
            size += len(taken[-1])
        if not self._frames:
            self._filled.clear()
        return taken

    def done(self, frames: list[bytes]) -> None:
        """Stop counting frames that were written, and let others in."""
        if not self._is_closed:
            self.queued_bytes -= sum(map(_cost, frames))
            self._admit()

    def close(self) -> None:
        """Forget everything; who waits gets ``NoLinkError``. Idempotent."""
        self._is_closed = True
        self._frames.clear()
        self._filled.clear()
        self.queued_bytes = 0
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(no_link(self._peer))

    def _has_room(self, frame: bytes) -> bool:
        return not self.queued_bytes or self.queued_bytes + _cost(frame) <= self._bytes_max

    def _append(self, frame: bytes) -> None:
        self._frames.append(frame)
        self.queued_bytes += _cost(frame)
        self._filled.set()

    def _admit(self) -> None:
        """Add waiting frames on their senders' behalf, which keeps the order of arrival."""
        while self._waiting and self._has_room(self._waiting[0][0]):
            frame, future = self._waiting.popleft()
            if not future.done():
                self._append(frame)
                future.set_result(None)


def _cost(frame: bytes) -> int:
    return len(frame) + _FRAME_OVERHEAD_BYTES
