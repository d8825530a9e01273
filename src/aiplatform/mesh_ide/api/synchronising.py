"""Waiting until every member has everything."""

from __future__ import annotations

import asyncio
from typing import Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.overview import Emit
from aiplatform.mesh_ide.api.subjects import NO_MEMBER, Subjects
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
        lacking, staying = self._lacking(only_online=only_online)
        is_done = is_looked_at and not (outstanding or authoring or fetching or lacking)
        message = _message(outstanding + authoring, fetching, lacking, is_looked_at=is_looked_at)
        message = message or f"every member has everything{' else' if staying else ''}"
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
        )

    def _lacking(
        self, *, only_online: bool
    ) -> tuple[tuple[answers.MemberLack, ...], frozenset[FileId]]:
        """Return who lacks what, and what nobody will ever take: that is not waited for."""
        core = self._subjects.core
        own_work = core.replication.own_work
        found: list[answers.MemberLack] = []
        staying: set[FileId] = set()
        for member in self._subjects.others():
            pending = core.replication.holdings.pending_at(member.node)
            state, _, _ = core.membership.link_state(member.node)
            if pending is None:
                if not only_online:
                    found.append(answers.MemberLack(member.label, state, None))
                continue
            is_in_step = core.replication.is_in_step(member.node)
            # Each file is judged by itself, which costs: only at the end.
            refused = own_work.staying(pending) if is_in_step else frozenset()
            staying.update(refused)
            lacks = len(pending) - len(refused)
            if lacks or not is_in_step:
                found.append(answers.MemberLack(member.label, state, lacks))
        return tuple(found), frozenset(staying)


def _held(holds: int) -> str:
    """Return what is to be added where changes wait for a person: nobody else has those."""
    if not holds:
        return ""
    return f"; {holds} held here for your word: see `mesh held`"


def _message(
    local: int, fetching: int, lacking: tuple[answers.MemberLack, ...], *, is_looked_at: bool
) -> str:
    """Return in a sentence what is waited for; empty: nothing."""
    parts: list[str] = []
    if not is_looked_at:
        parts.append("the folder is being looked at")
    if local:
        parts.append(counted(local, "change here is under way", "changes here are under way"))
    if fetching:
        parts.append(counted(fetching, "content is being fetched", "contents are being fetched"))
    for lack in lacking:
        if lack.files is None:
            parts.append(f"{lack.label} is {lack.state}")
        elif lack.files:
            parts.append(f"{lack.label} lacks {counted(lack.files, 'file')}")
        else:
            parts.append(f"{lack.label} is comparing")
    return "; ".join(parts)
