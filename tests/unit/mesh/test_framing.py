"""Frames survive any way of cutting the stream, and no announced length is trusted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.mesh.framing import (
    LENGTH_BYTES,
    SEALED_OVERHEAD_BYTES,
    Envelope,
    FrameReader,
    SealedFrame,
    decode_sealed,
    encode_sealed,
    envelope_of,
    length_prefix,
)
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import BadFrameError, FrameTooLargeError
from aiplatform.mesh_ide.ports.transport import FRAME_BYTES_MAX

DESTINATION, SOURCE = NodeId(b"\x11" * 32), NodeId(b"\x22" * 32)


def _wire(frames: list[bytes]) -> bytes:
    return b"".join(length_prefix(frame) + frame for frame in frames)


@given(
    frames=st.lists(st.binary(max_size=40) | st.integers(4000, 9000).map(bytes), max_size=8),
    cuts=st.lists(st.integers(1, 5000), max_size=20),
)
def test_any_cut_of_the_stream_gives_the_same_frames(frames: list[bytes], cuts: list[int]) -> None:
    """Chunks of any size, the rest in one piece, give back what was written, in order."""
    stream, reader, read = _wire(frames), FrameReader(), []
    for cut in [*cuts, len(stream)]:
        read += reader.feed(stream[:cut])
        stream = stream[cut:]

    assert read == frames
    assert reader.missing_bytes == 0


def test_a_trickled_frame_is_whole_and_cheap() -> None:
    """A frame that comes byte by byte is kept in one piece, not in an object for each byte."""
    frame, reader = bytes(range(256)) * 100, FrameReader()

    read = [whole for byte in _wire([frame]) for whole in reader.feed(bytes((byte,)))]

    assert read == [frame]
    for byte in _wire([frame])[:-1]:
        reader.feed(bytes((byte,)))
    assert len(reader._parts) == 1


def test_missing_bytes_tells_what_to_read_next() -> None:
    """In the middle of a frame the reader says how much is still to come."""
    reader = FrameReader()
    reader.feed(_wire([bytes(1000)])[:104])

    assert reader.missing_bytes == 900


def test_the_largest_frame_is_read() -> None:
    """The bound itself is allowed."""
    frame = bytes(FRAME_BYTES_MAX)

    assert FrameReader().feed(_wire([frame])) == [frame]


@given(over=st.integers(FRAME_BYTES_MAX + 1, 2**32 - 1), cut=st.integers(1, LENGTH_BYTES))
def test_an_announced_length_over_the_bound_ends_the_stream(over: int, cut: int) -> None:
    """The length alone is enough to refuse; nothing after it is read any more."""
    announced, reader = over.to_bytes(LENGTH_BYTES, "big"), FrameReader()
    if cut < LENGTH_BYTES:
        assert reader.feed(announced[:cut]) == []
        announced = announced[cut:]
    with pytest.raises(BadFrameError, match=f"{over} bytes was announced"):
        reader.feed(announced)
    with pytest.raises(BadFrameError):
        reader.feed(_wire([b"innocent"]))


def test_planted_bug_an_unchecked_length_is_caught() -> None:
    """A reader without the bound would buffer what a peer announces; the check above sees it."""

    class Unchecked(FrameReader):
        def _read_length(self, view: memoryview, position: int) -> int:
            self._missing_bytes = int.from_bytes(view[position : position + 4], "big")
            return position + 4

    reader = Unchecked()
    reader.feed(b"\xff\xff\xff\xffxx")

    assert reader.missing_bytes > FRAME_BYTES_MAX


def test_a_frame_over_the_bound_is_not_written() -> None:
    """We do not send what peers refuse."""
    with pytest.raises(FrameTooLargeError, match="split it"):
        length_prefix(bytes(FRAME_BYTES_MAX + 1))


@given(sealed=st.binary(min_size=1, max_size=200))
def test_a_sealed_record_round_trips(sealed: bytes) -> None:
    """Destination, source and seal come back; a relay sees the destination at a fixed place."""
    record = SealedFrame(DESTINATION, SOURCE, sealed)

    frame = encode_sealed(record)

    assert decode_sealed(frame) == record
    assert envelope_of(frame) is Envelope.SEALED
    assert frame[1:33] == DESTINATION
    assert len(frame) == len(sealed) + SEALED_OVERHEAD_BYTES


@pytest.mark.parametrize("frame", [b"", b"\x02rest", b"\xff"])
def test_an_unknown_envelope_is_refused(frame: bytes) -> None:
    """Only plain and sealed frames exist."""
    with pytest.raises(BadFrameError, match="envelope"):
        envelope_of(frame)


@pytest.mark.parametrize("size", [1, 33, SEALED_OVERHEAD_BYTES])
def test_a_sealed_frame_cut_short_is_refused(size: int) -> None:
    """Without both keys and something sealed there is nothing to pass on."""
    frame = encode_sealed(SealedFrame(DESTINATION, SOURCE, b"x"))

    with pytest.raises(BadFrameError, match="SealedFrame"):
        decode_sealed(frame[:size])


def test_a_plain_frame_is_no_sealed_record() -> None:
    """The envelope byte decides, not the caller's guess."""
    with pytest.raises(BadFrameError, match="not sealed"):
        decode_sealed(b"\x00" + bytes(100))


def test_sealing_for_no_key_or_without_room_is_refused() -> None:
    """A wrong key length is found by the sender, and so is a frame over the bound."""
    with pytest.raises(BadFrameError, match="destination"):
        encode_sealed(SealedFrame(NodeId(b"short"), SOURCE, b"x"))
    with pytest.raises(FrameTooLargeError):
        encode_sealed(SealedFrame(DESTINATION, SOURCE, bytes(FRAME_BYTES_MAX)))
