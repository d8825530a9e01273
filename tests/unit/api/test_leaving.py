"""Leaving a moment after the start: nobody is linked yet, and somebody can be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest

from aiplatform.mesh_ide.api import belonging
from aiplatform.mesh_ide.api.belonging import Belonging
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.node.events import LookAgain
from aiplatform.mesh_ide.ports.errors import PeerUnreachableError

DESK = NodeId(b"d" * 32)


class Lonely:
    """A node that nobody is linked with until it dials.

    Args:
        answers: whether the other one answers then.
        is_out: whether the others take it for no member.
    """

    def __init__(self, *, answers: bool, is_out: bool = False) -> None:
        self.online: tuple[NodeId, ...] = ()
        self.dialled = 0
        self._answers = answers
        self._is_out = is_out
        self.core = SimpleNamespace(membership=SimpleNamespace(ready=lambda: self.online))
        self.driver = SimpleNamespace(request=self._request)

    async def _request(self, make: object) -> None:
        assert make is LookAgain
        self.dialled += 1
        if self._answers:
            asyncio.get_running_loop().call_later(0.01, self._link)

    def _link(self) -> None:
        self.online = (DESK,)

    def is_out(self) -> bool:
        """Say whether it is no member."""
        return self._is_out

    def others(self) -> list[SimpleNamespace]:
        """Return the other member."""
        return [SimpleNamespace(label="desk", node=DESK)]

    def belonging(self) -> Belonging:
        """Return the operations on it."""
        return Belonging(cast("Subjects", self))


def test_a_node_that_has_just_started_dials_before_it_gives_up() -> None:
    """The first link takes a moment; one that stands is not waited for."""
    node = Lonely(answers=True)
    assert asyncio.run(node.belonging()._dialled()) == (DESK,)
    assert asyncio.run(node.belonging()._dialled()) == (DESK,)
    assert node.dialled == 1


def test_who_is_really_alone_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a bounded time, and nothing was changed."""
    monkeypatch.setattr(belonging, "DIAL_S", 0.05)
    node = Lonely(answers=False)
    with pytest.raises(PeerUnreachableError, match="nobody is online who could be told"):
        asyncio.run(node.belonging().leave())
    assert node.dialled == 1


def test_who_was_removed_does_not_wait_for_anybody() -> None:
    """Nobody will answer it."""
    node = Lonely(answers=False, is_out=True)
    assert asyncio.run(node.belonging()._dialled()) == ()
    assert node.dialled == 0
