"""A dial under way, and the one incoming connection that may wait for how it ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from aiplatform.mesh_ide.mesh.adapters.iroh.closing import CloseCode, close
from aiplatform.mesh_ide.mesh.adapters.iroh.link import Handshake

PARKED_S_MAX: Final = 3.0
"""How long our own dial goes before the peer's, which waits at the door. Longer than handshake
and greeting take at a satellite's round trip of 0.6 s; then the peer's way is the one that works
(our addresses of it may be stale)."""


class Dial:
    """What a transport knows of one dial: where it goes, its task, its deadline and its guest."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        self.addresses = addresses
        self.task: asyncio.Task[None] | None = None
        self.deadline: asyncio.Timeout | None = None
        self.guest: Handshake | None = None

    def park(self, guest: Handshake) -> None:
        """Let the peer's own connection wait; a newer one takes an older one's place."""
        if self.guest is not None:
            close(self.guest.connection, CloseCode.CROSSED, "a newer connection came")
        self.guest = guest
        if self.deadline is not None:
            latest = asyncio.get_running_loop().time() + PARKED_S_MAX
            planned = self.deadline.when()
            with suppress(RuntimeError):  # the deadline has just been reached or left
                self.deadline.reschedule(min(planned, latest) if planned else latest)

    def drop(self, code: CloseCode) -> None:
        """Give the dial up, and who waits for it."""
        if self.task is not None:
            self.task.cancel()
        if self.guest is not None:
            close(self.guest.connection, code, "the dial that it waited for was given up")
