"""Deciding: what people ask of a node besides writing files."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.mesh.membership import MembershipCore
from aiplatform.mesh_ide.mesh.outputs import KeepRoster
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.node.core_inner import Internal
from aiplatform.mesh_ide.node.core_keeping import Keeping
from aiplatform.mesh_ide.node.core_looking import FirstLook
from aiplatform.mesh_ide.node.events import (
    AddRosterRecords,
    DialAt,
    KeepRecords,
    LookAgain,
    RejectHold,
    ReleaseHold,
    Replied,
)
from aiplatform.mesh_ide.workspace.core import WorkspaceCore

_MAY_NOT_RELEASE: Final = (
    "this node may not edit, so nobody would take these deletions: they stay held until it may; "
    "`mesh reject` brings the files back"
)

Decision = ReleaseHold | RejectHold | AddRosterRecords | KeepRecords | LookAgain | DialAt


class Deciding:
    """Holds are ended, members admitted, records kept, the folder looked at again.

    Invariants:
        1. every request is answered exactly once, those that keep something by ``Keeping``.
        2. held deletions become entries only on a node that may edit: a person decides about
           them when they can reach the others, never before.
    """

    def __init__(
        self,
        membership: MembershipCore,
        workspace: WorkspaceCore,
        looking: FirstLook,
        keeping: Keeping,
    ) -> None:
        self._membership = membership
        self._workspace = workspace
        self._looking = looking
        self._keeping = keeping

    def handle(self, request: Decision, now_ms: int) -> list[Internal]:
        """Take a request."""
        match request:
            case ReleaseHold() | RejectHold():
                return self._end_hold(request, now_ms)
            case AddRosterRecords():
                return self._add_roster(request, now_ms)
            case KeepRecords():
                return [self._keeping.keep_for(request.tag, request.records)]
            case LookAgain():
                self._membership.redial(now_ms)
                return [*self._looking.again(now_ms), Replied(request.tag)]
            case DialAt():
                out = self._membership.dial_at(request.peer, request.addresses, now_ms)
                return [*out, Replied(request.tag)]

    def _end_hold(self, request: ReleaseHold | RejectHold, now_ms: int) -> list[Internal]:
        if request.hold not in self._workspace.deletions.holds:
            return [Replied(request.tag, f"there is no hold {request.hold}: see `mesh held`")]
        if isinstance(request, ReleaseHold) and not self._membership.may_edit:
            # Its entries would stay here unasked, and all leave at once when its role changes.
            return [Replied(request.tag, _MAY_NOT_RELEASE)]
        out: list[Internal] = []
        if isinstance(request, ReleaseHold):
            out.extend(self._workspace.release(request.hold, now_ms))
        else:
            self._workspace.reject(request.hold)
        out.append(self._keeping.keep_for(request.tag, self._workspace.take_decided()))
        return out

    def _add_roster(self, request: AddRosterRecords, now_ms: int) -> list[Internal]:
        out = self._membership.add_records(request.records, None, now_ms)
        keep = [item for item in out if isinstance(item, KeepRoster)]
        if not keep:
            return [*out, Replied(request.tag)]
        persist = self._keeping.keep_for(
            request.tag, (*records.roster_writes(keep[0]), *request.beside)
        )
        return [persist, *(item for item in out if not isinstance(item, KeepRoster))]
