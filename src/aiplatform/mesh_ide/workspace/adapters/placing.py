"""One change of the disk that loses nobody's bytes: exchange, look at what came out, then decide.

Checking first and renaming after loses what a program saves in between; this way round there is
no in between. Whatever comes out unexpectedly goes back, and what comes out then is looked at too.
"""

from __future__ import annotations

import contextlib
import os
import stat as stat_module
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.ports.filetree import (
    FileStat,
    FileWrite,
    Observation,
    WriteOutcome,
    WriteResult,
)
from aiplatform.mesh_ide.workspace.adapters.local_folder import (
    FILE_FLAGS,
    Freshness,
    mode_of,
    read_at,
    read_open,
)
from aiplatform.mesh_ide.workspace.adapters.opened import (
    ALWAYS_LOOK,
    Content,
    Keep,
    NotThereError,
)
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step
from aiplatform.mesh_ide.workspace.adapters.posix import (
    UnsupportedError,
    exchange,
    has_writer,
    rename_new,
)
from aiplatform.mesh_ide.workspace.adapters.temporary import (
    ASIDE,
    TempFolder,
    discard_at,
    permissions_like,
)

PUT_BACK_TRIES: Final = 16
"""Each round needs another save within microseconds; after these the bytes go aside, kept."""


class Came(Enum):
    """What came out."""

    EXPECTED = 1
    OTHER = 2
    IN_USE = 3
    """A program has it open for writing: what it writes next must not go to a removed file."""


@dataclass(slots=True)
class Place:
    """Where a change happens: the folder, the name in it, and the prepared file."""

    write: FileWrite
    folder_fd: int
    name: str
    temp_fd: int
    temp: str


class Placer:
    """Carries out single changes.

    Invariant: after every method each version of somebody's bytes stands at its path, or (lost to
    a newer one) in the temporary folder under ``rescued-``. What was replaced as expected lies
    there under its temporary name until ``remove_replaced``.
    """

    def __init__(  # noqa: PLR0913 - the parts of a batch that a change needs
        self,
        temp: TempFolder,
        freshness: Freshness,
        keep: Keep,
        observe: Callable[[str], WriteResult],
        on_step: Callable[[Step, str], None],
        *,
        can_exchange: bool = True,
    ) -> None:
        self._temp = temp
        self._freshness = freshness
        self._keep = keep
        self._observe = observe
        self._on_step = on_step
        self._can_exchange = can_exchange
        self._replaced: list[str] = []

    def remove_replaced(self) -> None:
        """Remove what was replaced since the last call; not durable yet.

        All at the end of a batch: between its exchanges they took an eighth more processor time
        on ext4 (1,000 files), and every file behind one came later into its place.
        """
        for name in self._replaced:
            self._temp.discard(name)
        self._replaced.clear()

    # --- creating ----------------------------------------------------------------------------

    def create(self, place: Place) -> WriteResult:
        """Put the prepared file where nothing stands."""
        ours = os.stat(place.temp, dir_fd=place.temp_fd, follow_symlinks=False)
        self._on_step(Step.PREPARED, place.write.path)
        try:
            rename_new(place.temp_fd, place.temp, place.folder_fd, place.name)
        except FileExistsError:
            return self._occupied(place)
        return self._applied(place, ours)

    def _occupied(self, place: Place) -> WriteResult:
        """Something stands where nothing was expected: ours already, or somebody's."""
        discard_at(place.temp_fd, place.temp)
        there = self._read(place.folder_fd, place.name)
        is_same = there is not None and there.blob == place.write.blob
        if there is not None and is_same and there.stat.mode == place.write.mode:
            return WriteResult(place.write.path, WriteOutcome.APPLIED, there.stat)
        return self._observe(place.write.path)

    # --- replacing ---------------------------------------------------------------------------

    def replace(self, place: Place) -> WriteResult:  # noqa: PLR0911 - one for each way it ends
        """Put the prepared file in the place of what is expected there."""
        try:
            old = os.stat(place.name, dir_fd=place.folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return self._nothing_there(place)
        if mode_of(old) is None:
            discard_at(place.temp_fd, place.temp)
            return self._observe(place.write.path)
        self._dress(place, old)
        ours = os.stat(place.temp, dir_fd=place.temp_fd, follow_symlinks=False)
        self._on_step(Step.PREPARED, place.write.path)
        if not self._can_exchange:
            return self._replace_by_steps(place, ours)
        try:
            exchange(place.temp_fd, place.temp, place.folder_fd, place.name)
        except FileNotFoundError:
            return self._nothing_there(place)
        except UnsupportedError:
            return self._replace_by_steps(place, ours)
        self._on_step(Step.TAKEN_OUT, place.write.path)
        came = self._came(place.temp_fd, place.temp, place.write)
        if came is Came.EXPECTED:
            if place.temp_fd == self._temp.fd:
                self._replaced.append(place.temp)
            else:
                discard_at(place.temp_fd, place.temp)
            return self._applied(place, ours)
        self._on_step(Step.REFUSED, place.write.path)
        self._put_back(place, ours)
        return self._refused(place, came)

    def _nothing_there(self, place: Place) -> WriteResult:
        discard_at(place.temp_fd, place.temp)
        path = place.write.path
        return WriteResult(path, WriteOutcome.UNEXPECTED, None, Observation(path, None))

    def _dress(self, place: Place, old: os.stat_result) -> None:
        """Give ours the owner and the permissions of what it replaces."""
        if place.write.mode is FileMode.SYMLINK or not stat_module.S_ISREG(old.st_mode):
            return
        ours = os.stat(place.temp, dir_fd=place.temp_fd, follow_symlinks=False)
        if (old.st_uid, old.st_gid) != (ours.st_uid, ours.st_gid):
            with contextlib.suppress(PermissionError):
                os.chown(
                    place.temp, old.st_uid, old.st_gid,
                    dir_fd=place.temp_fd, follow_symlinks=False,
                )  # fmt: skip
        is_executable = place.write.mode is FileMode.EXECUTABLE
        wanted = permissions_like(old, is_executable=is_executable)
        if wanted != stat_module.S_IMODE(ours.st_mode):
            os.chmod(place.temp, wanted, dir_fd=place.temp_fd)

    def _put_back(self, place: Place, ours: os.stat_result) -> None:
        """Bring what came out back to its path, unless something newer stands there by now.

        What the exchange brings out is either what we had put there, untouched: done. Or somebody
        wrote at the path once more: that is newer, belongs there, and goes back in its turn.
        """
        standing, is_ours = _identity(ours), True
        for _ in range(PUT_BACK_TRIES):
            out = os.stat(place.temp, dir_fd=place.temp_fd, follow_symlinks=False)
            try:
                exchange(place.temp_fd, place.temp, place.folder_fd, place.name)
            except FileNotFoundError:
                # Removed meanwhile, by somebody who saw ours: the bytes under it come back.
                with contextlib.suppress(FileExistsError):
                    rename_new(place.temp_fd, place.temp, place.folder_fd, place.name)
                    return
                continue
            now = os.stat(place.temp, dir_fd=place.temp_fd, follow_symlinks=False)
            in_use = _is_in_use(place.temp_fd, place.temp)
            if _identity(now) == standing and not in_use:
                if is_ours:
                    discard_at(place.temp_fd, place.temp)
                else:
                    self._save(place, place.temp)
                return
            standing, is_ours = _identity(out), False
        self._save(place, place.temp)

    def _replace_by_steps(self, place: Place, ours: os.stat_result) -> WriteResult:
        """Replace where the filesystem cannot exchange: aside, look, put in.

        The path is free for a moment; nothing is lost.
        """
        aside = place.temp + ASIDE
        try:
            os.rename(place.name, aside, src_dir_fd=place.folder_fd, dst_dir_fd=place.temp_fd)
        except FileNotFoundError:
            return self._nothing_there(place)
        self._on_step(Step.TAKEN_OUT, place.write.path)
        came = self._came(place.temp_fd, aside, place.write)
        if came is not Came.EXPECTED:
            self._on_step(Step.REFUSED, place.write.path)
            self._return(place, aside)
            discard_at(place.temp_fd, place.temp)
            return self._refused(place, came)
        try:
            rename_new(place.temp_fd, place.temp, place.folder_fd, place.name)
        except FileExistsError:
            discard_at(place.temp_fd, aside)
            return self._occupied(place)
        except OSError:
            self._return(place, aside)
            raise
        discard_at(place.temp_fd, aside)
        return self._applied(place, ours)

    # --- removing ----------------------------------------------------------------------------

    def remove(self, place: Place) -> WriteResult:
        """Take out what is expected at the path; ``place.temp`` is a free name."""
        path = place.write.path
        try:
            old = os.stat(place.name, dir_fd=place.folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return WriteResult(path, WriteOutcome.APPLIED)
        if mode_of(old) is None:
            return self._observe(path)
        self._on_step(Step.PREPARED, path)
        try:
            os.rename(place.name, place.temp, src_dir_fd=place.folder_fd, dst_dir_fd=place.temp_fd)
        except FileNotFoundError:
            return WriteResult(path, WriteOutcome.APPLIED)
        self._on_step(Step.TAKEN_OUT, path)
        came = self._came(place.temp_fd, place.temp, place.write)
        if came is Came.EXPECTED:
            discard_at(place.temp_fd, place.temp)
            return WriteResult(path, WriteOutcome.APPLIED)
        self._on_step(Step.REFUSED, path)
        self._return(place, place.temp)
        return self._refused(place, came)

    def _return(self, place: Place, name: str) -> None:
        """Put what was taken out back to its path; if something newer stands there, keep it."""
        try:
            rename_new(place.temp_fd, name, place.folder_fd, place.name)
        except FileExistsError:
            self._save(place, name)

    # --- renaming ----------------------------------------------------------------------------

    def move(self, place: Place, source_fd: int, source: str) -> WriteResult:
        """Rename a file to a path where nothing stands; ``place.temp`` is a free name."""
        write = place.write
        assert write.moved_from is not None
        self._on_step(Step.PREPARED, write.path)
        before = os.stat(source, dir_fd=source_fd, follow_symlinks=False)
        try:
            rename_new(source_fd, source, place.folder_fd, place.name)
        except FileExistsError:
            if not _is_one_file(source_fd, source, place.folder_fd, place.name):
                return self._observe(write.path)
            # A change of case where case does not count: both names are this file.
            os.rename(source, place.temp, src_dir_fd=source_fd, dst_dir_fd=place.temp_fd)
            try:
                rename_new(place.temp_fd, place.temp, place.folder_fd, place.name)
            except OSError:
                rename_new(place.temp_fd, place.temp, source_fd, source)
                raise
        self._on_step(Step.TAKEN_OUT, write.path)
        moved = self._read(place.folder_fd, place.name)
        if moved is not None and moved.blob == write.blob and moved.stat.mode == write.mode:
            return WriteResult(write.path, WriteOutcome.APPLIED, moved.stat)
        if not self._is_at(place, before):
            # Edited or removed at its new path: that is for the next look at this path.
            stat = FileStat(
                before.st_size, before.st_mtime_ns, before.st_ino, write.mode, ALWAYS_LOOK
            )
            return WriteResult(write.path, WriteOutcome.APPLIED, stat)
        self._on_step(Step.REFUSED, write.path)
        if not self._is_at(place, before):
            return self._observe(write.path)
        try:
            rename_new(place.folder_fd, place.name, source_fd, source)
        except (FileExistsError, FileNotFoundError):
            return self._observe(write.path)
        found = self._observe(write.moved_from)
        return WriteResult(write.path, found.outcome, None, found.found, found.problem)

    def _is_at(self, place: Place, file: os.stat_result) -> bool:
        """Return whether this very file stands untouched at the path."""
        try:
            now = os.stat(place.name, dir_fd=place.folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return _identity(now) == _identity(file)

    # --- looking -----------------------------------------------------------------------------

    def _came(self, folder_fd: int, name: str, write: FileWrite) -> Came:
        """Judge what came out. First for writers: none can come after it has lost its path."""
        out: Content | None = None
        try:
            fd = os.open(name, FILE_FLAGS, dir_fd=folder_fd)
        except OSError:
            out = read_at(folder_fd, name, self._freshness)
        else:
            try:
                if has_writer(fd):
                    return Came.IN_USE
                with contextlib.suppress(NotThereError, OSError):
                    out = read_open(fd, self._freshness)
            finally:
                os.close(fd)
        if out is None or out.blob is None or out.blob != write.expected:
            return Came.OTHER
        is_mode_expected = write.expected_mode in {None, out.stat.mode}
        return Came.EXPECTED if is_mode_expected else Came.OTHER

    def _read(self, folder_fd: int, name: str) -> Content | None:
        return read_at(folder_fd, name, self._freshness)

    def _applied(self, place: Place, ours: os.stat_result) -> WriteResult:
        """Report with the stat of our own content: if another stands there, the next look sees."""
        path, mode = place.write.path, place.write.mode
        with contextlib.suppress(OSError):
            now = os.stat(place.name, dir_fd=place.folder_fd, follow_symlinks=False)
            if _identity(now) == _identity(ours):
                return WriteResult(path, WriteOutcome.APPLIED, self._freshness.record(now, mode))
        stat = FileStat(ours.st_size, ours.st_mtime_ns, ours.st_ino, mode, ALWAYS_LOOK)
        return WriteResult(path, WriteOutcome.APPLIED, stat)

    def _refused(self, place: Place, came: Came) -> WriteResult:
        path = place.write.path
        if came is Came.IN_USE:
            problem = "another program has the file open for writing; tried again when it is closed"
            return WriteResult(path, WriteOutcome.FAILED, problem=problem)
        return self._observe(path)

    def _save(self, place: Place, name: str) -> None:
        """Keep bytes that have no path any more; the cache may forget them, so a file stays."""
        content = self._read(place.temp_fd, name)
        if content is not None and content.blob is not None and content.content is not None:
            self._keep.keep(content.blob, content.content)
        self._temp.rescue(place.temp_fd, name, place.write.path)


def _identity(stat: os.stat_result) -> tuple[int, int, int]:
    """What an untouched file keeps through renames (they change its ctime)."""
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _is_in_use(folder_fd: int, name: str) -> bool:
    try:
        fd = os.open(name, FILE_FLAGS, dir_fd=folder_fd)
    except OSError:
        return False
    try:
        return has_writer(fd)
    finally:
        os.close(fd)


def _is_one_file(first_fd: int, first: str, second_fd: int, second: str) -> bool:
    if first.casefold() != second.casefold():
        return False
    one = os.stat(first, dir_fd=first_fd, follow_symlinks=False)
    two = os.stat(second, dir_fd=second_fd, follow_symlinks=False)
    return (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino) and one.st_nlink == 1
