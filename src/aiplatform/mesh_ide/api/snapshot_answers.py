"""What a node answers about snapshots; see ``answers`` for the conventions."""

from __future__ import annotations

from msgspec import Struct


class Snapshot(Struct, frozen=True):
    """A kept state of the whole workspace.

    Attributes:
        id: the root hash of its manifest: equal states have equal ids on every node.
        names: what people call it.
        created_ms: when it was first kept.
        person: who asked for it.
        files: files in it.
        size: bytes of them together.
        aside: contents that do not stand in the folder, of living versions (sides of conflicts).
        is_new: this call kept it; otherwise it was kept already.
        problem: why its record cannot be read (it can only be dropped then).
    """

    id: str
    names: tuple[str, ...] = ()
    created_ms: int = 0
    person: str = ""
    files: int = 0
    size: int = 0
    aside: int = 0
    is_new: bool = False
    problem: str = ""


class Snapshots(Struct, frozen=True):
    """All kept snapshots, the latest first."""

    snapshots: tuple[Snapshot, ...]


class SnapshotFile(Struct, frozen=True):
    """A file of a snapshot. ``is_aside``: a living version that does not stand in the folder."""

    path: str
    file: str
    mode: str
    size: int
    content: str
    heads: tuple[str, ...]
    is_aside: bool = False


class SnapshotShown(Struct, frozen=True):
    """A snapshot and its files; ``total`` may be more than are listed."""

    snapshot: Snapshot
    total: int
    files: tuple[SnapshotFile, ...]


class SnapshotDifference(Struct, frozen=True):
    """One path that differs.

    ``kind`` is ``added``, ``removed``, ``moved``, ``changed``, ``mode``, ``history``,
    ``set-aside`` or ``settled``; ``path_before`` is where a moved file stood.
    """

    kind: str
    path: str
    path_before: str = ""
    before: SnapshotFile | None = None
    after: SnapshotFile | None = None


class SnapshotDiff(Struct, frozen=True):
    """What differs between two states (their ids); ``total`` may be more than are listed."""

    before: str
    after: str
    total: int
    differences: tuple[SnapshotDifference, ...]
