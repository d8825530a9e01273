"""Messages round-trip, every bound holds on both ways, and no bytes crash the decoder."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.mesh import codec
from aiplatform.mesh_ide.mesh.codec import (
    LIMITS,
    decode,
    encode,
)
from aiplatform.mesh_ide.mesh.framing import SealedFrame, encode_sealed
from aiplatform.mesh_ide.model.entries import BatchSlice
from aiplatform.mesh_ide.model.ids import (
    NodeId,
)
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobPart,
    Blobs,
    Entries,
    Goodbye,
)
from aiplatform.mesh_ide.ports.errors import BadFrameError
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES
from aiplatform.mesh_ide.ports.transport import FRAME_BYTES_MAX
from tests.unit.mesh.said import BROKEN, HASH, HEADER, KEY, messages


def raw(message: object) -> bytes:
    """Return the frame that a careless peer would send."""
    return b"\x00" + msgspec.msgpack.encode(message)


@given(messages)
def test_every_message_round_trips(message: AnyMessage) -> None:
    """What is said is what is heard, with its own type."""
    heard = decode(encode(message))

    assert heard == message
    assert type(heard) is type(message)


def test_every_message_has_limits() -> None:
    """A new message without bounds would be refused, and this says so first."""
    assert set(LIMITS) == set(get_args(AnyMessage))


def _named(value: object) -> str | None:
    return type(value).__name__ if isinstance(value, msgspec.Struct) else None


@pytest.mark.parametrize(("message", "bound"), BROKEN, ids=_named)
def test_a_broken_bound_is_refused_both_ways(message: AnyMessage, bound: str) -> None:
    """Sender and receiver name the message and the bound that it breaks."""
    expected = f"^{type(message).__name__}: .*{bound}"

    with pytest.raises(BadFrameError, match=expected):
        encode(message)
    with pytest.raises(BadFrameError, match=rf"^{type(message).__name__}: (.*{bound}|frame has)"):
        decode(raw(message))


def test_planted_bug_a_codec_without_rules_lets_broken_bounds_through() -> None:
    """Each broken message is well-formed MessagePack: the bounds alone keep it out."""
    without_rules = msgspec.msgpack.Decoder(AnyMessage)

    accepted = [m for m, _ in BROKEN if type(without_rules.decode(raw(m)[1:])) is type(m)]

    assert len(accepted) == len(BROKEN)


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_random_bytes_are_refused_or_decoded(noise: bytes) -> None:
    """Nothing but ``BadFrameError`` comes out of bytes that nobody meant."""
    for frame in (noise, b"\x00" + noise, b"\x00\x92" + noise, b"\x00\x99\x08" + noise):
        try:
            said = repr(decode(frame))
        except BadFrameError as error:
            said = str(error)
        assert said


@given(messages, st.data())
@settings(max_examples=500)
def test_mutated_frames_are_refused_or_decoded(message: AnyMessage, data: st.DataObject) -> None:
    """Flipped, cut, doubled and inserted bytes in valid frames do no harm."""
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(frame) - 1))
        match data.draw(st.integers(0, 3)):
            case 0:
                frame[at] = data.draw(st.integers(0, 255))
            case 1:
                del frame[at + 1 :]
            case 2:
                frame[at:at] = frame[: at + 1]
            case _:
                frame[at:at] = data.draw(st.binary(min_size=1, max_size=8))
    try:
        heard = decode(bytes(frame))
    except BadFrameError:
        return
    assert decode(encode(heard)) == heard


@pytest.mark.parametrize("opener", [b"\x91", b"\x81\xa1a", b"\xdd\x00\x00\x00\x01", b"\xc7"])
@pytest.mark.parametrize("before", [b"", b"\x92\x02", b"\x94\x0d\xa1x", b"\x92\x08"])
def test_deep_nesting_is_refused(before: bytes, opener: bytes) -> None:
    """A frame that is all opening brackets exhausts neither the stack nor the memory."""
    with pytest.raises(BadFrameError):
        decode(b"\x00" + before + opener * (8000 // len(opener)))
    with pytest.raises(BadFrameError):
        decode(b"\x00" + before + opener * (FRAME_BYTES_MAX // len(opener) - 8))


def test_future_fields_nested_deeply_are_refused_by_name() -> None:
    """What is skipped is still walked; the library's guard becomes our error."""
    with pytest.raises(BadFrameError, match=r"^Goodbye: nested too deeply"):
        decode(b"\x00\x94\x0d\xa1x" + b"\x91" * 4000)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x00\x92\x02\xdd\xff\xff\xff\xff",
        b"\x00\x92\x0c\xdd\x7f\xff\xff\xff\xc4\x00",
        b"\x00\x92\x02\x91\xc6\xff\xff\xff\xffx",
    ],
)
def test_announced_sizes_are_not_believed(frame: bytes) -> None:
    """Four billion announced items cost nothing when they are not there."""
    with pytest.raises(BadFrameError, match="truncated"):
        decode(frame)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (b"", "empty"),
        (b"\x00", "not a message"),
        (b"\x00\xc0", "not a message"),
        (b"\x00\x92\xcc\xff", "not a message"),
        (b"\x00\x92\x7f\x01", "unknown message kind 127"),
        (b"\x05\x92\x0d\xa1x", "envelope 5"),
        (b"\x00\x92\x0d\xa1\xff", "Goodbye: .*utf-8"),
        (b"\x00\x92\x0d\xa1xjunk", "Goodbye: .*trailing"),
        (b"\x00\x92\x0d\x01", "Goodbye: Expected `str`"),
        (b"\x00\x91\x0d", "Goodbye: "),
        (encode_sealed(SealedFrame(NodeId(KEY), NodeId(KEY), b"x")), "sealed"),
        (b"\x00\x94\x04\x01\x01" + b"\xc4\xff" + bytes(255), "Ping: frame has length"),
    ],
)
def test_what_is_no_message_is_refused_with_its_reason(frame: bytes, why: str) -> None:
    """Each kind of nonsense has its own words."""
    with pytest.raises(BadFrameError, match=why):
        decode(frame)


def test_fields_from_the_future_are_ignored() -> None:
    """A newer peer's extra fields at the end do not break an older node."""
    frame = b"\x00" + msgspec.msgpack.encode([13, "bye", {"new": [1, 2]}, 7])

    assert decode(frame) == Goodbye("bye")


def test_text_that_is_not_unicode_is_not_sent() -> None:
    """A lone surrogate, as undecodable file names give, is found before it leaves."""
    with pytest.raises(BadFrameError, match="Goodbye: text that is not Unicode"):
        encode(Goodbye("\udcff"))


def test_a_full_batch_and_a_full_chunk_fit() -> None:
    """The largest things that are sent in practice are inside the bounds."""
    header = msgspec.structs.replace(HEADER, count=256)
    batch = BatchSlice(header, tuple(range(256)), (bytes(1000),) * 256, ((HASH,) * 8,) * 256)
    chunk = Blobs((BlobPart(HASH, CHUNK_BYTES, 0, bytes(CHUNK_BYTES)),))

    assert decode(encode(Entries((batch,)))) == Entries((batch,))
    assert decode(encode(chunk)) == chunk
    assert len(encode(chunk)) - CHUNK_BYTES < 64


def test_frame_limits_are_below_the_transport_bound() -> None:
    """What the codec lets through, every link carries."""
    assert max(limits.frame_bytes_max for limits in codec.LIMITS.values()) == FRAME_BYTES_MAX
