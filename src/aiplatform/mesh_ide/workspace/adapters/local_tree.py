"""A working folder on a real disk (a ``FileTree``).

Everything happens below one descriptor of the root, opened step by step without following links,
so no name, link or swap of a folder leads outside. Linux and macOS; Windows has no calls relative
to a folder and needs a tree of its own.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.ports.errors import RootMissingError
from aiplatform.mesh_ide.ports.filetree import (
    Contents,
    FileStat,
    FileWrite,
    Observation,
    ScanBatch,
    WriteOutcome,
    WriteResult,
)
from aiplatform.mesh_ide.workspace.adapters.applying import Batch, problem_of
from aiplatform.mesh_ide.workspace.adapters.local_folder import (
    FOLDER_FLAGS,
    Freshness,
    LocalFolder,
)
from aiplatform.mesh_ide.workspace.adapters.opened import Keep
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step, refused
from aiplatform.mesh_ide.workspace.adapters.recovery import Recovery
from aiplatform.mesh_ide.workspace.adapters.temporary import RESCUED, TempFolder
from aiplatform.mesh_ide.workspace.adapters.walk import Walk
from aiplatform.mesh_ide.workspace.ignore import TEMP_FOLDER

WRITES_PER_BATCH_MAX: Final = 1024
"""Bounds what is prepared beside the folder at one time (disk space) and how long it is busy."""

TICK_NS: Final = 20_000_000
"""Two ticks of the slowest common kernel clock (HZ=100)."""

COARSE_TICK_NS: Final = 2_000_000_000
"""FAT keeps even seconds; ext3, HFS+ and old NFS whole ones."""


class LocalFileTree:
    """One folder, opened for as long as the node serves it. One thread at a time.

    Content of changed known texts goes to ``keep`` as it is read (see ``KEEP_BYTES_MAX``).
    """

    def __init__(
        self, root: Path, keep: Keep, *, durable: bool = True, can_exchange: bool = True
    ) -> None:
        """Open the folder.

        Args:
            root: the folder; the path itself may be a link, nothing below it is followed.
            keep: where contents are kept that the next step needs.
            durable: ``apply`` returns when the batch is on the disk (``syncfs``).
            can_exchange: False to do without ``RENAME_EXCHANGE`` (found out by itself where the
                filesystem lacks it).

        Raises:
            RootMissingError: there is no folder there.
        """
        self._root = root
        self._keep = keep
        self._durable = durable
        self._can_exchange = can_exchange
        try:
            self._fd = os.open(root, FOLDER_FLAGS & ~os.O_NOFOLLOW)
        except OSError as error:
            reason = (error.strerror or "cannot be opened").lower()
            raise RootMissingError(
                f"The working folder {root} cannot be opened ({reason}). "
                "Bring it back, or stop serving it with: mesh down"
            ) from error
        opened = os.fstat(self._fd)
        self._identity = (opened.st_dev, opened.st_ino)
        self._freshness = Freshness(_measure_tick(self._fd))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary folder if it is empty and let go of the root; idempotent."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                TempFolder.remove(self._fd)
            os.close(self._fd)
            self._fd = -1

    def is_present(self) -> bool:
        """Return whether the root is there and is the folder that was opened."""
        try:
            now = self._root.stat()
        except OSError:
            return False
        return (now.st_dev, now.st_ino) == self._identity

    def _verify(self) -> None:
        if not self.is_present():
            raise RootMissingError(
                f"The working folder {self._root} is gone, or another folder stands in its place. "
                "Nothing was taken for deleted. Bring it back, and it is looked at again by "
                "itself; if it was moved, `mesh down` and then `mesh up` in its new place."
            )

    # --- looking -----------------------------------------------------------------------------

    def scan(self, known: dict[str, FileStat]) -> Iterator[ScanBatch]:
        """Walk everything; see ``FileTree.scan``. What is gone comes in the last batches."""
        return self._walk(known).scan()

    def observe(
        self, paths: Sequence[str], known: dict[str, FileStat], *, keeps_new: bool = False
    ) -> ScanBatch:
        """Look at these paths; see ``FileTree.observe``. ``.`` is the whole folder."""
        return self._walk(known, keeps_new=keeps_new).observe(paths)

    def _walk(self, known: dict[str, FileStat], *, keeps_new: bool = False) -> Walk:
        root = LocalFolder(self._fd, self._freshness)
        return Walk(root, known, self._keep, self._verify, keeps_new=keeps_new)

    def _observe_for_apply(self, path: str, keep: Keep) -> WriteResult:
        """Say what stands at a path that was not as expected, keeping its bytes."""
        root = LocalFolder(self._fd, self._freshness)
        seen = Walk(root, {}, keep, self._verify, keeps_new=True).observe([path])
        return refused(path, seen)

    # --- changing ----------------------------------------------------------------------------

    def apply(self, writes: Sequence[FileWrite], contents: Contents) -> tuple[WriteResult, ...]:
        """Change the disk; see ``FileTree.apply``.

        Raises:
            RootMissingError: the folder is gone or is not the folder it was; nothing was done.
        """
        self._verify()
        try:
            temp = TempFolder.open(self._fd, create=True)
        except OSError as error:
            problem = problem_of(error)
            return tuple(
                WriteResult(write.path, WriteOutcome.FAILED, problem=problem) for write in writes
            )
        assert temp is not None
        try:
            results: list[WriteResult] = []
            for start in range(0, len(writes), WRITES_PER_BATCH_MAX):
                part = writes[start : start + WRITES_PER_BATCH_MAX]
                results.extend(self._batch(temp, contents).run(part))
            return tuple(results)
        finally:
            temp.close()

    def _batch(self, temp: TempFolder, contents: Contents) -> Batch:
        return Batch(
            self._fd,
            temp,
            contents,
            self._freshness,
            lambda path: self._observe_for_apply(path, contents),
            self._on_step,
            durable=self._durable,
            can_exchange=self._can_exchange,
        )

    def _on_step(self, step: Step, path: str) -> None:
        """Do nothing; tests put another program here."""

    # --- after a crash -----------------------------------------------------------------------

    def recover(self) -> tuple[Observation, ...]:
        """Settle what a crash left in the temporary folder; call once after opening.

        Bytes that are not ours go back to their path (and to ``keep``) before anything is removed.

        Returns:
            What stands at those paths now; treat it as observations.

        Raises:
            UnavailableError: the disk does not let it: nothing is served before that is settled.
        """
        self._verify()
        try:
            temp = TempFolder.open(self._fd, create=False)
            if temp is None:
                return ()
            try:
                restored = Recovery(self._fd, temp, self._freshness, self._keep).run()
            finally:
                temp.close()
        except OSError as error:
            raise UnavailableError(
                f"What a crash left in {self._root / TEMP_FOLDER} cannot be put back "
                f"({problem_of(error)}): mend that, then run `mesh up` again"
            ) from error
        return self._walk({}, keeps_new=True).observe(restored).observations

    def rescued(self) -> tuple[str, ...]:
        """Return the files below the root that hold bytes which lost their path to newer ones."""
        temp = TempFolder.open(self._fd, create=False)
        if temp is None:
            return ()
        try:
            return tuple(f".mesh-tmp/{name}" for name in temp.names() if name.startswith(RESCUED))
        finally:
            temp.close()


def _measure_tick(root_fd: int) -> int:
    """Find out whether timestamps tell two writes apart that follow each other at once.

    A file without a name is written eight times, microseconds apart, and looked at in between.
    """
    nameless = getattr(os, "O_TMPFILE", None)
    if nameless is None:
        return TICK_NS
    try:
        fd = os.open(".", nameless | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=root_fd)
    except OSError:
        return TICK_NS  # not on this filesystem, or not writable: be careful
    try:
        stamps = []
        for _ in range(8):
            os.pwrite(fd, b"x", 0)
            stamps.append(os.fstat(fd).st_ctime_ns)
    except OSError:
        return TICK_NS
    finally:
        os.close(fd)
    if len(set(stamps)) == len(stamps):
        return 0
    is_whole_seconds = all(stamp % 1_000_000_000 == 0 for stamp in stamps)
    return COARSE_TICK_NS if is_whole_seconds else TICK_NS
