"""What replication asks to have sent."""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.model.entries import FileVector
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import FileId, NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage, BlobRequest


class SendMessage(Struct, frozen=True):
    """Say this to a peer."""

    peer: NodeId
    channel: Channel
    message: AnyMessage


class SendEntries(Struct, frozen=True):
    """Send from the store what these files have beyond the vectors, then ``Sent``."""

    peer: NodeId
    wanted: tuple[tuple[FileId, FileVector], ...]


class SendBlobs(Struct, frozen=True):
    """Send these contents in chunks; what is not held is answered by ``BlobsMissing``."""

    peer: NodeId
    request: BlobRequest


ReplicationCommand = SendMessage | SendEntries | SendBlobs
