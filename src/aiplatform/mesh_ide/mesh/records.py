"""The roster's records as this node holds them, and what they amount to now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from aiplatform.mesh_ide.identity.labels import labels_of
from aiplatform.mesh_ide.identity.records import (
    BadRecordError,
    KnownRecord,
    RecordKind,
    open_record,
)
from aiplatform.mesh_ide.identity.roster import Roster, evaluate
from aiplatform.mesh_ide.mesh.outputs import KeepRoster, MembershipOutput, SayTo, Warned
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId, short
from aiplatform.mesh_ide.model.messages import RosterExchange

RECORDS_PER_MESSAGE_MAX: Final = 512


class RosterBook:
    """Signed records, each checked when it came, and the roster evaluated from them.

    Invariant: ``roster`` is that of the records at the last ``evaluate``.
    """

    def __init__(self, workspace: WorkspaceId) -> None:
        self._workspace = workspace
        self._records: dict[bytes, KnownRecord] = {}
        self.roster: Roster = evaluate(workspace, ())
        self._former: dict[NodeId, str] = {}

    def restore(self, records: Iterable[bytes]) -> None:
        """Take records that were kept."""
        for encoded in records:
            known = open_record(encoded, self._workspace)
            self._records[known.id] = known

    def take(self, encoded: Iterable[bytes]) -> tuple[list[KnownRecord], list[MembershipOutput]]:
        """Check records; return those that are new, and a warning for each that is none."""
        fresh: list[KnownRecord] = []
        out: list[MembershipOutput] = []
        for record in encoded:
            try:
                known = open_record(record, self._workspace)
            except BadRecordError as error:
                out.append(Warned(f"a roster record was refused: {error}"))
                continue
            if known.id not in self._records:
                self._records[known.id] = known
                fresh.append(known)
        return fresh, out

    def evaluate(self) -> None:
        """Find out anew what the records amount to."""
        self.roster = evaluate(self._workspace, self._records.values())
        self._former = former_labels(self.roster)

    def keep(self, fresh: Iterable[KnownRecord]) -> KeepRoster:
        """Forget what had no right to be said; return what of the rest is to be remembered."""
        erase = tuple(self.roster.refused)
        for refused in erase:
            self._records.pop(refused, None)
        return KeepRoster(tuple(known for known in fresh if known.id in self._records), erase)

    def show(
        self, peer: NodeId, records: Iterable[KnownRecord] | None = None
    ) -> list[MembershipOutput]:
        """Tell a peer records (all that count, if none are named)."""
        told = [known.encoded for known in (self.roster.records if records is None else records)]
        return [
            SayTo(
                peer,
                Channel.CONTROL,
                RosterExchange(tuple(told[i : i + RECORDS_PER_MESSAGE_MAX])),
            )
            for i in range(0, len(told), RECORDS_PER_MESSAGE_MAX)
        ]

    def knows(self, node: NodeId) -> bool:
        """Return whether a node is or was a member."""
        return node in self.roster.members or node in self.roster.removed

    def is_member(self, node: NodeId) -> bool:
        """Return whether a node is a member now."""
        return node in self.roster.members

    def label(self, node: NodeId) -> str:
        """Return what people call a node; of a former member its name, marked as such."""
        member = self.roster.members.get(node)
        if member is not None:
            return member.label
        return self._former.get(node) or short(node)


def former_labels(roster: Roster) -> dict[NodeId, str]:
    """Return what people call the nodes that are no members any more: by their last admission."""
    names: dict[NodeId, str] = {}
    for known in roster.records:
        record = known.record
        if record.kind is RecordKind.ADMIT and record.subject in roster.removed:
            names[record.subject] = record.name
    return {node: f"{label} (removed)" for node, label in labels_of(names).items()}
