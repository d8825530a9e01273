"""A member that sends faster than its words can be checked: the memory of who is flooded."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.intake import Intake
from aiplatform.mesh_ide.mesh.codec import encode
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.model.messages import Entries
from aiplatform.mesh_ide.node import pressure
from aiplatform.mesh_ide.node.memory import give_back
from aiplatform.mesh_ide.node.pressure import WAITING_BYTES_MAX
from aiplatform.mesh_ide.ports.errors import LinkFullError, NoLinkError
from aiplatform.mesh_ide.ports.jobs import Lane
from tests.forging import genesis, tree_update, update
from tests.integration.hostile import Hostile, attacked
from tests.integration.kit import Node, run
from tests.integration.measuring import FLOODED_MIB_MAX, memory_mib

MIB: Final = 1024 * 1024
FLOOD_MIB: Final = 320
FRAME_MIB: Final = 2
GOOD_MIB: Final = WAITING_BYTES_MAX // MIB + 64
"""More than fits, with what is on its way when the link is cut."""

GOOD_TEXT_BYTES: Final = 1000 * 1000
"""A text must not be larger (``TEXT_BYTES_MAX``)."""

FLOOD_S: Final = 30.0


@dataclass
class Flood:
    """What came of it."""

    sent_mib: float = 0.0
    grown_mib: float = 0.0


async def _flood(
    alpha: Node, mallory: Hostile, lane: Lane, frames: Iterator[bytes], flood_mib: int = FLOOD_MIB
) -> Flood:
    """Send frames while one lane does nothing, until cut or done."""
    first = next(frames)
    give_back()
    before = memory_mib(os.getpid())
    flood, gate = Flood(), threading.Event()
    async with asyncio.TaskGroup() as tasks:
        # The lane is busy with something else for as long as this goes on.
        busy = tasks.create_task(alpha.node.driver.read(lane, lambda: gate.wait(FLOOD_S)))
        try:
            async with asyncio.timeout(FLOOD_S):
                for frame in chain([first], frames):
                    if not await _sent(mallory, frame):
                        break
                    flood.sent_mib += len(frame) / MIB
                    flood.grown_mib = max(flood.grown_mib, memory_mib(os.getpid()) - before)
                    if flood.sent_mib >= flood_mib:
                        break
        finally:
            gate.set()
        await busy
    return flood


async def _sent(mallory: Hostile, frame: bytes) -> bool:
    """Send a frame as soon as there is room; ``False``: the link is gone."""
    while not mallory.ends:
        with suppress(LinkFullError, NoLinkError):
            mallory.send(frame, Channel.DOCUMENTS)
            await asyncio.sleep(0.001)
            return True
        await asyncio.sleep(0.001)
    return False


def _forged(mallory: Hostile) -> Iterator[bytes]:
    """Yield a large batch with a wrong signature, for ever."""
    piece, _ = mallory.mouth.seal([tree_update(os.urandom(FRAME_MIB * MIB))])
    forged = replace(piece, header=replace(piece.header, signature=bytes(64)))
    return repeat(encode(Entries((forged,))))


def _good(mallory: Hostile) -> Iterator[bytes]:
    """Yield large batches that nobody can object to, each of a file of its own."""
    while True:
        file = FileId(os.urandom(16))
        text = os.urandom(GOOD_TEXT_BYTES // 2).hex()
        begun, (base,) = mallory.mouth.seal([genesis(file, b"")])
        operations = mallory.mouth.text_operations(file, text)
        changed, _ = mallory.mouth.seal([update(base, operations, text.encode())])
        yield encode(Entries((begun, changed)))


def test_a_flood_that_nobody_can_check_in_time_is_cut_at_a_stated_bound(tmp_path: Path) -> None:
    """The link ends, the node says why, people are answered, and memory stays in bounds.

    Measured: it is cut after 110 MiB, grown by 105 MiB.
    """

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            flood = await _flood(alpha, mallory, Lane.SEALING, _forged(mallory))
            assert mallory.ends, "it was cut"
            await alpha.hears("sent more than this node can take in", kind="warning")
            assert flood.sent_mib > WAITING_BYTES_MAX // MIB // 2
            assert flood.grown_mib < FLOODED_MIB_MAX

    run(work(), 50)


def test_without_the_bound_the_measure_catches_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: a node that lets everything wait grows past it (measured: 331 MiB)."""
    monkeypatch.setattr(pressure, "WAITING_BYTES_MAX", 1 << 40)

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            flood = await _flood(alpha, mallory, Lane.SEALING, _forged(mallory))
            assert flood.grown_mib > FLOODED_MIB_MAX

    run(work(), 50)


def test_good_entries_that_the_disk_cannot_keep_up_with_are_bounded_too(tmp_path: Path) -> None:
    """What was checked waits for the disk on the account of who sent it, and the link is cut.

    Measured: it is cut after 112 MiB; both nodes together grew by 238 MiB, for what waits for the
    disk is in memory as it came and decoded.
    """

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            flood = await _flood(alpha, mallory, Lane.STORE, _good(mallory), GOOD_MIB)
            assert mallory.ends, "it was cut"
            assert flood.sent_mib < GOOD_MIB
            await alpha.hears("sent more than this node can take in", kind="warning")

    run(work(), 50)


def test_a_node_that_counts_no_more_after_the_check_is_caught(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The planted bug: what was checked is forgotten, and the whole flood is let in."""
    monkeypatch.setattr(Intake, "held_bytes", lambda _intake, _peer: 0)

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            flood = await _flood(alpha, mallory, Lane.STORE, _good(mallory), GOOD_MIB)
            assert flood.sent_mib >= GOOD_MIB, "nobody cut it"
            assert not alpha.said("sent more than this node can take in", kind="warning")

    run(work(), 50)
