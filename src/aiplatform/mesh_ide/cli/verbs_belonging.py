"""Verbs about who belongs: share, members, leave."""

from __future__ import annotations

import re
from typing import Annotated, Final

import typer

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.locations import forget_place
from aiplatform.mesh_ide.cli import present
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption
from aiplatform.mesh_ide.cli.output import (
    connect,
    note,
    place_of,
    print_json,
    print_text,
)
from aiplatform.mesh_ide.model.errors import LocalError

app = typer.Typer()
_members = typer.Typer(invoke_without_command=True)
app.add_typer(_members, name="members", help="List the members; remove one, change a role.")

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


class BadDurationError(LocalError):
    """A text is no duration."""


def seconds_of(text: str) -> float:
    """Return a duration such as 30m, 24h or 7d in seconds.

    Raises:
        BadDurationError: it is none.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d+)?)([smhdw]?)", text.strip().lower())
    if found is None:
        raise BadDurationError(f"{text!r} is no duration: write for example 30m, 24h or 7d")
    return float(found[1]) * _UNITS[found[2] or "s"]


@app.command("share", epilog="Example: mesh share --role read --expires 1h")
def share(
    role: Annotated[str, typer.Option("--role", help="relay, read, edit, run or admin.")] = "edit",
    expires: Annotated[
        str, typer.Option("--expires", metavar="T", help="30m, 24h, 7d, ...")
    ] = "24h",
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print a ticket with which one machine can join, once. Treat it as a password."""
    with connect(folder) as node:
        answer = node.call(requests.AskShare(role, seconds_of(expires)))
    if as_json:
        print_json("share", answer)
        return
    print_text(answer.ticket)
    note(
        f"\nOn the other machine: mesh join TICKET (good until {present.when(answer.expires_ms)}, "
        f"once, as {answer.role}). This node must be up then."
    )


@app.command("leave", epilog="Example: mesh leave")
def leave(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Stop being a member and stop serving. The folder stays as it is."""
    place = place_of(folder)
    with connect(folder) as node:
        answer = node.call(requests.AskLeave())
    forget_place(place.state)
    print_json("leave", answer) if as_json else print_text(answer.message)
    note(f"Its key and history stay in {place.state}: remove them when you need them no more.")


@_members.callback()
def members(
    context: typer.Context, *, folder: FolderOption = "", as_json: JsonOption = False
) -> None:
    """List the members; remove one, change a role.

    Examples: mesh members, mesh members remove laptop, mesh members role laptop read
    """
    if context.invoked_subcommand is not None:
        return
    with connect(folder) as node:
        answer = node.call(requests.AskMembers())
    print_json("members", answer) if as_json else print_text(present.members(answer))


@_members.command("remove", epilog="Example: mesh members remove laptop")
def remove(
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its label, name or id.")],
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """End a membership; what the member wrote stays."""
    with connect(folder) as node:
        answer = node.call(requests.AskRemove(name))
    print_json("members remove", answer) if as_json else print_text(answer.message)


@_members.command("role", epilog="Example: mesh members role laptop read")
def role(
    name: Annotated[str, typer.Argument(metavar="NODE", help="Its label, name or id.")],
    new_role: Annotated[str, typer.Argument(metavar="ROLE")],
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Give a member another role: relay, read, edit, run or admin."""
    with connect(folder) as node:
        answer = node.call(requests.AskRole(name, new_role))
    print_json("members role", answer) if as_json else print_text(answer.message)
