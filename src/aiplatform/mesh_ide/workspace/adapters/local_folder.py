"""Folders and files of a real disk, reached by descriptors and never through a link."""

from __future__ import annotations

import errno
import os
import stat as stat_module
import time
from typing import Final

from blake3 import blake3

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.model.names import visible
from aiplatform.mesh_ide.ports.filetree import FileStat
from aiplatform.mesh_ide.workspace.adapters.opened import (
    ALWAYS_LOOK,
    CONTENT_BYTES_MAX,
    Content,
    Entry,
    Kind,
    NotThereError,
    UnreadableError,
    is_text,
)

FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
"""``O_NONBLOCK``: what became a FIFO since it was listed must not stop the node."""

READ_TRIES: Final = 3
STREAM_BYTES: Final = 1024 * 1024
"""Larger files are read through one buffer of this size. Not by ``mmap``: a file that is truncated
under a mapping ends the process with SIGBUS."""

_GONE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EINVAL}
)
"""Nothing there, or something else than was listed (``O_NOFOLLOW`` says ELOOP for a link)."""


class Freshness:
    """Knows when a stat may not show the next change ("racy git").

    Two changes within one tick of the file system's clock have one timestamp. A stat whose ctime
    is that young is marked, so that the file is read again at the next look.

    Attributes:
        tick_ns: how coarse the timestamps are; 0 where every change after a stat has a new one
            (multigrain timestamps, Linux 6.13 on ext4, xfs, btrfs, tmpfs).
    """

    def __init__(self, tick_ns: int) -> None:
        self.tick_ns = tick_ns
        clock = getattr(time, "CLOCK_REALTIME_COARSE", time.CLOCK_REALTIME)
        self._clock = clock  # the very clock that stamps files

    def record(self, stat: os.stat_result, mode: FileMode, size: int | None = None) -> FileStat:
        """Return the stat to remember with content that was read at it."""
        ctime_ns = stat.st_ctime_ns
        if self.tick_ns:
            now_ns = time.clock_gettime_ns(self._clock)
            if abs(now_ns - ctime_ns) <= self.tick_ns:
                ctime_ns = ALWAYS_LOOK
        size = stat.st_size if size is None else size
        return FileStat(size, stat.st_mtime_ns, stat.st_ino, mode, ctime_ns)


def mode_of(stat: os.stat_result) -> FileMode | None:
    """Return what a file is, or ``None`` if it is nothing that travels."""
    if stat_module.S_ISREG(stat.st_mode):
        return FileMode.EXECUTABLE if stat.st_mode & 0o100 else FileMode.REGULAR
    return FileMode.SYMLINK if stat_module.S_ISLNK(stat.st_mode) else None


def open_folder(name: str, above_fd: int) -> int:
    """Open a folder in a folder.

    Raises:
        NotThereError: no folder of this name stands there (a link is none).
        UnreadableError: it cannot be opened.
    """
    try:
        return os.open(name, FOLDER_FLAGS, dir_fd=above_fd)
    except OSError as error:
        raise look_error(error, name) from error


def look_error(error: OSError, name: str) -> NotThereError | UnreadableError:
    """Return what a failed look means: gone, or there and not readable."""
    if error.errno in _GONE:
        return NotThereError(f"{name!r} is not there any more")
    return UnreadableError((error.strerror or "cannot be read").lower())


class LocalFolder:
    """One opened folder of a real disk (an ``OpenFolder``)."""

    __slots__ = ("_fd", "_freshness")

    def __init__(self, fd: int, freshness: Freshness) -> None:
        """Take ownership of the descriptor ``fd``."""
        self._fd = fd
        self._freshness = freshness

    def entries(self) -> list[Entry]:
        """Return what stands in it, sorted by name."""
        found: list[Entry] = []
        try:
            with os.scandir(self._fd) as listing:
                for item in listing:
                    entry = _entry(item)
                    if entry is not None:
                        found.append(entry)
        except OSError as error:
            raise UnreadableError((error.strerror or "cannot be listed").lower()) from error
        found.sort(key=_name)
        return found

    def look(self, name: str) -> Entry | None:
        """Return what stands at one name."""
        try:
            stat = os.stat(name, dir_fd=self._fd, follow_symlinks=False)
        except OSError as error:
            if error.errno in _GONE or error.errno == errno.ENAMETOOLONG:
                return None
            return Entry(name, Kind.FILE)
        if stat_module.S_ISDIR(stat.st_mode):
            return Entry(name, Kind.FOLDER)
        return _file_entry(name, stat)

    def read(self, entry: Entry) -> Content:
        """Read and hash a file or a link."""
        try:
            if entry.kind is Kind.LINK:
                return read_link(self._fd, entry.name, self._freshness)
            fd = os.open(entry.name, FILE_FLAGS, dir_fd=self._fd)
        except OSError as error:
            raise look_error(error, entry.name) from error
        try:
            return read_open(fd, self._freshness)
        except OSError as error:
            raise look_error(error, entry.name) from error
        finally:
            os.close(fd)

    def head(self, name: str, bytes_max: int) -> bytes:
        """Return the beginning of a plain file, empty if there is none that can be read."""
        try:
            fd = os.open(name, FILE_FLAGS, dir_fd=self._fd)
        except OSError:
            return b""
        try:
            is_plain = stat_module.S_ISREG(os.fstat(fd).st_mode)
            return os.read(fd, bytes_max) if is_plain else b""
        except OSError:
            return b""
        finally:
            os.close(fd)

    def enter(self, name: str) -> LocalFolder:
        """Open a folder in this one."""
        return LocalFolder(open_folder(name, self._fd), self._freshness)

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _name(entry: Entry) -> str:
    return entry.name


def _entry(item: os.DirEntry[str]) -> Entry | None:
    name = item.name
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            shown = visible(name)
            return Entry(shown, Kind.UNNAMEABLE)
    try:
        if item.is_dir(follow_symlinks=False):
            return Entry(name, Kind.FOLDER)
        return _file_entry(name, item.stat(follow_symlinks=False))
    except FileNotFoundError:
        return None
    except OSError:
        return Entry(name, Kind.FILE)  # reading it will say what is wrong


def _file_entry(name: str, stat: os.stat_result) -> Entry:
    mode = mode_of(stat)
    if mode is None:
        return Entry(name, Kind.SPECIAL)
    seen = FileStat(stat.st_size, stat.st_mtime_ns, stat.st_ino, mode, stat.st_ctime_ns)
    return Entry(name, Kind.LINK if mode is FileMode.SYMLINK else Kind.FILE, seen)


def read_link(folder_fd: int, name: str, freshness: Freshness) -> Content:
    """Read a link's text.

    Raises:
        OSError: no link of this name stands there (EINVAL: something else does).
    """
    stat = os.stat(name, dir_fd=folder_fd, follow_symlinks=False)
    target = os.fsencode(os.readlink(name, dir_fd=folder_fd))
    seen = freshness.record(stat, FileMode.SYMLINK, len(target))
    return Content(seen, BlobHash(blake3(target).digest()), is_text=False, content=target)


def read_at(folder_fd: int, name: str, freshness: Freshness) -> Content | None:
    """Read what stands at a name: a file or a link; ``None`` for anything else."""
    try:
        fd = os.open(name, FILE_FLAGS, dir_fd=folder_fd)
    except OSError as error:
        if error.errno != errno.ELOOP:
            return None
        try:
            return read_link(folder_fd, name, freshness)
        except OSError:
            return None
    try:
        return read_open(fd, freshness)
    except (NotThereError, OSError):
        return None
    finally:
        os.close(fd)


def read_open(fd: int, freshness: Freshness) -> Content:
    """Read and hash an opened file; a file that changes meanwhile is read again, then left.

    Raises:
        NotThereError: it is no plain file.
        OSError: the disk fails.
    """
    before = os.fstat(fd)
    for _ in range(READ_TRIES):
        mode = mode_of(before)
        if mode is None or mode is FileMode.SYMLINK:
            raise NotThereError("it is not a plain file any more")
        if before.st_size <= STREAM_BYTES:
            content = _read_whole(fd, before.st_size)
            size, digest = len(content), blake3(content).digest()
        else:
            content = b""
            size, digest = _hash_stream(fd, before.st_size)
        after = os.fstat(fd)
        if size == after.st_size and _is_same(before, after):
            stat = freshness.record(after, mode)
            is_whole = size <= STREAM_BYTES
            whole = content if is_whole and size <= CONTENT_BYTES_MAX else None
            return Content(stat, BlobHash(digest), is_whole and is_text(content), whole)
        os.lseek(fd, 0, os.SEEK_SET)
        before = after
    stat = FileStat(
        before.st_size, before.st_mtime_ns, before.st_ino, mode_of(before) or FileMode.REGULAR,
        ALWAYS_LOOK,
    )  # fmt: skip
    return Content(stat, None, problem="still being written")


def _is_same(before: os.stat_result, after: os.stat_result) -> bool:
    return (
        before.st_size == after.st_size
        and before.st_mtime_ns == after.st_mtime_ns
        and before.st_ctime_ns == after.st_ctime_ns
    )


def _read_whole(fd: int, size: int) -> bytes:
    """Read to the end, one byte beyond the expected size: growth shows."""
    content = os.read(fd, size + 1)
    if len(content) == size:
        return content
    parts = [content]
    total = len(content)
    while content and total <= size:
        content = os.read(fd, size + 1 - total)
        parts.append(content)
        total += len(content)
    return b"".join(parts)


def _hash_stream(fd: int, size: int) -> tuple[int, bytes]:
    hasher = blake3()
    buffer = bytearray(STREAM_BYTES)
    view = memoryview(buffer)
    total = 0
    while total <= size:
        count = os.readv(fd, [buffer])
        if count == 0:
            break
        hasher.update(view[:count])
        total += count
    return total, hasher.digest()
