"""What membership asks for and tells."""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.identity.records import KnownRecord
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import AnyMessage, EquivocationProof


class SayTo(Struct, frozen=True):
    """Say this to a linked node."""

    peer: NodeId
    channel: Channel
    message: AnyMessage


class Dial(Struct, frozen=True):
    """Try to make a link."""

    peer: NodeId
    addresses: tuple[str, ...]


class AllowPeers(Struct, frozen=True):
    """From now on accept links from these keys alone."""

    peers: frozenset[NodeId]


class Disconnect(Struct, frozen=True):
    """End a link."""

    peer: NodeId
    detail: str


class KeepCertificate(Struct, frozen=True):
    """Remember a session's certificate."""

    certificate: SessionCertificate


class KeepRoster(Struct, frozen=True):
    """Remember these records and forget those."""

    keep: tuple[KnownRecord, ...]
    erase: tuple[bytes, ...]


class KeepAddresses(Struct, frozen=True):
    """Remember where a member was reached."""

    peer: NodeId
    addresses: tuple[str, ...]


class KeepEquivocation(Struct, frozen=True):
    """Remember the proof that a member contradicted itself."""

    proof: EquivocationProof


class PeerReady(Struct, frozen=True):
    """A member is linked and greeted."""

    peer: NodeId


class PeerGone(Struct, frozen=True):
    """A member that was ready is not linked any more."""

    peer: NodeId
    detail: str


class RosterChanged(Struct, frozen=True):
    """The roster was evaluated again; ``roles``: who has another role than before, or is new."""

    roles: frozenset[NodeId]


class Warned(Struct, frozen=True):
    """Something a person should know."""

    text: str


MembershipOutput = (
    SayTo
    | Dial
    | AllowPeers
    | Disconnect
    | KeepCertificate
    | KeepRoster
    | KeepAddresses
    | KeepEquivocation
    | PeerReady
    | PeerGone
    | RosterChanged
    | Warned
)
