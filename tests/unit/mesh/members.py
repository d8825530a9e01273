"""A node's membership, whose links and peers the test plays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from msgspec.structs import replace

from aiplatform.mesh_ide.identity.batches import seal
from aiplatform.mesh_ide.identity.equivocation import signed_place
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.mesh.membership import MembershipCore
from aiplatform.mesh_ide.mesh.outputs import MembershipOutput, PeerReady, SayTo
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.enums import EntryKind, NodeType
from aiplatform.mesh_ide.model.ids import NO_ENTRY, NodeId, SessionId
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    EquivocationProof,
    Hello,
    SignedPlace,
)
from tests.unit.identity.boards import WORKSPACE, Board, founded, key_of, node_of
from tests.unit.identity.slices import draft

START_MS = 1_000_000_000
Kind = TypeVar("Kind")
Out = Sequence[MembershipOutput]


def session_of(name: str) -> SessionId:
    """Return the id of a node's session."""
    return SessionId(_session_key(name).public)


def _session_key(name: str) -> SigningKey:
    return SigningKey.from_seed(f"session of {name}".encode().ljust(32, b"."))


def certificate_of(name: str) -> SessionCertificate:
    """Return the certificate of a node's session."""
    return certify(node=key_of(name), session=_session_key(name), workspace=WORKSPACE, started_ms=0)


def halves_of(name: str) -> tuple[SignedPlace, SignedPlace]:
    """Return what proves that a node's session signed two entries for one number."""
    places = []
    for word in (b"one", b"two"):
        piece, known = seal(
            [draft(kind=EntryKind.UPDATE, payload=word)],
            key=_session_key(name),
            workspace=WORKSPACE,
            first_sequence=1,
            previous=NO_ENTRY,
            time_ms=0,
        )
        places.append(signed_place(piece, known, 0))
    return places[0], places[1]


def proof_of(name: str) -> EquivocationProof:
    """Return the proof that a node contradicted itself."""
    return EquivocationProof(certificate_of(name), *halves_of(name))


def hello_of(name: str, board: Board | None = None, clock_ms: int = START_MS) -> Hello:
    """Return how a node greets that holds this board's records."""
    return Hello(
        workspace=WORKSPACE,
        node=node_of(name),
        name=name,
        node_type=NodeType.LOCAL,
        certificate=certificate_of(name),
        addresses=(f"{name}:1",),
        roster_digest=b"" if board is None else board.roster.digest,
        clock_ms=clock_ms,
    )


class Node:
    """Membership of node ``f`` (the founder, unless said otherwise) with a loaded roster."""

    def __init__(
        self,
        board: Board,
        me: str = "f",
        addresses: dict[str, tuple[str, ...]] | None = None,
        sponsor: str | None = None,
    ) -> None:
        """Load the board's records and where members were reached."""
        self.board = board
        sponsored = None if sponsor is None else node_of(sponsor)
        self.core = MembershipCore(WORKSPACE, hello_of(me), sponsored)
        known = {node_of(name): found for name, found in (addresses or {}).items()}
        self.loaded = self.core.load([r.encoded for r in board.records], [], known, START_MS)

    def up(self, name: str, address: str = "", now_ms: int = START_MS) -> Out:
        """A link to a node stands."""
        return self.core.on_link_up(node_of(name), address, now_ms)

    def hears(self, name: str, message: AnyMessage, now_ms: int = START_MS) -> Out:
        """A node says something that membership takes."""
        out = self.core.on_message(node_of(name), message, now_ms)
        assert out is not None
        self.core._check_invariants()
        return out

    def greeted(self, name: str, now_ms: int = START_MS) -> Out:
        """Link and greet; returns what the greeting led to."""
        self.up(name, now_ms=now_ms)
        return self.hears(name, replace(hello_of(name, self.board), clock_ms=now_ms), now_ms)

    def down(self, name: str, now_ms: int = START_MS, detail: str = "lost") -> Out:
        """A link ends, or a dial fails."""
        return self.core.on_link_down(node_of(name), detail, now_ms)

    def tick(self, now_ms: int, *busy: str) -> Out:
        """Let time pass."""
        self.core._check_invariants()
        return self.core.tick(frozenset(map(node_of, busy)), now_ms)


def only(out: Out, kind: type[Kind]) -> list[Kind]:
    """Return the outputs of one kind."""
    return [one for one in out if isinstance(one, kind)]


def told(out: Out, kind: type[Kind], name: str | None = None) -> list[Kind]:
    """Return the messages of one kind, to one node or all."""
    return [
        one.message
        for one in only(out, SayTo)
        if isinstance(one.message, kind) and (name is None or one.peer == node_of(name))
    ]


def ready(out: Out) -> list[NodeId]:
    """Return who became ready."""
    return [one.peer for one in only(out, PeerReady)]


def two() -> Board:
    """Return a workspace of ``f`` and ``a``."""
    return founded("a")
