"""A member whose key contradicted itself, and how its owner comes back: real nodes and links."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.ids import FileId, NodeId
from aiplatform.mesh_ide.node.founding import JoinRefusedError, join_workspace
from tests.forging import genesis
from tests.integration.hostile import NEW, attacked
from tests.integration.kit import Node, run, until


async def _join(state: Path, alpha: Node) -> None:
    """Redeem a fresh ticket with the key in a state directory, made if there is none."""
    await join_workspace(
        state,
        await alpha.ticket(Role.EDIT),
        folder=None,
        node_name="mallory",
        node_type=NodeType.LOCAL,
        person="mallory",
        user=SigningKey.from_seed(b"m" * 32),
        listen=Listen.LOOPBACK,
    )


def test_a_new_ticket_helps_a_fresh_key_and_not_the_old_one(tmp_path: Path) -> None:
    """The old key is told why and what to do; the same person's fresh key becomes a member."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            one, _ = mallory.mouth.seal([genesis(NEW, b"one")], advance=False)
            two, _ = mallory.mouth.seal([genesis(FileId(b"2" * 16), b"two")])
            mallory.entries(one)
            mallory.entries(two)
            await alpha.hears("mallory is shut out", "fresh key", kind="warning")
            await mallory.is_cut()
            await mallory.transport.close()
            with pytest.raises(JoinRefusedError, match=r"contradicted itself.*fresh key"):
                await _join(tmp_path / "mallory", alpha)
            assert len(alpha.core.membership.roster.members) == 2
            await _join(tmp_path / "mallory again", alpha)
            members = alpha.core.membership.roster.members
            await until(lambda: len(alpha.core.membership.roster.members) == 3, "it is admitted")
            old = NodeId(mallory.key.public)
            users = [m.user for m in alpha.core.membership.roster.members.values()]
            assert members[old].user in users
            assert users.count(members[old].user) == 2
            assert alpha.core.membership.shut_out == {old}

    run(work())
