"""One world: nodes, network, users and faults, all from one seed."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Final

import msgspec
from blake3 import blake3
from msgspec import Struct, field

from aiplatform.mesh_ide.identity import membership
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.records import KnownRecord
from aiplatform.mesh_ide.identity.roster import evaluate
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId
from aiplatform.mesh_ide.node.events import Command, Event
from aiplatform.mesh_ide.simulation.clock import US_PER_MS, Agenda
from aiplatform.mesh_ide.simulation.faults import CALM, Faults
from aiplatform.mesh_ide.simulation.network import Network, address_of
from aiplatform.mesh_ide.simulation.node import SimulatedNode
from aiplatform.mesh_ide.simulation.oracle import Oracle
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.users import OPERATIONS, Users

EPOCH_MS: Final = 1_800_000_000_000
INVARIANTS_EVERY: Final = 50
"""Events of a node between two checks of its core's invariants."""


def usual_operations() -> dict[str, int]:
    """Return what users usually do, and how often in proportion."""
    return {name: weight for name, (_, weight) in OPERATIONS.items()}


class Options(Struct, frozen=True):
    """What one world is made of.

    Attributes:
        nodes: how many machines.
        files: how many files the founder's folder has at first.
        operations: what users do, and how often in proportion.
        faults: how much goes wrong.
    """

    nodes: int = 2
    files: int = 5
    operations: dict[str, int] = field(default_factory=usual_operations)
    faults: Faults = CALM


class World:
    """Nodes and what is around them.

    Attributes:
        trace_hash: a digest over every event, command and act of a user: equal seeds, equal hash.
        tracing: where the trace is also written, as lines.
    """

    def __init__(self, seed: int, options: Options, factory: Factory | None = None) -> None:
        self.seed = seed
        self.options = options
        self.faults = options.faults
        self.factory = factory or Factory()
        self.random = Random(f"world {seed}")
        self.agenda = Agenda()
        self.epoch_ms = EPOCH_MS
        self.network = Network(self.agenda, self.random, self.faults)
        self.oracle = Oracle()
        self.users = Users(self, Random(f"users {seed}"))
        self.tracing: list[str] | None = None
        self._hasher = blake3()
        self._encoder = msgspec.msgpack.Encoder(order="deterministic")
        self._workspace_key = self.new_key()
        self._user = self.new_key()
        self.workspace = WorkspaceId(self._workspace_key.public)
        self.records: list[KnownRecord] = []
        self.nodes: list[SimulatedNode] = []
        for index in range(options.nodes):
            self.add_node(f"n{index}")
        for node in self.nodes:
            self.introduce(node)

    # --- chance and identity -----------------------------------------------------------------

    def new_seed(self) -> bytes:
        """Return 32 bytes that never come again."""
        return self.random.randbytes(32)

    def new_key(self) -> SigningKey:
        """Return a new key."""
        return SigningKey.from_seed(self.new_seed())

    # --- nodes -------------------------------------------------------------------------------

    def add_node(self, name: str, role: Role = Role.ADMIN) -> SimulatedNode:
        """Make a machine and admit it (the first one founds the workspace); it is not started."""
        node = SimulatedNode(self, name, self.new_key())
        newcomer = membership.newcomer(
            node=node.id,
            user=self._user,
            workspace=self.workspace,
            name=name,
            node_type=NodeType.LOCAL,
        )
        now_ms = EPOCH_MS
        if not self.records:
            record = membership.found(
                workspace_key=self._workspace_key, founder=newcomer, now_ms=now_ms
            )
        else:
            roster = evaluate(self.workspace, self.records)
            record = membership.admit(
                roster, key=self.nodes[0].key, newcomer=newcomer, role=role, now_ms=now_ms
            )
        self.records.append(record)
        self.nodes.append(node)
        return node

    def introduce(self, node: SimulatedNode) -> None:
        """Give a node the roster and everybody's address, as joining does."""
        node.roster = tuple(record.encoded for record in self.records)
        node.known_addresses = {
            other.id: (address_of(other.id),) for other in self.nodes if other is not node
        }
        node.has_joined = node is self.nodes[0]

    def node(self, identifier: NodeId) -> SimulatedNode:
        """Return a node by its key."""
        return next(node for node in self.nodes if node.id == identifier)

    def running(self) -> list[SimulatedNode]:
        """Return the nodes that live."""
        return [node for node in self.nodes if node.is_running]

    # --- time --------------------------------------------------------------------------------

    def run_for(self, ms: float) -> None:
        """Let time pass."""
        self.agenda.run_until(self.agenda.now_us + int(ms * US_PER_MS))

    # --- trace -------------------------------------------------------------------------------

    def trace(self, what: str, *facts: object) -> None:
        """Add something that happened to the trace."""
        self._hasher.update(self._encoder.encode((self.agenda.now_us, what, facts)))
        if self.tracing is not None:
            self.tracing.append(f"{self.agenda.now_us / US_PER_MS:10.2f} {what} {facts}")

    def trace_event(self, node: SimulatedNode, event: Event) -> None:
        """Add an event that a node is about to handle."""
        self._trace(node, "<-", event)

    def trace_command(self, node: SimulatedNode, command: Command) -> None:
        """Add what a core asked for."""
        self._trace(node, "->", command)

    def _trace(self, node: SimulatedNode, arrow: str, what: Event | Command) -> None:
        name = type(what).__name__
        facts = (self.agenda.now_us, node.name, arrow, name)
        self._hasher.update(self._encoder.encode(facts))
        self._hasher.update(self._encoder.encode(what))
        if self.tracing is not None and name != "Tick":
            self.tracing.append(
                f"{self.agenda.now_us / US_PER_MS:10.2f} {node.name} {arrow} {shown(what)}"
            )

    @property
    def trace_hash(self) -> str:
        """Return the digest of everything that happened so far."""
        return self._hasher.hexdigest()

    def after_event(self, node: SimulatedNode, event: Event) -> None:
        """Look after a node that handled an event."""
        del event
        if node.events % INVARIANTS_EVERY == 0:
            node.core.check_invariants()


def shown(what: object, depth: int = 0) -> str:
    """Return a short form of an event or command for people."""
    if isinstance(what, bytes):
        return what.hex()[:8]
    if isinstance(what, Struct):
        fields = (
            f"{name}={shown(getattr(what, name), depth + 1)}" for name in what.__struct_fields__
        )
        return f"{type(what).__name__}({', '.join(fields)})"
    if isinstance(what, (tuple, list, frozenset, set)):
        items = list(what) if isinstance(what, Sequence) else sorted(what)
        more = f", …{len(items)}" if len(items) > 6 else ""  # noqa: PLR2004 - fits a line
        return f"[{', '.join(shown(item, depth + 1) for item in items[:6])}{more}]"
    if isinstance(what, dict):
        return f"{{{len(what)}}}"
    return str(what) if not isinstance(what, str) else repr(what)
