"""Which paths are to be considered: each once, however many parts touched it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId
from aiplatform.mesh_ide.workspace.folder import Folder


class Touched:
    """Paths in the order in which they were touched first."""

    def __init__(self, ledger: Ledger, folder: Folder) -> None:
        self._ledger = ledger
        self._folder = folder
        self._paths: dict[str, None] = {}
        self._passed: set[str] = set()
        """Folders whose own paths were looked at since the last ``take``."""

    def __len__(self) -> int:
        """Return how many paths wait."""
        return len(self._paths)

    def add(self, paths: Iterable[str]) -> None:
        """Add just these paths."""
        self._paths.update(dict.fromkeys(paths))

    def path(self, path: str) -> None:
        """Add a path, and files that stand where its folders should be."""
        if path in self._paths:
            return
        self._paths[path] = None
        end = path.rfind("/")
        while end > 0:
            above = path[:end]
            if above in self._passed:
                return
            self._passed.add(above)
            if self._folder.get(above) is not None or self._ledger.index.owner(above) is not None:
                self._paths[above] = None
            end = path.rfind("/", 0, end)

    def file(self, file: FileId) -> None:
        """Add where a file has its place and wherever it stands."""
        if file == TREE_FILE:
            return
        place = self._ledger.index.path_of(file)
        if place is not None:
            self.path(place)
        for here in self._folder.paths_of(file):
            if here != place:
                self.path(here)

    def take(self, most: int) -> Iterator[str]:
        """Yield and forget the first paths, at most so many; what is touched meanwhile too."""
        self._passed.clear()
        for _ in range(most):
            if not self._paths:
                return
            path = next(iter(self._paths))
            del self._paths[path]
            yield path
