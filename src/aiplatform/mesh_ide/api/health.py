"""What is wrong with a set-up, and how to mend it: ``mesh doctor``.

``machine_checks`` needs no node; ``node_checks`` asks a serving one.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.api.answers import Check, Checks
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.model.counting import counted

FREE_BYTES_MIN: Final = 256 * 1024 * 1024
"""Below this the next large file may not fit."""

DESCRIPTORS_MIN: Final = 1024
CLOCK_SKEW_WARNED_MS: Final = 60_000
_INOTIFY: Final = Path("/proc/sys/fs/inotify")


def _ok(name: str, found: str) -> Check:
    return Check(name, "ok", found)


def watches_check(folders: int) -> Check:
    """Compare the folders to watch with the kernel's limit (inotify(7)).

    Args:
        folders: how many folders the workspace has.
    """
    try:
        limit = int((_INOTIFY / "max_user_watches").read_text())
    except (OSError, ValueError):
        return _ok("watches", "this system does not limit them by inotify")
    if folders > limit * 8 // 10:
        return Check(
            "watches",
            "problem",
            f"{counted(folders, 'folder')} to watch, and the limit for all programs together is "
            f"{limit}",
            f"sudo sysctl fs.inotify.max_user_watches={max(524_288, 4 * folders)}",
        )
    return _ok("watches", f"{counted(folders, 'folder')} to watch, the limit is {limit}")


def space_check(name: str, folder: Path) -> Check:
    """Look at the free space where a folder lies."""
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        text = f"{folder} cannot be looked at: {error.strerror}"
        return Check(name, "problem", text, "bring it back, or check its permissions")
    text = f"{free // (1 << 20)} MiB free at {folder}"
    if free < FREE_BYTES_MIN:
        return Check(name, "warning", text, "make room: a full disk stops all acknowledging")
    return _ok(name, text)


def private_check(state: Path) -> Check:
    """Look whether others can read the node's keys and history."""
    try:
        mode = state.stat().st_mode & 0o777
    except OSError as error:
        text = f"{state} cannot be looked at: {error.strerror}"
        return Check("state", "problem", text, "restore it, or join again")
    if mode & 0o077:
        text = f"{state} can be entered by others (mode {mode:o})"
        return Check("state", "problem", text, f"chmod 700 {state}")
    return _ok("state", f"{state} is yours alone")


def machine_checks() -> tuple[Check, ...]:
    """Look at the machine and this program, without a node."""
    version = ".".join(map(str, sys.version_info[:3]))
    git = shutil.which("git")
    systemctl = shutil.which("systemctl")
    descriptors = os.sysconf("SC_OPEN_MAX")
    missing = [
        name
        for name in ("iroh", "loro", "apsw", "cryptography", "blake3", "watchfiles")
        if importlib.util.find_spec(name) is None
    ]
    return (
        _ok("python", version),
        Check("packages", "problem", f"missing: {', '.join(missing)}", "run `make setup` again")
        if missing
        else _ok("packages", "all there"),
        _ok("git", git)
        if git
        else Check("git", "warning", "git is not installed", "only `git` itself will miss it"),
        _ok("service", "systemd is here: `mesh service install` starts a node with your session")
        if systemctl and Path("/run/systemd/system").exists()
        else Check(
            "service",
            "warning",
            "systemd does not run here",
            "start nodes with `mesh up --detach`, for example from your profile",
        ),
        Check(
            "descriptors",
            "warning",
            f"a process may open {descriptors} files",
            "ulimit -n 4096",
        )
        if 0 < descriptors < DESCRIPTORS_MIN
        else _ok("descriptors", f"a process may open {descriptors} files"),
    )


async def node_checks(subjects: Subjects) -> Checks:
    """Look at everything around a serving node."""
    settings = subjects.node.settings
    checks = list(machine_checks())
    if settings.folder:
        folder = Path(settings.folder)
        folders = await asyncio.to_thread(_folders_in, folder)
        checks.append(watches_check(folders))
        checks.append(space_check("folder's disk", folder))
    checks.append(await asyncio.to_thread(_copying_check))
    checks.append(_ports_check(subjects))
    checks.extend(_clock_checks(subjects))
    core = subjects.core
    for name, problem in (("store", core.storage_problem), ("folder", core.folder_problem)):
        if problem:
            checks.append(Check(name, "problem", problem, "see the message"))
        else:
            checks.append(_ok(name, "works"))
    return Checks(tuple(checks))


def _folders_in(root: Path) -> int:
    return 1 + sum(len(folders) for _, folders, _ in os.walk(root))


def _copying_check() -> Check:
    from aiplatform.mesh_ide.mesh.adapters.iroh.binding import mend  # noqa: PLC0415 - loads iroh

    if mend():
        return _ok("links", "iroh copies bytes fast")
    text = "iroh's binding copies one byte at a time: links reach about 3 MB/s"
    return Check("links", "warning", text, "install the iroh version named in pyproject.toml")


def _ports_check(subjects: Subjects) -> Check:
    addresses = subjects.driver.addresses
    beyond = [a for a in addresses if not a.startswith(("127.", "[::1]"))]
    if not beyond:
        text = f"reachable from this machine alone ({', '.join(addresses) or 'no address'})"
        return Check("addresses", "warning", text, "serve without --listen loopback")
    return _ok("addresses", ", ".join(beyond))


def _clock_checks(subjects: Subjects) -> list[Check]:
    found: list[Check] = []
    for member in subjects.others():
        ahead_ms = subjects.core.membership.clock_ahead_ms(member.node)
        if ahead_ms is not None and abs(ahead_ms) > CLOCK_SKEW_WARNED_MS:
            word = "ahead of" if ahead_ms > 0 else "behind"
            text = f"the clock of {member.label} is {abs(ahead_ms) // 1000} s {word} this one's"
            advice = "set the wrong one (`timedatectl set-ntp true`); only shown times suffer"
            found.append(Check("clock", "warning", text, advice))
    return found or [_ok("clock", "agrees with every linked member's")]
