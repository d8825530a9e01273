"""What the disk and SQLite complain of, in our words."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import apsw

from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.ports.errors import StorageFullError, StorageReadOnlyError
from aiplatform.mesh_ide.storage.errors import CorruptStateError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aiplatform.mesh_ide.model.errors import MeshIDEError

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})

_SHARED_MEMORY_BYTES: Final = 32 * 1024
"""The least that an open database adds: one segment of the log's index
(https://sqlite.org/walformat.html#the_wal_index_file_format)."""

_READ_FAILURES: Final = frozenset({apsw.SQLITE_IOERR_READ, apsw.SQLITE_IOERR_SHORT_READ})


@contextmanager
def translated(directory: Path, connection: apsw.Connection | None = None) -> Iterator[None]:
    """Turn SQLite's errors into ours, naming the directory.

    Raises:
        StorageFullError: no space (or quota) is left.
        StorageReadOnlyError: the disk cannot be written.
        CorruptStateError: the database is damaged.
        UnavailableError: the disk cannot be read, or the database stayed locked.
    """
    try:
        yield
    except apsw.Error as error:
        system_errno = 0 if connection is None else connection.system_errno
        raise _sqlite_failure(directory, error, system_errno) from error


def storage_failure(directory: Path, error: OSError) -> MeshIDEError:
    """Return our error for one of the operating system."""
    if error.errno in _FULL:
        return _full(directory, str(error))
    return _unwritable(directory, str(error))


def _sqlite_failure(directory: Path, error: apsw.Error, system_errno: int) -> MeshIDEError:
    detail = f"{type(error).__name__}: {error}"
    if isinstance(error, apsw.FullError):
        return _full(directory, detail)
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        message = (
            f"The database in {directory} is damaged ({detail}). Move the directory away and "
            "join again: the other members have everything that was replicated."
        )
        return CorruptStateError(message)
    if isinstance(error, apsw.IOError) and getattr(error, "extendedresult", 0) in _READ_FAILURES:
        message = f"The disk that holds {directory} cannot be read ({detail}); check the disk."
        return UnavailableError(message)
    if isinstance(error, apsw.IOError) and (system_errno in _FULL or _has_no_room(directory)):
        return _full(directory, detail)
    if isinstance(
        error, (apsw.IOError, apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError)
    ):
        return _unwritable(directory, detail)
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        message = (
            f"The database in {directory} stayed locked by another program ({detail}); "
            "end that program, then try again."
        )
        return UnavailableError(message)
    raise error


def _has_no_room(directory: Path) -> bool:
    """Ask the disk itself: SQLite keeps no errno when its shared memory finds no room."""
    try:
        room = os.statvfs(directory)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < _SHARED_MEMORY_BYTES


def _full(directory: Path, detail: str) -> StorageFullError:
    return StorageFullError(
        f"The disk that holds {directory} is full ({detail}); nothing of this change was stored. "
        "Free some space, then try again."
    )


def _unwritable(directory: Path, detail: str) -> StorageReadOnlyError:
    return StorageReadOnlyError(
        f"The disk that holds {directory} cannot be written ({detail}); nothing of this change "
        "was stored. Make it writable, then try again."
    )
