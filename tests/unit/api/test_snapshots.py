"""Snapshots of real nodes: what is acknowledged is kept whole, and names one state everywhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.history import LookingBack
from aiplatform.mesh_ide.api.operations import Operations
from aiplatform.mesh_ide.api.snapshot_archive import SnapshotArchive, SnapshotIncompleteError
from aiplatform.mesh_ide.api.snapshot_forms import NoSuchSnapshotError, SnapshotNameError
from aiplatform.mesh_ide.api.snapshots import Snapshots
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.documents.manifest import (
    BadManifestError,
    Manifest,
    SnapshotId,
    decode,
    encode,
)
from aiplatform.mesh_ide.documents.manifest_build import Cut, build, cut_of
from aiplatform.mesh_ide.documents.manifest_compare import materialise
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.node.events import KeepRecords, PutContent
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind
from tests.integration.kit import Node, one_node, run, two_nodes, until
from tests.unit.documents.manifest_kit import blob_of, created, manifest_of


def subjects_of(node: Node) -> Subjects:
    """Return a node as the operations see it."""
    return Subjects(node.node, lambda: None)


def snapshots_of(node: Node, archive: type[SnapshotArchive] = SnapshotArchive) -> Snapshots:
    """Return a node's snapshots, with less patience than people have."""
    subjects = subjects_of(node)
    looking_back = LookingBack(subjects)
    return Snapshots(subjects, looking_back, make_archive=archive, settle_s=0.3, patience_s=0.1)


def kept(node: Node) -> dict[bytes, Manifest]:
    """Return what is kept on a node's disk."""
    store = node.node.driver.store
    records = store.records(RecordKind.SNAPSHOT)
    return {key: decode(value, SnapshotId(key)) for key, value in records}


def fill(node: Node) -> None:
    """Put one of each kind of file into a folder."""
    node.write("src/main.py", "print('hello')\n")
    node.write("src/data.bin", b"\0\1\2")
    node.write("empty", b"")
    node.write("tool", "#!/bin/sh\n")
    (node.folder / "tool").chmod(0o755)
    (node.folder / "link").symlink_to("src/main.py")


async def nothing(request: object) -> None:
    """Take what a request streams."""


def with_one_node(base: Path, test: Callable[[Node], Coroutine[Any, Any, None]]) -> None:
    """Run a test on the only node of a workspace with a few files."""

    async def work() -> None:
        async with one_node(base) as node:
            fill(node)
            await test(node)

    run(work())


def test_a_snapshot_names_what_stands_in_the_folder(tmp_path: Path) -> None:
    """What was saved just before is in it; contents come back as they were."""

    async def test(node: Node) -> None:
        answer = await snapshots_of(node).create("first")
        assert (answer.files, answer.names, answer.is_new) == (5, ("first",), True)
        (manifest,) = kept(node).values()
        contents = node.node.driver.contents
        found = {p: (m, b"".join(c)) for p, m, c in materialise(manifest, contents)}
        assert found == {
            "src/main.py": (FileMode.REGULAR, b"print('hello')\n"),
            "src/data.bin": (FileMode.REGULAR, b"\0\1\2"),
            "empty": (FileMode.REGULAR, b""),
            "tool": (FileMode.EXECUTABLE, b"#!/bin/sh\n"),
            "link": (FileMode.SYMLINK, b"src/main.py"),
        }

    with_one_node(tmp_path, test)


async def check_acknowledged_is_archived(node: Node, archive: type[SnapshotArchive]) -> None:
    """Create a snapshot and look whether everything it names is in the archive."""
    await snapshots_of(node, archive).create("")
    store = node.node.driver.store
    (manifest,) = kept(node).values()
    named = manifest.blobs()
    assert set(named) - store.held_blobs(named) == set()


def test_everything_that_an_acknowledged_snapshot_names_is_archived(tmp_path: Path) -> None:
    """Also what was saved a moment ago and lay in the folder alone."""
    with_one_node(tmp_path, lambda node: check_acknowledged_is_archived(node, SnapshotArchive))


def test_a_record_before_its_contents_would_be_caught(tmp_path: Path) -> None:
    """Planted: the manifest is kept at once, its contents whenever they come."""

    class Hasty(SnapshotArchive):
        async def _archive(self, manifest: Manifest, cut: Cut) -> None:
            del manifest, cut

    async def test(node: Node) -> None:
        with pytest.raises(AssertionError):
            await check_acknowledged_is_archived(node, Hasty)

    with_one_node(tmp_path, test)


def test_contents_are_pinned_before_they_are_archived_and_recorded_after(tmp_path: Path) -> None:
    """Whoever frees contents meanwhile is told no; nobody else hears of the snapshot yet."""
    seen: list[tuple[bool, int]] = []

    class Watched(SnapshotArchive):
        async def _archive(self, manifest: Manifest, cut: Cut) -> None:
            await super()._archive(manifest, cut)
            records = list(self._subjects.store.records(RecordKind.SNAPSHOT))
            seen.append((all(map(self._pins.pinned, manifest.blobs())), len(records)))

    async def test(node: Node) -> None:
        await snapshots_of(node, Watched).create("")
        assert seen == [(True, 0)]
        assert len(kept(node)) == 1

    with_one_node(tmp_path, test)


def test_a_snapshot_outlives_its_files_and_the_node(tmp_path: Path) -> None:
    """After a restart it is listed, its contents are pinned and can still be read."""

    async def work() -> None:
        node = Node(tmp_path, "alpha")
        node.found()
        async with node.up():
            fill(node)
            first = await snapshots_of(node).create("first")
            (node.folder / "src" / "data.bin").unlink()
        async with node.up():
            snapshots = snapshots_of(node)
            assert (await snapshots.listed()).snapshots[0].id == first.id
            assert await snapshots.pinned(blob_of(b"\0\1\2"))
            assert not await snapshots.pinned(blob_of(b"never seen"))
            (manifest,) = kept(node).values()
            contents = node.node.driver.contents
            found = {p: b"".join(c) for p, _, c in materialise(manifest, contents)}
            assert found["src/data.bin"] == b"\0\1\2"

    run(work())


def test_two_nodes_give_one_state_one_name(tmp_path: Path) -> None:
    """The id is the state's, not the node's; an edit changes it on both alike."""

    async def work() -> None:
        async with two_nodes(tmp_path, {"a.txt": "one\n", "d/b.txt": "two\n"}) as (alpha, beta):
            first = await snapshots_of(alpha).create("")
            assert (await snapshots_of(beta).create("")).id == first.id
            beta.write("d/b.txt", "two\nmore\n")
            await alpha.shows("d/b.txt", "two\nmore\n")
            await until(lambda: alpha.is_even(beta) and beta.is_even(alpha), "they agree")
            second = await snapshots_of(alpha).create("")
            assert (await snapshots_of(beta).create("")).id == second.id
            assert second.id != first.id

    run(work())


def test_a_content_that_nobody_has_makes_no_snapshot(tmp_path: Path) -> None:
    """The message names the file; nothing is kept, nothing stays pinned."""

    async def test(node: Node) -> None:
        subjects = subjects_of(node)
        ghost = blob_of(b"ghost")
        await subjects.driver.request(
            lambda tag: PutContent(
                tag, None, "ghost.bin", ghost, 5, FileMode.REGULAR, False, subjects.principal()
            )
        )
        snapshots = snapshots_of(node)
        with pytest.raises(SnapshotIncompleteError, match=r"ghost\.bin"):
            await snapshots.create("")
        assert kept(node) == {}
        assert (await snapshots.listed()).snapshots == ()
        assert not await snapshots.pinned(ghost)
        assert not await snapshots.pinned(blob_of(b"\0\1\2"))

    with_one_node(tmp_path, test)


def test_a_text_that_was_overwritten_meanwhile_is_rebuilt(tmp_path: Path) -> None:
    """Its version stood in the folder alone; its history still gives its bytes."""
    lines = "".join(f"line {number}\n" for number in range(40))

    async def test(node: Node) -> None:
        node.write("text", lines)
        await snapshots_of(node).create("with the root")
        node.write("text", lines + "second\n")
        await until(lambda: _says(node, "text", lines + "second\n"), "the edit is taken in")
        subjects = subjects_of(node)
        snapshots = snapshots_of(node)
        archive, pins = snapshots._archive, snapshots._pins
        cut = cut_of(subjects.ledger)
        node.write("text", lines + "third\n")
        await until(lambda: _says(node, "text", lines + "third\n"), "the edit is taken in")
        second = blob_of(f"{lines}second\n".encode())
        subjects.driver.contents.forget(second)
        assert subjects.store.held_blobs([second]) == set()
        manifest = build(cut.placed())
        pins.hold(manifest)
        await archive._archive(manifest, cut)
        assert subjects.store.held_blobs([second]) == {second}

    with_one_node(tmp_path, test)


def _says(node: Node, path: str, content: str) -> bool:
    owner = node.core.ledger.index.owner(path)
    head = None if owner is None else node.core.ledger.head(owner)
    return head is not None and head.blob == blob_of(content.encode())


def test_one_state_is_kept_once_and_can_have_several_names(tmp_path: Path) -> None:
    """A name means one state only; a bad one is refused before anything is done."""

    async def test(node: Node) -> None:
        snapshots = snapshots_of(node)
        first = await snapshots.create("one")
        again = await snapshots.create("two")
        assert (again.id, again.names, again.is_new) == (first.id, ("one", "two"), False)
        assert again.created_ms == first.created_ms
        assert (await snapshots.create("")).names == ("one", "two")
        assert len(kept(node)) == 1
        node.write("another", "file\n")
        with pytest.raises(SnapshotNameError, match="called one already"):
            await snapshots.create("one")
        for bad in ("now", " a", "a\n", "x" * 101):
            with pytest.raises(SnapshotNameError):
                await snapshots.create(bad)
        assert len(kept(node)) == 1

    with_one_node(tmp_path, test)


def test_snapshots_are_listed_shown_compared_and_dropped(tmp_path: Path) -> None:
    """The whole way through the operations, by names and beginnings of ids."""

    async def test(node: Node) -> None:
        operations = Operations(subjects_of(node))

        async def ask(request: requests.AnyAsk) -> Any:  # noqa: ANN401 - one of many answers
            return await operations.perform(request, nothing)

        first = await ask(requests.AskSnapshotCreate("first"))
        node.write("src/main.py", "print('bye')\n")
        node.write("src/new.py", "")
        changes = [("changed", "src/main.py"), ("added", "src/new.py")]
        now = await ask(requests.AskSnapshotDiff("first"))
        assert [(one.kind, one.path) for one in now.differences] == changes
        second = await ask(requests.AskSnapshotCreate())
        assert now.after == second.id
        diff = await ask(requests.AskSnapshotDiff(first.id[:6], second.id[:6], 1))
        assert (diff.total, len(diff.differences)) == (2, 1)
        shown = await ask(requests.AskSnapshot(second.id[:8], "src"))
        assert [file.path for file in shown.files] == ["src/data.bin", "src/main.py", "src/new.py"]
        listed = await ask(requests.AskSnapshots())
        assert [one.id for one in listed.snapshots] == [second.id, first.id]
        dropped = await ask(requests.AskSnapshotDrop("first"))
        assert (dropped.id, dropped.names) == (first.id, ("first",))
        assert list(kept(node)) == [bytes.fromhex(second.id)]
        for wrong in ("first", second.id[:3], "nowhere"):
            with pytest.raises(NoSuchSnapshotError):
                await ask(requests.AskSnapshot(wrong))

    with_one_node(tmp_path, test)


def test_what_only_a_dropped_snapshot_named_is_free(tmp_path: Path) -> None:
    """What another one names stays pinned."""

    async def test(node: Node) -> None:
        snapshots = snapshots_of(node)
        await snapshots.create("before")
        node.write("src/data.bin", b"\0other")
        await snapshots.create("after")
        await snapshots.drop("before")
        assert not await snapshots.pinned(blob_of(b"\0\1\2"))
        assert await snapshots.pinned(blob_of(b"\0other"))
        assert await snapshots.pinned(blob_of(b"#!/bin/sh\n"))

    with_one_node(tmp_path, test)


def test_a_damaged_snapshot_is_told_frees_nothing_and_can_be_dropped(tmp_path: Path) -> None:
    """The others work on."""

    async def test(node: Node) -> None:
        snapshots = snapshots_of(node)
        good = await snapshots.create("good")
        named, wrong = manifest_of(created("a")).id, encode(manifest_of(created("b")))
        bad = (
            PutRecord(RecordKind.SNAPSHOT, named, wrong),
            PutRecord(RecordKind.NODE, b"snapshot:" + named, b"\xff"),
        )
        await node.node.driver.request(lambda tag: KeepRecords(tag, bad))
        problems = {one.id: one.problem for one in (await snapshots.listed()).snapshots}
        assert problems[good.id] == ""
        assert "damaged" in problems[named.hex()]
        with pytest.raises(BadManifestError):
            await snapshots.show(named.hex(), "", 10)
        with pytest.raises(BadManifestError):
            await snapshots.pinned(blob_of(b"anything"))
        assert (await snapshots.show("good", "", 10)).total == 5
        await snapshots.drop(named.hex())
        assert not await snapshots.pinned(blob_of(b"anything"))
        assert [one.id for one in (await snapshots.listed()).snapshots] == [good.id]

    with_one_node(tmp_path, test)


def test_snapshots_asked_for_at_once_come_one_after_another(tmp_path: Path) -> None:
    """Two names for one state, and a drop between them, leave nothing half."""

    async def test(node: Node) -> None:
        snapshots = snapshots_of(node)
        answers = await asyncio.gather(*(snapshots.create(f"n{number}") for number in range(3)))
        assert len({answer.id for answer in answers}) == 1
        (one,) = (await snapshots.listed()).snapshots
        assert set(one.names) == {"n0", "n1", "n2"}

    with_one_node(tmp_path, test)
