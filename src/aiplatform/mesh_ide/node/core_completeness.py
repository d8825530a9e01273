"""Which files this node holds completely: head and content on its disk."""

from __future__ import annotations

from collections.abc import Iterable

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import FileState, content_of, lineage_of, living
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId
from aiplatform.mesh_ide.replication.holdings import Holdings
from aiplatform.mesh_ide.replication.own_work import OwnWork
from aiplatform.mesh_ide.workspace.folder import Folder


class Completeness:
    """Tells replication's holdings what may be announced as stored."""

    def __init__(
        self, ledger: Ledger, folder: Folder, holdings: Holdings, own_work: OwnWork
    ) -> None:
        self._ledger = ledger
        self._folder = folder
        self._holdings = holdings
        self._own_work = own_work

    def recheck(self, files: Iterable[FileId]) -> None:
        """Look at these files again after their entries or contents changed."""
        known = list(files)
        for file in known:
            self._holdings.set_complete(file, is_complete=self._is_complete(file))
        self._holdings.refresh(known)

    def _is_complete(self, file: FileId) -> bool:
        state = self._ledger.state(file)
        if state is None or self._ledger.is_storing(file):
            return False
        if file == TREE_FILE or not living(state):
            return True
        content = content_of(state)
        if content is None or not self._folder.holds(content[0]):
            return False
        return not self._own_work.staying((file,)) or self._holds_all_sides(state)

    def _holds_all_sides(self, state: FileState) -> bool:
        """Return whether what stands here only because nobody takes it hides nothing that is lost.

        Such a file is told by its vector, which speaks for the others' versions beside it too.
        """
        shown = lineage_of(state)
        return all(
            head.blob is None or self._folder.holds(head.blob)
            for head in living(state)
            if head.lineage != shown
        )
