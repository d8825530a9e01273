"""The wire frame: a u32 length, one envelope byte, a body; and a reader that copies little.

A *frame* is what ``Transport`` carries: envelope byte and body. The length goes before it only
where frames share a byte stream. A ``SEALED`` body names destination and source in the clear and
holds bytes that only the destination can open (``identity.sealing``), which open to a frame again.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.model.ids import KEY_BYTES, NodeId
from aiplatform.mesh_ide.ports.errors import BadFrameError, FrameTooLargeError
from aiplatform.mesh_ide.ports.transport import FRAME_BYTES_MAX

_LENGTH: Final = struct.Struct(">I")

LENGTH_BYTES: Final = _LENGTH.size
"""What goes before every frame on a byte stream: its length, unsigned, big-endian."""

SEALED_OVERHEAD_BYTES: Final = 1 + 2 * KEY_BYTES
"""Envelope byte, destination, source: what sealing a frame adds besides the seal itself."""

_SMALL_PART_BYTES: Final = 4096
"""Pieces below this are copied together: a peer that trickles single bytes would otherwise make
the reader hold one object of some hundred bytes for each of them."""


class Envelope(IntEnum):
    """The first byte of every frame."""

    PLAIN = 0
    """The body is one message (``codec``)."""
    SEALED = 1
    """The body is for another node; whoever else gets it passes it on."""


class SealedFrame(Struct, frozen=True):
    """A frame on its way through others: who shall open it, who closed it, the closed bytes."""

    destination: NodeId
    source: NodeId
    sealed: bytes


def length_prefix(frame: bytes) -> bytes:
    """Return what goes before ``frame`` on a byte stream.

    Raises:
        FrameTooLargeError: over ``FRAME_BYTES_MAX``.
    """
    if len(frame) > FRAME_BYTES_MAX:
        raise FrameTooLargeError(
            f"a frame of {len(frame)} bytes is over the bound of {FRAME_BYTES_MAX}: split it"
        )
    return _LENGTH.pack(len(frame))


def envelope_of(frame: bytes) -> Envelope:
    """Return how a frame is to be read.

    Raises:
        BadFrameError: the frame is empty or begins with an unknown envelope.
    """
    if not frame:
        raise BadFrameError("an empty frame has no envelope byte")
    try:
        return Envelope(frame[0])
    except ValueError:
        raise BadFrameError(f"unknown envelope {frame[0]}: not a frame of this protocol") from None


def encode_sealed(record: SealedFrame) -> bytes:
    """Return the frame that carries a sealed record.

    Raises:
        BadFrameError: a key has the wrong length, or nothing is sealed.
        FrameTooLargeError: the frame would be over ``FRAME_BYTES_MAX``.
    """
    _check_sealed(record)
    frame = b"".join((bytes((Envelope.SEALED,)), record.destination, record.source, record.sealed))
    if len(frame) > FRAME_BYTES_MAX:
        raise FrameTooLargeError(
            f"a sealed frame of {len(frame)} bytes is over the bound of {FRAME_BYTES_MAX}"
        )
    return frame


def decode_sealed(frame: bytes) -> SealedFrame:
    """Return the sealed record of a frame whose envelope is ``SEALED``.

    Raises:
        BadFrameError: another envelope, or shorter than its fixed part.
    """
    if envelope_of(frame) is not Envelope.SEALED:
        raise BadFrameError("the frame is not sealed: decode it as a message")
    if len(frame) > FRAME_BYTES_MAX:
        raise BadFrameError(f"SealedFrame: {len(frame)} bytes, at most {FRAME_BYTES_MAX}")
    middle = 1 + KEY_BYTES
    record = SealedFrame(
        destination=NodeId(frame[1:middle]),
        source=NodeId(frame[middle:SEALED_OVERHEAD_BYTES]),
        sealed=frame[SEALED_OVERHEAD_BYTES:],
    )
    _check_sealed(record)
    return record


def _check_sealed(record: SealedFrame) -> None:
    for name, key in (("destination", record.destination), ("source", record.source)):
        if len(key) != KEY_BYTES:
            raise BadFrameError(f"SealedFrame: {name} has {len(key)} bytes, exactly {KEY_BYTES}")
    if not record.sealed:
        raise BadFrameError("SealedFrame: sealed has 0 bytes, at least 1")


class FrameReader:
    """Cuts a byte stream into frames.

    A frame that arrives in one piece is copied once, in several pieces once more. It holds at
    most one unfinished frame, thus ``FRAME_BYTES_MAX`` and the chunk that was fed last.

    Invariants:
        1. ``0 <= missing_bytes <= FRAME_BYTES_MAX``; the announced length was checked first.
        2. held bytes plus ``missing_bytes`` equal the announced length.
    """

    def __init__(self) -> None:
        self._header = bytearray()
        self._parts: list[bytes | bytearray | memoryview] = []
        self._missing_bytes: int | None = None

    @property
    def missing_bytes(self) -> int:
        """What is still to come of the frame under way; 0 between frames.

        A caller with a choice reads that much next, which saves pieces.
        """
        return self._missing_bytes or 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take what arrived and return the frames that are whole now, in order.

        Raises:
            BadFrameError: a length over ``FRAME_BYTES_MAX`` was announced. Nothing after it
                means anything: every later call raises too.
        """
        frames: list[bytes] = []
        view = memoryview(chunk)
        position, end = 0, len(chunk)
        while position < end:
            if self._missing_bytes is None:
                position = self._read_length(view, position)
                if self._missing_bytes is None:
                    break
            take = min(self._missing_bytes, end - position)
            if take == self._missing_bytes and not self._parts:
                frames.append(chunk[position : position + take])
                self._missing_bytes = None
            else:
                self._keep(view[position : position + take])
                self._missing_bytes -= take
                if not self._missing_bytes:
                    frames.append(b"".join(self._parts))
                    self._parts.clear()
                    self._missing_bytes = None
            position += take
        if self._missing_bytes == 0:  # an empty frame that ended the chunk
            frames.append(b"")
            self._missing_bytes = None
        return frames

    def _read_length(self, view: memoryview, position: int) -> int:
        """Take the length, or what there is of it; return the position after it."""
        take = LENGTH_BYTES - len(self._header)
        self._header += view[position : position + take]
        if len(self._header) < LENGTH_BYTES:
            return len(view)
        (length,) = _LENGTH.unpack(self._header)
        if length > FRAME_BYTES_MAX:
            # The header stays full, so `take` is 0 next time and the reader fails for good.
            raise BadFrameError(
                f"a frame of {length} bytes was announced, at most {FRAME_BYTES_MAX}"
            )
        self._header.clear()
        self._missing_bytes = length
        return position + take

    def _keep(self, part: memoryview) -> None:
        if len(part) >= _SMALL_PART_BYTES:
            self._parts.append(part)
        elif self._parts and isinstance(self._parts[-1], bytearray):
            self._parts[-1] += part
        else:
            self._parts.append(bytearray(part))
