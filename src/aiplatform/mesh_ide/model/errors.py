"""The root of all errors, split by who is to blame.

A message says what happened, to what, and what to do next. ``exit_code`` is what the command
line ends with (0 ok, 1 failed, 2 usage, 3 unreachable, 4 not permitted, 5 conflict, ...).
"""

from __future__ import annotations

from typing import ClassVar


class MeshIDEError(Exception):
    """Anything this project raises on purpose."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "failed"


class LocalError(MeshIDEError):
    """The caller, or this machine's set-up, has to change something."""

    exit_code = 2
    code = "usage"


class RemoteError(MeshIDEError):
    """A peer sent what it must not; it is to blame, and trying again will not help."""

    code = "peer-fault"


class UnavailableError(MeshIDEError):
    """The world is not ready (no link, no disk space, busy); trying again may help."""

    exit_code = 3
    code = "unavailable"


class NotPermittedError(MeshIDEError):
    """The caller's role or ticket does not allow this."""

    exit_code = 4
    code = "not-permitted"


class ConflictError(MeshIDEError):
    """Two versions exist and a person has to decide."""

    exit_code = 5
    code = "conflict"


class TimedOutError(MeshIDEError):
    """The stated time passed before the awaited thing happened; nothing was undone."""

    exit_code = 124
    code = "timed-out"
