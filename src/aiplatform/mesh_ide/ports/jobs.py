"""Work that a core asks for: whatever touches content, disk or keys, and what came of it.

A core emits a job; the driver runs it on the lane named below and feeds the result back as an
event. The same functions (``node.jobs``) run in the simulator, in line. Jobs of one lane run one
after another, in the order they were asked for, and their results come back in that order.

========== ============================================== ==================================
lane       jobs                                           results
========== ============================================== ==================================
FOLDER     ScanFolder, ObservePaths, ApplyWrites          FolderScanned, PathsObserved, ...
DOCUMENTS  DeriveUpdates, Materialise, EditTree,          UpdatesDerived, Materialised, ...
           ImportTree, SpliceText
SEALING    SealEntries, VerifySlices                      EntriesSealed, SlicesVerified
STORE      Persist, ArchiveBlobs                          Persisted, BlobsArchived
TRANSFER   ReceiveParts                                   PartsReceived
========== ============================================== ==================================
"""

from __future__ import annotations

from enum import Enum

from msgspec import Struct

from aiplatform.mesh_ide.model.entries import (
    BatchSlice,
    EntryDraft,
    EntryRef,
    KnownEntry,
)
from aiplatform.mesh_ide.model.ids import BlobHash, FileId, NodeId
from aiplatform.mesh_ide.model.messages import BlobPart, SignedPlace
from aiplatform.mesh_ide.ports.engine import Splice, TreeOperation, TreePlace
from aiplatform.mesh_ide.ports.filetree import FileStat, FileWrite, ScanBatch, WriteResult
from aiplatform.mesh_ide.ports.store import Write


class Lane(Enum):
    """Where a job runs; each lane is one worker."""

    FOLDER = "folder"
    DOCUMENTS = "documents"
    SEALING = "sealing"
    STORE = "store"
    TRANSFER = "transfer"


class BlobSource(Struct, frozen=True, array_like=True):
    """A blob, and a path in the folder that is believed to hold it (a hint)."""

    blob: BlobHash
    path: str | None = None


class TextLineage(Struct, frozen=True):
    """What a job needs to rebuild a text: the root entry and where its content is."""

    file: FileId
    root: EntryRef
    content: BlobSource
    pending: tuple[KnownEntry, ...] = ()
    """Entries of the file that are on their way to the store and may not be in it yet."""


class ScanFolder(Struct, frozen=True):
    """Look at everything. Answered by one or more ``FolderScanned``."""

    known: dict[str, FileStat]


class FolderScanned(Struct, frozen=True):
    """A part of the scan; ``problem`` says why it ended early."""

    batch: ScanBatch
    is_last: bool
    problem: str | None = None


class ObservePaths(Struct, frozen=True):
    """Look at these paths again. Answered by one or more ``PathsObserved``."""

    paths: tuple[str, ...]
    known: dict[str, FileStat]


class PathsObserved(Struct, frozen=True):
    """A part of what was found; what is gone comes in the first part, so renames are seen."""

    batch: ScanBatch
    is_last: bool = True
    problem: str | None = None


class PlannedWrite(Struct, frozen=True):
    """A write with where its content may be, and whether the old content must be kept first."""

    write: FileWrite
    source: BlobSource | None
    archive_first: bool


class ApplyWrites(Struct, frozen=True):
    """Change the folder."""

    writes: tuple[PlannedWrite, ...]


class WritesApplied(Struct, frozen=True):
    """What became of each write, in order; ``archived`` are old contents now in the archive."""

    writes: tuple[PlannedWrite, ...]
    results: tuple[WriteResult, ...]
    archived: tuple[BlobHash, ...]


class DeriveUpdate(Struct, frozen=True):
    """Find the operations from the text at ``base`` to the new content."""

    lineage: TextLineage
    base: tuple[EntryRef, ...]
    content: BlobSource
    branch: int
    base_before: tuple[EntryRef, ...] = ()
    """Where it is unsure what the writer last saw: the state before our own last write. The job
    takes the base that explains the new content with fewer characters changed."""
    branch_before: int = 0
    lineage_before: TextLineage | None = None
    """Where ``base_before`` belongs to another lineage (our last write brought a rewrite)."""

    is_before_open: bool = False
    """``base_before`` is a side of a conflict still, or another file's: what is built on it takes
    away what the writer need not have seen."""


class DeriveOutcome(Enum):
    """How a derivation ended."""

    DERIVED = "derived"
    TOO_DIFFERENT = "too-different"
    BASE_MISSING = "base-missing"
    CONTENT_MISSING = "content-missing"
    """The new content is gone already: look at the path again."""


class DerivedUpdate(Struct, frozen=True):
    """The answer for one file."""

    file: FileId
    outcome: DeriveOutcome
    payload: bytes = b""
    is_from_before: bool = False
    """``base_before`` was taken."""


class DeriveUpdates(Struct, frozen=True):
    """A batch of derivations."""

    items: tuple[DeriveUpdate, ...]


class UpdatesDerived(Struct, frozen=True):
    """Answers in the order of the items."""

    items: tuple[DeriveUpdate, ...]
    results: tuple[DerivedUpdate, ...]


class SpliceText(Struct, frozen=True):
    """An edit that was told us exactly (an editor's keystrokes)."""

    lineage: TextLineage
    base: tuple[EntryRef, ...]
    splices: tuple[Splice, ...]
    branch: int


class TextSpliced(Struct, frozen=True):
    """The operations to sign and the content they result in (kept in the content cache)."""

    file: FileId
    base: tuple[EntryRef, ...]
    branch: int
    payload: bytes
    blob: BlobHash | None
    size: int
    problem: str | None = None


class TextAt(Struct, frozen=True):
    """A text at a frontier."""

    lineage: TextLineage
    heads: tuple[EntryRef, ...]


class Materialise(Struct, frozen=True):
    """Compute the content of texts at frontiers."""

    items: tuple[TextAt, ...]


class MaterialisedText(Struct, frozen=True):
    """A merged content, kept in the content cache; ``blob=None``: the root's text is missing.

    ``problem`` says which entry could not be imported.
    """

    file: FileId
    heads: tuple[EntryRef, ...]
    blob: BlobHash | None
    size: int
    problem: str | None = None


class Materialised(Struct, frozen=True):
    """Answers in the order of the items."""

    texts: tuple[MaterialisedText, ...]


class EditTree(Struct, frozen=True):
    """Apply operations to the tree as this session."""

    operations: tuple[TreeOperation, ...]
    branch: int


class TreeEdited(Struct, frozen=True):
    """What to sign, and where the nodes stand now; ``problem``: the tree does not take this."""

    payload: bytes
    places: tuple[TreePlace, ...]
    problem: str | None = None


class ImportTree(Struct, frozen=True):
    """Merge checked remote tree entries."""

    known: tuple[KnownEntry, ...]


class TreeImported(Struct, frozen=True):
    """Places of nodes that changed; ``problem`` if payloads were refused: those of ``refused``."""

    places: tuple[TreePlace, ...]
    problem: str | None = None
    refused: tuple[EntryRef, ...] = ()


class SealEntries(Struct, frozen=True):
    """Sign drafts as this session, in order; numbering continues where the last seal ended."""

    drafts: tuple[EntryDraft, ...]
    time_ms: int


class EntriesSealed(Struct, frozen=True):
    """Signed batches; ``known`` has one entry per draft, in order."""

    slices: tuple[BatchSlice, ...]
    known: tuple[KnownEntry, ...]


class VerifySlices(Struct, frozen=True):
    """Check what a peer sent, before anything else looks at it."""

    peer: NodeId
    slices: tuple[BatchSlice, ...]


class SliceFault(Struct, frozen=True):
    """A slice that was refused and why.

    ``proof`` holds, for an equivocation, that the session signed both contradicting entries.
    """

    slice: BatchSlice
    reason: str
    proof: tuple[SignedPlace, SignedPlace] | None = None


class SlicesVerified(Struct, frozen=True):
    """The good slices with their entries, and the bad ones."""

    peer: NodeId
    good: tuple[tuple[BatchSlice, tuple[KnownEntry, ...]], ...]
    faults: tuple[SliceFault, ...]


class Persist(Struct, frozen=True):
    """Make these writes durable in one transaction; ``ticket`` comes back with the answer."""

    ticket: int
    writes: tuple[Write, ...]


class Persisted(Struct, frozen=True):
    """Durable now, except ``refused`` (equivocation). ``problem``: nothing was stored."""

    ticket: int
    refused: tuple[EntryRef, ...] = ()
    problem: str | None = None


class ArchiveBlobs(Struct, frozen=True):
    """Copy contents into the archive."""

    sources: tuple[BlobSource, ...]


class BlobsArchived(Struct, frozen=True):
    """What is in the archive now, and what could not be read any more."""

    archived: tuple[BlobHash, ...]
    missing: tuple[BlobHash, ...]
    problem: str | None = None


class ReceiveParts(Struct, frozen=True):
    """Check and keep chunks of blobs that a peer sent."""

    peer: NodeId
    parts: tuple[BlobPart, ...]


class PartsReceived(Struct, frozen=True):
    """Blobs that are complete and verified now, and those whose bytes were not the blob."""

    peer: NodeId
    complete: tuple[BlobHash, ...]
    corrupt: tuple[BlobHash, ...]
    problem: str | None = None
    partial: tuple[tuple[BlobHash, int], ...] = ()
    """Large blobs under way, each with the first chunk that is not kept yet."""


Job = (
    ScanFolder
    | ObservePaths
    | ApplyWrites
    | DeriveUpdates
    | SpliceText
    | Materialise
    | EditTree
    | ImportTree
    | SealEntries
    | VerifySlices
    | Persist
    | ArchiveBlobs
    | ReceiveParts
)

JobResult = (
    FolderScanned
    | PathsObserved
    | WritesApplied
    | UpdatesDerived
    | TextSpliced
    | Materialised
    | TreeEdited
    | TreeImported
    | EntriesSealed
    | SlicesVerified
    | Persisted
    | BlobsArchived
    | PartsReceived
)

LANE_OF: dict[type[Job], Lane] = {
    ScanFolder: Lane.FOLDER,
    ObservePaths: Lane.FOLDER,
    ApplyWrites: Lane.FOLDER,
    DeriveUpdates: Lane.DOCUMENTS,
    SpliceText: Lane.DOCUMENTS,
    Materialise: Lane.DOCUMENTS,
    EditTree: Lane.DOCUMENTS,
    ImportTree: Lane.DOCUMENTS,
    SealEntries: Lane.SEALING,
    VerifySlices: Lane.SEALING,
    Persist: Lane.STORE,
    ArchiveBlobs: Lane.STORE,
    ReceiveParts: Lane.TRANSFER,
}
