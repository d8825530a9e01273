"""Who reads what happens more slowly than it happens."""

from __future__ import annotations

from pathlib import Path

from aiplatform.mesh_ide.node.driver import TOLD_WAITING_MAX
from aiplatform.mesh_ide.node.events import Told
from aiplatform.mesh_ide.node.telling import LOST_KIND
from tests.integration.kit import one_node, run


def test_a_reader_that_sleeps_is_told_how_much_it_missed(tmp_path: Path) -> None:
    """The queue keeps the newest; others who listen miss nothing of theirs."""

    async def work() -> None:
        async with one_node(tmp_path) as alpha:
            driver = alpha.node.driver
            async with driver.watch() as slow:
                for number in range(TOLD_WAITING_MAX + 10):
                    driver.tell(Told("test", str(number)))
                first = await slow.get()
                assert first.kind == LOST_KIND
                assert "10 events were not shown" in first.text
                rest = [slow.get_nowait().text for _ in range(TOLD_WAITING_MAX)]
                assert rest == [str(n) for n in range(10, TOLD_WAITING_MAX + 10)]
                assert slow.empty()

    run(work())
