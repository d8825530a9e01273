"""One path explained: who has it, and if nobody, why."""

from __future__ import annotations

import asyncio
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec.structs import replace

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.contests import Contest, contest_at, explained
from aiplatform.mesh_ide.api.subjects import ROOT, Subjects, shown
from aiplatform.mesh_ide.api.unwritten import said_of_one
from aiplatform.mesh_ide.identity.roster import Member
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.enums import SyncState
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId
from aiplatform.mesh_ide.ports.filetree import Skipped

FILES_PER_TURN: Final = 1000
"""Files of a folder looked at before links get their turn: a few ms."""

_LOCAL: Final = "LOCAL"
_LEFT_BEFORE: Final = "The members keep the version that replicated before."
_UNWRITTEN: Final = "UNWRITTEN"


class Explaining:
    """Answers from what the node knows already; nothing is changed."""

    def __init__(self, subjects: Subjects) -> None:
        """Ask this node."""
        self._subjects = subjects

    async def why(self, path: str) -> answers.Why:
        """Return everything about one path. Cost: for a folder, one look at each file in it."""
        file = self._subjects.ledger.index.owner(path)
        if file is None:
            return await self._no_file(path)
        return self._hindered(path, file) or self._living(path, file)

    def _hindered(self, path: str, file: FileId) -> answers.Why | None:
        """Return why a file's version is not just on its way, if something here keeps it."""
        subjects, core = self._subjects, self._subjects.core
        if any(path in hold.paths for hold in core.workspace.deletions.holds.values()):
            return self._living(path, file, "HELD", "Its deletion here is held: see `mesh held`.")
        skipped = core.workspace.skipped.get(path)
        if skipped is not None:
            text = f"What stands here now does not replicate: {_reason(skipped)}. {_LEFT_BEFORE}"
            return self._living(path, file, "SKIPPED", text)
        contest = contest_at(core.ledger, path)
        if contest is not None:
            return self._contested(file, contest)
        failed = core.workspace.applier.failed.get(path)
        if failed is not None:
            return self._living(path, file, SyncState.PENDING.value, said_of_one(failed[1]))
        return self._staying(path, file) if subjects.stays_here(file) else None

    # --- where no file lives -----------------------------------------------------------------

    async def _no_file(self, path: str) -> answers.Why:
        subjects, core = self._subjects, self._subjects.core
        skipped = core.workspace.skipped.get(path)
        if skipped is not None:
            text = f"It does not replicate: {_reason(skipped)}. It stays on this machine."
            return answers.Why(path, "SKIPPED", text)
        if subjects.is_folder(path):
            return await self._folder(path)
        dead = subjects.deleted_at(path)
        if dead:
            return self._deleted(path, dead[0])
        above = self._skipped_above(path)
        if above is not None:
            text = (
                f"It does not replicate, since the folder {above.path} does not: {_reason(above)}. "
                "It stays on this machine."
            )
            return answers.Why(path, "SKIPPED", text)
        return await self._unknown(path)

    async def _unknown(self, path: str) -> answers.Why:
        subjects = self._subjects
        if subjects.core.workspace.outstanding:
            text = "It is not known (yet): the folder is being looked at. Ask again in a moment."
            return answers.Why(path, "UNKNOWN", text)
        folder = subjects.node.settings.folder
        is_folder = await asyncio.to_thread(lambda: Path(folder, path).is_dir())
        if folder and is_folder:
            text = (
                "It is a folder, and nothing in it replicates: empty folders do not; with its "
                "first file it comes to be everywhere."
            )
            return answers.Why(path, "FOLDER", text)
        return answers.Why(path, "UNKNOWN", subjects.nothing_at(path))

    def _skipped_above(self, path: str) -> Skipped | None:
        while "/" in path:
            path = path.rpartition("/")[0]
            skipped = self._subjects.core.workspace.skipped.get(path)
            if skipped is not None:
                return skipped
        return None

    async def _folder(self, path: str) -> answers.Why:
        subjects, core = self._subjects, self._subjects.core
        members = [member.node for member in subjects.others()]
        counts: Counter[str] = Counter()
        for number, file in enumerate(self._files_in(path)):
            if number % FILES_PER_TURN == FILES_PER_TURN - 1:
                await asyncio.sleep(0)
            if not core.ledger.index.is_alive(file):
                continue
            if core.ledger.index.path_of(file) in core.workspace.applier.failed:
                counts[_UNWRITTEN] += 1
                continue
            sync = core.replication.holdings.sync_state(file, members)
            counts[_LOCAL if subjects.stays_here(file) else sync.value] += 1
        prefix = "" if path == ROOT else f"{path}/"
        skipped = sum(1 for below in core.workspace.skipped if below.startswith(prefix))
        text = _of_folder(counts, skipped, is_tree_staying=subjects.tree_stays())
        return answers.Why(path, "FOLDER", text)

    def _files_in(self, path: str) -> Iterable[FileId]:
        if path != ROOT:
            return self._subjects.ledger.index.files_below(path)
        return [file for file in self._subjects.ledger.files() if file != TREE_FILE]

    def _deleted(self, path: str, file: FileId) -> answers.Why:
        subjects = self._subjects
        _, _, head = subjects.known(file)
        text = "It was deleted."
        if subjects.stays_here(file):
            text = f"It was deleted here. {_sentence(subjects.why_staying())}"
        failed = subjects.core.workspace.applier.failed.get(path)
        if failed is not None:
            text += f" This node could not take it out of the folder: {failed[1]}."
        return answers.Why(
            path=path,
            state="DELETED",
            explanation=f"{text} Bring it back with: mesh restore {shlex.quote(path)}",
            file=file.hex(),
            version=head.version,
            heads=shown(head.heads),
            replicas=self._replicas(file),
        )

    # --- where one lives ---------------------------------------------------------------------

    def _contested(self, file: FileId, contest: Contest) -> answers.Why:
        _, _, head = self._subjects.known(file)
        archived = self._subjects.core.workspace.folder.archived
        is_archived = head.blob is not None and head.blob in archived
        text = explained(contest, is_archived=is_archived)
        return self._living(contest.path, file, SyncState.CONFLICT.value, text)

    def _staying(self, path: str, file: FileId) -> answers.Why:
        why = self._living(path, file)
        text = _sentence(self._subjects.why_staying())
        if why.state in {SyncState.CONFLICT.value, SyncState.DIVERGED.value}:
            return replace(why, explanation=f"{why.explanation} {text}")
        return replace(why, state=_LOCAL, explanation=text)

    def _living(self, path: str, file: FileId, state: str = "", text: str = "") -> answers.Why:
        core = self._subjects.core
        _, _, head = self._subjects.known(file)
        others = [member.node for member in self._subjects.others()]
        sync = core.replication.holdings.sync_state(file, others)
        places: list[str] = []
        if head.blob is not None:
            if head.blob in core.workspace.folder.archived:
                places.append("archive")
            if core.workspace.folder.path_of(file) is not None:
                places.append("folder")
        return answers.Why(
            path=path,
            state=state or sync.value,
            explanation=text or self._explain(file, sync, has_content=bool(places)),
            file=file.hex(),
            version=head.version,
            size=head.size,
            mode=head.mode.name.lower(),
            is_text=head.is_text,
            heads=shown(head.heads),
            content="" if head.blob is None else head.blob.hex(),
            content_is_at=tuple(places),
            replicas=self._replicas(file),
        )

    def _explain(self, file: FileId, sync: SyncState, *, has_content: bool) -> str:
        if sync is SyncState.CONFLICT:
            return "Two versions exist that no merge can join: see `mesh conflicts`."
        if sync is SyncState.DIVERGED:
            return "The same version has different bytes on two nodes, which is a fault."
        if not has_content:
            return "Its content is not here yet: it comes from a member that has it."
        if self._subjects.ledger.is_claimed(file):
            return "It is being written just now."
        lacking = [m for m in self._subjects.others() if not self._replica(m, file).has_it]
        if sync is SyncState.SYNCED:
            return self._everywhere()
        names = ", ".join(member.label for member in lacking) or "nobody"
        return f"Not every member has confirmed this version: {names}."

    def _everywhere(self) -> str:
        """Return who has a file, and where: only its content and history are judged by itself."""
        if not self._subjects.tree_stays():
            return "Every member has this version on its disk."
        return (
            "Every member has this version on its disk, but names or places of files were changed "
            "here, and it may stand at another path there: "
            f"{self._subjects.why_staying()}."
        )

    def _replicas(self, file: FileId) -> tuple[answers.Replica, ...]:
        return tuple(self._replica(m, file) for m in self._subjects.others())

    def _replica(self, member: Member, file: FileId) -> answers.Replica:
        core = self._subjects.core
        state, _, _ = core.membership.link_state(member.node)
        has_it = core.replication.holdings.has_it(member.node, file)
        return answers.Replica(member.node.hex(), member.label, state, has_it)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def _reason(skipped: Skipped) -> str:
    return skipped.reason.value + (f" ({skipped.detail})" if skipped.detail else "")


def _of_folder(counts: Counter[str], skipped: int, *, is_tree_staying: bool) -> str:
    """Return in a sentence how the files of a folder are."""
    total = counts.total()
    parts = [f"It is a folder: {counted(total, 'file')}"]
    if total and counts[SyncState.SYNCED.value] == total:
        parts.append("every member has all of them")
    if counts[SyncState.PENDING.value]:
        parts.append(f"{counts[SyncState.PENDING.value]} not confirmed by every member yet")
    if counts[SyncState.CONFLICT.value]:
        parts.append(f"{counts[SyncState.CONFLICT.value]} in conflict (`mesh conflicts`)")
    if counts[SyncState.DIVERGED.value]:
        parts.append(f"{counts[SyncState.DIVERGED.value]} with a fault")
    if counts[_LOCAL]:
        parts.append(f"{counts[_LOCAL]} changed here, which stay here")
    if counts[_UNWRITTEN]:
        parts.append(f"{counts[_UNWRITTEN]} that this node could not write (`mesh status`)")
    if is_tree_staying:
        parts.append("names or places changed on this node, which stay on it")
    if skipped:
        parts.append(f"{skipped} skipped beside them (`mesh skipped`)")
    return ", ".join(parts) + ". Name a file in it to see more."
