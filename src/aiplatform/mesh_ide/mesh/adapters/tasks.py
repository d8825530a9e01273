"""The one owner of a transport's tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class _StoppedError(Exception):
    """Ends the task group from inside, which cancels all of its tasks."""


class TaskOwner:
    """A ``TaskGroup`` that begins in one call and ends in another.

    The group lives in one root task, since a task group must be left by the task that entered
    it. A task that fails takes the others down; the error goes to the event loop's exception
    handler at once and out of ``stop``.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._group: asyncio.TaskGroup | None = None
        self._root: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()

    @property
    def is_running(self) -> bool:
        """Tasks can be started."""
        return self._group is not None and not self._stopping.is_set()

    async def start(self) -> None:
        """Begin to own tasks."""
        started = asyncio.Event()
        self._root = asyncio.get_running_loop().create_task(
            self._run(started), name=f"{self._name}: owner"
        )
        self._root.add_done_callback(self._report)
        await started.wait()

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task; the caller may cancel it, the owner will at the end."""
        assert self._group is not None, "the owner has to be started first"
        return self._group.create_task(work, name=f"{self._name}: {name}")

    def run(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Start a task that only the owner ends."""
        assert self._group is not None, "the owner has to be started first"
        self._group.create_task(work, name=f"{self._name}: {name}")

    async def stop(self) -> None:
        """Cancel all tasks and return when they are gone; idempotent.

        Raises:
            BaseExceptionGroup: a task had failed.
        """
        self._stopping.set()
        if self._root is not None:
            await asyncio.shield(self._root)

    async def _run(self, started: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._fail_when_stopping(), name=f"{self._name}: stop")
                started.set()
        except* _StoppedError:
            pass
        finally:
            self._stopping.set()

    async def _fail_when_stopping(self) -> None:
        await self._stopping.wait()
        raise _StoppedError

    def _report(self, root: asyncio.Task[None]) -> None:
        error = None if root.cancelled() else root.exception()
        if error is not None:
            root.get_loop().call_exception_handler(
                {"message": f"{self._name} failed", "exception": error, "task": root}
            )
