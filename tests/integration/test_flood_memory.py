"""A member that sends faster than its words can be checked: the memory of who is flooded."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.mesh.codec import encode
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.messages import Entries
from aiplatform.mesh_ide.node import pressure
from aiplatform.mesh_ide.node.memory import give_back
from aiplatform.mesh_ide.node.pressure import WAITING_BYTES_MAX
from aiplatform.mesh_ide.ports.errors import LinkFullError, NoLinkError
from aiplatform.mesh_ide.ports.jobs import Lane
from tests.forging import tree_update
from tests.integration.hostile import Hostile, attacked
from tests.integration.kit import Node, run
from tests.integration.measuring import FLOODED_MIB_MAX, memory_mib

MIB: Final = 1024 * 1024
FLOOD_MIB: Final = 320
FRAME_MIB: Final = 2
FLOOD_S: Final = 30.0


@dataclass
class Flood:
    """What came of it."""

    sent_mib: int = 0
    grown_mib: float = 0.0


async def _flood(alpha: Node, mallory: Hostile) -> Flood:
    """Send large batches with a wrong signature while nothing is checked, until cut or done."""
    piece, _ = mallory.mouth.seal([tree_update(os.urandom(FRAME_MIB * MIB))])
    forged = replace(piece, header=replace(piece.header, signature=bytes(64)))
    frame = encode(Entries((forged,)))
    give_back()
    before = memory_mib(os.getpid())
    flood, gate = Flood(), threading.Event()
    async with asyncio.TaskGroup() as tasks:
        # What checks signatures is busy with something else for as long as this goes on.
        busy = tasks.create_task(alpha.node.driver.read(Lane.SEALING, lambda: gate.wait(FLOOD_S)))
        try:
            async with asyncio.timeout(FLOOD_S):
                while not mallory.ends and flood.sent_mib < FLOOD_MIB:
                    with suppress(LinkFullError, NoLinkError):
                        mallory.send(frame, Channel.DOCUMENTS)
                        flood.sent_mib += FRAME_MIB
                    await asyncio.sleep(0.001)
                    flood.grown_mib = max(flood.grown_mib, memory_mib(os.getpid()) - before)
        finally:
            gate.set()
        await busy
    return flood


def test_a_flood_that_nobody_can_check_in_time_is_cut_at_a_stated_bound(tmp_path: Path) -> None:
    """The link ends, the node says why, people are answered, and memory stays in bounds.

    Measured: it is cut after 110 MiB, grown by 105 MiB.
    """

    async def work() -> None:
        async with attacked(tmp_path) as (alpha, mallory):
            flood = await _flood(alpha, mallory)
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
            flood = await _flood(alpha, mallory)
            assert flood.grown_mib > FLOODED_MIB_MAX

    run(work(), 50)
