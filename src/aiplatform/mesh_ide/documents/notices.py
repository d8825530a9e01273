"""What the document parts tell the rest of the node: past tense, addressed to nobody."""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.documents.places import PathChange
from aiplatform.mesh_ide.model.entries import BatchSlice, EntryRef
from aiplatform.mesh_ide.model.ids import FileId, NodeId, SessionId


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


class EntriesStored(Struct, frozen=True):
    """These entries are durable: they may be acknowledged, sent and announced."""

    slices: tuple[BatchSlice, ...]
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

    ``proof`` holds, for an equivocation, the two contradicting entries as encoded slices, and
    ``session`` names who signed both; ``peer``, who delivered the second one, may be honest.
    """

    peer: NodeId
    reason: str
    proof: tuple[bytes, ...] = ()
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
    | EntriesStored
    | ParentsMissing
    | PeerMisbehaved
    | TreeFlawed
    | StorageChanged
)
