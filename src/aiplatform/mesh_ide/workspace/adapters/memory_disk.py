"""A disk in memory: what other programs do to a folder, and the faults of a disk.

Deterministic: inodes and times come from one counter. The object is the disk: it outlives the
``MemoryFileTree`` of a node that crashed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from enum import Enum
from typing import Final

from blake3 import blake3
from msgspec import Struct
from msgspec.structs import replace

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.filetree import FileStat
from aiplatform.mesh_ide.workspace.adapters.opened import (
    CONTENT_BYTES_MAX,
    Content,
    Entry,
    Kind,
    NotThereError,
    UnreadableError,
    is_text,
)
from aiplatform.mesh_ide.workspace.adapters.paths import split_path
from aiplatform.mesh_ide.workspace.adapters.temporary import RESCUED_MAX

_TICK_NS: Final = 1_000_000
"""Every change is a millisecond after the last one: no two have one timestamp."""


class DiskFault(Enum):
    """What is wrong with the disk."""

    FULL = "the disk is full: make room, it is tried again"
    READ_ONLY = "the disk is read-only: mount it for writing, it is tried again"
    ROOT_MISSING = "the folder is gone"


class MemoryFile(Struct, frozen=True):
    """One file as it stands. A change makes a new one; ``inode`` tells a rename from a copy."""

    content: bytes
    mode: FileMode
    inode: int
    mtime_ns: int
    ctime_ns: int
    is_special: bool = False

    @property
    def blob(self) -> BlobHash:
        """The content's hash."""
        return BlobHash(blake3(self.content).digest())

    @property
    def stat(self) -> FileStat:
        """The stat as a scan sees it."""
        return FileStat(len(self.content), self.mtime_ns, self.inode, self.mode, self.ctime_ns)


class Leftover(Struct, frozen=True):
    """What a crash left in the temporary folder."""

    path: str
    file: MemoryFile
    ours: BlobHash | None
    expected: BlobHash | None


Folder = dict[str, "MemoryFile | Folder"]


class MemoryDisk:
    """A folder's files, changed by ``write``, ``remove``, ``rename`` as other programs would.

    Invariant: every folder but the root has something in it.

    Attributes:
        faults: what is wrong with the disk now.
        denied: paths (files or folders) that nobody may read.
        leftovers: what a crash left in the temporary folder.
        kept: older bytes that lost their path to newer ones (the real tree's ``rescued-`` files).
    """

    def __init__(self) -> None:
        self.faults: set[DiskFault] = set()
        self.denied: set[str] = set()
        self.leftovers: list[Leftover] = []
        self.kept: deque[tuple[str, bytes]] = deque(maxlen=RESCUED_MAX)
        self._root: Folder = {}
        self._counter = 0
        self._changed: dict[str, None] = {}

    # --- other programs ----------------------------------------------------------------------

    def write(self, path: str, content: bytes, mode: FileMode = FileMode.REGULAR) -> FileStat:
        """Save a file as an editor does that writes in place; returns its stat."""
        old = self.find(path)
        inode = old.inode if isinstance(old, MemoryFile) else None
        file = self.make(content, mode, inode)
        self.put(path, file)
        return file.stat

    def write_by_rename(self, path: str, content: bytes) -> FileStat:
        """Save a file as an editor does that writes beside and renames over."""
        file = self.make(content, FileMode.REGULAR)
        self.put(path, file)
        return file.stat

    def write_special(self, path: str) -> None:
        """Make something that is no file (a FIFO)."""
        now_ns = self._tick()
        self.put(path, MemoryFile(b"", FileMode.REGULAR, now_ns, now_ns, now_ns, is_special=True))

    def remove(self, path: str) -> None:
        """Remove a file, or a folder with all in it."""
        if self.take(path) is None:
            raise FileNotFoundError(path)

    def rename(self, old: str, new: str) -> MemoryFile | Folder:
        """Rename a file or a folder, over an existing file too; returns what stands there now."""
        taken = self.take(old)
        if taken is None:
            raise FileNotFoundError(old)
        moved = self.touched(taken) if isinstance(taken, MemoryFile) else taken
        self.put(new, moved)
        return moved

    def files(self) -> dict[str, bytes]:
        """Return all contents by path."""
        return {path: file.content for path, file in self._walk("", self._root)}

    def read(self, path: str) -> bytes | None:
        """Return the content at a path."""
        found = self.find(path)
        return found.content if isinstance(found, MemoryFile) else None

    def take_changes(self) -> tuple[str, ...]:
        """Return the paths changed since the last call, as a watcher would tell."""
        changed, self._changed = tuple(self._changed), {}
        return changed

    # --- the file system ---------------------------------------------------------------------

    def make(self, content: bytes, mode: FileMode, inode: int | None = None) -> MemoryFile:
        """Return a file written now."""
        now_ns = self._tick()
        return MemoryFile(content, mode, inode or now_ns, now_ns, now_ns)

    def touched(self, file: MemoryFile) -> MemoryFile:
        """Return the file after a rename: its ctime is now (rename(2) on every common disk)."""
        return replace(file, ctime_ns=self._tick())

    def find(self, path: str) -> MemoryFile | Folder | None:
        """Return what stands at a path."""
        here: MemoryFile | Folder = self._root
        for name in split_path(path):
            if not isinstance(here, dict) or name not in here:
                return None
            here = here[name]
        return here

    def blocker(self, path: str) -> str | None:
        """Return the path above that is a file, where a folder is needed."""
        parts = split_path(path)
        for end in range(1, len(parts)):
            above = "/".join(parts[:end])
            if isinstance(self.find(above), MemoryFile):
                return above
        return None

    def put(self, path: str, what: MemoryFile | Folder) -> None:
        """Place something, with the folders it needs.

        Raises:
            NotADirectoryError: a file stands where a folder is needed.
        """
        *above, name = split_path(path)
        here = self._root
        for part in above:
            inner = here.setdefault(part, {})
            if not isinstance(inner, dict):
                raise NotADirectoryError(path)
            here = inner
        here[name] = what
        self._changed[path] = None

    def take(self, path: str) -> MemoryFile | Folder | None:
        """Take something out, with the folders that it leaves empty."""
        chain: list[tuple[Folder, str]] = []
        here: MemoryFile | Folder = self._root
        for name in split_path(path):
            if not isinstance(here, dict) or name not in here:
                return None
            chain.append((here, name))
            here = here[name]
        for folder, name in reversed(chain):
            if folder[name] is here or not folder[name]:
                del folder[name]
        self._changed[path] = None
        return here

    def _tick(self) -> int:
        self._counter += _TICK_NS
        return self._counter

    def _walk(self, path: str, folder: Folder) -> Iterator[tuple[str, MemoryFile]]:
        for name in sorted(folder):
            inner = folder[name]
            below = f"{path}/{name}" if path else name
            if isinstance(inner, dict):
                yield from self._walk(below, inner)
            else:
                yield below, inner


class MemoryFolder:
    """One folder of a ``MemoryDisk`` (an ``OpenFolder``)."""

    def __init__(self, disk: MemoryDisk, path: str = "") -> None:
        """Open the folder at ``path`` (empty: the root)."""
        self._disk = disk
        self._path = path

    def _find(self, name: str) -> MemoryFile | Folder | None:
        return self._disk.find(self._below(name))

    def _below(self, name: str) -> str:
        return f"{self._path}/{name}" if self._path else name

    def entries(self) -> list[Entry]:
        """Return what stands in it, sorted by name."""
        here = self._disk.find(self._path) if self._path else self._disk._root  # noqa: SLF001 - one module
        names = sorted(here) if isinstance(here, dict) else []
        return [entry for name in names if (entry := self.look(name)) is not None]

    def look(self, name: str) -> Entry | None:
        """Return what stands at one name."""
        found = self._find(name)
        if found is None:
            return None
        if isinstance(found, dict):
            return Entry(name, Kind.FOLDER)
        if found.is_special:
            return Entry(name, Kind.SPECIAL)
        is_link = found.mode is FileMode.SYMLINK
        return Entry(name, Kind.LINK if is_link else Kind.FILE, found.stat)

    def read(self, entry: Entry) -> Content:
        """Read and hash a file or a link."""
        found = self._find(entry.name)
        if not isinstance(found, MemoryFile) or found.is_special:
            raise NotThereError(f"{entry.name!r} is not there any more")
        if self._below(entry.name) in self._disk.denied:
            raise UnreadableError("permission denied")
        return content_of(found)

    def head(self, name: str, bytes_max: int) -> bytes:
        """Return the beginning of a plain file, empty if there is none that can be read."""
        found = self._find(name)
        if not isinstance(found, MemoryFile) or found.mode is FileMode.SYMLINK:
            return b""
        return found.content[:bytes_max]

    def enter(self, name: str) -> MemoryFolder:
        """Open a folder in this one."""
        if not isinstance(self._find(name), dict):
            raise NotThereError(f"{name!r} is not there any more")
        if self._below(name) in self._disk.denied:
            raise UnreadableError("permission denied")
        return MemoryFolder(self._disk, self._below(name))

    def close(self) -> None:
        """Do nothing."""


def content_of(file: MemoryFile) -> Content:
    """Return what reading a file gives."""
    is_link = file.mode is FileMode.SYMLINK
    kept = file.content if len(file.content) <= CONTENT_BYTES_MAX else None
    return Content(file.stat, file.blob, not is_link and is_text(file.content), kept)
