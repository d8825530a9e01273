"""Fixtures that give each adapter of a port in turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.filetree_rig import LocalRig, MemoryRig, Rig
from tests.contract.transport_kit import Network
from tests.contract.transport_rig import NETWORKS


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Network:
    """Give each adapter in turn, with nobody on it yet."""
    return NETWORKS[request.param]()


@pytest.fixture(params=["memory", "local", "local-by-steps"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Each tree, empty."""
    if request.param == "memory":
        yield MemoryRig()
        return
    root = tmp_path / "root"
    root.mkdir()
    local = LocalRig(root, can_exchange=request.param == "local")
    yield local
    local.tree.close()
