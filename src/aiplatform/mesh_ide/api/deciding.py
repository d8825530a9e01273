"""What needs a person: conflicts and holds. Every decision can be undone."""

from __future__ import annotations

import asyncio

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.editing import write
from aiplatform.mesh_ide.api.history import LookingBack
from aiplatform.mesh_ide.api.subjects import NoSuchFileError, Subjects, shown
from aiplatform.mesh_ide.documents.state import FileState, Head, head_of, living, winning
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.errors import LocalError
from aiplatform.mesh_ide.model.ids import TREE_FILE, EntryId, FileId, short
from aiplatform.mesh_ide.node.events import DeleteFile, RejectHold, ReleaseHold
from aiplatform.mesh_ide.ports.errors import BlobMissingError


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
        found: list[answers.Conflict] = []
        index = self._subjects.ledger.index
        for state in list(self._subjects.ledger.states()):
            if state.file == TREE_FILE or len(state.heads) < 2 or not head_of(state).rivals:  # noqa: PLR2004 - two sides
                continue
            path = index.path_of(state.file) or short(state.file)
            found.append(await self._versions(path, state))
        for path in index.contested():
            conflict = await self._files(path)
            if len({self._content(FileId(bytes.fromhex(s.id))) for s in conflict.sides}) > 1:
                found.append(conflict)
        found.sort(key=lambda conflict: (conflict.path, conflict.kind))
        return answers.Conflicts(tuple(found))

    def _content(self, file: FileId) -> object:
        _, _, head = self._subjects.known(file)
        return head.blob or file

    async def _versions(self, path: str, state: FileState) -> answers.Conflict:
        standing = {head.ref for head in winning(state)}
        sides = [
            await self._side(short(heads[-1].ref.id), heads, is_on_disk=heads[0].ref in standing)
            for heads in _by_lineage(state).values()
        ]
        return answers.Conflict(path, "versions", tuple(_winner_first(sides)))

    async def _files(self, path: str) -> answers.Conflict:
        claims = self._subjects.ledger.index.claims(path)
        sides: list[answers.ConflictSide] = []
        for file in claims:
            _, state, _ = self._subjects.known(file)
            heads = list(winning(state))
            sides.append(await self._side(file.hex(), heads, is_on_disk=file == claims[0]))
        return answers.Conflict(path, "files", tuple(_winner_first(sides)))

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

    async def resolve(self, path: str, side: str) -> answers.Changed:
        """Keep one side; the other stays in the history.

        Raises:
            NoSuchFileError: nothing is in conflict there.
            NoSuchSideError: the word names no side.
        """
        self._subjects.require(Role.EDIT, "resolve a conflict")
        conflicts = (await self.conflicts()).conflicts
        here = [conflict for conflict in conflicts if conflict.path == path]
        if not here:
            raise NoSuchFileError(f"{path} is not in conflict: see `mesh conflicts`")
        chosen = _chosen(here[0], side)
        if here[0].kind == "versions":
            return await self._keep_version(path, chosen)
        return await self._keep_file(path, chosen)

    async def _keep_version(self, path: str, chosen: answers.ConflictSide) -> answers.Changed:
        file = self._subjects.ledger.index.owner(path)
        assert file is not None, "a file in conflict lives"
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
            f"mesh restore {path} --version {short(lost.ref.id)}",
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

    async def _keep_file(self, path: str, chosen: answers.ConflictSide) -> answers.Changed:
        principal = self._subjects.principal()
        kept = FileId(bytes.fromhex(chosen.id))
        for other in self._subjects.ledger.index.claims(path):
            if other != kept:
                await self._subjects.driver.request(
                    lambda tag, file=other: DeleteFile(tag, file, principal)  # type: ignore[misc]
                )
        return answers.Changed(
            path,
            f"{path} is the file of {chosen.node}; the other one waits in the recovery bin",
            kept.hex(),
            undo=f"mesh restore {path} --to ANOTHER-NAME (see `mesh restore --list`)",
        )

    # --- holds -------------------------------------------------------------------------------

    def held(self) -> answers.Held:
        """Return what waits for a word."""
        holds = self._subjects.core.workspace.deletions.holds.values()
        return answers.Held(
            tuple(
                answers.HeldChange(h.id, h.reason.value, h.since_ms, h.detail, h.paths)
                for h in holds
            )
        )

    async def release(self, hold: int) -> answers.Done:
        """Let held deletions through."""
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
    sides = ", ".join(f"{side.id[:10]} ({side.node})" for side in conflict.sides)
    raise NoSuchSideError(f"{word!r} names no one side of {conflict.path}: choose among {sides}")
