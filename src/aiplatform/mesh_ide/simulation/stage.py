"""A stage for readable scenarios: a few machines, calm unless said otherwise, and checks."""

from __future__ import annotations

from random import Random

from aiplatform.mesh_ide.documents.state import head_of
from aiplatform.mesh_ide.identity import membership
from aiplatform.mesh_ide.identity.roster import evaluate
from aiplatform.mesh_ide.model.entries import FileHead
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.node.events import AddRosterRecords, GitMoved
from aiplatform.mesh_ide.simulation import checks, roles
from aiplatform.mesh_ide.simulation.clock import US_PER_MS
from aiplatform.mesh_ide.simulation.faults import CALM, Faults
from aiplatform.mesh_ide.simulation.node import SimulatedNode
from aiplatform.mesh_ide.simulation.oracle import FailedRunError
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.world import Options, World

_STEP_MS = 100


class Stage:
    """Machines called by number; the first one founded the workspace."""

    def __init__(
        self,
        nodes: int = 2,
        *,
        seed: int = 1,
        faults: Faults = CALM,
        factory: Factory | None = None,
    ) -> None:
        self.world = World(seed, Options(nodes=nodes, files=0, faults=faults), factory)
        self.random = Random(seed)

    def __getitem__(self, number: int) -> SimulatedNode:
        """Return a machine."""
        return self.world.nodes[number]

    # --- time --------------------------------------------------------------------------------

    def start(self, *numbers: int) -> None:
        """Start machines (all that do not run, if none is named)."""
        for number in numbers or range(len(self.world.nodes)):
            if not self[number].is_running:
                self[number].start()

    def crash(self, number: int) -> None:
        """Let a machine's node die."""
        self[number].crash()

    def part(self, *numbers: int) -> None:
        """Cut these machines off from the others."""
        away = {self[number].id for number in numbers}
        self.world.network.part({node.id: int(node.id in away) for node in self.world.nodes})

    def heal(self) -> None:
        """Let everybody reach everybody."""
        self.world.network.part({})

    def wait(self, ms: float) -> None:
        """Let time pass."""
        self.world.run_for(ms)

    def settle(self, limit_ms: float = 90_000) -> None:
        """Let time pass until all is quiet and equal.

        Raises:
            FailedRunError: it is not after ``limit_ms``, and why.
        """
        world = self.world
        end_us = world.agenda.now_us + limit_ms * US_PER_MS
        while world.agenda.now_us < end_us:
            world.run_for(_STEP_MS)
            if checks.is_quiet(world) and next(checks.differences(world), None) is None:
                return
        problems = [*checks.unrest(world), *checks.differences(world)]
        raise FailedRunError("; ".join(problems[:8]))

    # --- folders -----------------------------------------------------------------------------

    def save(self, number: int, path: str, content: str | bytes) -> None:
        """Let a program write a file in place."""
        node = self[number]
        node.disk.folder.write(path, content.encode() if isinstance(content, str) else content)
        node.folder_changed()

    def rename(self, number: int, old: str, new: str) -> None:
        """Let a program rename a file or folder."""
        self[number].disk.folder.rename(old, new)
        self[number].folder_changed()

    def remove(self, number: int, *paths: str) -> None:
        """Let a program delete files or folders."""
        for path in paths:
            self[number].disk.folder.remove(path)
        self[number].folder_changed()

    def git_moved(self, number: int) -> None:
        """Let the watcher see that git moved HEAD."""
        self[number].post(GitMoved())

    def text(self, number: int, path: str) -> str | None:
        """Return what stands in a folder."""
        content = self[number].disk.folder.read(path)
        return None if content is None else content.decode()

    def paths(self, number: int) -> list[str]:
        """Return what stands in a folder, sorted."""
        return sorted(self[number].disk.folder.files())

    # --- what nodes know ---------------------------------------------------------------------

    def head(self, number: int, path: str) -> FileHead | None:
        """Return what a node says of the file at a path."""
        ledger = self[number].core.ledger
        file = ledger.index.owner(path)
        state = None if file is None else ledger.state(file)
        return None if state is None else head_of(state)

    def claims(self, number: int, path: str) -> tuple[FileId, ...]:
        """Return the files that claim a path at a node."""
        return self[number].core.ledger.index.claims(path)

    def entries(self, number: int, file: FileId) -> int:
        """Return how many entries of a file a node has on its disk."""
        return sum(1 for _ in self[number].store.entries_of(file))

    # --- members -----------------------------------------------------------------------------

    def admit(self, name: str, role: Role = Role.EDIT) -> int:
        """Let the founder admit a new machine, not started yet; returns its number."""
        node = self.world.add_node(name, role)
        for other in self.world.nodes:
            if other is not node and other.is_running:
                other.known_addresses[node.id] = ()
        self.world.introduce(node)
        self._publish()
        return len(self.world.nodes) - 1

    def remove_member(self, number: int) -> None:
        """Let the founder remove a member."""
        record = membership.remove(
            evaluate(self.world.workspace, self.world.records),
            key=self[0].key,
            subject=self[number].id,
            seen=dict.fromkeys(self[0].core.seen_of(self[number].id), 1 << 40),
            now_ms=self[0].now_ms(),
        )
        self.world.records.append(record)
        self._publish()

    def change_role(self, number: int, role: Role) -> None:
        """Let the founder give a member another role; what it has seen of it stays taken."""
        roles.change_role(self.world, self[number], role)

    def _publish(self) -> None:
        records = tuple(record.encoded for record in self.world.records)
        self[0].request(AddRosterRecords(self.world.oracle.next_tag(), records))
