"""Changing files on purpose: splices, whole contents, restores."""

from __future__ import annotations

import asyncio

from blake3 import blake3

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.history import LookingBack
from aiplatform.mesh_ide.api.subjects import NoSuchFileError, Subjects, shown
from aiplatform.mesh_ide.model.entries import TEXT_BYTES_MAX
from aiplatform.mesh_ide.model.enums import FileMode, Role
from aiplatform.mesh_ide.model.errors import UnavailableError
from aiplatform.mesh_ide.model.ids import BlobHash, FileId, short
from aiplatform.mesh_ide.node.events import EditText, PutContent, Replied
from aiplatform.mesh_ide.ports.engine import Splice
from aiplatform.mesh_ide.ports.jobs import ArchiveBlobs, BlobSource, Lane


class NotArchivedError(UnavailableError):
    """The store did not take a content."""


def is_text(content: bytes) -> bool:
    """Return whether a content is kept as a text: UTF-8 without NUL, within the bound."""
    if len(content) > TEXT_BYTES_MAX or b"\0" in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


class Editing:
    """Makes new versions; answers once they are durable on this node."""

    def __init__(self, subjects: Subjects, looking_back: LookingBack) -> None:
        """Ask this node."""
        self._subjects = subjects
        self._looking_back = looking_back

    async def edit(self, path: str, splices: tuple[tuple[int, int, str], ...]) -> answers.Changed:
        """Splice a text as an editor does."""
        self._subjects.require(Role.EDIT, "edit")
        file, _, _ = self._subjects.file_at(path)
        steps = tuple(Splice(*splice) for splice in splices)
        principal = self._subjects.principal()
        reply = await self._subjects.driver.request(
            lambda tag: EditText(tag, file, steps, principal)
        )
        return answers.Changed(path, "edited", file.hex(), shown(reply.heads))

    async def put(self, path: str, content: bytes) -> answers.Changed:
        """Give a file this whole content; create it if nothing stands there."""
        self._subjects.require(Role.EDIT, "write files")
        file = self._subjects.ledger.index.owner(path)
        mode = FileMode.REGULAR
        if file is not None:
            mode = self._subjects.known(file)[2].mode
        reply = await write(self._subjects, file, path, content, mode, is_rewrite=False)
        name = reply.file.hex() if reply.file is not None else ""
        return answers.Changed(path, "written", name, shown(reply.heads))

    async def restore(self, path: str, version: str, to: str) -> answers.Changed:
        """Bring a version back, as a new version or (``to``) as another file.

        Raises:
            NoSuchFileError: there is no such file or version, or ``to`` exists already.
        """
        self._subjects.require(Role.EDIT, "restore")
        file, state, head = self._subjects.file_ever_at(path)
        if not version and not head.is_deleted:
            raise NoSuchFileError(
                f"{path} is not deleted: name the version to go back to with --version "
                f"(see `mesh history {path}`)"
            )
        known = await self._looking_back.find(path, file, version)
        content = await self._looking_back.content_at(path, file, known)
        entry = known.entry
        name = short(known.ref.id)
        if to:
            reply = await write(self._subjects, None, to, content, entry.mode, is_rewrite=True)
            heads, undo = shown(reply.heads), f"delete {to}"
            return answers.Changed(to, f"{to} is version {name} of {path}", undo=undo, heads=heads)
        before = state.refs()
        reply = await write(self._subjects, file, path, content, entry.mode, is_rewrite=True)
        undo = f"mesh restore {path} --version {short(before[0].id)}"
        if head.is_deleted:
            undo = f"delete {path} again"
        return answers.Changed(
            path,
            f"{path} is version {name} again, as a new version",
            file.hex(),
            shown(reply.heads),
            undo,
        )


async def write(  # noqa: PLR0913 - the facts of a content
    subjects: Subjects,
    file: FileId | None,
    path: str,
    content: bytes,
    mode: FileMode,
    *,
    is_rewrite: bool,
) -> Replied:
    """Archive a content, then make it a file's new version (a new file's first one).

    Raises:
        NotArchivedError: the store did not take it; nothing was changed.
        RequestRefusedError: the path cannot be created.
    """
    blob = BlobHash(await asyncio.to_thread(lambda: blake3(content).digest()))
    subjects.driver.contents.keep(blob, content)
    subjects.driver.submit(ArchiveBlobs((BlobSource(blob),)))
    held = await subjects.driver.read(Lane.STORE, lambda: subjects.store.held_blobs((blob,)))
    if not held:
        raise NotArchivedError("the content could not be stored: see `mesh doctor`")
    principal = subjects.principal()
    return await subjects.driver.request(
        lambda tag: PutContent(
            tag,
            file,
            path if file is None else None,
            blob,
            len(content),
            mode,
            is_text(content) and mode is not FileMode.SYMLINK,
            principal,
            is_rewrite,
        )
    )
