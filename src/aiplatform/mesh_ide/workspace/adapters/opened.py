"""What ``walk`` needs of an opened folder, whichever disk it is on."""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple, Protocol

from aiplatform.mesh_ide.model.entries import TEXT_BYTES_MAX
from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.filetree import FileStat

KEEP_BYTES_MAX: Final = 256 * 1024
"""Changed texts up to here are handed to the content cache: the next step diffs them, and reading
them a second time costs more than the copy."""

CONTENT_BYTES_MAX: Final = 1024 * 1024
"""Files up to here are read whole, and judged by what they hold (``ignore.KEY_FILE_BYTES_MAX`` must
not be above)."""

ALWAYS_LOOK: Final = -1
"""A ``ctime_ns`` that no file has: the stat equals none, so the file is read at the next look."""


class Kind(Enum):
    """What a directory entry is."""

    FILE = 1
    FOLDER = 2
    LINK = 3
    SPECIAL = 4
    """A FIFO, a socket, a device: never opened."""
    UNNAMEABLE = 5
    """Its name is not UTF-8; ``Entry.name`` is a form to show."""


class Entry(NamedTuple):
    """One name in a folder. ``stat`` is there for files and links."""

    name: str
    kind: Kind
    stat: FileStat | None = None


class Content(NamedTuple):
    """What reading a file or a link gave.

    Attributes:
        stat: of the very content that was hashed; marked ``ALWAYS_LOOK`` where a later change
            might not show in it.
        blob: its hash; ``None`` if ``problem``.
        is_text: as in ``Observation``.
        content: the bytes, if at most ``CONTENT_BYTES_MAX``.
        problem: why there is none, although the file is there; worth another look soon.
    """

    stat: FileStat
    blob: BlobHash | None
    is_text: bool = False
    content: bytes | None = None
    problem: str | None = None


class NotThereError(UnavailableError):
    """Nothing of that kind stands there (any more)."""


class UnreadableError(UnavailableError):
    """It stands there and cannot be looked at; what is known of it stays as it was."""


class Keep(Protocol):
    """Where contents are kept that the next step will need (``ports.filetree.Contents``)."""

    def keep(self, blob: BlobHash, content: bytes) -> None:
        """Remember content (bounded; may forget at any time)."""


class OpenFolder(Protocol):
    """A folder that was reached without following a link."""

    def entries(self) -> list[Entry]:
        """Return what stands in it, sorted by name.

        Raises:
            UnreadableError: it cannot be listed.
        """

    def look(self, name: str) -> Entry | None:
        """Return what stands at one name."""

    def read(self, entry: Entry) -> Content:
        """Read and hash a file or a link.

        Raises:
            NotThereError: it is gone or something else by now.
            UnreadableError: permission denied, or the disk fails.
        """

    def head(self, name: str, bytes_max: int) -> bytes:
        """Return the beginning of a plain file, empty if there is none that can be read."""

    def enter(self, name: str) -> OpenFolder:
        """Open a folder in this one.

        Raises:
            NotThereError: no folder of this name stands here.
            UnreadableError: it cannot be opened.
        """

    def close(self) -> None:
        """Let go of it; idempotent."""


def is_text(content: bytes) -> bool:
    """Return whether this is a text document: UTF-8, no NUL, within ``TEXT_BYTES_MAX``."""
    if len(content) > TEXT_BYTES_MAX or b"\0" in content:
        return False
    if content.isascii():
        return True
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True
