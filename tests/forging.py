"""What a hostile member says: entries, operations and certificates made by hand."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from blake3 import blake3
from loro import ExportMode, LoroDoc, TreeID
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.engine.operations import TEXT_CONTAINER, TREE_CONTAINER
from aiplatform.mesh_ide.documents.engine.peers import derive_peer
from aiplatform.mesh_ide.identity.batches import decode_entry, encode_entry
from aiplatform.mesh_ide.identity.batches import seal as seal_batch
from aiplatform.mesh_ide.identity.keys import SigningKey, number, statement
from aiplatform.mesh_ide.identity.merkle import leaf_hash, merkle_root
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.model.entries import (
    BatchHeader,
    BatchSlice,
    Entry,
    EntryDraft,
    KnownEntry,
    Principal,
    SessionCertificate,
)
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import (
    NO_ENTRY,
    TREE_FILE,
    BlobHash,
    EntryId,
    FileId,
    NodeId,
    SessionId,
    WorkspaceId,
)

MALLORY: Final = Principal(PrincipalKind.PERSON, "mallory")


def genesis(file: FileId, content: bytes, *, is_text: bool = True) -> EntryDraft:
    """Draft a file's creation."""
    return EntryDraft(
        file=file,
        kind=EntryKind.GENESIS,
        parents=(),
        result=BlobHash(blake3(content).digest()),
        size=len(content),
        mode=FileMode.REGULAR,
        is_text=is_text,
        branch=0,
        is_save=True,
        principal=MALLORY,
        inference=BaseInference.KNOWN,
        payload=b"",
    )


def update(base: KnownEntry, payload: bytes, result: bytes, size: int | None = None) -> EntryDraft:
    """Draft a text's change on top of its genesis."""
    return EntryDraft(
        file=base.entry.file,
        kind=EntryKind.UPDATE,
        parents=(base.ref,),
        result=BlobHash(blake3(result).digest()),
        size=len(result) if size is None else size,
        mode=FileMode.REGULAR,
        is_text=True,
        branch=1,
        is_save=True,
        principal=MALLORY,
        inference=BaseInference.KNOWN,
        payload=payload,
        lineage=base.ref.id,
        depth=2,
        after=0,
    )


def tree_update(payload: bytes) -> EntryDraft:
    """Draft an edit of the tree that builds on nothing."""
    return EntryDraft(
        file=TREE_FILE,
        kind=EntryKind.UPDATE,
        parents=(),
        result=None,
        size=0,
        mode=FileMode.REGULAR,
        is_text=False,
        branch=1,
        is_save=False,
        principal=MALLORY,
        inference=BaseInference.KNOWN,
        payload=payload,
    )


class Mouth:
    """One session of the hostile node: its key, and how far its chain is."""

    def __init__(self, node: SigningKey, workspace: WorkspaceId, seed: bytes | None = None) -> None:
        self.key = SigningKey.from_seed(seed or secrets.token_bytes(32))
        self.workspace = workspace
        self.certificate = certify(
            node=node, session=self.key, workspace=workspace, started_ms=1_700_000_000_000
        )
        self.sequence = 1
        self.previous: EntryId = NO_ENTRY

    @property
    def session(self) -> SessionId:
        """Its id."""
        return SessionId(self.key.public)

    def seal(
        self, drafts: Sequence[EntryDraft], *, advance: bool = True
    ) -> tuple[BatchSlice, tuple[KnownEntry, ...]]:
        """Sign drafts; ``advance=False`` leaves the chain where it was (to sign another)."""
        piece, known = seal_batch(
            drafts,
            key=self.key,
            workspace=self.workspace,
            first_sequence=self.sequence,
            previous=self.previous,
            time_ms=1_700_000_000_000,
        )
        if advance:
            self.sequence += len(known)
            self.previous = known[-1].ref.id
        return piece, known

    def text_operations(self, file: FileId, insert: str, *, peer: int | None = None) -> bytes:
        """Return operations that insert a text at the beginning."""
        doc = LoroDoc()
        doc.peer_id = derive_peer(self.session, file, 1) if peer is None else peer
        doc.get_text(TEXT_CONTAINER).insert(0, insert)
        doc.commit()
        return bytes(doc.export(ExportMode.Updates(LoroDoc().oplog_vv)))

    def tree_operations(self, places: Sequence[tuple[int | None, str, FileId | None]]) -> bytes:
        """Return operations that make nodes; a place names an earlier one as its parent."""
        doc = LoroDoc()
        doc.peer_id = derive_peer(self.session, TREE_FILE, 1)
        tree = doc.get_tree(TREE_CONTAINER)
        tree.disable_fractional_index()
        made: list[TreeID] = []
        for parent, name, file in places:
            node = tree.create(None if parent is None else made[parent])
            values = tree.get_meta(node)
            values.insert("n", name)
            if file is not None:
                values.insert("f", file)
            made.append(node)
        doc.commit()
        return bytes(doc.export(ExportMode.Updates(LoroDoc().oplog_vv)))


def altered(piece: BatchSlice, **changes: object) -> BatchSlice:
    """Return a slice with its first entry changed after it was signed."""
    entry = replace(decode_entry(piece.entries[0]), **changes)
    return replace(piece, entries=(encode_entry(entry), *piece.entries[1:]))


def certificate_for(session: SessionId, node: NodeId) -> SessionCertificate:
    """Return a certificate that nobody signed."""
    return SessionCertificate(session, node, 0, bytes(128))


def resigned(mouth: Mouth, entries: Sequence[Entry]) -> BatchSlice:
    """Return a batch that its session signed although no honest node would have made it."""
    encoded = tuple(map(encode_entry, entries))
    root = merkle_root([leaf_hash(data) for data in encoded])
    parts = (mouth.workspace, mouth.session, number(mouth.sequence), number(len(encoded)), root)
    signature = mouth.key.sign(statement(b"mesh-ide batch 1", *parts))
    header = BatchHeader(mouth.session, mouth.sequence, len(encoded), root, signature)
    return BatchSlice(header, tuple(range(len(encoded))), encoded)


def snapshot_operations(mouth: Mouth, file: FileId, size: int) -> bytes:
    """Return a snapshot that inserts one character so often: Loro compresses those."""
    doc = LoroDoc()
    doc.peer_id = derive_peer(mouth.session, file, 1)
    doc.get_text(TEXT_CONTAINER).insert(0, "a" * size)
    doc.commit()
    return bytes(doc.export(ExportMode.Snapshot()))
