"""Nodes that break one rule each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import Notice, ParentsMissing
from aiplatform.mesh_ide.documents.state import FileState, Head, Refusal
from aiplatform.mesh_ide.model.entries import EntryRef, FileVector, KnownEntry
from aiplatform.mesh_ide.model.enums import EntryKind
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId, NodeId
from aiplatform.mesh_ide.model.messages import Stored
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.core_boot import Boot
from aiplatform.mesh_ide.node.events import Command, Event
from aiplatform.mesh_ide.ports.filetree import Contents, FileWrite, WriteResult
from aiplatform.mesh_ide.ports.jobs import Job, Persist, Persisted
from aiplatform.mesh_ide.ports.store import Write
from aiplatform.mesh_ide.replication.commands import ReplicationCommand
from aiplatform.mesh_ide.replication.core import ReplicationCore
from aiplatform.mesh_ide.replication.holdings import Holdings
from aiplatform.mesh_ide.replication.own_work import OwnWork
from aiplatform.mesh_ide.replication.unheard import Unheard
from aiplatform.mesh_ide.simulation.disk import FullableStore, SimulatedDisk
from aiplatform.mesh_ide.simulation.node import SimulatedNode
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.storage.memory import MemoryStore
from aiplatform.mesh_ide.storage.memory_disk import MemoryDisk
from aiplatform.mesh_ide.workspace.adapters.memory_disk import MemoryFile
from aiplatform.mesh_ide.workspace.adapters.memory_tree import MemoryFileTree
from aiplatform.mesh_ide.workspace.core_deletions import Deletions
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import DiskState


class Twisted(Factory):
    """Makes cores and puts a broken part into each."""

    def __init__(self, twist: Callable[[NodeCore], None]) -> None:
        self._twist = twist

    def core(self, boot: Boot) -> NodeCore:
        """Return a core with a broken part."""
        core = NodeCore(boot)
        self._twist(core)
        return core


# --- acknowledging -------------------------------------------------------------------------------


class HastyCore(NodeCore):
    """Believes that a commit is durable the moment it begins."""

    def handle(self, event: Event, now_ms: int) -> tuple[Command, ...]:
        """Answer commits at once; what the disk says later is not heard."""
        if isinstance(event, Persisted):
            return ()
        commands: list[Command] = []
        for command in super().handle(event, now_ms):
            commands.append(command)
            if isinstance(command, Persist):
                commands.extend(super().handle(Persisted(command.ticket), now_ms))
        return tuple(commands)


class HastyFactory(Factory):
    """Acknowledges before it persists."""

    def core(self, boot: Boot) -> NodeCore:
        """Return a hasty core."""
        return HastyCore(boot)


class ForgetfulStore(FullableStore):
    """Returns from a commit before it is synced: a crash takes the last ones back."""

    def commit(self, writes: Sequence[Write]) -> tuple[EntryRef, ...]:
        """Commit; only what came before the last four is durable."""
        refused = super().commit(writes)
        self._all.sync(max(0, self._all.unsynced_count - 4))
        return refused


class ForgetfulDisk(SimulatedDisk):
    """A disk whose cache is lost with the power."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryDisk(syncs_at_commit=False)

    def open_store(self) -> MemoryStore:
        """Open a store that does not wait for the sync."""
        return ForgetfulStore(self)


class ForgetfulFactory(Factory):
    """Loses the last commits in a crash."""

    def disk(self) -> SimulatedDisk:
        """Return a forgetful disk."""
        return ForgetfulDisk()


# --- taking entries in ---------------------------------------------------------------------------


class CredulousLedger(Ledger):
    """Takes entries whose parents it does not have."""

    def accept(self, known: KnownEntry) -> FileState | Refusal:
        """Cut off what is missing."""
        outcome = super().accept(known)
        if outcome is Refusal.MISSING_PARENTS and known.entry.kind is not EntryKind.DELETE:
            return super().accept(replace(known, entry=replace(known.entry, parents=(), after=0)))
        return outcome


class UnorderedLedger(Ledger):
    """Takes a session's entries to one file in any order."""

    def accept(self, known: KnownEntry) -> FileState | Refusal:
        """Forget what came before in the session."""
        return super().accept(replace(known, entry=replace(known.entry, after=0)))


class DeadlyLedger(Ledger):
    """Lets a delete win over concurrent edits."""

    def accept(self, known: KnownEntry) -> FileState | Refusal:
        """Keep only the deletes, once there is one."""
        outcome = super().accept(known)
        if isinstance(outcome, FileState) and outcome.file != TREE_FILE:
            dead = tuple(head for head in outcome.heads if head.kind is EntryKind.DELETE)
            if dead:
                outcome = replace(outcome, heads=dead)
                self.replace_state(outcome)
        return outcome


class LateLedger(Ledger):
    """Lets the latest to arrive win a conflict."""

    _arrived = 1

    def accept(self, known: KnownEntry) -> FileState | Refusal:
        """Number what arrives."""
        outcome = super().accept(known)
        if isinstance(outcome, FileState):
            self._arrived += 1
            heads = tuple(self._numbered(head, known.ref) for head in outcome.heads)
            outcome = replace(outcome, heads=heads)
            self.replace_state(outcome)
        return outcome

    def _numbered(self, head: Head, fresh: EntryRef) -> Head:
        return replace(head, depth=self._arrived) if head.ref == fresh else head


class OneBranchLedger(Ledger):
    """Writes everything on its first branch, also beside its tip."""

    def branch_for(self, file: FileId, base: tuple[EntryRef, ...]) -> int:
        """Return the one branch."""
        return 1


def ledger_twist(kind: type[Ledger]) -> Callable[[NodeCore], None]:
    """Return what makes a core's ledger one of this kind."""

    def twist(core: NodeCore) -> None:
        core.ledger.__class__ = kind

    return twist


# --- the folder ----------------------------------------------------------------------------------


class RecklessTree(MemoryFileTree):
    """Writes over whatever stands there."""

    def apply(self, writes: Sequence[FileWrite], contents: Contents) -> tuple[WriteResult, ...]:
        """Expect what is there, whatever it is."""
        blind: list[FileWrite] = []
        for write in writes:
            there = self.disk.find(write.path)
            is_file = isinstance(there, MemoryFile)
            blind.append(
                FileWrite(
                    write.path,
                    write.blob,
                    write.mode,
                    there.blob if isinstance(there, MemoryFile) else None,
                    there.mode if is_file and isinstance(there, MemoryFile) else None,
                    write.moved_from,
                )
            )
        return super().apply(blind, contents)


class RecklessFactory(Factory):
    """Applies by plain overwriting."""

    def tree(self, node: SimulatedNode) -> MemoryFileTree:
        """Return a reckless tree."""
        return RecklessTree(node.disk.folder, node.contents)


class PlanlessFolder(Folder):
    """Keeps no record of writes under way."""

    def put(self, path: str, state: DiskState | None) -> None:
        """Forget the plan."""
        if state is not None:
            state = replace(state, planned=None, is_leaving=False)
        super().put(path, state)


class HurriedFolder(Folder):
    """Records what stands in the folder before the entry that says so is durable."""

    def hold(self, paths: Iterable[str]) -> None:
        """Hold nothing back."""

    def settle(self, paths: Iterable[str]) -> None:
        """Nothing was held."""


def folder_twist(kind: type[Folder]) -> Callable[[NodeCore], None]:
    """Return what makes a core's folder table one of this kind."""

    def twist(core: NodeCore) -> None:
        core.workspace.folder.__class__ = kind

    return twist


class ResoluteDeletions(Deletions):
    """Believes every disappearance."""

    believed: tuple[str, ...] = ()

    def _hold(self, paths: tuple[str, ...], now_ms: int, total: int) -> None:
        self.believed = paths

    def tick(self, now_ms: int) -> list[Job | Notice]:
        """Delete what should be held."""
        out = super().tick(now_ms)
        believed, self.believed = self.believed, ()
        return [*out, *self.delete(believed, now_ms)]


def believe_disappearances(core: NodeCore) -> None:
    """Treat vanished files as deletions without holding them."""
    core.workspace.deletions.__class__ = ResoluteDeletions


def never_before(core: NodeCore) -> None:
    """Take it that every program has read what stands on the disk now."""
    edits = core.workspace._edits
    kind = type(edits)

    class Naive(kind):  # type: ignore[misc, valid-type]
        def _inferred(self, seen, state, now_ms):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            return super()._inferred(seen, replace(state, before=None), now_ms)

    edits.__class__ = Naive


def git_like_others(core: NodeCore) -> None:
    """Treat what git writes like the writes of programs that had read what stood before."""
    edits = core.workspace._edits
    kind = type(edits)

    class Blind(kind):  # type: ignore[misc, valid-type]
        def _inferred(self, seen, state, now_ms):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            self.git_moved_ms = -(10**9)
            return super()._inferred(seen, state, now_ms)

    edits.__class__ = Blind


# --- replication ---------------------------------------------------------------------------------


class OneHeaded:
    """A ledger as seen by somebody who looks at the first head only."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def state(self, file: FileId) -> FileState | None:
        """Return a state with one head."""
        state = self._ledger.state(file)
        return None if state is None else replace(state, heads=state.heads[:1])

    def states(self) -> Iterator[FileState]:
        """Yield all states, each with one head."""
        return (replace(state, heads=state.heads[:1]) for state in self._ledger.states())

    def __getattr__(self, name: str) -> object:
        """Answer everything else as the ledger does."""
        return getattr(self._ledger, name)


def ignore_heads(core: NodeCore) -> None:
    """Make fingerprints of the first head alone."""
    core.replication.holdings._ledger = OneHeaded(core.ledger)  # type: ignore[assignment]


class SilentHoldings(Holdings):
    """Never says what it has stored."""

    def take_announcements(self) -> list[tuple[NodeId, Stored]]:
        """Forget what there is to announce."""
        super().take_announcements()
        return []


class BoastfulHoldings(Holdings):
    """Says that it has stored what it has only heard of."""

    def set_complete(self, file: FileId, *, is_complete: bool) -> None:
        """Take everything for complete."""
        super().set_complete(file, is_complete=True)


class PrematureHoldings(Holdings):
    """Says by its vectors that it has stored what it has only heard of."""

    def _stored_vector(self, file: FileId) -> FileVector:
        """Return what is in memory."""
        state = self._ledger.state(file)
        return () if state is None else state.vector


class CarelessReplication(ReplicationCore):
    """Does not ask for what lies between, nor for heads that it only heard of."""

    def on_parents_missing(self, notice: ParentsMissing, now_ms: int) -> list[ReplicationCommand]:
        """Do nothing."""
        return []

    def _ask_unheard(self, peer, state, now_ms):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        state.unheard = Unheard()
        return []


def holdings_twist(kind: type[Holdings]) -> Callable[[NodeCore], None]:
    """Return what makes a core's holdings one of this kind."""

    def twist(core: NodeCore) -> None:
        core.replication.holdings.__class__ = kind

    return twist


def replication_twist(kind: type[ReplicationCore]) -> Callable[[NodeCore], None]:
    """Return what makes a core's replication one of this kind."""

    def twist(core: NodeCore) -> None:
        core.replication.__class__ = kind

    return twist


class Anybody:
    """A policy without roles."""

    def objection(self, *_: object) -> None:
        """Object to nothing."""


def skip_roles(core: NodeCore) -> None:
    """Take entries from everybody."""
    core.intake._policy = Anybody()


class InsistentWork(OwnWork):
    """Takes a reader's work for an editor's (or a hostile one)."""

    @property
    def is_taken(self) -> bool:
        """Believe that everybody takes it."""
        return True


def insist(core: NodeCore) -> None:
    """Make a reader send what it changed."""
    core.replication.own_work.__class__ = InsistentWork
