"""Looking at the folder: whole scans, single paths, and whether it can be looked at at all."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.ports.jobs import (
    FolderScanned,
    Job,
    ObservePaths,
    PathsObserved,
    ScanFolder,
)
from aiplatform.mesh_ide.workspace.core_observe import Observer
from aiplatform.mesh_ide.workspace.core_taking import Taking
from aiplatform.mesh_ide.workspace.core_touched import Touched
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.notices import FolderTrouble

ROOT_RETRY_MS: Final = 2000

Seen = list[Job | Notice | FolderTrouble]


class Looking:
    """Asks for scans and looks, one of each at a time; what they find goes to ``Taking``."""

    def __init__(
        self,
        ledger: Ledger,
        folder: Folder,
        observer: Observer,
        taking: Taking,
        touched: Touched,
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._observer = observer
        self._taking = taking
        self._touched = touched
        self._to_observe: dict[str, None] = {}
        self._is_observing = False
        self.is_scanning = False
        self._rescan = False
        self.has_scanned = False
        """The folder was looked at once since the start."""
        self.must_scan_first = False
        """What we believe of the folder is from an earlier run: a write planned on that, before the
        scan told it from what was done meanwhile, would take somebody's edit for a new file."""
        self.problem: str | None = None
        """Why the folder cannot be looked at."""
        self._retry_ms = 0

    @property
    def may_write(self) -> bool:
        """Return whether what is believed of the folder is good enough to write on."""
        return self.problem is None and not self.must_scan_first

    @property
    def outstanding(self) -> int:
        """Return how many looks are due or under way."""
        under_way = int(self.is_scanning or self._is_observing)
        return len(self._to_observe) + len(self._observer.look_again) + under_way

    # --- what is to be looked at -------------------------------------------------------------

    def scan(self) -> Seen:
        """Look at the whole folder; once more, if that is being done just now."""
        if self.is_scanning:
            self._rescan = True
            return []
        self.is_scanning = True
        self._taking.skips.begin_scan()
        return [ScanFolder(self._folder.known_stats())]

    def at(self, paths: Iterable[str]) -> None:
        """Look at these paths."""
        self._to_observe.update(dict.fromkeys(paths))

    def again(self) -> None:
        """Look again at paths that had to wait for an operation on their file, if it has ended."""
        for path in list(self._observer.look_again):
            state = self._folder.get(path)
            if state is None or state.now is None or not self._ledger.is_claimed(state.now.file):
                del self._observer.look_again[path]
                self._to_observe[path] = None

    def take(self) -> list[ObservePaths]:
        """Hand out the next look, if none is under way."""
        if not self._to_observe or self._is_observing:
            return []
        paths = tuple(self._to_observe)
        self._to_observe.clear()
        self._is_observing = True
        self._taking.skips.look_at(paths)
        return [ObservePaths(paths, self._folder.known_stats(paths))]

    def tick(self, now_ms: int) -> None:
        """Look again at a folder that could not be looked at, and at what had to wait."""
        if self.problem is not None and now_ms >= self._retry_ms:
            self._retry_ms = now_ms + ROOT_RETRY_MS
            self._to_observe["."] = None
        self.again()

    # --- what was found ----------------------------------------------------------------------

    def on_scanned(self, result: FolderScanned, now_ms: int) -> Seen:
        """A part of the scan."""
        is_known = len(self._folder) > 0
        out: Seen = [*self._taking.take(result.batch, now_ms, is_scan=is_known)]
        if not result.is_last:
            return out
        self.is_scanning = False
        out.extend(self._taking.end_scan(now_ms))
        self.has_scanned = result.problem is None or self.has_scanned
        self.must_scan_first = self.must_scan_first and not self.has_scanned
        out.extend(self._root(result.problem, now_ms))
        if result.problem is None:
            self._taking.skips.end_scan()
            # Also what a crash kept from being written is seen to now.
            self._touched.add(path for path, _ in self._ledger.index.owned())
            self._touched.add(self._folder.paths())
        if self._rescan:
            self._rescan = False
            out.extend(self.scan())
        return out

    def on_observed(self, result: PathsObserved, now_ms: int) -> Seen:
        """What stands at the paths we asked for."""
        self._is_observing = not result.is_last
        out: Seen = [*self._taking.take(result.batch, now_ms)]
        if result.is_last:
            out.extend(self._root(result.problem, now_ms))
        return out

    def _root(self, problem: str | None, now_ms: int) -> Seen:
        if problem is not None:
            self._retry_ms = now_ms + ROOT_RETRY_MS
        if problem == self.problem:
            return []
        was, self.problem = self.problem, problem
        out: Seen = [FolderTrouble(problem)]
        if problem is None and was is not None:
            out.extend(self.scan())
        return out
