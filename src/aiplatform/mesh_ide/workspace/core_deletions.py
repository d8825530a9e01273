"""What vanished from the folder: half of a rename, a deletion, or a disaster.

A vanished path waits until the folder has been quiet for ``SETTLE_MS``; then it is a deletion.
When more than half of all files vanished together, nothing is deleted anywhere: the deletions are
held until a person releases or rejects them (one empty disk must never wipe its peers).
"""

from __future__ import annotations

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.model.entries import EntryDraft, Principal
from aiplatform.mesh_ide.model.enums import HoldReason
from aiplatform.mesh_ide.ports.jobs import Job
from aiplatform.mesh_ide.ports.store import Write
from aiplatform.mesh_ide.workspace.core_observe import Observer, twins
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import (
    MASS_DELETION_MIN,
    SETTLE_MANY_MAX_MS,
    SETTLE_MAX_MS,
    SETTLE_MS,
    Hold,
    Standing,
    hold_record,
)


class Deletions:
    """Vanished paths and holds.

    Invariants:
        1. a path is in at most one of ``vanished`` and the holds.
        2. a held path has no delete entry, and nothing is written to it.
    """

    def __init__(
        self, ledger: Ledger, observer: Observer, folder: Folder, principal: Principal
    ) -> None:
        self._ledger = ledger
        self._observer = observer
        self._folder = folder
        self._principal = principal
        self.vanished: dict[str, Standing] = {}
        self.holds: dict[int, Hold] = {}
        self._held: set[str] = set()
        self._has_shrunk = False
        self._last_number = 0
        self._over: list[Hold] = []
        """Of the holds that ended, the one with the greatest number; the others' records go."""
        self._first_ms = 0
        self._last_ms = 0
        self.unsaved: list[Write] = []
        self.decided: list[str] = []
        """Paths whose fate is known now: to be considered again."""

    def is_waiting(self, path: str) -> bool:
        """Return whether the fate of this path is open."""
        return path in self.vanished or path in self._held

    def vanish(self, path: str, standing: Standing, now_ms: int) -> None:
        """Note that nothing stands at a path any more."""
        if path in self._held or path in self.vanished:
            return
        if not self.vanished:
            self._first_ms = now_ms
        self._last_ms = now_ms
        self.vanished[path] = standing

    def came_back(self, path: str) -> None:
        """Note that something stands at the path (again)."""
        self.vanished.pop(path, None)
        if path in self._held:
            self._held.discard(path)
            self._has_shrunk = True

    def _shrink(self) -> None:
        """Take out of the holds what came back: together, as a hold may have 20,000 paths."""
        if not self._has_shrunk:
            return
        self._has_shrunk = False
        for hold in list(self.holds.values()):
            rest = tuple(path for path in hold.paths if path in self._held)
            if not rest:
                self._end(hold.id)
            elif len(rest) < len(hold.paths):
                smaller = replace(hold, paths=rest)
                self.holds[hold.id] = smaller
                self.unsaved.append(hold_record(smaller))

    def tick(self, now_ms: int) -> list[Job | Notice]:
        """Decide about what has settled."""
        self._shrink()
        if not self.vanished:
            return []
        lost, total = len(self.vanished), len(self._folder)
        is_quiet = now_ms - self._last_ms >= SETTLE_MS
        patience_ms = SETTLE_MAX_MS if lost < MASS_DELETION_MIN else SETTLE_MANY_MAX_MS
        if not is_quiet and now_ms - self._first_ms < patience_ms:
            return []
        due = [path for path in self.vanished if self._is_ripe(path)]
        is_mass = lost >= MASS_DELETION_MIN and 2 * lost > total
        if not due or (is_mass and len(due) < lost):
            # A disaster is decided on as a whole: in parts, none might be more than half.
            return []
        for path in due:
            del self.vanished[path]
        if is_mass:
            self._hold(tuple(due), now_ms, total)
            return []
        return self.delete(tuple(due), now_ms)

    def _is_ripe(self, path: str) -> bool:
        """Return whether nobody is at work on what stood at a path."""
        standing = self._folder.standing(path)
        if standing is None:
            return True
        is_known = bool(standing.heads) and not self._folder.is_held(path)
        return is_known and not self._ledger.is_claimed(standing.file)

    def _hold(self, paths: tuple[str, ...], now_ms: int, total: int) -> None:
        self._last_number += 1
        number = self._last_number
        detail = f"{len(paths)} of {total} files vanished from the folder at once"
        hold = Hold(number, HoldReason.MASS_DELETION, paths, now_ms, detail)
        self.holds[number] = hold
        self._held.update(paths)
        self.unsaved.append(hold_record(hold))

    def load(self, hold: Hold) -> None:
        """Take a hold from its record, at the start; one without paths is over."""
        self._last_number = max(self._last_number, hold.id)
        if hold.paths:
            self.holds[hold.id] = hold
            self._held.update(hold.paths)
        else:
            self._over.append(hold)

    def delete(self, paths: tuple[str, ...], now_ms: int) -> list[Job | Notice]:
        """Write delete entries for the files that stood at these paths."""
        drafts: list[EntryDraft] = []
        deleted: list[str] = []
        self.decided.extend(self._concerned(paths))
        for path in paths:
            standing = self._folder.standing(path)
            if standing is None:
                continue
            is_unsure = self._is_unsure(path)
            self._folder.put(path, None)
            is_elsewhere = self._folder.path_of(standing.file) is not None
            if is_unsure or is_elsewhere or not self._ledger.is_alive(standing.file):
                continue
            deleted.append(path)
            for file in (standing.file, *twins(self._ledger, path, standing.file)):
                if self._ledger.claim(file):
                    base = standing.heads if file == standing.file else None
                    drafts.append(self._ledger.draft_delete(file, self._principal, base))
        if not drafts:
            return []
        return self._observer.submit([], drafts, tuple(deleted), now_ms)

    def _is_unsure(self, path: str) -> bool:
        """Return whether what is gone may be another file, or side, than what stood there last.

        A crash cut off our write of that other one, and somebody removed what stood there before
        we looked again: at worst it comes back. We archive first what we write over; what is not
        archived stood there still.
        """
        state = self._folder.get(path)
        if state is None or state.now is None or state.planned is None:
            return False
        was, planned = state.now, state.planned
        is_other = (planned.file, planned.lineage) != (was.file, was.lineage)
        return is_other and was.blob in self._folder.archived

    def release(self, number: int, now_ms: int) -> list[Job | Notice]:
        """A person says: these deletions were meant."""
        self._shrink()
        hold = self._end(number)
        if hold is None:
            return []
        ripe = tuple(path for path in hold.paths if self._is_ripe(path))
        for path in hold.paths:
            standing = self._folder.standing(path)
            if path not in ripe and standing is not None:
                self.vanish(path, standing, now_ms)
        return self.delete(ripe, now_ms)

    def reject(self, number: int) -> tuple[str, ...]:
        """A person says: bring the files back. Returns the paths to write again."""
        self._shrink()
        hold = self._end(number)
        if hold is None:
            return ()
        concerned = self._concerned(hold.paths)
        for path in hold.paths:
            self._folder.put(path, None)
        return concerned

    def _concerned(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Return paths, and where else what stood there has its place: others may have moved it."""
        standing = [self._folder.standing(path) for path in paths]
        places = [self._ledger.index.path_of(one.file) for one in standing if one is not None]
        return tuple(dict.fromkeys((*paths, *(place for place in places if place is not None))))

    def _end(self, number: int) -> Hold | None:
        """Forget a hold but for its number, which is not given again: people repeat commands."""
        hold = self.holds.pop(number, None)
        if hold is None:
            return None
        self._held.difference_update(hold.paths)
        over = replace(hold, paths=())
        self.unsaved.append(hold_record(over))
        self._over.append(over)
        last = max(self._over, key=lambda one: one.id)
        self.unsaved.extend(hold_record(one, is_over=True) for one in self._over if one is not last)
        self._over = [last]
        return hold
