"""Claims about a manifest's bytes: compact, of one form, bounded, and true to their hash."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.documents import manifest as manifests
from aiplatform.mesh_ide.documents.manifest import (
    MANIFEST_BYTES_MAX,
    BadManifestError,
    Manifest,
    SnapshotId,
    decode,
    encode,
)
from aiplatform.mesh_ide.documents.manifest_build import build
from aiplatform.mesh_ide.documents.places import DEPTH_MAX
from aiplatform.mesh_ide.model.enums import FileMode
from tests.unit.documents.manifest_kit import (
    ALICE,
    BOB,
    created,
    digest,
    empty,
    manifest_of,
    many,
    state_of,
    wrote,
)

CONTEXT = "mesh-ide 2026-11 manifest folder"


def sample() -> Manifest:
    """Return a manifest with everything that there is."""
    root = wrote(ALICE, 1, "f", b"base")
    sides = (wrote(ALICE, 2, "f", b"mine", on=[root], after=1), wrote(BOB, 1, "f", b"y", on=[root]))
    return manifest_of(
        ("deep/er/conflict", state_of(root, *sides)),
        created("deep/tool", mode=FileMode.EXECUTABLE),
        ("link", state_of(wrote(ALICE, 4, "l", b"deep", mode=FileMode.SYMLINK))),
        empty("ünïcode/nothing"),
        *many(30, folders=5),
    )


def forged(*folders: object) -> tuple[bytes, SnapshotId]:
    """Return the bytes and the true hash of a manifest of these folders' lines."""
    parts = [msgspec.msgpack.encode(lines) for lines in folders]
    return msgspec.msgpack.encode((1, parts)), hash_of(parts[0])


def hash_of(part: bytes) -> SnapshotId:
    """Return a folder's hash, by the definition alone."""
    return SnapshotId(blake3(part, derive_key_context=CONTEXT).digest())


def line(name: str = "a", **facts: object) -> tuple[object, ...]:
    """Return a file's line, well-formed unless told otherwise."""
    file = facts.get("file", digest("id", name)[:16])
    heads = facts.get("heads", ((0, 1, digest("entry", name)),))
    size, mode = facts.get("size", 1), facts.get("mode", 1)
    return (name, file, mode, size, facts.get("blob", digest("blob")), heads)


def folder(
    files: Sequence[object] = (),
    folders: Sequence[object] = (),
    beside: Sequence[object] = (),
    sessions: Sequence[bytes] = (digest("s"),),
) -> tuple[object, ...]:
    """Return a folder's lines."""
    return (sessions, files, folders, beside)


def test_bytes_give_the_same_manifest_again() -> None:
    """Every fact comes back, and the bytes are the same again."""
    manifest = sample()
    encoded = encode(manifest)
    again = decode(encoded, manifest.id)
    assert again == manifest
    assert again.id == manifest.id
    assert encode(again) == encoded


def test_the_empty_manifest_has_bytes_too() -> None:
    """A workspace without files can be kept."""
    manifest = manifest_of()
    assert decode(encode(manifest), manifest.id) == manifest


def test_a_folder_with_ten_thousand_files_costs_little_more_than_its_hashes() -> None:
    """80 bytes a file are ids and hashes, which nothing makes smaller."""
    manifest = build(many(10_000))
    assert len(encode(manifest)) < 10_000 * (80 + 45)


def check_tampering_is_seen(read: Callable[[bytes, SnapshotId], object]) -> None:
    """Change every part of a manifest's bytes, and ask for the manifest."""
    manifest = sample()
    encoded = encode(manifest)
    for position in range(0, len(encoded), 7):
        changed = bytearray(encoded)
        changed[position] ^= 0x21
        with pytest.raises(BadManifestError):
            read(bytes(changed), manifest.id)


def test_no_changed_byte_goes_unseen() -> None:
    """Bytes that are not those of the hash are refused, wherever the change is."""
    check_tampering_is_seen(decode)


def test_a_reader_that_trusts_the_root_alone_would_be_caught() -> None:
    """Planted: checking only the root's hash takes folders that somebody exchanged."""

    def trusting(encoded: bytes, expected: SnapshotId) -> object:
        try:
            _, parts = msgspec.msgpack.decode(encoded, type=tuple[int, tuple[bytes, ...]])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BadManifestError(str(error)) from error
        if not parts or hash_of(parts[0]) != expected:
            raise BadManifestError("the root is another one")
        return parts

    with pytest.raises(pytest.fail.Exception):
        check_tampering_is_seen(trusting)


def test_a_manifest_of_another_state_is_refused() -> None:
    """Bytes may be sound and still not what was asked for."""
    with pytest.raises(BadManifestError, match="does not match its hash"):
        decode(encode(manifest_of(created("a"))), manifest_of(created("b")).id)


@pytest.mark.parametrize("cut", [0, 1, 10, -40, -1])
def test_a_part_of_a_manifest_is_refused(cut: int) -> None:
    """Truncated bytes are never taken for a smaller state."""
    manifest = sample()
    with pytest.raises(BadManifestError):
        decode(encode(manifest)[:cut], manifest.id)


def test_folders_that_are_missing_or_too_many_are_refused() -> None:
    """A manifest holds exactly the folders that it names."""
    manifest = sample()
    parts = [each.encoded for _, each in manifest.folders()]
    for wrong in (parts[:-1], [*parts, parts[-1]], [parts[0]], []):
        with pytest.raises(BadManifestError):
            decode(msgspec.msgpack.encode((1, wrong)), manifest.id)


@pytest.mark.parametrize(
    ("lines", "rule"),
    [
        (folder([line("..")]), "folder itself"),
        (folder([line("")]), "empty"),
        (folder([line("a/b")]), "slash"),
        (folder([line("a\0")]), "NUL"),
        (folder([line("x" * 256)]), "256 bytes"),
        (folder([line("b"), line("a")]), "one form"),
        (folder([line("a"), line("a", file=bytes(16))]), "one name"),
        (folder([line("a"), line("b", file=digest("id", "a")[:16])]), "stands twice"),
        (folder([line("a", file=b"short")]), "malformed"),
        (folder([line("a", blob=b"short")]), "malformed"),
        (folder([line("a", mode=9)]), "malformed"),
        (folder([line("a", size=-1)]), "malformed"),
        (folder([line("a", size=2**53)]), "malformed"),
        (folder([line("a", heads=())]), "frontier"),
        (folder([line("a", heads=((7, 1, digest("e")),))]), "malformed"),
        (folder([line("a", heads=((0, 2, digest("e")), (0, 1, digest("e"))))]), "unsorted"),
        (folder([line("a")], sessions=[digest("s"), digest("t")]), "one form"),
        (folder([line("a")], [("a", digest("below"))]), "one name"),
        (folder([(*line("a"), "more")]), "malformed"),
        ((*folder([line("a")]), "more"), "malformed"),
        (folder(beside=[("..", bytes(16), 1, 1, digest("b"), (0, 1, digest("e")))]), "itself"),
        (folder(beside=[("a", bytes(16), 1, 1, digest("b"), (0, 1, digest("e")))] * 2), "twice"),
        (["no", "folder"], "malformed"),
    ],
)
def test_a_forged_manifest_with_a_true_hash_is_refused(lines: object, rule: str) -> None:
    """A hash proves who is meant, not that it is harmless: each rule is checked."""
    encoded, named = forged(lines)
    with pytest.raises(BadManifestError, match=rule):
        decode(encoded, named)


def test_a_well_formed_forgery_is_a_manifest() -> None:
    """The refusals above are for what each says, not for how the test makes manifests."""
    encoded, named = forged(folder([line("a")]))
    assert [path for path, _ in decode(encoded, named).files()] == ["a"]


def nested(depth: int) -> tuple[bytes, SnapshotId]:
    """Return a manifest of one file below so many folders."""
    parts = [msgspec.msgpack.encode(folder([line("a")]))]
    for _ in range(depth):
        named = hash_of(parts[-1])
        parts.append(msgspec.msgpack.encode(folder([], [("d", named)], sessions=[])))
    parts.reverse()
    return msgspec.msgpack.encode((1, parts)), hash_of(parts[0])


def test_depth_is_bounded_as_paths_are() -> None:
    """The deepest path that the tree takes is taken, one more is not."""
    encoded, named = nested(DEPTH_MAX - 1)
    ((path, _),) = decode(encoded, named).files()
    assert path.count("/") + 1 == DEPTH_MAX
    with pytest.raises(BadManifestError, match="deeper"):
        decode(*nested(DEPTH_MAX))


def test_an_empty_folder_is_refused() -> None:
    """A folder is its files: with empty ones, one state would have many names."""
    below = msgspec.msgpack.encode(folder(sessions=[]))
    encoded = [msgspec.msgpack.encode(folder([], [("d", hash_of(below))], sessions=[])), below]
    with pytest.raises(BadManifestError, match="empty folder"):
        decode(msgspec.msgpack.encode((1, encoded)), hash_of(encoded[0]))


def test_a_manifest_of_a_newer_version_says_so() -> None:
    """An old program does not guess."""
    manifest = sample()
    parts = [each.encoded for _, each in manifest.folders()]
    with pytest.raises(BadManifestError, match="newer program"):
        decode(msgspec.msgpack.encode((2, parts)), manifest.id)


def test_too_many_bytes_are_refused_before_they_are_read() -> None:
    """The bound is looked at first."""
    with pytest.raises(BadManifestError, match="is over"):
        decode(bytes(MANIFEST_BYTES_MAX + 1), SnapshotId(bytes(32)))


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_with_one_error(garbage: bytes) -> None:
    """Nothing else comes out of the decoder, whatever goes in."""
    with pytest.raises(BadManifestError):
        decode(garbage, SnapshotId(bytes(32)))


@given(st.binary(max_size=120))
def test_any_folder_with_a_true_hash_is_refused_with_one_error(garbage: bytes) -> None:
    """As above, behind the hash."""
    encoded = msgspec.msgpack.encode((1, [garbage]))
    with pytest.raises(BadManifestError):
        decode(encoded, hash_of(garbage))


def test_folders_hash_apart_from_blobs() -> None:
    """Domain separation: no content of a file is ever taken for a folder."""
    manifest = sample()
    assert manifest.root.hash != blake3(manifest.root.encoded).digest()
    assert manifest.root.hash == hash_of(manifest.root.encoded)


def test_folders_come_parents_first_by_name() -> None:
    """The order that ``encode`` writes and ``decode`` reads."""
    prefixes = [prefix for prefix, _ in sample().folders()]
    assert prefixes[0] == ""
    split = [tuple(prefix.split("/")) for prefix in prefixes]
    assert all(a <= b for a, b in pairwise(split))


def test_the_context_stays_as_it_is() -> None:
    """A changed context would give every kept state another name."""
    assert manifests._FOLDER_CONTEXT == CONTEXT
