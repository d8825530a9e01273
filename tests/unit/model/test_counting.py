"""Numbers in sentences."""

from __future__ import annotations

from aiplatform.mesh_ide.model.counting import counted


def test_one_thing_is_in_the_singular_and_any_other_number_is_not() -> None:
    """None is several, in English."""
    assert [counted(number, "file") for number in (0, 1, 2)] == ["0 files", "1 file", "2 files"]
    assert counted(1, "file is", "files are") == "1 file is"
    assert counted(3, "file is", "files are") == "3 files are"
