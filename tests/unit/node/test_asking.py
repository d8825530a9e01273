"""Who asks is answered, refused, or told that its time is up."""

from __future__ import annotations

import asyncio

import pytest

from aiplatform.mesh_ide.model.errors import TimedOutError
from aiplatform.mesh_ide.node.asking import Asking, RequestRefusedError
from aiplatform.mesh_ide.node.events import LookAgain, Replied, Request

PATIENCE_S = 60.0


class Asked:
    """Somebody who asked, and what the core was asked."""

    def __init__(self) -> None:
        """Ask nothing yet."""
        self.requests: list[Request] = []
        self.asking = Asking(self.requests.append)

    async def ask(self) -> asyncio.Task[Replied]:
        """Ask, and return the waiting once the core has the request."""
        loop = asyncio.get_running_loop()
        waiting = loop.create_task(self.asking.request(LookAgain, PATIENCE_S))
        await asyncio.sleep(0)
        return waiting


def test_each_answer_goes_to_who_asked_for_it() -> None:
    """Whatever the order in which answers come."""

    async def story() -> None:
        asked = Asked()
        first, second = await asked.ask(), await asked.ask()
        assert asked.requests == [LookAgain(1), LookAgain(2)]
        asked.asking.answered(Replied(2))
        assert await second == Replied(2)
        assert not first.done()
        asked.asking.answered(Replied(1))
        assert await first == Replied(1)

    asyncio.run(story())


def test_a_no_is_raised_with_its_reason() -> None:
    """A problem in the answer is not an answer that callers could overlook."""

    async def story() -> None:
        asked = Asked()
        waiting = await asked.ask()
        asked.asking.answered(Replied(1, "there is no such file"))
        with pytest.raises(RequestRefusedError, match="there is no such file"):
            await waiting

    asyncio.run(story())


def test_a_request_waits_for_its_time_and_no_longer() -> None:
    """A late answer is dropped: nobody waits for it any more."""

    async def story() -> None:
        asked = Asked()
        waiting = await asked.ask()
        now_s = asyncio.get_running_loop().time()
        asked.asking.expire(now_s + PATIENCE_S / 2)
        await asyncio.sleep(0)
        assert not waiting.done()
        asked.asking.expire(now_s + PATIENCE_S)
        with pytest.raises(TimedOutError, match="may still take effect"):
            await waiting
        asked.asking.answered(Replied(1))

    asyncio.run(story())


def test_the_end_of_the_node_refuses_everybody() -> None:
    """Nobody waits for a core that handles nothing any more."""

    async def story() -> None:
        asked = Asked()
        waiting = [await asked.ask(), await asked.ask()]
        asked.asking.close()
        for task in waiting:
            with pytest.raises(RequestRefusedError, match="the node stopped"):
                await task

    asyncio.run(story())
