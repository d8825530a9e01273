"""Becoming a node: what ``mesh init`` and ``mesh join`` do before anything serves."""

from __future__ import annotations

import asyncio
import errno
import getpass
import os
import secrets
import shutil
import socket
import sys
import unicodedata
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.api.locations import Locations, NoWorkspaceError, Place, write_place
from aiplatform.mesh_ide.cli.casing import CaseInsensitiveError, check_case
from aiplatform.mesh_ide.cli.output import locations, note, root_around
from aiplatform.mesh_ide.cli.serve import is_moved
from aiplatform.mesh_ide.identity.keystore import KeyKind, read_or_create_key
from aiplatform.mesh_ide.identity.records import NAME_CHARS_MAX, clean_name
from aiplatform.mesh_ide.identity.tickets import TICKET_CHARS_MAX, Ticket, parse
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.model.enums import NodeType
from aiplatform.mesh_ide.model.errors import LocalError, NotPermittedError, UnavailableError
from aiplatform.mesh_ide.node.founding import create_workspace, join_workspace
from aiplatform.mesh_ide.ports.errors import AddressInUseError

_PENDING: Final = "pending"
"""In a state directory that asked to join and had no answer yet: the ticket's id."""


class FolderTakenError(LocalError):
    """A folder belongs to a workspace already."""


class BadFolderError(LocalError):
    """A folder cannot become a workspace."""


class FolderUnwritableError(UnavailableError):
    """A folder cannot be made."""


def node_type_of(word: str) -> NodeType:
    """Return the node type of this name."""
    try:
        return NodeType[word.upper()]
    except KeyError:
        names = ", ".join(kind.name.lower() for kind in NodeType)
        raise LocalError(f"there is no node type {word!r}: choose among {names}") from None


def listen_of(word: str) -> Listen:
    """Return who can reach a node."""
    try:
        return Listen[word.upper()]
    except KeyError:
        raise LocalError(f"--listen is everywhere or loopback, not {word!r}") from None


def host_name() -> str:
    """Return what to call this machine's node."""
    return clean_name(_visible(socket.gethostname().partition(".")[0]) or "node")


def person_name() -> str:
    """Return in whose name entries are written: git's user name, or the login."""
    name = ""
    git = shutil.which("git")
    if git is not None:
        import subprocess  # noqa: PLC0415 - here alone

        asked = subprocess.run(  # noqa: S603 - found by PATH as people do
            [git, "config", "--global", "user.name"],
            capture_output=True,
            timeout=5,
            check=False,
        )
        name = _visible(asked.stdout.decode(errors="replace"))
    if name:
        return name
    try:
        return _visible(getpass.getuser()) or "somebody"
    except (KeyError, OSError):
        return f"user {os.geteuid()}"


def _visible(text: str) -> str:
    seen = "".join(char for char in unicodedata.normalize("NFC", text) if char.isprintable())
    return seen.strip()[:NAME_CHARS_MAX].strip()


def _checked_folder(places: Locations, folder: Path) -> Path:
    """Return a folder that can become a workspace, made if it is not there.

    Raises:
        FolderTakenError: it lies in a workspace, or one lies in it.
        BadFolderError: it is no folder, or the whole home or file system.
        CaseInsensitiveError: its disk takes two names for one.
    """
    if folder in {Path.home(), Path(folder.anchor), Path("/tmp")}:  # noqa: S108 - a name to refuse
        raise BadFolderError(f"{folder} is too much for a workspace: name a folder inside it")
    try:
        found = places.find(folder)
    except NoWorkspaceError:
        pass
    else:
        root = root_around(found, folder)
        where = "it is" if root == folder else f"it lies in {root}, which is"
        moved = f", moved from {found.folder}" if is_moved(found, root) else ""
        raise FolderTakenError(
            f"{folder} cannot be made a workspace: {where} the workspace {found.workspace} "
            f"already{moved} (`mesh up` serves it)"
        )
    for place in places.places():
        if place.folder is not None and place.folder.is_relative_to(folder):
            raise FolderTakenError(
                f"{folder} cannot be made a workspace: {place.folder} inside it is one already"
            )
    existed = folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BadFolderError(f"{folder} is a file, not a folder") from None
    except OSError as error:
        raise FolderUnwritableError(f"{folder} cannot be made: {error.strerror}") from error
    try:
        check_case(folder)
    except CaseInsensitiveError:
        if not existed:
            _remove_empty(folder)
        raise
    return folder


def init(folder: Path, workspace: str, name: str, kind: str) -> Place:
    """Found a workspace in a folder."""
    places = locations()
    node_type = node_type_of(kind)
    node_name = clean_name(name or host_name())
    title = clean_name(workspace or _visible(folder.name) or "workspace")
    _checked_folder(places, folder)
    user = read_or_create_key(places.user_key, KeyKind.USER, secrets.token_bytes(32))
    state = places.new_state(title)
    create_workspace(
        state,
        folder=folder,
        name=title,
        node_name=node_name,
        node_type=node_type,
        person=person_name(),
        user=user,
    )
    return write_place(state, folder, title, node_name)


def read_ticket(text: str) -> Ticket:
    """Return the ticket that was typed, or (``-``) comes from the standard input."""
    return parse(sys.stdin.read(TICKET_CHARS_MAX) if text == "-" else text)


def folder_for(ticket: Ticket, start: Path, directory: str) -> Path:
    """Return the folder that is to become a node: DIR, or one of the workspace's name."""
    return Path(os.path.normpath(start / (directory or _folder_name(ticket))))


def is_place(folder: Path) -> bool:
    """Return whether a folder, itself, is a workspace of this machine."""
    try:
        return locations().find(folder).folder == folder
    except NoWorkspaceError:
        return False


def join(  # noqa: PLR0913 - what people say of a newcomer
    ticket: Ticket,
    folder: Path,
    name: str,
    kind: str,
    *,
    listen: str,
    port: int,
    timeout_s: float,
) -> Place:
    """Redeem a ticket; return the new node.

    A join that was interrupted goes on with the same key, so that its ticket is not lost.

    Raises:
        AddressInUseError: the port it is to be served at (0: any) is taken; the ticket is not
            used up.
    """
    places = locations()
    node_type = node_type_of(kind)
    node_name = clean_name(name or host_name())
    reach = listen_of(listen)
    _check_port(reach, port)
    existed = folder.exists()
    _checked_folder(places, folder)
    user = read_or_create_key(places.user_key, KeyKind.USER, secrets.token_bytes(32))
    state = _state_for(places, ticket)
    note(f"asking {ticket.issuer.hex()[:10]} to join {ticket.workspace_name} ...")
    try:
        asyncio.run(
            join_workspace(
                state,
                ticket,
                folder=folder,
                node_name=node_name,
                node_type=node_type,
                person=person_name(),
                user=user,
                listen=reach,
                timeout_s=timeout_s,
            )
        )
    except BaseException as error:
        if not existed:
            _remove_empty(folder)
        if isinstance(error, KeyboardInterrupt):
            note("interrupted: the same command goes on, with the same ticket")
        if isinstance(error, NotPermittedError):
            # Refused for good: this key was never admitted, nothing is lost with it. After any
            # other failure it may have been, and the next try must come with the same key.
            shutil.rmtree(state, ignore_errors=True)
        raise
    place = write_place(state, folder, ticket.workspace_name, node_name)
    (state / _PENDING).unlink(missing_ok=True)
    return place


def _check_port(listen: Listen, port: int) -> None:
    """Find out whether a node could be served at a port, before its ticket is used up.

    Raises:
        AddressInUseError: another program has it.
    """
    for family, host in zip((socket.AF_INET, socket.AF_INET6), listen.value, strict=True):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((host.strip("[]"), port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                message = f"UDP port {port} is taken by another program: choose another with --port"
                raise AddressInUseError(message) from error
            # No IPv6 here, for example: whatever else hinders is told when it is served.


def _folder_name(ticket: Ticket) -> str:
    """Return the folder for a workspace: its name, as one plain name."""
    return ticket.workspace_name.replace("/", "-").lstrip(".-") or "workspace"


def _state_for(places: Locations, ticket: Ticket) -> Path:
    """Return the state directory for a join: the one of an interrupted try, or a new one."""
    for pending in places.nodes.glob(f"*/{_PENDING}"):
        if pending.read_text(encoding="ascii", errors="replace") == ticket.ticket_id.hex():
            return pending.parent
    state = places.new_state(ticket.workspace_name)
    state.mkdir(mode=0o700, parents=True)
    (state / _PENDING).write_text(ticket.ticket_id.hex(), encoding="ascii")
    return state


def _remove_empty(folder: Path) -> None:
    """Take back a folder that was made for nothing."""
    try:
        folder.rmdir()
    except OSError:
        return
