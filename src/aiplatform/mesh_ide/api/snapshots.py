"""Snapshots: keeping the state of the whole workspace, and comparing such states."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import islice
from typing import Final

from blake3 import blake3

from aiplatform.mesh_ide.api import snapshot_answers as answers
from aiplatform.mesh_ide.api.editing import NotArchivedError
from aiplatform.mesh_ide.api.history import LookingBack
from aiplatform.mesh_ide.api.subjects import Subjects, shown
from aiplatform.mesh_ide.documents.manifest import (
    BadManifestError,
    Beside,
    Manifest,
    ManifestFile,
    SnapshotId,
    encode,
)
from aiplatform.mesh_ide.documents.manifest_build import Placed, UnsettledError, build
from aiplatform.mesh_ide.documents.manifest_compare import Difference, compare
from aiplatform.mesh_ide.documents.snapshots import (
    NAME_CHARS_MAX,
    NAMES_MAX,
    SNAPSHOTS_MAX,
    KeptSnapshot,
    Pins,
    SnapshotFacts,
    dropped_record,
    read_facts,
    read_snapshot,
    snapshot_record,
)
from aiplatform.mesh_ide.documents.state import FileState, Head, content_of, living, winning
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.errors import LocalError, MeshIDEError, UnavailableError
from aiplatform.mesh_ide.model.ids import BlobHash, short
from aiplatform.mesh_ide.node.events import KeepRecords, LookAgain
from aiplatform.mesh_ide.ports.jobs import ArchiveBlobs, Lane
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind

SETTLE_S: Final = 10.0
"""What was saved just before belongs into a snapshot: the folder is looked at, and this long it
may take; then the state is what the node knows."""

PATIENCE_S: Final = 10.0
"""A content that was overwritten before it could be archived, or is being merged: the next cut
has another one. After this long it is not coming."""

POLL_S: Final = 0.02
RETRY_S: Final = 0.2

ARCHIVED_PER_JOB_MAX: Final = 64
ARCHIVED_PER_JOB_BYTES: Final = 8 * 1024 * 1024
"""One archiving job holds up the commits of keystrokes behind it, and its contents in memory."""

SHOWN_MAX: Final = 20_000
"""Files in one answer: 6 MB of the control frame's 16."""

_ID_DIGITS_MIN: Final = 4
_NOW: Final = "now"


class NoSuchSnapshotError(MeshIDEError):
    """No kept snapshot has this name or id."""


class SnapshotNameError(LocalError):
    """A snapshot cannot be called this."""


class TooManySnapshotsError(LocalError):
    """``SNAPSHOTS_MAX`` are kept already."""


class SnapshotIncompleteError(UnavailableError):
    """A content that the snapshot names cannot be archived now; nothing was kept."""


class Snapshots:
    """Keeps, lists, compares and drops snapshots of one node.

    Invariants:
        1. a snapshot is acknowledged only once its record is durable, and that is written only
           once every content that it names is archived.
        2. from before its first content is archived, ``_pins`` holds what it names.
    """

    def __init__(self, subjects: Subjects, looking_back: LookingBack) -> None:
        """Ask this node."""
        self._subjects = subjects
        self._looking_back = looking_back
        self._pins = Pins()
        self._changing = asyncio.Lock()
        self._is_loaded = False

    # --- keeping -----------------------------------------------------------------------------

    async def create(self, name: str) -> answers.Snapshot:
        """Keep the present state; a state that is kept already only gets the name.

        Raises:
            SnapshotNameError: the name cannot be used.
            TooManySnapshotsError: too many are kept.
            SnapshotIncompleteError: a content is not to be had.
            UnsettledError: a file is being merged, for longer than that takes.
        """
        async with self._changing:
            kept = await self._facts()
            _check_name(name, kept)
            await self._settle()
            loop = asyncio.get_running_loop()
            deadline_s = loop.time() + PATIENCE_S
            while True:
                try:
                    manifest = await self._archived()
                except (UnsettledError, SnapshotIncompleteError):
                    if loop.time() >= deadline_s:
                        raise
                    await asyncio.sleep(RETRY_S)
                    continue
                return await self._keep(manifest, name, kept)

    async def _settle(self) -> None:
        """Look at the folder, and let what was saved come into the history."""
        core = self._subjects.core
        await self._subjects.driver.request(LookAgain)
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + SETTLE_S
        while loop.time() < deadline_s and (
            core.workspace.outstanding or core.authoring.queued or core.ledger.claimed
        ):
            await asyncio.sleep(POLL_S)

    async def _keep(
        self, manifest: Manifest, name: str, kept: dict[bytes, SnapshotFacts | None]
    ) -> answers.Snapshot:
        before = kept.get(manifest.id)
        if before is not None and (not name or name in before.names):
            return _answer(before)
        if manifest.id not in kept and len(kept) >= SNAPSHOTS_MAX:
            self._pins.release(manifest)
            raise TooManySnapshotsError(
                f"{SNAPSHOTS_MAX} snapshots are kept already: drop one with `mesh snapshot drop`"
            )
        if before is not None and len(before.names) >= NAMES_MAX:
            names = ", ".join(before.names[:3])
            raise SnapshotNameError(f"this state has {NAMES_MAX} names already: {names}, ...")
        facts, encoded = await asyncio.to_thread(self._described, manifest, name, before)
        # From here on the record may become durable even if nobody waits for it: the pins stay.
        await self._write(snapshot_record(KeptSnapshot(facts, encoded)))
        return _answer(facts, is_new=before is None)

    def _described(
        self, manifest: Manifest, name: str, before: SnapshotFacts | None
    ) -> tuple[SnapshotFacts, bytes]:
        sizes = [file.size for _, file in manifest.files()]
        facts = SnapshotFacts(
            id=manifest.id,
            names=(*(before.names if before else ()), *((name,) if name else ())),
            created_ms=before.created_ms if before else self._subjects.now_ms(),
            person=before.person if before else self._subjects.principal().name,
            files=len(sizes),
            size=sum(sizes),
            aside=sum(1 for _ in manifest.beside()),
        )
        return facts, encode(manifest)

    async def _write(self, record: PutRecord) -> None:
        await self._subjects.driver.request(lambda tag: KeepRecords(tag, (record,)))

    async def drop(self, word: str) -> answers.Snapshot:
        """Let a snapshot go; its contents are free unless something else needs them.

        Raises:
            NoSuchSnapshotError: none, or several.
        """
        async with self._changing:
            kept = await self._facts()
            key = _resolved(word, kept)
            value = await self._value(key)
            await self._write(dropped_record(SnapshotId(key)))
            try:
                manifest = await asyncio.to_thread(lambda: read_snapshot(key, value).manifest())
            except BadManifestError as error:
                # What it pinned, if anybody knew, stays pinned until the next start.
                return answers.Snapshot(key.hex(), problem=str(error))
            self._pins.release(manifest)
            facts = kept[key]
            return answers.Snapshot(key.hex()) if facts is None else _answer(facts)

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
        found = [
            answers.Snapshot(key.hex(), problem="its record is damaged: drop it")
            if facts is None
            else _answer(facts)
            for key, facts in (await self._facts()).items()
        ]
        found.sort(key=lambda one: (-one.created_ms, one.id))
        return answers.Snapshots(tuple(found))

    async def show(self, word: str, under: str, limit: int) -> answers.SnapshotShown:
        """Return the files of a snapshot, all or those below a folder.

        Raises:
            NoSuchSnapshotError: none, or several.
            BadManifestError: its record is damaged.
        """
        kept = await self._facts()
        key = _resolved(word, kept)
        value = await self._value(key)

        def read() -> answers.SnapshotShown:
            snapshot = read_snapshot(key, value)
            files = [one for one in _listed_files(snapshot.manifest()) if _is_under(one, under)]
            bound = min(max(1, limit), SHOWN_MAX)
            return answers.SnapshotShown(
                _answer(snapshot.facts), len(files), tuple(files[:bound])
            )

        return await asyncio.to_thread(read)

    async def diff(self, before: str, after: str, limit: int) -> answers.SnapshotDiff:
        """Return what differs between two snapshots (``now``: the present state, not kept).

        Raises:
            NoSuchSnapshotError: none, or several.
            BadManifestError: a record is damaged.
            UnsettledError: ``now`` is not known yet.
        """
        old, new = await self._manifest(before), await self._manifest(after)

        def read() -> answers.SnapshotDiff:
            found = compare(old, new)
            bound = min(max(1, limit), SHOWN_MAX // 2)
            return answers.SnapshotDiff(
                old.id.hex(), new.id.hex(), len(found), tuple(map(_difference, found[:bound]))
            )

        return await asyncio.to_thread(read)

    async def _manifest(self, word: str) -> Manifest:
        if word == _NOW:
            await self._settle()
            return await asyncio.to_thread(build, self._cut())
        key = _resolved(word, await self._facts())
        value = await self._value(key)
        return await asyncio.to_thread(lambda: read_snapshot(key, value).manifest())

    async def _facts(self) -> dict[bytes, SnapshotFacts | None]:
        """Return what is kept (``None``: a damaged record). Cost: reads every record."""
        store = self._subjects.store

        def read() -> dict[bytes, SnapshotFacts | None]:
            found: dict[bytes, SnapshotFacts | None] = {}
            for key, value in store.records(RecordKind.SNAPSHOT):
                try:
                    found[key] = read_facts(key, value)
                except BadManifestError:
                    found[key] = None
            return found

        return await asyncio.to_thread(read)

    async def _value(self, key: bytes) -> bytes:
        store = self._subjects.store
        value = await asyncio.to_thread(store.record, RecordKind.SNAPSHOT, key)
        if value is None:
            raise NoSuchSnapshotError(f"the snapshot {short(key)} was dropped just now")
        return value
