"""What a name in a path may be, and the operations that give paths their places."""

from __future__ import annotations

import unicodedata
from typing import Final

from aiplatform.mesh_ide.model.errors import LocalError
from aiplatform.mesh_ide.model.ids import TreeNodeId
from aiplatform.mesh_ide.ports.engine import PlaceNode, TreeOperation

NAME_BYTES_MAX: Final = 255
"""NAME_MAX of Linux, and what other file systems allow at least in ASCII."""

DEPTH_MAX: Final = 128
"""Names in a path. PATH_MAX of 4096 bytes allows few deeper trees of real names."""


class PathError(LocalError):
    """A path cannot be planned: invalid, unknown, or inside itself."""


def name_problem(name: str) -> str | None:
    """Return why this cannot be one name in a path, or ``None`` if it can."""
    if name in {"", ".", ".."}:
        return "is empty" if not name else "means a folder itself"
    if "/" in name or "\0" in name:
        return "contains a slash or NUL"
    if len(name) * 4 > NAME_BYTES_MAX or not name.isascii():
        try:
            size = len(name.encode())
        except UnicodeEncodeError:
            return "is not Unicode text"
        if size > NAME_BYTES_MAX:
            return f"has {size} bytes, over {NAME_BYTES_MAX}"
    return None


def validate_name(name: str) -> None:
    """Check one name of a path.

    Raises:
        PathError: it cannot stand in a path.
    """
    problem = name_problem(name)
    if problem is not None:
        raise PathError(f"the name {name!r} {problem}; choose another")


def fold(path: str) -> str:
    """Return what case-insensitive, normalising file systems take a path for."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())


_Parent = TreeNodeId | int | None


class Plan:
    """Operations that grow, and the folders that they make."""

    def __init__(self, folders: dict[str, list[TreeNodeId]]) -> None:
        self.operations: list[TreeOperation] = []
        self._folders = folders
        self._found: dict[str, _Parent] = {"": None}

    def place(self, path: str) -> tuple[_Parent, str]:
        """Return the parent and the name for a path, planning the folders that are missing."""
        if path.count("/") >= DEPTH_MAX:
            raise PathError(f"a path of over {DEPTH_MAX} names is too deep: {path[:80]!r}…")
        if path.startswith("/"):
            raise PathError(f"the path {path!r} is absolute; give it from the workspace's root")
        folder, _, name = path.rpartition("/")
        validate_name(name)
        return self._folder(folder), name

    def _folder(self, path: str) -> _Parent:
        if path in self._found:
            return self._found[path]
        nodes = self._folders.get(path)
        parent: _Parent
        if nodes:
            parent = nodes[0]
        else:
            above, _, name = path.rpartition("/")
            validate_name(name)
            outer = self._folder(above)
            self.operations.append(PlaceNode(outer, name, None))
            parent = len(self.operations) - 1
        self._found[path] = parent
        return parent
