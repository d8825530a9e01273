"""Snapshots: keeping the state of the whole workspace, and comparing such states."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import Final, assert_never

from msgspec import Struct
from msgspec.structs import replace

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api import snapshot_answers as answers
from aiplatform.mesh_ide.api.history import LookingBack
from aiplatform.mesh_ide.api.snapshot_archive import (
    SETTLE_S,
    SnapshotArchive,
    SnapshotIncompleteError,
)
from aiplatform.mesh_ide.api.snapshot_forms import (
    NOW,
    NoSuchSnapshotError,
    SnapshotNameError,
    aside_of,
    check_name,
    difference_answers,
    files_of,
    resolved,
    snapshot_answer,
)
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.documents.manifest import (
    BadManifestError,
    Manifest,
    SnapshotId,
    decode,
    encode,
)
from aiplatform.mesh_ide.documents.manifest_build import UnsettledError
from aiplatform.mesh_ide.documents.manifest_compare import compare
from aiplatform.mesh_ide.documents.snapshots import (
    NAMES_MAX,
    SNAPSHOTS_MAX,
    Pins,
    SnapshotFacts,
    dropped_records,
    facts_record,
    kept_facts,
    snapshot_records,
)
from aiplatform.mesh_ide.model.errors import LocalError
from aiplatform.mesh_ide.model.ids import BlobHash, short
from aiplatform.mesh_ide.node.events import KeepRecords
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind

PATIENCE_S: Final = 10.0
"""A content that was overwritten before it could be archived, or is being merged: the next cut
has another one. After this long it is not coming."""

RETRY_S: Final = 0.5

SHOWN_MAX: Final = 20_000
"""Files, or differences with two files each, in one answer: at most 12 MB of the frame's 16."""


class TooManySnapshotsError(LocalError):
    """``SNAPSHOTS_MAX`` are kept already."""


class Snapshots:
    """Keeps, lists, compares and drops snapshots of one node.

    Invariants:
        1. a snapshot is acknowledged only once its record is durable, and that is written only
           once every content that it names is archived.
        2. from before its first content is archived, ``_pins`` holds what it names.
    """

    def __init__(
        self,
        subjects: Subjects,
        looking_back: LookingBack,
        *,
        make_archive: type[SnapshotArchive] = SnapshotArchive,
        settle_s: float = SETTLE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Ask this node; tests wait shorter, and plant bugs in the archive."""
        self._subjects = subjects
        self._patience_s = patience_s
        self._pins = Pins()
        self._archive = make_archive(subjects, looking_back, self._pins, settle_s=settle_s)
        self._changing = asyncio.Lock()
        self._is_loaded = False

    async def perform(self, request: requests.AnySnapshotAsk) -> Struct:
        """Carry out a request about snapshots; see ``Operations.perform``."""
        match request:
            case requests.AskSnapshotCreate():
                return await self.create(request.name)
            case requests.AskSnapshots():
                return await self.listed()
            case requests.AskSnapshot():
                return await self.show(request.snapshot, request.under, request.limit)
            case requests.AskSnapshotDiff():
                return await self.diff(request.before, request.after, request.limit)
            case requests.AskSnapshotDrop():
                return await self.drop(request.snapshot)
            case _:
                assert_never(request)

    # --- keeping -----------------------------------------------------------------------------

    async def create(self, name: str) -> answers.Snapshot:
        """Keep the present state; a state that is kept already only gets the name.

        Raises:
            SnapshotNameError: the name cannot be used.
            TooManySnapshotsError: too many are kept.
            SnapshotIncompleteError: a content is not to be had.
            UnsettledError: a file is being merged, for longer than that takes.
        """
        check_name(name)
        async with self._changing:
            await self._archive.settle()
            return await self._keep(await self._patiently_archived(), name)

    async def _patiently_archived(self) -> Manifest:
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + self._patience_s
        while True:
            try:
                return await self._archive.archived()
            except (UnsettledError, SnapshotIncompleteError):
                if loop.time() >= deadline_s:
                    raise
            await asyncio.sleep(RETRY_S)

    async def _keep(self, manifest: Manifest, name: str) -> answers.Snapshot:
        kept = await self._kept()
        is_new = manifest.id not in kept
        before = kept.get(manifest.id)
        if before is not None and (not name or name in before.names):
            return snapshot_answer(manifest.id, before)
        problem = _objection(manifest.id, name, kept)
        if problem is not None:
            if is_new:
                self._pins.release(manifest)
            raise problem
        names = before.names if before is not None else ()
        facts = await asyncio.to_thread(self._facts, manifest, (*names, name) if name else names)
        # From here on the records may become durable even if nobody waits for them any more:
        # whatever happens, the contents stay pinned.
        if before is None:
            encoded = await asyncio.to_thread(encode, manifest)
            await self._write(snapshot_records(facts, encoded))
        else:
            facts = replace(facts, created_ms=before.created_ms, person=before.person)
            await self._write((facts_record(facts),))
        return snapshot_answer(manifest.id, facts, is_new=is_new)

    def _facts(self, manifest: Manifest, names: tuple[str, ...]) -> SnapshotFacts:
        sizes = [file.size for _, file in manifest.files()]
        return SnapshotFacts(
            id=manifest.id,
            names=names,
            created_ms=self._subjects.now_ms(),
            person=self._subjects.principal().name,
            files=len(sizes),
            size=sum(sizes),
            aside=len(aside_of(manifest)),
        )

    async def _write(self, records: tuple[PutRecord, ...]) -> None:
        await self._subjects.driver.request(lambda tag: KeepRecords(tag, records))

    async def drop(self, word: str) -> answers.Snapshot:
        """Let a snapshot go; its contents are free unless something else needs them.

        Raises:
            NoSuchSnapshotError: none, or several.
        """
        async with self._changing:
            kept = await self._kept()
            snapshot = resolved(word, kept)
            value = await self._value(snapshot)
            await self._write(dropped_records(snapshot))
            try:
                manifest = await asyncio.to_thread(decode, value, snapshot)
            except BadManifestError:
                # What it pinned here, if it was made here, stays pinned until the next start.
                return snapshot_answer(snapshot, None)
            self._pins.release(manifest)
            return snapshot_answer(snapshot, kept[snapshot])

    async def pinned(self, blob: BlobHash) -> bool:
        """Return whether a snapshot, kept or being made, names this content: do not free it.

        Raises:
            BadManifestError: a kept snapshot is damaged; nobody knows what it names.
        """
        async with self._changing:
            if not self._is_loaded:
                records = self._subjects.store.records(RecordKind.SNAPSHOT)
                await asyncio.to_thread(self._pins.load, records)
                self._is_loaded = True
        return self._pins.pinned(blob)

    # --- looking -----------------------------------------------------------------------------

    async def listed(self) -> answers.Snapshots:
        """Return every kept snapshot, the latest first."""
        kept = await self._kept()
        found = [snapshot_answer(snapshot, facts) for snapshot, facts in kept.items()]
        found.sort(key=lambda one: (-one.created_ms, one.id))
        return answers.Snapshots(tuple(found))

    async def show(self, word: str, under: str, limit: int) -> answers.SnapshotShown:
        """Return the files of a snapshot, all or those below a folder.

        Raises:
            NoSuchSnapshotError: none, or several.
            BadManifestError: its record is damaged.
        """
        kept = await self._kept()
        snapshot = resolved(word, kept)
        value = await self._value(snapshot)
        files = await asyncio.to_thread(lambda: files_of(decode(value, snapshot), under))
        listed = tuple(islice(files, _bounded(limit)))
        return answers.SnapshotShown(snapshot_answer(snapshot, kept[snapshot]), len(files), listed)

    async def diff(self, before: str, after: str, limit: int) -> answers.SnapshotDiff:
        """Return what differs between two snapshots (``now``: the present state, not kept).

        Raises:
            NoSuchSnapshotError: none, or several.
            BadManifestError: a record is damaged.
            UnsettledError: ``now`` is not known yet.
        """
        old, new = await self._manifest(before), await self._manifest(after)
        found = await asyncio.to_thread(compare, old, new)
        listed = tuple(difference_answers(found[: _bounded(limit)]))
        return answers.SnapshotDiff(old.id.hex(), new.id.hex(), len(found), listed)

    async def _manifest(self, word: str) -> Manifest:
        if word == NOW:
            await self._archive.settle()
            return await self._archive.present()
        snapshot = resolved(word, await self._kept())
        value = await self._value(snapshot)
        return await asyncio.to_thread(decode, value, snapshot)

    async def _kept(self) -> dict[SnapshotId, SnapshotFacts | None]:
        store = self._subjects.store
        return await asyncio.to_thread(lambda: kept_facts(store.records(RecordKind.NODE)))

    async def _value(self, snapshot: SnapshotId) -> bytes:
        store = self._subjects.store
        value = await asyncio.to_thread(store.record, RecordKind.SNAPSHOT, snapshot)
        if value is None:
            raise NoSuchSnapshotError(f"the snapshot {short(snapshot)} was dropped just now")
        return value


def _bounded(limit: int) -> int:
    return min(max(1, limit), SHOWN_MAX)


def _objection(
    snapshot: SnapshotId, name: str, kept: dict[SnapshotId, SnapshotFacts | None]
) -> LocalError | None:
    """Return why a state cannot be kept under a name, or ``None`` if it can."""
    for other, facts in kept.items():
        if name and other != snapshot and facts is not None and name in facts.names:
            return SnapshotNameError(
                f"the snapshot {short(other)} is called {name} already: choose another name, or "
                f"`mesh snapshot drop {name}` first"
            )
    mine = kept.get(snapshot)
    if mine is not None and len(mine.names) >= NAMES_MAX:
        first = ", ".join(mine.names[:3])
        return SnapshotNameError(f"this state has {NAMES_MAX} names already: {first}, ...")
    if snapshot not in kept and len(kept) >= SNAPSHOTS_MAX:
        return TooManySnapshotsError(
            f"{SNAPSHOTS_MAX} snapshots are kept already: drop one with `mesh snapshot drop`"
        )
    return None
