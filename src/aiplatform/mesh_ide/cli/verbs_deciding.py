"""Verbs that decide: conflicts, resolve, held, release, reject."""

from __future__ import annotations

from typing import Annotated

import typer

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.cli import present
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption
from aiplatform.mesh_ide.cli.output import (
    connect,
    inside,
    note_undo,
    print_json,
    print_text,
)
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.errors import ConflictError

app = typer.Typer()

HoldArgument = Annotated[int, typer.Argument(metavar="HOLD", help="Its number in `mesh held`.")]


@app.command("conflicts", epilog="Example: mesh conflicts")
def conflicts(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="End with code 5 if there are any.")
    ] = False,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """List what needs a decision. Versions that no merge can join, several files of one name."""
    with connect(folder) as node:
        answer = node.call(requests.AskConflicts())
        barrier = "" if as_json or not answer.conflicts else _barrier(node)
    if as_json:
        print_json("conflicts", answer)
    else:
        print_text(present.conflicts(answer, barrier))
    if check and answer.conflicts:
        count = counted(
            len(answer.conflicts), "conflict needs a decision", "conflicts need a decision"
        )
        raise ConflictError(f"{count}: `mesh resolve`")


def _barrier(node: ControlClient) -> str:
    """Return why this node may not decide; empty: it may."""
    me = next((one for one in node.call(requests.AskMembers()).members if one.is_me), None)
    if me is None:
        return "this node is no longer a member and cannot decide"
    if Role[me.role.upper()] >= Role.EDIT:
        return ""
    return (
        f"this node has the role {me.role} and cannot decide: ask an admin for "
        f"`mesh members role {me.label} edit`"
    )


@app.command("resolve", epilog="Example: mesh resolve logo.png laptop")
def resolve(
    path: Annotated[str, typer.Argument(metavar="FILE")],
    side: Annotated[
        str, typer.Argument(metavar="SIDE", help="A node, or an id of `mesh conflicts`.")
    ],
    to: Annotated[
        str,
        typer.Option("--to", metavar="NEW", help="Keep both: move SIDE here.", show_default=False),
    ] = "",
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Keep one side of a conflict. The other one stays in the history, or in the recovery bin."""
    with connect(folder) as node:
        answer = node.call(
            requests.AskResolve(inside(folder, path), side, inside(folder, to) if to else "")
        )
    if as_json:
        print_json("resolve", answer)
        return
    print_text(answer.message)
    note_undo(folder, answer.undo)


@app.command("held", epilog="Example: mesh held")
def held(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """List local changes that wait for your word to leave."""
    with connect(folder) as node:
        answer = node.call(requests.AskHeld())
    print_json("held", answer) if as_json else print_text(present.held(answer))


@app.command("release", epilog="Example: mesh release 1")
def release(hold: HoldArgument, *, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Let held changes through: the deletion was meant."""
    with connect(folder) as node:
        answer = node.call(requests.AskRelease(hold))
    print_json("release", answer) if as_json else print_text(answer.message)


@app.command("reject", epilog="Example: mesh reject 1")
def reject(hold: HoldArgument, *, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Undo held changes: the files come back into the folder."""
    with connect(folder) as node:
        answer = node.call(requests.AskReject(hold))
    print_json("reject", answer) if as_json else print_text(answer.message)
