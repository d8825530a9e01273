"""What a person must decide, found in the ledger: the one definition that all verbs share.

Three things are contests. A file whose versions no merge can join; a path that several living files
with different contents claim; a path that is a file for one node and a folder for another. A hidden
file that only repeats what the one in the folder is or was is none: nobody misses anything.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.api.answers import ContestKind
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import FileState, head_of, repeats
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId, short

STATES_PER_TURN: Final = 500
"""Files looked at before links get their turn: about 2 ms (2.6 µs each, and their sizes)."""


class Contest(Struct, frozen=True):
    """A path to decide about, and the living files that are in it (the first one owns the path)."""

    path: str
    kind: ContestKind
    files: tuple[FileId, ...]


def contests_of(ledger: Ledger, state: FileState) -> Iterator[Contest]:
    """Yield what is to be decided about a file, and about the path that it owns.

    Over all states, every contest comes exactly once. Cost: a few look-ups.
    """
    if state.file == TREE_FILE:
        return
    path = ledger.index.path_of(state.file)
    if len(state.heads) > 1 and head_of(state).rivals:
        yield Contest(path or short(state.file), ContestKind.VERSIONS, (state.file,))
    if path is not None and ledger.index.owner(path) == state.file:
        contest = contest_at(ledger, path)
        if contest is not None:
            yield contest


def contest_at(ledger: Ledger, path: str) -> Contest | None:
    """Return what is to be decided about who stands at a path."""
    claims = ledger.index.claims(path)
    if claims and ledger.index.has_below(path):
        return Contest(path, ContestKind.FOLDER, claims)
    if len(claims) < 2:  # noqa: PLR2004 - nobody else
        return None
    shown = ledger.state(claims[0])
    hidden = [ledger.state(file) for file in claims[1:]]
    if all(shown and other and repeats(shown, other) for other in hidden):
        return None
    return Contest(path, ContestKind.FILES, claims)


def stands(ledger: Ledger, file: FileId) -> bool:
    """Return whether a file is the one that a folder shows at its path."""
    path = ledger.index.path_of(file)
    return (
        path is not None and ledger.index.owner(path) == file and not ledger.index.has_below(path)
    )


def explained(contest: Contest, *, is_archived: bool) -> str:
    """Return in sentences why a path's file is not (alone) in the folder, and what to do."""
    path = shlex.quote(contest.path)
    if contest.kind is not ContestKind.FOLDER:
        return "Several files have this name; the folder shows one: see `mesh conflicts`."
    where = "kept in the archive" if is_archived else "kept, and its content is on its way here"
    return (
        "It is not in the folder, since a folder of this name stands there. The file is "
        f"{where} (`mesh cat {path}` prints it), and comes back when the folder goes; or decide: "
        "see `mesh conflicts`."
    )
