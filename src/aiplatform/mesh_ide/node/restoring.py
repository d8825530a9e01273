"""The tree document from the store, also where some of it rotted or never should have come."""

from __future__ import annotations

from msgspec import Struct, msgpack

from aiplatform.mesh_ide.documents.state import FileState, accept
from aiplatform.mesh_ide.model.entries import KnownEntry
from aiplatform.mesh_ide.model.ids import TREE_FILE
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.ports.engine import TreeEngine, TreePlace
from aiplatform.mesh_ide.ports.errors import BadUpdateError, CorruptRecordError
from aiplatform.mesh_ide.ports.store import RecordKind, Store

_state = msgpack.Decoder(FileState)


class StoredTree(Struct, frozen=True):
    """Where everything stands, as far as the store can say.

    Attributes:
        places: of the tree's nodes.
        files: the file records; the tree's own is cut to what could be read.
        damage: why that is not everything; ``None``: it is.
    """

    places: tuple[TreePlace, ...]
    files: tuple[bytes, ...]
    damage: str | None = None


def load_tree(store: Store, names: TreeEngine) -> StoredTree:
    """Load the tree document.

    Where an entry rotted, what comes before it is a history of its own, parents before children;
    the node then knows less than it did, and peers send the rest again as they would to anybody
    who was away.
    """
    refused = records.refused_entries(store)
    sound: list[KnownEntry] = []
    damage: str | None = None
    try:
        sound.extend(store.entries_of(TREE_FILE))
    except CorruptRecordError as error:
        # ``extend`` keeps what came before the error.
        damage = str(error)
    sound = [known for known in sound if known.ref.id not in refused]
    places = _places(sound, names)
    files = tuple(value for _, value in store.records(RecordKind.FILE))
    if damage is None:
        return StoredTree(places, files)
    state: FileState | None = None
    for known in sound:
        outcome = accept(state, known)
        state = outcome if isinstance(outcome, FileState) else state
    others = tuple(value for value in files if _state.decode(value).file != TREE_FILE)
    cut = () if state is None else (msgpack.encode(state),)
    return StoredTree(places, (*others, *cut), damage)


def _places(known: list[KnownEntry], names: TreeEngine) -> tuple[TreePlace, ...]:
    try:
        return names.load(None, (one.entry.payload for one in known))
    except BadUpdateError:
        # One that should have been refused: import one by one, with every check.
        names.load(None, ())
        for one in known:
            try:
                names.import_payloads((one,))
            except BadUpdateError:
                continue
        return names.load(names.snapshot(), ())
