"""Roster records on the wire, and the names that people see."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.membership import (
    admit,
)
from aiplatform.mesh_ide.identity.records import (
    BadNameError,
    BadRecordError,
    clean_name,
    open_record,
    sign_record,
)
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.ids import UserId, WorkspaceId
from tests.unit.identity.boards import (
    SESSION,
    WORKSPACE,
    asks,
    founded,
    key_of,
    node_of,
)


def test_a_record_that_was_changed_is_refused() -> None:
    """Every field is signed, the user's word included."""
    known = founded("a").records[1]
    for changes in (
        {"role": Role.READ},
        {"name": "other"},
        {"issuer": node_of("x")},
        {"subject": node_of("x")},
        {"user": UserId(b"v" * 32)},
        {"parents": ()},
    ):
        body = msgspec.msgpack.encode(msgspec.structs.replace(known.record, **changes))
        signature = msgspec.msgpack.decode(known.encoded)[1]
        with pytest.raises(BadRecordError):
            open_record(msgspec.msgpack.encode([body, signature]), WORKSPACE)
    with pytest.raises(BadRecordError, match="another workspace"):
        open_record(known.encoded, WorkspaceId(b"v" * 32))


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": "two\nlines"},
        {"name": "\u202eevil"},
        {"name": "n" * 65},
        {"ticket": b"short"},
        {"vouch": bytes(64)},
        {"parents": (b"b" * 32, b"a" * 32)},
        {"parents": (b"short",)},
        {"cut": ((SESSION, 1),)},
        {"issued_ms": 2**60},
    ],
)
def test_a_record_that_breaks_a_rule_is_neither_signed_nor_opened(
    changes: dict[str, object],
) -> None:
    """The rules bind both sides."""
    bad = msgspec.structs.replace(founded("a").records[1].record, **changes)
    with pytest.raises(ValueError, match=r"\w"):
        sign_record(bad, key_of("f"))
    body = msgspec.msgpack.encode(bad)
    signature = key_of("f").sign(
        b"".join(
            len(part).to_bytes(4, "big") + part for part in (b"mesh-ide roster record 1", body)
        )
    )
    with pytest.raises(BadRecordError, match="refused"):
        open_record(msgspec.msgpack.encode([body, signature]), WORKSPACE)


def test_a_later_versions_fields_stay_under_the_signature() -> None:
    """An older node can still check, pass on and name a record that has one more field."""
    plain = founded("a").records[1].record
    fields = [*msgspec.msgpack.decode(msgspec.msgpack.encode(plain)), "later"]
    body = msgspec.msgpack.encode(fields)
    message = b"".join(
        len(part).to_bytes(4, "big") + part for part in (b"mesh-ide roster record 1", body)
    )
    encoded = msgspec.msgpack.encode([body, key_of("f").sign(message)])
    known = open_record(encoded, WORKSPACE)
    assert known.record == plain
    assert known.encoded == encoded


@given(st.binary(max_size=100))
def test_garbage_is_no_record(garbage: bytes) -> None:
    """A decoder fault is the sender's."""
    with pytest.raises(BadRecordError):
        open_record(garbage, WORKSPACE)


def test_a_record_over_the_bound_is_not_decoded() -> None:
    """Size comes first."""
    with pytest.raises(BadRecordError, match="over the bound"):
        open_record(bytes(2 * 1024 * 1024), WORKSPACE)


def test_a_record_cannot_be_signed_for_somebody_else() -> None:
    """The issuer named is the key that signs."""
    with pytest.raises(ValueError, match="issuer"):
        sign_record(founded("a").records[1].record, key_of("a"))


def test_equal_names_get_the_keys_beginning_on_every_node() -> None:
    """All of them, also those that only look alike or pose as a label."""
    board = founded()
    posing = f"laptop~{node_of('m1').hex()[:10]}"
    for name, shown in (("m1", "laptop"), ("m2", "Laptop"), ("m3", posing), ("m4", "desk")):
        board.records.append(
            admit(
                board.roster,
                key=key_of("f"),
                newcomer=asks(name, shown),
                role=Role.READ,
                now_ms=0,
            )
        )
    labels = {node: member.label for node, member in board.roster.members.items()}
    assert labels == {
        node_of("f"): "f",
        node_of("m1"): f"laptop~{node_of('m1').hex()[:10]}",
        node_of("m2"): f"Laptop~{node_of('m2').hex()[:10]}",
        node_of("m3"): f"{posing}~{node_of('m3').hex()[:10]}",
        node_of("m4"): "desk",
    }


@pytest.mark.parametrize("name", ["", "   ", "a\x00b", "\u202egpj", "n" * 65])
def test_names_that_cannot_be_read_are_refused(name: str) -> None:
    """Before anything is signed."""
    with pytest.raises(BadNameError, match="--name"):
        clean_name(name)


def test_names_are_kept_as_people_write_them() -> None:
    """In one normal form, without surrounding space."""
    assert clean_name("  Ada\u0308s Laptop ") == "Ad\u00e4s Laptop"
