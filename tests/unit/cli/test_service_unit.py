"""The unit of `mesh service install`, as systemd reads it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiplatform.mesh_ide.api.locations import Place
from aiplatform.mesh_ide.cli.verbs_service import NoFolderError, unit_of

NASTY = '/home/a b/50% "x" $HOME \\ é'


def verified(folder: Path, name: str, text: str) -> subprocess.CompletedProcess[str]:
    """Let systemd itself read a unit; it complains about whatever it would ignore."""
    program = shutil.which("systemd-analyze")
    assert program is not None, "systemd-analyze is missing: scripts/system-packages installs it"
    unit = folder / name
    unit.write_text(text, encoding="utf-8")
    return subprocess.run(
        [program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
    )


def place(tmp_path: Path, folder: str) -> Place:
    """Give a node that serves a folder of this name."""
    return Place(tmp_path / "rocket-1", Path(folder), "rocket", "laptop")


def test_odd_characters_of_a_folders_name_stay_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a command a dollar names a variable and is doubled; in an environment it does not."""
    monkeypatch.setenv("XDG_STATE_HOME", "/state $x 50%")
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    unit, text = unit_of(place(tmp_path, NASTY))
    assert unit.name == "mesh@rocket-1.service"
    assert '"/home/a b/50%% \\"x\\" $$HOME \\\\ é"' in text
    assert f'ExecStart="{sys.executable}" -m aiplatform.mesh_ide.cli.main up' in text
    assert 'Environment="XDG_STATE_HOME=/state $x 50%%"\n' in text


def test_a_line_break_in_a_folders_name_begins_no_setting(tmp_path: Path) -> None:
    """It is written as an escape, in the command and in the description."""
    _, text = unit_of(place(tmp_path, "/home/a\nExecStartPre=/bin/false"))
    assert "\nExecStartPre" not in text
    assert '"/home/a\\x0aExecStartPre=/bin/false"' in text


@pytest.mark.parametrize("folder", ["/home/ada/rocket", NASTY, "/home/a\nExecStartPre=/bin/false"])
def test_systemd_accepts_the_unit_without_a_word(tmp_path: Path, folder: str) -> None:
    """Whatever the folder is called."""
    unit, text = unit_of(place(tmp_path, folder))
    done = verified(tmp_path, unit.name, text)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("Type=exec", "Type=bogus"),
        ("RestartSec=5", "RestartSecs=5"),
        (f'ExecStart="{sys.executable}"', 'ExecStart="/nowhere/python"'),
        ('é"', "é"),
    ],
)
def test_a_unit_that_systemd_would_not_take_is_caught(
    tmp_path: Path, right: str, wrong: str
) -> None:
    """The planted bugs: another word for a value or a key, no such program, an open quote."""
    unit, text = unit_of(place(tmp_path, NASTY))
    assert right in text
    done = verified(tmp_path, unit.name, text.replace(right, wrong))
    assert done.returncode != 0 or done.stderr != ""


def test_a_node_without_a_folder_has_no_unit(tmp_path: Path) -> None:
    """There is nothing to name to `mesh up`."""
    with pytest.raises(NoFolderError, match="no folder"):
        unit_of(Place(tmp_path / "rocket-1", None, "rocket", "laptop"))


def test_settings_of_the_node_that_are_set_are_carried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service inherits nothing from the shell that installed it."""
    monkeypatch.setenv("MESH_PORT", "7399")
    monkeypatch.setenv("MESH_RELAY", "https://relay.example/?a=50%")
    monkeypatch.delenv("MESH_LISTEN", raising=False)
    monkeypatch.setenv("MESH_FOLDER", "/elsewhere")
    unit, text = unit_of(place(tmp_path, "/home/ada/rocket"))
    assert 'Environment="MESH_PORT=7399"\n' in text
    assert 'Environment="MESH_RELAY=https://relay.example/?a=50%%"\n' in text
    assert "MESH_LISTEN" not in text
    assert "/elsewhere" not in text
    done = verified(tmp_path, unit.name, text)
    assert (done.returncode, done.stderr) == (0, "")
