"""Snapshots in people's words, and as answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from aiplatform.mesh_ide.api import snapshot_answers as answers
from aiplatform.mesh_ide.api.subjects import shown
from aiplatform.mesh_ide.documents.manifest import Beside, Manifest, ManifestFile, SnapshotId
from aiplatform.mesh_ide.documents.manifest_compare import Difference
from aiplatform.mesh_ide.documents.snapshots import NAME_CHARS_MAX, SnapshotFacts
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.errors import LocalError, MeshIDEError
from aiplatform.mesh_ide.model.ids import BlobHash, short

NOW: Final = "now"
"""Names the present state wherever two states are compared."""

DAMAGED: Final = "its record is damaged: drop it"

_ID_DIGITS_MIN: Final = 4
"""Fewer digits name nothing: they would as often be a mistyped name."""

Kept = Mapping[SnapshotId, SnapshotFacts | None]


class NoSuchSnapshotError(MeshIDEError):
    """No kept snapshot has this name or id."""


class SnapshotNameError(LocalError):
    """A snapshot cannot be called this."""


def check_name(name: str) -> None:
    """Check a name that a state is to be given (empty: none).

    Raises:
        SnapshotNameError: it cannot be one.
    """
    if len(name) > NAME_CHARS_MAX or not name.isprintable() or name != name.strip():
        raise SnapshotNameError(
            f"a snapshot's name is printable, at most {NAME_CHARS_MAX} characters: not {name!r}"
        )
    if name == NOW:
        raise SnapshotNameError(f"{NOW!r} means the present state: choose another name")


def resolved(word: str, kept: Kept) -> SnapshotId:
    """Return the snapshot that a name, or the beginning of an id, means.

    Raises:
        NoSuchSnapshotError: none, or several.
    """
    found = [key for key, facts in kept.items() if facts is not None and word in facts.names]
    if not found and len(word) >= _ID_DIGITS_MIN:
        found = [key for key in kept if key.hex().startswith(word.casefold())]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(short(key) for key in found[:5])
        raise NoSuchSnapshotError(f"{word!r} may be any of {ids}: type more of it")
    raise NoSuchSnapshotError(f"there is no snapshot {word!r}: see `mesh snapshot list`")


def snapshot_answer(
    snapshot: SnapshotId, facts: SnapshotFacts | None, *, is_new: bool = False
) -> answers.Snapshot:
    """Return the answer that describes a snapshot."""
    if facts is None:
        return answers.Snapshot(snapshot.hex(), problem=DAMAGED)
    return answers.Snapshot(
        id=snapshot.hex(),
        names=facts.names,
        created_ms=facts.created_ms,
        person=facts.person,
        files=facts.files,
        size=facts.size,
        aside=facts.aside,
        is_new=is_new,
    )


def aside_of(manifest: Manifest) -> list[tuple[str, Beside]]:
    """Return the versions that people miss in the folder, by path: the sides of conflicts.

    A version whose content stands at its path, or waits there already, is no other side: two nodes
    that had one file each before they met hold every content twice.
    """
    standing = {path: file.blob for path, file in manifest.files()}
    found: dict[tuple[str, BlobHash], Beside] = {}
    for path, one in manifest.beside():
        if one.blob != standing.get(path):
            found.setdefault((path, one.blob), one)
    return [(path, one) for (path, _), one in found.items()]


def files_of(manifest: Manifest, under: str) -> Collection[answers.SnapshotFile]:
    """Return what is in a manifest by path, all or what lies at or below ``under``."""
    everything: list[tuple[str, ManifestFile | Beside]] = [*manifest.files(), *aside_of(manifest)]
    everything.sort(key=lambda item: item[0])
    return [_file(path, one) for path, one in everything if _is_under(path, under.rstrip("/"))]


def difference_answers(found: Collection[Difference]) -> Iterator[answers.SnapshotDifference]:
    """Yield the answers that describe differences."""
    for one in found:
        yield answers.SnapshotDifference(
            kind=one.kind.value,
            path=one.path,
            path_before=one.path_before,
            before=None if one.before is None else _file(one.path_before or one.path, one.before),
            after=None if one.after is None else _file(one.path, one.after),
        )


def _is_under(path: str, under: str) -> bool:
    return not under or path == under or path.startswith(under + "/")


def _file(path: str, one: ManifestFile | Beside) -> answers.SnapshotFile:
    heads: tuple[EntryRef, ...] = one.heads if isinstance(one, ManifestFile) else (one.head,)
    return answers.SnapshotFile(
        path=path,
        file=one.file.hex(),
        mode=one.mode.name.lower(),
        size=one.size,
        content=one.blob.hex(),
        heads=shown(heads),
        is_aside=isinstance(one, Beside),
    )
