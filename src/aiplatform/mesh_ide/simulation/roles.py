"""What the founder says of members while all run: their roles, and who is none any more."""

from __future__ import annotations

from random import Random

from aiplatform.mesh_ide.identity import membership
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.node.events import AddRosterRecords
from aiplatform.mesh_ide.simulation.node import SimulatedNode
from aiplatform.mesh_ide.simulation.world import World


def change_role(world: World, node: SimulatedNode, role: Role) -> None:
    """Let the founder give a member another role; what it has seen of it stays taken."""
    founder = world.nodes[0]
    record = membership.change_role(
        founder.core.membership.roster,
        key=founder.key,
        subject=node.id,
        role=role,
        seen=founder.core.seen_of(node.id),
        now_ms=founder.now_ms(),
    )
    if record is not None:
        world.records.append(record)
        founder.request(AddRosterRecords(world.oracle.next_tag(), (record.encoded,)))


def restrict(world: World, random: Random) -> None:
    """Let the founder forbid one of the others to edit, if it runs and knows it as an admin."""
    founder = world.nodes[0]
    node = random.choice(world.nodes[1:])
    if founder.is_running and founder.core.membership.roster.may(node.id, Role.EDIT):
        change_role(world, node, Role.READ)


def restore(world: World) -> None:
    """Let the founder allow everybody everything again, as far as it knows of anything else."""
    for node in world.nodes[1:]:
        if world.nodes[0].core.membership.roster.role(node.id) is Role.READ:
            change_role(world, node, Role.ADMIN)
