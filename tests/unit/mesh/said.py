"""Messages that can be said, and messages that each break one bound."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from aiplatform.mesh_ide.mesh.bounds import ITEMS_MAX, NUMBER_MAX, RECORDS_MAX
from aiplatform.mesh_ide.mesh.codec import (
    CERTIFICATES_MAX,
    SEALING_BYTES_MAX,
)
from aiplatform.mesh_ide.model.entries import BatchHeader, BatchSlice, SessionCertificate
from aiplatform.mesh_ide.model.enums import NodeType
from aiplatform.mesh_ide.model.ids import (
    BlobHash,
    EntryId,
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
    EquivocationProof,
    Equivocations,
    Goodbye,
    Hello,
    Ping,
    Pong,
    RangeItems,
    RangeSummary,
    Reconcile,
    RosterExchange,
    Sent,
    SignedPlace,
    Stored,
    Vectors,
    Whereabouts,
)
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES

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


offers = st.binary(max_size=SEALING_BYTES_MAX)
signed_places = st.builds(
    SignedPlace,
    st.builds(
        BatchHeader,
        keys,
        st.integers(1, NUMBER_MAX),
        st.integers(1, 256),
        keys,
        st.binary(min_size=64, max_size=64),
    ),
    st.integers(0, 255),
    keys,
    tuples_of(keys),
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
        offers,
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
    st.builds(Acquaintances, tuples_of(st.builds(Whereabouts, keys, tuples_of(names), offers))),
    st.builds(
        Equivocations,
        tuples_of(st.builds(EquivocationProof, certificates, signed_places, signed_places)),
    ),
)

PLACE = SignedPlace(HEADER, 0, EntryId(HASH), (HASH,))
PROOF = EquivocationProof(CERTIFICATE, PLACE, PLACE)


def _accusing(**changes: object) -> Equivocations:
    """Return a proof whose first half was changed."""
    first = msgspec.structs.replace(PLACE, **changes)
    return Equivocations((msgspec.structs.replace(PROOF, first=first),))


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
    (Certificates((CERTIFICATE,) * (CERTIFICATES_MAX + 1)), "certificates has length 65"),
    (
        msgspec.structs.replace(HELLO, sealing=bytes(SEALING_BYTES_MAX + 1)),
        "sealing has length 257",
    ),
    (
        Acquaintances((Whereabouts(NodeId(KEY), (), bytes(SEALING_BYTES_MAX + 1)),)),
        "sealing has length 257",
    ),
    (Equivocations((PROOF,) * 17), "proofs has length 17"),
    (_accusing(index=256), r"first\[0\].index has value 256"),
    (_accusing(id=EntryId(b"")), r"first\[0\].id has length 0"),
    (_accusing(proof=(HASH,) * 9), r"first\[0\].proof has length 9"),
    (_accusing(proof=(b"x",)), r"first\[0\].proof\[\] has length 1"),
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
