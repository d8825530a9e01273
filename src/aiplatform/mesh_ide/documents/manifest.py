"""Manifests: the whole workspace at one moment, named by one hash.

A manifest is a Merkle tree over folders. A folder's bytes hold its children's names, kinds, modes
and hashes, so equal folders have equal hashes: two manifests are compared in proportion to what
differs, and the root's hash names the state. Equal states give equal bytes on every node. The
form is Git's tree object (https://git-scm.com/book/en/v2/Git-Internals-Git-Objects) with file
ids and frontiers beside the content hashes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Annotated, Final, NewType

import msgspec
from blake3 import blake3
from msgspec import Meta, Struct

from aiplatform.mesh_ide.documents.places_plan import DEPTH_MAX, name_problem
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.errors import LocalError, RemoteError
from aiplatform.mesh_ide.model.ids import BlobHash, EntryId, FileId, SessionId

MANIFEST_BYTES_MAX: Final = 128 * 1024 * 1024
"""About a million files (measured: 118 bytes each)."""

_VERSION: Final = 1
_FOLDER_CONTEXT: Final = "mesh-ide 2026-11 manifest folder"
"""BLAKE3 contexts are hard-coded, unique strings (BLAKE3 specification, section 2.3): no blob and
no entry has a folder's hash."""

SnapshotId = NewType("SnapshotId", bytes)
"""32 bytes: the hash of a manifest's root folder."""

_Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
_File = Annotated[bytes, Meta(min_length=16, max_length=16)]
_Number = Annotated[int, Meta(ge=0, le=2**53 - 1)]
"""As in entries: what JSON and SQLite carry exactly too."""

_Ref = tuple[_Number, _Number, _Hash]
"""Index of the session in the folder's table, sequence, entry id."""

_FileLine = tuple[str, _File, FileMode, _Number, _Hash, tuple[_Ref, ...]]
_BesideLine = tuple[str, _File, FileMode, _Number, _Hash, _Ref]
_FolderLine = tuple[str, _Hash]
_Lines = tuple[
    tuple[_Hash, ...],
    tuple[_FileLine, ...],
    tuple[_FolderLine, ...],
    tuple[_BesideLine, ...],
]
"""A folder: sessions, files, folders, what stands beside; each ascending."""

_encoder = msgspec.msgpack.Encoder()
_folder_lines = msgspec.msgpack.Decoder(_Lines)
_whole = msgspec.msgpack.Decoder(tuple[int, tuple[bytes, ...]])


class BadManifestError(RemoteError):
    """Bytes are no manifest, or not the one of the hash that was asked for."""


class ManifestTooLargeError(LocalError):
    """A manifest is over ``MANIFEST_BYTES_MAX``."""


class ManifestFile(Struct, frozen=True, gc=False):
    """A file that stands in the folder. ``heads`` is its whole frontier.

    Nothing here can be part of a cycle, so the garbage collector need not visit it (msgspec's
    ``gc=False``): ten thousand of them would slow down every full collection.
    """

    name: str
    file: FileId
    heads: tuple[EntryRef, ...]
    blob: BlobHash
    mode: FileMode
    size: int


class Beside(Struct, frozen=True, gc=False):
    """A living version that does not stand in the folder, under the name that it claims.

    It is the losing side of a conflict, a file whose path another one owns, or one at whose path
    a folder stands.
    """

    name: str
    file: FileId
    head: EntryRef
    blob: BlobHash
    mode: FileMode
    size: int


class ManifestFolder(Struct, frozen=True, gc=False):
    """A folder; ``hash`` is that of ``encoded``, which says all the rest."""

    hash: bytes
    files: tuple[ManifestFile, ...]
    folders: tuple[tuple[str, ManifestFolder], ...]
    beside: tuple[Beside, ...]
    encoded: bytes


class Manifest(Struct, frozen=True):
    """The state of a workspace. Empty folders are not part of a state: a folder is its files."""

    root: ManifestFolder

    @property
    def id(self) -> SnapshotId:
        """Return the name of this state."""
        return SnapshotId(self.root.hash)

    def folders(self) -> Iterator[tuple[str, ManifestFolder]]:
        """Yield every folder with the prefix of its children's paths, parents first, by name."""
        pending = [("", self.root)]
        while pending:
            prefix, folder = pending.pop()
            yield prefix, folder
            for name, below in reversed(folder.folders):
                pending.append((f"{prefix}{name}/", below))

    def files(self) -> Iterator[tuple[str, ManifestFile]]:
        """Yield every file that stands in the folder with its path, folder by folder."""
        for prefix, folder in self.folders():
            for file in folder.files:
                yield prefix + file.name, file

    def beside(self) -> Iterator[tuple[str, Beside]]:
        """Yield what does not stand, with the path that it claims, folder by folder."""
        for prefix, folder in self.folders():
            for one in folder.beside:
                yield prefix + one.name, one

    def blobs(self) -> dict[BlobHash, int]:
        """Return every content that the state names, with its size."""
        named: dict[BlobHash, int] = {}
        for _, folder in self.folders():
            for file in folder.files:
                named[file.blob] = file.size
            for one in folder.beside:
                named[one.blob] = one.size
        return named


# --- hashing ---------------------------------------------------------------------------------


def assembled(
    files: Iterable[ManifestFile],
    folders: Iterable[tuple[str, ManifestFolder]],
    beside: Iterable[Beside],
) -> ManifestFolder:
    """Return the folder of these children, in any order: the only form there is of it."""
    in_files = sorted(files, key=lambda file: file.name)
    in_folders = sorted(folders, key=lambda folder: folder[0])
    in_beside = sorted(beside, key=lambda one: (one.name, one.file, one.head))
    sessions = {ref.session for file in in_files for ref in file.heads}
    sessions.update(one.head.session for one in in_beside)
    table = sorted(sessions)
    place = {session: index for index, session in enumerate(table)}
    lines = (
        table,
        [
            (
                f.name,
                f.file,
                f.mode,
                f.size,
                f.blob,
                [(place[r.session], r.sequence, r.id) for r in f.heads],
            )
            for f in in_files
        ],
        [(name, folder.hash) for name, folder in in_folders],
        [
            (
                one.name,
                one.file,
                one.mode,
                one.size,
                one.blob,
                (place[one.head.session], one.head.sequence, one.head.id),
            )
            for one in in_beside
        ],
    )
    encoded = _encoder.encode(lines)
    return ManifestFolder(
        _folder_hash(encoded), tuple(in_files), tuple(in_folders), tuple(in_beside), encoded
    )


def _folder_hash(encoded: bytes) -> bytes:
    return blake3(encoded, derive_key_context=_FOLDER_CONTEXT).digest()


# --- to bytes and back -----------------------------------------------------------------------


def encode(manifest: Manifest) -> bytes:
    """Return the bytes of a manifest: its folders, each directly before what is below it.

    Raises:
        ManifestTooLargeError: over ``MANIFEST_BYTES_MAX``.
    """
    folders = [folder.encoded for _, folder in manifest.folders()]
    encoded = _encoder.encode((_VERSION, folders))
    if len(encoded) > MANIFEST_BYTES_MAX:
        raise ManifestTooLargeError(
            f"the manifest of this workspace has {len(encoded)} bytes, over {MANIFEST_BYTES_MAX}: "
            "it has too many files for one snapshot"
        )
    return encoded


def decode(encoded: bytes, expected: SnapshotId) -> Manifest:
    """Return the manifest of this hash from bytes of any origin.

    Guarantees: every name is valid, no two children of a folder share one, no file stands twice,
    nothing is deeper than ``DEPTH_MAX``, and ``encode`` gives these bytes again.

    Raises:
        BadManifestError: the bytes are not that manifest; says which rule they break.
    """
    if len(encoded) > MANIFEST_BYTES_MAX:
        raise BadManifestError(f"a manifest of {len(encoded)} bytes is over {MANIFEST_BYTES_MAX}")
    try:
        version, folders = _whole.decode(encoded)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadManifestError(f"these bytes are no manifest: {error}") from error
    if version != _VERSION:
        raise BadManifestError(f"a manifest of version {version} needs a newer program")
    reader = _Reader(folders)
    manifest = Manifest(reader.folder(expected, 0))
    if encode(manifest) != encoded:
        raise BadManifestError("the manifest says more than its folders: it was tampered with")
    return manifest


class _Reader:
    """Takes folders in the order of ``encode``, each checked against what names it."""

    def __init__(self, folders: Iterable[bytes]) -> None:
        self._folders = iter(folders)
        self._seen: set[bytes] = set()

    def folder(self, expected: bytes, depth: int) -> ManifestFolder:
        """Return the next folder, which ``depth`` names lead to, with all below it."""
        encoded = next(self._folders, None)
        if encoded is None:
            raise BadManifestError("the manifest is cut short: get it again")
        if _folder_hash(encoded) != expected:
            raise BadManifestError("the manifest does not match its hash: get it again")
        try:
            sessions, files, folders, beside = _folder_lines.decode(encoded)
            standing = [_read_file(line, sessions) for line in files]
            aside = [_read_beside(line, sessions) for line in beside]
        except (msgspec.MsgspecError, UnicodeDecodeError, IndexError) as error:
            raise BadManifestError(f"a folder of the manifest is malformed: {error}") from error
        self._check(standing, [name for name, _ in folders], aside, depth)
        below = [(name, self.folder(named, depth + 1)) for name, named in folders]
        made = assembled(standing, below, aside)
        if made.encoded != encoded:
            raise BadManifestError("a folder of the manifest is not in its one form (unsorted?)")
        return made

    def _check(
        self, files: list[ManifestFile], folders: list[str], aside: list[Beside], depth: int
    ) -> None:
        names = [*(file.name for file in files), *folders]
        if len(set(names)) != len(names):
            raise BadManifestError("two children of a folder in the manifest have one name")
        if depth and not names:
            raise BadManifestError("the manifest has an empty folder")
        if depth + (2 if folders else 1) > DEPTH_MAX:
            raise BadManifestError(f"the manifest is deeper than {DEPTH_MAX}")
        for name in (*names, *(one.name for one in aside)):
            problem = name_problem(name)
            if problem is not None:
                raise BadManifestError(f"the name {name!r} in the manifest {problem}")
        if len({(one.name, one.file, one.head) for one in aside}) != len(aside):
            raise BadManifestError("the manifest names one version beside a file twice")
        for file in files:
            if not file.heads or any(a >= b for a, b in pairwise(file.heads)):
                raise BadManifestError(f"the frontier of {file.name!r} is empty or unsorted")
            if file.file in self._seen:
                raise BadManifestError(f"one file stands twice in the manifest ({file.name!r})")
            self._seen.add(file.file)


def _read_file(line: _FileLine, sessions: tuple[bytes, ...]) -> ManifestFile:
    name, file, mode, size, blob, heads = line
    refs = tuple([_read_ref(ref, sessions) for ref in heads])
    return ManifestFile(name, FileId(file), refs, BlobHash(blob), mode, size)


def _read_beside(line: _BesideLine, sessions: tuple[bytes, ...]) -> Beside:
    name, file, mode, size, blob, head = line
    return Beside(name, FileId(file), _read_ref(head, sessions), BlobHash(blob), mode, size)


def _read_ref(ref: _Ref, sessions: tuple[bytes, ...]) -> EntryRef:
    index, sequence, entry = ref
    return EntryRef(SessionId(sessions[index]), sequence, EntryId(entry))
