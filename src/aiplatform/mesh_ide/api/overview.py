"""How everything is: the node, its links, what does not replicate."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.contests import STATES_PER_TURN, contests_of, stands
from aiplatform.mesh_ide.api.subjects import COME_BACK, NO_MEMBER, NoSuchNodeError, Subjects
from aiplatform.mesh_ide.documents.state import content_of, living
from aiplatform.mesh_ide.identity.roster import Member
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId
from aiplatform.mesh_ide.ports.errors import PeerUnreachableError
from aiplatform.mesh_ide.ports.transport import LinkStats
from aiplatform.mesh_ide.workspace.core_skips import SKIPPED_MAX

Emit = Callable[[Struct], Awaitable[None]]

PING_TIMEOUT_S: Final = 3.0
PING_INTERVAL_S: Final = 0.2
PINGS_MAX: Final = 1000
PROBLEMS_SHOWN_MAX: Final = 5


class Overview:
    """Answers from what the node knows already; nothing is changed."""

    def __init__(self, subjects: Subjects) -> None:
        """Ask this node."""
        self._subjects = subjects
        self._started_ms = subjects.now_ms()

    # --- nodes -------------------------------------------------------------------------------

    def peers(self) -> answers.Peers:
        """Return all other members and their links."""
        stats = {link.peer: link for link in self._subjects.driver.transport.stats()}
        others = self._subjects.others()
        return answers.Peers(tuple(self._peer(m, stats.get(m.node)) for m in others))

    def _peer(self, member: Member, stats: LinkStats | None) -> answers.Peer:
        core = self._subjects.core
        state, rtt_ms, detail = core.membership.link_state(member.node)
        lacked = core.replication.holdings.lacked_by(member.node)
        staying = core.replication.own_work.staying(lacked or ())
        return answers.Peer(
            node=member.node.hex(),
            label=member.label,
            role=member.role.name.lower(),
            node_type=member.node_type.value,
            state=state,
            rtt_ms=stats.rtt_ms if stats and stats.rtt_ms is not None else rtt_ms,
            address=stats.address if stats else "",
            pending=None if lacked is None else len(lacked - staying),
            is_in_step=core.replication.is_in_step(member.node),
            sent_bytes=stats.sent_bytes if stats else 0,
            received_bytes=stats.received_bytes if stats else 0,
            queued_bytes=stats.queued_bytes if stats else 0,
            detail="" if state == "online" else detail,
            known_addresses=core.membership.addresses.get(member.node, ()),
        )

    async def ping(self, word: str, count: int, emit: Emit) -> answers.PingResult:
        """Measure the way to a member and back, from event loop to event loop.

        Raises:
            NoSuchNodeError: nobody of this name.
            PeerUnreachableError: no answer came.
        """
        member = self._subjects.member(word)
        if member.node == self._subjects.me:
            raise NoSuchNodeError(f"{member.label} is this node itself: name another one")
        state, _, detail = self._subjects.core.membership.link_state(member.node)
        if state != "online":
            is_refused = self._subjects.is_refused_by(member.node)
            raise PeerUnreachableError(_unreachable(member.label, detail, is_refused=is_refused))
        rounds: list[float] = []
        sent = 0
        for sequence in range(1, min(max(1, count), PINGS_MAX) + 1):
            if sequence > 1:
                await asyncio.sleep(PING_INTERVAL_S)
            sent += 1
            rtt_ms = await self._subjects.driver.ping(member.node, PING_TIMEOUT_S)
            if rtt_ms is not None:
                rounds.append(rtt_ms)
            await emit(answers.PingRound(sequence, rtt_ms))
        if not rounds:
            raise PeerUnreachableError(_unreachable(member.label, "no ping was answered"))
        stats = {link.peer: link for link in self._subjects.driver.transport.stats()}
        link = stats.get(member.node)
        return answers.PingResult(
            node=member.node.hex(),
            label=member.label,
            address=link.address if link else "",
            sent=sent,
            received=len(rounds),
            rtt_ms_min=min(rounds),
            rtt_ms_avg=sum(rounds) / len(rounds),
            rtt_ms_max=max(rounds),
        )

    # --- the node ----------------------------------------------------------------------------

    async def status(self) -> answers.Status:
        """Return how this node is. Cost: one look at each file's state."""
        subjects, core = self._subjects, self._subjects.core
        files, size, conflicts = await self._count()
        peers = self.peers().peers
        staying = self._staying()
        me = subjects.roster.members.get(subjects.me)
        settings = subjects.node.settings
        outstanding, authoring = core.workspace.outstanding, core.authoring.queued
        unwritten, lacking = len(core.workspace.applier.failed), core.replication.holdings.lacking
        is_looked_at = core.is_first_sync_done and (
            not settings.folder or core.workspace.has_scanned
        )
        return answers.Status(
            workspace=settings.workspace_name,
            workspace_id=settings.workspace.hex(),
            node=subjects.me.hex(),
            label=subjects.label(subjects.me),
            role=me.role.name.lower() if me else "none",
            node_type=settings.node_type.value,
            folder=settings.folder,
            pid=os.getpid(),
            addresses=subjects.driver.addresses,
            peers=peers,
            members=len(subjects.roster.members),
            files=files,
            bytes=size,
            outstanding=outstanding,
            authoring=authoring,
            unarchived=len(core.workspace.folder.unarchived),
            conflicts=conflicts,
            held=len(core.workspace.deletions.holds),
            skipped=len(core.workspace.skipped),
            is_looked_at=is_looked_at,
            is_synced=is_looked_at
            and not (outstanding or authoring or core.ledger.claimed or unwritten or lacking)
            and all(peer.is_in_step and peer.pending == 0 for peer in peers),
            problems=tuple(self._problems(is_member=me is not None, is_staying=bool(staying))),
            uptime_ms=subjects.now_ms() - self._started_ms,
            heads=core.replication.holdings.index.summary(b"", b"").fingerprint.hex(),
            staying=len(staying - {TREE_FILE}),
            is_tree_staying=TREE_FILE in staying,
            unwritten=unwritten,
            lacking=lacking,
        )

    async def _count(self) -> tuple[int, int, int]:
        """Return the files that stand, their bytes, and what needs a decision."""
        files = size = conflicts = 0
        ledger = self._subjects.ledger
        for number, state in enumerate(list(ledger.states())):
            if number % STATES_PER_TURN == STATES_PER_TURN - 1:
                await asyncio.sleep(0)
            if state.file == TREE_FILE or not living(state):
                continue
            conflicts += sum(1 for _ in contests_of(ledger, state))
            if stands(ledger, state.file):
                files += 1
                content = content_of(state)
                size += content[1] if content else 0
        return files, size, conflicts

    def _problems(self, *, is_member: bool, is_staying: bool) -> list[str]:
        core = self._subjects.core
        found: list[str] = []
        if not is_member:
            found.append(NO_MEMBER)
        found.extend(
            f"{member.label} refuses this node, which it takes for no member: if it was removed, "
            f"{COME_BACK}"
            for member in self._subjects.others()
            if self._subjects.is_refused_by(member.node)
        )
        if is_staying and is_member:
            found.append(self._subjects.why_staying())
        if core.storage_problem:
            found.append(f"the store does not take changes: {core.storage_problem}")
        if core.folder_problem:
            found.append(core.folder_problem)
        failed = list(core.workspace.applier.failed.items())
        found.extend(f"{path}: {problem}" for path, (_, problem) in failed[:PROBLEMS_SHOWN_MAX])
        if len(failed) > PROBLEMS_SHOWN_MAX:
            more = counted(len(failed) - PROBLEMS_SHOWN_MAX, "more file")
            found.append(f"and {more} could not be written")
        found.extend(
            f"{hold.detail}: see `mesh held`" for hold in core.workspace.deletions.holds.values()
        )
        return found

    def _staying(self) -> frozenset[FileId]:
        """Return what linked members lack and will not take of this node; unlinked, all such."""
        replication = self._subjects.core.replication
        if not replication.peers():
            return self._subjects.all_staying()
        pending = map(replication.holdings.pending_at, replication.peers())
        return frozenset().union(*(replication.own_work.staying(files or ()) for files in pending))

    # --- what does not replicate -------------------------------------------------------------

    def skipped(self) -> answers.SkippedFiles:
        """Return what does not replicate."""
        skipped = self._subjects.core.workspace.skipped
        files = tuple(
            answers.SkippedFile(s.path, s.reason.value, s.detail) for s in skipped.values()
        )
        return answers.SkippedFiles(files, is_complete=len(files) < SKIPPED_MAX)


def _unreachable(label: str, detail: str, *, is_refused: bool = False) -> str:
    why = f" ({detail})" if detail else ""
    if is_refused:  # it answered: nothing is wrong with the way there
        return f"{label} is not reachable{why}"
    return f"{label} is not reachable{why}: is it up (`mesh up` there), and is UDP let through?"
