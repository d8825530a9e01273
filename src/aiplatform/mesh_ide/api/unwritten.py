"""What this node could not write into its own folder, in people's words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from aiplatform.mesh_ide.model.counting import counted

REASONS_SHOWN_MAX: Final = 3
"""Reasons that one line has room for; a disk rarely has more than one."""


def said_of(failed: Mapping[str, tuple[int, str]]) -> str:
    """Return how many files this node could not write, and why; empty: none.

    Args:
        failed: by path when and why (``Applier.failed``).
    """
    if not failed:
        return ""
    reasons = Counter(problem for _, problem in failed.values()).most_common()
    shown = [
        reason if len(reasons) == 1 else f"{reason} ({count})"
        for reason, count in reasons[:REASONS_SHOWN_MAX]
    ]
    if len(reasons) > REASONS_SHOWN_MAX:
        shown.append(counted(len(reasons) - REASONS_SHOWN_MAX, "other reason"))
    return f"this node could not write {counted(len(failed), 'file')}: {'; '.join(shown)}"


def said_of_one(problem: str) -> str:
    """Return the same of one file, in sentences."""
    again = "" if "tried again" in problem else " It is tried again by itself."
    return f"This node could not write it: {problem}.{again}"
