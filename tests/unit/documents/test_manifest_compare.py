"""Claims about differences between manifests, and about handing out their files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.manifest import Manifest, ManifestFolder
from aiplatform.mesh_ide.documents.manifest_build import build
from aiplatform.mesh_ide.documents.manifest_compare import (
    Difference,
    DifferenceKind,
    compare,
    materialise,
)
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.errors import BlobMissingError
from tests.unit.documents.manifest_kit import (
    ALICE,
    BOB,
    blob_of,
    created,
    empty,
    manifest_of,
    many,
    state_of,
    with_change,
    wrote,
)

K = DifferenceKind


def kinds(before: Manifest, after: Manifest) -> list[tuple[DifferenceKind, str, str]]:
    """Return what differs, in brief."""
    return [(one.kind, one.path_before, one.path) for one in compare(before, after)]


def test_equal_states_differ_in_nothing() -> None:
    """Also if they were built apart."""
    assert compare(build(many(50)), build(many(50))) == ()


def test_every_kind_of_difference_is_told() -> None:
    """One file for each of them."""
    first = wrote(ALICE, 1, "history", b"x")
    again = state_of(first, wrote(ALICE, 2, "history", b"x", on=[first], after=1))
    before = manifest_of(
        created("same"),
        created("d/changed"),
        created("d/mode"),
        created("gone/away"),
        created("old/place", file="mover"),
        created("replaced"),
        ("history", state_of(first)),
    )
    after = manifest_of(
        created("same"),
        created("d/changed", b"new"),
        created("d/mode", mode=FileMode.EXECUTABLE),
        created("new/place", b"old/place", file="mover"),
        created("replaced", b"by another", file="another"),
        created("fresh"),
        ("history", again),
    )
    assert kinds(before, after) == [
        (K.CHANGED, "", "d/changed"),
        (K.MODE, "", "d/mode"),
        (K.ADDED, "", "fresh"),
        (K.REMOVED, "", "gone/away"),
        (K.HISTORY, "", "history"),
        (K.MOVED, "old/place", "new/place"),
        (K.CHANGED, "", "replaced"),
    ]


def test_two_files_that_changed_places_are_two_moves() -> None:
    """Identity is the file's, not the path's."""
    before = manifest_of(created("a", b"1", file=1), created("b", b"2", file=2))
    after = manifest_of(created("a", b"2", file=2), created("b", b"1", file=1))
    assert kinds(before, after) == [(K.MOVED, "b", "a"), (K.MOVED, "a", "b")]


def test_a_file_that_became_a_folder_differs_as_such() -> None:
    """Neither hides the other."""
    before, after = manifest_of(created("a")), manifest_of(created("a/b"))
    assert kinds(before, after) == [(K.REMOVED, "", "a"), (K.ADDED, "", "a/b")]


def test_a_conflict_that_came_or_went_is_told() -> None:
    """A state differs also where nothing in the folder does."""
    root = wrote(ALICE, 1, "f", b"base")
    mine = wrote(ALICE, 2, "f", b"mine", on=[root], after=1)
    yours = wrote(BOB, 1, "f", b"yours", on=[root])
    calm, torn = state_of(root, mine), state_of(root, mine, yours)
    before, after = manifest_of(("f", calm)), manifest_of(("f", torn))
    assert K.SET_ASIDE in {one.kind for one in compare(before, after)}
    assert K.SETTLED in {one.kind for one in compare(after, before)}


@given(
    st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from("xyz"), max_size=7),
    st.dictionaries(st.sampled_from("abcdefg"), st.sampled_from("xyz"), max_size=7),
)
def test_differences_are_those_of_the_flat_lists(old: dict[str, str], new: dict[str, str]) -> None:
    """The slow oracle: two dictionaries of all paths."""
    before = manifest_of(*(created(f"d{ord(k) % 3}/{k}", v.encode()) for k, v in old.items()))
    after = manifest_of(*(created(f"d{ord(k) % 3}/{k}", v.encode()) for k, v in new.items()))
    flat_before, flat_after = dict(before.files()), dict(after.files())
    expected = {
        path for path in flat_before | flat_after if flat_before.get(path) != flat_after.get(path)
    }
    assert {one.path for one in compare(before, after)} == expected


def sealed(manifest: Manifest, other: Manifest) -> Manifest:
    """Return a manifest whose folders that are equal in the other one cannot be looked into."""
    equal = {folder.hash for _, folder in other.folders()}

    def seal(folder: ManifestFolder) -> ManifestFolder:
        if folder.hash in equal:
            nothing = cast("tuple[()]", None)
            return replace(folder, files=nothing, folders=nothing, beside=nothing)
        below = tuple((name, seal(each)) for name, each in folder.folders)
        return replace(folder, folders=below)

    return Manifest(seal(manifest.root))


def test_equal_folders_are_never_looked_into() -> None:
    """Cost follows the difference: of 2,000 files in 220 folders, three folders are read."""
    files = many(2000)
    path = files[123][0]
    assert path is not None
    before, after = build(files), build(with_change(files, path, b"new"))
    found = compare(sealed(before, after), sealed(after, before))
    assert [(one.kind, one.path) for one in found] == [(K.CHANGED, path)]


def test_a_comparison_of_everything_would_be_caught() -> None:
    """Planted: walking both whole trees stumbles over the sealed folders."""

    def everything(before: Manifest, after: Manifest) -> tuple[Difference, ...]:
        old, new = dict(before.files()), dict(after.files())
        return tuple(Difference(K.CHANGED, p, old[p], new[p]) for p in old if old[p] != new[p])

    files = many(100)
    path = files[12][0]
    assert path is not None
    before, after = build(files), build(with_change(files, path, b"new"))
    with pytest.raises(TypeError):
        everything(sealed(before, after), sealed(after, before))


class Shelf:
    """Contents by hash."""

    def __init__(self, *contents: bytes) -> None:
        self._contents = {blob_of(content): content for content in contents}

    def at_hand(self, blob: BlobHash) -> bytes | None:
        return self._contents.get(blob)

    def read(self, blob: BlobHash, path: str | None = None) -> bytes | None:
        return self._contents.get(blob)

    def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
        content = self._contents.get(blob)
        return None if content is None else iter([content[:2], content[2:]])

    def keep(self, blob: BlobHash, content: bytes) -> None:
        self._contents[blob] = content

    def forget(self, blob: BlobHash) -> None:
        del self._contents[blob]


def test_materialising_gives_every_standing_file_with_mode_and_bytes() -> None:
    """Links and empty files too; what is beside is left out."""
    root = wrote(ALICE, 1, "f", b"base")
    mine = wrote(ALICE, 2, "f", b"mine", on=[root], after=1)
    yours = wrote(BOB, 1, "f", b"yours", on=[root])
    manifest = manifest_of(
        ("d/f", state_of(root, mine, yours)),
        created("d/tool", b"run", mode=FileMode.EXECUTABLE),
        ("link", state_of(wrote(ALICE, 9, "l", b"d/f", mode=FileMode.SYMLINK))),
        empty("nothing"),
    )
    shelf = Shelf(b"mine", b"yours", b"run", b"d/f", b"")
    written = {
        path: (mode, b"".join(chunks)) for path, mode, chunks in materialise(manifest, shelf)
    }
    winner = written.pop("d/f")[1]
    assert winner in {b"mine", b"yours"}
    assert written == {
        "d/tool": (FileMode.EXECUTABLE, b"run"),
        "link": (FileMode.SYMLINK, b"d/f"),
        "nothing": (FileMode.REGULAR, b""),
    }


def test_materialising_names_the_path_whose_content_is_missing() -> None:
    """The caller learns what to fetch."""
    manifest = manifest_of(created("here", b"1"), created("there", b"2"))
    with pytest.raises(BlobMissingError, match="there"):
        list(materialise(manifest, Shelf(b"1")))
