"""What nodes say to each other: one frame is one message, MessagePack, tagged.

``encode`` and ``decode`` live in ``mesh.codec``, which also enforces the bounds. Fields are
added at the end with defaults; unknown trailing fields are ignored by older nodes.
"""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.model.entries import (
    BatchHeader,
    BatchSlice,
    FileVector,
    SessionCertificate,
)
from aiplatform.mesh_ide.model.enums import NodeType
from aiplatform.mesh_ide.model.ids import (
    BlobHash,
    EntryId,
    FileId,
    Fingerprint,
    NodeId,
    WorkspaceId,
)


class Message(Struct, frozen=True, array_like=True, tag_field="kind"):
    """Anything that fits a frame."""


class Hello(Message, frozen=True, tag=1):
    """First message on a link, both ways. ``clock_ms`` shows a clock that is years off.

    ``location`` and ``capabilities`` are announced by nodes that know them. ``sealing`` is the key
    to which frames for this session are sealed, signed by the node (``identity.sealing``); empty
    from a node that takes no sealed frames.
    """

    workspace: WorkspaceId
    node: NodeId
    name: str
    node_type: NodeType
    certificate: SessionCertificate
    addresses: tuple[str, ...]
    roster_digest: bytes
    clock_ms: int
    location: str = ""
    capabilities: tuple[str, ...] = ()
    sealing: bytes = b""


class RosterExchange(Message, frozen=True, tag=2):
    """Signed roster records the receiver may lack, encoded; sent when digests differ."""

    records: tuple[bytes, ...]


class Certificates(Message, frozen=True, tag=3):
    """Session certificates of sessions whose entries follow."""

    certificates: tuple[SessionCertificate, ...]


class Ping(Message, frozen=True, tag=4):
    """Heartbeat. ``load`` is reserved for measured load."""

    nonce: int
    sent_ms: int
    load: float = -1.0


class Pong(Message, frozen=True, tag=5):
    """Answer to the ping of the same nonce."""

    nonce: int
    sent_ms: int


class RangeSummary(Struct, frozen=True, array_like=True):
    """The heads with ``low <= file id < high`` (``high`` empty: no end) in one fingerprint."""

    low: bytes
    high: bytes
    count: int
    fingerprint: bytes


class RangeItems(Struct, frozen=True, array_like=True):
    """All heads within a small range: file ids and fingerprints, ascending."""

    low: bytes
    high: bytes
    items: tuple[tuple[FileId, Fingerprint], ...]


class Reconcile(Message, frozen=True, tag=6):
    """One step of range-based set reconciliation over (file id, fingerprint).

    ``answered`` are ranges whose items the sender has compared already and now shows in return.
    """

    session: int
    summaries: tuple[RangeSummary, ...] = ()
    asked: tuple[RangeItems, ...] = ()
    answered: tuple[RangeItems, ...] = ()


class Vectors(Message, frozen=True, tag=7):
    """What the sender holds of these files. ``is_request``: send me what I lack of them."""

    vectors: tuple[tuple[FileId, FileVector], ...]
    is_request: bool


class Entries(Message, frozen=True, tag=8):
    """Signed entries, parents before children."""

    slices: tuple[BatchSlice, ...]


class Stored(Message, frozen=True, tag=9):
    """The sender has these heads, entries and content, on its disk. Acknowledges and announces.

    ``vectors``: what the sender holds of those that it changed without being allowed to edit.
    Nobody takes such changes, so these fingerprints will never be the receiver's; a vector that
    covers the receiver's own says that all of that is on the sender's disk too.
    """

    heads: tuple[tuple[FileId, Fingerprint], ...]
    vectors: tuple[tuple[FileId, FileVector], ...] = ()


class BlobRequest(Message, frozen=True, tag=10):
    """Send these blobs: hash, size (as the entry says), first chunk wanted (to resume)."""

    blobs: tuple[tuple[BlobHash, int, int], ...]


class BlobPart(Struct, frozen=True, array_like=True):
    """One chunk of a blob; ``size`` is the whole blob's."""

    blob: BlobHash
    size: int
    index: int
    content: bytes


class Blobs(Message, frozen=True, tag=11):
    """Chunks, many small ones or one large, about 1 MiB together."""

    parts: tuple[BlobPart, ...]


class BlobsMissing(Message, frozen=True, tag=12):
    """The sender was asked for these and does not have them now."""

    blobs: tuple[BlobHash, ...]


class Goodbye(Message, frozen=True, tag=13):
    """The sender leaves on purpose."""

    reason: str


class Sent(Message, frozen=True, tag=14):
    """Everything that ``Vectors`` asked for has been sent before this, on the same channel."""

    requests: int


class Whereabouts(Struct, frozen=True, array_like=True):
    """Under which addresses a member was reached: a hint, since a dial proves the key.

    ``sealing`` is the member's own word (``Hello.sealing``), passed on: two nodes that can reach
    each other only through a third seal to each other by it. The node's signature is in it.
    """

    node: NodeId
    addresses: tuple[str, ...]
    sealing: bytes = b""


class Acquaintances(Message, frozen=True, tag=15):
    """Where the sender reaches other members: how nodes that share one peer find each other."""

    members: tuple[Whereabouts, ...]


class SignedPlace(Struct, frozen=True, array_like=True):
    """That a session signed this entry for this place: header, index within it, id, its proof."""

    header: BatchHeader
    index: int
    id: EntryId
    proof: tuple[bytes, ...]


class EquivocationProof(Struct, frozen=True, array_like=True):
    """That a member's session signed two different entries for one sequence number.

    It convinces anybody without the entries themselves, so its size does not depend on them.
    """

    certificate: SessionCertificate
    first: SignedPlace
    second: SignedPlace


class Equivocations(Message, frozen=True, tag=16):
    """Who contradicted itself: each receiver checks the proof, acts on it and passes it on."""

    proofs: tuple[EquivocationProof, ...]


AnyMessage = (
    Hello
    | RosterExchange
    | Certificates
    | Ping
    | Pong
    | Reconcile
    | Vectors
    | Entries
    | Stored
    | BlobRequest
    | Blobs
    | BlobsMissing
    | Goodbye
    | Sent
    | Acquaintances
    | Equivocations
)
