"""Answers as people read them."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import PurePosixPath

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.answers import FOLDER_SIDE, ContestKind
from aiplatform.mesh_ide.cli.output import safe, table
from aiplatform.mesh_ide.model.counting import counted

_KIB = 1024
_MINUTE_S = 60
_DAY_H = 24


def when(time_ms: int) -> str:
    """Return a time in the local zone, to the second."""
    moment = datetime.fromtimestamp(time_ms / 1000, UTC).astimezone()
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def size(count: int) -> str:
    """Return a number of bytes in three digits."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < _KIB:
            break
        value, unit = value / _KIB, larger
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def duration(ms: int) -> str:
    """Return a duration in its two largest units."""
    minutes, seconds = divmod(ms // 1000, _MINUTE_S)
    hours, minutes = divmod(minutes, _MINUTE_S)
    days, hours = divmod(hours, _DAY_H)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def rtt(ms: float | None) -> str:
    """Return a round trip; the link layer tells whole milliseconds."""
    if ms is None:
        return "-"
    return f"{ms:.1f} ms" if ms >= 1 else "under 1 ms"


def status(answer: answers.Status) -> str:
    """Return how a node is."""
    online = sum(peer.state == "online" for peer in answer.peers)
    lines = [
        f"workspace  {safe(answer.workspace)}  ({answer.workspace_id[:10]})",
        (
            f"node       {safe(answer.label)}  {answer.role}, {answer.node_type}, "
            f"up {duration(answer.uptime_ms)}, process {answer.pid}"
        ),
        f"folder     {safe(answer.folder) or 'none'}",
        f"addresses  {', '.join(answer.addresses)}",
        f"files      {answer.files}, {size(answer.bytes)}"
        + (f"; {answer.skipped} skipped" if answer.skipped else ""),
        f"members    {answer.members}, {online} of {counted(len(answer.peers), 'other')} online",
        f"state      {_state(answer)}",
    ]
    if answer.peers:
        lines += ["", peers(answers.Peers(answer.peers))]
    lines += [f"problem: {safe(problem)}" for problem in answer.problems]
    return "\n".join(lines)


def _state(answer: answers.Status) -> str:
    parts: list[str] = []
    if not answer.is_looked_at:
        parts.append("looking at the folder")
    if answer.outstanding or answer.authoring:
        changes = counted(answer.outstanding + answer.authoring, "change")
        parts.append(f"{changes} under way")
    if answer.conflicts:
        parts.append(f"{counted(answer.conflicts, 'conflict')} (mesh conflicts)")
    if answer.held:
        parts.append(f"{counted(answer.held, 'held change')} (mesh held)")
    if answer.unarchived:
        parts.append(f"{counted(answer.unarchived, 'content')} not archived yet")
    parts += _missing(answer)
    lacking = [peer for peer in answer.peers if peer.pending != 0]
    if answer.is_synced:
        is_all = not (answer.staying or answer.is_tree_staying)
        parts.insert(0, f"synced: every member has everything{'' if is_all else ' else'}")
    elif lacking:
        names = ", ".join(safe(peer.label) for peer in lacking)
        parts.append(f"not confirmed yet by {names}")
    parts += _staying(answer)
    return "; ".join(parts) or "ready"


def _missing(answer: answers.Status) -> list[str]:
    """Return what this node itself has not got into its folder or onto its disk."""
    if answer.unwritten:
        return [f"{counted(answer.unwritten, 'file')} could not be written here"]
    if answer.lacking and answer.is_looked_at and not (answer.outstanding or answer.authoring):
        return [f"this node lacks {counted(answer.lacking, 'file')}"]
    return []


def _staying(answer: answers.Status) -> list[str]:
    """Return what was changed here and stays here."""
    parts: list[str] = []
    if answer.staying:
        parts.append(f"{counted(answer.staying, 'file')} changed here, which nobody takes")
    if answer.is_tree_staying:
        parts.append("names or places changed here, which nobody takes")
    return parts


def peers(answer: answers.Peers) -> str:
    """Return the other members and their links."""
    if not answer.peers:
        return "no other members yet: `mesh share` prints a ticket for one"
    rows = [
        (
            peer.label,
            peer.state,
            peer.role,
            rtt(peer.rtt_ms) if peer.state == "online" else "-",
            "-" if peer.pending is None else str(peer.pending),
            peer.address or peer.detail or ", ".join(peer.known_addresses[:2]) or "-",
        )
        for peer in answer.peers
    ]
    return table(("NODE", "STATE", "ROLE", "LATENCY", "PENDING", "ADDRESS"), rows)


def why(answer: answers.Why) -> str:
    """Return everything about one path."""
    lines = [f"{safe(answer.path)}: {answer.state}", f"  {safe(answer.explanation)}"]
    if answer.file:
        lines.append(
            f"  version {answer.version}, {size(answer.size)}, {answer.mode or 'gone'}"
            f"{', text' if answer.is_text else ''}; heads {', '.join(answer.heads)}"
        )
    if answer.content:
        where = " and ".join(answer.content_is_at) or "not here yet"
        lines.append(f"  content {answer.content[:10]}: {where}")
    for replica in answer.replicas:
        has = {None: "not known", True: "has it", False: "has not confirmed it"}[replica.has_it]
        lines.append(f"  {safe(replica.label)} ({replica.state}): {has}")
    return "\n".join(lines)


def history(answer: answers.History) -> str:
    """Return a file's versions."""
    rows = [
        (
            ("* " if v.is_head else "  ") + str(v.version),
            v.id,
            when(v.time_ms),
            _who(v.who, v.principal),
            v.node,
            v.kind,
            size(v.size),
            "" if v.inference == "known" else v.inference.replace("_", " "),
        )
        for v in answer.versions
    ]
    text = table(("  VERSION", "ID", "WHEN", "WHO", "NODE", "KIND", "SIZE", "BASE"), rows)
    if answer.total > len(answer.versions):
        older = counted(answer.total - len(answer.versions), "older one")
        text += f"\n... and {older} (--limit)"
    return text


def _who(name: str, principal: str) -> str:
    return name if principal == "person" else f"{name} ({principal})"


def blame(answer: answers.Blame) -> str:
    """Return every line with its author."""
    if not answer.lines:
        return ""
    number_width = len(str(len(answer.lines)))
    rows = [
        (line.id, _who(line.who, line.principal), line.node, when(line.time_ms))
        for line in answer.lines
    ]
    left = table((), [(*row, "|") for row in rows]).split("\n")
    return "\n".join(
        f"{before.removesuffix('|')}{line.line:>{number_width}} {safe(line.text)}"
        for before, line in zip(left, answer.lines, strict=True)
    )


def deleted(answer: answers.Deleted) -> str:
    """Return the recovery bin."""
    if not answer.files:
        return "nothing was deleted"
    rows = [(when(f.time_ms), f.who, f.node, f.file[:10], f.path) for f in answer.files]
    return table(("DELETED", "BY", "ON", "ID", "PATH"), rows)


def conflicts(answer: answers.Conflicts, barrier: str = "") -> str:
    """Return what needs a decision; ``barrier``: why it cannot be made on this node."""
    if not answer.conflicts:
        return "no conflicts"
    lines: list[str] = []
    for conflict in answer.conflicts:
        lines.append(f"{safe(conflict.path)}: {_what(conflict)}")
        rows = [
            (
                "  *" if side.is_on_disk else "   ",
                side.id[:10],
                when(side.time_ms) if side.time_ms else "-",
                side.who or "-",
                side.node or "-",
                "-" if side.id == FOLDER_SIDE else size(side.size),
            )
            for side in conflict.sides
        ]
        lines.append(table((), rows))
        if not barrier:
            lines += _ways(conflict)
    if any(side.is_on_disk for conflict in answer.conflicts for side in conflict.sides):
        lines.append("(* is what stands in the folder now)")
    if barrier:
        lines.append(safe(barrier))
    return "\n".join(lines)


def _what(conflict: answers.Conflict) -> str:
    count = len(conflict.sides)
    number = "two" if count == 2 else str(count)  # noqa: PLR2004 - the usual number, as a word
    if conflict.kind == ContestKind.VERSIONS.value:
        return f"{number} versions"
    if conflict.kind == ContestKind.FILES.value:
        return f"{number} files of this name"
    files = "a file" if count == 2 else f"{count - 1} files"  # noqa: PLR2004 - folder and file
    return f"a folder, and {files} of this name that {'waits' if count == 2 else 'wait'} beside it"  # noqa: PLR2004


def _ways(conflict: answers.Conflict) -> list[str]:
    """Return the commands that decide a conflict."""
    path, side = safe(shlex.quote(conflict.path)), conflict.sides[-1]
    command = f"mesh resolve {path}"
    if conflict.kind == ContestKind.VERSIONS.value:
        return [f"  keep one: {command} {side.id[:10]}"]
    both = f"{command} {side.id[:10]} --to {safe(shlex.quote(_other_name(conflict.path, side)))}"
    if conflict.kind == ContestKind.FILES.value:
        return [f"  keep one:  {command} {side.id[:10]}", f"  keep both: {both}"]
    return [
        f"  keep both:            {both}",
        f"  keep only the folder: {command} {FOLDER_SIDE}",
        f"  keep the file's name: mv {path} ANOTHER-NAME",
    ]


def _other_name(path: str, side: answers.ConflictSide) -> str:
    """Return a name for a file beside its own: ``src/new.md`` of a laptop, ``src/new-laptop.md``.

    What people call a node may not suit a path; the file's own id always does.
    """
    place = PurePosixPath(path)
    owner = side.node if side.node.isalnum() else side.id[:10]
    return str(place.with_name(f"{place.stem}-{owner}{place.suffix}"))


def held(answer: answers.Held) -> str:
    """Return what waits for a word."""
    if not answer.holds:
        return "nothing is held"
    lines: list[str] = []
    for hold in answer.holds:
        lines.append(f"{hold.id}  {hold.reason}  since {when(hold.since_ms)}: {safe(hold.detail)}")
        lines += [f"     {safe(path)}" for path in hold.paths[:10]]
        if len(hold.paths) > 10:  # noqa: PLR2004 - as shown above
            lines.append(f"     ... and {len(hold.paths) - 10} more (--json lists all)")
        release = safe(answer.barrier) or f"mesh release {hold.id}"
        lines.append(f"   delete them everywhere: {release}")
        lines.append(f"   bring them back here:   mesh reject {hold.id}")
    return "\n".join(lines)


def members(answer: answers.Members) -> str:
    """Return all members."""
    rows = [(m.label, m.role, m.node_type, m.state, m.node[:10]) for m in answer.members]
    return table(("NODE", "ROLE", "TYPE", "STATE", "ID"), rows)


def skipped(answer: answers.SkippedFiles) -> str:
    """Return what does not replicate."""
    if not answer.files:
        return "nothing is skipped"
    rows = [(file.reason, file.path, file.detail) for file in answer.files]
    text = table(("REASON", "PATH", "DETAIL"), rows)
    return text if answer.is_complete else text + "\n... and more"


def checks(answer: answers.Checks) -> str:
    """Return what a doctor found."""
    marks = {"ok": "ok", "warning": "warning", "problem": "PROBLEM"}
    lines: list[str] = []
    for check in answer.checks:
        lines.append(f"{marks[check.state]:8} {check.name}: {safe(check.found)}")
        if check.advice:
            lines.append(f"         -> {safe(check.advice)}")
    return "\n".join(lines)


def happening(answer: answers.Happening) -> str:
    """Return something that happened, on one line."""
    paths = ", ".join(answer.paths[:3]) + (", ..." if len(answer.paths) > 3 else "")  # noqa: PLR2004 - a line's worth
    tail = f"  {safe(paths)}" if paths else ""
    by = f" ({safe(answer.peer)})" if answer.peer and answer.kind == "files" else ""
    return f"{when(answer.time_ms)}  {answer.kind:10} {safe(answer.text)}{by}{tail}"
