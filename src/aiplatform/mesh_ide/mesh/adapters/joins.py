"""The gate of the join protocol: how much strangers may ask, and its clocks."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.errors import FrameTooLargeError
from aiplatform.mesh_ide.ports.transport import JOIN_FRAME_BYTES_MAX

AT_ONCE_MAX: Final = 8
"""Join requests in work. Strangers share these; links do not wait for them."""

PER_KEY_MAX: Final = 6
"""Requests of one key within ``PER_KEY_WINDOW_S``: a person's retries, not a guesser's."""

PER_KEY_WINDOW_S: Final = 60.0

_KEYS_REMEMBERED_MAX: Final = 1024
"""Keys cost nothing to make, so remembering more would not slow a guesser down."""

READ_TIMEOUT_S: Final = 5.0
"""A stranger sends one small frame; who trickles it holds one of ``AT_ONCE_MAX`` places."""

ANSWER_TIMEOUT_S: Final = 10.0
"""How long the node may take to answer: some signatures and one group commit."""


class JoinBusyError(UnavailableError):
    """Too many requests at once, or too many from one key."""


def check_join_frame(frame: bytes, what: str) -> None:
    """Refuse a join frame over its bound.

    Raises:
        FrameTooLargeError: over ``JOIN_FRAME_BYTES_MAX``.
    """
    if len(frame) > JOIN_FRAME_BYTES_MAX:
        raise FrameTooLargeError(
            f"a join {what} of {len(frame)} bytes is over the bound of {JOIN_FRAME_BYTES_MAX}"
        )


class JoinGate:
    """Counts requests in work and requests by key."""

    def __init__(self) -> None:
        self._in_work = 0
        self._recent: OrderedDict[NodeId, deque[float]] = OrderedDict()

    @contextmanager
    def admit(self, peer: NodeId, now_s: float) -> Iterator[None]:
        """Hold a place while a request is in work.

        Raises:
            JoinBusyError: no place, or this key asked too often.
        """
        if self._in_work >= AT_ONCE_MAX:
            raise JoinBusyError(f"{AT_ONCE_MAX} join requests are in work: try again in a moment")
        recent = self._recent.pop(peer, None) or deque(maxlen=PER_KEY_MAX)
        self._recent[peer] = recent
        if len(self._recent) > _KEYS_REMEMBERED_MAX:
            self._recent.popitem(last=False)
        if len(recent) == PER_KEY_MAX and now_s - recent[0] < PER_KEY_WINDOW_S:
            raise JoinBusyError("this key asked to join too often: try again in a minute")
        recent.append(now_s)
        self._in_work += 1
        try:
            yield
        finally:
            self._in_work -= 1
