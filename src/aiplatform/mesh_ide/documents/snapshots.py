"""Snapshots that are kept: their records, and the contents that they pin.

Order of a creation (``api.snapshots`` does it): hold the contents, archive them all, make the
record durable, and only then say so. A record therefore never names what is not archived.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.documents.manifest import BadManifestError, Manifest, SnapshotId, decode
from aiplatform.mesh_ide.model.ids import BlobHash, short
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind

SNAPSHOTS_MAX: Final = 1000
"""Snapshots kept on one node; a list of them stays readable and quick."""

NAMES_MAX: Final = 16
NAME_CHARS_MAX: Final = 100


class SnapshotFacts(Struct, frozen=True, array_like=True):
    """What a list of snapshots shows.

    Attributes:
        id: the root hash of its manifest: the name of the state.
        names: what people call it; one state can have several names.
        created_ms: when it was first kept, by this node's clock.
        person: who asked for it.
        files: files that stand in it.
        size: bytes of them together.
        aside: living versions that do not stand (sides of conflicts).
    """

    id: SnapshotId
    names: tuple[str, ...]
    created_ms: int
    person: str
    files: int
    size: int
    aside: int


class KeptSnapshot(Struct, frozen=True, array_like=True):
    """A snapshot's record."""

    facts: SnapshotFacts
    encoded: bytes

    def manifest(self) -> Manifest:
        """Return the manifest.

        Raises:
            BadManifestError: the record is damaged.
        """
        return decode(self.encoded, self.facts.id)


class _FactsAlone(Struct, frozen=True, array_like=True):
    """The beginning of a record: a list need not copy manifests."""

    facts: SnapshotFacts


_Record = TypeVar("_Record", KeptSnapshot, _FactsAlone)

_encoder = msgspec.msgpack.Encoder()
_kept = msgspec.msgpack.Decoder(KeptSnapshot)
_facts = msgspec.msgpack.Decoder(_FactsAlone)


def snapshot_record(kept: KeptSnapshot) -> PutRecord:
    """Return the write that keeps a snapshot. Everything that it names must be archived before."""
    return PutRecord(RecordKind.SNAPSHOT, kept.facts.id, _encoder.encode(kept))


def dropped_record(snapshot: SnapshotId) -> PutRecord:
    """Return the write that lets a snapshot go."""
    return PutRecord(RecordKind.SNAPSHOT, snapshot, None)


def read_facts(key: bytes, value: bytes) -> SnapshotFacts:
    """Return what a list shows of a record; the manifest is not looked at.

    Raises:
        BadManifestError: the record is damaged.
    """
    return _checked(key, value, _facts).facts


def read_snapshot(key: bytes, value: bytes) -> KeptSnapshot:
    """Return a record (its manifest is verified by ``KeptSnapshot.manifest``).

    Raises:
        BadManifestError: the record is damaged.
    """
    return _checked(key, value, _kept)


def _checked(key: bytes, value: bytes, decoder: msgspec.msgpack.Decoder[_Record]) -> _Record:
    try:
        record = decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        message = f"the record of snapshot {short(key)} is damaged ({error}): drop it"
        raise BadManifestError(message) from error
    if record.facts.id != key:
        raise BadManifestError(f"the record of snapshot {short(key)} is another one's: drop it")
    return record


class Pins:
    """Which contents snapshots name: those may not leave the archive.

    Whoever frees archived contents (``Store.erase_blob`` of a sound blob, any garbage collection)
    asks ``pinned`` first, in the same process and between two of its own commits.

    Invariant: ``_counts[blob]`` is the number of held manifests that name the blob; never zero.
    """

    def __init__(self) -> None:
        self._counts: dict[BlobHash, int] = {}

    @classmethod
    def of(cls, records: Iterable[tuple[bytes, bytes]]) -> Pins:
        """Return what the kept snapshots pin.

        Raises:
            BadManifestError: one is damaged, so that nobody knows what it pins: free nothing.

        Cost: decodes every manifest, 10,000 files in about 40 ms.
        """
        pins = cls()
        for key, value in records:
            pins.hold(read_snapshot(key, value).manifest())
        return pins

    def pinned(self, blob: BlobHash) -> bool:
        """Return whether a snapshot, kept or being made, names this content."""
        return blob in self._counts

    def hold(self, manifest: Manifest) -> None:
        """Pin what a manifest names, from before its contents are archived."""
        for blob in manifest.blobs():
            self._counts[blob] = self._counts.get(blob, 0) + 1

    def release(self, manifest: Manifest) -> None:
        """End one ``hold`` of this manifest: it was dropped, or could not be kept."""
        for blob in manifest.blobs():
            count = self._counts[blob] - 1
            if count:
                self._counts[blob] = count
            else:
                del self._counts[blob]

    def __len__(self) -> int:
        """Return how many contents are pinned."""
        return len(self._counts)
