"""Session certificates: kept once, checked, and never more than a stated number."""

from __future__ import annotations

from msgspec.structs import replace

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.mesh.certificates import (
    SESSIONS_OF_STRANGERS_MAX,
    SESSIONS_PER_NODE_MAX,
    CertificateBook,
)
from aiplatform.mesh_ide.mesh.outputs import KeepCertificate, Warned
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.ids import NodeId, SessionId, short
from tests.unit.identity.boards import WORKSPACE, key_of, node_of
from tests.unit.mesh.members import Out, only

MEMBERS = {node_of("a"), node_of("b")}


def book(kind: type[CertificateBook] = CertificateBook) -> CertificateBook:
    """Return a book of a workspace of ``a`` and ``b``."""
    return kind(WORKSPACE, MEMBERS.__contains__, short)


def certificate(node: str, number: int) -> SessionCertificate:
    """Return a true certificate of one of a node's sessions."""
    session = SigningKey.from_seed(number.to_bytes(32, "big"))
    return certify(node=key_of(node), session=session, workspace=WORKSPACE, started_ms=0)


def full_of(
    node: str, count: int, kind: type[CertificateBook] = CertificateBook
) -> CertificateBook:
    """Return a book with so many sessions of a node from earlier runs (nobody checks them)."""
    filled = book(kind)
    filled.restore(
        SessionCertificate(SessionId(b"s" * 24 + n.to_bytes(8, "big")), node_of(node), 0, b"")
        for n in range(count)
    )
    return filled


def kept(out: Out) -> list[NodeId]:
    """Return whose certificates were kept."""
    return [one.certificate.node for one in only(out, KeepCertificate)]


def test_a_member_makes_others_keep_so_many_sessions_and_no_more() -> None:
    """The next one is refused with a warning that says what to do; others are taken as ever."""
    filled = full_of("a", SESSIONS_PER_NODE_MAX - 1)
    assert kept(filled.take([certificate("a", 1)])) == [node_of("a")]
    (warned,) = filled.take([certificate("a", 2), certificate("a", 3)])
    assert isinstance(warned, Warned)
    assert f"has begun {SESSIONS_PER_NODE_MAX} sessions" in warned.text
    assert "fresh key" in warned.text
    assert filled.take([certificate("a", 1)]) == [], "a known one is no new one"
    assert kept(filled.take([certificate("b", 4)])) == [node_of("b")]
    filled._check_invariants()


def test_invented_nodes_fill_no_more_than_their_common_room() -> None:
    """A hostile member has any number of keys: all strangers together have one bound."""
    filled = full_of("x", SESSIONS_OF_STRANGERS_MAX - 2)
    invented = [certificate(f"invented {n}", n) for n in range(5)]
    assert len(kept(filled.take(invented))) == 2
    (warned,) = filled.take(invented[2:])
    assert isinstance(warned, Warned)
    assert "no members" in warned.text
    assert kept(filled.take([certificate("a", 9)])) == [node_of("a")]


def test_room_is_free_again_when_strangers_turn_out_to_be_members() -> None:
    """Their admission was on its way: from then on their sessions count as their own."""
    known = {node_of("a")}
    late = CertificateBook(WORKSPACE, known.__contains__, short)
    late.restore(
        SessionCertificate(SessionId(n.to_bytes(32, "big")), node_of("c"), 0, b"")
        for n in range(SESSIONS_OF_STRANGERS_MAX)
    )
    assert kept(late.take([certificate("c", 1)])) == []
    known.add(node_of("c"))
    assert kept(late.take([certificate("c", 1)])) == [node_of("c")]


def test_a_message_of_forgeries_costs_one_check_and_one_warning() -> None:
    """Nothing after a forged certificate is looked at: no honest node passes one on."""
    checked: list[SessionId] = []

    class Counting(CertificateBook):
        def _objection(self, certificate: SessionCertificate) -> str | None:
            checked.append(certificate.session)
            return super()._objection(certificate)

    forged = [replace(certificate("a", n), node=node_of("b")) for n in range(50)]
    out = book(Counting).take([certificate("b", 99), *forged])
    assert kept(out) == [node_of("b")]
    assert len(only(out, Warned)) == 1
    assert len(checked) == 2


def test_planted_bug_a_book_without_bounds_is_caught() -> None:
    """It keeps what the two bounds refuse."""

    class Boundless(CertificateBook):
        def _objection(self, certificate: SessionCertificate) -> str | None:
            return None

    assert kept(full_of("a", SESSIONS_PER_NODE_MAX, Boundless).take([certificate("a", 1)])) != []
    strangers = full_of("x", SESSIONS_OF_STRANGERS_MAX, Boundless)
    assert kept(strangers.take([certificate("y", 1)])) != []


def test_what_was_kept_counts_after_a_restart() -> None:
    """A node that restarts is not filled anew."""
    filled = full_of("a", SESSIONS_PER_NODE_MAX)
    again = book()
    again.restore(filled.known.values())
    assert kept(again.take([certificate("a", 1)])) == []
    again._check_invariants()
