"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Final

_GIGABYTE: Final = 1_000_000_000


def describe_machine() -> dict[str, str]:
    """Return processor, cores, memory, kernel, distribution, Python and the load at this moment."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _field(Path("/proc/cpuinfo"), "model name", ":") or platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory_bytes / _GIGABYTE:.0f} GB",
        "kernel": f"{platform.system()} {platform.release()}",
        "distribution": _field(Path("/etc/os-release"), "PRETTY_NAME", "=") or "unknown",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load at start": " ".join(f"{load:.1f}" for load in os.getloadavg()),
    }


def describe_filesystem(folder: Path) -> str:
    """Return the type of the file system that ``folder`` is on (ext4, tmpfs, ...)."""
    best, kind = "", "unknown"
    place = os.fspath(folder.absolute())
    for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, mount, this_kind, *_ = line.split(" ")
        is_below = place == mount or place.startswith(mount.rstrip("/") + "/")
        if is_below and len(mount) >= len(best):
            best, kind = mount, this_kind
    return kind


def _field(file: Path, name: str, separator: str) -> str | None:
    if not file.exists():
        return None
    for line in file.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(separator)
        if key.strip() == name:
            return value.strip().strip('"')
    return None
