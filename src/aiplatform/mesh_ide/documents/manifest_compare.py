"""What differs between two manifests, and the files of one for whoever writes them somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

from msgspec import Struct

from aiplatform.mesh_ide.documents.manifest import Beside, Manifest, ManifestFile, ManifestFolder
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import FileId, short
from aiplatform.mesh_ide.ports.errors import BlobMissingError
from aiplatform.mesh_ide.ports.filetree import Contents


class DifferenceKind(Enum):
    """What happened to a path between two states."""

    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"
    """The same file at another path (its content may have changed, too)."""
    CHANGED = "changed"
    """Other bytes, or another file in its place."""
    MODE = "mode"
    """The same bytes, executable or not, or a link instead of a file."""
    HISTORY = "history"
    """The same bytes and mode, written by other entries."""
    SET_ASIDE = "set-aside"
    """A living version that does not stand (a conflict's other side) is new."""
    SETTLED = "settled"
    """Such a version is not there any more."""


class Difference(Struct, frozen=True):
    """One path that differs; ``path_before`` is where a moved file stood."""

    kind: DifferenceKind
    path: str
    before: ManifestFile | Beside | None
    after: ManifestFile | Beside | None
    path_before: str = ""


def compare(before: Manifest, after: Manifest) -> tuple[Difference, ...]:
    """Return what differs, by path.

    Cost: in proportion to the children of those folders whose hashes differ; what lies in equal
    folders is never looked at.
    """
    gone: dict[FileId, tuple[str, ManifestFile]] = {}
    new: dict[FileId, tuple[str, ManifestFile]] = {}
    found: list[Difference] = []
    pending: list[tuple[str, ManifestFolder | None, ManifestFolder | None]] = [
        ("", before.root, after.root)
    ]
    while pending:
        prefix, old, now = pending.pop()
        if old is not None and now is not None and old.hash == now.hash:
            continue
        found.extend(_in_folder(prefix, old, now, gone, new))
        old_folders = dict(old.folders) if old is not None else {}
        new_folders = dict(now.folders) if now is not None else {}
        for name in old_folders | new_folders:
            below = (f"{prefix}{name}/", old_folders.get(name), new_folders.get(name))
            pending.append(below)
    found.extend(_paired(gone, new))
    return tuple(sorted(found, key=lambda one: (one.path, one.kind.value)))


def _in_folder(
    prefix: str,
    old: ManifestFolder | None,
    now: ManifestFolder | None,
    gone: dict[FileId, tuple[str, ManifestFile]],
    new: dict[FileId, tuple[str, ManifestFile]],
) -> Iterator[Difference]:
    """Yield what differs within one folder; files that came or went are only gathered."""
    old_files = {file.name: file for file in old.files} if old is not None else {}
    new_files = {file.name: file for file in now.files} if now is not None else {}
    for name, file in old_files.items():
        other = new_files.get(name)
        if other is None or other.file != file.file:
            gone[file.file] = (prefix + name, file)
        elif other != file:
            yield Difference(_kind(file, other), prefix + name, file, other)
    for name, file in new_files.items():
        other = old_files.get(name)
        if other is None or other.file != file.file:
            new[file.file] = (prefix + name, file)
    old_aside = set(old.beside) if old is not None else set()
    new_aside = set(now.beside) if now is not None else set()
    for one in old_aside - new_aside:
        yield Difference(DifferenceKind.SETTLED, prefix + one.name, one, None)
    for one in new_aside - old_aside:
        yield Difference(DifferenceKind.SET_ASIDE, prefix + one.name, None, one)


def _kind(before: ManifestFile, after: ManifestFile) -> DifferenceKind:
    if before.blob != after.blob:
        return DifferenceKind.CHANGED
    return DifferenceKind.HISTORY if before.mode == after.mode else DifferenceKind.MODE


def _paired(
    gone: dict[FileId, tuple[str, ManifestFile]], new: dict[FileId, tuple[str, ManifestFile]]
) -> Iterator[Difference]:
    """Yield the moves first, then what took the place of another file, then the rest."""
    for file in gone.keys() & new.keys():
        (path_before, before), (path, after) = gone.pop(file), new.pop(file)
        yield Difference(DifferenceKind.MOVED, path, before, after, path_before)
    places = dict(gone.values())
    for path, after in new.values():
        replaced = places.pop(path, None)
        kind = DifferenceKind.ADDED if replaced is None else DifferenceKind.CHANGED
        yield Difference(kind, path, replaced, after)
    for path, before in places.items():
        yield Difference(DifferenceKind.REMOVED, path, before, None)


def materialise(
    manifest: Manifest, contents: Contents
) -> Iterator[tuple[str, FileMode, Iterator[bytes]]]:
    """Yield every file that stands, for whoever writes the state into an empty folder.

    Guarantees: no two paths collide and none leads through a link of the same state, so the order
    does not matter. A content is verified with its last piece: a file counts only once all its
    pieces were taken. A link's target is content like any other: whoever makes links must see to
    it that they stay inside.

    Raises:
        BlobMissingError: a content is not here (not if the snapshot is kept on this node).
        CorruptContentError: from the pieces, if they were not the content.
    """
    for path, file in manifest.files():
        chunks = contents.chunks(file.blob)
        if chunks is None:
            raise BlobMissingError(
                f"the content {short(file.blob)} of {path} is not here: fetch it, then begin again"
            )
        yield path, file.mode, chunks
