"""Somebody who is no member: turned away before a byte is decoded, with a reason to read."""

from __future__ import annotations

import secrets
from pathlib import Path

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.identity.joining import JoinRefused, decode_answer
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.tickets import Ticket
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.model.enums import Channel, NodeType
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.node.clock import SteadyClock
from aiplatform.mesh_ide.node.founding import JoinRefusedError, join_workspace
from aiplatform.mesh_ide.ports.errors import PeerUnreachableError
from aiplatform.mesh_ide.ports.transport import LinkEnd
from tests.integration.kit import Node, one_node, run, until


class Stranger:
    """A transport with a key of its own, and what it heard."""

    def __init__(self) -> None:
        self.transport = IrohTransport(secrets.token_bytes(32), listen=Listen.LOOPBACK)
        self.ups = 0
        self.ends: list[tuple[LinkEnd, str]] = []
        self.frames = 0

    def on_link_up(self, peer: NodeId, address: str) -> None:
        self.ups += 1

    def on_link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        self.ends.append((end, detail))

    def on_frame(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        self.frames += 1

    async def on_join(self, peer: NodeId, request: bytes) -> bytes:
        return b""


async def try_join(base: Path, ticket: Ticket, name: str) -> None:
    """Ask to join as a new node."""
    await join_workspace(
        base / name,
        ticket,
        folder=None,
        node_name=name,
        node_type=NodeType.LOCAL,
        person=name,
        user=SigningKey.from_seed(b"s" * 32),
        listen=Listen.LOOPBACK,
        timeout_s=5,
    )


def test_a_key_that_is_not_on_the_roster_is_refused_a_link(tmp_path: Path) -> None:
    """The stranger reads what to do; the node hears no link, no frame, and goes on."""

    async def work() -> None:
        async with one_node(tmp_path) as alpha:
            stranger = Stranger()
            await stranger.transport.start(stranger)
            try:
                stranger.transport.allow(frozenset({alpha.id}))
                stranger.transport.dial(alpha.id, alpha.node.driver.addresses)
                await until(lambda: bool(stranger.ends), "it is turned away")
            finally:
                await stranger.transport.close()
            assert stranger.ups == 0
            assert "not a member: join first" in stranger.ends[0][1]
            assert alpha.node.driver.transport.stats() == ()
            assert not alpha.said("peer-up")
            assert alpha.is_serving

    run(work())


@pytest.mark.parametrize("rubbish", [b"", b"\xc1", b"let me in", bytes(16_000)])
def test_rubbish_at_the_door_is_refused_without_a_trace(tmp_path: Path, rubbish: bytes) -> None:
    """Whatever is said instead of a request: the answer is a refusal, the roster stays."""

    async def work() -> None:
        async with one_node(tmp_path) as alpha:
            stranger = Stranger()
            await stranger.transport.start(stranger)
            try:
                answer = await stranger.transport.request_join(
                    alpha.id, alpha.node.driver.addresses, rubbish, 5.0
                )
            finally:
                await stranger.transport.close()
            assert isinstance(decode_answer(answer), JoinRefused)
            assert len(alpha.core.membership.roster.members) == 1
            assert alpha.is_serving

    run(work())


def test_a_ticket_with_another_secret_is_refused(tmp_path: Path) -> None:
    """A guessed secret opens nothing, and the true ticket still works afterwards."""

    async def work() -> None:
        async with one_node(tmp_path) as alpha:
            ticket = await alpha.ticket()
            with pytest.raises(JoinRefusedError, match="ticket"):
                await try_join(tmp_path, replace(ticket, secret=bytes(32)), "eve")
            assert len(alpha.core.membership.roster.members) == 1
            await try_join(tmp_path, ticket, "bob")
            await until(lambda: len(alpha.core.membership.roster.members) == 2, "bob is a member")

    run(work())


def test_a_used_ticket_is_refused_to_the_next(tmp_path: Path) -> None:
    """A ticket works once; who comes second reads that it was used."""

    async def work() -> None:
        async with one_node(tmp_path) as alpha:
            ticket = await alpha.ticket()
            await try_join(tmp_path, ticket, "bob")
            with pytest.raises(JoinRefusedError, match="joined with this ticket already"):
                await try_join(tmp_path, ticket, "eve")
            assert len(alpha.core.membership.roster.members) == 2

    run(work())


def test_another_node_at_the_address_of_a_ticket_is_told_apart(tmp_path: Path) -> None:
    """A port that was taken over: the message says so instead of a certificate's error."""

    async def work() -> None:
        async with one_node(tmp_path / "first") as alpha:
            ticket = await alpha.ticket()
            elsewhere = replace(ticket, issuer=NodeId(SigningKey.from_seed(b"e" * 32).public))
            with pytest.raises(PeerUnreachableError, match="another node answers"):
                await try_join(tmp_path, elsewhere, "bob")

    run(work())


class Later(SteadyClock):
    """A clock that a test moves."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


def test_an_expired_ticket_is_refused_and_says_so(tmp_path: Path) -> None:
    """By the issuer's clock, which is the one that counts."""

    async def work() -> None:
        alpha = Node(tmp_path, "alpha")
        alpha.found()
        clock = alpha.clock = Later()
        async with alpha.up():
            ticket = await alpha.ticket(expires_s=60)
            clock.ahead_ms = 61_000
            with pytest.raises(JoinRefusedError, match="expired"):
                await try_join(tmp_path, ticket, "eve")
            assert len(alpha.core.membership.roster.members) == 1

    run(work())


def test_a_ticket_whose_issuer_is_gone_says_who_did_not_answer(tmp_path: Path) -> None:
    """Nobody there, or somebody else by now: the message says which."""

    async def work() -> None:
        async with one_node(tmp_path) as alpha:
            ticket = await alpha.ticket()
        with pytest.raises(PeerUnreachableError, match=r"check that it runs|another node answers"):
            await try_join(tmp_path, ticket, "bob")

    run(work())
