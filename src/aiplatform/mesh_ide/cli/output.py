"""What every verb shares: its way to the node, and its way to print."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from aiplatform.mesh_ide.api.answers import SCHEMA
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.api.control import NotUtf8Error
from aiplatform.mesh_ide.api.locations import (
    Locations,
    NoWorkspaceError,
    Place,
    here,
    identity_of,
)
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.names import visible

ROOT: Final = "."
"""The path of the workspace's own folder, as ``inside`` returns it and nodes know it."""

_WIDTH_MAX: Final = 60
"""Columns of a table are cut to this width on a terminal; --json cuts nothing."""


class StoppedError(MeshIDEError):
    """Somebody pressed Ctrl-C (130: 128 + SIGINT, as shells count)."""

    exit_code = 130
    code = "interrupted"


def locations() -> Locations:
    """Return where this user's nodes lie."""
    return Locations.of(os.environ, os.geteuid())


def folder_of(word: str) -> Path:
    """Return the absolute path of a folder as typed (empty: the current one).

    The path is what people typed, made absolute: links in it are kept.
    """
    base = here()
    return Path(os.path.normpath(base / os.path.expanduser(word))) if word else base  # noqa: PTH111 - as shells do


def place_of(word: str) -> Place:
    """Return the node of the workspace around a folder.

    Raises:
        NoWorkspaceError: there is none.
    """
    start = folder_of(word)
    if word and not start.is_dir():
        found = [p for p in locations().places() if p.name == word or p.folder == start]
        if len(found) == 1:
            return found[0]
        raise NoWorkspaceError(f"there is no folder {start}")
    return locations().find(start)


def connect(word: str) -> ControlClient:
    """Return a connection to the node that serves the workspace around a folder.

    Raises:
        NoWorkspaceError: there is no workspace.
        NotServedError: nobody serves it.
    """
    place = place_of(word)
    return ControlClient(locations().socket(place.state), place.state)


def inside(word: str, path: str) -> str:
    """Return a path as typed, relative to the workspace's root, ``/``-separated.

    Paths relative to the current folder are understood, and absolute ones. One that is not UTF-8
    is returned as the node shows it: no file of a workspace is called so, but it may be skipped.
    """
    start = folder_of(word)
    root = root_around(place_of(word), start)
    full = Path(os.path.normpath(start / path))
    if root is not None and full.is_relative_to(root):
        return visible(full.relative_to(root).as_posix())
    return visible(path)


def inside_new(word: str, path: str) -> str:
    """Return the path of a file that is to be made, as ``inside`` does.

    Raises:
        NotUtf8Error: other machines could not write the name.
    """
    if visible(path) != path:
        raise NotUtf8Error(f"{visible(path)} is not UTF-8: other machines could not write it")
    return inside(word, path)


def root_around(place: Place, start: Path) -> Path | None:
    """Return where a workspace's folder stands, as seen from a folder in it.

    It may have been moved, or be reached through a link.
    """
    standing = None if place.folder is None else identity_of(place.folder)
    for candidate in (start, *start.parents):
        is_linked = standing is not None and identity_of(candidate) == standing
        if is_linked or place.is_same(candidate):
            return candidate
    return place.folder


# --- printing --------------------------------------------------------------------------------

_printed: Final[set[str]] = set()
"""The verbs whose answers this process printed as JSON."""


def print_json(verb: str, result: Struct | Mapping[str, object]) -> None:
    """Print one answer: ``{"schema": 1, "verb": ..., "result": ...}``."""
    _printed.add(verb)
    envelope = {"schema": SCHEMA, "verb": verb, "result": result}
    _write(msgspec.json.encode(envelope).decode())


def print_problem(error: MeshIDEError) -> None:
    """Print why there is no answer: ``{"schema": 1, "problem": {"code": ...}}``.

    Nothing if an answer was printed: then the exit code says what is wrong with it.
    """
    if _printed:
        return
    problem = {"code": error.code, "exit_code": error.exit_code, "message": visible(str(error))}
    _write(msgspec.json.encode({"schema": SCHEMA, "problem": problem}).decode())


def print_text(text: str) -> None:
    """Print data."""
    _write(text)


def note(text: str) -> None:
    """Tell people something that is not data."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def note_undo(word: str, command: str) -> None:
    """Tell people the command that takes back what was done; its paths begin at the root."""
    if not command:
        return
    root = root_around(place_of(word), folder_of(word))
    where = "" if root is None or root == here() else f" (in {safe(str(root))})"
    note(f"Undo{where}: {safe(command)}")


def progress(text: str) -> None:
    """Show how far something is, on one line that the next one replaces; terminals only."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def progress_over() -> None:
    """Take the progress line away."""
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows in aligned columns; the last column is never cut or padded."""
    width_max = _WIDTH_MAX if sys.stdout.isatty() else 10_000
    lines = [header, *rows] if header else rows
    cells = [[safe(cell) for cell in line] for line in lines]
    widths = [min(width_max, max(map(len, column))) for column in zip(*cells, strict=True)]
    text: list[str] = []
    for line in cells:
        fitted = [
            (cell if len(cell) <= width else cell[: width - 1] + "…").ljust(width)
            for cell, width in zip(line[:-1], widths, strict=False)
        ]
        text.append("  ".join([*fitted, line[-1]]).rstrip())
    return "\n".join(text)


def safe(text: str) -> str:
    """Return text without control characters: file names must not drive the terminal."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
