"""A workspace core over the bench's ledger, driven as the node drives it.

Tree edits and seals are done at once; jobs of the disk are shown, and the test answers them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from aiplatform.mesh_ide.documents.authoring import Authoring
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import FilesChanged, PathsChanged
from aiplatform.mesh_ide.model.entries import Principal
from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.ports.filetree import (
    FileStat,
    Observation,
    ScanBatch,
    WriteOutcome,
    WriteResult,
)
from aiplatform.mesh_ide.ports.jobs import (
    ApplyWrites,
    FolderScanned,
    PathsObserved,
    Persist,
    PlannedWrite,
    WritesApplied,
)
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind
from aiplatform.mesh_ide.workspace.core import WorkspaceCore
from aiplatform.mesh_ide.workspace.core_taking import Taking
from aiplatform.mesh_ide.workspace.records import DiskState, decode_disk, disk_record
from tests.unit.documents.authors import PEER, PERSON, file
from tests.unit.workspace.bench import NOW_MS, Bench, only


class Rig(Bench):
    """One core, its ledger and the peer's entries.

    ``commits`` are not durable yet; ``unplanned`` names the writes that were handed out although
    no durable record tells of their plan.
    """

    def __init__(self, core_type: type[WorkspaceCore] = WorkspaceCore) -> None:
        """Begin with an empty folder."""
        super().__init__()
        self.core = core_type(
            self.ledger, self.authoring, PERSON, self._new_file_id, self._new_ticket
        )
        self.folder = self.core.folder
        self.commits: list[Persist] = []
        self.unplanned: list[str] = []
        self._durable: dict[str, DiskState] = {}

    def _new_ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    # --- driving -----------------------------------------------------------------------------

    def does(self, out: Sequence[object]) -> list[object]:
        """Carry on as the node does; returns what the disk is asked and people are told."""
        shown: list[object] = []
        queue = list(out)
        while True:
            for one in self.run(queue):
                if isinstance(one, FilesChanged):
                    self.core.on_files_changed(one)
                elif isinstance(one, PathsChanged):
                    self.core.on_paths_changed(one)
                else:
                    shown.append(one)
            self.core.on_freed(self.ledger.take_freed())
            self.core.begin_turn()
            queue = list(self.core.flush())
            if not queue:
                break
        for job in shown:
            if isinstance(job, Persist):
                self.commits.append(job)
            elif isinstance(job, ApplyWrites):
                self.unplanned.extend(p.write.path for p in job.writes if not self._is_planned(p))
        return shown

    def _is_planned(self, planned: PlannedWrite) -> bool:
        write = planned.write
        target = self._durable.get(write.path)
        if write.blob is None:
            return target is not None and target.is_leaving
        return (
            target is not None
            and target.planned is not None
            and (target.planned.blob == write.blob)
        )

    def store(self) -> list[object]:
        """Let the disk make durable what waits; returns what follows."""
        shown: list[object] = []
        while self.commits:
            persist = self.commits.pop(0)
            for write in persist.writes:
                if isinstance(write, PutRecord) and write.kind is RecordKind.DISK and write.value:
                    path, state = decode_disk(write.key, write.value)
                    self._durable[path] = state
            shown += self.does(self.core.on_persisted(persist.ticket))
        return shown

    def apply(
        self, out: Sequence[object], outcome: WriteOutcome = WriteOutcome.APPLIED
    ) -> list[object]:
        """Let the disk do (or refuse) the writes that were asked for."""
        shown: list[object] = []
        for job in only(out, ApplyWrites):
            results = tuple(
                WriteResult(p.write.path, outcome, self._stat_of(p), problem="full")
                for p in job.writes
            )
            applied = WritesApplied(job.writes, results, ())
            shown += self.does(self.core.on_applied(applied, NOW_MS))
        return shown

    def _stat_of(self, planned: PlannedWrite) -> FileStat | None:
        write = planned.write
        return None if write.blob is None else FileStat(3, 2, 77, write.mode)

    # --- the folder --------------------------------------------------------------------------

    def scanned(
        self,
        *seen: Observation,
        unchanged: Iterable[str] = (),
        is_last: bool = True,
        problem: str | None = None,
    ) -> list[object]:
        """Tell a part of the scan."""
        batch = ScanBatch(seen, tuple(unchanged), ())
        return self.does(self.core.on_scanned(FolderScanned(batch, is_last, problem), NOW_MS))

    def observed(
        self, *seen: Observation, is_last: bool = True, problem: str | None = None
    ) -> list[object]:
        """Tell what was found at paths that were asked for."""
        batch = ScanBatch(seen, (), ())
        return self.does(self.core.on_observed(PathsObserved(batch, is_last, problem), NOW_MS))

    def tick(self, after_ms: int, *, is_busy: bool = False) -> list[object]:
        """Let time pass until so long after the beginning."""
        return self.does(self.core.tick(NOW_MS + after_ms, is_busy=is_busy))

    def begun(self) -> list[object]:
        """Look at the folder for the first time: what stands there is as it is known."""
        self.does(self.core.scan(NOW_MS))
        return self.scanned(unchanged=self.folder.paths())

    # --- the peer ----------------------------------------------------------------------------

    def peer_creates(self, path: str, number: int, text: str = "one") -> None:
        """Let a file of the peer's arrive, its content too; nothing is considered yet."""
        self.share(path, number, text)
        self.hold_content(text)
        self.changed(file(number))

    def peer_edits(self, number: int, text: str) -> None:
        """Let the peer's next version arrive, its content too; nothing is considered yet."""
        self.arrive(*self.peer.say(self.peer.change(file(number), text)))
        self.hold_content(text)
        self.changed(file(number))

    def changed(self, *files: FileId) -> None:
        """Tell the core that others changed files."""
        self.core.on_files_changed(FilesChanged(files, PEER))


def with_taking(taking_type: type[Taking]) -> type[WorkspaceCore]:
    """Return a core with another kind of this part."""

    class Variant(WorkspaceCore):
        def __init__(
            self,
            ledger: Ledger,
            authoring: Authoring,
            principal: Principal,
            new_file_id: Callable[[], FileId],
            new_ticket: Callable[[], int],
        ) -> None:
            super().__init__(ledger, authoring, principal, new_file_id, new_ticket)
            self.taking.__class__ = taking_type

    return Variant


def records(rig: Rig) -> list[tuple[bytes, bytes]]:
    """Return the folder's records, as another run would find them."""
    kept: list[tuple[bytes, bytes]] = []
    for path in rig.folder.paths():
        write = disk_record(path, rig.folder.get(path))
        assert write.value is not None
        kept.append((write.key, write.value))
    return kept


def written(out: list[object]) -> list[str]:
    """Return the paths that the disk is asked to write."""
    return [planned.write.path for job in only(out, ApplyWrites) for planned in job.writes]
