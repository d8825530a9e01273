"""Planted bugs: each safety property of the real folder has a variant that breaks it, caught."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from blake3 import blake3

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.filetree import Contents, FileStat, FileWrite, WriteResult
from aiplatform.mesh_ide.workspace.adapters.applying import Batch
from aiplatform.mesh_ide.workspace.adapters.local_folder import Freshness, LocalFolder
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.opened import Content, Entry, Kind, UnreadableError
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step
from aiplatform.mesh_ide.workspace.adapters.placing import Place, Placer
from aiplatform.mesh_ide.workspace.adapters.temporary import TempFolder
from aiplatform.mesh_ide.workspace.adapters.walk import Walk


def blob_of(content: bytes) -> BlobHash:
    """Return the content's hash."""
    return BlobHash(blake3(content).digest())


class Cache(dict[BlobHash, bytes]):
    def keep(self, blob: BlobHash, content: bytes) -> None:
        self[blob] = content

    def forget(self, blob: BlobHash) -> None:
        self.pop(blob, None)

    def at_hand(self, blob: BlobHash) -> bytes | None:
        return self.get(blob)

    def read(self, blob: BlobHash, path: str | None = None) -> bytes | None:
        return self.get(blob)

    def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
        return iter([self[blob]])


class SavingTree(LocalFileTree):
    """A person saves at the last moment before our change."""

    placer: type[Placer] = Placer

    def _batch(self, temp: TempFolder, contents: Contents) -> Batch:
        batch = super()._batch(temp, contents)
        batch._placer = self.placer(
            temp,
            self._freshness,
            contents,
            lambda path: self._observe_for_apply(path, contents),
            self._on_step,
        )
        return batch

    def _on_step(self, step: Step, path: str) -> None:
        if step is Step.PREPARED:
            (self._root / path).write_bytes(b"the save")


class PlainRename(Placer):
    """Checks first and renames over: what is saved in between is overwritten."""

    def replace(self, place: Place) -> WriteResult:
        there = self._read(place.folder_fd, place.name)
        if there is None or there.blob != place.write.expected:
            return self._refused(place, self._came(place.folder_fd, place.name, place.write))
        ours = os.stat(place.temp, dir_fd=place.temp_fd)
        self._on_step(Step.PREPARED, place.write.path)
        os.replace(place.temp, place.name, src_dir_fd=place.temp_fd, dst_dir_fd=place.folder_fd)
        return self._applied(place, ours)


class UncheckedRemoval(Placer):
    """Removes what stands there, whatever it is."""

    def remove(self, place: Place) -> WriteResult:
        self._on_step(Step.PREPARED, place.write.path)
        os.unlink(place.name, dir_fd=place.folder_fd)
        return self._observe(place.write.path)


class ForgetsToPutBack(Placer):
    """Notices the save, and leaves ours at the path."""

    def _put_back(self, place: Place, ours: os.stat_result) -> None:
        os.unlink(place.temp, dir_fd=place.temp_fd)


def save_survives(root: Path, placer: type[Placer], *, is_removal: bool) -> bool:
    """Return whether a save at the last moment stands at its path after our change."""
    (root / "a").write_bytes(b"base")
    cache = Cache({blob_of(b"by a peer"): b"by a peer"})
    blob = None if is_removal else blob_of(b"by a peer")
    with SavingTree(root, cache) as tree:
        tree.placer = placer
        tree.apply([FileWrite("a", blob, FileMode.REGULAR, blob_of(b"base"))], cache)
    return (root / "a").exists() and (root / "a").read_bytes() == b"the save"


@pytest.mark.parametrize(
    ("placer", "is_removal", "survives"),
    [
        (Placer, False, True),
        (Placer, True, True),
        (PlainRename, False, False),
        (ForgetsToPutBack, False, False),
        (UncheckedRemoval, True, False),
    ],
)
def test_only_the_exchange_keeps_a_save_at_the_last_moment(
    tmp_path: Path, placer: type[Placer], is_removal: bool, survives: bool
) -> None:
    """The contract's test of saves in between fails for each of the easy ways."""
    assert save_survives(tmp_path, placer, is_removal=is_removal) is survives


class FollowingFolder(LocalFolder):
    """Opens what a link leads to."""

    def enter(self, name: str) -> FollowingFolder:
        return FollowingFolder(os.open(name, os.O_RDONLY, dir_fd=self._fd), self._freshness)

    def entries(self) -> list[Entry]:
        return [self._follow(entry) for entry in super().entries()]

    def _follow(self, entry: Entry) -> Entry:
        is_folder = stat.S_ISDIR(os.stat(entry.name, dir_fd=self._fd).st_mode)
        return Entry(entry.name, Kind.FOLDER) if is_folder else entry


class HidingFolder(LocalFolder):
    """Takes a folder that cannot be listed for an empty one."""

    def entries(self) -> list[Entry]:
        try:
            return super().entries()
        except UnreadableError:
            return []


class Unlistable(LocalFolder):
    """A folder that says permission denied."""

    def entries(self) -> list[Entry]:
        raise UnreadableError("permission denied")


class UnlistableHidden(HidingFolder, Unlistable):
    """The same folder, seen by the planted bug."""


class SloppyFolder(LocalFolder):
    """Remembers a stat that may hide the next change."""

    def read(self, entry: Entry) -> Content:
        found = super().read(entry)
        assert entry.stat is not None
        return found._replace(stat=entry.stat)


def walk(root: Path, folder: type[LocalFolder], known: dict[str, FileStat] | None = None) -> Walk:
    """Return a look at ``root`` through another kind of folder, on a very coarse clock."""
    opened = folder(os.open(root, os.O_RDONLY), Freshness(10**12))
    return Walk(opened, known or {}, Cache(), lambda: None)


@pytest.mark.parametrize(("folder", "leaks"), [(LocalFolder, False), (FollowingFolder, True)])
def test_only_a_scan_that_follows_no_link_stays_inside(
    tmp_path: Path, folder: type[LocalFolder], leaks: bool
) -> None:
    """A link to a folder outside must not bring its files into the workspace."""
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "private").write_bytes(b"x")
    (root / "link").symlink_to(outside)
    seen = {o.path for batch in walk(root, folder).scan() for o in batch.observations}
    assert ("link/private" in seen) is leaks


@pytest.mark.parametrize(("folder", "deletes"), [(Unlistable, False), (UnlistableHidden, True)])
def test_only_a_folder_that_was_listed_has_lost_files(
    tmp_path: Path, folder: type[LocalFolder], deletes: bool
) -> None:
    """A permission taken away must not delete the files on every machine."""
    known = {"a": FileStat(1, 1, 1, FileMode.REGULAR)}
    batches = walk(tmp_path, folder, known).scan()
    gone = {o.path for batch in batches for o in batch.observations if o.stat is None}
    assert (gone == {"a"}) is deletes


@pytest.mark.parametrize(("folder", "misses"), [(LocalFolder, False), (SloppyFolder, True)])
def test_only_a_marked_stat_finds_a_change_within_one_tick(
    tmp_path: Path, folder: type[LocalFolder], misses: bool
) -> None:
    """On a coarse clock the second save of one tick looks like the first."""
    (tmp_path / "a").write_bytes(b"one")
    (first,) = walk(tmp_path, folder).observe(["a"]).observations
    assert first.stat is not None
    # The same stat as after a second save within the tick.
    second = walk(tmp_path, folder, {"a": first.stat}).observe(["a"])
    assert (second.unchanged == ("a",)) is misses
