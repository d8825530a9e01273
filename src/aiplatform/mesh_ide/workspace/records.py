"""What the workspace part remembers of the folder, and the constants of its judgement."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.enums import FileMode, HoldReason
from aiplatform.mesh_ide.model.ids import NO_ENTRY, BlobHash, EntryId, FileId
from aiplatform.mesh_ide.ports.filetree import FileStat
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind

OWN_WRITE_MS: Final = 2000
"""An editor that does not reload by itself is rarely slower to save than this after our write."""

GIT_ACTIVE_MS: Final = 2000
"""How long after HEAD or the index moved a change in the folder is taken for git's."""

BASE_PATIENCE_MS: Final = 3000
"""How long an edit waits for a peer to send what it builds on, if a program overwrote that here
before it was archived; then it becomes a replace."""

SETTLE_MS: Final = 150
"""How long a vanished path may be half of a rename. Editors' save-by-rename takes under 10 ms;
``watchfiles`` may report the halves of a folder's rename in two batches."""

SETTLE_MAX_MS: Final = 2000
"""Deletions that keep coming are looked at together for at most this long."""

SETTLE_MANY_MAX_MS: Final = 10_000
"""... or this long where they are many: a folder that is emptied slowly must not pass in parts,
each of which is less than half of what is left."""

MASS_DELETION_MIN: Final = 10
"""Below this, losing more than half of the files is an ordinary afternoon."""

WRITES_PER_JOB_MAX: Final = 256

RETRY_WRITE_MS: Final = 5000


class Standing(Struct, frozen=True, array_like=True):
    """A version of a file as it stands, stood or shall stand at a path."""

    file: FileId
    heads: tuple[EntryRef, ...]
    blob: BlobHash
    mode: FileMode
    size: int
    lineage: EntryId = NO_ENTRY
    """Of the heads: what a later edit on them builds on."""


class DiskState(Struct, frozen=True, array_like=True):
    """What we believe of one path of the folder.

    Attributes:
        now: what stands there.
        stat: its stat when we last looked.
        before: what stood there before our own last write (the writer may have read that).
        written_ms: when we wrote it; 0: another program did.
        planned: a write of ours under way, recorded before it begins: after a crash, content
            that equals it is ours and no edit of anybody.
        is_leaving: a removal of ours (or a move away) is under way, recorded likewise: nothing
            at the path is then nobody's deletion.
    """

    now: Standing | None
    stat: FileStat | None
    before: Standing | None = None
    written_ms: int = 0
    planned: Standing | None = None
    is_leaving: bool = False


class Hold(Struct, frozen=True, array_like=True):
    """Local changes that wait for a person: nothing of them left this node."""

    id: int
    reason: HoldReason
    paths: tuple[str, ...]
    since_ms: int
    detail: str


_encoder = msgspec.msgpack.Encoder()
_disk_decoder = msgspec.msgpack.Decoder(DiskState)
_hold_decoder = msgspec.msgpack.Decoder(Hold)


def disk_record(path: str, state: DiskState | None) -> PutRecord:
    """Return the write that keeps (or forgets) a path's state."""
    value = None if state is None else _encoder.encode(state)
    return PutRecord(RecordKind.DISK, path.encode(), value)


def decode_disk(key: bytes, value: bytes) -> tuple[str, DiskState]:
    """Read a record back."""
    return key.decode(), _disk_decoder.decode(value)


def hold_record(hold: Hold, *, is_over: bool = False) -> PutRecord:
    """Return the write that keeps (or ends) a hold."""
    value = None if is_over else _encoder.encode(hold)
    return PutRecord(RecordKind.HOLD, hold.id.to_bytes(8, "big"), value)


def decode_hold(value: bytes) -> Hold:
    """Read a record back."""
    return _hold_decoder.decode(value)
