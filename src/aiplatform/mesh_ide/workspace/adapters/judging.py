"""Whether what was read may travel: secrets stay at home, and links that point outside."""

from __future__ import annotations

from aiplatform.mesh_ide.ports.filetree import SkipReason
from aiplatform.mesh_ide.workspace.adapters.opened import Content, Entry, Kind
from aiplatform.mesh_ide.workspace.adapters.paths import problem_of_target
from aiplatform.mesh_ide.workspace.ignore import SECRET_PROBE_BYTES_MAX, Skip, judge_content


def judge_found(path: str, entry: Entry, found: Content) -> Skip | None:
    """Return why a file or link that was read is left out, or ``None``."""
    if found.content is None:
        return None
    if entry.kind is not Kind.LINK:
        if len(found.content) > SECRET_PROBE_BYTES_MAX:
            return None
        return judge_content(entry.name, found.content)
    try:
        problem = problem_of_target(found.content.decode(), path.count("/"))
    except UnicodeDecodeError:
        return Skip(SkipReason.NAME_NOT_UTF8, "its target is not UTF-8")
    return None if problem is None else Skip(SkipReason.OUTSIDE_LINK, problem)
