"""Verbs that look back and go back: history, blame, cat, restore."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.answers import Deleted
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.api.control import CalledError
from aiplatform.mesh_ide.cli import present
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption
from aiplatform.mesh_ide.cli.output import (
    connect,
    inside,
    inside_new,
    note,
    note_undo,
    print_json,
    print_text,
    progress,
    progress_over,
    safe,
)
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.model.errors import LocalError, MeshIDEError

app = typer.Typer()

PathArgument = Annotated[str, typer.Argument(metavar="FILE")]
VersionOption = Annotated[
    str,
    typer.Option(
        "--version", "-v", metavar="V", help="A number or id of `mesh history`.", show_default=False
    ),
]


class MissingPathError(LocalError):
    """A verb needs a file."""


class NotAllRestoredError(MeshIDEError):
    """Some files of a folder did not come back."""


@app.command("history", epilog="Example: mesh history README.md")
def history(
    path: PathArgument,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Show at most so many.")] = 100,
    *,
    with_edits: Annotated[
        bool, typer.Option("--all", help="Live edits between saves, too.")
    ] = False,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """List every version of a file, and who wrote it; the newest first."""
    with connect(folder) as node:
        request = requests.AskHistory(inside(folder, path), limit, with_edits)
        answer = node.call(request)
    print_json("history", answer) if as_json else print_text(present.history(answer))


@app.command("blame", epilog="Example: mesh blame README.md")
def blame(path: PathArgument, *, folder: FolderOption = "", as_json: JsonOption = False) -> None:
    """Show who last wrote each line, and when."""
    with connect(folder) as node:
        answer = node.call(requests.AskBlame(inside(folder, path)))
    if as_json:
        print_json("blame", answer)
    elif answer.lines:
        print_text(present.blame(answer))


@app.command("cat", epilog="Example: mesh cat README.md --version 3")
def cat(
    path: PathArgument,
    version: VersionOption = "",
    *,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Print a version's bytes (without --version: the present ones)."""
    with connect(folder) as node:
        answer = node.call(requests.AskCat(inside(folder, path), version))
    if as_json:
        print_json("cat", answer)
        return
    sys.stdout.buffer.write(answer.content)
    sys.stdout.buffer.flush()


@app.command("restore", epilog="Example: mesh restore README.md --version 3")
def restore(  # noqa: PLR0913 - one argument an option
    path: Annotated[str, typer.Argument(metavar="FILE", show_default=False)] = "",
    version: VersionOption = "",
    to: Annotated[
        str, typer.Option("--to", metavar="NEW", help="Into a new file.", show_default=False)
    ] = "",
    *,
    listed: Annotated[
        bool, typer.Option("--list", help="List the deleted files (of FILE or folder).")
    ] = False,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Bring a deleted file or an older version back, as a new version.

    A folder (docs/, with the slash) brings back every deleted file in it.
    """
    with connect(folder) as node:
        if listed:
            found = _listed(node.call(requests.AskDeleted()), inside(folder, path) if path else "")
            print_json("restore", found) if as_json else print_text(present.deleted(found))
            return
        if not path:
            raise MissingPathError("name a file, or see with --list what can be restored")
        if path.endswith("/"):
            if version or to:
                raise MissingPathError("--version and --to are for one file: name it")
            _restore_below(node, inside(folder, path), as_json=as_json)
            return
        request = requests.AskRestore(
            inside(folder, path), version, inside_new(folder, to) if to else ""
        )
        try:
            answer = node.call(request)
        except CalledError as error:
            count = len(_deleted_below(node, request.path))
            if not count:
                raise
            raise MissingPathError(
                f"{path} is a folder: `mesh restore {path}/` brings back the "
                f"{counted(count, 'deleted file')} in it"
            ) from error
    if as_json:
        print_json("restore", answer)
        return
    print_text(answer.message)
    note_undo(folder, answer.undo)


def _listed(found: Deleted, path: str) -> Deleted:
    """Return what was deleted at a path or below it; all for the root."""
    place = path.rstrip("/")
    if place in {"", "."}:
        return found
    return Deleted(
        tuple(f for f in found.files if f.path == place or f.path.startswith(f"{place}/"))
    )


def _deleted_below(node: ControlClient, folder: str) -> tuple[str, ...]:
    """Return the paths below a folder at which files were deleted."""
    found = node.call(requests.AskDeleted()).files
    return tuple(dict.fromkeys(f.path for f in found if f.path.startswith(f"{folder}/")))


def _restore_below(node: ControlClient, folder: str, *, as_json: bool) -> None:
    """Bring back every deleted file below a folder; one that cannot come stops no other.

    Raises:
        MissingPathError: nothing was deleted there.
        NotAllRestoredError: some did not come back.
    """
    restored: list[str] = []
    failed: dict[str, str] = {}
    for path in _deleted_below(node, folder):
        progress(f"{len(restored)} restored")
        try:
            node.call(requests.AskRestore(path))
        except CalledError as error:
            failed[path] = str(error)
        else:
            restored.append(path)
    progress_over()
    if not restored and not failed:
        raise MissingPathError(f"no deleted file lies below {folder}/: see `mesh restore --list`")
    if as_json:
        print_json("restore", {"folder": folder, "restored": restored, "failed": failed})
    elif restored:
        print_text("\n".join(map(safe, restored)))
        note(f"{counted(len(restored), 'file is', 'files are')} back in {safe(folder)}/")
    for path, problem in failed.items():
        note(f"{safe(path)}: {problem}")
    if failed:
        raise NotAllRestoredError(f"{counted(len(failed), 'file')} in {folder}/ did not come back")
