"""One folder and one ledger in memory; tree edits and seals are done at once, the rest is shown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from aiplatform.mesh_ide.documents.authoring import Authoring
from aiplatform.mesh_ide.documents.notices import FilesChanged
from aiplatform.mesh_ide.documents.state import FileState, base_of, content_of, lineage_of
from aiplatform.mesh_ide.model.entries import BatchSlice, KnownEntry
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId, TreeNodeId
from aiplatform.mesh_ide.ports.engine import PlaceNode, TreePlace
from aiplatform.mesh_ide.ports.filetree import FileStat, Observation
from aiplatform.mesh_ide.ports.jobs import (
    DerivedUpdate,
    DeriveOutcome,
    DeriveUpdate,
    DeriveUpdates,
    EditTree,
    EntriesSealed,
    SealEntries,
    TreeEdited,
    UpdatesDerived,
)
from aiplatform.mesh_ide.workspace.core_apply import Applier
from aiplatform.mesh_ide.workspace.core_deletions import Deletions
from aiplatform.mesh_ide.workspace.core_edits import Edits
from aiplatform.mesh_ide.workspace.core_needs import Needs
from aiplatform.mesh_ide.workspace.core_observe import Observer
from aiplatform.mesh_ide.workspace.folder import Folder
from aiplatform.mesh_ide.workspace.records import DiskState, Standing
from tests.unit.documents.authors import PERSON, Author, blob, file

Kind = TypeVar("Kind")
NOW_MS = 1_000_000


def stat(text: str, inode: int = 1, mode: FileMode = FileMode.REGULAR) -> FileStat:
    """Return what a look at a file with this text tells."""
    return FileStat(len(text), 1, inode, mode)


def seen(
    path: str, text: str, inode: int = 1, mode: FileMode = FileMode.REGULAR, *, is_text: bool = True
) -> Observation:
    """Return what was found at a path."""
    return Observation(path, stat(text, inode, mode), blob(text), is_text=is_text)


def only(out: Sequence[object], kind: type[Kind]) -> list[Kind]:
    """Return the commands of one kind."""
    return [one for one in out if isinstance(one, kind)]


class Bench:
    """The parts of the workspace over one ledger.

    ``peer`` is another session whose entries arrive by ``arrive``; ``sealed`` are the entries
    that this node wrote.
    """

    def __init__(self, needs_type: type[Needs] = Needs) -> None:
        """Begin with an empty folder and an empty workspace."""
        self.author, self.peer = Author("here"), Author("peer")
        self.ledger = self.author.ledger
        self.authoring = Authoring(self.ledger, PERSON)
        self.folder = Folder()
        self.observer = Observer(
            self.ledger, self.authoring, self.folder, PERSON, self._new_file_id
        )
        self.changes = Edits(self.ledger, self.observer, self.folder, PERSON)
        self.deletions = Deletions(self.ledger, self.observer, self.folder, PERSON)
        self.needs = needs_type(self.ledger, self.folder)
        self.applier = Applier(self.ledger, self.folder, self.needs, self.deletions.is_waiting)
        self.sealed: list[KnownEntry] = []
        self.edits: list[EditTree] = []
        self._places: dict[TreeNodeId, TreePlace] = {}
        self._next_id = 1000
        self._tickets = 0

    def _new_file_id(self) -> FileId:
        self._next_id += 1
        return file(self._next_id)

    # --- what others do ----------------------------------------------------------------------

    def arrive(self, *known: KnownEntry) -> None:
        """Take entries of others in."""
        self.author.hear(*known)

    def share(self, path: str, number: int, text: str = "one", *, is_text: bool = True) -> None:
        """Let the peer have created a file at a path; nothing of it is on the disk yet."""
        self.arrive(*self.peer.say(self.peer.genesis(file(number), text, is_text=is_text)))
        self.place(path, file(number))

    def place(self, path: str, one: FileId) -> None:
        """Give a file its place, folders included."""
        operations = self.ledger.index.plan_create(path, one)
        self.ledger.index.apply(self._edit(EditTree(tuple(operations), 1)))

    def stand(self, path: str, number: int, text: str = "one", *, is_text: bool = True) -> None:
        """Let the peer's file stand on the disk too, as agreed."""
        self.share(path, number, text, is_text=is_text)
        self.agree(path, number)

    def agree(self, path: str, number: int) -> None:
        """Let what the ledger says of a file stand at a path, seen and known."""
        state = self.state(number)
        content = content_of(state)
        assert content is not None
        standing = Standing(
            file(number),
            base_of(state),
            content[0],
            FileMode.REGULAR,
            content[1],
            lineage_of(state),
        )
        known = FileStat(content[1], 1, number, FileMode.REGULAR)
        self.folder.put(path, DiskState(standing, known))

    def move(self, number: int, path: str) -> None:
        """Let the peer have given a file another place."""
        operations = self.ledger.index.plan_move(file(number), path)
        self.ledger.index.apply(self._edit(EditTree(tuple(operations), 1)))

    def hold_content(self, *texts: str) -> None:
        """Have these contents in the archive."""
        self.folder.mark_archived(map(blob, texts))

    # --- what this node does -----------------------------------------------------------------

    def run(self, out: Sequence[object]) -> list[object]:
        """Do tree edits and seals; return what else was asked or told, in order."""
        queue, rest = list(out), []
        while queue:
            one = queue.pop(0)
            if isinstance(one, EditTree):
                self.edits.append(one)
                answer = TreeEdited(b"operations", tuple(self._edit(one)))
                queue.extend(self.authoring.on_tree_edited(answer, NOW_MS))
            elif isinstance(one, SealEntries):
                queue.extend(self._seal(one))
            else:
                rest.append(one)
                if isinstance(one, FilesChanged):
                    for changed, ref in zip(one.files, one.written, strict=True):
                        self.observer.on_written(changed, ref)
                    self.observer.on_sealed(one.tags)
        self.folder.check_invariants()
        return rest

    def _seal(self, job: SealEntries) -> list[object]:
        slices: list[BatchSlice] = []
        known: list[KnownEntry] = []
        for first in range(0, len(job.drafts), 256):
            piece, entries = self.author.sign(job.drafts[first : first + 256])
            slices.append(piece)
            known.extend(entries)
        self.sealed.extend(known)
        self._tickets += 1
        result = EntriesSealed(tuple(slices), tuple(known))
        return list(self.authoring.on_sealed(result, self._tickets, NOW_MS))

    def _edit(self, job: EditTree) -> list[TreePlace]:
        touched: list[TreeNodeId] = []
        for operation in job.operations:
            above = operation.parent
            parent = touched[above] if isinstance(above, int) else above
            if isinstance(operation, PlaceNode):
                node, one = TreeNodeId(f"{len(self._places):05d}"), operation.file
            else:
                node, one = operation.node, self._places[operation.node].file
            self._places[node] = TreePlace(node, parent, operation.name, one)
            touched.append(node)
        return [self._places[node] for node in dict.fromkeys(touched)]

    # --- looking -----------------------------------------------------------------------------

    def state(self, number: int) -> FileState:
        """Return a file's state."""
        return self.author.state(file(number))

    def disk(self, path: str) -> DiskState:
        """Return what is believed of a path at which something stands."""
        state = self.folder.get(path)
        assert state is not None, f"nothing is believed of {path}"
        return state

    def path_of(self, number: int) -> str | None:
        """Return where a file stands in the tree."""
        return self.ledger.index.path_of(file(number))


def entries(bench: Bench) -> list[KnownEntry]:
    """Return what this node wrote of files."""
    return [known for known in bench.sealed if known.entry.file != TREE_FILE]


def edit(bench: Bench, observation: Observation, now_ms: int = NOW_MS) -> list[DeriveUpdate]:
    """Let a known path be seen with another content; returns what is to be derived."""
    state = bench.disk(observation.path)
    bench.run(bench.changes.take_edit(observation, state, now_ms))
    jobs = only(bench.changes.take_derivations(), DeriveUpdates)
    return [item for job in jobs for item in job.items]


def derived(
    bench: Bench,
    item: DeriveUpdate,
    outcome: DeriveOutcome = DeriveOutcome.DERIVED,
    now_ms: int = NOW_MS,
    *,
    is_from_before: bool = False,
) -> None:
    """Answer a derivation."""
    payload = b"operations" if outcome is DeriveOutcome.DERIVED else b""
    answer = DerivedUpdate(item.lineage.file, outcome, payload, is_from_before=is_from_before)
    bench.run(bench.changes.on_derived(UpdatesDerived((item,), (answer,)), now_ms))
