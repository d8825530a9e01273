"""Keeping a long-lived process small: glibc's allocator likes to hold on to what was freed."""

from __future__ import annotations

import ctypes
import sys
from typing import Final

_M_ARENA_MAX: Final = -8
"""``mallopt`` parameter (malloc.h). Each thread otherwise gets an arena of its own, and a first
synchronisation leaves 60 MB of holes in them (measured: 158 against 95 MB resident)."""

_ARENAS: Final = 2


def _libc() -> ctypes.CDLL | None:
    return ctypes.CDLL(None) if sys.platform == "linux" else None


def limit_arenas() -> None:
    """Have all threads share two arenas; call before they start. Elsewhere: nothing."""
    libc = _libc()
    if libc is not None and hasattr(libc, "mallopt"):
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return freed pages to the system; takes a few milliseconds. Elsewhere: nothing."""
    libc = _libc()
    if libc is not None and hasattr(libc, "malloc_trim"):
        libc.malloc_trim(0)
