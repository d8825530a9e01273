"""What the document parts tell the rest of the node: past tense, addressed to nobody."""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.documents.places import PathChange
from aiplatform.mesh_ide.model.entries import BatchSlice, EntryRef
from aiplatform.mesh_ide.model.ids import FileId, NodeId, SessionId
from aiplatform.mesh_ide.model.messages import SignedPlace


class FilesChanged(Struct, frozen=True):
    """These files have another frontier now (in memory; ``EntriesStored`` follows)."""

    files: tuple[FileId, ...]
    peer: NodeId | None
    """Who brought it; ``None``: this node wrote it, and its claims on the files are released."""

    written: tuple[EntryRef, ...] = ()
    """For this node's own: the new entry of each file, in the order of ``files``."""

    tags: tuple[int, ...] = ()
    """For this node's own: the submissions that these entries came from."""


class PathsChanged(Struct, frozen=True):
    """These files stand elsewhere in the tree now."""

    changes: tuple[PathChange, ...]


class EditsSealed(Struct, frozen=True):
    """These live edits are signed: they may be sent, but not acknowledged or announced yet."""

    slices: tuple[BatchSlice, ...]


class EntriesStored(Struct, frozen=True):
    """These entries are durable: they may be acknowledged, sent and announced."""

    slices: tuple[BatchSlice, ...]
    """Those that were not sent before (``EditsSealed``)."""
    files: tuple[FileId, ...]
    peer: NodeId | None
    tags: tuple[int, ...] = ()
    problem: str | None = None
    """Why the tree did not take what the submissions meant for it."""


class ParentsMissing(Struct, frozen=True):
    """Entries of these files came before what they build on: ask for what lies between."""

    peer: NodeId
    files: tuple[FileId, ...]


class PeerMisbehaved(Struct, frozen=True):
    """A peer sent what no honest node sends.

    ``proof`` holds, for an equivocation, that ``session`` signed both contradicting entries;
    ``peer``, who delivered the second one, may be honest.
    """

    peer: NodeId
    reason: str
    proof: tuple[SignedPlace, SignedPlace] | None = None
    session: SessionId | None = None


class TreeFlawed(Struct, frozen=True):
    """What is wrong with edits of the tree that were taken from others.

    Attributes:
        unusable: names that no disk can have, and why: they stand nowhere.
        problem: why the edits of ``refused`` were left out; ``None`` if none was.
    """

    unusable: tuple[tuple[str, str], ...]
    problem: str | None = None
    refused: tuple[EntryRef, ...] = ()


class StorageChanged(Struct, frozen=True):
    """The store refuses to write (``problem`` says why), or works again (``None``)."""

    problem: str | None


Notice = (
    FilesChanged
    | PathsChanged
    | EditsSealed
    | EntriesStored
    | ParentsMissing
    | PeerMisbehaved
    | TreeFlawed
    | StorageChanged
)
