"""Numbers of things in sentences for people."""

from __future__ import annotations


def counted(count: int, one: str, several: str = "") -> str:
    """Return a number with its noun: ``1 file``, ``0 files``, ``2 held changes``.

    Args:
        count: how many.
        one: the words for one of them.
        several: the words for any other number; without it, ``one`` with an s.
    """
    return f"{count} {one if count == 1 else several or one + 's'}"
