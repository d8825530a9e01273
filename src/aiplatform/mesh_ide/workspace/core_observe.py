"""From what was seen in the folder to entries: creations and renames (edits: ``core_edits``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.authoring import (
    Authoring,
    CreatePath,
    MoveFolder,
    MovePath,
    Submission,
    TreeIntent,
)
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.notices import Notice
from aiplatform.mesh_ide.documents.state import (
    FileState,
    base_of,
    content_of,
    lineage_of,
    mode_of,
    repeats,
)
from aiplatform.mesh_ide.model.entries import EntryDraft, EntryRef, Principal
from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.ports.filetree import Observation
from aiplatform.mesh_ide.ports.jobs import (
    Job,
)
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import (
    DiskState,
    Standing,
)

UNTAGGED: Final = 0
"""The tag of changes that nobody waits for."""


class Observer:
    """Turns observations into submissions.

    Invariants:
        1. the paths of a submission are held until its entries are sealed.
        2. after a submission the path's standing names the new content; its heads follow when
           the entry is sealed (``on_written``).
    """

    def __init__(
        self,
        ledger: Ledger,
        authoring: Authoring,
        folder: Folder,
        principal: Principal,
        new_file_id: Callable[[], FileId],
    ) -> None:
        self._ledger = ledger
        self._authoring = authoring
        self._folder = folder
        self._principal = principal
        self._new_file_id = new_file_id
        self._submitted: dict[int, tuple[str, ...]] = {}
        self._next_tag = UNTAGGED
        self.look_again: dict[str, None] = {}

    # --- submissions -------------------------------------------------------------------------

    def submit(
        self,
        intents: list[TreeIntent],
        drafts: list[EntryDraft],
        paths: tuple[str, ...],
        now_ms: int,
    ) -> list[Job | Notice]:
        """Submit what was seen at these paths; they are held until its entries are sealed."""
        self._next_tag -= 1  # below zero: requests count up from one
        self._submitted[self._next_tag] = paths
        self._folder.hold(paths)
        submission = Submission(tuple(intents), tuple(drafts), self._next_tag)
        return self._authoring.submit(submission, now_ms)

    def on_sealed(self, tags: tuple[int, ...]) -> list[str]:
        """Let the records of what was submitted go with its entries; returns the paths."""
        settled: list[str] = []
        for tag in tags:
            paths = self._submitted.pop(tag, ())
            self._folder.settle(paths)
            settled.extend(paths)
        return settled

    # --- creations and renames ---------------------------------------------------------------

    def take_new(
        self, seen: list[Observation], vanished: dict[str, Standing], now_ms: int
    ) -> tuple[list[Job | Notice], set[str]]:
        """Take files at paths where none stood.

        Returns the commands and those of ``vanished`` that turned out to be renamed.
        """
        by_inode = {
            (state.stat.inode, standing.blob): path
            for path, standing in vanished.items()
            if (state := self._folder.get(path)) is not None
            and state.now is not None
            and state.stat is not None
        }
        by_blob: dict[bytes, list[str]] = {}
        for path, standing in vanished.items():
            if standing.size and self._folder.standing(path) is not None:
                by_blob.setdefault(standing.blob, []).append(path)
        renames: dict[str, Observation] = {}
        created: list[Observation] = []
        for observation in seen:
            assert observation.stat is not None
            assert observation.blob is not None
            old = by_inode.get((observation.stat.inode, observation.blob))
            if old is None:
                twins = [p for p in by_blob.get(observation.blob, ()) if p not in renames]
                old = twins[0] if len(twins) == 1 else None
            if old is None or old in renames:
                created.append(observation)
            else:
                renames[old] = observation
        out = self._rename(renames, now_ms) if renames else []
        if created:
            out.extend(self._create(created, now_ms))
        return out, set(renames)

    def _create(self, seen: list[Observation], now_ms: int) -> list[Job | Notice]:
        intents: list[TreeIntent] = []
        drafts: list[EntryDraft] = []
        for observation in seen:
            stat, blob = observation.stat, observation.blob
            assert stat is not None
            assert blob is not None
            owner = self._ledger.index.owner(observation.path)
            if owner is not None and self._adopt(owner, observation):
                continue
            file = self._new_file_id()
            while owner is not None and file <= owner:
                # The lower id keeps the path. What the workspace agreed on before this copy
                # was looked at keeps it too; ours stands in ``conflicts``.
                file = self._new_file_id()
            standing = Standing(file, (), blob, stat.mode, stat.size)
            self._folder.put(observation.path, DiskState(standing, stat))
            self._ledger.claim(file)
            intents.append(CreatePath(observation.path, file))
            drafts.append(
                self._ledger.draft_genesis(
                    file,
                    blob,
                    stat.size,
                    stat.mode,
                    self._principal,
                    is_text=observation.is_text,
                )
            )
        if not drafts:
            return []
        paths = tuple(intent.path for intent in intents if isinstance(intent, CreatePath))
        return self.submit(intents, drafts, paths, now_ms)

    def _adopt(self, owner: FileId, seen: Observation) -> bool:
        """Recognise content that the workspace has at this path already."""
        state = self._ledger.state(owner)
        stat, blob = seen.stat, seen.blob
        assert stat is not None
        assert blob is not None
        content = content_of(state) if state is not None else None
        if state is None or content is None or content[0] != blob or mode_of(state) != stat.mode:
            return False
        self._folder.put(seen.path, DiskState(agreed(state, seen), stat))
        return True

    def _rename(self, renames: dict[str, Observation], now_ms: int) -> list[Job | Notice]:
        folders = self._whole_folders(renames)
        intents: list[TreeIntent] = [MoveFolder(old, new) for old, new in folders.items()]
        drafts: list[EntryDraft] = []
        for old, observation in renames.items():
            state = self._folder.get(old)
            assert state is not None
            assert state.now is not None
            assert observation.stat is not None
            self._folder.put(old, None)
            is_same = observation.stat.mode == state.now.mode
            stat = observation.stat if is_same else None
            self._folder.put(observation.path, DiskState(state.now, stat))
            if not is_same:
                self.look_again[observation.path] = None
            if not any(old.startswith(folder + "/") for folder in folders):
                intents.append(MovePath(state.now.file, observation.path))
            # Nobody saw that two files stood there: the other must not turn up now.
            drafts.extend(
                self._ledger.draft_delete(twin, self._principal)
                for twin in twins(self._ledger, old, state.now.file)
                if self._ledger.claim(twin)
            )
        paths = (*renames, *(observation.path for observation in renames.values()))
        return self.submit(intents, drafts, paths, now_ms)

    def _whole_folders(self, renames: dict[str, Observation]) -> dict[str, str]:
        """Return the folders that moved as a whole: one operation instead of one per file."""
        candidates: dict[str, str] = {}
        for old, observation in renames.items():
            pair = _moved_folder(old, observation.path)
            if pair is not None:
                candidates.setdefault(*pair)
        moved: dict[str, str] = {}
        for old, new in candidates.items():
            inside = self._ledger.index.files_below(old)
            is_whole = all(
                (path := self._ledger.index.path_of(file)) is not None
                and path in renames
                and renames[path].path == new + path[len(old) :]
                for file in inside
                if self._ledger.is_alive(file)
            )
            is_free = not any(
                self._ledger.is_alive(file) for file in self._ledger.index.files_below(new)
            )
            if is_whole and is_free:
                moved[old] = new
        return moved

    def recreate(self, seen: Observation, now_ms: int) -> list[Job | Notice]:
        """Take a path whose file was deleted by others while a program wrote it: a new file."""
        self._folder.put(seen.path, None)
        return self._create([seen], now_ms)

    def on_written(self, file: FileId, ref: EntryRef) -> None:
        """Name the entry that what stands on the disk became."""
        known = self._ledger.state(file)
        head = next((h for h in known.heads if h.ref == ref), None) if known else None
        for path in self._folder.paths_of(file):
            state = self._folder.get(path)
            assert state is not None
            assert state.now is not None
            if head is not None and head.blob == state.now.blob:
                now = replace(state.now, heads=(ref,), lineage=head.lineage)
                self._folder.put(path, replace(state, now=now))


def agreed(state: FileState, seen: Observation) -> Standing:
    """Return what stands at a path where the ledger and the folder say the same."""
    stat, blob = seen.stat, seen.blob
    assert stat is not None
    assert blob is not None
    lineage = lineage_of(state)
    return Standing(state.file, base_of(state), blob, stat.mode, stat.size, lineage)


def twins(ledger: Ledger, path: str, file: FileId) -> list[FileId]:
    """Return files hidden behind this one at a path that hold nothing but what it held too."""
    state = ledger.state(file)
    return [
        other
        for other in ledger.index.claims(path)
        if other != file
        and state is not None
        and (twin := ledger.state(other)) is not None
        and repeats(state, twin)
    ]


def _moved_folder(old: str, new: str) -> tuple[str, str] | None:
    """Return the greatest folders (old, new) that explain a rename, if the name stayed."""
    olds, news = old.split("/"), new.split("/")
    while len(olds) > 1 and len(news) > 1 and olds[-1] == news[-1]:
        olds.pop()
        news.pop()
    is_folder = len(olds) < old.count("/") + 1
    return ("/".join(olds), "/".join(news)) if is_folder and olds != news else None
