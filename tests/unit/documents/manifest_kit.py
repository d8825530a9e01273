"""Workspaces for the manifest tests: files with real histories, at paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from blake3 import blake3
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.manifest import Manifest
from aiplatform.mesh_ide.documents.manifest_build import Placed, build
from aiplatform.mesh_ide.documents.state import FileState, accept
from aiplatform.mesh_ide.model.entries import Entry, EntryRef, KnownEntry, Principal
from aiplatform.mesh_ide.model.enums import BaseInference, EntryKind, FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import NO_ENTRY, BlobHash, EntryId, FileId, SessionId

ALICE = "alice"
BOB = "bob"


def digest(*words: object) -> bytes:
    """Return 32 bytes that stand for these words."""
    return blake3(repr(words).encode()).digest()


def file_id(word: object) -> FileId:
    """Return a file id that stands for a word."""
    return FileId(digest("file", word)[:16])


def blob_of(content: bytes) -> BlobHash:
    """Return the name of this content."""
    return BlobHash(blake3(content).digest())


def wrote(  # noqa: PLR0913 - the facts of an entry
    who: str,
    sequence: int,
    file: object,
    content: bytes | None,
    *,
    on: Sequence[KnownEntry] = (),
    mode: FileMode = FileMode.REGULAR,
    kind: EntryKind | None = None,
    after: int = 0,
) -> KnownEntry:
    """Return an entry: a creation without ``on``, otherwise a replace; ``None`` deletes."""
    if kind is None:
        kind = EntryKind.REPLACE if on else EntryKind.GENESIS
        kind = EntryKind.DELETE if content is None else kind
    session = SessionId(digest("session", who))
    is_root = kind in {EntryKind.GENESIS, EntryKind.REPLACE}
    lineage = NO_ENTRY if is_root else _lineage(on[0])
    entry = Entry(
        session=session,
        sequence=sequence,
        previous=NO_ENTRY,
        file=file_id(file),
        kind=kind,
        parents=tuple(sorted(known.ref for known in on)),
        result=None if content is None else blob_of(content),
        size=len(content or b""),
        mode=mode,
        is_text=True,
        branch=0,
        is_save=True,
        time_ms=sequence,
        principal=Principal(PrincipalKind.PERSON, who),
        inference=BaseInference.KNOWN,
        payload=b"",
        lineage=lineage,
        depth=1 + max((known.entry.depth for known in on), default=0),
        after=after,
    )
    identity = EntryId(digest(who, sequence, file, content, entry.parents, mode, kind))
    return KnownEntry(EntryRef(session, sequence, identity), entry, b"")


def _lineage(known: KnownEntry) -> EntryId:
    return known.entry.lineage if known.entry.lineage != NO_ENTRY else known.ref.id


def state_of(*entries: KnownEntry) -> FileState:
    """Return the state after these entries, parents before children."""
    state: FileState | None = None
    for known in entries:
        taken = accept(state, known)
        assert isinstance(taken, FileState), taken
        state = taken
    assert state is not None, "a state needs an entry"
    return state


def created(path: str, content: bytes = b"", **facts: object) -> Placed:
    """Return a file that was created with this content; its id stands for its path."""
    mode = facts.get("mode", FileMode.REGULAR)
    assert isinstance(mode, FileMode)
    word = facts.get("file", path)
    return path, state_of(wrote(ALICE, 1, word, content or path.encode(), mode=mode))


def empty(path: str) -> Placed:
    """Return an empty file."""
    return path, state_of(wrote(ALICE, 1, path, b""))


def manifest_of(*placed: Placed) -> Manifest:
    """Return the manifest of these files."""
    return build(placed)


def many(count: int, folders: int = 200) -> list[Placed]:
    """Return a workspace of this many files in nested folders."""
    return [
        created(f"part{number % 20}/section{number % folders}/module_{number:05}.py")
        for number in range(count)
    ]


def with_change(placed: Iterable[Placed], path: str, content: bytes) -> list[Placed]:
    """Return the workspace after a file got another content."""
    changed: list[Placed] = []
    for place, state in placed:
        if place != path:
            changed.append((place, state))
            continue
        head = state.heads[0]
        ref = EntryRef(head.ref.session, head.ref.sequence + 1, EntryId(digest(content)))
        new = replace(head, ref=ref, blob=blob_of(content), size=len(content))
        changed.append((place, replace(state, heads=(new,))))
    return changed
