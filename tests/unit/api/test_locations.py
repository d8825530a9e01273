"""Where a node's files lie, and which node keeps a folder."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest

from aiplatform.mesh_ide.api import locations as module
from aiplatform.mesh_ide.api.births import birth_of
from aiplatform.mesh_ide.api.locations import (
    PLACE_FILE,
    SOCKET_PATH_BYTES_MAX,
    Locations,
    NoWorkspaceError,
    UnsafeFolderError,
    forget_place,
    own_folder,
    read_place,
    write_place,
)


def of(root: Path, **environ: str) -> Locations:
    """Return the locations of an environment."""
    return Locations.of({"HOME": str(root), **environ}, os.geteuid())


def registered(places: Locations, folder: Path, name: str = "rocket") -> Path:
    """Make and register a folder; return the node's state directory."""
    folder.mkdir(parents=True)
    state = places.new_state(name)
    write_place(state, folder, name, "laptop")
    return state


def test_folders_follow_the_environment_and_ignore_relative_ones(tmp_path: Path) -> None:
    """As the XDG Base Directory Specification asks."""
    places = of(tmp_path, XDG_STATE_HOME="/s", XDG_CONFIG_HOME="relative", XDG_RUNTIME_DIR="/r")
    assert places.nodes == Path("/s/mesh")
    assert places.user_key == tmp_path / ".config/mesh/user.key"
    assert places.socket(Path("/s/mesh/x")).parent == Path("/r/mesh")


def test_a_workspace_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    """The nearest registered folder upwards wins."""
    places = of(tmp_path)
    outer = registered(places, tmp_path / "outer", "outer")
    inner = tmp_path / "other" / "deep"
    inner.mkdir(parents=True)
    below = tmp_path / "outer" / "a" / "b"
    below.mkdir(parents=True)
    assert places.find(below).state == outer
    with pytest.raises(NoWorkspaceError, match="mesh init"):
        places.find(inner)


def test_a_moved_folder_is_known_by_its_inode_and_birth(tmp_path: Path) -> None:
    """A rename of the folder changes its path only."""
    places = of(tmp_path)
    state = registered(places, tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    found = places.find(tmp_path / "new")
    assert (state, tmp_path / "old") == (found.state, found.folder)
    assert places.at(tmp_path / "new") == found


def test_a_deleted_folder_gets_a_message_that_says_where_its_state_is(tmp_path: Path) -> None:
    """Nothing acknowledged is lost with the folder."""
    places = of(tmp_path)
    state = registered(places, tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(NoWorkspaceError) as caught:
        places.find(tmp_path / "gone" / "sub")
    assert "is gone" in str(caught.value)
    assert str(state) in str(caught.value)


def test_a_forgotten_node_is_found_no_more_but_keeps_its_state(tmp_path: Path) -> None:
    """What `mesh leave` does."""
    places = of(tmp_path)
    state = registered(places, tmp_path / "left")
    forget_place(state)
    forget_place(state)
    assert places.at(tmp_path / "left") is None
    assert state.is_dir()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"folder": 3}', b"\xff", b"{}" * 99_999])
def test_a_damaged_place_is_passed_over(tmp_path: Path, content: bytes) -> None:
    """One broken state directory does not hide the others."""
    places = of(tmp_path)
    good = registered(places, tmp_path / "good")
    bad = places.new_state("bad")
    bad.mkdir()
    (bad / PLACE_FILE).write_bytes(content)
    assert read_place(bad) is None
    assert [good] == [place.state for place in places.places()]


def test_a_place_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """No moment without a readable file, and nothing left beside it."""
    places = of(tmp_path)
    state = registered(places, tmp_path / "a")
    (tmp_path / "b").mkdir()
    write_place(state, tmp_path / "b", "rocket", "laptop")
    assert [path.name for path in state.iterdir()] == [PLACE_FILE]
    found = read_place(state)
    assert found is not None
    assert found.folder == tmp_path / "b"


def test_a_socket_path_always_fits_the_kernel(tmp_path: Path) -> None:
    """Long runtime folders, long state folders, or none: at most 107 bytes."""
    state = Path("/s", "x" * 300)
    for runtime in ("", "/run/user/1000", "/" + "y" * 300):
        socket = of(tmp_path, XDG_RUNTIME_DIR=runtime).socket(state)
        assert len(os.fsencode(socket)) <= SOCKET_PATH_BYTES_MAX
    one, two = (of(tmp_path).socket(Path("/s", name)) for name in ("a", "b"))
    assert one != two


def test_a_folder_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    """Whoever can write there could pose as the node."""
    mine = own_folder(tmp_path / "mine")
    assert mine.stat().st_mode & 0o777 == 0o700
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to(mine)
    for name in ("open", "link"):
        with pytest.raises(UnsafeFolderError):
            own_folder(tmp_path / name)


def test_state_names_are_plain_and_new(tmp_path: Path) -> None:
    """Whatever a workspace is called."""
    places = of(tmp_path)
    names = {places.new_state(name).name for name in ("Räkete / x", "..", "", "rocket", "rocket")}
    assert len(names) == 5
    assert all(name.replace("-", "").isalnum() and name.isascii() for name in names)


# --- folders that were moved, and folders that were not ---------------------------------------


def renumbered(state: Path, folder: Path) -> None:
    """Say of a registered folder that it had the number which this one has: the disk reused it."""
    said = json.loads((state / PLACE_FILE).read_text())
    found = folder.stat()
    said |= {"device": found.st_dev, "inode": found.st_ino}
    (state / PLACE_FILE).write_text(json.dumps(said))


def test_a_new_folder_with_a_deleted_ones_number_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Served as the deleted one, its files would be published and the others' count as deleted.

    Planted: told one birth for all folders, the registry does take it for the deleted one.
    """
    places = of(tmp_path)
    state = registered(places, tmp_path / "one")
    (tmp_path / "one").rmdir()
    (tmp_path / "two").mkdir()
    renumbered(state, tmp_path / "two")
    assert places.at(tmp_path / "two") is None
    with pytest.raises(NoWorkspaceError, match="No workspace is at or above") as caught:
        places.find(tmp_path / "two")
    assert str(tmp_path / "one") not in str(caught.value)
    place = read_place(state)
    assert place is not None
    monkeypatch.setattr(module, "birth_of", lambda _: place.birth_ns)
    assert places.at(tmp_path / "two") == place


def test_a_copy_of_a_folder_is_not_the_folder(tmp_path: Path) -> None:
    """Neither beside the original nor after it is gone."""
    places = of(tmp_path)
    registered(places, tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert places.at(tmp_path / "two") is None
    (tmp_path / "one").rmdir()
    assert places.at(tmp_path / "two") is None


def test_a_folder_made_anew_at_its_path_is_served_on(tmp_path: Path) -> None:
    """A backup that was put back, for example: people name a workspace by its path."""
    places = of(tmp_path)
    state = registered(places, tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "old")
    (tmp_path / "one").mkdir()
    for name in ("one", "old"):
        found = places.at(tmp_path / name)
        assert found is not None
        assert (found.state, found.is_same(tmp_path / name)) == (state, name == "old")


def test_a_folder_moved_to_a_path_that_was_anothers_is_its_own(tmp_path: Path) -> None:
    """What is proven goes before what is only named so."""
    places = of(tmp_path)
    states = [registered(places, tmp_path / name) for name in ("one", "two")]
    for moved, gone in ((0, 1), (1, 0)):
        old, new = (tmp_path / ("one", "two")[i] for i in (moved, gone))
        new.rmdir()
        old.rename(new)
        found = places.find(new)
        assert found.state == states[moved]
        write_place(found.state, new, "rocket", "laptop")
        found = places.find(new)
        assert found.state == states[moved]
        new.rename(old)
        write_place(states[moved], old, "rocket", "laptop")
        new.mkdir()
        write_place(states[gone], new, "rocket", "laptop")


def test_without_births_a_moved_folder_is_not_guessed_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that does not tell, and of a state that an older version wrote."""
    places = of(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module, "birth_of", lambda _: 0)
        state = registered(places, tmp_path / "one")
    (tmp_path / "one").rename(tmp_path / "two")
    with pytest.raises(NoWorkspaceError, match="put it back to") as caught:
        places.find(tmp_path / "two")
    assert str(tmp_path / "one") in str(caught.value)
    (tmp_path / "one").symlink_to(tmp_path / "two")  # the ways that the message names
    for name in ("one", "two"):
        assert places.find(tmp_path / name).state == state
    (tmp_path / "one").unlink()
    (tmp_path / "two").rename(tmp_path / "one")
    assert places.find(tmp_path / "one").state == state


def test_a_birth_stays_through_renames_and_is_no_other_folders(tmp_path: Path) -> None:
    """As the disk keeps it; nothing is known of a folder that is not there."""
    births = set()
    for _ in range(3):
        (tmp_path / "a").mkdir()
        born = birth_of(tmp_path / "a")
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "b" / "file").touch()
        os.utime(tmp_path / "b", (1, 1))
        assert birth_of(tmp_path / "b") == born
        births.add(born)
        shutil.rmtree(tmp_path / "b")
        time.sleep(0.02)  # two ticks of the slowest clock that stamps files
    assert len(births) == 3
    assert 0 not in births
    assert birth_of(tmp_path / "a") == 0
