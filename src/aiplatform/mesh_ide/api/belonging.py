"""Who belongs: tickets, members, roles, leaving."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.subjects import NO_MEMBER, Subjects
from aiplatform.mesh_ide.identity import membership
from aiplatform.mesh_ide.identity.records import KnownRecord
from aiplatform.mesh_ide.identity.tickets import format_ticket, parse
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.errors import LocalError, NotPermittedError
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.node.events import AddRosterRecords, DialAt, LookAgain, Told
from aiplatform.mesh_ide.ports.errors import PeerUnreachableError

EXPIRES_S_MAX: Final = 366 * 24 * 3600.0
DIAL_S: Final = 5.0
"""How long somebody who asks waits for a link: a dial over a relay takes under 3 s."""

POLL_S: Final = 0.02

FAREWELL_S: Final = 3.0
"""How long a leaving node waits for the others to have heard: they end the link then."""


class LastMemberError(LocalError):
    """The only member cannot leave: nobody would be left."""


class WrongTicketError(LocalError):
    """A ticket that has nothing to say to this node."""


class BadExpiryError(LocalError):
    """A ticket cannot live so long, or not at all."""


def role_of(word: str) -> Role:
    """Return the role of this name.

    Raises:
        LocalError: there is none.
    """
    try:
        return Role[word.upper()]
    except KeyError:
        names = ", ".join(role.name.lower() for role in Role)
        raise LocalError(f"there is no role {word!r}: the roles are {names}") from None


class Belonging:
    """Changes the roster; every answer is given once the change is durable here."""

    def __init__(self, subjects: Subjects) -> None:
        """Ask this node."""
        self._subjects = subjects

    async def share(self, role: str, expires_s: float) -> answers.Shared:
        """Make a ticket. Raises ``NotPermittedError`` if this node is no admin."""
        if not 0 < expires_s <= EXPIRES_S_MAX:
            raise BadExpiryError("a ticket lives between a second and a year (--expires)")
        ticket = await self._subjects.node.admitter.issue(role_of(role), expires_s)
        return answers.Shared(
            ticket=format_ticket(ticket),
            role=ticket.role.name.lower(),
            expires_ms=ticket.expires_ms,
            addresses=ticket.addresses,
            workspace=ticket.workspace_name,
        )

    def members(self) -> answers.Members:
        """Return all members, by label."""
        core, me = self._subjects.core, self._subjects.me
        members = sorted(self._subjects.roster.members.values(), key=lambda m: m.label)
        return answers.Members(
            tuple(
                answers.Member(
                    node=m.node.hex(),
                    label=m.label,
                    name=m.name,
                    role=m.role.name.lower(),
                    node_type=m.node_type.value,
                    user=m.user.hex(),
                    is_me=m.node == me,
                    state="this node" if m.node == me else core.membership.link_state(m.node)[0],
                )
                for m in members
            )
        )

    async def remove(self, word: str) -> answers.Done:
        """End a membership."""
        subjects = self._subjects
        member = subjects.member(word)
        if member.node == subjects.me:
            raise LocalError(f"{member.label} is this node itself: use `mesh leave`")
        record = membership.remove(
            subjects.roster,
            key=subjects.node.key,
            subject=member.node,
            seen=self._subjects.core.seen_of(member.node),
            now_ms=subjects.now_ms(),
        )
        await self._add(record)
        return answers.Done(
            f"{member.label} is no longer a member: nobody accepts its links any more. Its copy "
            "of the folder stays where it is; a new ticket lets it back in."
        )

    async def set_role(self, word: str, role: str) -> answers.Done:
        """Give a member another role."""
        subjects = self._subjects
        member = subjects.member(word)
        wanted = role_of(role)
        record = membership.change_role(
            subjects.roster,
            key=subjects.node.key,
            subject=member.node,
            role=wanted,
            seen=self._subjects.core.seen_of(member.node),
            now_ms=subjects.now_ms(),
        )
        if record is not None:
            await self._add(record)
        message = f"{member.label} has the role {wanted.name.lower()}"
        if member.role < Role.EDIT <= wanted:
            message += "; what it changed so far, which stayed with it, goes to everybody now"
        return answers.Done(message)

    async def leave(self) -> answers.Done:
        """Stop being a member: tell the others, then stop serving. The folder stays.

        Raises:
            LastMemberError: there is nobody else.
            LastAdminError: nobody could admit or remove afterwards.
            PeerUnreachableError: nobody is online to be told; nothing was changed.
        """
        subjects = self._subjects
        others = subjects.others()
        if not others:
            raise LastMemberError(
                "this node is the only member, so there is nobody to leave: `mesh down` stops "
                "serving, and the folder is yours in any case"
            )
        online = await self._dialled()
        if not online and subjects.is_out():
            subjects.stop()
            return answers.Done(
                f"this node was no member of {subjects.node.settings.workspace_name} any more; "
                "the folder stays as it is. A ticket of an admin lets it back in: `mesh join "
                "TICKET .` in the folder"
            )
        if not online:
            names = ", ".join(member.label for member in others)
            raise PeerUnreachableError(
                f"nobody is online who could be told that this node leaves ({names}): try again "
                "when one is, or ask an admin to remove this node (`mesh members remove`)"
            )
        record = membership.remove(
            subjects.roster,
            key=subjects.node.key,
            subject=subjects.me,
            seen=subjects.core.seen_of(subjects.me),
            now_ms=subjects.now_ms(),
        )
        async with subjects.driver.watch() as told:
            await self._add(record)
            await _gone(told, len(online))
        subjects.stop()
        return answers.Done(
            f"this node has left {subjects.node.settings.workspace_name}; the folder stays as it "
            "is. To come back: `mesh join TICKET .` in the folder, with a ticket of an admin"
        )

    async def dial(self, text: str) -> answers.Done:
        """Dial a member where its ticket says that it is. The ticket is not used up.

        Two members that both moved to other addresses find each other by nothing else.

        Raises:
            WrongTicketError: it is for another workspace, or its issuer is no member.
            NotPermittedError: this node was removed.
            PeerUnreachableError: nobody answers there.
        """
        subjects = self._subjects
        ticket = parse(text)
        title = subjects.node.settings.workspace_name
        if ticket.workspace != subjects.node.settings.workspace:
            raise WrongTicketError(
                f"this folder is the workspace {title} already, and the ticket is for "
                f"{ticket.workspace_name}: join that one in another folder"
            )
        if subjects.is_out():
            raise NotPermittedError(NO_MEMBER)
        issuer = NodeId(ticket.issuer)
        if issuer not in subjects.roster.members or issuer == subjects.me:
            raise WrongTicketError(
                f"this folder is the workspace {title} already, and who made the ticket "
                f"({subjects.label(issuer)}) is no other member of it"
            )
        label = subjects.label(issuer)
        await subjects.driver.request(lambda tag: DialAt(tag, issuer, ticket.addresses))
        if not await self._within(lambda: issuer in subjects.core.membership.ready()):
            _, _, detail = subjects.core.membership.link_state(issuer)
            raise PeerUnreachableError(
                f"{label} does not answer at {', '.join(ticket.addresses)} ({detail or 'yet'}): is "
                "it up, and was the ticket made since it has this address?"
            )
        return answers.Done(f"linked with {label}: this folder was a member already")

    async def _dialled(self) -> tuple[NodeId, ...]:
        """Return who is online; if nobody is, dial all and wait a moment for the first."""
        subjects = self._subjects
        membership = subjects.core.membership
        if not membership.ready() and not subjects.is_out():
            await subjects.driver.request(LookAgain)
            await self._within(lambda: bool(membership.ready()) or subjects.is_out())
        return membership.ready()

    async def _within(self, is_true: Callable[[], bool]) -> bool:
        """Wait for links to change until something is true; return whether it is in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DIAL_S):
                while not is_true():  # noqa: ASYNC110 - reading a counter
                    await asyncio.sleep(POLL_S)
        return is_true()

    async def _add(self, record: KnownRecord) -> None:
        await self._subjects.driver.request(lambda tag: AddRosterRecords(tag, (record.encoded,)))


async def _gone(told: asyncio.Queue[Told], count: int) -> None:
    """Return when so many links have ended, or after ``FAREWELL_S``."""
    with suppress(TimeoutError):
        async with asyncio.timeout(FAREWELL_S):
            while count:
                count -= (await told.get()).kind == "peer-down"
