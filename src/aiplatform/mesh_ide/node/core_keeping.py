"""Keeping: the small records a node needs again after a restart, as commits of its store."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aiplatform.mesh_ide.mesh.outputs import (
    KeepAddresses,
    KeepCertificate,
    KeepEquivocation,
    KeepRoster,
)
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.node.events import Replied
from aiplatform.mesh_ide.ports.jobs import Persist
from aiplatform.mesh_ide.ports.store import Write

Kept = KeepCertificate | KeepRoster | KeepAddresses | KeepEquivocation


class Keeping:
    """Turns what must be remembered into commits, and answers who waits for one.

    Invariant: a request that waits is answered once, and not before its records are durable.
    """

    def __init__(self, new_ticket: Callable[[], int]) -> None:
        self._new_ticket = new_ticket
        self._tags: dict[int, int] = {}

    def keep(self, kept: Kept) -> Persist:
        """Return the commit of what membership learnt."""
        return Persist(self._new_ticket(), _writes(kept))

    def keep_joined(self) -> Persist:
        """Return the commit that says: this node has met its workspace once."""
        return Persist(self._new_ticket(), (records.joined_record(),))

    def keep_refused(self, entries: Iterable[EntryRef]) -> Persist:
        """Return the commit that says: these entries of the tree must not be imported."""
        writes = tuple(records.refused_record(ref.id) for ref in entries)
        return Persist(self._new_ticket(), writes)

    def keep_for(self, tag: int, writes: tuple[Write, ...]) -> Persist:
        """Return the commit of what a request wants kept; it is answered once that is durable."""
        persist = Persist(self._new_ticket(), writes)
        self._tags[persist.ticket] = tag
        return persist

    def on_persisted(self, ticket: int) -> list[Replied]:
        """Answer the request that waited for this commit, if one did."""
        tag = self._tags.pop(ticket, None)
        return [] if tag is None else [Replied(tag)]


def _writes(kept: Kept) -> tuple[Write, ...]:
    match kept:
        case KeepCertificate():
            return (records.certificate_record(kept.certificate),)
        case KeepRoster():
            return records.roster_writes(kept)
        case KeepAddresses():
            return (records.addresses_record(kept.peer, kept.addresses),)
        case KeepEquivocation():
            return (records.equivocation_record(kept.proof),)
