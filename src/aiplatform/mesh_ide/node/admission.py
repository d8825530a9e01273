"""Admission: this node's tickets, and its answers to strangers who show one."""

from __future__ import annotations

import asyncio
import secrets
from typing import Final

from msgspec import msgpack

from aiplatform.mesh_ide.identity import membership
from aiplatform.mesh_ide.identity.joining import (
    Admission,
    BadJoinError,
    Refusal,
    RefusalReason,
    accept,
    decode_request,
    redeem,
    refuse,
)
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.tickets import StoredTicket, Ticket, issue
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.node.driver import NodeDriver
from aiplatform.mesh_ide.node.events import AddRosterRecords, KeepRecords
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind

_ticket = msgpack.Decoder(StoredTicket)
TICKET_ID_BYTES: Final = 16
SECRET_BYTES: Final = 32


def _record(ticket: StoredTicket) -> PutRecord:
    return PutRecord(RecordKind.TICKET, ticket.ticket_id, msgpack.encode(ticket))


class Admitter:
    """Issues and redeems tickets; one redemption at a time, so that a ticket works once."""

    def __init__(self, key: SigningKey, workspace_name: str, driver: NodeDriver) -> None:
        self._key = key
        self._workspace_name = workspace_name
        self._driver = driver
        self._redeeming = asyncio.Lock()

    async def issue(self, role: Role, expires_s: float) -> Ticket:
        """Make a ticket and store it durably.

        Raises:
            NotPermittedError: this node is no admin.
        """
        now_ms = self._driver.clock.now_ms()
        ticket, stored = issue(
            self._driver.core.membership.roster,
            issuer=NodeId(self._key.public),
            ticket_id=secrets.token_bytes(TICKET_ID_BYTES),
            secret=secrets.token_bytes(SECRET_BYTES),
            role=role,
            expires_ms=now_ms + int(expires_s * 1000),
            now_ms=now_ms,
            workspace_name=self._workspace_name,
            addresses=self._driver.addresses,
        )
        await self._driver.request(lambda tag: KeepRecords(tag, (_record(stored),)))
        return ticket

    async def answer(self, peer: NodeId, request: bytes) -> bytes:
        """Answer a stranger's request to join (the frame to send back)."""
        try:
            asked = decode_request(request)
        except BadJoinError:
            return refuse(RefusalReason.NOT_PERMITTED)
        if peer in self._driver.core.membership.shut_out:
            return refuse(RefusalReason.SHUT_OUT)
        async with self._redeeming:
            stored = {
                key: _ticket.decode(value)
                for key, value in self._driver.store.records(RecordKind.TICKET)
            }
            decision = redeem(
                asked,
                proven_peer_key=peer,
                stored=stored,
                roster=self._driver.core.membership.roster,
                issuer=NodeId(self._key.public),
                now_ms=self._driver.clock.now_ms(),
            )
            if isinstance(decision, Refusal):
                return refuse(decision.reason)
            if isinstance(decision, Admission):
                await self._admit(decision)
            core = self._driver.core
            return accept(
                core.membership.roster,
                node=peer,
                certificates=(core.membership.my_hello.certificate,),
                workspace_name=self._workspace_name,
                settings={},
            )

    async def _admit(self, decision: Admission) -> None:
        """Make it durable: record and used ticket in one transaction."""
        record = membership.admit(
            self._driver.core.membership.roster,
            key=self._key,
            newcomer=decision.newcomer,
            role=decision.role,
            now_ms=self._driver.clock.now_ms(),
            ticket=decision.ticket.ticket_id,
        )
        used = _record(decision.ticket)
        await self._driver.request(lambda tag: AddRosterRecords(tag, (record.encoded,), (used,)))
