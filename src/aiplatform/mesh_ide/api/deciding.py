"""What needs a person: conflicts and holds. Every decision can be undone."""

from __future__ import annotations

import asyncio
import shlex
from contextlib import suppress
from typing import Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.answers import FOLDER_SIDE, ContestKind
from aiplatform.mesh_ide.api.contests import STATES_PER_TURN, Contest, contests_of
from aiplatform.mesh_ide.api.editing import require_free, write
from aiplatform.mesh_ide.api.history import LookingBack
from aiplatform.mesh_ide.api.subjects import NoSuchFileError, Subjects, shown
from aiplatform.mesh_ide.documents.state import FileState, Head, living, winning
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.errors import LocalError
from aiplatform.mesh_ide.model.ids import EntryId, FileId, short
from aiplatform.mesh_ide.node.events import DeleteFile, MoveFile, RejectHold, ReleaseHold
from aiplatform.mesh_ide.ports.errors import BlobMissingError

_FOLDER: Final = answers.ConflictSide(
    id=FOLDER_SIDE, who="", node="", time_ms=0, size=0, is_on_disk=True, is_text=False
)

_RELEASE: Final = "delete files everywhere"


class NoSuchSideError(LocalError):
    """The word names no side of the conflict, or several."""


class Deciding:
    """Lists and makes decisions."""

    def __init__(self, subjects: Subjects, looking_back: LookingBack) -> None:
        """Ask this node."""
        self._subjects = subjects
        self._looking_back = looking_back

    # --- conflicts ---------------------------------------------------------------------------

    async def conflicts(self) -> answers.Conflicts:
        """Return what needs a decision, by path."""
        shown = [await self._shown(contest) for contest in await self._all()]
        # One that was decided while the others were looked at has no sides any more.
        return answers.Conflicts(tuple(conflict for conflict in shown if len(conflict.sides) > 1))

    async def _all(self) -> list[Contest]:
        ledger = self._subjects.ledger
        found: list[Contest] = []
        for number, state in enumerate(list(ledger.states())):
            if number % STATES_PER_TURN == STATES_PER_TURN - 1:
                await asyncio.sleep(0)
            found.extend(contests_of(ledger, state))
        return sorted(found, key=lambda contest: (contest.path, contest.kind.value))

    async def _shown(self, contest: Contest) -> answers.Conflict:
        sides: list[answers.ConflictSide] = []
        if contest.kind is ContestKind.FOLDER:
            sides.append(_FOLDER)
        for file in contest.files:
            _, state, _ = self._subjects.known(file)
            standing = {head.ref for head in winning(state)}
            if contest.kind is ContestKind.VERSIONS:
                for heads in _by_lineage(state).values():
                    identifier = short(heads[-1].ref.id)
                    is_on_disk = heads[0].ref in standing
                    sides.append(await self._side(identifier, heads, is_on_disk=is_on_disk))
            elif winning(state):
                is_on_disk = contest.kind is ContestKind.FILES and file == contest.files[0]
                heads = list(winning(state))
                sides.append(await self._side(file.hex(), heads, is_on_disk=is_on_disk))
        return answers.Conflict(contest.path, contest.kind.value, tuple(_winner_first(sides)))

    async def _side(
        self, identifier: str, heads: list[Head], *, is_on_disk: bool
    ) -> answers.ConflictSide:
        newest = max(heads, key=lambda head: (head.depth, head.ref))
        known = await asyncio.to_thread(self._subjects.store.entry, newest.ref.id)
        return answers.ConflictSide(
            id=identifier,
            who="" if known is None else known.entry.principal.name,
            node=self._subjects.author(newest.ref.session),
            time_ms=0 if known is None else known.entry.time_ms,
            size=newest.size,
            is_on_disk=is_on_disk,
            is_text=newest.is_text,
        )

    async def resolve(self, path: str, side: str, to: str = "") -> answers.Changed:
        """Keep one side; the other stays in the history. With ``to``, move one side, keep both.

        Raises:
            NoSuchFileError: nothing is in conflict there, or something stands at ``to``.
            NoSuchSideError: the word names no side, or none with which this can be done.
        """
        self._subjects.require(Role.EDIT, "resolve a conflict")
        contest, chosen = await self._named(path, side)
        if to:
            return await self._move_file(contest, chosen, to)
        if contest.kind is ContestKind.VERSIONS:
            return await self._keep_version(path, contest.files[0], chosen)
        if contest.kind is ContestKind.FOLDER and chosen.id != FOLDER_SIDE:
            raise NoSuchSideError(
                f"a folder stands at {path}: keep the file under another name with `mesh resolve "
                f"{shlex.quote(path)} {chosen.id[:10]} --to NEW`, or move the folder, and the file "
                "takes its place"
            )
        return await self._keep_file(contest, chosen)

    async def _named(self, path: str, word: str) -> tuple[Contest, answers.ConflictSide]:
        """Return the side that a word names; a path may be in two conflicts at once."""
        here = [contest for contest in await self._all() if contest.path == path]
        if not here:
            raise NoSuchFileError(f"{path} is not in conflict: see `mesh conflicts`")
        for contest in here[:-1]:
            with suppress(NoSuchSideError):
                return contest, _chosen(await self._shown(contest), word)
        return here[-1], _chosen(await self._shown(here[-1]), word)

    async def _keep_version(
        self, path: str, file: FileId, chosen: answers.ConflictSide
    ) -> answers.Changed:
        _, state, _ = self._subjects.known(file)
        heads = next(
            heads for heads in _by_lineage(state).values() if short(heads[-1].ref.id) == chosen.id
        )
        content = await self._content_of_side(path, file, heads)
        mode = max(heads, key=lambda head: (head.depth, head.ref)).mode
        reply = await write(self._subjects, file, path, content, mode, is_rewrite=True)
        lost = next(head for head in living(state) if head.lineage != heads[0].lineage)
        return answers.Changed(
            path,
            f"{path} is the version of {chosen.node}; the other one stays in its history",
            file.hex(),
            shown(reply.heads),
            f"mesh restore {shlex.quote(path)} --version {short(lost.ref.id)}",
        )

    async def _content_of_side(self, path: str, file: FileId, heads: list[Head]) -> bytes:
        blobs = {head.blob for head in heads}
        content: bytes | None = None
        if len(blobs) == 1 and heads[0].blob is not None:
            content = await self._looking_back.read(heads[0].blob, heads[0].size)
        if content is None and all(head.is_text for head in heads):
            refs = tuple(head.ref for head in heads)
            text = await self._looking_back.text_at(file, heads[0].lineage, refs)
            content = None if text is None else text.encode()
        if content is None:
            raise BlobMissingError(
                f"this version of {path} is not on this node yet: try again when the node that "
                "wrote it is online"
            )
        return content

    async def _keep_file(self, contest: Contest, chosen: answers.ConflictSide) -> answers.Changed:
        principal = self._subjects.principal()
        lost = [file for file in contest.files if file.hex() != chosen.id]
        for other in lost:
            await self._subjects.driver.request(
                lambda tag, file=other: DeleteFile(tag, file, principal)  # type: ignore[misc]
            )
        path = contest.path
        quoted = shlex.quote(path)
        what = "a folder" if chosen.id == FOLDER_SIDE else f"the file of {chosen.node}"
        who = "the file waits" if chosen.id == FOLDER_SIDE else "the other one waits"
        return answers.Changed(
            path,
            f"{path} is {what}; {who if len(lost) == 1 else 'the others wait'} in the recovery bin",
            "" if chosen.id == FOLDER_SIDE else chosen.id,
            # One command for each that lost: together they bring the decision back.
            undo=" && ".join(f"mesh restore {quoted} --version {short(file)}" for file in lost),
        )

    async def _move_file(
        self, contest: Contest, chosen: answers.ConflictSide, to: str
    ) -> answers.Changed:
        if contest.kind is ContestKind.VERSIONS or chosen.id == FOLDER_SIDE:
            raise NoSuchSideError(
                f"only a file goes to another name with --to, {chosen.id} of {contest.path} is "
                "none: `mesh restore FILE --version ID --to NEW` makes a file of a version, and "
                "`mv` moves a folder"
            )
        require_free(self._subjects, to)
        file, principal = FileId(bytes.fromhex(chosen.id)), self._subjects.principal()
        await self._subjects.driver.request(lambda tag: MoveFile(tag, file, to, principal))
        message = f"{to} is the file of {chosen.node} that waited at {contest.path}"
        if chosen.is_on_disk:
            message = f"{to} is the file of {chosen.node} that stood at {contest.path}"
        return answers.Changed(to, message, file.hex())

    # --- holds -------------------------------------------------------------------------------

    def held(self) -> answers.Held:
        """Return what waits for a word."""
        holds = self._subjects.core.workspace.deletions.holds.values()
        return answers.Held(
            tuple(
                answers.HeldChange(
                    h.id, h.reason.value, h.since_ms, h.detail, tuple(sorted(h.paths))
                )
                for h in holds
            ),
            self._subjects.barrier(Role.EDIT, _RELEASE) if holds else "",
        )

    async def release(self, hold: int) -> answers.Done:
        """Let held deletions through.

        Raises:
            NotPermittedError: this node may not edit: nobody would take them now, and all would,
                unasked, once it may.
        """
        self._subjects.require(Role.EDIT, _RELEASE)
        await self._subjects.driver.request(lambda tag: ReleaseHold(tag, hold))
        return answers.Done(
            "released: the files are deleted on every node; `mesh restore` brings one back"
        )

    async def reject(self, hold: int) -> answers.Done:
        """Undo held deletions: the files come back here."""
        await self._subjects.driver.request(lambda tag: RejectHold(tag, hold))
        return answers.Done("rejected: the files are coming back into the folder")


def _by_lineage(state: FileState) -> dict[EntryId, list[Head]]:
    """Return the living heads of each lineage; each list ends with the newest."""
    sides: dict[EntryId, list[Head]] = {}
    for head in sorted(living(state), key=lambda head: (head.depth, head.ref)):
        sides.setdefault(head.lineage, []).append(head)
    return sides


def _winner_first(sides: list[answers.ConflictSide]) -> list[answers.ConflictSide]:
    return sorted(sides, key=lambda side: (not side.is_on_disk, side.id))


def _chosen(conflict: answers.Conflict, word: str) -> answers.ConflictSide:
    folded = word.casefold()
    found = [side for side in conflict.sides if side.id.startswith(folded)]
    if not found:
        found = [side for side in conflict.sides if side.node.casefold() == folded]
    if len(found) == 1:
        return found[0]
    sides = ", ".join(
        f"{side.id[:10]} ({side.node})" if side.node else side.id for side in conflict.sides
    )
    raise NoSuchSideError(f"{word!r} names no one side of {conflict.path}: choose among {sides}")
