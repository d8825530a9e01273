"""Closed sets of words. The values stand in records on disk and on the wire: never renumber."""

from __future__ import annotations

from enum import Enum, IntEnum


class NodeType(Enum):
    """What kind of machine a node is, as its owner declared it."""

    LOCAL = "LOCAL"
    EDGE = "EDGE"
    CLOUD = "CLOUD"
    QUANTUM = "QUANTUM"
    MODEL = "MODEL"


class Role(IntEnum):
    """What a member may do; each role includes the ones below it."""

    RELAY = 1
    """Keep and pass on what it cannot read."""
    READ = 2
    EDIT = 3
    RUN = 4
    ADMIN = 5


class EntryKind(IntEnum):
    """What an entry does to its file."""

    GENESIS = 1
    """Creates the file with the content named by ``result``."""
    UPDATE = 2
    """Changes a text (or only its mode) by the CRDT operations in ``payload``."""
    REPLACE = 3
    """A new genesis: a rewrite, a binary version, a text over the size bound."""
    DELETE = 4
    """The file is no more; a concurrent edit keeps it alive."""


class FileMode(IntEnum):
    """What the file is on a disk."""

    REGULAR = 1
    EXECUTABLE = 2
    SYMLINK = 3
    """The content is the link's target, UTF-8."""


class SyncState(Enum):
    """How far a file is, seen from one node."""

    SYNCED = "SYNCED"
    """Every placed replica has persisted this head."""
    PENDING = "PENDING"
    """At least one replica has not confirmed this head yet."""
    CONFLICT = "CONFLICT"
    """A decision is needed: two versions that no merge can join."""
    DIVERGED = "DIVERGED"
    """The same head with different bytes: a fault, quarantined."""


class PrincipalKind(IntEnum):
    """Who or what an entry was written for."""

    PERSON = 1
    AGENT = 2
    GUARDIAN = 3
    RUN = 4


class BaseInference(IntEnum):
    """How the base of a write by an unknown program was inferred (recorded with the entry)."""

    KNOWN = 0
    """Not inferred: the writer told us (an API edit, a restore, a creation)."""
    ON_DISK = 1
    """The writer read what stood on the disk."""
    BEFORE_OUR_WRITE = 2
    """Our own write was younger than the bound: the writer had read what stood before it."""
    CURRENT_BY_GIT = 3
    """Git wrote it (HEAD or index moved): it means the current state."""


class Channel(IntEnum):
    """The ordered streams of one link. A full one never delays another."""

    CONTROL = 1
    """Hello, heartbeats, roster, reconciliation."""
    DOCUMENTS = 2
    """Entries: what people wait for."""
    BULK = 3
    """Blobs."""


class HoldReason(Enum):
    """Why a local change waits for a person before it leaves this node."""

    MASS_DELETION = "mass-deletion"
    ROOT_MISSING = "root-missing"
