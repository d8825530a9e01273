"""What a node answers: the schema of the control socket and of every ``--json`` output.

Ids are hexadecimal, times milliseconds since the Unix epoch by the clock named, sizes bytes.
Fields are added with a default and never renamed; ``SCHEMA`` grows only when one goes.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from msgspec import Struct

SCHEMA: Final = 1


class Done(Struct, frozen=True):
    """It is done, and what that means."""

    message: str = ""


class Peer(Struct, frozen=True):
    """Another member, seen from this node.

    ``state`` is ``online``, ``connecting`` or ``offline``; ``pending`` how many files it has not
    confirmed, those left out that nobody takes of this node or that this node lacks itself
    (``None``: it is not linked, so nobody knows); ``clock_ms`` how far its clock was ahead of ours
    when it greeted.
    """

    node: str
    label: str
    role: str
    node_type: str
    state: str
    rtt_ms: float | None = None
    address: str = ""
    pending: int | None = None
    is_in_step: bool = False
    sent_bytes: int = 0
    received_bytes: int = 0
    queued_bytes: int = 0
    detail: str = ""
    known_addresses: tuple[str, ...] = ()


class Status(Struct, frozen=True):
    """How a node is.

    Attributes:
        files: living files that stand at their path (of several that claim one, the owner).
        bytes: of them together.
        outstanding: paths where folder and history still differ.
        authoring: changes that are not durable yet.
        unarchived: contents that the folder alone holds.
        conflicts: decisions to be made: as many as `mesh conflicts` lists.
        held: holds that wait for a word.
        problems: what is wrong now, for people.
        staying: files changed here that nobody takes, since this node may not edit.
        is_tree_staying: so it is with names or places that were changed here.
        unwritten: files that this node could not write into its folder.
        lacking: files that are not wholly on this node's disk.
    """

    workspace: str
    workspace_id: str
    node: str
    label: str
    role: str
    node_type: str
    folder: str
    pid: int
    addresses: tuple[str, ...]
    peers: tuple[Peer, ...]
    members: int
    files: int
    bytes: int
    outstanding: int
    authoring: int
    unarchived: int
    conflicts: int
    held: int
    skipped: int
    is_looked_at: bool
    is_synced: bool
    problems: tuple[str, ...] = ()
    uptime_ms: int = 0
    heads: str = ""
    staying: int = 0
    is_tree_staying: bool = False
    unwritten: int = 0
    lacking: int = 0


class Peers(Struct, frozen=True):
    """All other members."""

    peers: tuple[Peer, ...]


class PingRound(Struct, frozen=True):
    """One message and its answer; ``rtt_ms`` is ``None`` if none came."""

    sequence: int
    rtt_ms: float | None


class PingResult(Struct, frozen=True):
    """All rounds together."""

    node: str
    label: str
    address: str
    sent: int
    received: int
    rtt_ms_min: float | None
    rtt_ms_avg: float | None
    rtt_ms_max: float | None


class Replica(Struct, frozen=True):
    """Whether one member has a file's present version."""

    node: str
    label: str
    state: str
    has_it: bool | None


class Why(Struct, frozen=True):
    """What is known of one path.

    ``state`` is ``SYNCED``, ``PENDING``, ``CONFLICT``, ``DIVERGED``, ``DELETED``, ``SKIPPED``,
    ``HELD``, ``LOCAL`` (changed here by a node that may not edit: it stays here), ``FOLDER`` or
    ``UNKNOWN``; ``explanation`` says the same in a sentence.
    """

    path: str
    state: str
    explanation: str
    file: str = ""
    version: int = 0
    size: int = 0
    mode: str = ""
    is_text: bool = False
    heads: tuple[str, ...] = ()
    content: str = ""
    content_is_at: tuple[str, ...] = ()
    replicas: tuple[Replica, ...] = ()


class MemberLack(Struct, frozen=True):
    """A member that does not have everything yet; ``files`` is ``None`` if it is not linked."""

    label: str
    state: str
    files: int | None


class SyncProgress(Struct, frozen=True):
    """How far synchronising is.

    ``staying`` files were changed here by a node that may not edit: nobody else takes them, and
    nobody waits for that; ``is_tree_staying``: so it is with names or places. ``unwritten`` files
    this node could not write, ``lacking_here`` are not wholly on its disk. ``offline`` members are
    left out (``--online``): what they have is not known.
    """

    is_done: bool
    outstanding: int
    authoring: int
    fetching: int
    lacking: tuple[MemberLack, ...]
    message: str
    staying: int = 0
    is_tree_staying: bool = False
    unwritten: int = 0
    lacking_here: int = 0
    offline: tuple[str, ...] = ()


class Version(Struct, frozen=True):
    """One entry of a file's history."""

    id: str
    version: int
    time_ms: int
    who: str
    node: str
    kind: str
    size: int
    mode: str
    is_text: bool
    is_save: bool
    inference: str
    is_head: bool
    reason: str = ""
    principal: str = "person"
    parents: tuple[str, ...] = ()


class History(Struct, frozen=True):
    """A file's entries, the newest first; ``total`` may be more than are listed."""

    path: str
    file: str
    is_deleted: bool
    total: int
    versions: tuple[Version, ...]


class BlameLine(Struct, frozen=True):
    """Who last wrote a line, and when."""

    line: int
    who: str
    node: str
    time_ms: int
    version: int
    id: str
    text: str
    principal: str = "person"


class Blame(Struct, frozen=True):
    """Every line of a text."""

    path: str
    lines: tuple[BlameLine, ...]


class Content(Struct, frozen=True):
    """A version's bytes."""

    path: str
    id: str
    mode: str
    content: bytes


class Changed(Struct, frozen=True):
    """A change is durable here and on its way to the others; ``undo`` says how to take it back."""

    path: str
    message: str
    file: str = ""
    heads: tuple[str, ...] = ()
    undo: str = ""


class DeletedFile(Struct, frozen=True):
    """A deleted file that can be restored; ``is_replaced``: its path is in use again."""

    path: str
    file: str
    time_ms: int
    who: str
    node: str
    version: int
    is_replaced: bool = False


class Deleted(Struct, frozen=True):
    """The recovery bin, the latest first."""

    files: tuple[DeletedFile, ...]


FOLDER_SIDE: Final = "folder"
"""The word for the folder among the sides of a conflict; no file id begins with it."""


class ContestKind(Enum):
    """Why nothing decides by itself."""

    VERSIONS = "versions"
    """Of one file: no merge can join them."""
    FILES = "files"
    """Of one name, with several contents."""
    FOLDER = "folder"
    """Files have the name of a folder, and wait beside it."""


class ConflictSide(Struct, frozen=True):
    """One of the things that no merge can join: a version, a file, or a folder (``folder``)."""

    id: str
    who: str
    node: str
    time_ms: int
    size: int
    is_on_disk: bool
    is_text: bool


class Conflict(Struct, frozen=True):
    """A decision to be made.

    ``kind`` is one of ``ContestKind``.
    """

    path: str
    kind: str
    sides: tuple[ConflictSide, ...]


class Conflicts(Struct, frozen=True):
    """All decisions to be made."""

    conflicts: tuple[Conflict, ...]


class HeldChange(Struct, frozen=True):
    """Local changes that wait for a word."""

    id: int
    reason: str
    since_ms: int
    detail: str
    paths: tuple[str, ...]


class Held(Struct, frozen=True):
    """All holds; ``barrier``: why this node cannot release them (empty: it can)."""

    holds: tuple[HeldChange, ...]
    barrier: str = ""


class Shared(Struct, frozen=True):
    """A ticket: whoever has its text can join once."""

    ticket: str
    role: str
    expires_ms: int
    addresses: tuple[str, ...]
    workspace: str


class Member(Struct, frozen=True):
    """A node that belongs to the workspace."""

    node: str
    label: str
    name: str
    role: str
    node_type: str
    user: str
    is_me: bool
    state: str


class Members(Struct, frozen=True):
    """All members."""

    members: tuple[Member, ...]


class SkippedFile(Struct, frozen=True):
    """Something that does not replicate."""

    path: str
    reason: str
    detail: str


class SkippedFiles(Struct, frozen=True):
    """All that does not replicate (the list is bounded; ``is_complete`` says whether it is all)."""

    files: tuple[SkippedFile, ...]
    is_complete: bool = True


class Check(Struct, frozen=True):
    """One thing that was looked at. ``state`` is ``ok``, ``warning`` or ``problem``."""

    name: str
    state: str
    found: str
    advice: str = ""


class Checks(Struct, frozen=True):
    """Everything that was looked at."""

    checks: tuple[Check, ...]


class Happening(Struct, frozen=True):
    """Something that happened. ``time_ms`` is this node's clock."""

    time_ms: int
    kind: str
    text: str
    peer: str = ""
    paths: tuple[str, ...] = ()
