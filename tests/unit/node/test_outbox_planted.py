"""The outbox's bounds and its ``drop``, checked on outboxes that break them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import pytest

from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage, Ping
from aiplatform.mesh_ide.node.outbox import ANSWERS_WAITING_MAX, ITEMS_WAITING_MAX, Answer, Outbox
from aiplatform.mesh_ide.ports.transport import Transport
from tests.unit.node.test_outbox import WAIT_S, Link

ANNA = NodeId(b"a" * 32)
BULK = Channel.BULK


class Boundless(Outbox):
    """Never counts answers: joins them to one."""

    def put(self, peer: NodeId, channel: Channel, answer: Answer, items: int = 1) -> bool:
        """Take anything: what does not fit is not even kept."""
        super().put(peer, channel, answer, items)
        return True


class Unweighing(Outbox):
    """Never counts what the answers are about."""

    def put(self, peer: NodeId, channel: Channel, answer: Answer, items: int = 1) -> bool:
        """Take every answer for one about nothing."""
        return super().put(peer, channel, answer, 0)


class Loyal(Outbox):
    """Goes on sending to a peer whose link is gone."""

    def drop(self, peer: NodeId) -> None:
        """Forget nothing."""


def answers() -> Iterator[AnyMessage]:
    """Return an answer of one message."""
    return iter([Ping(1, 0)])


async def blocked(outbox_type: type[Outbox], tasks: asyncio.TaskGroup, link: Link) -> Outbox:
    """Return an outbox whose link takes nothing, with one answer on its way."""
    link.room.clear()
    worker = ThreadPoolExecutor(1)
    outbox = outbox_type(cast("Transport", link), tasks, worker)
    Outbox.put(outbox, ANNA, BULK, answers(), 0)
    await link.is_asked.wait()
    worker.shutdown(wait=False)
    return outbox


def taken(outbox_type: type[Outbox], asked: int, items: int) -> int:
    """Return how many answers about so many items each are taken while none is sent."""

    async def story() -> int:
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
            outbox = await blocked(outbox_type, tasks, Link())
            count = sum(outbox.put(ANNA, BULK, answers(), items) for _ in range(asked))
            Outbox.drop(outbox, ANNA)
            return count

    return asyncio.run(story())


def is_cancelled(outbox_type: type[Outbox]) -> bool:
    """Return whether ``drop`` ends the sending that waits for a link."""

    async def story() -> bool:
        async with asyncio.timeout(WAIT_S), asyncio.TaskGroup() as tasks:
            before = asyncio.all_tasks()
            outbox = await blocked(outbox_type, tasks, Link())
            senders = asyncio.all_tasks() - before
            outbox.drop(ANNA)
            # Cancelled, they end in the next turn of the loop; otherwise the link holds them.
            done, _ = await asyncio.wait(senders, timeout=0.1)
            Outbox.drop(outbox, ANNA)
            return len(senders) == 1 and done == senders

    return asyncio.run(story())


def test_answers_beyond_the_bound_are_refused() -> None:
    """One is on its way, the others wait: a peer cannot make us keep more."""
    assert taken(Outbox, ANSWERS_WAITING_MAX + 10, 0) == ANSWERS_WAITING_MAX


def test_an_outbox_without_a_bound_of_answers_is_caught() -> None:
    """The check of the first bound can fail."""
    assert taken(Boundless, ANSWERS_WAITING_MAX + 10, 0) > ANSWERS_WAITING_MAX


def test_items_beyond_the_bound_are_refused() -> None:
    """Few answers about many files cost as much."""
    assert taken(Outbox, 10, ITEMS_WAITING_MAX // 4) == 4


@pytest.mark.parametrize("broken", [Boundless, Unweighing])
def test_outboxes_that_do_not_weigh_answers_are_caught(broken: type[Outbox]) -> None:
    """The check of the second bound can fail."""
    assert taken(broken, 10, ITEMS_WAITING_MAX // 4) == 10


def test_drop_ends_what_is_being_sent() -> None:
    """A link that is gone holds no task."""
    assert is_cancelled(Outbox)


def test_an_outbox_that_does_not_drop_is_caught() -> None:
    """The check of ``drop`` can fail."""
    assert not is_cancelled(Loyal)
