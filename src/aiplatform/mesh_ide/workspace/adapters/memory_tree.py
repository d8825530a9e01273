"""The working folder of a simulated node (a ``FileTree`` on a ``MemoryDisk``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.errors import MeshIDEError, UnavailableError
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
from aiplatform.mesh_ide.workspace.adapters.memory_disk import (
    DiskFault,
    Folder,
    Leftover,
    MemoryDisk,
    MemoryFile,
    MemoryFolder,
)
from aiplatform.mesh_ide.workspace.adapters.opened import ALWAYS_LOOK, Keep
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step, failed, refused
from aiplatform.mesh_ide.workspace.adapters.paths import (
    BadPathError,
    problem_of_target,
    split_writable,
)
from aiplatform.mesh_ide.workspace.adapters.walk import Walk


class SimulatedCrashError(MeshIDEError):
    """The node ended here; the disk stays as it is."""


class MemoryFileTree:
    """A folder on a memory disk, with the steps and the outcomes of the real one.

    Attributes:
        crash_at: the step at which the next change ends the node (then ``None`` again).
    """

    def __init__(self, disk: MemoryDisk, keep: Keep) -> None:
        """Open ``disk``; contents of changed known texts go to ``keep``."""
        self.disk = disk
        self.crash_at: Step | None = None
        self._keep = keep

    def is_present(self) -> bool:
        """Return whether the root is there."""
        return DiskFault.ROOT_MISSING not in self.disk.faults

    def _verify(self) -> None:
        if not self.is_present():
            raise RootMissingError("The working folder is gone. Bring it back.")

    # --- looking -----------------------------------------------------------------------------

    def scan(self, known: dict[str, FileStat]) -> Iterator[ScanBatch]:
        """Walk everything; see ``FileTree.scan``."""
        return Walk(MemoryFolder(self.disk), known, self._keep, self._verify).scan()

    def observe(
        self, paths: Sequence[str], known: dict[str, FileStat], *, keeps_new: bool = False
    ) -> ScanBatch:
        """Look at these paths; see ``FileTree.observe``."""
        walk = Walk(MemoryFolder(self.disk), known, self._keep, self._verify, keeps_new=keeps_new)
        return walk.observe(paths)

    def _look(self, path: str, keep: Keep) -> WriteResult:
        walk = Walk(MemoryFolder(self.disk), {}, keep, self._verify, keeps_new=True)
        return refused(path, walk.observe([path]))

    # --- changing ----------------------------------------------------------------------------

    def apply(self, writes: Sequence[FileWrite], contents: Contents) -> tuple[WriteResult, ...]:
        """Change the disk; see ``FileTree.apply``."""
        self._verify()
        return tuple(self._apply(write, contents) for write in writes)

    def _apply(self, write: FileWrite, contents: Contents) -> WriteResult:
        try:
            split_writable(write.path)
            if write.moved_from is not None:
                split_writable(write.moved_from)
            prepared = self._prepare(write, contents)
        except BadPathError as error:
            return failed(write, f"refused: {error}")
        except UnavailableError as error:
            return failed(write, str(error))
        if write.blob is None:
            return self._remove(write, contents)
        blocker = self.disk.blocker(write.path)
        if blocker is not None:
            seen = self._look(blocker, contents)
            problem = seen.problem or f"{blocker} stands in the way and is no folder"
            return WriteResult(write.path, seen.outcome, None, seen.found, problem)
        if prepared is None:
            return self._move(write, contents)
        return self._put(write, prepared, contents)

    def _prepare(self, write: FileWrite, contents: Contents) -> MemoryFile | None:
        """Return the new file; ``None`` for what needs none (a removal, a plain rename)."""
        for fault in (DiskFault.READ_ONLY, DiskFault.FULL):
            is_harmless = fault is DiskFault.FULL and (write.blob is None or write.moved_from)
            if fault in self.disk.faults and not is_harmless:
                raise UnavailableError(fault.value)
        if write.blob is None:
            return None
        if self._is_plain_move(write):
            return None
        hint = write.moved_from or (write.path if write.blob == write.expected else None)
        chunks = contents.chunks(write.blob, hint)
        if chunks is None:
            raise UnavailableError("its content is not on this machine yet")
        content = b"".join(chunks)
        if write.mode is FileMode.SYMLINK:
            try:
                problem = problem_of_target(content.decode(), write.path.count("/"))
            except UnicodeDecodeError:
                raise BadPathError("a link's target is not UTF-8") from None
            if problem is not None:
                raise BadPathError(f"a link that does not stay inside: {problem}")
        return self.disk.make(content, write.mode)

    def _is_plain_move(self, write: FileWrite) -> bool:
        if write.moved_from is None or write.expected is not None:
            return False
        return isinstance(self.disk.find(write.moved_from), MemoryFile)

    def _put(self, write: FileWrite, ours: MemoryFile, contents: Contents) -> WriteResult:
        self._step(Step.PREPARED, write.path)
        out = self.disk.find(write.path)
        if isinstance(out, dict) or (out is not None and out.is_special):
            return self._look(write.path, contents)
        if write.expected is None and out is not None:
            if out.blob == write.blob and out.mode is write.mode:
                return WriteResult(write.path, WriteOutcome.APPLIED, out.stat)
            return self._look(write.path, contents)
        if write.expected is not None and out is None:
            found = Observation(write.path, None)
            return WriteResult(write.path, WriteOutcome.UNEXPECTED, None, found)
        self.disk.put(write.path, ours)
        if out is not None:
            self._taken_out(write, out)
            if not _is_expected(write, out):
                self._step(Step.REFUSED, write.path)
                self._put_back(write.path, out, ours)
                return self._look(write.path, contents)
        if write.moved_from is not None:
            source = self.disk.find(write.moved_from)
            if isinstance(source, MemoryFile) and source.blob == write.blob:
                self.disk.take(write.moved_from)
        return WriteResult(write.path, WriteOutcome.APPLIED, ours.stat)

    def _remove(self, write: FileWrite, contents: Contents) -> WriteResult:
        self._step(Step.PREPARED, write.path)
        out = self.disk.find(write.path)
        if out is None:
            return WriteResult(write.path, WriteOutcome.APPLIED)
        if isinstance(out, dict) or out.is_special:
            return self._look(write.path, contents)
        self.disk.take(write.path)
        self._taken_out(write, out)
        if _is_expected(write, out):
            return WriteResult(write.path, WriteOutcome.APPLIED)
        self._step(Step.REFUSED, write.path)
        self._put_back(write.path, out, None)
        return self._look(write.path, contents)

    def _move(self, write: FileWrite, contents: Contents) -> WriteResult:
        assert write.moved_from is not None
        self._step(Step.PREPARED, write.path)
        if self.disk.find(write.path) is not None:
            return self._look(write.path, contents)
        source = self.disk.find(write.moved_from)
        if not isinstance(source, MemoryFile):
            return failed(write, f"{write.moved_from} is not there any more")
        ours = self.disk.rename(write.moved_from, write.path)
        self._step(Step.TAKEN_OUT, write.path)
        moved = self.disk.find(write.path)
        if isinstance(moved, MemoryFile) and (moved.blob, moved.mode) == (write.blob, write.mode):
            return WriteResult(write.path, WriteOutcome.APPLIED, moved.stat)
        if moved is not ours:
            stat = msgspec.structs.replace(source.stat, ctime_ns=ALWAYS_LOOK)
            return WriteResult(write.path, WriteOutcome.APPLIED, stat)
        self._step(Step.REFUSED, write.path)
        is_taken = self.disk.find(write.moved_from) is not None
        if is_taken or self.disk.find(write.path) is not ours:
            return self._look(write.path, contents)
        self.disk.rename(write.path, write.moved_from)
        seen = self._look(write.moved_from, contents)
        return WriteResult(write.path, seen.outcome, None, seen.found, seen.problem)

    def _put_back(self, path: str, out: MemoryFile, ours: MemoryFile | None) -> None:
        """Bring back what came out, unless something newer than ours stands there."""
        standing = self.disk.find(path)
        if standing is None or standing is ours:
            self.disk.put(path, self.disk.touched(out))
        else:
            self._keep.keep(out.blob, out.content)
            self.disk.kept.append((path, out.content))

    def _taken_out(self, write: FileWrite, out: MemoryFile) -> None:
        """Let another program in; a crash here leaves what came out in the temporary folder."""
        if self.crash_at is Step.TAKEN_OUT:
            left = Leftover(write.path, out, write.blob, write.expected)
            self.disk.leftovers.append(left)
        self._step(Step.TAKEN_OUT, write.path)

    def _step(self, step: Step, path: str) -> None:
        if self.crash_at is step:
            self.crash_at = None
            raise SimulatedCrashError(f"crash at {step.value} of {path}")
        self._on_step(step, path)

    def _on_step(self, step: Step, path: str) -> None:
        """Do nothing; tests and the simulator put another program here."""

    # --- after a crash -----------------------------------------------------------------------

    def recover(self) -> tuple[Observation, ...]:
        """Settle what a crash left; see ``LocalFileTree.recover``."""
        self._verify()
        restored: list[str] = []
        leftovers, self.disk.leftovers = self.disk.leftovers, []
        for left in leftovers:
            if left.file.blob in {left.ours, left.expected}:
                continue
            self._keep.keep(left.file.blob, left.file.content)
            there: MemoryFile | Folder | None = self.disk.find(left.path)
            is_ours = isinstance(there, MemoryFile) and there.blob == left.ours
            if there is None or is_ours:
                self.disk.put(left.path, self.disk.touched(left.file))
                restored.append(left.path)
            else:
                self.disk.kept.append((left.path, left.file.content))
        walk = Walk(MemoryFolder(self.disk), {}, self._keep, self._verify, keeps_new=True)
        return walk.observe(restored).observations


def _is_expected(write: FileWrite, out: MemoryFile) -> bool:
    return out.blob == write.expected and write.expected_mode in {None, out.mode}
