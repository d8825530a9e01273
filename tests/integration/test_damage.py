"""Bytes that rot in the store: found by their hash, told, and had again from a peer."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import apsw

from aiplatform.mesh_ide.model.entries import Principal
from aiplatform.mesh_ide.model.enums import FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import TREE_FILE, BlobHash, FileId
from aiplatform.mesh_ide.node.events import FetchContents, PutContent
from aiplatform.mesh_ide.ports.errors import CorruptRecordError
from aiplatform.mesh_ide.ports.jobs import Lane
from aiplatform.mesh_ide.storage.sqlite.connections import DATABASE_NAME
from tests.integration.kit import Node, converged, run, until


class Pair:
    """Two members of which one can be stopped and started while the other serves."""

    def __init__(self, base: Path) -> None:
        self.alpha, self.beta = Node(base, "alpha"), Node(base, "beta")
        self._beta = AsyncExitStack()
        self._alpha = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self.alpha.found()
        await self._alpha.enter_async_context(self.alpha.up())
        await self.beta.join(await self.alpha.ticket())
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._beta.aclose()
        await self._alpha.aclose()

    async def start(self) -> None:
        """Start beta and wait for the link."""
        await self._beta.enter_async_context(self.beta.up())
        await until(lambda: self.alpha.is_linked(self.beta), "they link")

    async def stop(self) -> None:
        """Stop beta."""
        await self._beta.aclose()
        self._beta = AsyncExitStack()

    async def even(self) -> None:
        """Wait until both have everything."""
        await converged(self.alpha, self.beta)


def rot(node: Node, query: str, values: tuple[object, ...]) -> int:
    """Change rows of a node's store behind its back; returns how many."""
    connection = apsw.Connection(str(node.state / "store" / DATABASE_NAME))
    try:
        connection.execute(query, values)
        return connection.changes()
    finally:
        connection.close()


FLIP = (
    "UPDATE entries SET encoded = "
    "CAST(substr(encoded, 1, 40) || x'00ff00' || substr(encoded, 44) AS BLOB)"
)


async def texts_of(node: Node, file: FileId) -> None:
    """Read a history through the node, as `mesh history` does."""
    store = node.node.driver.store
    await node.node.driver.read(Lane.STORE, lambda: list(store.entries_of(file)))


async def is_sound(node: Node, file: FileId) -> bool:
    """Whether every entry of a file can be read."""
    try:
        await texts_of(node, file)
    except CorruptRecordError:
        return False
    return True


def is_readable(node: Node, file: FileId) -> bool:
    """Whether the entries of a file can be read now, without anybody hearing of it."""
    try:
        list(node.node.driver.store.entries_of(file))
    except CorruptRecordError:
        return False
    return True


def test_a_rotten_entry_of_a_text_is_told_and_fetched_again(tmp_path: Path) -> None:
    """Somebody reads the history: the damage is told, the peer sends it, the store is mended."""

    async def work() -> None:
        async with Pair(tmp_path) as pair:
            alpha, beta = pair.alpha, pair.beta
            alpha.write("a.txt", "one\n")
            await beta.shows("a.txt", "one\n")
            alpha.write("a.txt", "one\ntwo\n")
            await beta.shows("a.txt", "one\ntwo\n")
            await pair.even()
            file = beta.file("a.txt")
            await pair.stop()
            assert rot(beta, FLIP + " WHERE file = ? AND length(encoded) > 60", (file,)) == 2
            await pair.start()
            assert not await is_sound(beta, file)
            await beta.hears("damaged in this node's store", kind="damage")
            await until(lambda: is_readable(beta, file), lambda: f"mended: {beta.texts()}")
            beta.write("a.txt", "one\ntwo\nthree\n")
            await alpha.shows("a.txt", "one\ntwo\nthree\n")
            await pair.even()
            assert beta.is_serving

    run(work())


def test_an_edit_on_a_rotten_history_waits_for_it_and_merges(tmp_path: Path) -> None:
    """Nobody looked before: the edit itself finds the damage and is lost nowhere."""

    async def work() -> None:
        async with Pair(tmp_path) as pair:
            alpha, beta = pair.alpha, pair.beta
            alpha.write("a.txt", "one\n")
            alpha.write("b.txt", "other\n")
            await beta.shows("b.txt", "other\n")
            await beta.shows("a.txt", "one\n")
            alpha.write("a.txt", "one\ntwo\n")
            await beta.shows("a.txt", "one\ntwo\n")
            await pair.even()
            file = beta.file("a.txt")
            await pair.stop()
            rot(beta, FLIP + " WHERE file = ?", (file,))
            await pair.start()
            beta.write("a.txt", "one\ntwo\nthree\n")
            await beta.hears("damaged in this node's store", kind="damage")
            await alpha.shows("a.txt", "one\ntwo\nthree\n", 10.0)
            await until(lambda: is_readable(beta, file), lambda: f"mended: {beta.texts()}")
            assert beta.is_serving

    run(work())


def test_a_rotten_entry_that_a_peer_asks_for_ends_nothing(tmp_path: Path) -> None:
    """A third machine joins through the damaged node: it gets the rest, later everything."""

    async def work() -> None:
        async with Pair(tmp_path) as pair:
            alpha, beta = pair.alpha, pair.beta
            for name in ("a", "b", "c"):
                alpha.write(f"{name}.txt", f"{name}\n")
            await pair.even()
            await until(lambda: len(beta.tree()) == 3, "beta has them")
            file = beta.file("b.txt")
            await pair.stop()
            rot(beta, FLIP + " WHERE file = ?", (file,))
            await pair.start()
            gamma = Node(tmp_path, "gamma")
            await gamma.join(await beta.ticket())
            async with gamma.up():
                await gamma.shows("a.txt", "a\n")
                await gamma.shows("b.txt", "b\n", 12.0)
                await gamma.shows("c.txt", "c\n")
                assert beta.is_serving

    run(work(), 40.0)


def test_a_rotten_tree_is_had_again_before_the_folder_is_looked_at(tmp_path: Path) -> None:
    """A node that forgot where files stand asks first; it deletes nothing in the meantime."""

    async def work() -> None:
        async with Pair(tmp_path) as pair:
            alpha, beta = pair.alpha, pair.beta
            alpha.write("a.txt", "a\n")
            await beta.shows("a.txt", "a\n")
            beta.write("sub/b.txt", "b\n")
            await alpha.shows("sub/b.txt", "b\n")
            await pair.even()
            await pair.stop()
            assert rot(beta, FLIP + " WHERE file = ?", (TREE_FILE,)) >= 2
            (beta.folder / "a.txt").write_text("edited while it was down\n")
            await pair.start()
            await beta.hears("damaged in this node's store", kind="damage")
            await alpha.shows("a.txt", "edited while it was down\n")
            await pair.even()
            assert set(alpha.tree()) == {"a.txt", "sub/b.txt"}
            assert is_readable(beta, TREE_FILE)

    run(work())


def test_a_rotten_blob_is_told_erased_and_fetched_again(tmp_path: Path) -> None:
    """An old version's bytes rot in the archive: the peer still has them."""

    async def work() -> None:
        async with Pair(tmp_path) as pair:
            alpha, beta = pair.alpha, pair.beta
            old = bytes(range(256)) * 20
            alpha.write("a.bin", old)
            await beta.shows("a.bin", old)
            await until(lambda: is_archived(alpha) and is_archived(beta), "both archived it")
            alpha.write("a.bin", b"\0new")
            await beta.shows("a.bin", b"\0new")
            await pair.even()
            blob = next(r.blob for r in beta.core.ledger.state(beta.file("a.bin")).roots)
            await pair.stop()
            query = "UPDATE chunks SET content = zeroblob(length(content)) WHERE hash = ?"
            assert rot(beta, query, (blob,)) == 1
            await pair.start()
            await restore(beta, "old.bin", blob, len(old))
            await beta.hears("damaged in this node's store", kind="damage")
            store = beta.node.driver.store
            beta.node.driver.post(FetchContents(((blob, len(old)),)))
            await until(lambda: beta.node.driver.contents.read(blob) == old, beta.texts)
            assert store.held_blobs([blob]) <= {blob}
            await restore(beta, "again.bin", blob, len(old))
            await alpha.shows("again.bin", old)
            assert beta.is_serving

    run(work())


def is_archived(node: Node) -> bool:
    """Whether nothing of the folder is missing in the archive."""
    return not node.core.workspace.folder.unarchived and node.core.workspace.folder.archived


async def restore(node: Node, path: str, blob: BlobHash, size: int) -> None:
    """Give another path an old content, as a restore does."""
    who = Principal(PrincipalKind.PERSON, "beta")
    await node.node.driver.request(
        lambda tag: PutContent(tag, None, path, blob, size, FileMode.REGULAR, False, who)
    )
