"""Changing files on purpose: splices, whole contents, restores."""

from __future__ import annotations

import asyncio
import shlex

from blake3 import blake3

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.api.answers import FOLDER_SIDE
from aiplatform.mesh_ide.api.contests import contest_at
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
        if file is None:
            require_free(self._subjects, path)
        reply = await write(self._subjects, file, path, content, mode, is_rewrite=False)
        name = reply.file.hex() if reply.file is not None else ""
        return answers.Changed(path, "written", name, shown(reply.heads))

    async def restore(self, path: str, version: str, to: str) -> answers.Changed:
        """Bring a version back, as a new version or (``to``) as another file.

        On a node that may not edit it is a change like any other of its folder: it stays here.

        Raises:
            NoSuchFileError: there is no such file or version, or ``to`` exists already.
        """
        stays = "" if self._subjects.may_edit else f"; {self._subjects.why_staying()}"
        file, state, head = self._subjects.file_ever_at(path)
        if not version and not head.is_deleted:
            raise NoSuchFileError(
                f"{path} is not deleted: name the version to go back to with --version "
                f"(see `mesh history {path}`, and `mesh restore --list {path}` for deleted files "
                "of this name)"
            )
        file, known = await self._looking_back.find_at(path, version)
        _, state, head = self._subjects.known(file)
        content = await self._looking_back.content_at(path, file, known)
        entry = known.entry
        name = short(known.ref.id)
        if to:
            require_free(self._subjects, to)
            reply = await write(self._subjects, None, to, content, entry.mode, is_rewrite=True)
            heads, undo = shown(reply.heads), f"rm {shlex.quote(to)}"
            message = f"{to} is version {name} of {path}{stays}"
            return answers.Changed(to, message, undo=undo, heads=heads)
        before = state.refs()
        undo = f"mesh restore {shlex.quote(path)} --version {short(before[0].id)}"
        if head.is_deleted:
            undo = self._undo_of_return(path)
        reply = await write(self._subjects, file, path, content, entry.mode, is_rewrite=True)
        is_contested = contest_at(self._subjects.ledger, path) is not None
        return answers.Changed(
            path,
            f"{path} is version {name} again, as a new version"
            + ("; it is in conflict now: see `mesh conflicts`" if is_contested else "")
            + stays,
            file.hex(),
            shown(reply.heads),
            undo,
        )

    def _undo_of_return(self, path: str) -> str:
        """Return what takes a file away again that is about to come back to a path."""
        index = self._subjects.ledger.index
        owner, quoted = index.owner(path), shlex.quote(path)
        if index.has_below(path):
            return f"mesh resolve {quoted} {FOLDER_SIDE}"
        return f"rm {quoted}" if owner is None else f"mesh resolve {quoted} {short(owner)}"


def require_free(subjects: Subjects, path: str) -> None:
    """Check that a new file would stand in the folder, neither beside a folder nor below a file.

    Raises:
        NoSuchFileError: something stands at the path, or above it.
    """
    index = subjects.ledger.index
    if index.owner(path) is not None or index.has_below(path):
        raise NoSuchFileError(f"{path} exists already: choose another name")
    above = path
    while "/" in above:
        above = above.rpartition("/")[0]
        if index.owner(above) is not None and not index.has_below(above):
            raise NoSuchFileError(f"{above} is a file: nothing can stand below it")


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
