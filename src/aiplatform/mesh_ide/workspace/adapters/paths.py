"""Which paths and link targets are ours to touch: checks by text, before any file is."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.workspace.ignore import is_control_name, judge_name

NAME_BYTES_MAX: Final = 255
"""``NAME_MAX`` of every common filesystem."""

PATH_BYTES_MAX: Final = 3900
"""``PATH_MAX`` is 4096 with the root's own path; programs beside us open by whole paths."""

FOLDER_DEPTH_MAX: Final = 128
"""A walk holds one descriptor a level; the usual limit is 1024 for the whole process."""


class BadPathError(ValueError):
    """The path is not one of a file inside the root."""


def split_path(path: str) -> list[str]:
    """Return the components of a relative path.

    Raises:
        BadPathError: absolute, empty, with ``.``, ``..``, NUL, over-long or not UTF-8.
    """
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        raise BadPathError("the name is not valid UTF-8") from None
    if size > PATH_BYTES_MAX:
        raise BadPathError(f"the path has {size} bytes, the most is {PATH_BYTES_MAX}")
    parts = path.split("/")
    if len(parts) > FOLDER_DEPTH_MAX:
        raise BadPathError(f"the path is deeper than {FOLDER_DEPTH_MAX} folders")
    if "" in parts or "." in parts or ".." in parts:
        raise BadPathError("the path is absolute, empty or has an empty, '.' or '..' component")
    if "\0" in path:
        raise BadPathError("the path has a NUL")
    if size > NAME_BYTES_MAX and any(len(part.encode()) > NAME_BYTES_MAX for part in parts):
        raise BadPathError(f"a component has more than {NAME_BYTES_MAX} bytes")
    return parts


def split_writable(path: str) -> list[str]:
    """Return the components of a path that a peer may ask us to write.

    Raises:
        BadPathError: as ``split_path``, or a component passes for a control folder or a secret.
    """
    parts = split_path(path)
    if any(is_control_name(part) for part in parts):
        raise BadPathError("control folders (.git and the like) are never written")
    if judge_name(parts[-1], is_folder=False) is not None:
        raise BadPathError("files of this name belong to one machine and are never written")
    return parts


def problem_of_length(path: str, name: str) -> str | None:
    """Return why a path found in a folder is too long to travel, or ``None``."""
    if len(path.encode()) > PATH_BYTES_MAX or len(name.encode()) > NAME_BYTES_MAX:
        return "the path is too long for other machines"
    return None


def problem_of_target(target: str, depth: int) -> str | None:
    """Return why a symlink's target leads (or may lead) out of the root, or ``None``.

    ``..`` is accepted at the beginning only: the folders above the link are real folders, so those
    steps are exact, while one after a name may start from wherever another link leads.

    Args:
        target: the link's text.
        depth: how many folders below the root the link stands (0: in the root).
    """
    if not target or target.startswith("/") or "\0" in target:
        return "its target is absolute or empty"
    steps = target.split("/")
    up = 0
    while up < len(steps) and steps[up] in {"..", "."}:
        up += 1
    if steps[:up].count("..") > depth or ".." in steps[up:]:
        return "its target leaves the folder, or may (a '..' after a name)"
    if any(is_control_name(step) for step in steps[up:]):
        return "its target is a control folder"
    return None
