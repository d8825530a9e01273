"""One store a state directory: a lock file that the kernel lets go of when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

from aiplatform.mesh_ide.storage.errors import StateInUseError
from aiplatform.mesh_ide.storage.sqlite.failures import storage_failure

if TYPE_CHECKING:
    from pathlib import Path

_LOCK_NAME: Final = "lock"
_PID_BYTES_MAX: Final = 20


class DirectoryLock:
    """Holds a directory for one store, from creation to ``release``.

    ``flock`` and not a pid file: a pid file outlives its process, and its number is given to
    another (flock(2)). The pid inside is only for the message.

    Raises:
        StateInUseError: somebody else holds it; says which process.
        StorageReadOnlyError: the lock file cannot be written.
    """

    def __init__(self, directory: Path) -> None:
        """Create the directory if need be and take the lock without waiting."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._descriptor = os.open(
                directory / _LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
            )
        except OSError as error:
            raise storage_failure(directory, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = self._holder()
            os.close(self._descriptor)
            if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
                raise storage_failure(directory, error) from error
            message = (
                f"The state in {directory} is in use by {holder}. "
                "Stop it first (`mesh down`), or choose another directory."
            )
            raise StateInUseError(message) from error
        # On a full disk the number cannot be written; the lock holds all the same.
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        self._is_held = True

    def release(self) -> None:
        """Let go of the directory; idempotent."""
        if self._is_held:
            self._is_held = False
            os.close(self._descriptor)

    def _holder(self) -> str:
        written = os.pread(self._descriptor, _PID_BYTES_MAX, 0)
        return f"process {int(written)}" if written.isdigit() else "another process"
