"""Long answers, one after another, as fast as the link takes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import cast

from aiplatform.mesh_ide.mesh.codec import decode
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage, Ping, Sent
from aiplatform.mesh_ide.node.outbox import ANSWERS_WAITING_MAX, ITEMS_WAITING_MAX, Outbox
from aiplatform.mesh_ide.ports.errors import NoLinkError
from aiplatform.mesh_ide.ports.transport import Transport

ANNA, BEN = NodeId(b"a" * 32), NodeId(b"b" * 32)
WAIT_S = 5.0


class Link:
    """The one method of a transport that an outbox uses."""

    def __init__(self) -> None:
        """Take frames at once."""
        self.sent: asyncio.Queue[tuple[NodeId, Channel, AnyMessage]] = asyncio.Queue()
        self.is_asked = asyncio.Event()
        self.room = asyncio.Event()
        self.room.set()
        self.gone: set[NodeId] = set()

    async def send(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """Take a frame once there is room."""
        self.is_asked.set()
        await self.room.wait()
        if peer in self.gone:
            raise NoLinkError("There is no link.")
        self.sent.put_nowait((peer, channel, decode(frame)))


class Desk:
    """An outbox over a link, and the problems it told."""

    def __init__(self, tasks: asyncio.TaskGroup, worker: ThreadPoolExecutor) -> None:
        """Begin."""
        self.link, self.worker = Link(), worker
        self.problems: list[tuple[NodeId, str]] = []
        self.outbox = Outbox(
            cast("Transport", self.link),
            tasks,
            worker,
            lambda peer, text: self.problems.append((peer, text)),
        )

    async def sent(self, count: int) -> list[AnyMessage]:
        """Return the next so many messages."""
        return [message for _, _, message in await self.frames(count)]

    async def frames(self, count: int) -> list[tuple[NodeId, Channel, AnyMessage]]:
        """Return the next so many messages, with to whom and where they went."""
        async with asyncio.timeout(WAIT_S):
            return [await self.link.sent.get() for _ in range(count)]

    async def worked(self) -> None:
        """Wait until the worker has done what it was given."""
        await asyncio.get_running_loop().run_in_executor(self.worker, int)


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    """Run an outbox; it is closed in the end, and leaves no task."""
    with ThreadPoolExecutor(1) as worker:
        async with asyncio.timeout(2 * WAIT_S), asyncio.TaskGroup() as tasks:
            one = Desk(tasks, worker)
            yield one
            one.link.room.set()
            one.outbox.close()


def pings(*nonces: int) -> Iterator[AnyMessage]:
    """Return an answer of several messages."""
    return iter([Ping(nonce, 0) for nonce in nonces])


def broken() -> Iterator[AnyMessage]:
    """Yield one message and then find that the disk cannot be read."""
    yield Ping(1, 0)
    raise UnavailableError("the disk is gone")


def test_answers_go_out_one_after_another() -> None:
    """The second begins when the first is through, whatever its length."""

    async def story() -> list[AnyMessage]:
        async with desk() as one:
            one.outbox.put(ANNA, Channel.BULK, pings(1, 2, 3))
            one.outbox.put(ANNA, Channel.BULK, pings(4))
            return await one.sent(4)

    assert asyncio.run(story()) == [Ping(nonce, 0) for nonce in (1, 2, 3, 4)]


def test_a_slow_peer_and_a_slow_channel_hold_up_nobody_else() -> None:
    """Each peer and channel has its own queue, and an answer is made no faster than it is sent."""
    made: list[int] = []

    def slow() -> Iterator[AnyMessage]:
        for nonce in range(100):
            made.append(nonce)
            yield Ping(nonce, 0)

    async def story() -> None:
        async with desk() as one:
            one.link.room.clear()
            one.outbox.put(ANNA, Channel.BULK, slow())
            await one.link.is_asked.wait()
            await one.worked()
            assert made == [0]
            one.link.room.set()
            one.outbox.put(BEN, Channel.DOCUMENTS, pings(7))
            places = {(peer, channel) for peer, channel, _ in await one.frames(101)}
            assert places == {(ANNA, Channel.BULK), (BEN, Channel.DOCUMENTS)}

    asyncio.run(story())
    assert len(made) == 100


def test_too_many_answers_for_a_peer_are_refused() -> None:
    """The caller learns of it, and reconnects the peer; another peer has its own bound."""

    async def story() -> list[bool]:
        async with desk() as one:
            one.link.room.clear()
            taken = [
                one.outbox.put(ANNA, Channel.BULK, pings()) for _ in range(ANSWERS_WAITING_MAX + 1)
            ]
            return [all(taken[:-1]), taken[-1], one.outbox.put(BEN, Channel.BULK, pings())]

    assert asyncio.run(story()) == [True, False, True]


def test_answers_about_too_many_things_are_refused() -> None:
    """A single one may be as large as it must; what is done makes room again."""

    async def story() -> list[bool]:
        async with desk() as one:
            first = one.outbox.put(ANNA, Channel.BULK, pings(1), 2 * ITEMS_WAITING_MAX)
            second = one.outbox.put(ANNA, Channel.BULK, pings(2), 1)
            await one.sent(1)
            await one.worked()
            third = one.outbox.put(ANNA, Channel.BULK, pings(3), 1)
            return [first, second, third, await one.sent(1) == [Ping(3, 0)]]

    assert asyncio.run(story()) == [True, False, True, True]


def test_an_answer_that_cannot_be_finished_is_told_and_the_next_one_comes() -> None:
    """Half of it was sent; the peer asks again by itself."""

    async def story() -> tuple[list[AnyMessage], list[tuple[NodeId, str]]]:
        async with desk() as one:
            one.outbox.put(ANNA, Channel.BULK, broken())
            one.outbox.put(ANNA, Channel.BULK, iter([Sent(1)]))
            return await one.sent(2), one.problems

    messages, problems = asyncio.run(story())
    assert messages == [Ping(1, 0), Sent(1)]
    assert problems == [(ANNA, "the disk is gone")]


def test_what_was_for_a_lost_link_is_dropped_and_a_new_one_begins_empty() -> None:
    """A link that is gone ends the sending quietly; after ``drop`` the peer has a fresh queue."""

    async def story() -> list[AnyMessage]:
        async with desk() as one:
            one.link.gone.add(ANNA)
            one.outbox.put(ANNA, Channel.BULK, pings(1, 2))
            one.outbox.put(BEN, Channel.BULK, pings(3))
            others = await one.sent(1)
            one.outbox.drop(ANNA)
            one.outbox.drop(ANNA)
            one.link.gone.clear()
            one.outbox.put(ANNA, Channel.BULK, pings(4))
            return others + await one.sent(1)

    assert asyncio.run(story()) == [Ping(3, 0), Ping(4, 0)]
