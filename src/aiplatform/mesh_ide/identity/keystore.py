"""Key files: the only secrets that rest on disk, and the only files that this package touches.

A key file is four lines of text: a header, the kind of key, the seed and the public key in
hexadecimal. The public key is there to tell damage from a wrong key. Files are readable by their
owner alone, appear whole or not at all, and are never overwritten: a lost key cannot be had again.
"""

from __future__ import annotations

import errno
import os
import stat
from enum import Enum
from pathlib import Path
from threading import get_native_id
from typing import TYPE_CHECKING, Final

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.model.errors import LocalError, UnavailableError
from aiplatform.mesh_ide.model.ids import KEY_BYTES
from aiplatform.mesh_ide.ports.errors import StorageFullError, StorageReadOnlyError

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEADER: Final = "mesh-ide key 1"
_LINES: Final = 4
_FILE_BYTES_MAX: Final = 4096
"""A key file has 150 bytes; whatever is larger is no key file and is not read."""

_HAS_MODES: Final = os.name == "posix"
"""Elsewhere the profile folder's own access list protects its files."""

_OPEN_FLAGS: Final = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
"""What the platform has of: not for child processes, bytes as they are."""

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_NO_LINKS: Final = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})


class KeyKind(Enum):
    """Whose key a file holds. The values stand in files: never rename."""

    USER = "user"
    NODE = "node"
    WORKSPACE = "workspace"


class KeyFileError(LocalError):
    """A key file is there but cannot be used; it was left as it is.

    Attributes:
        path: which file.
    """

    def __init__(self, path: Path, problem: str, advice: str) -> None:
        """Say what is wrong with which file, and what to do."""
        super().__init__(f"the key file {path} cannot be used: {problem}; {advice}")
        self.path = path


class KeyUnreadableError(UnavailableError):
    """The disk did not give a key file, or did not take one."""


def user_key_path(environ: Mapping[str, str], home: Path) -> Path:
    """Return where the user's key is: ``$XDG_CONFIG_HOME/mesh/user.key``.

    Args:
        environ: the environment; a relative or empty ``XDG_CONFIG_HOME`` counts as not set, as
            the XDG Base Directory Specification asks.
        home: the user's home folder.
    """
    configured = Path(environ.get("XDG_CONFIG_HOME", ""))
    base = configured if configured.is_absolute() else home / ".config"
    return base / "mesh" / "user.key"


def read_or_create_key(path: Path, kind: KeyKind, seed: bytes) -> SigningKey:
    """Return the key in a file; if there is none, write one made from ``seed``.

    Two programs that do this at once end up with the same key.

    Args:
        path: the file; missing parent folders are made, for the owner alone.
        kind: what the file must hold.
        seed: 32 secret random bytes, unused if the file is there.

    Raises:
        KeyFileError: permissions, size or content of the file are wrong.
        KeyUnreadableError, StorageFullError, StorageReadOnlyError: the disk says no.
    """
    found = read_key(path, kind)
    if found is not None:
        return found
    key = SigningKey.from_seed(seed)
    content = f"{_HEADER}\n{kind.value}\n{seed.hex()}\n{key.public.hex()}\n"
    try:
        _make_parent(path.parent)
        is_ours = _create_whole(path, content.encode("ascii"))
    except OSError as error:
        raise _disk_error(path, error) from error
    if is_ours:
        return key
    winner = read_key(path, kind)
    if winner is None:
        raise KeyFileError(path, "it appeared and went again", "try again")
    return winner


def read_key(path: Path, kind: KeyKind) -> SigningKey | None:
    """Return the key in a file, ``None`` if there is no such file.

    Raises:
        KeyFileError: permissions, size or content of the file are wrong.
        KeyUnreadableError: the disk says no.
    """
    try:
        # Not blocking: a FIFO in this place would keep us waiting for ever.
        descriptor = os.open(path, os.O_RDONLY | _OPEN_FLAGS | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _disk_error(path, error) from error
    try:
        _check_status(path, os.fstat(descriptor))
        content = os.read(descriptor, _FILE_BYTES_MAX + 1)
    except OSError as error:
        raise _disk_error(path, error) from error
    finally:
        os.close(descriptor)
    return _parsed(path, kind, content)


def _check_status(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(path, "it is not a regular file", "move it away")
    if not _HAS_MODES:
        return
    if status.st_uid != os.geteuid():
        raise KeyFileError(
            path,
            f"it belongs to user {status.st_uid}, not to us",
            f"check who put it there, then `chown {os.geteuid()} {path}`",
        )
    if status.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise KeyFileError(
            path,
            f"others may read or write it (mode {stat.S_IMODE(status.st_mode):04o})",
            f"if nobody did, `chmod 600 {path}`; otherwise move it away and join anew",
        )


def _parsed(path: Path, kind: KeyKind, content: bytes) -> SigningKey:
    restore = "restore it from a backup, or move it away and join anew"
    if len(content) > _FILE_BYTES_MAX:
        raise KeyFileError(path, f"it has more than {_FILE_BYTES_MAX} bytes", restore)
    lines = content.decode("ascii", errors="replace").split("\n")
    if lines[0] != _HEADER:
        newer = lines[0].startswith("mesh-ide key ")
        problem = "a newer version wrote it" if newer else "it is not a key file"
        raise KeyFileError(path, problem, "update this program" if newer else restore)
    if len(lines) != _LINES + 1 or lines[_LINES]:
        raise KeyFileError(path, "it is cut off or has extra lines", restore)
    if lines[1] != kind.value:
        raise KeyFileError(path, f"it holds a {lines[1]} key, not a {kind.value} key", restore)
    try:
        seed = bytes.fromhex(lines[2])
    except ValueError:
        seed = b""
    if len(seed) != KEY_BYTES or len(lines[2]) != 2 * KEY_BYTES:
        raise KeyFileError(path, f"its key has not {KEY_BYTES} bytes", restore)
    key = SigningKey.from_seed(seed)
    if key.public.hex() != lines[3]:
        raise KeyFileError(path, "it is damaged (seed and public key do not fit)", restore)
    return key


def _make_parent(folder: Path) -> None:
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    for parent in reversed(missing):
        parent.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(parent.parent)
    status = folder.stat()
    if _HAS_MODES and status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise KeyFileError(
            folder,
            f"others may write into this folder (mode {stat.S_IMODE(status.st_mode):04o})",
            f"`chmod 700 {folder}`",
        )


def _create_whole(path: Path, content: bytes) -> bool:
    """Write a file that must not exist yet; return whether it is ours.

    Written under another name, synced, then linked: a link never replaces what stands there, and
    a crash leaves either no key or a whole one.
    """
    draft = path.with_name(f".{path.name}.{get_native_id()}.new")
    draft.unlink(missing_ok=True)  # left by a crash of a thread with our number
    try:
        _write_new(draft, content)
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            return _create_in_place(path, content)
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _create_in_place(path: Path, content: bytes) -> bool:
    """Write where file systems have no links (FAT, some network shares)."""
    try:
        _write_new(path, content)
    except FileExistsError:
        return False
    _sync_folder(path.parent)
    return True


def _write_new(path: Path, content: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _OPEN_FLAGS
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        if _HAS_MODES:
            os.fchmod(file.fileno(), 0o600)  # whatever the umask took away
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    if not _HAS_MODES:
        return
    descriptor = os.open(folder, os.O_RDONLY | _OPEN_FLAGS)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _disk_error(path: Path, error: OSError) -> UnavailableError:
    if error.errno in _FULL:
        return StorageFullError(f"the key file {path} was not written: the disk is full")
    if error.errno == errno.EROFS:
        return StorageReadOnlyError(f"the key file {path} was not written: the disk is read-only")
    return KeyUnreadableError(
        f"the key file {path} could not be read or written: {error.strerror}; check the path and "
        "its permissions"
    )
