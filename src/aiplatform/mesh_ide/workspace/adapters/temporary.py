"""The folder in which writes are prepared, and what a crash may leave in it.

``.mesh-tmp`` stands at the root because a rename needs one filesystem. Before a batch touches
anything that stands in the folder, a plan names every temporary file's path: after a crash it
tells our own content from a person's bytes that had just come out of an exchange.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as stat_module
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.workspace.adapters.local_folder import FOLDER_FLAGS
from aiplatform.mesh_ide.workspace.ignore import GITIGNORE, TEMP_FOLDER

PLAN: Final = "plan"
RESCUED: Final = "rescued-"
ASIDE: Final = "-aside"
RESCUED_MAX: Final = 256
"""Each is an older save whose path got a newer one within microseconds; the oldest goes."""

_SHOWN_BYTES_MAX: Final = 200
_PLAN_BYTES_MAX: Final = 16 * 1024 * 1024
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class PlanLine(Struct, frozen=True, array_like=True):
    """One temporary file: for which path, what we put in, what we expect to come out."""

    name: str
    path: str
    ours: BlobHash | None
    expected: BlobHash | None


class TempFolder:
    """``.mesh-tmp``, opened for one call.

    Invariant: a name handed out is free; names are never used twice within a process.
    """

    _counter = 0

    def __init__(self, fd: int) -> None:
        """Take ownership of the descriptor ``fd``."""
        self.fd = fd

    @classmethod
    def open(cls, root_fd: int, *, create: bool) -> TempFolder | None:
        """Open it below the root; ``None`` if it is not there and shall not be made.

        Raises:
            OSError: it cannot be made, or something else stands in its place.
        """
        if create:
            with contextlib.suppress(FileExistsError):
                os.mkdir(TEMP_FOLDER, 0o700, dir_fd=root_fd)
        try:
            fd = os.open(TEMP_FOLDER, FOLDER_FLAGS, dir_fd=root_fd)
        except FileNotFoundError:
            if create:
                raise
            return None
        if create:
            try:
                _hide(fd)
            except OSError:
                os.close(fd)
                raise
        return cls(fd)

    def close(self) -> None:
        """Let go of the descriptor."""
        os.close(self.fd)

    @classmethod
    def remove(cls, root_fd: int) -> None:
        """Remove the folder if nothing of worth is in it."""
        temp = cls.open(root_fd, create=False)
        if temp is None:
            return
        try:
            if set(_names(temp.fd)) <= {GITIGNORE}:
                temp.unlink(GITIGNORE)
        finally:
            temp.close()
        with contextlib.suppress(OSError):
            os.rmdir(TEMP_FOLDER, dir_fd=root_fd)

    def new_name(self) -> str:
        """Return a name that is free."""
        while True:
            TempFolder._counter += 1
            name = f"w{TempFolder._counter}"
            if not self._exists(name):
                return name

    def _exists(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def write(self, name: str, chunks: Iterable[bytes], permissions: int) -> None:
        """Write a new file; nothing stays of it if that fails."""
        write_new(self.fd, name, chunks, permissions)

    def unlink(self, name: str) -> None:
        """Remove a file of ours, if it is there.

        Raises:
            OSError: the disk says no.
        """
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.fd)

    def discard(self, name: str) -> None:
        """Remove a file of ours, if it is there and the disk allows it.

        What stays (the disk became read-only) is in nobody's way: its name is not used again, and
        the next start settles it.
        """
        discard_at(self.fd, name)

    def names(self) -> list[str]:
        """Return what is in it apart from plans and the ignore file."""
        return sorted(n for n in _names(self.fd) if n != GITIGNORE and not n.startswith(PLAN))

    def rescue(self, folder_fd: int, name: str, path: str) -> str:
        """Put a file that has lost its path where ``mesh doctor`` finds it; returns the name."""
        shown = path.replace("%", "%25").replace("/", "%2F").encode()[-_SHOWN_BYTES_MAX:]
        rescued = f"{RESCUED}{self.new_name()}-{shown.decode(errors='ignore')}"
        os.rename(name, rescued, src_dir_fd=folder_fd, dst_dir_fd=self.fd)
        with contextlib.suppress(OSError):  # it is safe by now; too many of them do no harm
            aside = [other for other in self.names() if other.startswith(RESCUED)]
            if len(aside) > RESCUED_MAX:
                self.unlink(min(aside, key=self._changed_ns))
        return rescued

    def _changed_ns(self, name: str) -> int:
        return os.stat(name, dir_fd=self.fd, follow_symlinks=False).st_ctime_ns

    # --- plans -------------------------------------------------------------------------------

    def write_plan(self, lines: list[PlanLine]) -> str:
        """Write down what a batch is about to do and return the plan's name."""
        name = PLAN + self.new_name()
        self.write(name, [msgspec.msgpack.encode(lines)], 0o600)
        return name

    def read_plans(self) -> dict[str, PlanLine]:
        """Return what earlier batches were about to do, by temporary name.

        A torn plan belongs to a batch that had not begun.
        """
        lines: dict[str, PlanLine] = {}
        for content in self._plans():
            with contextlib.suppress(msgspec.MsgspecError):
                for line in msgspec.msgpack.decode(content, type=list[PlanLine]):
                    lines[line.name] = line
        return lines

    def _plans(self) -> Iterator[bytes]:
        for name in _names(self.fd):
            if name.startswith(PLAN):
                fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
                try:
                    yield os.read(fd, _PLAN_BYTES_MAX)
                finally:
                    os.close(fd)

    def discard_plans(self) -> None:
        """Forget the plans: everything they name is settled.

        Raises:
            OSError: the disk says no; a plan that stayed would judge later files by their names.
        """
        for name in _names(self.fd):
            if name.startswith(PLAN):
                self.unlink(name)


def discard_at(folder_fd: int, name: str) -> None:
    """Remove a file of ours from a folder, if it is there and the disk allows it."""
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder_fd)


def _hide(fd: int) -> None:
    """Hide the folder from git, which would offer a temporary file to ``git add -A``."""
    with contextlib.suppress(FileExistsError):
        ignore_fd = os.open(GITIGNORE, _CREATE, 0o600, dir_fd=fd)
        try:
            os.write(ignore_fd, b"*\n")
        finally:
            os.close(ignore_fd)


def _names(fd: int) -> list[str]:
    with os.scandir(fd) as listing:
        return [item.name for item in listing]


def write_new(folder_fd: int, name: str, chunks: Iterable[bytes], permissions: int) -> None:
    """Write a new file in a folder; nothing stays of it if that fails."""
    fd = os.open(name, _CREATE, permissions, dir_fd=folder_fd)
    try:
        for chunk in chunks:
            _write_all(fd, chunk)
    except BaseException:
        os.close(fd)
        discard_at(folder_fd, name)
        raise
    os.close(fd)


def _write_all(fd: int, chunk: bytes) -> None:
    written = os.write(fd, chunk)
    while written < len(chunk):
        count = os.write(fd, memoryview(chunk)[written:])
        if count == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += count


def permissions_like(old: os.stat_result, *, is_executable: bool) -> int:
    """Return an old file's permissions with the executable bits as wanted.

    A file that only its owner can read stays so when its content is replaced.
    """
    permissions = stat_module.S_IMODE(old.st_mode) & 0o777
    if is_executable:
        return permissions | ((permissions & 0o444) >> 2)
    return permissions & ~0o111
