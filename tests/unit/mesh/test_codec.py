"""Messages round-trip, every bound holds on both ways, and no bytes crash the decoder."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.mesh import codec
from aiplatform.mesh_ide.mesh.bounds import ITEMS_MAX, NUMBER_MAX, RECORDS_MAX
from aiplatform.mesh_ide.mesh.codec import LIMITS, decode, encode
from aiplatform.mesh_ide.mesh.framing import SealedFrame, encode_sealed
from aiplatform.mesh_ide.model.entries import BatchHeader, BatchSlice, SessionCertificate
from aiplatform.mesh_ide.model.enums import NodeType
from aiplatform.mesh_ide.model.ids import (
    BlobHash,
    FileId,
    Fingerprint,
    NodeId,
    SessionId,
    WorkspaceId,
)
from aiplatform.mesh_ide.model.messages import (
    Acquaintances,
    AnyMessage,
    BlobPart,
    BlobRequest,
    Blobs,
    BlobsMissing,
    Certificates,
    Entries,
    Goodbye,
    Hello,
    Ping,
    Pong,
    RangeItems,
    RangeSummary,
    Reconcile,
    RosterExchange,
    Sent,
    Stored,
    Vectors,
    Whereabouts,
)
from aiplatform.mesh_ide.ports.errors import BadFrameError
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES
from aiplatform.mesh_ide.ports.transport import FRAME_BYTES_MAX

KEY, HASH, SIGNATURE = b"\x01" * 32, BlobHash(b"\x02" * 32), b"\x03" * 64
FILE, PRINT = FileId(b"\x04" * 16), Fingerprint(b"\x05" * 16)
CERTIFICATE = SessionCertificate(SessionId(KEY), NodeId(KEY), 1, SIGNATURE * 2)
HELLO = Hello(
    WorkspaceId(KEY), NodeId(KEY), "desk", NodeType.LOCAL, CERTIFICATE, ("127.0.0.1:1",), HASH, 1
)
HEADER = BatchHeader(SessionId(KEY), 1, 4, HASH, SIGNATURE)
SLICE = BatchSlice(HEADER, (0, 2), (b"a", b"b"), ((HASH,), (HASH, HASH)))

keys = st.binary(min_size=32, max_size=32)
files = st.binary(min_size=16, max_size=16).map(FileId)
prints = st.binary(min_size=16, max_size=16).map(Fingerprint)
hashes = keys.map(BlobHash)
numbers = st.integers(0, NUMBER_MAX)
times = st.integers(-NUMBER_MAX, NUMBER_MAX)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = texts.filter(bool)
certificates = st.builds(
    SessionCertificate, keys, keys, times, st.binary(min_size=128, max_size=128)
)


def tuples_of(items: st.SearchStrategy[object]) -> st.SearchStrategy[tuple[object, ...]]:
    """Return up to three of them in a tuple."""
    return st.lists(items, max_size=3).map(tuple)


slices = st.integers(1, 3).flatmap(
    lambda count: st.builds(
        BatchSlice,
        st.builds(
            BatchHeader,
            keys,
            st.integers(1, NUMBER_MAX),
            st.integers(count, 256),
            keys,
            st.binary(min_size=64, max_size=64),
        ),
        st.just(tuple(range(count))),
        st.lists(st.binary(min_size=1, max_size=9), min_size=count, max_size=count).map(tuple),
        st.just(()) | st.lists(tuples_of(keys), min_size=count, max_size=count).map(tuple),
    )
)
ends = st.just(b"") | files
ranges = st.builds(RangeItems, ends, ends, tuples_of(st.tuples(files, prints)))


def _apart(records: tuple[Any, ...]) -> tuple[Any, ...]:
    """Put ranges one after the other, as every answer has them; the last one has no end."""
    lows = [number.to_bytes(2, "big") for number in range(1, len(records) + 1)]
    return tuple(
        msgspec.structs.replace(one, low=low, high=high)
        for one, low, high in zip(records, lows, [*lows, b""][1:], strict=False)
    )


messages: st.SearchStrategy[AnyMessage] = st.one_of(
    st.builds(
        Hello,
        keys,
        keys,
        texts,
        st.sampled_from(NodeType),
        certificates,
        tuples_of(names),
        keys,
        times,
        texts,
        tuples_of(names),
    ),
    st.builds(RosterExchange, tuples_of(st.binary(min_size=1, max_size=40))),
    st.builds(Certificates, tuples_of(certificates)),
    st.builds(
        Ping,
        st.integers(0, 2**64 - 1),
        times,
        st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.builds(Pong, st.integers(0, 2**64 - 1), times),
    st.builds(
        Reconcile,
        st.integers(0, 2**64 - 1),
        tuples_of(st.builds(RangeSummary, ends, ends, numbers, prints)).map(_apart),
        tuples_of(ranges).map(_apart),
        tuples_of(ranges).map(_apart),
    ),
    st.builds(
        Vectors, tuples_of(st.tuples(files, tuples_of(st.tuples(keys, numbers)))), st.booleans()
    ),
    st.builds(Entries, tuples_of(slices)),
    st.builds(Stored, tuples_of(st.tuples(files, prints))),
    st.builds(BlobRequest, tuples_of(st.tuples(hashes, numbers, numbers))),
    st.builds(
        Blobs,
        tuples_of(
            st.builds(
                BlobPart,
                hashes,
                numbers,
                st.integers(0, NUMBER_MAX // CHUNK_BYTES),
                st.binary(max_size=99),
            )
        ),
    ),
    st.builds(BlobsMissing, tuples_of(hashes)),
    st.builds(Goodbye, texts),
    st.builds(Sent, numbers),
    st.builds(Acquaintances, tuples_of(st.builds(Whereabouts, keys, tuples_of(names)))),
)

BROKEN: list[tuple[AnyMessage, str]] = [
    (msgspec.structs.replace(HELLO, workspace=WorkspaceId(b"x")), "workspace has length 1"),
    (msgspec.structs.replace(HELLO, node=NodeId(KEY + b"x")), "node has length 33"),
    (msgspec.structs.replace(HELLO, name="n" * 256), "name has length 256"),
    (msgspec.structs.replace(HELLO, addresses=("a",) * 65), "addresses has length 65"),
    (msgspec.structs.replace(HELLO, addresses=("a" * 256,)), r"addresses\[\] has length 256"),
    (msgspec.structs.replace(HELLO, roster_digest=bytes(65)), "roster_digest has length 65"),
    (msgspec.structs.replace(HELLO, clock_ms=2**60), "clock_ms has value"),
    (msgspec.structs.replace(HELLO, capabilities=("",)), r"capabilities\[\] has length 0"),
    (
        msgspec.structs.replace(
            HELLO, certificate=msgspec.structs.replace(CERTIFICATE, signature=b"")
        ),
        r"certificate\[0\].signature has length 0",
    ),
    (RosterExchange((b"x",) * (RECORDS_MAX + 1)), "records has length 4097"),
    (Acquaintances((Whereabouts(NodeId(KEY), ("",)),)), r"addresses\[\] has length 0"),
    (Acquaintances((Whereabouts(NodeId(b"x"), ()),)), "node has length 1"),
    (RosterExchange((b"",)), r"records\[\] has length 0"),
    (RosterExchange((bytes(65 * 1024),)), "records"),
    (Certificates((msgspec.structs.replace(CERTIFICATE, node=NodeId(b"")),)), "node has length 0"),
    (Ping(-1, 0), "nonce has value -1"),
    (Ping(0, 2**53), "sent_ms has value"),
    (Ping(0, 0, float("nan")), "load is nan"),
    (Pong(0, -(2**53)), "sent_ms has value"),
    (Reconcile(-1), "session has value -1"),
    (Reconcile(1, (RangeSummary(b"", bytes(17), 0, PRINT),)), r"summaries\[0\].high"),
    (Reconcile(1, (RangeSummary(b"", b"", -1, PRINT),)), r"summaries\[0\].count"),
    (Reconcile(1, (RangeSummary(b"", b"", 0, b""),)), r"summaries\[0\].fingerprint"),
    (Reconcile(1, asked=(RangeItems(b"", b"", ((FileId(b"x"), PRINT),)),)), r"asked\[0\].items"),
    (Reconcile(1, (RangeSummary(b"b", b"a", 0, PRINT),)), "ends before it begins"),
    (Reconcile(1, (RangeSummary(b"", b"", 0, PRINT),) * 2), "without overlapping"),
    (Reconcile(1, asked=(RangeItems(b"a", b"c", ()), RangeItems(b"b", b"", ()))), "overlapping"),
    (
        Reconcile(1, answered=(RangeItems(b"", b"", ((FILE, PRINT),) * 70_000),) * 2),
        "total length 140000",
    ),
    (Vectors(((FileId(b""), ()),), is_request=True), r"vectors\[\]\[0\] has length 0"),
    (Vectors(((FILE, ((SessionId(b""), 1),)),), is_request=True), "has length 0"),
    (Vectors(((FILE, ((SessionId(KEY), -1),)),), is_request=True), "has value -1"),
    (Vectors(((FILE, ((SessionId(KEY), 1),) * (ITEMS_MAX + 1)),), is_request=True), "total"),
    (Entries((msgspec.structs.replace(SLICE, indexes=(0,)),)), "indexes has 1 items"),
    (Entries((msgspec.structs.replace(SLICE, indexes=(2, 0)),)), "indexes"),
    (Entries((msgspec.structs.replace(SLICE, indexes=(1, 1)),)), "indexes must ascend"),
    (Entries((msgspec.structs.replace(SLICE, indexes=(0, 4)),)), "indexes has value 4"),
    (Entries((msgspec.structs.replace(SLICE, proofs=((HASH,),)),)), "proofs has 1 items"),
    (Entries((msgspec.structs.replace(SLICE, proofs=((), (b"x",))),)), r"proofs\[\]\[\]"),
    (Entries((msgspec.structs.replace(SLICE, proofs=((), (HASH,) * 9)),)), r"proofs\[\] has"),
    (Entries((msgspec.structs.replace(SLICE, entries=(b"", b"b")),)), r"entries\[\] has length 0"),
    (
        Entries(
            (msgspec.structs.replace(SLICE, header=msgspec.structs.replace(HEADER, count=257)),)
        ),
        r"slices\[0\].header\[0\].count has value 257",
    ),
    (Entries((SLICE,) * 2049), "total length 4098"),
    (Stored(((FILE, Fingerprint(b"x")),)), r"heads\[\]\[1\] has length 1"),
    (Stored(((FILE, PRINT),) * (ITEMS_MAX + 1)), "heads has length 131073"),
    (BlobRequest(((HASH, -1, 0),)), r"blobs\[\]\[1\] has value -1"),
    (BlobRequest(((HASH, 1, -2),)), r"blobs\[\]\[2\] has value -2"),
    (BlobRequest(((BlobHash(b""), 1, 0),)), r"blobs\[\]\[0\] has length 0"),
    (Blobs((BlobPart(HASH, 1, 0, bytes(CHUNK_BYTES + 1)),)), r"parts\[0\].content"),
    (Blobs((BlobPart(HASH, -1, 0, b""),)), r"parts\[0\].size"),
    (Blobs((BlobPart(BlobHash(b""), 1, 0, b""),)), r"parts\[0\].blob"),
    (Blobs((BlobPart(HASH, 1, 0, bytes(CHUNK_BYTES)),) * 8), "frame has length"),
    (BlobsMissing((BlobHash(bytes(31)),)), r"blobs\[\] has length 31"),
    (Goodbye("r" * 1025), "reason has length 1025"),
    (Sent(-1), "requests has value -1"),
]


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
