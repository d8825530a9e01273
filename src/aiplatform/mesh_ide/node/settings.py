"""What a node is, as it was set up: kept in its store, read before it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.identity.records import KnownRecord
from aiplatform.mesh_ide.model.enums import NodeType
from aiplatform.mesh_ide.model.errors import LocalError
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId
from aiplatform.mesh_ide.ports.store import PutRecord, RecordKind, Store
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore

_SETTINGS: Final = b"settings"
NODE_KEY: Final = "node.key"
WORKSPACE_KEY: Final = "workspace.key"
_STORE: Final = "store"


class NotANodeError(LocalError):
    """The state directory holds no node."""


class NodeSettings(Struct, frozen=True, array_like=True):
    """What a node is, as it was set up.

    Attributes:
        workspace: which it belongs to.
        workspace_name: for people.
        node_name: what people call this node.
        node_type: as declared.
        folder: the working folder, absolute; empty for a headless node.
        person: in whose name its entries are written.
        issuer: who admitted it (empty for the founder).
    """

    workspace: WorkspaceId
    workspace_name: str
    node_name: str
    node_type: NodeType
    folder: str
    person: str
    issuer: NodeId = NodeId(b"")


_settings = msgspec.msgpack.Decoder(NodeSettings)


def open_store(state: Path) -> SqliteStore:
    """Open the store of a state directory."""
    return SqliteStore.open(state / _STORE)


def keep_settings(store: Store, settings: NodeSettings, roster: tuple[KnownRecord, ...]) -> None:
    """Store what a node is and the roster it begins with."""
    store.commit(
        [
            PutRecord(RecordKind.NODE, _SETTINGS, msgspec.msgpack.encode(settings)),
            *(PutRecord(RecordKind.ROSTER, known.id, known.encoded) for known in roster),
        ]
    )


def settings_of(store: Store, state: Path) -> NodeSettings:
    """Return what was stored."""
    value = store.record(RecordKind.NODE, _SETTINGS)
    if value is None:
        message = f"{state} holds no node that was set up: run `mesh init` or `mesh join` again"
        raise NotANodeError(message)
    return _settings.decode(value)


def read_settings(state: Path) -> NodeSettings:
    """Return what the node in a state directory is (the node must not be running)."""
    store = open_store(state)
    try:
        return settings_of(store, state)
    finally:
        store.close()


def move_folder(state: Path, folder: Path) -> None:
    """Take note that a node's working folder stands elsewhere now (it must not be running)."""
    store = open_store(state)
    try:
        settings = msgspec.structs.replace(settings_of(store, state), folder=str(folder))
        keep_settings(store, settings, ())
    finally:
        store.close()
