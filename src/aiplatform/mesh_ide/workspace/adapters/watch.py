"""Which paths to look at, as soon as something happens to them.

Events are hints. They come late, doubled or (told as ``RescanNeeded``) not at all; what stands
there is found by ``FileTree.observe``. So a rescan now and then belongs to every use.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec import Struct
from watchfiles import Change, awatch

from aiplatform.mesh_ide.workspace.adapters.inotify import Inotify, WatchLimitError
from aiplatform.mesh_ide.workspace.adapters.watched import GIT_FOLDER, WatchedFolder
from aiplatform.mesh_ide.workspace.ignore import IGNORE_FILES, judge_name

QUIET_S: Final = 0.002
"""A batch ends when nothing came for this long: a save by rename (write, rename over) is one."""

DEBOUNCE_S: Final = 0.025
"""... but waits no longer than this in all."""

OWN_PAUSE_S: Final = 0.01
"""Between two reads while only our own writes are seen: they come by the hundred, and waking for
each took 8 % of the loop's time in a first synchronisation."""

PATHS_PER_BATCH_MAX: Final = 4096
"""More at once are a checkout or a copy: looking at everything costs no more."""

POLL_S: Final = 2.0
_LIBRARY_STEP_MS: Final = 5
_LIBRARY_TIMEOUT_MS: Final = 250
_GIT_FILES: Final = frozenset({f"{GIT_FOLDER}/HEAD", f"{GIT_FOLDER}/index"})


class PathsChanged(Struct, frozen=True):
    """Look at these relative paths; a folder stands for all below it."""

    paths: tuple[str, ...]


class RescanNeeded(Struct, frozen=True):
    """Look at everything: events were lost, or nothing tells of changes; ``reason`` says why."""

    reason: str


class GitMoved(Struct, frozen=True):
    """Git is writing, or has written, HEAD or the index."""


WatchEvent = PathsChanged | RescanNeeded | GitMoved


class WatchBackend(Enum):
    """Where the events come from."""

    INOTIFY = "inotify"
    LIBRARY = "watchfiles"
    POLLING = "polling"


class FolderWatcher:
    """Watches one folder: ``async with FolderWatcher(root) as w: async for event in w``.

    With inotify changes after ``__aenter__`` returned are told, otherwise those after the first
    ``RescanNeeded``; scan after it, and there is no gap. One consumer. Leaving the block, or
    cancelling the consumer, stops it at once.

    Attributes:
        backend: what is in use; POLLING also after a limit was reached.
        problem: why it is worse than it could be, with what to do; ``None``: all is well.
    """

    def __init__(
        self,
        root: Path,
        *,
        backend: WatchBackend | None = None,
        poll_s: float = POLL_S,
        open_inotify: Callable[[], Inotify] = Inotify,
    ) -> None:
        """Prepare; nothing is watched yet.

        Args:
            root: the folder.
            backend: ``None`` for the best one here.
            poll_s: how often everything is looked at where nothing tells of changes.
            open_inotify: makes the kernel's instance (tests give one that is used up).
        """
        default = WatchBackend.INOTIFY if sys.platform == "linux" else WatchBackend.LIBRARY
        self.backend = backend or default
        self.problem: str | None = None
        self._root = root
        self._poll_s = poll_s
        self._open_inotify = open_inotify
        self._inotify: Inotify | None = None
        self._watched: WatchedFolder | None = None
        self._readable = asyncio.Event()
        self._library_stop = threading.Event()
        self._is_closed = False

    async def __aenter__(self) -> Self:
        if self.backend is WatchBackend.INOTIFY:
            try:
                self._inotify = self._open_inotify()
                self._watched = WatchedFolder(str(self._root), self._inotify)
                await asyncio.to_thread(self._watched.watch_all)
            except WatchLimitError as error:
                self._fall_back(error)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop watching; a consumer that waits ends. Idempotent."""
        self._is_closed = True
        self._library_stop.set()
        self._readable.set()
        if self._inotify is not None:
            if self._inotify.fd >= 0:
                asyncio.get_running_loop().remove_reader(self._inotify.fd)
            self._inotify.close()

    def __aiter__(self) -> AsyncIterator[WatchEvent]:
        """Return the events in order."""
        return self._events()

    async def _events(self) -> AsyncIterator[WatchEvent]:
        if self.backend is WatchBackend.LIBRARY:
            async for event in self._from_library():
                yield event
        elif self.backend is WatchBackend.INOTIFY:
            async for event in self._from_inotify():
                yield event
        if self.backend is WatchBackend.POLLING:
            async for event in self._from_clock():
                yield event

    def _fall_back(self, error: Exception) -> None:
        self.problem = str(error)
        self.backend = WatchBackend.POLLING
        if self._inotify is not None:
            self._inotify.close()

    # --- inotify -----------------------------------------------------------------------------

    async def _from_inotify(self) -> AsyncIterator[WatchEvent]:
        watched, source = self._watched, self._inotify
        assert watched is not None
        assert source is not None
        loop = asyncio.get_running_loop()
        while not self._is_closed:
            try:
                if not await self._gather(watched, source, loop):
                    return
                if watched.is_root_lost:
                    yield RescanNeeded("the folder was moved, removed or unmounted")
                if watched.is_root_lost or watched.rescan:
                    reason = watched.rescan or "the folder is watched again"
                    await self._watch_again(watched)
                    yield RescanNeeded(reason)
            except WatchLimitError as error:
                self._fall_back(error)
                yield RescanNeeded(str(error))
                return
            if watched.has_git_moved:
                watched.has_git_moved = False
                yield GitMoved()
            paths = tuple(watched.ready)
            watched.ready.clear()
            for start in range(0, len(paths), PATHS_PER_BATCH_MAX):
                yield PathsChanged(paths[start : start + PATHS_PER_BATCH_MAX])

    async def _gather(
        self, watched: WatchedFolder, source: Inotify, loop: asyncio.AbstractEventLoop
    ) -> bool:
        """Collect until it is quiet and there is something to tell; False when closed."""
        began_s = 0.0
        while True:
            now_s = loop.time()
            watched.take_due(now_s)
            has_news = bool(watched.ready or watched.rescan or watched.has_git_moved)
            has_news = has_news or watched.is_root_lost
            if has_news and began_s and now_s - began_s >= DEBOUNCE_S:
                return True
            if has_news:
                began_s = began_s or now_s
                wait_s: float | None = QUIET_S
            elif watched.later:
                wait_s = max(0.0, min(watched.later.values()) - now_s)
            else:
                wait_s = None
            is_readable = await self._wait_readable(source, loop, wait_s)
            if self._is_closed:
                return False
            if is_readable:
                watched.take(source.read(), loop.time())
                if not (watched.ready or watched.later or watched.rescan):
                    await self._pause(OWN_PAUSE_S)
            elif has_news:
                return True

    async def _wait_readable(
        self, source: Inotify, loop: asyncio.AbstractEventLoop, wait_s: float | None
    ) -> bool:
        self._readable.clear()
        if self._is_closed:
            return False
        loop.add_reader(source.fd, self._readable.set)
        try:
            async with asyncio.timeout(wait_s):
                await self._readable.wait()
        except TimeoutError:
            return False
        finally:
            if source.fd >= 0:
                loop.remove_reader(source.fd)
        return True

    async def _watch_again(self, watched: WatchedFolder) -> None:
        """Watch everything anew; if the root is gone, wait until something stands there."""
        watched.rescan = None
        watched.ready.clear()
        watched.later.clear()
        while not self._is_closed and not await asyncio.to_thread(watched.watch_all):
            await self._pause(self._poll_s)

    # --- others ------------------------------------------------------------------------------

    async def _from_library(self) -> AsyncIterator[WatchEvent]:
        changes_of = awatch(
            self._root,
            watch_filter=None,
            step=_LIBRARY_STEP_MS,
            debounce=int(DEBOUNCE_S * 1000),
            rust_timeout=_LIBRARY_TIMEOUT_MS,
            yield_on_timeout=True,
            stop_event=self._library_stop,
            ignore_permission_denied=True,
        )
        is_first = True
        try:
            async for changes in changes_of:
                if is_first:
                    # It does not say when it has begun; by its first answer it has.
                    is_first = False
                    yield RescanNeeded("the folder is watched from now on")
                for event in self._translate(changes):
                    yield event
        except (OSError, RuntimeError) as error:
            self._fall_back(error)

    def _translate(self, changes: set[tuple[Change, str]]) -> list[WatchEvent]:
        if len(changes) >= PATHS_PER_BATCH_MAX:
            return [RescanNeeded("so much changed at once that events may be lost")]
        events: list[WatchEvent] = []
        paths: dict[str, None] = {}
        for _, absolute in changes:
            path = os.path.relpath(absolute, self._root).replace(os.sep, "/")
            parts = path.split("/")
            if path in _GIT_FILES:
                events = [GitMoved()]
            if path == ".":
                return [RescanNeeded("the folder itself changed")]
            if any(judge_name(part, is_folder=True) is not None for part in parts):
                continue
            paths[path] = None
            if parts[-1] in IGNORE_FILES:
                if len(parts) == 1:
                    return [RescanNeeded("the ignore rules changed")]
                paths["/".join(parts[:-1])] = None
        return [*events, PathsChanged(tuple(paths))] if paths else events

    async def _from_clock(self) -> AsyncIterator[WatchEvent]:
        while not self._is_closed:
            await self._pause(self._poll_s)
            if not self._is_closed:
                yield RescanNeeded(self.problem or "nothing tells of changes here")

    async def _pause(self, seconds: float) -> None:
        self._readable.clear()
        if self._is_closed:
            return
        try:
            async with asyncio.timeout(seconds):
                await self._readable.wait()
        except TimeoutError:
            return
