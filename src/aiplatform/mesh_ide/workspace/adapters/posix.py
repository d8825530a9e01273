"""System calls that Python does not wrap: exchange, rename without replacing, sync, writers.

Each has a way without it for filesystems and systems that lack the call.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import sys
from typing import Final

_RENAME_NOREPLACE: Final = 1
_RENAME_EXCHANGE: Final = 2
"""``linux/fs.h``; see renameat2(2)."""

_UNSUPPORTED: Final = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})

_LIBC: Final = ctypes.CDLL(None, use_errno=True) if sys.platform != "win32" else None


def _function(name: str) -> ctypes._NamedFuncPointer | None:
    function = getattr(_LIBC, name, None)
    if function is not None:
        function.restype = ctypes.c_int
    return function


_RENAMEAT2: Final = _function("renameat2")
_SYNCFS: Final = _function("syncfs")


class UnsupportedError(OSError):
    """The filesystem or the system does not know this operation."""


def rename_new(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Rename, failing if something stands at the target.

    Raises:
        FileExistsError: something stands there; nothing was changed.
    """
    try:
        _renameat2(source_fd, source, target_fd, target, _RENAME_NOREPLACE)
    except UnsupportedError:
        _rename_new_by_link(source_fd, source, target_fd, target)


def exchange(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """Swap two names atomically.

    Raises:
        UnsupportedError: not possible here; nothing was changed.
        FileNotFoundError: one of them does not exist; nothing was changed.
    """
    _renameat2(source_fd, source, target_fd, target, _RENAME_EXCHANGE)


def sync_filesystem(fd: int) -> None:
    """Return when everything written to the filesystem of ``fd`` is on its disk.

    One call for a whole batch: 256 calls of ``fsync`` wait for 256 journal commits.
    """
    if _SYNCFS is None:
        os.sync()
        return
    if _SYNCFS(fd) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def has_writer(fd: int) -> bool:
    """Return whether any process has the file of this read-only descriptor open for writing.

    A read lease is granted only if nobody has (fcntl(2), "Leases"); it is given back at once.
    False where leases do not exist or the file is not ours.
    """
    setlease = getattr(fcntl, "F_SETLEASE", None)
    if setlease is None:
        return False
    try:
        # A lease that is broken in these microseconds would send SIGIO, which ends a process;
        # SIGURG is ignored by default.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, setlease, fcntl.F_RDLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN  # EACCES: another user's file
    with contextlib.suppress(OSError):
        fcntl.fcntl(fd, setlease, fcntl.F_UNLCK)
    return False


def _renameat2(source_fd: int, source: str, target_fd: int, target: str, flags: int) -> None:
    if _RENAMEAT2 is None:
        raise UnsupportedError(errno.ENOSYS, "renameat2 does not exist here")
    result = _RENAMEAT2(source_fd, os.fsencode(source), target_fd, os.fsencode(target), flags)
    if result == 0:
        return
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        raise UnsupportedError(code, os.strerror(code))
    raise OSError(code, os.strerror(code), source, None, target)


def _rename_new_by_link(source_fd: int, source: str, target_fd: int, target: str) -> None:
    """A link fails if the name exists; filesystems without links get a check and a rename."""
    try:
        os.link(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno not in {*_UNSUPPORTED, errno.EPERM, errno.EMLINK}:
            raise
    else:
        os.unlink(source, dir_fd=source_fd)
        return
    try:
        os.stat(target, dir_fd=target_fd, follow_symlinks=False)
    except FileNotFoundError:
        os.rename(source, target, src_dir_fd=source_fd, dst_dir_fd=target_fd)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), target)
