"""What a node starts from."""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.model.entries import Principal, SessionCertificate
from aiplatform.mesh_ide.model.ids import (
    BlobHash,
    NodeId,
    WorkspaceId,
)
from aiplatform.mesh_ide.model.messages import EquivocationProof, Hello
from aiplatform.mesh_ide.ports.engine import TreePlace


class Boot(Struct, frozen=True):
    """What a node starts from. ``seed`` makes its file ids; never used twice."""

    workspace: WorkspaceId
    hello: Hello
    principal: Principal
    seed: bytes
    has_folder: bool
    is_joining: bool
    roster: tuple[bytes, ...]
    certificates: tuple[SessionCertificate, ...]
    addresses: dict[NodeId, tuple[str, ...]]
    files: tuple[bytes, ...]
    disk: tuple[tuple[bytes, bytes], ...]
    holds: tuple[bytes, ...]
    archived: tuple[BlobHash, ...]
    places: tuple[TreePlace, ...] = ()
    equivocations: tuple[EquivocationProof, ...] = ()
    """Who contradicted itself, with the proofs that are kept."""
    damage: str | None = None
    """Why the stored tree is not whole: the folder is looked at once a peer has sent the rest."""
    sponsor: NodeId | None = None
    """Who admitted this node: trusted for the rest of the roster if it did not fit the answer."""
