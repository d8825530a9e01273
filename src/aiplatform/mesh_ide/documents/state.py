"""What one file is: its frontier, its lineages, and the content that follows from them.

Pure functions over a frozen ``FileState``. The same accepted entries give the same state on
every node, whatever their order of arrival (parents before children).
"""

from __future__ import annotations

from enum import Enum

from blake3 import blake3
from msgspec import Struct

from aiplatform.mesh_ide.model.entries import EntryRef, FileHead, FileVector, KnownEntry
from aiplatform.mesh_ide.model.enums import EntryKind, FileMode
from aiplatform.mesh_ide.model.ids import (
    FINGERPRINT_BYTES,
    NO_ENTRY,
    TREE_FILE,
    BlobHash,
    EntryId,
    FileId,
    Fingerprint,
    SessionId,
)

_INCOMPLETE = b"incomplete"


class Root(Struct, frozen=True, array_like=True):
    """A genesis or replace that some head builds on."""

    ref: EntryRef
    blob: BlobHash
    size: int
    mode: FileMode
    is_text: bool


class Head(Struct, frozen=True, array_like=True):
    """One entry that nothing known builds on yet. ``lineage`` is its root's id (or its own)."""

    ref: EntryRef
    kind: EntryKind
    lineage: EntryId
    depth: int
    blob: BlobHash | None
    size: int
    mode: FileMode
    is_text: bool


class Merged(Struct, frozen=True, array_like=True):
    """The computed content of a frontier of several heads."""

    heads: tuple[EntryRef, ...]
    blob: BlobHash
    size: int


class FileState(Struct, frozen=True, array_like=True):
    """Everything about a file but its content; persisted as a record.

    Invariants:
        1. ``heads`` are sorted by ref and none is an ancestor of another.
        2. ``vector`` covers every accepted entry and its ancestors.
        3. every head's ``lineage`` is in ``roots`` (the tree document has none).
    """

    file: FileId
    heads: tuple[Head, ...]
    roots: tuple[Root, ...]
    vector: FileVector
    saves: int
    merged: Merged | None = None
    fault: str = ""

    def refs(self) -> tuple[EntryRef, ...]:
        """Return the frontier."""
        return tuple(head.ref for head in self.heads)

    def root(self, lineage: EntryId) -> Root:
        """Return the root of a lineage that a head names."""
        return next(root for root in self.roots if root.ref.id == lineage)


class Refusal(Enum):
    """Why an entry does not change a state."""

    DUPLICATE = "duplicate"
    MISSING_PARENTS = "missing-parents"


def holds(vector: FileVector, session: SessionId, sequence: int) -> bool:
    """Return whether the vector covers this dot."""
    return any(s == session and sequence <= held for s, held in vector)


def covers(vector: FileVector, other: FileVector) -> bool:
    """Return whether everything in ``other`` is in ``vector``."""
    return all(holds(vector, session, sequence) for session, sequence in other)


def accept(state: FileState | None, known: KnownEntry) -> FileState | Refusal:
    """Return the state after one verified entry, or why it changes nothing.

    The answer must not depend on what else has arrived, or nodes would disagree for ever: what
    an entry may say on its own is checked before (``identity.batches``), and here only whether
    everything it names is known. ``MISSING_PARENTS`` asks for what lies between.
    """
    entry, ref = known.entry, known.ref
    if state is None:
        if entry.kind is EntryKind.GENESIS and entry.result is not None and not entry.after:
            return _begun(known, entry.result)
        state = FileState(entry.file, (), (), (), 0)
    if holds(state.vector, ref.session, ref.sequence):
        return Refusal.DUPLICATE
    if not all(holds(state.vector, p.session, p.sequence) for p in entry.parents):
        return Refusal.MISSING_PARENTS
    if entry.after and not holds(state.vector, ref.session, entry.after):
        return Refusal.MISSING_PARENTS
    is_root = entry.kind in {EntryKind.GENESIS, EntryKind.REPLACE} and entry.result is not None
    needs_lineage = not is_root and entry.file != TREE_FILE
    if needs_lineage and not any(root.ref.id == entry.lineage for root in state.roots):
        return Refusal.MISSING_PARENTS
    head = Head(
        ref=ref,
        kind=entry.kind,
        lineage=ref.id if is_root else entry.lineage,
        depth=entry.depth,
        blob=entry.result,
        size=entry.size,
        mode=entry.mode,
        is_text=entry.is_text,
    )
    parents = set(entry.parents)
    roots = state.roots
    if is_root and entry.result is not None:
        root = Root(ref, entry.result, entry.size, entry.mode, entry.is_text)
        roots = tuple(sorted((*roots, root), key=_by_ref))
    return FileState(
        file=state.file,
        heads=tuple(sorted((*(h for h in state.heads if h.ref not in parents), head), key=_by_ref)),
        roots=roots,
        vector=_extended(state.vector, ref),
        saves=state.saves + entry.is_save,
        fault=state.fault,
    )


def _begun(known: KnownEntry, result: BlobHash) -> FileState:
    """Return the state after the entry that creates a file (most entries of a first exchange)."""
    entry, ref = known.entry, known.ref
    root = Root(ref, result, entry.size, entry.mode, entry.is_text)
    head = Head(ref, entry.kind, ref.id, entry.depth, result, entry.size, entry.mode, entry.is_text)
    vector = ((ref.session, ref.sequence),)
    return FileState(entry.file, (head,), (root,), vector, int(entry.is_save))


def _by_ref(one: Head | Root) -> EntryRef:
    return one.ref


def _extended(vector: FileVector, ref: EntryRef) -> FileVector:
    rest = tuple(item for item in vector if item[0] != ref.session)
    return tuple(sorted((*rest, (ref.session, ref.sequence))))


def living(state: FileState) -> tuple[Head, ...]:
    """Return the heads that keep the file alive: every head that is not a delete."""
    heads = state.heads
    if len(heads) == 1:
        return heads if heads[0].kind is not EntryKind.DELETE else ()
    return tuple(head for head in heads if head.kind is not EntryKind.DELETE)


def winning(state: FileState) -> tuple[Head, ...]:
    """Return the living heads of the lineage that stands on the disk.

    Between lineages (concurrent replaces) the deeper wins, then the greater entry ref: a rule
    that every node applies alone. Nothing of the losing side is erased.
    """
    alive = living(state)
    if len(alive) < 2:  # noqa: PLR2004 - nothing to choose between
        return alive
    best = max(alive, key=lambda head: (head.depth, head.ref))
    return tuple(head for head in alive if head.lineage == best.lineage)


def base_of(state: FileState) -> tuple[EntryRef, ...]:
    """Return the frontier that an edit of the visible content builds on.

    Losing sides of a conflict are left out, so that an ordinary edit never resolves one; deletes
    are in, so that an edit supersedes them.
    """
    if len(state.heads) == 1:
        return (state.heads[0].ref,)
    heads = winning(state)
    if not heads:
        return state.refs()
    lineage = heads[0].lineage
    return tuple(
        head.ref for head in state.heads if head.lineage == lineage or head.kind is EntryKind.DELETE
    )


def lineage_of(state: FileState) -> EntryId:
    """Return the lineage of the visible content (``NO_ENTRY`` if nothing is visible)."""
    heads = winning(state)
    return heads[0].lineage if heads else NO_ENTRY


def content_of(state: FileState) -> tuple[BlobHash, int] | None:
    """Return hash and size of the file's content, or ``None`` if deleted or to be merged yet."""
    heads = winning(state)
    if not heads:
        return None
    if len(heads) == 1 and heads[0].blob is not None:
        return heads[0].blob, heads[0].size
    if len({head.blob for head in heads}) == 1 and heads[0].blob is not None:
        return heads[0].blob, heads[0].size
    refs = tuple(head.ref for head in heads)
    if state.merged is not None and state.merged.heads == refs:
        return state.merged.blob, state.merged.size
    return None


def needs_merge(state: FileState) -> bool:
    """Return whether the content must be computed from several text heads."""
    return bool(winning(state)) and content_of(state) is None


def mode_of(state: FileState) -> FileMode:
    """Return the mode; of concurrent changes the one that differs from the root's wins."""
    if len(state.heads) == 1:
        return state.heads[0].mode
    heads = winning(state) or state.heads
    modes = {head.mode for head in heads}
    if len(modes) == 1:
        return heads[0].mode
    original = state.root(heads[0].lineage).mode
    changed = [head for head in heads if head.mode != original]
    return max(changed, key=lambda head: (head.depth, head.ref)).mode


def head_of(state: FileState) -> FileHead:
    """Return what the file is now, for those who show it, send it or write it."""
    heads = winning(state)
    content = content_of(state)
    alive = living(state)
    rivals = tuple(head for head in alive if heads and head.lineage != heads[0].lineage)
    if content is not None and all(head.blob == content[0] for head in rivals):
        rivals = ()
    return FileHead(
        file=state.file,
        heads=state.refs(),
        blob=content[0] if content else None,
        size=content[1] if content else 0,
        mode=mode_of(state),
        is_text=all(head.is_text for head in heads) if heads else False,
        version=state.saves,
        is_deleted=not alive,
        rivals=tuple(head.ref for head in rivals),
    )


def repeats(state: FileState, other: FileState) -> bool:
    """Return whether ``other`` holds nothing that is not in the history of ``state``.

    So it is with files that several members made alike at one time (each pulled the same commit,
    say), and still is when one of them was edited since.
    """
    if len({head.lineage for head in living(other)}) != 1:
        return False
    content, shown = content_of(other), content_of(state)
    if content is None or shown is None:
        return False  # not merged yet: what is unknown is not the same
    return content == shown or any(root.blob == content[0] for root in state.roots)


def next_depth(state: FileState, parents: tuple[EntryRef, ...]) -> int:
    """Return the depth of an entry on these parents (older parents count by the frontier)."""
    depths = {head.ref: head.depth for head in state.heads}
    deepest = max(depths.values(), default=0)
    return 1 + max((depths.get(parent, deepest) for parent in parents), default=0)


def fingerprint_of(state: FileState, *, is_complete: bool) -> Fingerprint:
    """Return the name of the file's frontier; another one while its content is not held."""
    digest = blake3(state.file)
    for head in state.heads:
        digest.update(head.ref.id)
    if not is_complete:
        digest.update(_INCOMPLETE)
    return Fingerprint(digest.digest(length=FINGERPRINT_BYTES))
