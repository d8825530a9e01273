"""Snapshots that are kept: their records, and the contents that they pin.

Order of a creation (``api.snapshots`` does it): hold the contents, archive them all, make the
record durable, and only then say so. A record therefore never names what is not archived.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.documents.manifest import Manifest, SnapshotId, decode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind

SNAPSHOTS_MAX: Final = 1000
"""Snapshots kept on one node: a list of them fits a screen or a script."""

_FACTS: Final = b"snapshot:"
"""Keys of facts among the records of kind ``NODE``, followed by the id."""

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


_encoder = msgspec.msgpack.Encoder()
_facts = msgspec.msgpack.Decoder(SnapshotFacts)


def snapshot_records(facts: SnapshotFacts, encoded: bytes) -> tuple[PutRecord, PutRecord]:
    """Return the writes that keep a snapshot: its manifest by its hash, and its facts.

    They go into one commit, after everything that the manifest names is archived.
    """
    manifest = PutRecord(RecordKind.SNAPSHOT, facts.id, encoded)
    return manifest, facts_record(facts)


def facts_record(facts: SnapshotFacts) -> PutRecord:
    """Return the write that keeps a snapshot's facts: a list need not read manifests."""
    return PutRecord(RecordKind.NODE, _FACTS + facts.id, _encoder.encode(facts))


def dropped_records(snapshot: SnapshotId) -> tuple[PutRecord, PutRecord]:
    """Return the writes, of one commit, that let a snapshot go."""
    manifest = PutRecord(RecordKind.SNAPSHOT, snapshot, None)
    return manifest, PutRecord(RecordKind.NODE, _FACTS + snapshot, None)


def kept_facts(
    node_records: Iterable[tuple[bytes, bytes]],
) -> dict[SnapshotId, SnapshotFacts | None]:
    """Return what is kept, by the records of kind ``NODE``; ``None``: the facts are damaged."""
    found: dict[SnapshotId, SnapshotFacts | None] = {}
    for key, value in node_records:
        if not key.startswith(_FACTS):
            continue
        snapshot = SnapshotId(key[len(_FACTS) :])
        try:
            facts = _facts.decode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            found[snapshot] = None
        else:
            found[snapshot] = facts if facts.id == snapshot else None
    return found


class Pins:
    """Which contents snapshots name: those may not leave the archive.

    Whoever frees archived contents (``Store.erase_blob`` of a sound blob, any garbage collection)
    asks ``pinned`` first. Cost of an answer: one look-up.

    Invariant: ``_counts[blob]`` is the number of held manifests that name the blob; never zero.
    """

    def __init__(self) -> None:
        self._held: set[SnapshotId] = set()
        self._counts: dict[BlobHash, int] = {}

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Hold what the kept snapshots name.

        Raises:
            BadManifestError: one is damaged, so that nobody knows what it pins: free nothing.

        Cost: decodes every manifest, 10,000 files in about 40 ms.
        """
        for key, value in records:
            if key not in self._held:
                self.hold(decode(value, SnapshotId(key)))

    def pinned(self, blob: BlobHash) -> bool:
        """Return whether a snapshot, kept or being made, names this content."""
        return blob in self._counts

    def holds(self, snapshot: SnapshotId) -> bool:
        """Return whether this state is held."""
        return snapshot in self._held

    def hold(self, manifest: Manifest) -> None:
        """Pin what a manifest names, from before its contents are archived. Idempotent."""
        if manifest.id in self._held:
            return
        self._held.add(manifest.id)
        for blob in manifest.blobs():
            self._counts[blob] = self._counts.get(blob, 0) + 1

    def release(self, manifest: Manifest) -> None:
        """Let go: the snapshot was dropped, or could not be kept. Idempotent."""
        if manifest.id not in self._held:
            return
        self._held.remove(manifest.id)
        for blob in manifest.blobs():
            count = self._counts[blob] - 1
            if count:
                self._counts[blob] = count
            else:
                del self._counts[blob]
