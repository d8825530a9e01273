"""What ``--help`` says of the verbs."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from aiplatform.mesh_ide.cli.app import app


@pytest.mark.parametrize("group", [[], ["snapshot"], ["members"], ["service"]])
def test_every_verbs_description_fits_a_terminal_of_80_columns(group: list[str]) -> None:
    """A sentence that is cut off tells nothing."""
    shown = CliRunner().invoke(app, [*group, "--help"], env={"COLUMNS": "80"}).output
    commands = shown.partition("Commands:")[2]
    assert commands
    assert [line for line in commands.splitlines() if line.endswith("...")] == []


def test_a_long_first_sentence_would_be_seen() -> None:
    """Planted: the help does cut one that is too long."""
    verbs = typer.Typer(rich_markup_mode=None)
    for number in range(2):
        verbs.command(f"verb{number}", help=f"Do {'something ' * 9}.")(lambda: None)
    shown = CliRunner().invoke(verbs, ["--help"], env={"COLUMNS": "80"}).output
    assert "..." in shown.partition("Commands:")[2]
