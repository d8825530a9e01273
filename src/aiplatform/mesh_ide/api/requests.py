"""What can be asked of a serving node. Every request names the record it is answered with."""

from __future__ import annotations

from typing import Generic, TypeVar, get_args

from msgspec import Struct

from aiplatform.mesh_ide.api import answers, snapshot_answers

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


class Ask(Struct, Generic[A_co], frozen=True, tag_field="verb"):
    """A request that is answered with an ``A_co``."""


def answer_type(request: Ask[A]) -> type[A]:
    """Return the type of a request's answer, as its class names it."""
    (base,) = type(request).__orig_bases__  # type: ignore[attr-defined]
    (answer,) = get_args(base)
    return answer  # type: ignore[no-any-return]


class AskStatus(Ask[answers.Status], frozen=True, tag="status"):
    """How is everything?"""


class AskPeers(Ask[answers.Peers], frozen=True, tag="peers"):
    """Who is linked, and how?"""


class AskDial(Ask[answers.Done], frozen=True, tag="dial"):
    """Where its issuer is now stands in this ticket: dial it."""

    ticket: str


class AskPing(Ask[answers.PingResult], frozen=True, tag="ping"):
    """How long does a message take to a node and back? Streams each round."""

    node: str
    count: int = 4


class AskWhy(Ask[answers.Why], frozen=True, tag="why"):
    """Where is this file, who has it, and if nobody: why?"""

    path: str


class AskSync(Ask[answers.SyncProgress], frozen=True, tag="sync"):
    """Look at the folder again; with ``wait`` until every member has everything."""

    wait: bool = False
    only_online: bool = False


class AskHistory(Ask[answers.History], frozen=True, tag="history"):
    """Which versions of a file are there? The newest first."""

    path: str
    limit: int = 1000
    with_edits: bool = False


class AskBlame(Ask[answers.Blame], frozen=True, tag="blame"):
    """Who wrote which line?"""

    path: str


class AskCat(Ask[answers.Content], frozen=True, tag="cat"):
    """Return a version's bytes (empty ``version``: the present one)."""

    path: str
    version: str = ""


class AskRestore(Ask[answers.Changed], frozen=True, tag="restore"):
    """Bring a version back as a new one (empty ``version``: the last before a deletion)."""

    path: str
    version: str = ""
    to: str = ""


class AskDeleted(Ask[answers.Deleted], frozen=True, tag="deleted"):
    """Which deleted files can be brought back?"""


class AskConflicts(Ask[answers.Conflicts], frozen=True, tag="conflicts"):
    """What needs a decision?"""


class AskResolve(Ask[answers.Changed], frozen=True, tag="resolve"):
    """Keep this side of a conflict (a node's label, or the id that `mesh conflicts` shows).

    With ``to`` that side, a file, goes to another path, and both are kept.
    """

    path: str
    side: str
    to: str = ""


class AskHeld(Ask[answers.Held], frozen=True, tag="held"):
    """What waits for a word?"""


class AskRelease(Ask[answers.Done], frozen=True, tag="release"):
    """Let a held change through."""

    hold: int


class AskReject(Ask[answers.Done], frozen=True, tag="reject"):
    """Undo a held change."""

    hold: int


class AskShare(Ask[answers.Shared], frozen=True, tag="share"):
    """Make a ticket."""

    role: str = "edit"
    expires_s: float = 24 * 3600.0


class AskMembers(Ask[answers.Members], frozen=True, tag="members"):
    """Who belongs?"""


class AskRemove(Ask[answers.Done], frozen=True, tag="remove-member"):
    """End a membership."""

    node: str


class AskRole(Ask[answers.Done], frozen=True, tag="set-role"):
    """Give a member another role."""

    node: str
    role: str


class AskLeave(Ask[answers.Done], frozen=True, tag="leave"):
    """Stop being a member, tell the others, and stop serving."""


class AskSkipped(Ask[answers.SkippedFiles], frozen=True, tag="skipped"):
    """What in the folder does not replicate, and why?"""


class AskDoctor(Ask[answers.Checks], frozen=True, tag="doctor"):
    """Is anything wrong with this node's set-up?"""


class AskEdit(Ask[answers.Changed], frozen=True, tag="edit"):
    """Splice a text: (position, characters to delete, text to insert), in code points."""

    path: str
    splices: tuple[tuple[int, int, str], ...]


class AskPut(Ask[answers.Changed], frozen=True, tag="put"):
    """Give a file this content; creates it if there is none."""

    path: str
    content: bytes


class AskSnapshotCreate(Ask[snapshot_answers.Snapshot], frozen=True, tag="snapshot-create"):
    """Keep the state of the whole workspace, by a name if one is given."""

    name: str = ""


class AskSnapshots(Ask[snapshot_answers.Snapshots], frozen=True, tag="snapshots"):
    """Which states are kept?"""


class AskSnapshot(Ask[snapshot_answers.SnapshotShown], frozen=True, tag="snapshot"):
    """What is in a snapshot (a name, or the beginning of an id), at or below ``under``?"""

    snapshot: str
    under: str = ""
    limit: int = 10_000


class AskSnapshotDiff(Ask[snapshot_answers.SnapshotDiff], frozen=True, tag="snapshot-diff"):
    """What differs between two snapshots (``now``: the present state)?"""

    before: str
    after: str = "now"
    limit: int = 10_000


class AskSnapshotDrop(Ask[snapshot_answers.Snapshot], frozen=True, tag="snapshot-drop"):
    """Let a snapshot go."""

    snapshot: str


class AskEvents(Ask[answers.Done], frozen=True, tag="events"):
    """Stream what happens from now on, until cancelled."""


class AskDown(Ask[answers.Done], frozen=True, tag="down"):
    """Stop serving (answered before the node stops)."""


AnySnapshotAsk = AskSnapshotCreate | AskSnapshots | AskSnapshot | AskSnapshotDiff | AskSnapshotDrop

AnyAsk = (
    AskStatus
    | AskPeers
    | AskDial
    | AskPing
    | AskWhy
    | AskSync
    | AskHistory
    | AskBlame
    | AskCat
    | AskRestore
    | AskDeleted
    | AskConflicts
    | AskResolve
    | AskHeld
    | AskRelease
    | AskReject
    | AskShare
    | AskMembers
    | AskRemove
    | AskRole
    | AskLeave
    | AskSkipped
    | AskDoctor
    | AskEdit
    | AskPut
    | AnySnapshotAsk
    | AskEvents
    | AskDown
)
