"""Every real node's greeting carries the key to seal to, and its peers keep it."""

from __future__ import annotations

from pathlib import Path

from aiplatform.mesh_ide.identity.sealing import open_offer
from tests.integration.kit import run, two_nodes, until


def test_two_nodes_know_each_others_sealing_keys(tmp_path: Path) -> None:
    """Signed by the node for its present session, checked in the handshake."""

    async def work() -> None:
        async with two_nodes(tmp_path) as (alpha, beta):
            await until(lambda: alpha.core.membership.ready() == (beta.id,), "they are linked")
            await until(lambda: beta.core.membership.ready() == (alpha.id,), "they are linked")
            for here, there in ((alpha, beta), (beta, alpha)):
                heard = here.core.membership.offer_of(there.id)
                workspace = there.core.membership.roster.workspace
                assert heard == there.core.membership.my_hello.sealing
                assert open_offer(heard, there.id, workspace).node == there.id

    run(work())
