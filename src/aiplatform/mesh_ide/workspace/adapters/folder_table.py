"""The folders that a batch of writes needs, opened once, made and removed as needed."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Final

from aiplatform.mesh_ide.workspace.adapters.local_folder import open_folder
from aiplatform.mesh_ide.workspace.adapters.opened import NotThereError, UnreadableError

FOLDERS_OPEN_MAX: Final = 64


class BlockedError(Exception):
    """Something that is no folder stands where a folder is needed.

    Attributes:
        path: where.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class FolderTable:
    """Descriptors by path, for one batch.

    They are not kept longer: a folder that somebody moved away would still be written through an
    old descriptor. Reaching a folder never follows a link, whatever is swapped meanwhile.
    """

    def __init__(self, root_fd: int) -> None:
        self._root_fd = root_fd
        self._open: OrderedDict[str, int] = OrderedDict()
        self._to_prune: set[str] = set()

    def reach(self, parts: list[str], *, create: bool) -> int | None:
        """Return a descriptor of the folder, good until the next call; ``None``: not there.

        Raises:
            BlockedError: a file or a link stands in the way (only with ``create``).
            OSError: permission denied, disk full.
        """
        fd, path = self._root_fd, ""
        for name in parts:
            path = f"{path}/{name}" if path else name
            opened = self._open.get(path)
            if opened is None:
                opened = self._enter(name, fd, path, create=create)
                if opened is None:
                    return None
                self._open[path] = opened
                while len(self._open) > FOLDERS_OPEN_MAX + len(parts):
                    os.close(self._open.popitem(last=False)[1])
            else:
                self._open.move_to_end(path)
            fd = opened
        return fd

    def _enter(self, name: str, above_fd: int, path: str, *, create: bool) -> int | None:
        for _ in range(2):
            try:
                return open_folder(name, above_fd)
            except UnreadableError as error:
                raise PermissionError(f"{path}: {error}") from error
            except NotThereError:
                if not create:
                    return None
            try:
                os.mkdir(name, dir_fd=above_fd)
            except FileExistsError:
                break
        raise BlockedError(path)

    def prune_later(self, parts: list[str]) -> None:
        """Remember that a file was taken out of this folder: if it is empty now, it goes too."""
        for end in range(len(parts), 0, -1):
            self._to_prune.add("/".join(parts[:end]))

    def prune(self, below: str = "") -> None:
        """Remove the remembered folders that are empty (``below``: only it and those in it)."""
        if below and below not in self._to_prune:
            return
        due = [p for p in self._to_prune if not below or p == below or p.startswith(below + "/")]
        for path in sorted(due, key=len, reverse=True):
            self._to_prune.discard(path)
            parts = path.split("/")
            try:
                above = self.reach(parts[:-1], create=False)
                if above is None:
                    continue
                os.rmdir(parts[-1], dir_fd=above)
            except OSError:
                continue  # not empty, or not ours to reach or remove: a folder is only its files
            self._forget(path)

    def _forget(self, path: str) -> None:
        fd = self._open.pop(path, None)
        if fd is not None:
            os.close(fd)

    def close(self) -> None:
        """Remove what is to be pruned and let go of all descriptors."""
        self.prune()
        self.forget()

    def forget(self) -> None:
        """Let go of all descriptors; folders are reached anew."""
        while self._open:
            os.close(self._open.popitem()[1])
