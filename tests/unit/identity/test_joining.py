"""Joining: once, in time, with the secret, and idempotent for who lost the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.joining import (
    Admission,
    BadJoinError,
    JoinAccepted,
    JoinDecision,
    JoinRefused,
    JoinRequest,
    Refusal,
    RefusalReason,
    Repetition,
    accept,
    decode_answer,
    decode_request,
    encode_request,
    records_of,
    redeem,
    refuse,
    request_to_join,
)
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.membership import Newcomer, admit, found, newcomer, remove
from aiplatform.mesh_ide.identity.records import KnownRecord, RecordKind
from aiplatform.mesh_ide.identity.roster import Roster, evaluate
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.identity.tickets import StoredTicket, issue
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId
from aiplatform.mesh_ide.ports.transport import JOIN_FRAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = SigningKey.from_seed(b"0" * 32)
ISSUER = SigningKey.from_seed(b"i" * 32)
USER = SigningKey.from_seed(b"u" * 32)
WORKSPACE = WorkspaceId(ROOT.public)
ISSUER_NODE = NodeId(ISSUER.public)


def asks(name: str) -> Newcomer:
    """A node that asks to belong."""
    key = SigningKey.from_seed(name.encode().ljust(32, b"."))
    return newcomer(
        node=NodeId(key.public),
        user=USER,
        workspace=WORKSPACE,
        name=name,
        node_type=NodeType.EDGE,
    )


FOUNDER = msgspec.structs.replace(
    asks("founder"),
    node=ISSUER_NODE,
    vouch=newcomer(
        node=ISSUER_NODE, user=USER, workspace=WORKSPACE, name="x", node_type=NodeType.LOCAL
    ).vouch,
)
FOUNDING = found(workspace_key=ROOT, founder=FOUNDER, now_ms=0)
ROSTER = evaluate(WORKSPACE, [FOUNDING])
TICKET, STORED = issue(
    ROSTER,
    issuer=ISSUER_NODE,
    ticket_id=b"t" * 16,
    secret=b"s" * 32,
    role=Role.EDIT,
    expires_ms=2_000,
    now_ms=1_000,
    workspace_name="rocket",
    addresses=("127.0.0.1:7311",),
)
ADA, BOB = asks("ada"), asks("bob")


def request_of(who: Newcomer = ADA) -> JoinRequest:
    """A good request, as it comes out of the frame."""
    return decode_request(encode_request(request_to_join(TICKET, newcomer=who, nonce=b"n" * 32)))


class Issuer:
    """The issuer's side: decides, stores, answers."""

    def __init__(self, redeem_with: Callable[..., JoinDecision] = redeem) -> None:
        self.redeem = redeem_with
        self.stored = {STORED.ticket_id: STORED}
        self.records: list[KnownRecord] = [FOUNDING]

    @property
    def roster(self) -> Roster:
        return evaluate(WORKSPACE, self.records)

    def ask(
        self, request: JoinRequest, now_ms: int = 1_500, peer: NodeId | None = None
    ) -> JoinDecision:
        decision = self.redeem(
            request,
            proven_peer_key=peer or request.node,
            stored=self.stored,
            roster=self.roster,
            issuer=ISSUER_NODE,
            now_ms=now_ms,
        )
        if isinstance(decision, Admission):
            self.stored[decision.ticket.ticket_id] = decision.ticket
            self.records.append(
                admit(
                    self.roster,
                    key=ISSUER,
                    newcomer=decision.newcomer,
                    role=decision.role,
                    now_ms=now_ms,
                    ticket=decision.ticket.ticket_id,
                )
            )
        return decision

    def answer(self, node: NodeId) -> bytes:
        session = SigningKey.from_seed(b"S" * 32)
        certificate = certify(node=ISSUER, session=session, workspace=WORKSPACE, started_ms=1)
        return accept(
            self.roster,
            node=node,
            certificates=[certificate],
            workspace_name="rocket",
            settings={"relay": "off"},
        )


def test_a_newcomer_with_a_good_ticket_becomes_a_member() -> None:
    """From text to roster, through both frames."""
    issuer = Issuer()
    decision = issuer.ask(request_of())
    assert decision == Admission(ADA, Role.EDIT, msgspec.structs.replace(STORED, used_by=ADA.node))
    member = issuer.roster.members[ADA.node]
    assert (member.role, member.node_type, member.ticket) == (
        Role.EDIT,
        NodeType.EDGE,
        TICKET.ticket_id,
    )
    answer = decode_answer(issuer.answer(ADA.node))
    assert isinstance(answer, JoinAccepted)
    assert answer.is_complete
    assert (answer.workspace_name, answer.settings) == ("rocket", (("relay", "off"),))
    records = records_of(answer, TICKET, ADA.node)
    assert evaluate(WORKSPACE, records) == issuer.roster
    assert answer.certificates[0].node == TICKET.issuer


def test_who_lost_the_answer_gets_it_again() -> None:
    """Also after the ticket expired, and nothing is stored twice."""
    issuer = Issuer()
    issuer.ask(request_of())
    first = issuer.answer(ADA.node)
    again = request_to_join(TICKET, newcomer=ADA, nonce=b"m" * 32)
    assert issuer.ask(again, now_ms=9_000) == Repetition(ADA.node)
    assert issuer.answer(ADA.node) == first
    assert len(issuer.records) == 2


def test_a_removed_member_does_not_come_back_with_its_old_ticket() -> None:
    """Single use outlives the membership."""
    issuer = Issuer()
    issuer.ask(request_of())
    issuer.records.append(
        remove(issuer.roster, key=ISSUER, subject=ADA.node, seen={}, now_ms=1_600)
    )
    assert issuer.ask(request_of()) == Refusal(RefusalReason.USED)


def test_a_ticket_store_from_a_backup_admits_nobody_twice() -> None:
    """The roster remembers which tickets were used."""
    issuer = Issuer()
    issuer.ask(request_of())
    issuer.stored = {STORED.ticket_id: STORED}
    assert issuer.ask(request_of(BOB)) == Refusal(RefusalReason.USED)


def changed(**changes: object) -> JoinRequest:
    """A good request with changes."""
    return msgspec.structs.replace(request_of(), **changes)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (changed(ticket_id=b"u" * 16), RefusalReason.UNKNOWN),
        (changed(proof=bytes(32)), RefusalReason.WRONG_SECRET),
        (changed(nonce=b"m" * 32), RefusalReason.WRONG_SECRET),
        (changed(vouch=bytes(64)), RefusalReason.NOT_PERMITTED),
        (changed(name="two\nlines"), RefusalReason.NOT_PERMITTED),
    ],
)
def test_wrong_requests_are_refused_and_the_ticket_stays_good(
    request_: JoinRequest, reason: RefusalReason
) -> None:
    """A failed attempt costs the true newcomer nothing."""
    issuer = Issuer()
    assert issuer.ask(request_) == Refusal(reason)
    assert issuer.stored == {STORED.ticket_id: STORED}
    assert isinstance(issuer.ask(request_of()), Admission)


def test_a_request_overheard_is_worth_nothing_to_another_key() -> None:
    """The proof names the newcomer, and the link proves it."""
    issuer = Issuer()
    assert issuer.ask(request_of(), peer=BOB.node) == Refusal(RefusalReason.NOT_PERMITTED)
    stolen = changed(node=BOB.node, user=BOB.user, vouch=BOB.vouch)
    assert issuer.ask(stolen) == Refusal(RefusalReason.WRONG_SECRET)


def test_an_issuer_that_lost_its_role_admits_nobody() -> None:
    """Nor does a ticket give more than its issuer has now."""
    issuer = Issuer()
    other = asks("other")
    issuer.records.append(
        admit(issuer.roster, key=ISSUER, newcomer=other, role=Role.ADMIN, now_ms=1)
    )
    other_key = SigningKey.from_seed(b"other".ljust(32, b"."))
    issuer.records.append(
        remove(issuer.roster, key=other_key, subject=ISSUER_NODE, seen={}, now_ms=2)
    )
    assert issuer.ask(request_of()) == Refusal(RefusalReason.NOT_PERMITTED)


def test_what_a_ticket_is_stays_unknown_to_who_lacks_its_secret() -> None:
    """A used or expired ticket looks like a good one to somebody who guesses."""
    issuer = Issuer()
    issuer.ask(request_of())
    guess = request_to_join(
        msgspec.structs.replace(TICKET, secret=b"g" * 32), newcomer=BOB, nonce=b"n" * 32
    )
    assert issuer.ask(guess, now_ms=9_000) == Refusal(RefusalReason.WRONG_SECRET)


def redeem_without_clock(request: JoinRequest, **facts: object) -> JoinDecision:
    """Planted bug: never looks at the time."""
    return redeem(request, **{**facts, "now_ms": 0})  # type: ignore[arg-type]


def redeem_without_memory(request: JoinRequest, **facts: object) -> JoinDecision:
    """Planted bug: every ticket looks unused."""
    fresh: dict[str, object] = {"stored": {STORED.ticket_id: STORED}, "roster": ROSTER}
    return redeem(request, **{**facts, **fresh})  # type: ignore[arg-type]


def redeem_without_proof(request: JoinRequest, **facts: object) -> JoinDecision:
    """Planted bug: believes that the newcomer knows the secret."""
    right = request_to_join(TICKET, newcomer=ADA, nonce=request.nonce).proof
    return redeem(msgspec.structs.replace(request, proof=right), **facts)  # type: ignore[arg-type]


def redeems_rightly(redeem_with: Callable[..., JoinDecision]) -> bool:
    """The check: expiry, single use and proof, each on a fresh issuer."""
    late, twice, guessed = Issuer(redeem_with), Issuer(redeem_with), Issuer(redeem_with)
    twice.ask(request_of())
    return (
        late.ask(request_of(), now_ms=2_000) == Refusal(RefusalReason.EXPIRED)
        and twice.ask(request_of(BOB)) == Refusal(RefusalReason.USED)
        and guessed.ask(changed(proof=bytes(32))) == Refusal(RefusalReason.WRONG_SECRET)
    )


def test_expiry_single_use_and_proof_hold() -> None:
    """The last good millisecond is the one before expiry."""
    assert redeems_rightly(redeem)
    assert isinstance(Issuer().ask(request_of(), now_ms=1_999), Admission)


@pytest.mark.parametrize(
    "broken", [redeem_without_clock, redeem_without_memory, redeem_without_proof]
)
def test_planted_bugs_are_caught(broken: Callable[..., JoinDecision]) -> None:
    """The check can fail."""
    assert not redeems_rightly(broken)


def test_a_large_roster_leaves_only_what_proves_issuer_and_newcomer() -> None:
    """The answer stays one small frame; the rest comes by roster exchange."""
    issuer = Issuer()
    for number in range(60):
        issuer.records.append(
            admit(
                issuer.roster,
                key=ISSUER,
                newcomer=asks(f"node-{number}"),
                role=Role.READ,
                now_ms=number,
            )
        )
    issuer.ask(request_of())
    frame = issuer.answer(ADA.node)
    answer = decode_answer(frame)
    assert isinstance(answer, JoinAccepted)
    assert len(frame) <= JOIN_FRAME_BYTES_MAX
    assert not answer.is_complete
    subjects = [known.record.subject for known in records_of(answer, TICKET, ADA.node)]
    assert subjects == [ISSUER_NODE, ADA.node]


def test_an_answer_that_does_not_admit_us_is_refused() -> None:
    """Somebody else's admission, a removal, or damaged records."""
    issuer = Issuer()
    issuer.ask(request_of())
    answer = decode_answer(issuer.answer(ADA.node))
    assert isinstance(answer, JoinAccepted)
    with pytest.raises(BadJoinError, match="does not admit"):
        records_of(answer, TICKET, BOB.node)
    with pytest.raises(BadJoinError, match="is wrong"):
        records_of(msgspec.structs.replace(answer, records=(b"x",)), TICKET, ADA.node)
    assert all(known.record.kind is RecordKind.ADMIT for known in issuer.records)


@pytest.mark.parametrize("reason", RefusalReason)
def test_refusals_travel_and_explain_themselves(reason: RefusalReason) -> None:
    """Each reason has its own words."""
    answer = decode_answer(refuse(reason))
    assert answer == JoinRefused(reason)
    assert isinstance(answer, JoinRefused)
    assert "mesh share" in answer.explain()
    others = {JoinRefused(other).explain() for other in RefusalReason}
    assert len(others) == len(RefusalReason)


@given(st.binary(max_size=80))
def test_garbage_is_neither_request_nor_answer(garbage: bytes) -> None:
    """A stranger's frame never crashes the decoder."""
    with pytest.raises(BadJoinError):
        decode_request(garbage)
    with pytest.raises(BadJoinError):
        decode_answer(garbage)


@pytest.mark.parametrize(
    "changes",
    [{"node": b""}, {"user": b""}, {"ticket_id": b""}, {"nonce": b""}, {"proof": b"x" * 33}],
)
def test_requests_with_fields_of_wrong_sizes_are_refused(changes: dict[str, object]) -> None:
    """Before anything is computed from them."""
    with pytest.raises(BadJoinError, match="wrong sizes"):
        decode_request(encode_request(changed(**changes)))


def test_frames_over_the_bound_are_not_decoded() -> None:
    """Neither way."""
    for decode in (decode_request, decode_answer):
        with pytest.raises(BadJoinError, match="over the bound"):
            decode(bytes(JOIN_FRAME_BYTES_MAX + 1))
    assert len(encode_request(request_of())) < 512


def test_settings_that_leave_no_room_are_the_callers_error() -> None:
    """Nothing is cut silently."""
    issuer = Issuer()
    issuer.ask(request_of())
    with pytest.raises(ValueError, match="no room"):
        accept(
            issuer.roster,
            node=ADA.node,
            certificates=(),
            workspace_name="rocket",
            settings={"large": "x" * JOIN_FRAME_BYTES_MAX},
        )


def test_a_stored_ticket_round_trips() -> None:
    """What the store keeps is what is redeemed."""
    wire = msgspec.msgpack.encode(STORED)
    assert msgspec.msgpack.decode(wire, type=StoredTicket) == STORED
