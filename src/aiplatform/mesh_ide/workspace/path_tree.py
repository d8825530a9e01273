"""Which paths lie below a folder, found without looking at all of them."""

from __future__ import annotations

from collections.abc import Container, Iterator


class PathTree:
    """The folders above a set of paths that somebody else keeps.

    A path may be in the set and have others below it, while a file makes way for a folder.

    Invariant: a folder has an entry exactly if a path of the set lies below it, with its children
    that are in the set or are such folders themselves.
    """

    def __init__(self, paths: Container[str]) -> None:
        """Begin empty; ``paths`` is the set, which changes before ``added`` and ``removed``."""
        self._paths = paths
        self._children: dict[str, dict[str, None]] = {}

    def added(self, path: str) -> None:
        """Take note of a path that came into the set."""
        while path:
            parent = path.rpartition("/")[0]
            siblings = self._children.get(parent)
            if siblings is not None:
                siblings[path] = None
                return
            self._children[parent] = {path: None}
            path = parent

    def removed(self, path: str) -> None:
        """Take note of a path that left the set."""
        while path and path not in self._children and path not in self._paths:
            parent = path.rpartition("/")[0]
            siblings = self._children[parent]
            del siblings[path]
            if siblings:
                return
            del self._children[parent]
            path = parent

    def below(self, folder: str) -> Iterator[str]:
        """Yield the paths of the set below a folder (``""``: all), each folder's in order."""
        for path in self._children.get(folder, ()):
            if path in self._paths:
                yield path
            if path in self._children:
                yield from self.below(path)
