"""The watcher's feed: what it sees becomes the driver's events; one that fails is replaced."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.node.driver import NodeDriver
from aiplatform.mesh_ide.node.events import FolderTouched, FolderUnwatched, GitMoved, Told
from aiplatform.mesh_ide.workspace.adapters import watch
from aiplatform.mesh_ide.workspace.adapters.watch import (
    FolderWatcher,
    PathsChanged,
    RescanNeeded,
    WatchEvent,
)

WATCH_AGAIN_S: Final = 2.0


class FolderFeed:
    """Feeds one driver from one folder: ``open`` before the driver starts, then ``run``."""

    def __init__(self, folder: Path, driver: NodeDriver) -> None:
        self._folder = folder
        self._driver = driver
        self._watcher: FolderWatcher | None = None

    async def open(self) -> None:
        """Begin to watch. What changes from now on is told once ``run`` runs."""
        self._watcher = FolderWatcher(self._folder)
        await self._watcher.__aenter__()

    def close(self) -> None:
        """Stop watching; idempotent."""
        if self._watcher is not None:
            self._watcher.close()

    async def run(self) -> None:
        """Pass on what is seen until cancelled."""
        while True:
            watcher = self._watcher
            assert watcher is not None, "open first"
            if watcher.problem is not None:
                self._driver.tell(Told("folder", watcher.problem))
            try:
                async for seen in watcher:
                    self._pass_on(seen)
            except OSError as error:
                self._driver.tell(Told("folder", f"watching the folder failed: {error}"))
            finally:
                watcher.close()
            await asyncio.sleep(WATCH_AGAIN_S)
            await self.open()
            self._driver.post(FolderUnwatched())

    def _pass_on(self, seen: WatchEvent) -> None:
        match seen:
            case PathsChanged():
                self._driver.post(FolderTouched(seen.paths))
            case RescanNeeded():
                self._driver.post(FolderUnwatched())
            case watch.GitMoved():
                self._driver.post(GitMoved())
