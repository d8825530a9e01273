"""Tickets: text that survives being passed about, and says what is wrong when it did not."""

from __future__ import annotations

import base64

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.membership import found, newcomer
from aiplatform.mesh_ide.identity.roster import evaluate
from aiplatform.mesh_ide.identity.tickets import (
    TICKET_CHARS_MAX,
    BadTicketError,
    StoredTicket,
    Ticket,
    TicketFault,
    format_ticket,
    issue,
    parse,
    proof_key,
)
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.errors import LocalError, NotPermittedError
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId

ROOT = SigningKey.from_seed(b"0" * 32)
NODE = SigningKey.from_seed(b"n" * 32)
USER = SigningKey.from_seed(b"u" * 32)
WORKSPACE = WorkspaceId(ROOT.public)
ROSTER = evaluate(
    WORKSPACE,
    [
        found(
            workspace_key=ROOT,
            founder=newcomer(
                node=NodeId(NODE.public),
                user=USER,
                workspace=WORKSPACE,
                name="f",
                node_type=NodeType.LOCAL,
            ),
            now_ms=0,
        )
    ],
)


def issued(**changes: object) -> tuple[Ticket, StoredTicket]:
    """A ticket of the founder."""
    fields: dict[str, object] = {
        "issuer": NodeId(NODE.public),
        "ticket_id": b"t" * 16,
        "secret": bytes(range(32)),
        "role": Role.EDIT,
        "expires_ms": 2_000,
        "now_ms": 1_000,
        "workspace_name": "rocket",
        "addresses": ("192.168.1.5:7311", "[fe80::1]:7311"),
        "relay": "https://relay.example/",
    }
    return issue(ROSTER, **{**fields, **changes})  # type: ignore[arg-type]


TICKET, STORED = issued()
TEXT = format_ticket(TICKET)


def fault_of(text: str) -> TicketFault | None:
    """Why a text is no ticket; ``None`` if it is one."""
    try:
        parse(text)
    except BadTicketError as error:
        return error.fault
    return None


def test_a_ticket_is_one_word_that_says_all() -> None:
    """What was issued comes back, and the text is short enough for a chat."""
    assert parse(TEXT) == TICKET
    assert TEXT.startswith("mesh1a")
    assert TEXT.isalnum()
    assert len(TEXT) < 400
    assert (TICKET.workspace, TICKET.role, TICKET.expires_ms) == (WORKSPACE, Role.EDIT, 2_000)


@given(
    st.text(max_size=64).map(str.strip).filter(str.isprintable).filter(bool),
    st.sampled_from(Role),
    st.integers(1_001, 2**53 - 1),
    st.binary(min_size=32, max_size=32),
)
def test_every_ticket_round_trips(name: str, role: Role, expires_ms: int, secret: bytes) -> None:
    """Whatever name, role, time and secret."""
    try:
        ticket, _ = issued(
            workspace_name=name, role=role, expires_ms=expires_ms, secret=secret, addresses=()
        )
    except LocalError:
        return
    assert parse(format_ticket(ticket)) == ticket


NOISE = [" ", "\n", "\r\n", "\t", "\u200b", "\ufeff", "\u00a0", '"', "'", "`", ">", "=\n", "\u201c",
         "\u00ad", "\u2060", "*"]  # fmt: skip


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, len(TEXT)), st.sampled_from(NOISE)), max_size=12))
def test_noise_of_copy_and_paste_does_no_harm(noise: list[tuple[int, str]]) -> None:
    """Line breaks, quotes and invisible characters anywhere."""
    text = TEXT
    for position, char in noise:
        text = text[:position] + char + text[position:]
    assert parse(text) == TICKET
    assert parse(text.upper()) == TICKET


@pytest.mark.parametrize("length", range(5, len(TEXT), 7))
def test_a_cut_ticket_says_so(length: int) -> None:
    """Told apart from a wrong one, wherever it was cut."""
    assert fault_of(TEXT[:length]) is TicketFault.CHANGED


@settings(max_examples=200)
@given(st.integers(5, len(TEXT) - 1), st.sampled_from("abcdefghijklmnopqrstuvwxyz0123456789!"))
def test_a_changed_ticket_says_so(position: int, char: str) -> None:
    """One other character anywhere in the data."""
    changed = TEXT[:position] + char + TEXT[position + 1 :]
    try:
        ticket = parse(changed)
    except BadTicketError:
        assert changed != TEXT
    else:
        # The last character may have bits that base32 does not use.
        assert ticket == TICKET
        assert changed == TEXT or position == len(TEXT) - 1


@pytest.mark.parametrize(
    "text",
    ["", "   ", "hello", "mesh", "mes1a", TEXT[1:], "https://x/" + TEXT, "mesh0abc", "meshabc",
     "x" * (TICKET_CHARS_MAX + 1), "\x00", "mesh\u0661aaaa"],
)  # fmt: skip
def test_what_is_no_ticket_says_so(text: str) -> None:
    """Something else was in the clipboard."""
    assert fault_of(text) is TicketFault.NOT_A_TICKET


def encoded(payload: bytes) -> str:
    """A text with a right checksum over any payload."""
    domain = b"mesh-ide ticket checksum 1"
    covered = b"".join(len(part).to_bytes(4, "big") + part for part in (domain, payload))
    data = payload + blake3(covered).digest(4)
    return "mesh1" + base64.b32encode(data).decode().rstrip("=").lower()


def test_a_newer_ticket_says_so() -> None:
    """By its prefix, its format byte, or fields that this version cannot read."""
    assert fault_of("mesh2" + TEXT[5:]) is TicketFault.NEWER
    assert fault_of("mesh17" + TEXT[5:]) is TicketFault.NEWER
    assert fault_of(encoded(b"\x02" + msgspec.msgpack.encode(TICKET))) is TicketFault.NEWER
    assert fault_of(encoded(b"\x01\xc1")) is TicketFault.NEWER
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(TICKET))
    assert parse(encoded(b"\x01" + msgspec.msgpack.encode([*fields, "later"]))) == TICKET


@pytest.mark.parametrize(
    "changes",
    [
        {"workspace": b"short"},
        {"secret": b""},
        {"ticket_id": b""},
        {"expires_ms": -1},
        {"workspace_name": ""},
        {"addresses": ("",)},
        {"addresses": ("1.2.3.4:1\x1b[2J",)},
        {"addresses": ("1.2.3.4:1",) * 17},
        {"relay": "r" * 257},
    ],
)
def test_a_ticket_with_fields_out_of_bounds_is_none(changes: dict[str, object]) -> None:
    """Somebody may have written it by hand to attack whoever pastes it."""
    bad = msgspec.structs.replace(TICKET, **changes)
    assert fault_of(encoded(b"\x01" + msgspec.msgpack.encode(bad))) is TicketFault.NOT_A_TICKET


def test_the_messages_differ_and_say_what_to_do() -> None:
    """Three faults, three sentences."""
    messages = {str(BadTicketError(fault)) for fault in TicketFault}
    assert len(messages) == 3
    assert all(": " in message for message in messages)


def test_secrets_do_not_show_and_the_stored_half_is_not_the_secret() -> None:
    """Reprs end up in logs, the store on a disk."""
    assert TICKET.secret.hex() not in repr(TICKET)
    assert repr(TICKET.secret) not in repr(TICKET)
    assert STORED.proof_key == proof_key(TICKET.secret) != TICKET.secret
    assert repr(STORED.proof_key) not in repr(STORED)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(STORED), type=StoredTicket) == STORED


def test_only_admins_issue_and_only_what_makes_sense() -> None:
    """Role, time and bounds are checked before anything is shown."""
    with pytest.raises(NotPermittedError, match="only admins"):
        issued(issuer=NodeId(b"x" * 32))
    with pytest.raises(LocalError, match="--expires"):
        issued(expires_ms=1_000)
    for changes in (
        {"workspace_name": ""},
        {"addresses": ("1.2.3.4:5",) * 17},
        {"secret": b"short"},
    ):
        with pytest.raises(LocalError, match="was not made"):
            issued(**changes)
