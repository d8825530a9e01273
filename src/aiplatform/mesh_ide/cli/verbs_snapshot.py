"""Verbs about snapshots: snapshot create, list, show, diff, drop."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.snapshot_answers import (
    Snapshot,
    SnapshotDiff,
    Snapshots,
    SnapshotShown,
)
from aiplatform.mesh_ide.cli import present
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption, TimeoutOption
from aiplatform.mesh_ide.cli.output import (
    ROOT,
    connect,
    inside,
    note,
    print_json,
    print_text,
    safe,
    table,
)
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.errors import LocalError

app = typer.Typer()
_snapshot = typer.Typer(no_args_is_help=True)
app.add_typer(_snapshot, name="snapshot", help="Keep states of the whole workspace; compare them.")

SnapshotArgument = Annotated[
    str, typer.Argument(metavar="SNAPSHOT", help="A name, or the beginning of an id.")
]
LimitOption = Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.")]

_ID_SHOWN: Final = 10


class TwoNamesError(LocalError):
    """A snapshot is given one name at a time."""


@_snapshot.command("create", epilog="Example: mesh snapshot create before-the-release")
def create(
    title: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it.", show_default=False)
    ] = "",
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="The same.", show_default=False)
    ] = "",
    timeout: TimeoutOption = 600.0,
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Keep the present state of all files. Returns when it is safe on this machine's disk."""
    if title and name and title != name:
        raise TwoNamesError(
            f"one name for a snapshot, not two ({safe(title)}, {safe(name)}): give --name alone, "
            "or the name alone; a name with spaces goes in quotes"
        )
    with connect(folder) as node:
        answer = node.call(requests.AskSnapshotCreate(title or name), timeout)
    if as_json:
        print_json("snapshot create", answer)
        return
    print_text(answer.id)
    kept = "kept" if answer.is_new else "was kept already"
    note(f"{_files(answer)} {kept}. Compare later: mesh snapshot diff {answer.id[:_ID_SHOWN]}")


@_snapshot.command("list", epilog="Example: mesh snapshot list")
def list_snapshots(*, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """List the snapshots that are kept on this node, the latest first."""
    with connect(folder) as node:
        answer = node.call(requests.AskSnapshots())
    print_json("snapshot list", answer) if as_json else print_text(_list(answer))


@_snapshot.command("show", epilog="Example: mesh snapshot show before-the-release src")
def show(
    snapshot: SnapshotArgument,
    path: Annotated[
        str, typer.Argument(metavar="PATH", help="Only what lies there.", show_default=False)
    ] = "",
    limit: LimitOption = 10_000,
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the files of a snapshot."""
    under = inside(folder, path) if path else ""
    if under == ROOT:
        under = ""
    with connect(folder) as node:
        answer = node.call(requests.AskSnapshot(snapshot, under, limit))
    print_json("snapshot show", answer) if as_json else print_text(_show(answer, under))


@_snapshot.command("diff", epilog="Example: mesh snapshot diff before-the-release now")
def diff(
    before: SnapshotArgument,
    after: Annotated[
        str, typer.Argument(metavar="SNAPSHOT", help="Another one; `now` is the present state.")
    ] = "now",
    limit: LimitOption = 10_000,
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the paths that differ between two snapshots. With one: from the present state."""
    with connect(folder) as node:
        answer = node.call(requests.AskSnapshotDiff(before, after, limit))
    print_json("snapshot diff", answer) if as_json else print_text(_diff(answer))


@_snapshot.command("drop", epilog="Example: mesh snapshot drop before-the-release")
def drop(
    snapshot: SnapshotArgument, *, folder: FolderOption = "", as_json: JsonOption = False
) -> None:
    """Let a snapshot go, with all its names. No file changes; what only it needed may be freed."""
    with connect(folder) as node:
        answer = node.call(requests.AskSnapshotDrop(snapshot))
    if as_json:
        print_json("snapshot drop", answer)
        return
    names = f" ({safe(', '.join(answer.names))})" if answer.names else ""
    print_text(f"dropped {answer.id[:_ID_SHOWN]}{names}")


def _files(answer: Snapshot) -> str:
    aside = f", {counted(answer.aside, 'version')} aside (conflicts)" if answer.aside else ""
    return f"{counted(answer.files, 'file')}, {present.size(answer.size)}{aside}"


def _list(answer: Snapshots) -> str:
    if not answer.snapshots:
        return "no snapshots are kept: `mesh snapshot create` keeps one"
    rows = [
        (
            one.id[:_ID_SHOWN],
            present.when(one.created_ms) if one.created_ms else "-",
            one.person,
            one.problem or _files(one),
            ", ".join(one.names),
        )
        for one in answer.snapshots
    ]
    return table(("ID", "WHEN", "WHO", "WHAT", "NAMES"), rows)


def _show(answer: SnapshotShown, under: str = "") -> str:
    one = answer.snapshot
    lines = [f"{one.id}  {safe(', '.join(one.names))}".rstrip()]
    lines.append(
        one.problem or f"{_files(one)}, {present.when(one.created_ms)}, {safe(one.person)}"
    )
    rows = [
        (
            "aside" if file.is_aside else file.mode,
            present.size(file.size),
            file.content[:_ID_SHOWN],
            file.path,
        )
        for file in answer.files
    ]
    if rows:
        lines.append(table((), rows))
    elif under and not one.problem:
        lines.append(f"nothing lies at {safe(under)} in it (seen from the workspace's root)")
    return "\n".join(lines) + _more(answer.total, len(rows))


def _diff(answer: SnapshotDiff) -> str:
    if not answer.total:
        return "no differences"
    rows = [
        (one.kind, f"{one.path_before} -> {one.path}" if one.path_before else one.path)
        for one in answer.differences
    ]
    return table((), rows) + _more(answer.total, len(rows))


def _more(total: int, listed: int) -> str:
    return f"\n... and {total - listed} more (--limit)" if total > listed else ""
