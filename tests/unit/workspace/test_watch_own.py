"""What the watcher leaves out: our own renames, and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.ports.filetree import FileWrite, WriteOutcome
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.watch import FolderWatcher, PathsChanged
from tests.unit.workspace.local_tree_kit import Cache

WAIT_S = 10.0


def test_what_we_write_is_not_told_and_what_others_write_is(tmp_path: Path) -> None:
    """New files, replacements and removals of ours are silent; a person's save right after is not.

    The marker file, written last by another program, bounds the wait: events come in order.
    """
    cache = Cache()
    old, new, later = (cache.add(text) for text in (b"old", b"new", b"later"))
    regular = FileMode.REGULAR

    async def scenario() -> set[str]:
        told: set[str] = set()
        with LocalFileTree(tmp_path, cache) as tree:
            # The temporary folder appears with the first write; from then on it is watched.
            tree.apply([FileWrite("first", old, regular, None)], cache)
            async with FolderWatcher(tmp_path) as watcher:
                results = tree.apply(
                    [
                        FileWrite("created", old, regular, None),
                        FileWrite("first", new, regular, old, regular),
                    ],
                    cache,
                )
                removed = tree.apply([FileWrite("created", None, regular, old, regular)], cache)
                tree.apply([FileWrite("theirs", old, regular, None)], cache)
                (tmp_path / "theirs").write_bytes(b"a person's")
                tree.apply([FileWrite("ours", later, regular, None)], cache)
                (tmp_path / "marker").write_bytes(b"")
                outcomes = {result.outcome for result in (*results, *removed)}
                assert outcomes == {WriteOutcome.APPLIED}
                async with asyncio.timeout(WAIT_S):
                    async for event in watcher:
                        assert isinstance(event, PathsChanged)
                        told.update(event.paths)
                        if "marker" in told:
                            break
        return told

    assert asyncio.run(scenario()) == {"theirs", "marker"}
