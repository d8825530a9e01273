"""Where a node's files lie on this machine, and which node serves a folder.

Follows the XDG Base Directory Specification. State lies outside the working folder, so that
``git clean -fdx`` cannot harm it::

    $XDG_STATE_HOME/mesh/<node>/place.json   which folder this node keeps
    $XDG_STATE_HOME/mesh/<node>/run.json     its run, see ``last_run``
    $XDG_STATE_HOME/mesh/<node>/mesh.log     what happened, if it serves in the background
    $XDG_STATE_HOME/mesh/<node>/...          its key and its store
    $XDG_RUNTIME_DIR/mesh/<short>.sock       its control socket while it serves
    $XDG_CONFIG_HOME/mesh/user.key           the person's key

The registry from folders to nodes is the ``place.json`` files themselves: nothing that two
commands could write at once, and nothing that could contradict the state it stands beside.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.api.births import birth_of
from aiplatform.mesh_ide.model.errors import LocalError, UnavailableError

PLACE_FILE: Final = "place.json"
_PLACE_BYTES_MAX: Final = 64 * 1024
_VERSION: Final = 1

SOCKET_PATH_BYTES_MAX: Final = 107
"""What fits ``sockaddr_un.sun_path`` with its final zero (unix(7))."""


class NoWorkspaceError(LocalError):
    """There is no workspace at or above this folder, or its folder is gone."""


class UnsafeFolderError(LocalError):
    """A folder that must be ours alone is not."""


class PlaceUnwritableError(UnavailableError):
    """The state directory cannot be written."""


class Place(Struct, frozen=True):
    """One node of this machine.

    Attributes:
        state: its state directory.
        folder: its working folder; ``None``: it has none.
        workspace: the workspace's name.
        node: the node's name.
        device: of the folder when it was registered.
        inode: of the folder then: how a folder that was moved is found again.
        birth_ns: when the folder was made: proof that it is the same one; 0: not known.
    """

    state: Path
    folder: Path | None
    workspace: str
    node: str
    device: int = 0
    inode: int = 0
    birth_ns: int = 0

    @property
    def name(self) -> str:
        """Return the name of the state directory, which names the node on this machine."""
        return self.state.name

    def is_same(self, folder: Path) -> bool:
        """Return whether this is proven to be the very folder that was registered.

        Inode numbers are given again: without the same birth another folder would be served, and
        what is not in it would count as deleted.
        """
        return self._has_inode(folder) and 0 != self.birth_ns == birth_of(folder)

    def may_be(self, folder: Path) -> bool:
        """Return whether it has the number of what was registered, and nothing tells more."""
        return self._has_inode(folder) and (not self.birth_ns or not birth_of(folder))

    def _has_inode(self, folder: Path) -> bool:
        return identity_of(folder) == (self.device, self.inode)


class Locations(Struct, frozen=True):
    """The base folders of this user."""

    state_home: Path
    config_home: Path
    runtime: Path | None
    uid: int

    @classmethod
    def of(cls, environ: Mapping[str, str], uid: int) -> Locations:
        """Return the folders that an environment names; relative ones count as not set."""
        home = Path(environ.get("HOME") or "/")
        return cls(
            _absolute(environ, "XDG_STATE_HOME") or home / ".local" / "state",
            _absolute(environ, "XDG_CONFIG_HOME") or home / ".config",
            _absolute(environ, "XDG_RUNTIME_DIR"),
            uid,
        )

    @property
    def nodes(self) -> Path:
        """Return the folder of all state directories."""
        return self.state_home / "mesh"

    @property
    def user_key(self) -> Path:
        """Return the file of the person's key."""
        return self.config_home / "mesh" / "user.key"

    def socket(self, state: Path) -> Path:
        """Return the control socket of the node in a state directory (short, see unix(7))."""
        short = blake2b(os.fsencode(state), digest_size=8).hexdigest()
        fallback = Path(f"/tmp/mesh-{self.uid}")  # noqa: S108 - made with mode 0700 and checked
        for base in (None if self.runtime is None else self.runtime / "mesh", fallback):
            if base is not None:
                path = base / f"{short}.sock"
                if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
                    return path
        return fallback / f"{short}.sock"

    def new_state(self, workspace: str) -> Path:
        """Return a state directory that is not there yet."""
        word = re.sub(r"[^a-z0-9]+", "-", workspace.lower()).strip("-")[:24] or "workspace"
        return self.nodes / f"{word}-{os.urandom(4).hex()}"

    # --- the registry ------------------------------------------------------------------------

    def places(self) -> Iterator[Place]:
        """Yield every node of this machine; state directories that tell nothing are left out."""
        try:
            states = sorted(self.nodes.iterdir())
        except OSError:
            return
        for state in states:
            place = read_place(state)
            if place is not None:
                yield place

    def find(self, start: Path) -> Place:
        """Return the node that keeps the workspace at or above a folder.

        A folder that was moved is known by its inode and its birth.

        Raises:
            NoWorkspaceError: none does; says what to do.
        """
        places = list(self.places())
        for folder in (start, *start.parents):
            place = _keeper(folder, places)
            if place is not None:
                return place
        raise NoWorkspaceError(_nothing_here(start, places))

    def at(self, folder: Path) -> Place | None:
        """Return the node that keeps exactly this folder."""
        return _keeper(folder, list(self.places()))


def _keeper(folder: Path, places: list[Place]) -> Place | None:
    """Return the node of this folder: the one it is proven to be of before one of its path."""
    here = identity_of(folder)
    if here is None:
        return None
    named = [
        place
        for place in places
        if place.folder == folder
        or (place.folder is not None and identity_of(place.folder) == here)  # through a link
    ]
    moved = [place for place in places if place not in named and place.is_same(folder)]
    if len(named) > 1:  # a folder was moved to a path that had been another one's
        moved += [place for place in named if place.is_same(folder)]
    return next(iter((*moved, *named)), None)


def _nothing_here(start: Path, places: list[Place]) -> str:
    for place in places:
        if place.folder is not None and start.is_relative_to(place.folder):
            return (
                f"The folder {place.folder} of the workspace {place.workspace} is gone. Bring it "
                "back and run `mesh up`, or if it was moved, run it in its new place; what was "
                f"acknowledged is kept in {place.state}."
            )
        doubtful = next((f for f in (start, *start.parents) if place.may_be(f)), None)
        if doubtful is not None:
            return (
                f"Nothing tells whether {doubtful} is the folder of the workspace "
                f"{place.workspace}, moved, or a new one. If it was moved: put it back to "
                f"{place.folder} and run `mesh up` there (or leave a link to it there). If it is "
                "new: `mesh init`, or `mesh join TICKET DIR`"
            )
    others = [str(p.folder) for p in places if p.folder is not None and identity_of(p.folder)]
    name = f"name one with -C ({', '.join(others[:5])}), " if others else ""
    return (
        f"No workspace is at or above {start}: {name}begin one with `mesh init`, or join one with "
        "`mesh join TICKET DIR` (a member's `mesh share` prints the ticket)"
    )


def _absolute(environ: Mapping[str, str], name: str) -> Path | None:
    path = Path(environ.get(name, ""))
    return path if path.is_absolute() else None


def identity_of(folder: Path) -> tuple[int, int] | None:
    """Return device and inode of a folder, ``None`` if there is none."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def here() -> Path:
    """Return the current folder.

    Raises:
        NoWorkspaceError: it was deleted under us.
    """
    try:
        return Path.cwd()
    except FileNotFoundError:
        message = "The current folder was deleted: go to another one, or name one with -C"
        raise NoWorkspaceError(message) from None


def read_place(state: Path) -> Place | None:
    """Return what a state directory says of itself, ``None`` if it says nothing usable."""
    try:
        with (state / PLACE_FILE).open("rb") as file:
            said = json.loads(file.read(_PLACE_BYTES_MAX))
        folder = said["folder"]
        return Place(
            state,
            Path(folder) if folder else None,
            str(said["workspace"]),
            str(said["node"]),
            int(said["device"]),
            int(said["inode"]),
            int(said.get("birth_ns", 0)),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write_place(state: Path, folder: Path | None, workspace: str, node: str) -> Place:
    """Register a node: its folder is found from now on. Atomic; replaces what was there.

    Raises:
        PlaceUnwritableError: the disk says no.
    """
    device, inode = (identity_of(folder) if folder is not None else None) or (0, 0)
    birth_ns = birth_of(folder) if folder is not None else 0
    place = Place(state, folder, workspace, node, device, inode, birth_ns)
    said = {
        "version": _VERSION,
        "folder": "" if folder is None else str(folder),
        "workspace": workspace,
        "node": node,
        "device": device,
        "inode": inode,
        "birth_ns": birth_ns,
    }
    new = state / f"{PLACE_FILE}.new"
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        with new.open("w", encoding="utf-8") as file:
            file.write(json.dumps(said))
            file.flush()
            os.fsync(file.fileno())
        new.replace(state / PLACE_FILE)
    except OSError as error:
        message = f"{state} cannot be written ({error.strerror}): make room, or check permissions"
        raise PlaceUnwritableError(message) from error
    return place


def forget_place(state: Path) -> None:
    """Take a node out of the registry; its state stays. Idempotent."""
    (state / PLACE_FILE).unlink(missing_ok=True)


def own_folder(folder: Path) -> Path:
    """Make (if need be) and check a folder that only this user can reach.

    Raises:
        UnsafeFolderError: it is a link, somebody else's, or open to others.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        message = f"{folder} cannot be made ({error.strerror}): set XDG_RUNTIME_DIR to another"
        raise UnsafeFolderError(message) from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        message = (
            f"{folder} must be a folder of yours with mode 0700, since whoever can write to it "
            "could pose as your node: remove it, or set XDG_RUNTIME_DIR to another"
        )
        raise UnsafeFolderError(message)
    return folder
