"""Whether what was read may travel: secrets stay at home, and links that point outside."""

from __future__ import annotations

from aiplatform.mesh_ide.ports.filetree import SkipReason
from aiplatform.mesh_ide.workspace.adapters.opened import Content, Entry, Kind
from aiplatform.mesh_ide.workspace.adapters.paths import problem_of_target
from aiplatform.mesh_ide.workspace.ignore import Skip, judge_content, judge_size


def judge_unread(entry: Entry) -> Skip | None:
    """Return why a file is left out that need not be read to know, or ``None``."""
    if entry.kind is not Kind.FILE or entry.stat is None:
        return None
    return judge_size(entry.name, entry.stat.size)


def judge_found(path: str, entry: Entry, found: Content) -> Skip | None:
    """Return why a file or link that was read is left out, or ``None``.

    The very bytes are judged that were hashed: nobody can exchange them in between.
    """
    if found.content is None:
        # It may have grown since it was listed.
        return None if found.blob is None else judge_size(entry.name, found.stat.size)
    if entry.kind is not Kind.LINK:
        return judge_content(entry.name, found.content)
    try:
        problem = problem_of_target(found.content.decode(), path.count("/"))
    except UnicodeDecodeError:
        return Skip(SkipReason.NAME_NOT_UTF8, "its target is not UTF-8")
    return None if problem is None else Skip(SkipReason.OUTSIDE_LINK, problem)
