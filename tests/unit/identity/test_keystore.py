"""Key files: whole or absent, for their owner alone, never overwritten."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.keystore import (
    KeyFileError,
    KeyKind,
    KeyUnreadableError,
    read_key,
    read_or_create_key,
    user_key_path,
)

SEED = bytes(range(32))
PUBLIC = SigningKey.from_seed(SEED).public


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A place for a key below folders that do not exist."""
    return tmp_path / "config" / "mesh" / "user.key"


def test_a_key_is_created_once_and_read_again(path: Path) -> None:
    """The second seed is not used; the file and its folders are the owner's alone."""
    assert read_key(path, KeyKind.USER) is None
    assert read_or_create_key(path, KeyKind.USER, SEED).public == PUBLIC
    assert read_or_create_key(path, KeyKind.USER, b"x" * 32).public == PUBLIC
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["user.key"]


def test_a_strict_umask_does_not_lock_the_owner_out(path: Path) -> None:
    """The mode is set, not only asked for."""
    before = os.umask(0o277)
    try:
        path.parent.parent.mkdir(mode=0o700)
        path.parent.parent.chmod(0o700)
        path.parent.mkdir()
        path.parent.chmod(0o700)
        read_or_create_key(path, KeyKind.NODE, SEED)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_programs_that_start_at_once_share_one_key(path: Path) -> None:
    """Whoever links second reads the first one's key."""
    barrier = threading.Barrier(4, timeout=10)
    publics: list[bytes] = []

    def start(number: int) -> None:
        barrier.wait()
        publics.append(read_or_create_key(path, KeyKind.USER, bytes((number,)) * 32).public)

    threads = [threading.Thread(target=start, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert len(publics) == 4
    assert len(set(publics)) == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["user.key"]


def test_what_a_crash_left_behind_is_no_key_and_no_hindrance(path: Path) -> None:
    """An unfinished draft is replaced."""
    path.parent.mkdir(parents=True, mode=0o700)
    draft = path.with_name(f".{path.name}.{threading.get_native_id()}.new")
    draft.write_bytes(b"mesh-ide")
    assert read_key(path, KeyKind.USER) is None
    assert read_or_create_key(path, KeyKind.USER, SEED).public == PUBLIC
    assert not draft.exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o666, 0o644])
def test_a_key_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    """The message names file, mode and the way out; the file stays as it is."""
    read_or_create_key(path, KeyKind.USER, SEED)
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600") as caught:
        read_or_create_key(path, KeyKind.USER, SEED)
    assert str(path) in str(caught.value)
    assert f"{mode:04o}" in str(caught.value)
    assert caught.value.path == path


def test_a_folder_that_others_can_write_is_refused(path: Path) -> None:
    """They could put their own key there."""
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o777)
    with pytest.raises(KeyFileError, match="chmod 700"):
        read_or_create_key(path, KeyKind.USER, SEED)
    assert not path.exists()


GOOD = f"mesh-ide key 1\nuser\n{SEED.hex()}\n{PUBLIC.hex()}\n"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not a key file"),
        (b"\xff\xfe garbage", "not a key file"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "not a key file"),
        (GOOD.replace("key 1", "key 2").encode(), "newer version"),
        (GOOD[:-1].encode(), "cut off"),
        (GOOD[:60].encode(), "cut off"),
        ((GOOD + "more\n").encode(), "extra lines"),
        (GOOD.replace("user", "node").encode(), "a node key, not a user key"),
        (GOOD.replace(SEED.hex(), SEED.hex()[2:]).encode(), "not 32 bytes"),
        (GOOD.replace(SEED.hex(), SEED.hex()[:-2] + "  ").encode(), "not 32 bytes"),
        (GOOD.replace(SEED.hex(), "zz" * 32).encode(), "not 32 bytes"),
        (GOOD.replace(SEED.hex(), "00" + SEED.hex()[:-2]).encode(), "damaged"),
        (b"x" * 5000, "more than 4096 bytes"),
    ],
)
def test_a_damaged_file_is_told_apart_and_never_replaced(
    path: Path, content: bytes, words: str
) -> None:
    """Whatever stands there stays: it may be the only copy of something."""
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyFileError, match=words):
        read_or_create_key(path, KeyKind.USER, SEED)
    assert path.read_bytes() == content


def test_what_is_no_file_is_refused_without_waiting(path: Path) -> None:
    """A folder, and a FIFO that nobody writes to."""
    path.parent.mkdir(parents=True, mode=0o700)
    os.mkfifo(path, 0o600)
    with pytest.raises(KeyFileError, match="not a regular file"):
        read_key(path, KeyKind.USER)
    path.unlink()
    path.mkdir(mode=0o700)
    with pytest.raises(KeyFileError, match="not a regular file"):
        read_key(path, KeyKind.USER)


def test_a_path_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    """A file where a folder should be."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(KeyUnreadableError, match="check the path"):
        read_or_create_key(tmp_path / "file" / "user.key", KeyKind.USER, SEED)


def test_messages_hold_no_secret(path: Path) -> None:
    """Errors end up in logs."""
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(GOOD.replace(PUBLIC.hex(), "00" * 32))
    path.chmod(0o600)
    with pytest.raises(KeyFileError) as caught:
        read_key(path, KeyKind.USER)
    assert SEED.hex() not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, "/home/ada/.config/mesh/user.key"),
        ({"XDG_CONFIG_HOME": ""}, "/home/ada/.config/mesh/user.key"),
        ({"XDG_CONFIG_HOME": "relative"}, "/home/ada/.config/mesh/user.key"),
        ({"XDG_CONFIG_HOME": "/etc/xdg"}, "/etc/xdg/mesh/user.key"),
    ],
)
def test_the_user_key_lies_where_xdg_says(environ: dict[str, str], expected: str) -> None:
    """A relative or empty variable counts as not set."""
    assert user_key_path(environ, Path("/home/ada")) == Path(expected)
