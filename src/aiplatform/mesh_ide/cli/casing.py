"""Whether a disk tells names apart that differ in case alone.

Where it does not (exFAT, NTFS, most of macOS), ``README`` and ``readme`` of another machine cannot
stand side by side, a file that was renamed from one to the other is found under both, and a look
at the folder would take the one for deleted. Nothing of ours is made for that: seen on exFAT, a
rename from another machine took the file away. Such a folder is refused before it is served.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.model.errors import LocalError

_PROBE: Final = ".mesh-case-"


class CaseInsensitiveError(LocalError):
    """A folder lies on a disk that takes two names for one."""

    code = "case-insensitive"


def is_case_sensitive(folder: Path) -> bool:
    """Return whether a folder's disk keeps names apart that differ in case alone.

    Makes an empty folder of a name that nobody has, and takes it away: empty folders never
    replicate, so not even a crash in between leaves a trace elsewhere. Inodes prove nothing: FUSE
    gives each name one of its own. A folder that cannot be written counts as sensitive: what
    hinders that is told elsewhere.
    """
    probe = folder / f"{_PROBE}{secrets.token_hex(8)}"
    try:
        probe.mkdir(mode=0o700)
    except OSError:
        return True
    try:
        return not os.path.lexists(probe.with_name(probe.name.upper()))
    finally:
        with contextlib.suppress(OSError):  # the disk became read-only within microseconds
            probe.rmdir()


def check_case(folder: Path) -> None:
    """Refuse a folder whose disk is not case-sensitive.

    Raises:
        CaseInsensitiveError: it is not.
    """
    if not is_case_sensitive(folder):
        raise CaseInsensitiveError(
            f"{folder} lies on a disk that takes README and readme for one file: files of other "
            "machines could not all stand there. Use a folder on a disk that keeps them apart "
            "(on Linux ext4, xfs, btrfs, tmpfs)"
        )
