"""Session certificates: only who holds both keys can make one."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.keys import SigningKey, number, statement
from aiplatform.mesh_ide.identity.sessions import certify, is_certificate
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, WorkspaceId

WORKSPACE = WorkspaceId(b"w" * 32)
NODE = SigningKey.from_seed(b"n" * 32)
SESSION = SigningKey.from_seed(b"s" * 32)
OTHER = SigningKey.from_seed(b"o" * 32)
CERTIFICATE = certify(node=NODE, session=SESSION, workspace=WORKSPACE, started_ms=1_700)


def test_a_certificate_names_node_session_and_start() -> None:
    """What was certified holds, over the wire too, in its workspace only."""
    wire = msgspec.msgpack.encode(CERTIFICATE)
    assert msgspec.msgpack.decode(wire, type=SessionCertificate) == CERTIFICATE
    assert (CERTIFICATE.node, CERTIFICATE.session) == (NODE.public, SESSION.public)
    assert is_certificate(CERTIFICATE, WORKSPACE)
    assert not is_certificate(CERTIFICATE, WorkspaceId(b"v" * 32))


@pytest.mark.parametrize(
    "changes",
    [
        {"node": NodeId(OTHER.public)},
        {"session": SessionId(OTHER.public)},
        {"started_ms": 1_701},
        {"started_ms": 2**63},
        {"signature": CERTIFICATE.signature[:64]},
        {"signature": CERTIFICATE.signature[64:] + CERTIFICATE.signature[:64]},
        {"node": NodeId(b"")},
        {"session": SessionId(b"")},
    ],
)
def test_any_change_is_noticed(changes: dict[str, object]) -> None:
    """Every field is under both signatures."""
    assert not is_certificate(msgspec.structs.replace(CERTIFICATE, **changes), WORKSPACE)


def test_a_node_cannot_claim_a_session_whose_key_it_lacks() -> None:
    """The session must sign back: a thief has only the node's half."""
    parts = (WORKSPACE, NodeId(OTHER.public), SessionId(SESSION.public), number(5))
    by_node = OTHER.sign(statement(b"mesh-ide session by node 1", *parts))
    for by_session in (
        CERTIFICATE.signature[64:],
        OTHER.sign(statement(b"mesh-ide session by itself 1", *parts)),
        bytes(64),
    ):
        stolen = SessionCertificate(
            SessionId(SESSION.public), NodeId(OTHER.public), 5, by_node + by_session
        )
        assert not is_certificate(stolen, WORKSPACE)


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(), st.binary(max_size=140))
def test_garbage_is_no_certificate(
    session: bytes, node: bytes, started_ms: int, signature: bytes
) -> None:
    """Whatever a peer sends, the answer is no, not a crash."""
    garbage = SessionCertificate(SessionId(session), NodeId(node), started_ms, signature)
    assert not is_certificate(garbage, WORKSPACE)
