"""What every FileTree does when it looks: one set of tests asks the real folder and the twin."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.ports.errors import RootMissingError
from aiplatform.mesh_ide.ports.filetree import FileWrite, SkipReason, WriteOutcome
from tests.contract.filetree_rig import (
    APPLIED,
    EXECUTABLE,
    REGULAR,
    SYMLINK,
    Rig,
    blob_of,
    gone,
    paths,
    reasons,
)

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
PRIVATE = b"-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"

# --- looking ---------------------------------------------------------------------------------


def test_a_scan_tells_path_content_mode_and_whether_it_is_text(rig: Rig) -> None:
    """What stands there is told as it is, never normalised."""
    files = {
        "a.py": (b"print()\n", REGULAR, True),
        "crlf.txt": (b"a\r\nb\r\n", REGULAR, True),
        "empty": (b"", REGULAR, True),
        "latin": ("é".encode("latin-1"), REGULAR, False),
        "nul": (b"a\0b", REGULAR, False),
        "run.sh": (b"#!/bin/sh\n", EXECUTABLE, True),
        "sub/é/ü.txt": ("é".encode(), REGULAR, True),
        "big.txt": (b"x" * (1024 * 1024 + 1), REGULAR, False),
    }
    for path, (content, mode, _) in files.items():
        rig.write(path, content, mode)
    seen = {o.path: o for o in rig.scan().observations}
    expected = {p: (blob_of(c), mode, text) for p, (c, mode, text) in files.items()}
    told = {p: (o.blob, o.stat.mode, o.is_text) for p, o in seen.items() if o.stat is not None}
    assert told == expected


def test_what_did_not_change_is_not_read_again(rig: Rig) -> None:
    """Known stats come back as unchanged."""
    rig.write("a", b"1")
    rig.write("d/b", b"2")
    batch = rig.scan(rig.known())
    assert (batch.observations, set(batch.unchanged)) == ((), {"a", "d/b"})


def test_a_scan_finds_changes_and_what_is_gone(rig: Rig) -> None:
    """A changed file, a new one, a removed one, a file that became a folder."""
    for path in ("a", "b", "c", "d/e"):
        rig.write(path, path.encode())
    known = rig.known()
    rig.write("a", b"changed")
    rig.remove("b")
    rig.write("new", b"n")
    rig.remove("c")
    rig.write("c/inner", b"i")
    batch = rig.scan(known)
    assert gone(batch) == {"b", "c"}
    assert paths(batch.observations) - gone(batch) == {"a", "new", "c/inner"}


def test_a_path_that_becomes_ignored_is_skipped_and_never_gone(rig: Rig) -> None:
    """Not even if it is removed afterwards: ignoring a file deletes it nowhere."""
    for path in ("keep.py", "a.log", "b.log", "out/x", "out/y"):
        rig.write(path, b"1")
    known = rig.known()
    rig.write(".gitignore", b"*.log\nout/\n")
    rig.remove("b.log")
    rig.remove("out/y")
    batch = rig.scan(known)
    assert gone(batch) == set()
    ignored = {"a.log", "b.log", "out", "out/x", "out/y"}
    assert reasons(batch.skipped) == dict.fromkeys(ignored, SkipReason.IGNORED)


def test_secrets_and_control_folders_are_skipped_with_their_reason(rig: Rig) -> None:
    """By name, and private keys by content."""
    rig.write(".git/config", b"x")
    rig.write("sub/.git", b"gitdir: elsewhere")
    rig.write(".env", b"TOKEN=1")
    rig.write(".env.example", b"TOKEN=")
    rig.write("deploy", b"-----BEGIN OPENSSH PRIVATE KEY-----\nabc")
    rig.write("node_modules/a/b.js", b"x")
    rig.write("my-env/pyvenv.cfg", b"home = /usr")
    batch = rig.scan()
    assert paths(batch.observations) == {".env.example"}
    assert reasons(batch.skipped) == {
        ".git": SkipReason.CONTROL,
        "sub/.git": SkipReason.CONTROL,
        ".env": SkipReason.SECRET,
        "deploy": SkipReason.SECRET,
        "node_modules": SkipReason.IGNORED,
        "my-env": SkipReason.IGNORED,
    }


def test_a_file_of_keys_is_judged_by_what_it_holds_however_it_is_looked_at(rig: Rig) -> None:
    """By a scan and by a look alike; a bundle of half a megabyte is not too large to be judged."""
    bundle = CERTIFICATE * (500_000 // len(CERTIFICATE))
    files = {
        "cacert.pem": bundle,
        "sub/public.key": CERTIFICATE,
        "server.pem": CERTIFICATE + PRIVATE,
        "late.pem": bundle + PRIVATE,
        "talk.key": b"PK\x03\x04",
        "huge.pem": bundle * 3,
    }
    for path, content in files.items():
        rig.write(path, content)
    for batch in (rig.scan(), rig.tree.observe(list(files), {}), rig.tree.observe(["."], {})):
        assert paths(batch.observations) == {"cacert.pem", "sub/public.key"}
        secrets = ("server.pem", "late.pem", "talk.key", "huge.pem")
        assert reasons(batch.skipped) == dict.fromkeys(secrets, SkipReason.SECRET)


def test_a_public_file_that_becomes_private_stays_at_home_from_then_on(rig: Rig) -> None:
    """It is no edit, and not gone either; nothing keeps its bytes. Public again, it is an edit."""
    rig.write("server.pem", CERTIFICATE)
    known = rig.known()
    rig.write("server.pem", CERTIFICATE + PRIVATE)
    for batch in (rig.scan(known), rig.tree.observe(["server.pem"], known, keeps_new=True)):
        assert batch.observations == ()
        assert reasons(batch.skipped) == {"server.pem": SkipReason.SECRET}
    assert rig.cache.kept == []
    rig.write("server.pem", CERTIFICATE * 2)
    assert paths(rig.scan(known).observations) == {"server.pem"}


def test_a_private_key_is_not_touched_by_a_write_to_its_path(rig: Rig) -> None:
    """A public file of the same name arrives, is changed or goes: what stands there stays."""
    rig.write("server.pem", PRIVATE)
    blob = rig.cache.add(CERTIFICATE)
    for write in (
        FileWrite("server.pem", blob, REGULAR, None),
        FileWrite("server.pem", None, REGULAR, blob),
        FileWrite("server.pem", blob, REGULAR, blob_of(CERTIFICATE * 2)),
    ):
        result = rig.apply_one(write)
        assert (result.outcome, result.found) == (WriteOutcome.FAILED, None)
        assert "does not travel" in (result.problem or "")
        assert rig.files() == {"server.pem": PRIVATE}
    rig.remove("server.pem")
    assert rig.apply_one(FileWrite("server.pem", blob, REGULAR, None)).outcome is APPLIED


def test_batches_are_small_and_come_early(rig: Rig) -> None:
    """A thousand files come in batches of at most 256, each file once."""
    names = {f"d{i % 7}/f{i}" for i in range(1000)}
    for name in names:
        rig.write(name, name.encode())
    batches = list(rig.tree.scan({}))
    sizes = [len(b.observations) + len(b.unchanged) + len(b.skipped) for b in batches]
    assert max(sizes) <= 256
    found = [o.path for b in batches for o in b.observations]
    assert len(found) == 1000
    assert set(found) == names


def test_the_content_of_changed_known_texts_is_kept(rig: Rig) -> None:
    """They are diffed next; new files, binaries and large files are not kept."""
    rig.write("text", b"one")
    rig.write("binary", b"\0one")
    rig.write("large", b"one")
    known = rig.known()
    assert rig.cache.kept == []
    rig.write("text", b"two")
    rig.write("binary", b"\0two")
    rig.write("large", b"two" * 100_000)
    rig.write("new", b"new")
    rig.scan(known)
    assert rig.cache.kept == [blob_of(b"two")]


def test_links_inside_are_told_as_links_and_others_are_skipped(rig: Rig) -> None:
    """Nothing is followed: a loop is a text like any other, and no content comes from outside."""
    rig.write("real/file", b"content")
    rig.write("inside", b"real/file", SYMLINK)
    rig.write("sub/up", b"../real", SYMLINK)
    rig.write("loop", b"loop", SYMLINK)
    rig.write("here", b".", SYMLINK)
    rig.write("absolute", b"/etc/passwd", SYMLINK)
    rig.write("above", b"../x", SYMLINK)
    rig.write("winding", b"real/../../x", SYMLINK)
    rig.write("hook", b".git/hooks/x", SYMLINK)
    batch = rig.scan()
    links = {o.path: o.blob for o in batch.observations if o.stat and o.stat.mode is SYMLINK}
    inside = {"inside": b"real/file", "sub/up": b"../real", "loop": b"loop", "here": b"."}
    assert links == {path: blob_of(target) for path, target in inside.items()}
    outside = dict.fromkeys(("absolute", "above", "winding", "hook"), SkipReason.OUTSIDE_LINK)
    assert reasons(batch.skipped) == outside
    assert paths(batch.observations) == {*inside, "real/file"}


def test_special_files_are_skipped_and_never_opened(rig: Rig) -> None:
    """A FIFO without a writer would stop the node for ever."""
    rig.make_special("pipe")
    rig.write("a", b"1")
    batch = rig.scan()
    assert reasons(batch.skipped) == {"pipe": SkipReason.SPECIAL}
    assert paths(batch.observations) == {"a"}


def test_observing_looks_at_single_paths(rig: Rig) -> None:
    """A changed, an unchanged, a gone and a never known path, with the others left alone."""
    for path in ("a", "b", "c", "d"):
        rig.write(path, path.encode())
    known = rig.known()
    rig.write("a", b"changed")
    rig.remove("c")
    rig.write("d", b"changed too")
    batch = rig.tree.observe(["a", "b", "c", "nothing", "no/thing"], known)
    assert paths(batch.observations) == {"a", "c"}
    assert (gone(batch), batch.unchanged, batch.skipped) == ({"c"}, ("b",), ())


def test_observing_a_folder_looks_at_all_below(rig: Rig) -> None:
    """Also where it is gone, or where a file stands in its place."""
    for path in ("x/a", "x/y/b", "z/c", "w/d"):
        rig.write(path, path.encode())
    known = rig.known()
    rig.write("x/new", b"n")
    rig.remove("x/y/b")
    rig.remove("z/c")
    rig.remove("w/d")
    rig.write("w", b"a file now")
    batch = rig.tree.observe(["x", "z", "w/d"], known)
    assert gone(batch) == {"x/y/b", "z/c", "w/d"}
    assert paths(batch.observations) - gone(batch) == {"x/new", "w"}
    assert batch.unchanged == ("x/a",)


def test_observing_the_root_looks_at_everything(rig: Rig) -> None:
    """``.`` is the root."""
    rig.write("a/b", b"1")
    rig.write("c", b"2")
    known = rig.known()
    rig.remove("c")
    batch = rig.tree.observe(["."], known)
    assert (gone(batch), batch.unchanged) == ({"c"}, ("a/b",))


def test_observing_below_an_ignored_folder_tells_the_reason(rig: Rig) -> None:
    """Rules are read anew at every look."""
    rig.write("out/x", b"1")
    known = rig.known()
    rig.write(".meshignore", b"out\n")
    batch = rig.tree.observe(["out/x", "out/new"], known)
    assert batch.observations == ()
    assert reasons(batch.skipped) == dict.fromkeys(("out", "out/x"), SkipReason.IGNORED)


@pytest.mark.parametrize(
    "path", ["../x", "/etc/passwd", "a/../b", "a//b", "a\0b", "x" * 300, "a/" * 200 + "b"]
)
def test_a_path_that_is_none_is_skipped_not_looked_at(rig: Rig, path: str) -> None:
    """Events and peers may say anything."""
    batch = rig.tree.observe([path], {})
    assert batch.observations == ()
    (skipped,) = batch.skipped
    assert skipped.reason is SkipReason.NAME_NOT_PORTABLE


def test_without_its_root_a_tree_tells_nothing_gone(rig: Rig) -> None:
    """Another folder in its place is not an empty workspace."""
    rig.write("a", b"1")
    known = rig.known()
    assert rig.tree.is_present()
    rig.lose_root()
    assert not rig.tree.is_present()
    with pytest.raises(RootMissingError):
        list(rig.tree.scan(known))
    with pytest.raises(RootMissingError):
        rig.tree.observe(["a"], known)
    with pytest.raises(RootMissingError):
        rig.apply(rig.place("b", b"2"))
