"""How a write can go otherwise than planned: the steps of a change, and what a refusal says."""

from __future__ import annotations

from enum import Enum

from aiplatform.mesh_ide.ports.filetree import (
    FileWrite,
    Observation,
    ScanBatch,
    WriteOutcome,
    WriteResult,
)


class Step(Enum):
    """Where tests put a concurrent program: between two system calls of a change."""

    PREPARED = "prepared"
    """Ours is ready; nothing at the path was touched."""
    TAKEN_OUT = "taken-out"
    """What stood there is out and not yet looked at."""
    REFUSED = "refused"
    """It was not what was expected; it is about to go back."""


def failed(write: FileWrite, problem: str) -> WriteResult:
    """Return the result of a write that changed nothing."""
    return WriteResult(write.path, WriteOutcome.FAILED, problem=problem)


def refused(path: str, seen: ScanBatch) -> WriteResult:
    """Turn a look at a path into the result of a write that found something else there.

    What does not travel (a secret, an ignored file) is not handed on as somebody's edit.
    """
    if seen.skipped:
        skip = seen.skipped[0]
        problem = f"what stands at {skip.path} does not travel ({skip.detail or skip.reason.value})"
        return WriteResult(path, WriteOutcome.FAILED, problem=f"{problem}; it was not touched")
    if seen.observations:
        found = seen.observations[0]
        if found.path == path:
            return WriteResult(path, WriteOutcome.UNEXPECTED, None, found, found.problem)
        problem = "a folder stands there; it was not touched"
        return WriteResult(path, WriteOutcome.UNEXPECTED, None, found, problem)
    return WriteResult(path, WriteOutcome.UNEXPECTED, None, Observation(path, None))
