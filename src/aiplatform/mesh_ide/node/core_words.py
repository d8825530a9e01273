"""The words in which a core tells people what happened."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.documents.notices import (
    FilesChanged,
    PeerMisbehaved,
    StorageChanged,
    TreeFlawed,
)
from aiplatform.mesh_ide.mesh.outputs import PeerGone, PeerReady, Warned
from aiplatform.mesh_ide.model.counting import counted
from aiplatform.mesh_ide.node.events import Told
from aiplatform.mesh_ide.workspace.notices import FolderTrouble, WritesFailed

NAMES_WARNED_MAX: Final = 8
"""Of the unusable names in one batch of tree edits; a hostile one may hold thousands."""


# --- peers ---------------------------------------------------------------------------------------


def peer_up(label: str, notice: PeerReady) -> Told:
    """Say who came."""
    return Told("peer-up", f"{label} is here", notice.peer)


def peer_down(label: str, notice: PeerGone) -> Told:
    """Say who left, and why."""
    return Told("peer-down", f"{label} is gone: {notice.detail}", notice.peer)


def members(count: int) -> Told:
    """Say how many belong to the workspace now."""
    return Told("members", counted(count, "member"))


def garbage(label: str, reason: str) -> Warned:
    """Say that a peer's frame could not be read."""
    return Warned(f"{label} sent what is no message: {reason}")


def flooded(label: str) -> Warned:
    """Say why a link was ended that carried too much."""
    return Warned(f"{label} sent more than this node can take in: its link was ended")


def misbehaved(label: str, notice: PeerMisbehaved) -> Warned:
    """Say what was not taken from a peer."""
    return Warned(f"refused from {label}: {notice.reason}")


# --- the store, the folder, the files ------------------------------------------------------------


def storage(notice: StorageChanged) -> Told:
    """Say that the store refuses to write, or works again."""
    return Told("storage", notice.problem or "the store works again")


def folder(notice: FolderTrouble) -> Told:
    """Say what is wrong with the folder, or that it is over."""
    return Told("folder", notice.problem or "the folder is back")


def writes_failed(notice: WritesFailed) -> Told:
    """Say which writes the folder refused."""
    more = f" (and {notice.count - 1} more)" if notice.count > 1 else ""
    text = f"{notice.path}{more} could not be written: {notice.problem}"
    return Told("folder", f"{text}. It is tried again by itself: see `mesh status`")


def files_changed(notice: FilesChanged) -> Told:
    """Say how many files have another frontier, which, and who brought it."""
    return Told("files", f"{counted(len(notice.files), 'file')} changed", notice.peer, notice.files)


def tree_flawed(notice: TreeFlawed) -> list[Warned]:
    """Say which names stand nowhere here, and whether an edit of the tree was left out."""
    out = [
        Warned(f"a member gave a file the name {name!r}, which {why}: it stands nowhere here")
        for name, why in notice.unusable[:NAMES_WARNED_MAX]
    ]
    if notice.problem is not None:
        out.append(Warned(f"an edit of the tree was left out: {notice.problem}"))
    return out
