"""An event loop on virtual time: what is written for asyncio runs on an ``Agenda``.

The loop asks its selector to wait for the next thing; instead of waiting, the selector lets the
agenda do what is due next. Nothing takes real time, and a program that waits for what can never
come ends with an error instead of hanging.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import Final

from aiplatform.mesh_ide.simulation.clock import Agenda

_US_PER_S: Final = 1_000_000


class NothingToComeError(RuntimeError):
    """Every task waits, and nothing is left on the agenda: a deadlock."""


class _AgendaSelector(selectors.SelectSelector):
    """Lets time pass where another selector would wait."""

    def __init__(self, agenda: Agenda) -> None:
        super().__init__()
        self._agenda = agenda

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Look at the files (the loop's own wake-up); if none is ready, move time on."""
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        limit_us = None
        if timeout is not None:
            limit_us = self._agenda.now_us + math.ceil(timeout * _US_PER_S)
        if not self._agenda.step(limit_us):
            raise NothingToComeError("every task waits for something that nothing will bring")
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop whose clock is an agenda's."""

    def __init__(self, agenda: Agenda) -> None:
        super().__init__(_AgendaSelector(agenda))
        self._agenda = agenda
        self._clock_resolution = 1 / _US_PER_S

    def time(self) -> float:
        """Return the agenda's time in seconds."""
        return self._agenda.now_us / _US_PER_S
