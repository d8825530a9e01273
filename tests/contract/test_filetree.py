"""What every FileTree does: the real folder and the simulator's, by the same tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.ports.errors import CorruptContentError, RootMissingError
from aiplatform.mesh_ide.ports.filetree import (
    FileStat,
    FileTree,
    FileWrite,
    Observation,
    ScanBatch,
    Skipped,
    SkipReason,
    WriteOutcome,
    WriteResult,
)
from aiplatform.mesh_ide.workspace.adapters.local_tree import LocalFileTree
from aiplatform.mesh_ide.workspace.adapters.memory_disk import DiskFault, MemoryDisk
from aiplatform.mesh_ide.workspace.adapters.memory_tree import (
    MemoryFileTree,
    SimulatedCrashError,
)
from aiplatform.mesh_ide.workspace.adapters.outcomes import Step

REGULAR, EXECUTABLE, SYMLINK = FileMode.REGULAR, FileMode.EXECUTABLE, FileMode.SYMLINK
APPLIED, UNEXPECTED, FAILED = WriteOutcome.APPLIED, WriteOutcome.UNEXPECTED, WriteOutcome.FAILED


def blob_of(content: bytes) -> BlobHash:
    """Return the content's hash."""
    return BlobHash(blake3(content).digest())


class Cache:
    """Contents in memory; ``corrupt`` ones fail at their end as the port says."""

    def __init__(self) -> None:
        self.held: dict[BlobHash, bytes] = {}
        self.kept: list[BlobHash] = []
        self.corrupt: set[BlobHash] = set()

    def add(self, content: bytes) -> BlobHash:
        blob = blob_of(content)
        self.held[blob] = content
        return blob

    def keep(self, blob: BlobHash, content: bytes) -> None:
        assert blob == blob_of(content)
        self.held[blob] = content
        self.kept.append(blob)

    def read(self, blob: BlobHash, path: str | None = None) -> bytes | None:
        return self.held.get(blob)

    def chunks(self, blob: BlobHash, path: str | None = None) -> Iterator[bytes] | None:
        return self._chunks(blob) if blob in self.held else None

    def _chunks(self, blob: BlobHash) -> Iterator[bytes]:
        content = self.held[blob]
        for start in range(0, len(content), 1024 * 1024):
            yield content[start : start + 1024 * 1024]
        if blob in self.corrupt:
            raise CorruptContentError("these bytes are not the blob")


class Rig:
    """A tree, its contents, and another program that works in the same folder."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.at_step: dict[Step, Callable[[], object]] = {}

    @property
    def tree(self) -> FileTree:
        raise NotImplementedError

    def write(self, path: str, content: bytes, mode: FileMode = REGULAR) -> None:
        raise NotImplementedError

    def write_by_rename(self, path: str, content: bytes) -> None:
        raise NotImplementedError

    def remove(self, path: str) -> None:
        raise NotImplementedError

    def rename(self, old: str, new: str) -> None:
        raise NotImplementedError

    def make_special(self, path: str) -> None:
        raise NotImplementedError

    def lose_root(self) -> None:
        raise NotImplementedError

    def files(self) -> dict[str, bytes]:
        raise NotImplementedError

    def versions(self) -> set[bytes]:
        """Return every content that stands in the folder or was put aside there."""
        raise NotImplementedError

    def on_step(self, step: Step) -> None:
        """Let the other program act once."""
        action = self.at_step.pop(step, None)
        if action is not None:
            action()

    # --- what tests say ----------------------------------------------------------------------

    def place(  # noqa: PLR0913 - a write has as many facts
        self,
        path: str,
        content: bytes | None,
        expected: bytes | None = None,
        mode: FileMode = REGULAR,
        expected_mode: FileMode | None = None,
        moved_from: str | None = None,
    ) -> FileWrite:
        """Return a write whose content is at hand."""
        return FileWrite(
            path,
            None if content is None else self.cache.add(content),
            mode,
            None if expected is None else blob_of(expected),
            expected_mode,
            moved_from,
        )

    def apply(self, *writes: FileWrite) -> tuple[WriteResult, ...]:
        return self.tree.apply(writes, self.cache)

    def apply_one(self, write: FileWrite) -> WriteResult:
        (result,) = self.apply(write)
        return result

    def scan(self, known: dict[str, FileStat] | None = None) -> ScanBatch:
        return joined(list(self.tree.scan(known or {})))

    def known(self) -> dict[str, FileStat]:
        return {o.path: o.stat for o in self.scan().observations if o.stat is not None}


class LocalRig(Rig):
    """On a real disk."""

    def __init__(self, root: Path, *, can_exchange: bool = True) -> None:
        super().__init__()
        self.root = root
        self._tree = HookedLocalTree(self, root, can_exchange=can_exchange)

    @property
    def tree(self) -> LocalFileTree:
        return self._tree

    def write(self, path: str, content: bytes, mode: FileMode = REGULAR) -> None:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        if mode is SYMLINK:
            full.symlink_to(content.decode())
            return
        full.write_bytes(content)
        full.chmod(0o755 if mode is EXECUTABLE else 0o644)

    def write_by_rename(self, path: str, content: bytes) -> None:
        beside = self.root / (path + ".new~")
        beside.write_bytes(content)
        beside.replace(self.root / path)

    def remove(self, path: str) -> None:
        full = self.root / path
        full.unlink()
        for above in full.parents:
            if above == self.root or any(above.iterdir()):
                break
            above.rmdir()

    def rename(self, old: str, new: str) -> None:
        (self.root / new).parent.mkdir(parents=True, exist_ok=True)
        (self.root / old).rename(self.root / new)

    def make_special(self, path: str) -> None:
        os.mkfifo(self.root / path)

    def lose_root(self) -> None:
        self.root.rename(self.root.with_name("elsewhere"))
        self.root.mkdir()

    def files(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): _content(path)
            for path in sorted(self.root.rglob("*"))
            if ".mesh-tmp" not in path.parts and (path.is_symlink() or path.is_file())
        }

    def versions(self) -> set[bytes]:
        aside = {_content(p) for p in (self.root / ".mesh-tmp").glob("rescued-*")}
        return set(self.files().values()) | aside


class HookedLocalTree(LocalFileTree):
    """Lets the rig's other program act between two system calls."""

    def __init__(self, rig: Rig, root: Path, *, can_exchange: bool) -> None:
        super().__init__(root, rig.cache, can_exchange=can_exchange)
        self._rig = rig

    def _on_step(self, step: Step, path: str) -> None:
        self._rig.on_step(step)


class HookedMemoryTree(MemoryFileTree):
    """As HookedLocalTree."""

    def __init__(self, rig: Rig, disk: MemoryDisk) -> None:
        super().__init__(disk, rig.cache)
        self._rig = rig

    def _on_step(self, step: Step, path: str) -> None:
        self._rig.on_step(step)


class MemoryRig(Rig):
    """On a simulated disk."""

    def __init__(self) -> None:
        super().__init__()
        self.disk = MemoryDisk()
        self._tree = HookedMemoryTree(self, self.disk)

    @property
    def tree(self) -> MemoryFileTree:
        return self._tree

    def write(self, path: str, content: bytes, mode: FileMode = REGULAR) -> None:
        self.disk.write(path, content, mode)

    def write_by_rename(self, path: str, content: bytes) -> None:
        self.disk.write_by_rename(path, content)

    def remove(self, path: str) -> None:
        self.disk.remove(path)

    def rename(self, old: str, new: str) -> None:
        self.disk.rename(old, new)

    def make_special(self, path: str) -> None:
        self.disk.write_special(path)

    def lose_root(self) -> None:
        self.disk.faults.add(DiskFault.ROOT_MISSING)

    def files(self) -> dict[str, bytes]:
        return self.disk.files()

    def versions(self) -> set[bytes]:
        return set(self.files().values()) | {content for _, content in self.disk.kept}


def _content(path: Path) -> bytes:
    return str(path.readlink()).encode() if path.is_symlink() else path.read_bytes()


def joined(batches: list[ScanBatch]) -> ScanBatch:
    """Return all batches of a scan as one."""
    return ScanBatch(
        tuple(o for b in batches for o in b.observations),
        tuple(u for b in batches for u in b.unchanged),
        tuple(s for b in batches for s in b.skipped),
    )


def paths(observations: tuple[Observation, ...]) -> set[str]:
    """Return the observed paths."""
    return {o.path for o in observations}


def gone(batch: ScanBatch) -> set[str]:
    """Return the paths at which nothing stands any more."""
    return {o.path for o in batch.observations if o.stat is None and o.problem is None}


def reasons(skipped: tuple[Skipped, ...]) -> dict[str, SkipReason]:
    """Return why each path was skipped."""
    return {s.path: s.reason for s in skipped}


@pytest.fixture(params=["memory", "local", "local-by-steps"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    """Each tree, empty."""
    if request.param == "memory":
        yield MemoryRig()
        return
    root = tmp_path / "root"
    root.mkdir()
    local = LocalRig(root, can_exchange=request.param == "local")
    yield local
    local.tree.close()


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
    "path", ["../x", "/etc/passwd", "a/../b", "a//b", "a\0b", "x" * 300, "a/" * 200 + "b", "\udcff"]
)
def test_a_path_that_is_none_is_skipped_not_looked_at(rig: Rig, path: str) -> None:
    """Events and peers may say anything."""
    batch = rig.tree.observe([path], {})
    assert batch.observations == ()
    (skipped,) = batch.skipped
    assert skipped.reason in {SkipReason.NAME_NOT_PORTABLE, SkipReason.NAME_NOT_UTF8}


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


# --- changing --------------------------------------------------------------------------------


def test_new_files_appear_with_their_folders(rig: Rig) -> None:
    """Text, empty, executable and link; the returned stats are those of the next scan."""
    results = rig.apply(
        rig.place("a/b/c.txt", b"hello"),
        rig.place("empty", b""),
        rig.place("run", b"#!/bin/sh\n", mode=EXECUTABLE),
        rig.place("a/link", b"b/c.txt", mode=SYMLINK),
    )
    assert [r.outcome for r in results] == [APPLIED] * 4
    expected = {"a/b/c.txt": b"hello", "empty": b"", "run": b"#!/bin/sh\n", "a/link": b"b/c.txt"}
    assert rig.files() == expected
    known = {r.path: r.stat for r in results if r.stat is not None}
    modes = {path: stat.mode for path, stat in known.items()}
    assert modes == {"a/b/c.txt": REGULAR, "empty": REGULAR, "run": EXECUTABLE, "a/link": SYMLINK}
    batch = rig.scan(known)
    assert (set(batch.unchanged), batch.observations) == (set(expected), ())


def test_what_was_expected_is_replaced(rig: Rig) -> None:
    """Content, mode, or kind."""
    rig.write("text", b"1")
    rig.write("script", b"s")
    rig.write("was-file", b"f")
    results = rig.apply(
        rig.place("text", b"2", b"1", REGULAR, REGULAR),
        rig.place("script", b"s", b"s", EXECUTABLE, REGULAR),
        rig.place("was-file", b"text", b"f", SYMLINK, REGULAR),
    )
    assert [r.outcome for r in results] == [APPLIED] * 3
    assert rig.files() == {"text": b"2", "script": b"s", "was-file": b"text"}
    assert [r.stat.mode for r in results if r.stat] == [REGULAR, EXECUTABLE, SYMLINK]


def test_something_unexpected_stays_and_is_found(rig: Rig) -> None:
    """A person's content stands at the path as before, is told, and its bytes are at hand."""
    rig.write("a", b"by a person")
    result = rig.apply_one(rig.place("a", b"by a peer", b"what we believed"))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert (result.found.path, result.found.blob) == ("a", blob_of(b"by a person"))
    assert rig.files() == {"a": b"by a person"}
    assert blob_of(b"by a person") in rig.cache.kept


def test_another_mode_is_unexpected(rig: Rig) -> None:
    """A chmod by a person is an edit like any other."""
    rig.write("a", b"1", EXECUTABLE)
    result = rig.apply_one(rig.place("a", b"2", b"1", REGULAR, REGULAR))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert result.found.stat is not None
    assert result.found.stat.mode is EXECUTABLE
    assert rig.files() == {"a": b"1"}


def test_a_file_that_a_person_removed_is_not_written_again(rig: Rig) -> None:
    """Nothing there is something unexpected."""
    result = rig.apply_one(rig.place("a", b"2", b"1"))
    assert (result.outcome, result.found) == (UNEXPECTED, Observation("a", None))
    assert rig.files() == {}


def test_where_nothing_was_expected_a_file_stays(rig: Rig) -> None:
    """Unless it is the same file already."""
    rig.write("other", b"mine")
    rig.write("same", b"content")
    other, same = rig.apply(rig.place("other", b"yours"), rig.place("same", b"content"))
    assert other.outcome is UNEXPECTED
    assert other.found is not None
    assert other.found.blob == blob_of(b"mine")
    assert same.outcome is APPLIED
    assert rig.files() == {"other": b"mine", "same": b"content"}


def test_a_removal_takes_only_what_was_expected(rig: Rig) -> None:
    """What is gone already is fine; empty folders go along, others stay."""
    rig.write("deep/er/a", b"1")
    rig.write("kept/b", b"1")
    rig.write("kept/c", b"1")
    rig.write("edited", b"by a person")
    results = rig.apply(
        rig.place("deep/er/a", None, b"1"),
        rig.place("kept/b", None, b"1"),
        rig.place("edited", None, b"1"),
        rig.place("never/was", None, b"1"),
    )
    assert [r.outcome for r in results] == [APPLIED, APPLIED, UNEXPECTED, APPLIED]
    assert rig.files() == {"kept/c": b"1", "edited": b"by a person"}
    assert results[2].found is not None
    assert results[2].found.blob == blob_of(b"by a person")


def test_a_rename_takes_the_file_along(rig: Rig) -> None:
    """The inode stays, folders come and go."""
    rig.write("old/a", b"1")
    inode = rig.known()["old/a"].inode
    result = rig.apply_one(rig.place("new/b", b"1", moved_from="old/a"))
    assert result.outcome is APPLIED
    assert result.stat is not None
    assert result.stat.inode == inode
    assert rig.files() == {"new/b": b"1"}
    assert gone(rig.scan(rig.known())) == set()


def test_a_rename_of_a_folder_with_a_thousand_files(rig: Rig) -> None:
    """One batch; nothing stays behind."""
    for number in range(1000):
        rig.write(f"old/{number % 10}/{number}", b"%d" % number)
    before = rig.files()
    writes = [
        rig.place(path.replace("old", "new", 1), content, moved_from=path)
        for path, content in before.items()
    ]
    assert {r.outcome for r in rig.apply(*writes)} == {APPLIED}
    assert rig.files() == {p.replace("old", "new", 1): c for p, c in before.items()}


def test_a_rename_of_an_edited_file_puts_it_back(rig: Rig) -> None:
    """The edit is found where the person made it."""
    rig.write("old", b"edited")
    result = rig.apply_one(rig.place("new", b"1", moved_from="old"))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert (result.found.path, result.found.blob) == ("old", blob_of(b"edited"))
    assert rig.files() == {"old": b"edited"}


def test_a_rename_to_a_taken_path_changes_nothing(rig: Rig) -> None:
    """Both files stay."""
    rig.write("old", b"1")
    rig.write("new", b"somebody's")
    result = rig.apply_one(rig.place("new", b"1", moved_from="old"))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert result.found.blob == blob_of(b"somebody's")
    assert rig.files() == {"old": b"1", "new": b"somebody's"}


def test_a_rename_over_an_expected_file_replaces_it(rig: Rig) -> None:
    """The old path is free afterwards."""
    rig.write("old", b"1")
    rig.write("new", b"2")
    result = rig.apply_one(rig.place("new", b"1", b"2", moved_from="old"))
    assert result.outcome is APPLIED
    assert rig.files() == {"new": b"1"}


def test_a_rename_of_a_file_that_is_gone_writes_its_content(rig: Rig) -> None:
    """The content is at hand; the peer's file shall stand at its new path."""
    result = rig.apply_one(rig.place("new", b"1", moved_from="old"))
    assert result.outcome is APPLIED
    assert rig.files() == {"new": b"1"}


def test_a_change_of_case_is_a_rename(rig: Rig) -> None:
    """README becomes Readme."""
    rig.write("README", b"1")
    assert rig.apply_one(rig.place("Readme", b"1", moved_from="README")).outcome is APPLIED
    assert rig.files() == {"Readme": b"1"}


def test_a_file_in_the_way_of_a_folder_is_found(rig: Rig) -> None:
    """It stays; the result says where it stands."""
    rig.write("a", b"a file")
    result = rig.apply_one(rig.place("a/b", b"1"))
    assert result.outcome is UNEXPECTED
    assert result.found is not None
    assert (result.found.path, result.found.blob) == ("a", blob_of(b"a file"))
    assert rig.files() == {"a": b"a file"}


def test_a_folder_in_the_way_of_a_file_stays(rig: Rig) -> None:
    """Somebody made a folder where a file shall stand."""
    rig.write("a/b", b"1")
    assert rig.apply_one(rig.place("a", b"a file")).outcome is UNEXPECTED
    assert rig.files() == {"a/b": b"1"}


def test_files_and_folders_change_places_within_a_batch(rig: Rig) -> None:
    """The removal that makes room comes first, in the same call."""
    rig.write("a/x/b", b"1")
    rig.write("c", b"2")
    results = rig.apply(
        rig.place("a/x/b", None, b"1"),
        rig.place("a", b"now a file"),
        rig.place("c", None, b"2"),
        rig.place("c/d", b"now a folder"),
    )
    assert [r.outcome for r in results] == [APPLIED] * 4
    assert rig.files() == {"a": b"now a file", "c/d": b"now a folder"}


@pytest.mark.parametrize(
    "path",
    ["../out", "/outside/of/it", "a/../../out", "", ".git/hooks/post-checkout", ".GIT/config",
     "git~1/x", "a/.git", ".mesh-tmp/x", ".env", "a/id_rsa", "a\0b", "x" * 300],
)  # fmt: skip
def test_a_path_that_nobody_may_write_is_refused(rig: Rig, path: str) -> None:
    """A peer cannot reach outside, into git's folder, or at a secret; the others are written."""
    refused, written = rig.apply(rig.place(path, b"evil"), rig.place("fine", b"1"))
    assert (refused.outcome, written.outcome) == (FAILED, APPLIED)
    assert refused.problem is not None
    assert rig.files() == {"fine": b"1"}


@pytest.mark.parametrize("target", [b"/etc", b"../../x", b"a/../../../x", b"", b"\xff", b".git/x"])
def test_a_link_that_leads_outside_is_refused(rig: Rig, target: bytes) -> None:
    """A peer cannot plant one either."""
    result = rig.apply_one(rig.place("sub/link", target, mode=SYMLINK))
    assert result.outcome is FAILED
    assert rig.files() == {}


def test_a_secret_that_stands_there_is_not_handed_on(rig: Rig) -> None:
    """What does not travel is not found as somebody's edit, and is not touched."""
    rig.write("deploy", b"-----BEGIN PRIVATE KEY-----\n")
    result = rig.apply_one(rig.place("deploy", b"new"))
    assert (result.outcome, result.found) == (FAILED, None)
    assert rig.cache.kept == []
    assert rig.files() == {"deploy": b"-----BEGIN PRIVATE KEY-----\n"}


def test_missing_and_corrupt_contents_change_nothing(rig: Rig) -> None:
    """Each write by itself; the results keep the order of the writes."""
    rig.write("a", b"old")
    missing = FileWrite("a", blob_of(b"nobody has this"), REGULAR, blob_of(b"old"))
    corrupt = rig.place("b", b"torn")
    rig.cache.corrupt.add(blob_of(b"torn"))
    results = rig.apply(missing, corrupt, rig.place("c", b"1"))
    assert [(r.path, r.outcome) for r in results] == [("a", FAILED), ("b", FAILED), ("c", APPLIED)]
    assert rig.files() == {"a": b"old", "c": b"1"}


# --- other programs in between ---------------------------------------------------------------


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("how", ["write", "write_by_rename"])
@pytest.mark.parametrize("change", ["create", "replace", "remove", "move"])
def test_a_save_in_the_middle_of_a_change_is_not_lost(
    rig: Rig, step: Step, how: str, change: str
) -> None:
    """Whatever was saved at the path last stands there; older bytes are somewhere."""
    path = "new" if change == "move" else "a"
    if change != "create":
        rig.write("a", b"base")
    is_refused = step is Step.REFUSED
    if is_refused and change != "create":
        rig.write("a", b"first save")
    rig.at_step[step] = lambda: getattr(rig, how)(path, b"the save")
    write = {
        "create": lambda: rig.place("a", b"by a peer"),
        "replace": lambda: rig.place("a", b"by a peer", b"base"),
        "remove": lambda: rig.place("a", None, b"base"),
        "move": lambda: rig.place("new", b"base", moved_from="a"),
    }[change]()
    result = rig.apply_one(write)
    if rig.at_step:
        # The step does not occur in this change: then the program saves right after it.
        rig.on_step(step)
    assert rig.files()[path] == b"the save"
    if is_refused and change in {"replace", "remove"}:
        assert result.outcome is UNEXPECTED
        assert b"first save" in rig.versions()
    if result.outcome is UNEXPECTED and result.found is not None:
        assert result.found.blob == blob_of(rig.files()[result.found.path])


@pytest.mark.parametrize("step", list(Step))
def test_a_removal_in_the_middle_of_a_change_loses_no_edit(rig: Rig, step: Step) -> None:
    """A person removes the file while ours goes in: nothing fails."""
    rig.write("a", b"a save")
    # (Without exchange the path is free for a moment, and `rm` finds nothing.)
    rig.at_step[step] = lambda: rig.remove("a") if "a" in rig.files() else None
    result = rig.apply_one(rig.place("a", b"by a peer", b"base"))
    assert result.outcome is UNEXPECTED
    if step is not Step.PREPARED:
        assert b"a save" in rig.versions()


def test_saves_that_keep_coming_end(rig: Rig) -> None:
    """Each round of putting back meets another save; in the end the last one stands."""
    rig.write("a", b"save 0")
    rig.at_step[Step.TAKEN_OUT] = lambda: rig.write_by_rename("a", b"save 1")
    rig.at_step[Step.REFUSED] = lambda: rig.write_by_rename("a", b"save 2")
    result = rig.apply_one(rig.place("a", b"by a peer", b"base"))
    assert result.outcome is UNEXPECTED
    assert rig.files() == {"a": b"save 2"}
    assert b"save 0" in rig.versions()


# --- the two trees are one -------------------------------------------------------------------

NAMES = ("a", "b", "d/a", "d/b", "d/e/a")
CONTENTS = (b"", b"1", b"2", b"\0")
OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(("save", "remove", "rename", "place", "take", "move", "look")),
        st.sampled_from(NAMES),
        st.sampled_from(NAMES),
        st.sampled_from(CONTENTS),
        st.sampled_from((None, *CONTENTS)),
    ),
    max_size=14,
)


@settings(max_examples=120)
@given(OPERATIONS)
def test_the_memory_tree_does_what_the_real_one_does(
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[str, str, str, bytes, bytes | None]],
) -> None:
    """The same programs and peers lead to the same files, outcomes and observations."""
    root = tmp_path_factory.mktemp("twin")
    local, memory = LocalRig(root), MemoryRig()
    known: list[dict[str, FileStat]] = [{}, {}]
    for operation, path, other, content, expected in operations:
        told = []
        for index, rig in enumerate((local, memory)):
            told.append(_perform(rig, operation, path, other, content, expected, known, index))
        assert told[0] == told[1]
        assert local.files() == memory.files()
    local.tree.close()
    assert sorted(p.name for p in root.iterdir() if p.name.startswith(".")) == []


def _perform(  # noqa: PLR0913 - one operation's facts
    rig: Rig,
    operation: str,
    path: str,
    other: str,
    content: bytes,
    expected: bytes | None,
    known: list[dict[str, FileStat]],
    index: int,
) -> object:
    files = rig.files()
    match operation:
        case "save" if not _is_blocked(files, path):
            rig.write(path, content)
        case "remove" if path in files:
            rig.remove(path)
        case "rename" if path in files and not _is_blocked(files, other) and path != other:
            if not other.startswith(path + "/"):
                rig.rename(path, other)
                if isinstance(rig, LocalRig):
                    _prune(rig.root)
        case "place":
            return _told(rig.apply_one(rig.place(path, content, expected)))
        case "take":
            return _told(rig.apply_one(rig.place(path, None, expected or b"")))
        case "move" if path != other and not other.startswith(path + "/"):
            return _told(rig.apply_one(rig.place(other, content, moved_from=path)))
        case "look":
            batch = rig.scan(known[index])
            known[index] = rig.known()
            seen = {(o.path, o.blob, o.is_text) for o in batch.observations}
            return (seen, set(batch.unchanged), set(batch.skipped))
        case _:
            pass  # not possible as things stand
    return None


def _is_blocked(files: dict[str, bytes], path: str) -> bool:
    return any(path.startswith(f + "/") or f.startswith(path + "/") for f in files)


def _prune(root: Path) -> None:
    for folder in sorted((p for p in root.rglob("*") if p.is_dir()), reverse=True):
        if folder.name != ".mesh-tmp" and not any(folder.iterdir()):
            folder.rmdir()


def _told(result: WriteResult) -> object:
    found = result.found
    return (result.outcome, found and (found.path, found.blob), result.stat and result.stat.size)


# --- the simulator's faults ------------------------------------------------------------------


@pytest.mark.parametrize("fault", [DiskFault.FULL, DiskFault.READ_ONLY])
def test_a_simulated_disk_that_says_no_changes_nothing(fault: DiskFault) -> None:
    """As the real ones in the unit tests; a full disk still removes."""
    rig = MemoryRig()
    rig.write("a", b"old")
    rig.write("b", b"old")
    rig.disk.faults.add(fault)
    results = rig.apply(rig.place("a", b"new", b"old"), rig.place("b", None, b"old"))
    removal = APPLIED if fault is DiskFault.FULL else FAILED
    assert [r.outcome for r in results] == [FAILED, removal]
    assert rig.files()["a"] == b"old"


def test_a_simulated_folder_without_permission_hides_nothing() -> None:
    """Known files below it are not gone."""
    rig = MemoryRig()
    for path in ("d/a", "b"):
        rig.write(path, b"1")
    known = rig.known()
    rig.disk.denied = {"d", "b"}
    rig.write("b", b"2")
    batch = rig.scan(known)
    told = [(o.path, o.stat, o.problem) for o in batch.observations]
    assert told == [("b", None, "permission denied")]
    assert reasons(batch.skipped) == dict.fromkeys(("b", "d"), SkipReason.UNREADABLE)


@pytest.mark.parametrize("is_removal", [True, False])
@pytest.mark.parametrize("is_newer", [True, False])
def test_a_simulated_crash_loses_no_save(is_removal: bool, is_newer: bool) -> None:
    """The disk outlives the node; its next start brings back what had just come out."""
    rig = MemoryRig()
    rig.write("a", b"a save")
    rig.tree.crash_at = Step.TAKEN_OUT
    with pytest.raises(SimulatedCrashError):
        rig.apply(rig.place("a", None if is_removal else b"by a peer", b"base"))
    if is_newer:
        rig.write("a", b"a newer save")
    cache = Cache()
    restored = MemoryFileTree(rig.disk, cache).recover()
    assert cache.held[blob_of(b"a save")] == b"a save"
    if is_newer:
        assert (restored, rig.files()) == ((), {"a": b"a newer save"})
        assert b"a save" in rig.versions()
    else:
        assert [(o.path, o.blob) for o in restored] == [("a", blob_of(b"a save"))]
        assert rig.files() == {"a": b"a save"}


def test_a_simulated_disk_tells_what_was_touched() -> None:
    """The simulator's watcher; our own writes are told too, as on a real disk."""
    rig = MemoryRig()
    rig.write("a", b"1")
    rig.apply(rig.place("d/b", b"2"))
    rig.rename("a", "c")
    assert set(rig.disk.take_changes()) == {"a", "c", "d/b"}
    assert rig.disk.take_changes() == ()


def test_two_simulated_disks_are_equal_to_the_byte() -> None:
    """Stats come from a counter: a run can be replayed."""
    seen = []
    for _ in range(2):
        rig = MemoryRig()
        rig.write("a", b"1")
        rig.apply(rig.place("b", b"2"), rig.place("a", b"3", b"1"))
        seen.append(rig.scan())
    assert seen[0] == seen[1]
