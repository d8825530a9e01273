"""Disks that take two names for one are recognised and refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from aiplatform.mesh_ide.cli import casing, founding
from aiplatform.mesh_ide.cli.casing import CaseInsensitiveError, check_case, is_case_sensitive


@pytest.fixture
def blind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder in which the probe is found in the other case too, as on exFAT.

    Kernels built without UNICODE, VFAT and exFAT mount nothing of that kind, so the name that is
    looked for stands there already.
    """
    monkeypatch.setattr("secrets.token_hex", lambda size: "ab" * size)
    (tmp_path / (casing._PROBE + "ab" * 8).upper()).mkdir()
    return tmp_path


def test_a_disk_that_finds_a_name_in_the_other_case_is_refused(blind: Path) -> None:
    """The message names the folder and what to use instead; usage, so code 2."""
    assert not is_case_sensitive(blind)
    with pytest.raises(CaseInsensitiveError, match="Use a folder on a disk") as caught:
        check_case(blind)
    assert str(blind) in str(caught.value)
    assert caught.value.exit_code == 2


def test_no_workspace_is_founded_on_such_a_disk(
    blind: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is left behind: neither state nor key."""
    home = tmp_path_factory.mktemp("home")
    environment = {f"XDG_{kind}_HOME": str(home / kind) for kind in ("STATE", "CONFIG")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CaseInsensitiveError):
        founding.init(blind, "rocket", "laptop", "local")
    assert list(home.iterdir()) == []


def test_a_folder_that_was_made_for_a_workspace_goes_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`mesh join` makes the folder before it can look at its disk."""

    def refuse(folder: Path) -> None:
        raise CaseInsensitiveError(str(folder))

    monkeypatch.setattr(founding, "check_case", refuse)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with pytest.raises(CaseInsensitiveError):
        founding.init(tmp_path / "new", "rocket", "laptop", "local")
    assert list(tmp_path.iterdir()) == []


def test_an_ordinary_disk_is_taken_and_nothing_stays_on_it(tmp_path: Path) -> None:
    """Its files are as they were, and names in both cases stand side by side."""
    (tmp_path / "readme").touch()
    (tmp_path / "README").touch()
    check_case(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"readme", "README"}


def test_a_folder_that_cannot_be_written_is_judged_elsewhere(tmp_path: Path) -> None:
    """It is gone, or a file: that has messages of its own."""
    assert is_case_sensitive(tmp_path / "gone")
    (tmp_path / "file").touch()
    assert is_case_sensitive(tmp_path / "file")
