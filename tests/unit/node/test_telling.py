"""What a slow watcher hears: the newest, and how much it missed."""

from __future__ import annotations

import asyncio

import pytest

from aiplatform.mesh_ide.node.events import Told
from aiplatform.mesh_ide.node.telling import LOST_KIND, Listening


def told(number: int) -> Told:
    """Name an event by its number."""
    return Told("files", str(number))


def heard(listening: asyncio.Queue[Told]) -> list[str]:
    """Take everything that is there."""
    texts: list[str] = []
    while not listening.empty():
        texts.append(listening.get_nowait().text)
    return texts


def test_what_fits_is_heard_in_order() -> None:
    """Up to the bound nothing is lost, and nothing is said of a loss."""
    listening = Listening(3)
    for number in range(3):
        listening.tell(told(number))
    assert heard(listening) == ["0", "1", "2"]
    with pytest.raises(asyncio.QueueEmpty):
        listening.get_nowait()


def test_what_was_lost_is_told_first_and_counted_once() -> None:
    """The oldest go; in their place stands how many they were; the next loss counts anew."""
    listening = Listening(2)
    for number in range(7):
        listening.tell(told(number))
    first = listening.get_nowait()
    assert first.kind == LOST_KIND
    assert "5 events were not shown" in first.text
    listening.tell(told(7))
    assert heard(listening) == ["1 event was not shown: what reads them is too slow", "6", "7"]
    assert heard(listening) == []


def test_who_waits_is_woken_by_the_next_event() -> None:
    """``get`` goes the same way as ``get_nowait``, a loss included."""

    async def main() -> list[str]:
        listening = Listening(1)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(listening.get())
            await asyncio.sleep(0)
            listening.tell(told(1))
            first = await waiting
        listening.tell(told(2))
        listening.tell(told(3))
        return [first.text, (await listening.get()).kind, (await listening.get()).text]

    assert asyncio.run(main()) == ["1", LOST_KIND, "3"]


class Silent(Listening):
    """The planted bug: the oldest makes way and nobody is told."""

    def tell(self, told: Told) -> None:
        super().tell(told)
        self.lost = 0


def test_a_queue_that_keeps_its_losses_to_itself_is_caught() -> None:
    """The check of the second test fails on it."""
    listening = Silent(2)
    for number in range(7):
        listening.tell(told(number))
    assert heard(listening) == ["5", "6"]
