"""Verbs that look back and go back: history, blame, cat, restore."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.answers import Deleted, DeletedFile
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.api.control import CalledError
from aiplatform.mesh_ide.cli import present
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption
from aiplatform.mesh_ide.cli.output import (
    ROOT,
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


class OutsideError(LocalError):
    """A path leads out of the workspace."""


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
    """List every version of a file, and who wrote it. The newest comes first."""
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


@app.command(
    "restore",
    epilog="Example: mesh restore README.md --version 3; all that was deleted: mesh restore ./",
)
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
    """Bring back a deleted file, or an older version as a new one.

    A folder (docs/, with the slash) brings back every deleted file in it; `.` is the current
    folder, `/` the whole workspace. What stands in the folder now is left as it is.
    """
    with connect(folder) as node:
        if listed:
            found = _listed(node.call(requests.AskDeleted()), inside(folder, path) if path else "")
            print_json("restore", found) if as_json else print_text(present.deleted(found))
            return
        if not path:
            raise MissingPathError("name a file, or see with --list what can be restored")
        below = _folder_named(folder, path)
        if below is not None:
            if version or to:
                raise MissingPathError("--version and --to are for one file: name it")
            _restore_below(node, below, as_json=as_json)
            return
        request = requests.AskRestore(
            inside(folder, path), version, inside_new(folder, to) if to else ""
        )
        try:
            answer = node.call(request)
        except CalledError as error:
            below_it = _deleted_below(node, request.path)
            if not below_it or _deleted_at(node, request.path):
                raise
            raise MissingPathError(
                f"{path} is a folder: `mesh restore {path}/` brings back the "
                f"{counted(len(below_it), 'deleted file')} in it"
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


def _folder_named(word: str, path: str) -> str | None:
    """Return the folder of the workspace that a path names; ``None``: it may be a file's.

    A slash at the end says folder, and so do `.` and `..`, which no file is called, and whatever
    else leads to the workspace's root. `/` alone is that root, as in an ignore file.

    Raises:
        OutsideError: it is a folder outside of the workspace.
    """
    place = ROOT if path == "/" else inside(word, path)
    if place != ROOT and not path.endswith("/") and path.rpartition("/")[2] not in {".", ".."}:
        return None
    if place.startswith("/") or place.split("/", 1)[0] == "..":
        raise OutsideError(f"{safe(path)} is not in the workspace: `/` is the whole workspace")
    return place


def _deleted_at(node: ControlClient, path: str) -> bool:
    """Return whether a file was deleted at this very path."""
    return any(file.path == path for file in node.call(requests.AskDeleted()).files)


def _deleted_below(node: ControlClient, folder: str) -> tuple[DeletedFile, ...]:
    """Return what was deleted below a folder, one file a path."""
    prefix = "" if folder == ROOT else f"{folder}/"
    found = node.call(requests.AskDeleted()).files
    return tuple({f.path: f for f in found if f.path.startswith(prefix)}.values())


def _restore_below(node: ControlClient, folder: str, *, as_json: bool) -> None:
    """Bring back every deleted file below a folder; one that cannot come stops no other.

    A path that is in use again is left alone: it has a history of its own since.

    Raises:
        MissingPathError: nothing was deleted there.
        NotAllRestoredError: some did not come back.
    """
    where = "the workspace" if folder == ROOT else f"{safe(folder)}/"
    found = _deleted_below(node, folder)
    if not found:
        raise MissingPathError(f"no deleted file lies below {where}: see `mesh restore --list`")
    left = [file.path for file in found if file.is_replaced]
    restored, failed = _restore_all(node, [file.path for file in found if not file.is_replaced])
    if as_json:
        result = {"folder": folder, "restored": restored, "failed": failed, "left": left}
        print_json("restore", result)
    else:
        if restored:
            print_text("\n".join(map(safe, restored)))
        note(f"{counted(len(restored), 'file is', 'files are')} back in {where}")
        if left:
            paths = counted(len(left), "path is", "paths are")
            note(f"{paths} in use again and left alone: see `mesh restore --list`")
    for path, problem in failed.items():
        note(f"{safe(path)}: {problem}")
    if failed:
        raise NotAllRestoredError(f"{counted(len(failed), 'file')} in {where} did not come back")


def _restore_all(node: ControlClient, paths: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Bring deleted files back; return which came, and why the others did not."""
    restored: list[str] = []
    failed: dict[str, str] = {}
    try:
        for path in paths:
            progress(f"{len(restored)} of {len(paths)} restored")
            try:
                node.call(requests.AskRestore(path))
            except CalledError as error:
                failed[path] = str(error)
            else:
                restored.append(path)
    except KeyboardInterrupt:
        progress_over()
        note(f"{len(restored)} of {len(paths)} are back; the same command goes on")
        raise
    progress_over()
    return restored, failed
