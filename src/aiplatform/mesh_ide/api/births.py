"""When a folder was made, as its disk keeps it: what an inode number alone does not prove.

A disk gives the number of a deleted folder to the next one that is made (ext4 does so at once).
The time of birth is kept beside the number, cannot be set by any program, stays through renames
and is not copied: a folder with both is the very same folder. A mark inside of the folder would
prove less (``cp -a`` copies it) and go away more easily (``git clean -fdx``).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

_AT_FDCWD: Final = -100
_STATX_BTIME: Final = 0x800
_MASK_AT: Final = slice(0, 4)
_SECONDS_AT: Final = slice(80, 88)
_NANOSECONDS_AT: Final = slice(88, 92)
_STATX_BYTES: Final = 256
"""``struct statx`` of ``linux/stat.h``; see statx(2)."""


def birth_of(folder: Path) -> int:
    """Return when a folder was made, in ns since 1970; 0 where the disk does not tell.

    Ext4, xfs, btrfs and tmpfs tell on Linux; NFS and most of FUSE do not.
    """
    try:
        known = getattr(folder.stat(), "st_birthtime", None)  # macOS; Python on Linux has none
    except OSError:
        return 0
    return _birth_by_statx(folder) if known is None else int(known * 1_000_000_000)


def _birth_by_statx(folder: Path) -> int:
    import ctypes  # noqa: PLC0415 - `mesh status` must not wait for it

    statx = getattr(ctypes.CDLL(None), "statx", None) if sys.platform == "linux" else None
    if statx is None:
        return 0
    found = ctypes.create_string_buffer(_STATX_BYTES)
    if statx(_AT_FDCWD, os.fsencode(folder), 0, _STATX_BTIME, found) != 0:
        return 0
    mask, seconds, nanoseconds = (
        int.from_bytes(found.raw[part], sys.byteorder)
        for part in (_MASK_AT, _SECONDS_AT, _NANOSECONDS_AT)
    )
    return seconds * 1_000_000_000 + nanoseconds if mask & _STATX_BTIME else 0
