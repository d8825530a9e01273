"""Small judgements of the operations: roles, texts, limits, requests' answers."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import msgspec
import pytest

from aiplatform.mesh_ide.api import answers, requests
from aiplatform.mesh_ide.api.belonging import role_of
from aiplatform.mesh_ide.api.editing import is_text
from aiplatform.mesh_ide.api.health import machine_checks, private_check, watches_check
from aiplatform.mesh_ide.api.requests import answer_type
from aiplatform.mesh_ide.api.synchronising import _parts
from aiplatform.mesh_ide.model.entries import TEXT_BYTES_MAX
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.errors import LocalError


def test_roles_are_named_as_people_write_them() -> None:
    """In any case; others are listed."""
    assert role_of("Read") is Role.READ
    with pytest.raises(LocalError, match="relay, read, edit, run, admin"):
        role_of("king")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", True),
        ("grüße\r\n".encode(), True),
        (b"\xff\xfe", False),
        (b"a\0b", False),
        (b"x" * (TEXT_BYTES_MAX + 1), False),
    ],
)
def test_a_text_is_utf_8_without_nul_within_the_bound(content: bytes, *, expected: bool) -> None:
    """As the folder's own look at files says."""
    assert is_text(content) is expected


def test_every_request_names_an_answer_and_travels() -> None:
    """No verb twice, each with a record of ``answers``; decoded as what it was."""
    kinds = get_args(requests.AnyAsk)
    assert len(kinds) == len({kind.__struct_config__.tag for kind in kinds})
    decoder = msgspec.msgpack.Decoder(requests.AnyAsk)
    edit = requests.AskEdit("a", ((0, 1, "x"),))
    assert decoder.decode(msgspec.msgpack.encode(edit)) == edit
    assert answer_type(edit) is answers.Changed
    for kind in kinds:
        (base,) = kind.__orig_bases__
        assert get_args(base)[0].__module__.startswith("aiplatform.mesh_ide.api.")


def test_one_thing_that_is_waited_for_is_named_in_the_singular() -> None:
    """Several are not."""
    assert _parts(1, 1, 1, (answers.MemberLack("desk", "online", 1),)) == [
        "1 change here is under way",
        "1 content is being fetched",
        "this node lacks 1 file",
        "desk lacks 1 file",
    ]
    assert _parts(2, 2, 2, (answers.MemberLack("desk", "online", 2),)) == [
        "2 changes here are under way",
        "2 contents are being fetched",
        "this node lacks 2 files",
        "desk lacks 2 files",
    ]


def test_too_many_folders_for_the_kernels_watches_is_a_problem_with_its_remedy() -> None:
    """Watching would silently miss changes."""
    assert watches_check(10).state == "ok"
    full = watches_check(1 << 40)
    assert full.state == "problem"
    assert "sysctl" in full.advice


def test_a_state_directory_that_others_can_enter_is_a_problem(tmp_path: Path) -> None:
    """It holds the node's key."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    assert private_check(state).state == "ok"
    state.chmod(0o750)
    assert "chmod 700" in private_check(state).advice


def test_this_machine_passes_where_it_must() -> None:
    """Python and packages are what the tests run on."""
    found = {check.name: check.state for check in machine_checks()}
    assert found["python"] == found["packages"] == "ok"
