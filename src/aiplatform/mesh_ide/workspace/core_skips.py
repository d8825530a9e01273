"""What stays at home, and why: as the last look at each place found it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiplatform.mesh_ide.ports.filetree import Skipped
from aiplatform.mesh_ide.workspace.path_tree import PathTree

SKIPPED_MAX: Final = 10_000
"""What was skipped is listed for people; the list is bounded."""


class Skips:
    """The list of what does not replicate.

    A look tells what it skips, not what is gone. So whatever is looked at leaves the list, and
    comes back with the look's result; a scan ends with what it did not meet.
    """

    def __init__(self) -> None:
        self.by_path: dict[str, Skipped] = {}
        self._tree = PathTree(self.by_path)
        self._not_met: set[str] = set()
        """What was listed when the scan under way began, and was not met by it yet."""

    def meet(self, skipped: Iterable[Skipped]) -> None:
        """Take what a look skipped."""
        for one in skipped:
            is_new = one.path not in self.by_path
            if is_new and len(self.by_path) >= SKIPPED_MAX:
                continue
            self.by_path[one.path] = one
            self._not_met.discard(one.path)
            if is_new:
                self._tree.added(one.path)

    def leave(self, path: str) -> None:
        """Take a path out: it replicates now, or is gone."""
        if self.by_path.pop(path, None) is not None:
            self._not_met.discard(path)
            self._tree.removed(path)

    def look_at(self, paths: Iterable[str]) -> None:
        """Take these paths and all below them out: what is still there is told again."""
        if self.by_path:
            for path in paths:
                for below in tuple(self._tree.below(path)):
                    self.leave(below)
                self.leave(path)

    def begin_scan(self) -> None:
        """A look at everything begins."""
        self._not_met = set(self.by_path)

    def end_scan(self) -> None:
        """The look at everything has ended well: what it did not meet is gone."""
        for path in tuple(self._not_met):
            self.leave(path)
