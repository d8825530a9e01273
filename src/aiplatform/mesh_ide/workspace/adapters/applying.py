"""A batch of writes: prepare all beside, make them durable, put them in place, make that durable.

The contents are on the disk before any name points to them: a crash between leaves the old file
or the new one, never a name with half a content behind it, which the next scan would take for
somebody's edit. (Ext4 flushes for a rename over an existing file only, not for an exchange.)
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.ports.filetree import (
    Contents,
    FileWrite,
    WriteOutcome,
    WriteResult,
)
from aiplatform.mesh_ide.workspace.adapters.folder_table import BlockedError, FolderTable
from aiplatform.mesh_ide.workspace.adapters.local_folder import Freshness, read_at
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step, failed
from aiplatform.mesh_ide.workspace.adapters.paths import (
    BadPathError,
    problem_of_target,
    split_writable,
)
from aiplatform.mesh_ide.workspace.adapters.placing import Place, Placer
from aiplatform.mesh_ide.workspace.adapters.posix import sync_filesystem
from aiplatform.mesh_ide.workspace.adapters.temporary import (
    PlanLine,
    TempFolder,
    discard_at,
    write_new,
)
from aiplatform.mesh_ide.workspace.ignore import TEMP_FOLDER

LINK_BYTES_MAX: Final = 4095
"""Linux' bound on a link's target (symlink(7))."""

_PROBLEMS: Final = {
    errno.ENOSPC: "the disk is full: make room, it is tried again",
    errno.EDQUOT: "the disk quota is used up: make room, it is tried again",
    errno.EROFS: "the disk is read-only: mount it for writing, it is tried again",
    errno.EACCES: "permission denied: allow writing in this folder, it is tried again",
    errno.EPERM: "not permitted (another owner or an immutable file): change that",
    errno.ENAMETOOLONG: "the name is too long for this disk: rename the file",
}


def problem_of(error: OSError) -> str:
    """Return what a person can do about a failed call."""
    return _PROBLEMS.get(error.errno or 0) or (error.strerror or str(error)).lower()


class Batch:
    """One call of ``apply``."""

    def __init__(  # noqa: PLR0913 - the parts of a tree that a batch needs
        self,
        root_fd: int,
        temp: TempFolder,
        contents: Contents,
        freshness: Freshness,
        observe: Callable[[str], WriteResult],
        on_step: Callable[[Step, str], None],
        *,
        durable: bool,
        can_exchange: bool,
    ) -> None:
        self._root_fd = root_fd
        self._temp = temp
        self._contents = contents
        self._observe = observe
        self._freshness = freshness
        self._durable = durable
        self._is_unsettled = False
        self._folders = FolderTable(root_fd)
        self._placer = Placer(
            temp, freshness, contents, observe, on_step, can_exchange=can_exchange
        )

    def run(self, writes: Sequence[FileWrite]) -> tuple[WriteResult, ...]:
        """Carry out all writes, each by itself; results in order.

        Raises:
            UnavailableError: the disk failed at the very end; look at the folder again.
        """
        try:
            prepared = [self._prepare(write) for write in writes]
            try:
                plan = self._plan(zip(writes, prepared, strict=True))
                if self._durable and any(isinstance(item, str) for item in prepared):
                    sync_filesystem(self._root_fd)
            except OSError as error:
                return self._give_up(writes, prepared, error)
            results = tuple(
                item if isinstance(item, WriteResult) else self._place(write, item)
                for write, item in zip(writes, prepared, strict=True)
            )
        finally:
            self._folders.close()
        self._placer.remove_replaced()
        # The plan goes after what it names: a crash in between leaves nothing unknown.
        if plan is not None and not self._is_unsettled:
            self._temp.discard(plan)
        if self._durable:
            try:
                sync_filesystem(self._root_fd)
            except OSError as error:
                raise UnavailableError(
                    f"The changes stand in the folder, but the disk failed to keep them for sure "
                    f"({problem_of(error)}). Check the disk; the folder is looked at again."
                ) from error
        return results

    def _give_up(
        self, writes: Sequence[FileWrite], prepared: list[str | WriteResult], error: OSError
    ) -> tuple[WriteResult, ...]:
        """Fail all writes before any was carried out: what was prepared is not on the disk."""
        for item in prepared:
            if isinstance(item, str):
                self._temp.discard(item)
        return tuple(failed(write, problem_of(error)) for write in writes)

    # --- preparing ---------------------------------------------------------------------------

    def _prepare(self, write: FileWrite) -> str | WriteResult:
        """Return the name of the prepared (or still free) temporary file, or the failure."""
        try:
            name = self._temp.new_name()
            split_writable(write.path)
            if write.moved_from is not None:
                split_writable(write.moved_from)
            if write.blob is not None and not self._is_plain_move(write):
                self._write_content(name, write)
        except BadPathError as error:
            return failed(write, f"refused: {error}")
        except UnavailableError as error:
            return failed(write, str(error))
        except OSError as error:
            return failed(write, problem_of(error))
        return name

    def _is_plain_move(self, write: FileWrite) -> bool:
        if write.moved_from is None or write.expected is not None:
            return False
        parts = write.moved_from.split("/")
        folder_fd = self._folders.reach(parts[:-1], create=False)
        if folder_fd is None:
            return False
        try:
            os.stat(parts[-1], dir_fd=folder_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False  # gone: the content comes from elsewhere, if anybody has it
        return True

    def _write_content(self, name: str, write: FileWrite) -> None:
        assert write.blob is not None
        hint = write.moved_from or (write.path if write.blob == write.expected else None)
        chunks = self._contents.chunks(write.blob, hint)
        if chunks is None:
            raise UnavailableError("its content is not on this machine yet")
        if write.mode is not FileMode.SYMLINK:
            permissions = 0o777 if write.mode is FileMode.EXECUTABLE else 0o666
            self._temp.write(name, chunks, permissions)
            return
        target = _link_target(chunks)
        problem = problem_of_target(target, write.path.count("/"))
        if problem is not None:
            raise BadPathError(f"a link that does not stay inside: {problem}")
        os.symlink(target, name, dir_fd=self._temp.fd)

    def _plan(self, items: Iterable[tuple[FileWrite, str | WriteResult]]) -> str | None:
        lines = [
            PlanLine(item, write.path, write.blob, write.expected)
            for write, item in items
            if isinstance(item, str) and write.expected is not None
        ]
        return self._temp.write_plan(lines) if lines else None

    # --- placing -----------------------------------------------------------------------------

    def _place(self, write: FileWrite, temp: str) -> WriteResult:
        try:
            try:
                return self._try(write, temp)
            except FileNotFoundError:
                # A folder that was reached before in this batch was removed by somebody.
                self._folders.forget()
                return self._try(write, temp)
        except BlockedError as error:
            self._clear(write, temp)
            return self._blocked(write, error.path)
        except OSError as error:
            self._clear(write, temp)
            return failed(write, problem_of(error))

    def _clear(self, write: FileWrite, temp: str) -> None:
        """Remove what was prepared, but never somebody's bytes that had come out."""
        left = read_at(self._temp.fd, temp, self._freshness)
        if left is None or (left.blob is not None and left.blob == write.blob):
            self._temp.discard(temp)
            return
        try:
            self._temp.rescue(self._temp.fd, temp, write.path)
        except OSError:
            self._is_unsettled = True  # the plan stays: the next start knows whose bytes these are

    def _try(self, write: FileWrite, temp: str) -> WriteResult:
        parts = write.path.split("/")
        if write.blob is not None:
            self._folders.prune(write.path)  # a folder of this name that we have emptied goes first
        folder_fd = self._folders.reach(parts[:-1], create=write.blob is not None)
        if folder_fd is None:
            return WriteResult(write.path, WriteOutcome.APPLIED)
        place = Place(write, folder_fd, parts[-1], self._temp.fd, temp)
        try:
            result = self._change(place)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            result = self._change_on_other_disk(place)
        if write.blob is None and result.outcome is WriteOutcome.APPLIED:
            self._folders.prune_later(parts[:-1])
        return result

    def _change(self, place: Place) -> WriteResult:
        write = place.write
        if write.blob is None:
            return self._placer.remove(place)
        if write.moved_from is not None and not self._is_prepared(place):
            return self._move(place, write.moved_from)
        if write.expected is None:
            result = self._placer.create(place)
        else:
            result = self._placer.replace(place)
        if write.moved_from is not None and result.outcome is WriteOutcome.APPLIED:
            self._remove_source(write, write.moved_from)
        return result

    def _is_prepared(self, place: Place) -> bool:
        try:
            os.stat(place.temp, dir_fd=place.temp_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _move(self, place: Place, moved_from: str) -> WriteResult:
        source = moved_from.split("/")
        # Its own descriptor: reaching the source may close the target's, and the other way round.
        target_fd = os.dup(place.folder_fd)
        try:
            source_fd = self._folders.reach(source[:-1], create=False)
            if source_fd is None:
                return failed(place.write, f"{moved_from} is not there any more")
            own = Place(place.write, target_fd, place.name, place.temp_fd, place.temp)
            result = self._placer.move(own, source_fd, source[-1])
        finally:
            os.close(target_fd)
        if result.outcome is WriteOutcome.APPLIED:
            self._folders.prune_later(source[:-1])
        return result

    def _remove_source(self, write: FileWrite, moved_from: str) -> None:
        """The content was copied to its new path; the old one goes if it is still the same."""
        removal = FileWrite(moved_from, None, write.mode, write.blob, write.mode)
        with contextlib.suppress(OSError, BlockedError):
            self._try(removal, self._temp.new_name())

    def _change_on_other_disk(self, place: Place) -> WriteResult:
        """Below a mount point a rename from the root's disk is impossible: prepare it there."""
        near = f"{TEMP_FOLDER}-{place.temp}"
        write = place.write
        if write.moved_from is not None and not self._is_prepared(place):
            return failed(write, "a rename to another disk: copy it there by hand")
        if write.mode is FileMode.SYMLINK and write.blob is not None:
            target = os.readlink(place.temp, dir_fd=place.temp_fd)
            os.symlink(target, near, dir_fd=place.folder_fd)
        elif write.blob is not None:
            chunks = self._contents.chunks(write.blob)
            if chunks is None:
                return failed(write, "its content is not on this machine any more")
            permissions = 0o777 if write.mode is FileMode.EXECUTABLE else 0o666
            write_new(place.folder_fd, near, chunks, permissions)
            if self._durable:
                sync_filesystem(place.folder_fd)
        try:
            return self._change(Place(write, place.folder_fd, place.name, place.folder_fd, near))
        finally:
            left = read_at(place.folder_fd, near, self._freshness)
            if (
                left is not None
                and left.blob is not None
                and (left.blob in {write.blob, write.expected})
            ):
                discard_at(place.folder_fd, near)
            if self._durable:
                sync_filesystem(place.folder_fd)

    def _blocked(self, write: FileWrite, path: str) -> WriteResult:
        """A file stands where the path needs a folder."""
        seen = self._observe(path)
        problem = seen.problem or f"{path} stands in the way and is no folder"
        return WriteResult(write.path, seen.outcome, None, seen.found, problem)


def _link_target(chunks: Iterable[bytes]) -> str:
    content = b""
    for chunk in chunks:
        content += chunk
        if len(content) > LINK_BYTES_MAX:
            raise BadPathError("a link's target is too long")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise BadPathError("a link's target is not UTF-8") from None
