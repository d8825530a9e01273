"""What the workspace part tells the rest of the node."""

from __future__ import annotations

from msgspec import Struct

from aiplatform.mesh_ide.model.ids import BlobHash, FileId


class ContentWanted(Struct, frozen=True):
    """These contents (with size and the file that needs them) are not on this node."""

    blobs: tuple[tuple[BlobHash, int, FileId], ...]


class ContentHeld(Struct, frozen=True):
    """The contents of these files' heads are on this node's disk now."""

    files: tuple[FileId, ...]


class FolderTrouble(Struct, frozen=True):
    """Something about the folder a person should know (``None``: it is over)."""

    problem: str | None


class WritesFailed(Struct, frozen=True):
    """The folder refused writes it had not refused before: how many, and the first of them."""

    count: int
    path: str
    problem: str


WorkspaceNotice = ContentWanted | ContentHeld | FolderTrouble | WritesFailed
