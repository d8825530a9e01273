"""Asking: requests that wait for the core's answer, and what ends their waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiplatform.mesh_ide.model.errors import MeshIDEError, TimedOutError
from aiplatform.mesh_ide.node.events import Replied, Request


class RequestRefusedError(MeshIDEError):
    """The node could not do what was asked; the message says why."""


class Asking:
    """Gives each request a tag and hands its answer to who asked.

    Invariant: who waits is answered, refused or told that its time is up; nobody waits for ever
    while ``expire`` is called.
    """

    def __init__(self, post: Callable[[Request], None]) -> None:
        """Put requests to the core by this."""
        self._post = post
        self._waiting: dict[int, tuple[asyncio.Future[Replied], float]] = {}
        self._next_tag = 0

    async def request(self, make: Callable[[int], Request], timeout_s: float) -> Replied:
        """Put a request to the core and return its answer.

        Args:
            make: builds the request around the tag it is given.
            timeout_s: how long to wait for the answer, to a call of ``expire``.

        Raises:
            RequestRefusedError: the core said no, or the node stopped.
            TimedOutError: no answer in time; the request may still take effect.
        """
        self._next_tag += 1
        tag = self._next_tag
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Replied] = loop.create_future()
        self._waiting[tag] = (future, loop.time() + timeout_s)
        self._post(make(tag))
        try:
            reply = await future
        finally:
            self._waiting.pop(tag, None)
        if reply.problem is not None:
            raise RequestRefusedError(reply.problem)
        return reply

    def answered(self, reply: Replied) -> None:
        """Hand over an answer; one that nobody waits for any more is dropped."""
        waiting = self._waiting.pop(reply.tag, None)
        if waiting is not None and not waiting[0].done():
            waiting[0].set_result(reply)

    def expire(self, now_s: float) -> None:
        """End the waiting of requests whose time (of the loop) is up.

        Every tick, for all of them: a timer each was a fifth of what ten thousand keystrokes a
        second cost the event loop.
        """
        for future, deadline_s in self._waiting.values():
            if now_s >= deadline_s and not future.done():
                message = (
                    "no answer in time; the change may still take effect: see `mesh status` and "
                    "`mesh doctor`"
                )
                future.set_exception(TimedOutError(message))

    def close(self) -> None:
        """Refuse everything that waits: there will be no answers."""
        for future, _ in self._waiting.values():
            if not future.done():
                future.set_exception(RequestRefusedError("the node stopped"))
        self._waiting.clear()
