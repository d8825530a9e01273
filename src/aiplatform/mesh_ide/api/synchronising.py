"""Waiting until every member has everything."""

from __future__ import annotations

import asyncio
from typing import Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.overview import Emit
from aiplatform.mesh_ide.api.subjects import NO_MEMBER, Subjects
from aiplatform.mesh_ide.api.unwritten import said_of
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.errors import NotPermittedError
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId
from aiplatform.mesh_ide.node.events import LookAgain

POLL_S: Final = 0.02
"""How often the conditions are looked at: reading a few counters."""

TELL_S: Final = 0.25


class Synchronising:
    """``sync``: look at the folder, and see that what it holds is everywhere."""

    def __init__(self, subjects: Subjects) -> None:
        """Ask this node."""
        self._subjects = subjects

    async def sync(self, emit: Emit, *, wait: bool, only_online: bool) -> answers.SyncProgress:
        """Look at the folder again; if asked to, return when every member has everything.

        A member that is offline has not got everything, so this goes on until it comes, or the
        caller's time is up (``only_online`` leaves such members out). What is saved meanwhile is
        waited for too; what nobody takes of a node that may not edit is told, not waited for.

        Raises:
            NotPermittedError: nobody would take anything: this node was removed.
        """
        await self._subjects.driver.request(LookAgain)
        loop = asyncio.get_running_loop()
        told_s = 0.0
        while True:
            progress = self.progress(only_online=only_online)
            if progress.is_done or not wait:
                return progress
            if self._subjects.is_out():
                raise NotPermittedError(NO_MEMBER)
            if loop.time() - told_s >= TELL_S:
                told_s = loop.time()
                await emit(progress)
            await asyncio.sleep(POLL_S)

    def progress(self, *, only_online: bool) -> answers.SyncProgress:
        """Return how far it is."""
        core = self._subjects.core
        outstanding = core.workspace.outstanding
        authoring = core.authoring.queued + core.ledger.claimed
        fetching = core.replication.fetcher.under_way
        is_looked_at = core.is_first_sync_done and (
            core.workspace.has_scanned or not self._subjects.node.settings.folder
        )
        failed = core.workspace.applier.failed
        lacking, staying, offline = self._lacking(only_online=only_online)
        lacking_here = core.replication.holdings.lacking
        is_under_way = bool(outstanding or authoring or fetching)
        is_done = is_looked_at and not (is_under_way or failed or lacking_here or lacking)
        # Contents on their way are missing here too: that they are is said already then.
        missing = 0 if is_under_way or failed else lacking_here
        parts = _parts(outstanding + authoring, fetching, missing, lacking)
        if failed:
            parts.insert(0, said_of(failed))
        if not is_looked_at:
            parts.insert(0, "the folder is being looked at")
        message = "; ".join(parts) or self._all_have(offline, is_rest=bool(staying))
        if staying:
            message += f"; {self._subjects.why_staying()}"
        return answers.SyncProgress(
            is_done=is_done,
            outstanding=outstanding,
            authoring=authoring,
            fetching=fetching,
            lacking=lacking,
            message=message + _held(len(core.workspace.deletions.holds)),
            staying=len(staying - {TREE_FILE}),
            is_tree_staying=TREE_FILE in staying,
            unwritten=len(failed),
            lacking_here=lacking_here,
            offline=offline,
        )

    def _all_have(self, offline: tuple[str, ...], *, is_rest: bool) -> str:
        """Return who has everything.

        Args:
            offline: members that were left out.
            is_rest: not what nobody will ever take.
        """
        what = "everything else" if is_rest else "everything"
        if not offline:
            return f"every member has {what}"
        others = len(self._subjects.others())
        return (
            f"every member that is online ({others - len(offline)} of {others}) has {what}; "
            f"offline: {', '.join(offline)}"
        )

    def _lacking(
        self, *, only_online: bool
    ) -> tuple[tuple[answers.MemberLack, ...], frozenset[FileId], tuple[str, ...]]:
        """Return who lacks what, what nobody will ever take, and who is offline and left out."""
        core = self._subjects.core
        own_work = core.replication.own_work
        found: list[answers.MemberLack] = []
        offline: list[str] = []
        staying: set[FileId] = set()
        for member in self._subjects.others():
            lacked = core.replication.holdings.lacked_by(member.node)
            state, _, _ = core.membership.link_state(member.node)
            if lacked is None:
                if only_online:
                    offline.append(member.label)
                else:
                    found.append(answers.MemberLack(member.label, state, None))
                continue
            is_in_step = core.replication.is_in_step(member.node)
            # Each file is judged by itself, which costs: only at the end.
            refused = own_work.staying(lacked) if is_in_step else frozenset()
            staying.update(refused)
            lacks = len(lacked) - len(refused)
            if lacks or not is_in_step:
                found.append(answers.MemberLack(member.label, state, lacks))
        if offline and len(offline) == len(self._subjects.others()):
            staying.update(self._subjects.all_staying())
        return tuple(found), frozenset(staying), tuple(offline)


def _held(holds: int) -> str:
    """Return what is to be added where changes wait for a person: nobody else has those."""
    if not holds:
        return ""
    return f"; {holds} held here for your word: see `mesh held`"


def _parts(
    local: int, fetching: int, missing: int, lacking: tuple[answers.MemberLack, ...]
) -> list[str]:
    """Return in words what is waited for."""
    parts: list[str] = []
    if local:
        parts.append(counted(local, "change here is under way", "changes here are under way"))
    if fetching:
        parts.append(counted(fetching, "content is being fetched", "contents are being fetched"))
    if missing:
        parts.append(f"this node lacks {counted(missing, 'file')}")
    for lack in lacking:
        if lack.files is None:
            parts.append(f"{lack.label} is {lack.state}")
        elif lack.files:
            parts.append(f"{lack.label} lacks {counted(lack.files, 'file')}")
        else:
            parts.append(f"{lack.label} is comparing")
    return parts
