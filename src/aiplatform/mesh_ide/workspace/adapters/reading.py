"""Reading a file of the folder as a place where a content may be found. Safe from any thread."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.workspace.adapters.local_folder import FILE_FLAGS, FOLDER_FLAGS
from aiplatform.mesh_ide.workspace.adapters.paths import BadPathError, split_path

PIECE_BYTES: Final = 1024 * 1024


class FolderReader:
    """Opens files below a root, step by step, following no link."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __call__(self, path: str) -> Iterator[bytes] | None:
        """Return a file's bytes (a link's target) in pieces, or ``None`` if there is none.

        The caller checks the hash: the file may be changing while it is read.
        """
        try:
            *above, name = split_path(path)
            folder = os.open(self._root, FOLDER_FLAGS & ~os.O_NOFOLLOW)
        except (BadPathError, OSError):
            return None
        try:
            for part in above:
                inner = os.open(part, FOLDER_FLAGS, dir_fd=folder)
                os.close(folder)
                folder = inner
            return _pieces(folder, name)
        except OSError:
            return None
        finally:
            os.close(folder)


def _pieces(folder: int, name: str) -> Iterator[bytes] | None:
    try:
        fd = os.open(name, FILE_FLAGS, dir_fd=folder)
    except OSError as error:
        if error.errno != errno.ELOOP:
            return None
        return iter((os.fsencode(os.readlink(name, dir_fd=folder)),))
    seen = os.fstat(fd)
    if not stat.S_ISREG(seen.st_mode):
        os.close(fd)
        return None
    return _read(fd, min(seen.st_size + 1, PIECE_BYTES))


def _read(fd: int, wanted: int) -> Iterator[bytes]:
    """Read to the end; a piece shorter than ``wanted`` is the last one.

    A disk that fails on the way ends it early: the hash tells, as with a file that was cut.
    """
    try:
        while piece := os.read(fd, wanted):
            yield piece
            if len(piece) < wanted:
                return
    except OSError:
        return
    finally:
        os.close(fd)
