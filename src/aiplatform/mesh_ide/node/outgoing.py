"""Long answers, produced piece by piece so that the link's backpressure paces the reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from msgspec import msgpack

from aiplatform.mesh_ide.model.entries import BatchSlice, FileVector, SessionCertificate
from aiplatform.mesh_ide.model.ids import BlobHash, FileId, SessionId
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobPart,
    BlobRequest,
    Blobs,
    BlobsMissing,
    Certificates,
    Entries,
    Sent,
)
from aiplatform.mesh_ide.ports.errors import (
    BlobMissingError,
    CorruptContentError,
    CorruptRecordError,
)
from aiplatform.mesh_ide.ports.filetree import Contents
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES, RecordKind, Store

SLICES_BYTES_MAX: Final = 1024 * 1024
ENTRIES_PER_MESSAGE_MAX: Final = 1024
BLOBS_BYTES_MAX: Final = CHUNK_BYTES
PARTS_PER_MESSAGE_MAX: Final = 1024
"""Bytes alone do not bound a message: contents may be empty, and a peer may ask for thousands."""

_certificate = msgpack.Decoder(SessionCertificate)


Report = Callable[[CorruptRecordError], None]


def _sound_slices(
    store: Store, wanted: Sequence[tuple[FileId, FileVector]], report: Report
) -> Iterator[BatchSlice]:
    """Yield the slices; where an entry rotted, of every file what comes before it.

    What was sent before the damage showed is sent again: the receiver passes over it.
    """
    try:
        yield from store.slices(wanted)
    except CorruptRecordError as error:
        report(error)
    else:
        return
    for one in wanted:
        try:
            yield from store.slices([one])
        except CorruptRecordError as error:
            report(error)


def entry_messages(
    store: Store,
    wanted: Sequence[tuple[FileId, FileVector]],
    report: Report = lambda _: None,
) -> Iterator[AnyMessage]:
    """Yield everything these files have beyond the vectors, certificates first, then ``Sent``.

    ``report`` is told of stored entries that rotted.
    """
    told: set[SessionId] = set()
    slices: list[BatchSlice] = []
    size = count = 0
    for piece in _sound_slices(store, wanted, report):
        session = piece.header.session
        if session not in told:
            told.add(session)
            record = store.record(RecordKind.CERTIFICATE, session)
            if record is not None:
                yield Certificates((_certificate.decode(record),))
        slices.append(piece)
        size += sum(map(len, piece.entries))
        count += len(piece.entries)
        if size >= SLICES_BYTES_MAX or count >= ENTRIES_PER_MESSAGE_MAX:
            yield Entries(tuple(slices))
            slices, size, count = [], 0, 0
    if slices:
        yield Entries(tuple(slices))
    yield Sent(1)


def blob_messages(
    contents: Contents, request: BlobRequest, path_of: Callable[[BlobHash], str | None]
) -> Iterator[AnyMessage]:
    """Yield the chunks of the asked blobs, small ones together, then what is missing."""
    parts: list[BlobPart] = []
    missing: list[BlobHash] = []
    size = 0
    for blob, total, first in request.blobs:
        for part in _parts(contents, blob, total, first, path_of(blob), missing):
            parts.append(part)
            size += len(part.content)
            if size >= BLOBS_BYTES_MAX or len(parts) >= PARTS_PER_MESSAGE_MAX:
                yield Blobs(tuple(parts))
                parts, size = [], 0
    if parts:
        yield Blobs(tuple(parts))
    if missing:
        yield BlobsMissing(tuple(missing))


def _parts(  # noqa: PLR0913 - one blob's facts
    contents: Contents,
    blob: BlobHash,
    size: int,
    first: int,
    path: str | None,
    missing: list[BlobHash],
) -> Iterator[BlobPart]:
    """Yield one blob's chunks; what turns out corrupt on the way is reported missing."""
    try:
        chunks = contents.chunks(blob, path)
        if chunks is None:
            missing.append(blob)
            return
        is_empty = True
        for index, chunk in enumerate(chunks):
            is_empty = False
            if index >= first:
                yield BlobPart(blob, size, index, chunk)
        if is_empty:
            yield BlobPart(blob, size, 0, b"")
    except (BlobMissingError, CorruptContentError, CorruptRecordError):
        missing.append(blob)
