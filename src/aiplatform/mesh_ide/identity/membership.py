"""Writing roster records: found a workspace, admit, remove, change a role, leave.

Each function checks against the roster that the issuer knows and returns a signed record; the
caller stores it, evaluates again and tells its peers. Clocks and sequences come as arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.identity.records import (
    CUT_SESSIONS_MAX,
    PARENTS_MAX,
    KnownRecord,
    RecordKind,
    RosterRecord,
    SessionCut,
    clean_name,
    is_vouched,
    sign_record,
    vouch_for,
)
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.errors import LocalError, NotPermittedError
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, UserId, WorkspaceId, short

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiplatform.mesh_ide.identity.keys import SigningKey
    from aiplatform.mesh_ide.identity.roster import Roster

_NOBODY: Final = UserId(b"")


class LastAdminError(LocalError):
    """The change would leave the workspace without anybody who can admit or remove."""


class NotAMemberError(LocalError):
    """The node that the change is about does not belong to the workspace."""


class AlreadyAMemberError(LocalError):
    """The node to admit belongs to the workspace already."""


class Newcomer(Struct, frozen=True):
    """A node that asks to belong, with its user's word for it."""

    node: NodeId
    user: UserId
    vouch: bytes
    name: str
    node_type: NodeType


def newcomer(
    *, node: NodeId, user: SigningKey, workspace: WorkspaceId, name: str, node_type: NodeType
) -> Newcomer:
    """Describe one's own node, vouched for by one's user key.

    Raises:
        BadNameError: the name cannot be shown.
    """
    vouch = vouch_for(user, workspace, node)
    return Newcomer(node, UserId(user.public), vouch, clean_name(name), node_type)


def found(*, workspace_key: SigningKey, founder: Newcomer, now_ms: int) -> KnownRecord:
    """Return the first record of a workspace: its key admits the founder as admin.

    The workspace key is needed for this alone. Whoever keeps it can always admit and remove, so
    it is best thrown away or put where no machine reads it.
    """
    workspace = WorkspaceId(workspace_key.public)
    record = _admission(workspace, NodeId(workspace_key.public), founder, Role.ADMIN, now_ms)
    return sign_record(record, workspace_key)


def admit(  # noqa: PLR0913 - one value for each fact the record states
    roster: Roster,
    *,
    key: SigningKey,
    newcomer: Newcomer,
    role: Role,
    now_ms: int,
    ticket: bytes = b"",
) -> KnownRecord:
    """Return the record by which an admin makes a node a member.

    Raises:
        NotPermittedError: the issuer is no admin, or no user vouches for the node.
        AlreadyAMemberError: it is a member (change its role instead).
    """
    _require_admin(roster, key, "admit")
    if newcomer.node in roster.members:
        raise AlreadyAMemberError(
            f"node {short(newcomer.node)} is a member already: change its role instead"
        )
    if not is_vouched(newcomer.user, roster.workspace, newcomer.node, newcomer.vouch):
        raise NotPermittedError(
            f"node {short(newcomer.node)} was not admitted: its user's signature is wrong"
        )
    record = _admission(roster.workspace, NodeId(key.public), newcomer, role, now_ms)
    return _signed(roster, msgspec.structs.replace(record, ticket=ticket), key)


def remove(
    roster: Roster,
    *,
    key: SigningKey,
    subject: NodeId,
    seen: Mapping[SessionId, int],
    now_ms: int,
) -> KnownRecord:
    """Return the record that ends a membership; a member may always remove itself.

    Args:
        roster: as the issuer knows it.
        key: the issuer's node key.
        subject: who goes.
        seen: for each session of the subject the last sequence that the issuer holds: entries up
            to there stay part of the workspace for everybody.
        now_ms: the issuer's clock.

    Raises:
        NotPermittedError: the issuer is neither admin nor the subject.
        NotAMemberError: there is no such member.
        LastAdminError: nobody could admit or remove afterwards.
    """
    if key.public != subject:
        _require_admin(roster, key, "remove")
    role = _role_of(roster, subject)
    _require_other_admin(roster, subject)
    return _signed(
        roster, _change(roster, RecordKind.REMOVE, key, subject, role, seen, now_ms), key
    )


def change_role(  # noqa: PLR0913 - one value for each fact the record states
    roster: Roster,
    *,
    key: SigningKey,
    subject: NodeId,
    role: Role,
    seen: Mapping[SessionId, int],
    now_ms: int,
) -> KnownRecord | None:
    """Return the record that gives a member another role; ``None`` if it has that role.

    Args:
        roster: as the issuer knows it.
        key: the issuer's node key.
        subject: whose role changes.
        role: the new one.
        seen: as for ``remove``; it matters when the subject may not edit any more.
        now_ms: the issuer's clock.

    Raises:
        NotPermittedError: the issuer is no admin.
        NotAMemberError: there is no such member.
        LastAdminError: nobody could admit or remove afterwards.
    """
    _require_admin(roster, key, "change the role of")
    if _role_of(roster, subject) is role:
        return None
    if role is not Role.ADMIN:
        _require_other_admin(roster, subject)
    return _signed(roster, _change(roster, RecordKind.ROLE, key, subject, role, seen, now_ms), key)


def _admission(
    workspace: WorkspaceId, issuer: NodeId, subject: Newcomer, role: Role, now_ms: int
) -> RosterRecord:
    return RosterRecord(
        kind=RecordKind.ADMIT,
        workspace=workspace,
        subject=subject.node,
        user=subject.user,
        vouch=subject.vouch,
        role=role,
        name=clean_name(subject.name),
        node_type=subject.node_type,
        issuer=issuer,
        parents=(),
        issued_ms=now_ms,
    )


def _change(  # noqa: PLR0913 - as above
    roster: Roster,
    kind: RecordKind,
    key: SigningKey,
    subject: NodeId,
    role: Role,
    seen: Mapping[SessionId, int],
    now_ms: int,
) -> RosterRecord:
    return RosterRecord(
        kind=kind,
        workspace=roster.workspace,
        subject=subject,
        user=_NOBODY,
        vouch=b"",
        role=role,
        name="",
        node_type=roster.members[subject].node_type,
        issuer=NodeId(key.public),
        parents=(),
        issued_ms=now_ms,
        cut=_cut(seen),
    )


def _cut(seen: Mapping[SessionId, int]) -> SessionCut:
    spoken = sorted((session, sequence) for session, sequence in seen.items() if sequence > 0)
    if len(spoken) > CUT_SESSIONS_MAX:
        # The sessions that said least go: their entries can still come from a member who vouches.
        spoken = sorted(sorted(spoken, key=lambda item: item[1])[-CUT_SESSIONS_MAX:])
    return tuple(spoken)


def _signed(roster: Roster, record: RosterRecord, key: SigningKey) -> KnownRecord:
    parents = roster.heads[:PARENTS_MAX]
    return sign_record(msgspec.structs.replace(record, parents=parents), key)


def _require_admin(roster: Roster, key: SigningKey, act: str) -> None:
    issuer = NodeId(key.public)
    if issuer == NodeId(roster.workspace) or roster.may(issuer, Role.ADMIN):
        return
    role = roster.role(issuer)
    held = "is no member" if role is None else f"has the role {role.name.lower()}"
    raise NotPermittedError(
        f"this node {held} and cannot {act} a member: ask an admin "
        f"({', '.join(roster.members[node].label for node in roster.admins()) or 'there is none'})"
    )


def _role_of(roster: Roster, subject: NodeId) -> Role:
    role = roster.role(subject)
    if role is None:
        raise NotAMemberError(
            f"node {short(subject)} is not a member of this workspace: see `mesh members`"
        )
    return role


def _require_other_admin(roster: Roster, subject: NodeId) -> None:
    if roster.admins() == (subject,):
        raise LastAdminError(
            f"{roster.members[subject].label} is the last admin: make another member an admin first"
        )
