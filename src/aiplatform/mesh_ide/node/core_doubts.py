"""Doubts: files that differ from a peer's although both have the same numbers of every session.

Vectors count a session's entries; they do not name them. A session that signed two entries under
one number and gave each to another node leaves both with equal vectors and different frontiers:
each asks the other, and neither has anything to send. So whoever asks a second time about a file
of which it has all that we have is sent its whole history, and finds the contradiction in it.
Honest nodes ask so twice when a content is long in coming; what they get then they have already.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.model.entries import FileVector
from aiplatform.mesh_ide.model.ids import FileId, NodeId
from aiplatform.mesh_ide.model.messages import Vectors

FILES_MAX: Final = 64
"""Remembered of each peer, the last ones; a contradiction shows in any file that it is in, at one
of the next reconciliations."""


class Doubts:
    """What linked peers asked once although they had it."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._asked: dict[NodeId, OrderedDict[FileId, FileVector]] = {}

    def widened(self, peer: NodeId, message: Vectors) -> Vectors:
        """Return what to answer a peer's question as if it had been asked."""
        if not message.is_request:
            return message
        return Vectors(
            tuple((file, self._answered(peer, file, theirs)) for file, theirs in message.vectors),
            is_request=True,
        )

    def _answered(self, peer: NodeId, file: FileId, theirs: FileVector) -> FileVector:
        """Return from where on a file's history is sent: from its beginning if there is doubt."""
        state = self._ledger.state(file)
        if not theirs or state is None or state.vector != theirs:
            return theirs
        asked = self._asked.setdefault(peer, OrderedDict())
        if asked.pop(file, None) == theirs:
            return ()
        asked[file] = theirs
        if len(asked) > FILES_MAX:
            asked.popitem(last=False)
        return theirs

    def peer_gone(self, peer: NodeId) -> None:
        """Forget what a peer asked."""
        self._asked.pop(peer, None)
