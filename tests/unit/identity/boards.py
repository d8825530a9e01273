"""Workspaces to tell stories with: nodes by name, and how they write records."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.membership import (
    Newcomer,
    admit,
    change_role,
    found,
    newcomer,
    remove,
)
from aiplatform.mesh_ide.identity.records import (
    KnownRecord,
    RecordKind,
    RosterRecord,
    sign_record,
    vouch_for,
)
from aiplatform.mesh_ide.identity.roster import Roster, evaluate
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, UserId, WorkspaceId

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROOT = SigningKey.from_seed(b"0" * 32)
WORKSPACE = WorkspaceId(ROOT.public)
USER = SigningKey.from_seed(b"u" * 32)
SESSION = SessionId(b"s" * 32)


def key_of(name: str) -> SigningKey:
    """A node's key by its name."""
    return SigningKey.from_seed(name.encode().ljust(32, b"."))


def node_of(name: str) -> NodeId:
    """A node's id by its name."""
    return NodeId(key_of(name).public)


def asks(name: str, shown: str | None = None) -> Newcomer:
    """A node that asks to belong."""
    return newcomer(
        node=node_of(name),
        user=USER,
        workspace=WORKSPACE,
        name=shown or name,
        node_type=NodeType.LOCAL,
    )


class Board:
    """One node's records, and how it writes new ones."""

    def __init__(self, records: Iterable[KnownRecord] = ()) -> None:
        self.records = list(records)

    @property
    def roster(self) -> Roster:
        return evaluate(WORKSPACE, self.records)

    def copy(self) -> Board:
        return Board(self.records)

    def meet(self, *others: Board) -> Board:
        return Board(itertools.chain(self.records, *(other.records for other in others)))

    def admit(self, by: str, name: str, role: Role = Role.ADMIN) -> Board:
        record = admit(
            self.roster, key=key_of(by), newcomer=asks(name), role=role, now_ms=len(self.records)
        )
        self.records.append(record)
        return self

    def remove(self, by: str, name: str, seen: int = 0) -> Board:
        self.records.append(
            remove(
                self.roster,
                key=key_of(by),
                subject=node_of(name),
                seen={SESSION: seen},
                now_ms=len(self.records),
            )
        )
        return self

    def role(self, by: str, name: str, role: Role, seen: int = 0) -> Board:
        record = change_role(
            self.roster,
            key=key_of(by),
            subject=node_of(name),
            role=role,
            seen={SESSION: seen},
            now_ms=len(self.records),
        )
        assert record is not None
        self.records.append(record)
        return self

    def roles(self) -> dict[str, str]:
        return {member.name: member.role.name for member in self.roster.members.values()}


def founded(*admins: str) -> Board:
    """A workspace whose founder ``f`` admitted these admins, one after the other."""
    board = Board([found(workspace_key=ROOT, founder=asks("f"), now_ms=0)])
    for name in admins:
        board.admit("f", name)
    return board


def removed_admin_grants() -> tuple[Board, Board]:
    """``f`` removes ``a``, while ``a`` admits ``x``, who admits ``y``, and raises ``r``."""
    base = founded("a").admit("f", "r", Role.READ)
    removal = base.copy().remove("f", "a")
    grants = base.copy().admit("a", "x").admit("x", "y").role("a", "r", Role.ADMIN)
    return removal, grants


def record(  # noqa: PLR0913 - one value for each field that a liar chooses
    by: str,
    kind: RecordKind,
    name: str,
    parents: Sequence[bytes],
    *,
    role: Role = Role.ADMIN,
    issuer: SigningKey | None = None,
) -> KnownRecord:
    """A record that no honest node would write."""
    key = issuer or key_of(by)
    is_admission = kind is RecordKind.ADMIT
    subject = node_of(name)
    body = RosterRecord(
        kind=kind,
        workspace=WORKSPACE,
        subject=subject,
        user=UserId(USER.public if is_admission else b""),
        vouch=vouch_for(USER, WORKSPACE, subject) if is_admission else b"",
        role=role,
        name=name if is_admission else "",
        node_type=NodeType.LOCAL,
        issuer=NodeId(key.public),
        parents=tuple(sorted(set(parents))),  # type: ignore[arg-type]
        issued_ms=0,
    )
    return sign_record(body, key)
