"""After a crash: whose bytes are in the temporary folder, and where they belong."""

from __future__ import annotations

import contextlib

from aiplatform.mesh_ide.workspace.adapters.folder_table import BlockedError, FolderTable
from aiplatform.mesh_ide.workspace.adapters.local_folder import Freshness, read_at
from aiplatform.mesh_ide.workspace.adapters.opened import Keep
from aiplatform.mesh_ide.workspace.adapters.posix import UnsupportedError, exchange, rename_new
from aiplatform.mesh_ide.workspace.adapters.temporary import ASIDE, RESCUED, PlanLine, TempFolder


class Recovery:
    """Empties the temporary folder without losing anything that is not ours."""

    def __init__(self, root_fd: int, temp: TempFolder, freshness: Freshness, keep: Keep) -> None:
        self._root_fd = root_fd
        self._temp = temp
        self._freshness = freshness
        self._keep = keep

    def run(self) -> tuple[str, ...]:
        """Settle every leftover and return the paths at which somebody's bytes stand again.

        Raises:
            OSError: the disk does not let it; what is left is settled another time.
        """
        lines = self._temp.read_plans()
        folders = FolderTable(self._root_fd)
        restored: list[str] = []
        try:
            for name in self._temp.names():
                if name.startswith(RESCUED):
                    continue
                line = lines.get(name.removesuffix(ASIDE))
                if line is None:
                    self._temp.unlink(name)  # prepared for a path where nothing stood: ours
                elif self._settle(name, line, folders):
                    restored.append(line.path)
        finally:
            folders.close()
        self._temp.discard_plans()
        return tuple(restored)

    def _settle(self, name: str, line: PlanLine, folders: FolderTable) -> bool:
        """Return whether the leftover was put back to its path."""
        left = read_at(self._temp.fd, name, self._freshness)
        if left is not None and left.blob is not None:
            is_aside = name.endswith(ASIDE)
            if left.blob == line.ours or (left.blob == line.expected and not is_aside):
                self._temp.unlink(name)
                return False
            if left.content is not None:
                self._keep.keep(left.blob, left.content)
        with contextlib.suppress(OSError, BlockedError):
            if self._put_back(name, line, folders):
                return True
        if left is not None and left.blob == line.expected:
            self._temp.unlink(name)  # replaced already; what was expected is in the archive
        else:
            self._temp.rescue(self._temp.fd, name, line.path)
        return False

    def _put_back(self, name: str, line: PlanLine, folders: FolderTable) -> bool:
        parts = line.path.split("/")
        folder_fd = folders.reach(parts[:-1], create=True)
        assert folder_fd is not None
        try:
            rename_new(self._temp.fd, name, folder_fd, parts[-1])
        except FileExistsError:
            there = read_at(folder_fd, parts[-1], self._freshness)
            if there is None or there.blob != line.ours or name.endswith(ASIDE):
                return False  # newer than what came out: it stays
            with contextlib.suppress(UnsupportedError):
                exchange(self._temp.fd, name, folder_fd, parts[-1])
                out = read_at(self._temp.fd, name, self._freshness)
                if out is not None and out.blob == line.ours:
                    self._temp.unlink(name)
                else:
                    self._temp.rescue(self._temp.fd, name, line.path)
                return True
            return False
        return True
