"""A member that hands out wrong contents and absurd numbers, against one honest node."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import BlobHash, FileId, NodeId, SessionId
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobPart,
    BlobRequest,
    Blobs,
    Entries,
    Ping,
    RangeItems,
    RangeSummary,
    Reconcile,
    Sent,
    Stored,
    Vectors,
)
from tests.forging import (
    genesis,
    tree_update,
)
from tests.integration.hostile import (
    MIB,
    NEW,
    PRINT,
    Hostile,
    attacked,
)
from tests.integration.kit import run, until

# --- contents --------------------------------------------------------------------------------


async def _offer_file(mallory: Hostile, content: bytes, size: int | None = None) -> None:
    """Create ``new.bin`` with this content (and perhaps another size than it has)."""
    draft = genesis(NEW, content, is_text=False)
    draft = draft if size is None else replace(draft, size=size)
    operations = mallory.mouth.tree_operations([(None, "new.bin", NEW)])
    piece, _ = mallory.mouth.seal([tree_update(operations), draft])
    mallory.entries(piece)


def test_bytes_that_are_not_what_their_name_says_never_reach_the_folder(tmp_path: Path) -> None:
    """They are told, thrown away and asked for elsewhere; the true bytes are taken later."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            content = b"the true bytes"
            mallory.offer(content)
            blob = next(iter(mallory.contents))
            mallory.lie[blob] = b"not the bytes."
            await _offer_file(mallory, content)
            await alpha.hears("mallory sent bytes that are not the content", kind="warning")
            assert alpha.read("new.bin") is None
            mallory.lie.clear()
            await alpha.shows("new.bin", content)

    run(work())


@pytest.mark.parametrize(
    ("size", "said", "index", "content", "words"),
    [
        (5, 5, 0, b"more than five bytes", "are not the content"),
        (3 * MIB, 3 * MIB, 0, b"too short for a chunk", "are not the content"),
        (3 * MIB, 3 * MIB, 7, bytes(MIB), "are not the content"),
        (3 * MIB, 4 * MIB, 0, bytes(MIB), "a size that it does not have"),
        (0, 2**53 - 1, 0, bytes(MIB), "a size that it does not have"),
        (2**53 - 1, 5, 0, b"five?", "a size that it does not have"),
    ],
)
def test_sizes_and_places_that_lie_store_nothing(  # noqa: PLR0913 - one case's facts
    tmp_path: Path, size: int, said: int, index: int, content: bytes, words: str
) -> None:
    """Chunks are taken only of contents that are missing here, with the size that was asked for."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            blob = BlobHash(b"h" * 32)
            draft = replace(genesis(NEW, b"?", is_text=False), result=blob, size=size)
            operations = mallory.mouth.tree_operations([(None, "new.bin", NEW)])
            piece, _ = mallory.mouth.seal([tree_update(operations), draft])
            mallory.entries(piece)
            await until(
                lambda: any(isinstance(heard, BlobRequest) for heard in mallory.heard),
                "it is asked for",
            )
            mallory.say(Blobs((BlobPart(blob, said, index, content),)), Channel.BULK)
            await alpha.hears("mallory sent", words, kind="warning")
            assert alpha.node.driver.store.blob_size(blob) is None
            assert alpha.node.driver.store.missing_chunks(blob, 3 * MIB) == (0, 1, 2)
            assert alpha.read("new.bin") is None

    run(work())


def test_contents_that_nobody_asked_for_do_not_fill_the_disk(tmp_path: Path) -> None:
    """Chunks of unknown contents are dropped before they are hashed or stored."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            blob = BlobHash(b"u" * 32)
            for index in range(4):
                part = BlobPart(blob, 8 * 1024 * 1024, index, bytes(1024 * 1024))
                mallory.say(Blobs((part,)), Channel.BULK)
            answered = len(mallory.heard)
            mallory.say(Ping(77, 0), Channel.BULK)
            await until(lambda: len(mallory.heard) > answered, "the ping is answered")
            assert alpha.node.driver.store.missing_chunks(blob, 8 * 1024 * 1024) == tuple(range(8))

    run(work())


# --- absurd numbers --------------------------------------------------------------------------


def _ids(count: int) -> list[FileId]:
    return [FileId(number.to_bytes(16, "big")) for number in range(1, count + 1)]


HEADS = tuple((file, PRINT) for file in _ids(50_000))
ABSURD: dict[str, AnyMessage] = {
    "vectors-of-unknown-files": Vectors(tuple((f, ()) for f in _ids(50_000)), is_request=True),
    "vectors-ahead": Vectors(((NEW, ((SessionId(b"s" * 32), 2**53 - 1),)),), is_request=True),
    "vectors-repeated": Vectors(((NEW, ()),) * 5000, is_request=False),
    "blobs-repeated": BlobRequest(((BlobHash(b"b" * 32), 2**53 - 1, 2**53 - 1),) * 5000),
    "ranges-huge": Reconcile(2**64 - 1, (RangeSummary(b"", b"", 2**53 - 1, bytes(16)),)),
    "ranges-of-unknown-files": Reconcile(1, asked=(RangeItems(b"", b"", HEADS),)),
    "heads-of-unknown-files": Stored(HEADS),
    "sent-never-asked": Sent(2**64 - 1),
    "no-entries": Entries(()),
    "ping": Ping(2**64 - 1, -(2**53 - 1)),
}


@pytest.mark.parametrize("message", ABSURD.values(), ids=ABSURD.keys())
def test_absurd_numbers_are_answered_or_ignored(tmp_path: Path, message: AnyMessage) -> None:
    """Nothing overflows, nothing is believed, and the link lives or is made again."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            for _ in range(3):
                mallory.say(message, Channel.DOCUMENTS)
            await until(
                lambda: NodeId(mallory.key.public) in alpha.core.membership.ready(), "linked"
            )
            answered = len(mallory.heard)
            mallory.say(Ping(78, 0))
            await until(lambda: len(mallory.heard) > answered, "it answers")

    run(work())


def test_thousands_of_empty_contents_fit_their_answer(tmp_path: Path) -> None:
    """An answer is cut by the number of contents too: bytes alone would not bound it."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            alpha.write("empty", b"")
            await until(lambda: alpha.has_agreed("empty"), "the empty file is in")
            blob = alpha.core.workspace.folder.standing("empty").blob
            mallory.say(BlobRequest(((blob, 0, 0),) * 5000))
            await until(
                lambda: sum(len(h.parts) for h in mallory.heard if isinstance(h, Blobs)) == 5000,
                lambda: f"all 5000 come; {alpha.texts()}",
            )

    run(work())


def test_overlapping_ranges_are_garbage(tmp_path: Path) -> None:
    """A small frame must not cost the product of its ranges and our files."""

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            from aiplatform.mesh_ide.mesh import codec  # noqa: PLC0415 - past its own check

            many = Reconcile(1, (RangeSummary(b"", b"", 1, bytes(16)),) * 10_000)
            mallory.send(b"\x00" + codec._ENCODER.encode(many))
            await alpha.hears("mallory", "ranges must ascend", kind="warning")
            await mallory.is_cut()

    run(work())
