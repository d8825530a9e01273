"""What happens to a node, and what it asks of the world."""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.mesh.outputs import AllowPeers, Dial, Disconnect
from aiplatform.mesh_ide.model.entries import EntryRef, Principal
from aiplatform.mesh_ide.model.enums import Channel, FileMode
from aiplatform.mesh_ide.model.ids import BlobHash, FileId, NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage
from aiplatform.mesh_ide.ports.engine import Splice
from aiplatform.mesh_ide.ports.jobs import Job, JobResult
from aiplatform.mesh_ide.ports.store import PutRecord
from aiplatform.mesh_ide.replication.commands import SendBlobs, SendEntries, SendMessage

# --- events ----------------------------------------------------------------------------------


class Started(Struct, frozen=True):
    """The driver runs; begin."""


class Tick(Struct, frozen=True):
    """Time has passed (the driver ticks every 100 ms)."""


class LinkUp(Struct, frozen=True):
    """A link stands."""

    peer: NodeId
    address: str


class LinkDown(Struct, frozen=True):
    """A link ended, or could not be made."""

    peer: NodeId
    detail: str


class Received(Struct, frozen=True):
    """A peer said this."""

    peer: NodeId
    message: AnyMessage


class GarbageReceived(Struct, frozen=True):
    """A peer sent a frame that is no message."""

    peer: NodeId
    reason: str


class PeerFlooded(Struct, frozen=True):
    """A peer sent more than this node could take in; its link was ended."""

    peer: NodeId


class FolderTouched(Struct, frozen=True):
    """The watcher saw something at these paths."""

    paths: tuple[str, ...]


class FolderUnwatched(Struct, frozen=True):
    """The watcher lost track: everything must be looked at."""


class DamageFound(Struct, frozen=True):
    """A stored record does not match its hash: an entry of ``file``, or ``blob`` (erased now)."""

    text: str
    key: bytes
    file: FileId | None = None
    blob: BlobHash | None = None


class GitMoved(Struct, frozen=True):
    """Git moved HEAD or the index."""


class LinkQueueFull(Struct, frozen=True):
    """A frame could not be queued: the peer is too slow; it must be reconciled again."""

    peer: NodeId


class FetchContents(Struct, frozen=True):
    """Somebody here wants to look at old contents (with their sizes) that peers may have."""

    blobs: tuple[tuple[BlobHash, int], ...]


# --- requests: each is answered by one ``Replied`` with its tag ------------------------------


class EditText(Struct, frozen=True):
    """Splice a text, as an editor's keystrokes do."""

    tag: int
    file: FileId
    splices: tuple[Splice, ...]
    principal: Principal
    base: tuple[EntryRef, ...] = ()


class PutContent(Struct, frozen=True):
    """Give a file another whole content (kept in the archive already); creates it if new.

    ``path`` is needed to create; ``file`` names an existing one. ``is_rewrite`` writes a replace
    although an update could be derived (restores and resolutions, which decide).
    """

    tag: int
    file: FileId | None
    path: str | None
    blob: BlobHash
    size: int
    mode: FileMode
    is_text: bool
    principal: Principal
    is_rewrite: bool = False


class DeleteFile(Struct, frozen=True):
    """Delete a file."""

    tag: int
    file: FileId
    principal: Principal


class MoveFile(Struct, frozen=True):
    """Give a file another path."""

    tag: int
    file: FileId
    path: str
    principal: Principal


class ReleaseHold(Struct, frozen=True):
    """Let a held change through."""

    tag: int
    hold: int


class RejectHold(Struct, frozen=True):
    """Undo a held change."""

    tag: int
    hold: int


class AddRosterRecords(Struct, frozen=True):
    """Take roster records that this node signed itself, with other records that go with them."""

    tag: int
    records: tuple[bytes, ...]
    beside: tuple[PutRecord, ...] = ()


class KeepRecords(Struct, frozen=True):
    """Make small records durable (a ticket that was issued)."""

    tag: int
    records: tuple[PutRecord, ...]


class LookAgain(Struct, frozen=True):
    """Scan the folder and redial everybody (``mesh sync`` says so)."""

    tag: int


class DialAt(Struct, frozen=True):
    """Dial a member at these addresses, which somebody who knows names."""

    tag: int
    peer: NodeId
    addresses: tuple[str, ...]


Request = (
    EditText
    | PutContent
    | DeleteFile
    | MoveFile
    | ReleaseHold
    | RejectHold
    | AddRosterRecords
    | KeepRecords
    | LookAgain
    | DialAt
)


class WentOn(Struct, frozen=True):
    """The turn that ``GoOn`` asked for."""


Event = (
    Started
    | Tick
    | LinkUp
    | LinkDown
    | Received
    | GarbageReceived
    | PeerFlooded
    | FolderTouched
    | FolderUnwatched
    | DamageFound
    | GitMoved
    | LinkQueueFull
    | FetchContents
    | JobResult
    | Request
    | WentOn
)

# --- commands --------------------------------------------------------------------------------


class Replied(Struct, frozen=True):
    """The answer to a request: durable (``problem is None``) or why not.

    ``local`` acknowledgement: the entries are on this node's disk. ``heads`` names the file's
    frontier with them, the base of the caller's next edit.
    """

    tag: int
    problem: str | None = None
    file: FileId | None = None
    heads: tuple[EntryRef, ...] = ()


class Told(Struct, frozen=True):
    """Something happened that people and programs may watch (``mesh events``)."""

    kind: str
    text: str
    peer: NodeId | None = None
    files: tuple[FileId, ...] = ()


class GoOn(Struct, frozen=True):
    """Answer with ``WentOn`` after what waits already: there is more to do than one turn allows."""


Command = (
    Job
    | SendMessage
    | SendEntries
    | SendBlobs
    | Dial
    | AllowPeers
    | Disconnect
    | Replied
    | Told
    | GoOn
)

__all__ = [
    "AddRosterRecords",
    "AllowPeers",
    "Channel",
    "Command",
    "DamageFound",
    "DeleteFile",
    "Dial",
    "DialAt",
    "Disconnect",
    "EditText",
    "Event",
    "FetchContents",
    "FolderTouched",
    "FolderUnwatched",
    "GarbageReceived",
    "GitMoved",
    "GoOn",
    "KeepRecords",
    "LinkDown",
    "LinkQueueFull",
    "LinkUp",
    "LookAgain",
    "MoveFile",
    "PeerFlooded",
    "PutContent",
    "Received",
    "RejectHold",
    "ReleaseHold",
    "Replied",
    "Request",
    "SendBlobs",
    "SendEntries",
    "SendMessage",
    "Started",
    "Tick",
    "Told",
    "WentOn",
]
