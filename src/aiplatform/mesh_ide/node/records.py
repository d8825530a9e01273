"""Small facts about a node, as records of its store."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import msgpack

from aiplatform.mesh_ide.documents.state import FileState
from aiplatform.mesh_ide.mesh.outputs import KeepRoster
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, NodeId
from aiplatform.mesh_ide.model.messages import EquivocationProof
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind, Store, Write

_JOINED: Final = b"joined"
_ADDRESSES: Final = b"addresses:"
_PORT: Final = b"port"
_REFUSED: Final = b"refused:"

_encoder = msgpack.Encoder()
_state = msgpack.Decoder(FileState)
_certificate = msgpack.Decoder(SessionCertificate)
_equivocation = msgpack.Decoder(EquivocationProof)
_addresses = msgpack.Decoder(tuple[str, ...])


def joined_record() -> PutRecord:
    """Return the write that says: this node has met its workspace once."""
    return PutRecord(RecordKind.NODE, _JOINED, b"1")


def has_joined(store: Store) -> bool:
    """Return whether this node has met its workspace once."""
    return store.record(RecordKind.NODE, _JOINED) is not None


def certificate_record(certificate: SessionCertificate) -> PutRecord:
    """Return the write that keeps a session's certificate."""
    return PutRecord(RecordKind.CERTIFICATE, certificate.session, _encoder.encode(certificate))


def certificates(store: Store) -> tuple[SessionCertificate, ...]:
    """Return every certificate that is kept."""
    return tuple(_certificate.decode(v) for _, v in store.records(RecordKind.CERTIFICATE))


def equivocation_record(proof: EquivocationProof) -> PutRecord:
    """Return the write that keeps the proof that a member contradicted itself."""
    session = proof.certificate.session
    return PutRecord(RecordKind.EQUIVOCATION, session, _encoder.encode(proof))


def equivocations(store: Store) -> tuple[EquivocationProof, ...]:
    """Return every proof of an equivocation that is kept."""
    return tuple(_equivocation.decode(v) for _, v in store.records(RecordKind.EQUIVOCATION))


def roster_writes(change: KeepRoster) -> tuple[Write, ...]:
    """Return the writes that keep and erase roster records."""
    kept = [PutRecord(RecordKind.ROSTER, known.id, known.encoded) for known in change.keep]
    erased = [PutRecord(RecordKind.ROSTER, record, None) for record in change.erase]
    return (*kept, *erased)


def addresses_record(peer: NodeId, addresses: tuple[str, ...]) -> PutRecord:
    """Return the write that keeps where a member was reached."""
    return PutRecord(RecordKind.NODE, _ADDRESSES + peer, _encoder.encode(addresses))


def addresses(store: Store) -> dict[NodeId, tuple[str, ...]]:
    """Return where members were reached."""
    return {
        NodeId(key[len(_ADDRESSES) :]): _addresses.decode(value)
        for key, value in store.records(RecordKind.NODE)
        if key.startswith(_ADDRESSES)
    }


def named_blobs(files: Iterable[bytes]) -> set[BlobHash]:
    """Return the contents that these file records name: heads, roots and merges."""
    named: set[BlobHash] = set()
    for value in files:
        state = _state.decode(value)
        named.update(head.blob for head in state.heads if head.blob is not None)
        named.update(root.blob for root in state.roots)
        if state.merged is not None:
            named.add(state.merged.blob)
    return named


def refused_record(entry: EntryId) -> PutRecord:
    """Return the write that says: this entry of the tree is stored, and must not be imported."""
    return PutRecord(RecordKind.NODE, _REFUSED + entry, b"1")


def refused_entries(store: Store) -> frozenset[EntryId]:
    """Return the entries of the tree that must not be imported."""
    return frozenset(
        EntryId(key[len(_REFUSED) :])
        for key, _ in store.records(RecordKind.NODE)
        if key.startswith(_REFUSED)
    )


def port_record(port: int) -> PutRecord:
    """Return the write that keeps on which port this node can be reached."""
    return PutRecord(RecordKind.NODE, _PORT, port.to_bytes(2, "big"))


def port(store: Store) -> int:
    """Return on which port this node could be reached last time; 0: not known."""
    return int.from_bytes(store.record(RecordKind.NODE, _PORT) or b"", "big")
