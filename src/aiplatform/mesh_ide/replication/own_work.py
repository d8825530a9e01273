"""What this node wrote and nobody takes of it, since it may not edit (now, or when it wrote it).

Such entries stay here. They are not sent, since whoever gets them has to refuse them, again at
every comparison; and where a file has some, peers are told by its vector that everything of theirs
is here too, since no fingerprint of this node's will ever be theirs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.model.entries import FileVector
from aiplatform.mesh_ide.model.ids import FileId, SessionId


class Judge(Protocol):
    """Who judges this node's entries as the others will: membership."""

    @property
    def may_edit(self) -> bool:
        """Return whether others take what this node writes now."""

    def is_refused(self, session: SessionId, sequence: int) -> bool:
        """Return whether an entry is this node's own and nobody takes it of this node."""


class OwnWork:
    """Tells which files hold entries that stay here, and keeps those from being sent."""

    def __init__(self, ledger: Ledger, judge: Judge) -> None:
        self._ledger = ledger
        self._judge = judge

    @property
    def is_taken(self) -> bool:
        """Return whether others take what this node writes now."""
        return self._judge.may_edit

    def staying(self, files: Iterable[FileId]) -> frozenset[FileId]:
        """Return which of these files have a version here that nobody takes.

        What this node wrote while it was allowed to is taken, so each entry is judged by itself.
        """
        if self.is_taken:
            return frozenset()
        return frozenset(file for file in files if self._stays(file))

    def _stays(self, file: FileId) -> bool:
        state = self._ledger.state(file)
        return state is not None and any(
            self._judge.is_refused(ref.session, ref.sequence) for ref in state.refs()
        )

    def withheld(self, file: FileId, theirs: FileVector) -> FileVector:
        """Return a peer's vector of a file as if it had what it would refuse: it is sent the rest.

        Args:
            file: what it asks for.
            theirs: what it holds of it.
        """
        state = self._ledger.state(file)
        if self.is_taken or state is None:
            return theirs
        held = dict(theirs)
        for session, last in state.vector:
            # Where it lacks something of the time when this node was allowed to edit, it gets the
            # session whole, and refuses what came later.
            if self._judge.is_refused(session, held.get(session, 0) + 1):
                held[session] = max(last, held.get(session, 0))
        return tuple(sorted(held.items()))
