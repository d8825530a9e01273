"""``TreeEngine`` on a Loro tree: where every folder and file stands.

The tree has no order among siblings (no fractional index). A node's map holds its name (``n``)
and, for a file, the file's id (``f``); moves and renames therefore merge apart from each other.
Cycles are impossible (Kleppmann et al., https://martin.kleppmann.com/papers/move-op.pdf).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from loro import (
    ContainerID,
    Diff,
    DiffEvent,
    ExportMode,
    LoroDoc,
    TreeID,
    ValueOrContainer,
    VersionVector,
)

from aiplatform.mesh_ide.documents.engine.faults import BadEditError, BadEntryError, loro_faults_as
from aiplatform.mesh_ide.documents.engine.operations import TREE_CONTAINER, tree_problem
from aiplatform.mesh_ide.documents.engine.payload import OperationSpan, inspect_payload
from aiplatform.mesh_ide.documents.engine.peers import derive_peer
from aiplatform.mesh_ide.documents.engine.versions import new_document
from aiplatform.mesh_ide.documents.places_plan import name_problem
from aiplatform.mesh_ide.model.entries import PAYLOAD_BYTES_MAX, KnownEntry
from aiplatform.mesh_ide.model.ids import FILE_ID_BYTES, TREE_FILE, FileId, SessionId, TreeNodeId
from aiplatform.mesh_ide.ports.engine import MoveNode, PlaceNode, TreeEdit, TreeOperation, TreePlace
from aiplatform.mesh_ide.ports.errors import BadUpdateError

_NAME: Final = "n"
_FILE: Final = "f"

SINCE_SAVED_BYTES_MAX: Final = 4 * 1024 * 1024
SINCE_SAVED_MAX: Final = 4096
"""Payloads remembered beside the last snapshot (10,000 files: 0.8 MB, 30 ms to write)."""


class LoroTreeEngine:
    """The tree document. One lane calls it.

    Nobody deletes nodes: a file's end is in its own history, and a folder is its files. An
    update that deletes is refused by what it says, not by its effect, so that every node
    refuses it whatever else arrived first.

    A call that raises leaves the tree as it was. An edit whose payload is then not kept must be
    followed by ``load`` (a restart does so): later edits would build on it.
    """

    def __init__(self) -> None:
        self._saved: bytes | None = None
        self._since_saved: list[bytes] = []
        self._since_saved_bytes = 0
        self._begin(new_document())

    def _begin(self, doc: LoroDoc) -> None:
        self._doc = doc
        self._tree = doc.get_tree(TREE_CONTAINER)
        self._tree.disable_fractional_index()

    def load(self, snapshot: bytes | None, payloads: Iterable[bytes]) -> tuple[TreePlace, ...]:
        """Begin from a snapshot and later payloads, both verified before they were stored.

        Empty payloads (edits that changed nothing) are passed over.

        Raises:
            BadUpdateError: what was stored is damaged or incomplete; the tree is as it was.
        """
        later = [payload for payload in payloads if payload]
        doc = _loaded(snapshot, later)
        self._begin(doc)
        self._saved, self._since_saved = snapshot, []
        self._since_saved_bytes = 0
        self._remember(later)
        return self._places()

    def _remember(self, payloads: Iterable[bytes]) -> None:
        """Note what the document holds now, so that ``_restore`` can go back to it."""
        for payload in payloads:
            self._since_saved.append(payload)
            self._since_saved_bytes += len(payload)
        if (
            self._since_saved_bytes > SINCE_SAVED_BYTES_MAX
            or len(self._since_saved) > SINCE_SAVED_MAX
        ):
            self._saved, self._since_saved = self.snapshot(), []
            self._since_saved_bytes = 0

    def _restore(self) -> None:
        """Build the document again: one in which Loro panicked answers nothing any more."""
        self._begin(_loaded(self._saved, self._since_saved))

    def edit(
        self, operations: Sequence[TreeOperation], session: SessionId, branch: int
    ) -> TreeEdit:
        """Apply operations as this session; return what to sign and where the nodes now stand.

        Operations that change nothing give an empty payload.

        Raises:
            BadEditError: an invalid name, an unknown node, a folder moved into itself, or more
                than fits one payload. Nothing was changed.
        """
        doc = self._doc
        here, atoms = doc.oplog_vv, doc.len_ops
        doc.peer_id = derive_peer(session, TREE_FILE, branch)
        touched: list[TreeID] = []
        places: dict[TreeNodeId, TreePlace] = {}
        try:
            with loro_faults_as(BadEditError("the tree cannot take this edit; read it again")):
                for operation in operations:
                    node, place = self._apply(operation, touched)
                    touched.append(node)
                    places[place.node] = place
                doc.commit()
            is_same = doc.len_ops == atoms
            payload = b"" if is_same else doc.export(ExportMode.Updates(here))
            _check_size(payload, operations)
        except BaseException:
            self._restore()
            raise
        if payload:
            self._remember([payload])
        return TreeEdit(payload, tuple(places.values()))

    def import_payloads(self, known: Sequence[KnownEntry]) -> tuple[TreePlace, ...]:
        """Merge remote payloads, parents before children; return the places that changed.

        Updates that at least double the tree return every place, changed or not.
        Idempotent: operations that are there already are passed over. All or nothing.

        Raises:
            BadEntryError: somebody else's operations, a malformed payload, a deletion, or
                operations that build on what is not there. The tree is as it was.
        """
        doc = self._doc
        updates = [(one, _inspected(one)) for one in known if one.entry.payload]
        is_bulk = sum(span.end - span.start for _, span in updates) >= doc.len_ops
        events: list[DiffEvent] = []
        # Only while importing, and not for a first synchronisation: events double the cost.
        subscription = None if is_bulk else doc.subscribe_root(events.append)
        try:
            with loro_faults_as(BadUpdateError("an update broke the tree; distrust its author")):
                for one, span in updates:
                    self._import(one, span)
                if subscription is None:
                    places = self._places()
                else:
                    subscription.unsubscribe()
                    places = tuple(self._place(node) for node in self._changed_by(events))
        except BaseException:
            self._restore()
            raise
        self._remember(one.entry.payload for one, _ in updates)
        return places

    def snapshot(self) -> bytes:
        """Return the whole tree, with its history, for a quick start."""
        return self._doc.export(ExportMode.Snapshot())

    # --- editing -----------------------------------------------------------------------------

    def _apply(self, operation: TreeOperation, made: Sequence[TreeID]) -> tuple[TreeID, TreePlace]:
        problem = name_problem(operation.name)
        if problem is not None:
            raise BadEditError(f"the name {operation.name!r} {problem}; choose another")
        parent = self._resolve(operation.parent, made)
        above = None if parent is None else _written(parent)
        if isinstance(operation, PlaceNode):
            node = self._tree.create(parent)
            values = self._tree.get_meta(node)
            values.insert(_NAME, operation.name)
            if operation.file is not None:
                values.insert(_FILE, operation.file)
            return node, TreePlace(_written(node), above, operation.name, operation.file)
        node = self._node(operation.node)
        standing = self._place(node)
        self._move(operation, node, parent, standing)
        return node, TreePlace(operation.node, above, operation.name, standing.file)

    def _move(
        self, operation: MoveNode, node: TreeID, parent: TreeID | None, standing: TreePlace
    ) -> None:
        if standing.parent != (None if parent is None else _written(parent)):
            ancestor = parent
            while ancestor is not None:
                if _written(ancestor) == operation.node:
                    raise BadEditError(
                        f"the folder {standing.name!r} cannot move into itself; choose another"
                    )
                ancestor = self._tree.parent(ancestor)
            self._tree.mov(node, parent)
        if standing.name != operation.name:
            self._tree.get_meta(node).insert(_NAME, operation.name)

    def _resolve(self, parent: TreeNodeId | int | None, made: Sequence[TreeID]) -> TreeID | None:
        if parent is None:
            return None
        if isinstance(parent, int):
            if not 0 <= parent < len(made):
                raise BadEditError(f"operation {parent} is not an earlier one of this edit")
            return made[parent]
        return self._node(parent)

    def _node(self, written: TreeNodeId) -> TreeID:
        counter, at, peer = written.partition("@")
        if at and counter.isdecimal() and peer.isdecimal():
            node = TreeID(int(peer) % 2**64, int(counter) % 2**31)
            if _written(node) == written and self._tree.contains(node):
                return node
        raise BadEditError(f"the tree has no node {written!r}; read the places again")

    # --- importing ---------------------------------------------------------------------------

    def _import(self, known: KnownEntry, span: OperationSpan) -> None:
        doc, ref = self._doc, known.ref
        last = doc.oplog_vv.get_last(span.peer)
        held = 0 if last is None else last + 1
        if span.end <= held:
            return
        if span.start != held:
            raise BadEntryError(ref, "does not continue what its author wrote before")
        with loro_faults_as(BadEntryError(ref, "cannot be imported")):
            status = doc.import_(known.entry.payload)
            if status.pending is not None and not status.pending.is_empty:
                raise BadEntryError(ref, "needs operations that are not there")
            if _end_of(doc.oplog_vv, span) != span.end:
                raise BadEntryError(ref, "holds other operations than it says")
            problem = tree_problem(doc, span)
        if problem is not None:
            raise BadEntryError(ref, problem)

    def _changed_by(self, events: Sequence[DiffEvent]) -> list[TreeID]:
        """Return the nodes that events name, each once, in order."""
        changed: dict[tuple[int, int], TreeID] = {}
        for event in events:
            for item in event.events:
                if isinstance(item.diff, Diff.Tree):
                    for step in item.diff.diff.diff:
                        node = step.target
                        changed[node.peer, node.counter] = node
                elif isinstance(item.diff, Diff.Map) and isinstance(
                    item.target, ContainerID.Normal
                ):
                    # A node's map has the node's own id.
                    peer, counter = item.target.peer, item.target.counter
                    changed.setdefault((peer, counter), TreeID(peer, counter))
        return [node for node in changed.values() if self._tree.contains(node)]

    # --- reading -----------------------------------------------------------------------------

    def _places(self) -> tuple[TreePlace, ...]:
        return tuple(self._place(node.id) for node in self._tree.get_nodes(with_deleted=False))

    def _place(self, node: TreeID) -> TreePlace:
        parent = self._tree.parent(node)
        values = self._tree.get_meta(node)
        name, file = _plain(values.get(_NAME)), _plain(values.get(_FILE))
        is_file = isinstance(file, bytes) and len(file) == FILE_ID_BYTES
        return TreePlace(
            node=_written(node),
            parent=None if parent is None else _written(parent),
            name=name if isinstance(name, str) else "",
            file=FileId(file) if isinstance(file, bytes) and is_file else None,
        )


def _loaded(snapshot: bytes | None, payloads: Sequence[bytes]) -> LoroDoc:
    """Return a document that holds these and whose places can be read."""
    damaged = BadUpdateError(
        "the stored tree cannot be loaded; load it from its entries, or fetch them again"
    )
    doc = new_document()
    parts = payloads if snapshot is None else [snapshot, *payloads]
    with loro_faults_as(damaged):
        status = doc.import_batch(parts) if parts else None
        doc.get_tree(TREE_CONTAINER).get_nodes(with_deleted=False)
    if status is not None and status.pending is not None and not status.pending.is_empty:
        raise damaged
    return doc


def _inspected(known: KnownEntry) -> OperationSpan:
    if known.entry.file != TREE_FILE:
        raise BadEntryError(known.ref, "is not an update of the tree")
    return inspect_payload(known)


def _check_size(payload: bytes, operations: Sequence[TreeOperation]) -> None:
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise BadEditError(f"{len(operations)} changes of names at once; send them in parts")


def _written(node: TreeID) -> TreeNodeId:
    """Return a node's id as Loro writes it."""
    return TreeNodeId(f"{node.counter}@{node.peer}")


def _plain(value: ValueOrContainer | None) -> object:
    return value.value if isinstance(value, ValueOrContainer.Value) else None


def _end_of(vector: VersionVector, span: OperationSpan) -> int:
    last = vector.get_last(span.peer)
    return 0 if last is None else last + 1
