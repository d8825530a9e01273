"""A real folder and its tree, for the tests of this package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from tests.unit.workspace.local_tree_kit import (
    Cache,
)


@pytest.fixture
def cache() -> Cache:
    """Contents, none yet."""
    return Cache()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty folder."""
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def tree(root: Path, cache: Cache) -> Iterator[LocalFileTree]:
    """The folder, opened."""
    with LocalFileTree(root, cache) as opened:
        yield opened
