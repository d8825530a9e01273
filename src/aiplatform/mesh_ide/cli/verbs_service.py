"""The verb that makes a node start with the session: service."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import typer

from aiplatform.mesh_ide.api.locations import Place
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption
from aiplatform.mesh_ide.cli.output import (
    locations,
    note,
    place_of,
    print_json,
    print_text,
    safe,
)
from aiplatform.mesh_ide.model.errors import LocalError

app = typer.Typer()
_service = typer.Typer(no_args_is_help=True)
app.add_typer(_service, name="service", help="Start a node with your session (systemd).")

_SYSTEMCTL_TIMEOUT_S: Final = 30.0

_KEPT: Final = ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "MESH_PORT", "MESH_LISTEN", "MESH_RELAY")
"""Settings of ``mesh up`` that a service would not inherit from who installs it."""

_UNIT: Final = """\
[Unit]
Description=Mesh IDE: {title}
After=network.target

[Service]
Type=exec
ExecStart={python} -m aiplatform.mesh_ide.cli.main up {folder}
Restart=on-failure
RestartSec=5
{environment}
[Install]
WantedBy=default.target
"""


class NoFolderError(LocalError):
    """A node without a folder cannot be named to a service."""


def quoted(word: str) -> str:
    """Return a word as one item of a unit's setting (systemd.syntax(7)): ``Environment=``."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    # A line break would begin another setting.
    visible = "".join(c if c >= " " and c != "\x7f" else f"\\x{ord(c):02x}" for c in escaped)
    return f'"{visible}"'


def argument(word: str) -> str:
    """Return a word as one argument of ``ExecStart=``, where a dollar names a variable."""
    return quoted(word).replace("$", "$$")


def unit_of(place: Place) -> tuple[Path, str]:
    """Return the path of a node's unit and its text."""
    if place.folder is None:
        raise NoFolderError(f"{place.name} has no folder to serve")
    lines = [f"Environment={quoted(f'{n}={os.environ[n]}')}\n" for n in _KEPT if n in os.environ]
    text = _UNIT.format(
        title=f"{place.workspace} in {safe(str(place.folder))}".replace("%", "%%"),
        folder=argument(str(place.folder)),
        python=argument(sys.executable),
        environment="".join(lines),
    )
    return locations().config_home / "systemd" / "user" / f"mesh@{place.name}.service", text


@_service.command("install", epilog="Example: mesh service install")
def install(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Write a systemd user unit for this workspace and enable it."""
    unit, text = unit_of(place_of(folder))
    unit.parent.mkdir(parents=True, exist_ok=True)
    unit.write_text(text, encoding="utf-8")
    is_enabled = _systemctl("daemon-reload") and _systemctl("enable", unit.name)
    if as_json:
        print_json("service install", {"unit": str(unit), "is_enabled": is_enabled})
    elif is_enabled:
        print_text(f"{unit} is enabled: it starts with your session")
        note(f"Now: mesh down; systemctl --user start {unit.name}")
        note("To start it at boot, before you log in: loginctl enable-linger")
    else:
        print_text(f"{unit} is written")
        note(
            "systemd's user manager cannot be reached from here. In a session of yours run:\n"
            f"  systemctl --user daemon-reload && systemctl --user enable --now {unit.name}"
        )


@_service.command("uninstall", epilog="Example: mesh service uninstall")
def uninstall(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Disable and remove this workspace's unit."""
    unit, _ = unit_of(place_of(folder))
    existed = unit.exists()
    _systemctl("disable", unit.name)
    unit.unlink(missing_ok=True)
    _systemctl("daemon-reload")
    if as_json:
        print_json("service uninstall", {"unit": str(unit), "existed": existed})
    else:
        print_text(f"{unit} is removed" if existed else f"there was no {unit}")


def _systemctl(*arguments: str) -> bool:
    """Return whether systemd's user manager did it."""
    program = shutil.which("systemctl")
    if program is None:
        return False
    try:
        done = subprocess.run(  # noqa: S603 - found by PATH as people do
            [program, "--user", *arguments],
            capture_output=True,
            timeout=_SYSTEMCTL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
