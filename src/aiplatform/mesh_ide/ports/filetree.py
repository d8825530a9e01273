"""The working folder: what stands in it, and how we change it without losing anybody's bytes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash


class FileStat(Struct, frozen=True, array_like=True):
    """What a cheap look at a file tells; equal stats mean "not changed since" (but see ``racy``).

    Attributes:
        size: bytes.
        mtime_ns: modification time.
        inode: tells a rename from a copy.
        mode: regular, executable or symlink.
        ctime_ns: inode change time; catches a restored mtime.
    """

    size: int
    mtime_ns: int
    inode: int
    mode: FileMode
    ctime_ns: int = 0


class Observation(Struct, frozen=True):
    """What was found at a path.

    Attributes:
        path: relative, ``/``-separated, NFC as found (never normalised).
        stat: ``None``: nothing stands there (any more).
        blob: hash of the content read together with ``stat``; ``None`` if gone or unreadable.
        is_text: valid UTF-8 without NUL, within ``TEXT_BYTES_MAX``.
        problem: why it was not read ("permission denied"); the file is left as it was known.
    """

    path: str
    stat: FileStat | None
    blob: BlobHash | None = None
    is_text: bool = False
    problem: str | None = None


class SkipReason(Enum):
    """Why something in the folder does not replicate."""

    IGNORED = "ignored"
    SECRET = "secret"  # noqa: S105 - a reason, not a password
    CONTROL = "control"
    SPECIAL = "special-file"
    OUTSIDE_LINK = "link-leaves-the-root"
    NAME_NOT_UTF8 = "name-is-not-utf8"
    NAME_NOT_PORTABLE = "name-not-portable"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too-large"


class Skipped(Struct, frozen=True):
    """One thing that does not replicate, and why."""

    path: str
    reason: SkipReason
    detail: str = ""


class ScanBatch(Struct, frozen=True):
    """A part of a scan: observations of what is new or changed, and what was skipped.

    ``unchanged`` lists known paths whose stat is as known: they were not read.
    """

    observations: tuple[Observation, ...]
    unchanged: tuple[str, ...]
    skipped: tuple[Skipped, ...]


class FileWrite(Struct, frozen=True):
    """One change we want on the disk.

    Attributes:
        path: where.
        blob: content to place there; ``None`` removes the file.
        mode: what to place.
        expected: hash of what we believe stands there now; ``None`` for nothing.
        expected_mode: its mode, if something stands there.
        moved_from: place the file that stands at this path instead of writing content (a rename
            by a peer); its content is ``blob`` already.
    """

    path: str
    blob: BlobHash | None
    mode: FileMode
    expected: BlobHash | None
    expected_mode: FileMode | None = None
    moved_from: str | None = None


class WriteOutcome(Enum):
    """How a write ended."""

    APPLIED = "applied"
    UNEXPECTED = "unexpected"
    """Something else stood there: nothing of it is lost; ``found`` says what, and it stands
    again (or still) at the path. Look at it as a person's edit."""
    FAILED = "failed"
    """The disk said no (full, read-only, permission); nothing was changed."""


class WriteResult(Struct, frozen=True):
    """What a write did.

    ``stat`` is the stat of what now stands at the path (``None`` for nothing). ``found`` is the
    observation of the unexpected content, with its bytes kept in the content cache.
    """

    path: str
    outcome: WriteOutcome
    stat: FileStat | None = None
    found: Observation | None = None
    problem: str | None = None


class Contents(Protocol):
    """Where bytes of a blob can be had on this node: cache, archive, or a file that holds it."""

    def at_hand(self, blob: BlobHash) -> bytes | None:
        """Return a content that was kept and is not forgotten yet, without touching a disk."""

    def read(self, blob: BlobHash, path: str | None = None) -> bytes | None:
        """Return the verified bytes, or ``None``. ``path`` hints at a file that may hold them.

        For texts and other small content; use ``chunks`` where the size is not bounded.
        """

    def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
        """Return the bytes in pieces of at most 1 MiB, or ``None`` if nobody here has them.

        What is not the blob when it is asked for is not handed out in part either. What becomes
        another while the pieces are taken is found out with the last one: the iterator then raises
        ``CorruptContentError``.
        """

    def keep(self, blob: BlobHash, content: bytes) -> None:
        """Remember content for the steps that follow (bounded; may forget at any time)."""

    def forget(self, blob: BlobHash) -> None:
        """The step that needed a kept content is done; memory can go."""


class FileTree(Protocol):
    """One working folder. All paths are relative and checked; nothing outside is ever touched."""

    def scan(self, known: dict[str, FileStat]) -> Iterator[ScanBatch]:
        """Walk everything, yielding batches of at most 256; unknown or changed files are read.

        Raises:
            RootMissingError: the folder is gone or is not the folder it was.
        """

    def observe(
        self, paths: Sequence[str], known: dict[str, FileStat], *, keeps_new: bool = False
    ) -> ScanBatch:
        """Look at these paths (folders: at all below), reading what changed since ``known``.

        ``keeps_new``: the contents of new files that are named are kept at hand too.
        A known path below an observed folder that is gone is reported as gone.
        """

    def apply(self, writes: Sequence[FileWrite], contents: Contents) -> tuple[WriteResult, ...]:
        """Change the disk, each write atomically, results in order; then make them durable."""

    def is_present(self) -> bool:
        """Return whether the root is there and is the folder that was opened."""
