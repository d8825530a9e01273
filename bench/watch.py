"""When was it *seen*? One way to find out for every program, ours included.

The destination is looked at every millisecond, as a person's editor or compiler would find it:
no program's own report of being done counts.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

POLL_S: Final = 0.001


class NotSeenError(Exception):
    """The stated time passed before the content stood in the destination."""


def wait_seen(source: Path, destination: Path, paths: Sequence[Path], timeout_s: float) -> float:
    """Wait until all these files stand in the destination with the source's content.

    One file at a time is looked at, so that watching costs the programs under test nothing: a
    look at what is still missing each millisecond, and one more at each file that arrived. Files
    are compared whole afterwards; should one not be right yet (a program that writes in place),
    the waiting goes on and the time with it.

    Returns:
        The moment, on ``time.perf_counter``, at which the last file was seen.

    Raises:
        NotSeenError: not within ``timeout_s``.
    """
    deadline = time.perf_counter() + timeout_s
    sizes = {path: (source / path).stat().st_size for path in paths}
    pending = list(paths)
    while True:
        _wait_sizes(destination, pending, sizes, deadline)
        seen_at = time.perf_counter()
        pending = [path for path in pending if not is_equal(source / path, destination / path)]
        if not pending:
            return seen_at
        if time.perf_counter() > deadline:
            raise NotSeenError(f"{len(pending)} files differ, among them {pending[0]}.")
        time.sleep(POLL_S)


def _wait_sizes(
    destination: Path, paths: Sequence[Path], sizes: dict[Path, int], deadline: float
) -> None:
    waiting = deque(paths)
    while waiting:
        if _size(destination / waiting[0]) == sizes[waiting[0]]:
            waiting.popleft()
        elif time.perf_counter() > deadline:
            raise NotSeenError(f"{len(waiting)} files are missing, among them {waiting[0]}.")
        else:
            time.sleep(POLL_S)


def wait_content(path: Path, content: bytes, timeout_s: float) -> float:
    """Wait until the file has exactly this content; return the moment it was seen.

    Raises:
        NotSeenError: not within ``timeout_s``.
    """
    deadline = time.perf_counter() + timeout_s
    while True:
        if _size(path) == len(content) and _read(path) == content:
            return time.perf_counter()
        if time.perf_counter() > deadline:
            raise NotSeenError(f"{path} does not have the new content.")
        time.sleep(POLL_S)


def is_equal(one: Path, other: Path) -> bool:
    """Return whether both files exist with equal content."""
    first, second = _digest(one), _digest(other)
    return first is not None and first == second


def _digest(path: Path) -> bytes | None:
    content = _read(path)
    return None if content is None else blake2b(content, digest_size=16).digest()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None
