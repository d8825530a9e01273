"""Who was a member keeps its name in what people read."""

from __future__ import annotations

from aiplatform.mesh_ide.identity.membership import admit
from aiplatform.mesh_ide.mesh.records import RosterBook
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.ids import short
from tests.unit.identity.boards import WORKSPACE, Board, asks, founded, key_of, node_of


def label(board: Board, name: str) -> str:
    """Return what a node calls another one."""
    book = RosterBook(WORKSPACE)
    book.take(record.encoded for record in board.records)
    book.evaluate()
    return book.label(node_of(name))


def test_a_removed_member_is_still_called_by_its_name() -> None:
    """Marked as what it is; one that comes back is a member like any other."""
    board = founded("dan")
    assert label(board, "dan") == "dan"
    board.remove("f", "dan")
    assert label(board, "dan") == "dan (removed)"
    board.admit("f", "dan")
    assert label(board, "dan") == "dan"


def test_a_stranger_has_no_name() -> None:
    """Nobody vouched for one: the beginning of its key stands for it."""
    assert label(founded("dan"), "eve") == short(node_of("eve"))


def test_former_members_of_one_name_are_told_apart() -> None:
    """By their keys, as members are."""
    board = founded()
    for node in ("one", "two"):
        newcomer = asks(node, "dan")
        board.records.append(
            admit(board.roster, key=key_of("f"), newcomer=newcomer, role=Role.EDIT, now_ms=1)
        )
    board.remove("f", "one").remove("f", "two")
    for node in ("one", "two"):
        assert label(board, node) == f"dan~{short(node_of(node))} (removed)"
