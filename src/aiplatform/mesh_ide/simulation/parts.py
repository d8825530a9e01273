"""What a simulated node is put together from, as ``node.boot`` does it for a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiplatform.mesh_ide.documents.engine.text import LoroTextEngine
from aiplatform.mesh_ide.identity.sealing import SealingKey, encode_offer, offer_sealing
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.model.entries import Principal
from aiplatform.mesh_ide.model.enums import NodeType, PrincipalKind
from aiplatform.mesh_ide.model.ids import TREE_FILE, WorkspaceId
from aiplatform.mesh_ide.model.messages import Hello
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.core_boot import Boot
from aiplatform.mesh_ide.node.jobs import JobRunner
from aiplatform.mesh_ide.ports.store import RecordKind
from aiplatform.mesh_ide.simulation.disk import SimulatedDisk
from aiplatform.mesh_ide.simulation.network import address_of
from aiplatform.mesh_ide.workspace.adapters.memory_tree import MemoryFileTree

if TYPE_CHECKING:
    from aiplatform.mesh_ide.simulation.node import SimulatedNode


class Factory:
    """Makes a node's parts; planted bugs replace single ones."""

    def core(self, boot: Boot) -> NodeCore:
        """Return the core."""
        return NodeCore(boot)

    def runner(self, node: SimulatedNode) -> JobRunner:
        """Return what does the jobs."""
        return JobRunner(
            node.world.workspace,
            node.session,
            node.store,
            node.contents,
            node.tree,
            LoroTextEngine(),
            node.names,
        )

    def disk(self) -> SimulatedDisk:
        """Return a machine's disk."""
        return SimulatedDisk()

    def tree(self, node: SimulatedNode) -> MemoryFileTree:
        """Return what changes the working folder."""
        return MemoryFileTree(node.disk.folder, node.contents)


def boot_of(node: SimulatedNode) -> Boot:
    """Return what a node starts from, read from its disk."""
    world = node.world
    now_ms = node.now_ms()
    certificate = certify(
        node=node.key, session=node.session, workspace=world.workspace, started_ms=now_ms
    )
    hello = Hello(
        workspace=world.workspace,
        node=node.id,
        name=node.name,
        node_type=NodeType.LOCAL,
        certificate=certificate,
        addresses=(address_of(node.id),),
        roster_digest=b"",
        clock_ms=now_ms,
        sealing=encode_offer(
            offer_sealing(
                node=node.key,
                sealing=SealingKey.of_session(node.session),
                workspace=world.workspace,
            )
        ),
    )
    store = node.store
    files = tuple(value for _, value in store.records(RecordKind.FILE))
    stored = tuple(value for _, value in store.records(RecordKind.ROSTER))
    return Boot(
        workspace=WorkspaceId(world.workspace),
        hello=hello,
        principal=Principal(PrincipalKind.PERSON, node.name),
        seed=world.new_seed(),
        has_folder=True,
        is_joining=not (node.has_joined or records.has_joined(store)),
        roster=tuple(dict.fromkeys((*node.roster, *stored))),
        certificates=records.certificates(store),
        addresses={**node.known_addresses, **records.addresses(store)},
        files=files,
        disk=tuple(store.records(RecordKind.DISK)),
        holds=tuple(value for _, value in store.records(RecordKind.HOLD)),
        archived=tuple(sorted(store.held_blobs(records.named_blobs(files)))),
        equivocations=records.equivocations(store),
        places=node.names.load(None, (k.entry.payload for k in store.entries_of(TREE_FILE))),
    )
