"""What the operations share: a serving node, and how people's words become its ids."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import FileState
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.roster import Member, Roster
from aiplatform.mesh_ide.model.entries import EntryRef, FileHead, Principal
from aiplatform.mesh_ide.model.enums import PrincipalKind, Role
from aiplatform.mesh_ide.model.errors import LocalError, MeshIDEError, NotPermittedError
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId, NodeId, SessionId, short
from aiplatform.mesh_ide.node.admission import Admitter
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.driver import NodeDriver
from aiplatform.mesh_ide.node.settings import NodeSettings
from aiplatform.mesh_ide.ports.engine import TextEngine
from aiplatform.mesh_ide.ports.store import Store

_ID_DIGITS_MIN: Final = 4
"""Fewer digits of an id than this name nothing: they would as often be a mistyped name."""


ROOT: Final = "."
"""The path of the workspace's own folder."""


COME_BACK: Final = "`mesh leave`, then `mesh join TICKET .` with a new ticket of an admin"
NO_MEMBER: Final = f"this node is no longer a member, others refuse it; to come back: {COME_BACK}"


class NoSuchNodeError(LocalError):
    """Nobody of this name or id is a member."""


class NoSuchFileError(MeshIDEError):
    """No file stands, or stood, at this path."""


class Serving(Protocol):
    """What the operations need of a serving node (``node.boot.ServingNode`` is one)."""

    @property
    def settings(self) -> NodeSettings:
        """What it is."""

    @property
    def key(self) -> SigningKey:
        """The node's key."""

    @property
    def driver(self) -> NodeDriver:
        """What runs it."""

    @property
    def texts(self) -> TextEngine:
        """Its text engine; only on ``Lane.DOCUMENTS``."""

    @property
    def admitter(self) -> Admitter:
        """Who issues its tickets."""


class Subjects:
    """One serving node, asked in people's words. Every method runs on the event loop."""

    def __init__(self, node: Serving, stop: Callable[[], None]) -> None:
        """Join the node and what ends its serving."""
        self.node = node
        self.stop = stop

    # --- the parts ---------------------------------------------------------------------------

    @property
    def driver(self) -> NodeDriver:
        """Return what runs the node."""
        return self.node.driver

    @property
    def core(self) -> NodeCore:
        """Return the node's state machine (to read; requests change it)."""
        return self.node.driver.core

    @property
    def ledger(self) -> Ledger:
        """Return the files."""
        return self.core.ledger

    @property
    def roster(self) -> Roster:
        """Return the members."""
        return self.core.membership.roster

    @property
    def store(self) -> Store:
        """Return the node's memory; reads of it belong on a thread."""
        return self.node.driver.store

    @property
    def me(self) -> NodeId:
        """Return this node."""
        return NodeId(self.node.key.public)

    def now_ms(self) -> int:
        """Return this node's clock."""
        return self.driver.clock.now_ms()

    def principal(self) -> Principal:
        """Return for whom changes are made."""
        return Principal(PrincipalKind.PERSON, self.node.settings.person)

    # --- nodes -------------------------------------------------------------------------------

    def others(self) -> list[Member]:
        """Return the other members, by label."""
        members = (m for m in self.roster.members.values() if m.node != self.me)
        return sorted(members, key=lambda member: member.label)

    def label(self, node: NodeId) -> str:
        """Return what people call a node."""
        return self.core.membership.label(node)

    def author(self, session: SessionId) -> str:
        """Return what people call the node that a session belongs to."""
        certificate = self.core.membership.certificates.get(session)
        return short(session) if certificate is None else self.label(certificate.node)

    def member(self, word: str) -> Member:
        """Return the member that a label, a name, or the beginning of an id names.

        Raises:
            NoSuchNodeError: none, or several.
        """
        members = list(self.roster.members.values())
        folded = word.casefold()
        found = [m for m in members if m.label == word]
        found = found or [m for m in members if folded in {m.label.casefold(), m.name.casefold()}]
        if not found and len(word) >= _ID_DIGITS_MIN:
            found = [m for m in members if m.node.hex().startswith(folded)]
        if len(found) == 1:
            return found[0]
        if found:
            labels = ", ".join(sorted(member.label for member in found))
            raise NoSuchNodeError(f"{word!r} may be any of {labels}: type one of these")
        labels = ", ".join(sorted(member.label for member in members))
        raise NoSuchNodeError(f"nobody here is called {word!r}: the members are {labels}")

    def require(self, role: Role, what: str) -> None:
        """Check this node's own role.

        Raises:
            NotPermittedError: it may not.
        """
        barrier = self.barrier(role, what)
        if barrier:
            raise NotPermittedError(barrier)

    def barrier(self, role: Role, what: str) -> str:
        """Return why this node's own role does not suffice for something; empty: it does."""
        held = self.roster.role(self.me)
        if held is None and self.core.membership.may_edit:
            return "this node has not heard yet who belongs here: try again when a member is online"
        if held is None:
            return NO_MEMBER
        if held >= role:
            return ""
        return (
            f"this node has the role {held.name.lower()} and may not {what}: ask an admin for "
            f"`mesh members role {self.label(self.me)} {role.name.lower()}`"
        )

    def is_refused_by(self, node: NodeId) -> bool:
        """Return whether a member ended the link because it takes this node for no member."""
        return "not a member" in self.core.membership.link_state(node)[2]

    def is_out(self) -> bool:
        """Return whether this node's membership was ended: its roster says so, or all others."""
        if self.me in self.roster.removed:
            return True
        others = self.others()
        return bool(others) and all(self.is_refused_by(member.node) for member in others)

    # --- what nobody else takes --------------------------------------------------------------

    @property
    def may_edit(self) -> bool:
        """Return whether others take what is changed here."""
        return self.core.replication.own_work.is_taken

    def stays_here(self, file: FileId) -> bool:
        """Return whether nobody takes the present version of a file, since we may not edit."""
        return bool(self.core.replication.own_work.staying((file,)))

    def tree_stays(self) -> bool:
        """Return whether nobody takes the names and places that were changed here."""
        return self.stays_here(TREE_FILE)

    def all_staying(self) -> frozenset[FileId]:
        """Return all files, and perhaps the tree, whose present version nobody takes.

        For a node that nobody is linked with: otherwise what members lack says which of them it
        is about. Cost: one look at each file's state, on a node that may not edit.
        """
        own_work = self.core.replication.own_work
        return own_work.staying(state.file for state in self.ledger.states())

    def why_staying(self) -> str:
        """Return why what this node changes stays here, and what to do."""
        held = self.roster.role(self.me)
        if held is None:
            return "this node is no longer a member: what is changed here stays here"
        return (
            f"this node has the role {held.name.lower()}: what is changed here stays here, until "
            f"an admin allows it (`mesh members role {self.label(self.me)} edit`)"
        )

    # --- files -------------------------------------------------------------------------------

    def file_at(self, path: str) -> tuple[FileId, FileState, FileHead]:
        """Return the living file at a path.

        Raises:
            NoSuchFileError: none.
        """
        file = self.ledger.index.owner(path)
        if file is None:
            raise NoSuchFileError(self.nothing_at(path))
        return self.known(file)

    def file_ever_at(self, path: str) -> tuple[FileId, FileState, FileHead]:
        """Return the file at a path; if none lives there, the one that was deleted last.

        Raises:
            NoSuchFileError: none ever stood there.
        """
        file = self.ledger.index.owner(path)
        if file is not None:
            return self.known(file)
        dead = self.deleted_at(path)
        if not dead:
            raise NoSuchFileError(self.nothing_at(path))
        return self.known(dead[0])

    def deleted_at(self, path: str) -> list[FileId]:
        """Return the deleted files whose place is this path, the one with most versions first."""
        index = self.ledger.index
        found = [
            file
            for file in self.ledger.files()
            if not index.is_alive(file) and index.path_of(file) == path
        ]
        return sorted(found, key=lambda file: (-self._depth(file), file))

    def _depth(self, file: FileId) -> int:
        state = self.ledger.state(file)
        return 0 if state is None else max((head.depth for head in state.heads), default=0)

    def known(self, file: FileId) -> tuple[FileId, FileState, FileHead]:
        """Return all that is known of a file that exists."""
        state, head = self.ledger.state(file), self.ledger.head(file)
        assert state is not None, "asked of a file that is not known"
        assert head is not None, "a file with a state has a head"
        return file, state, head

    def is_folder(self, path: str) -> bool:
        """Return whether a path is the workspace's folder or one in it that holds files."""
        return path == ROOT or self.ledger.index.has_below(path)

    def nothing_at(self, path: str) -> str:
        """Return why there is no file at a path."""
        if self.is_folder(path):
            return f"{path} is a folder: name a file in it"
        skipped = self.core.workspace.skipped.get(path)
        if skipped is not None:
            return f"{path} does not replicate ({skipped.reason.value}): see `mesh why {path}`"
        return (
            f"there is no file {path}, seen from the workspace's root (what is typed counts from "
            "the current folder); if you have just saved it, wait a moment"
        )


def shown(refs: tuple[EntryRef, ...]) -> tuple[str, ...]:
    """Return the forms of entries that people see."""
    return tuple(short(ref.id) for ref in refs)
