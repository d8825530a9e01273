"""The folder as it is believed to stand, and which of that may be written down when."""

from __future__ import annotations

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.model.ids import NO_ENTRY
from aiplatform.mesh_ide.ports.filetree import FileStat
from aiplatform.mesh_ide.ports.jobs import BlobSource
from aiplatform.mesh_ide.ports.store import PutRecord, Write
from aiplatform.mesh_ide.storage.contents import ContentCache
from aiplatform.mesh_ide.workspace.adapters.memory_disk import MemoryDisk
from aiplatform.mesh_ide.workspace.adapters.memory_tree import MemoryFileTree
from aiplatform.mesh_ide.workspace.folder import LOOK_ANEW, RECORDS_PER_COMMIT_MAX, Folder
from aiplatform.mesh_ide.workspace.records import DiskState, Standing, decode_disk
from tests.unit.documents.authors import Author, blob, file
from tests.unit.workspace.bench import stat

HEAD = EntryRef(Author("anna").session, 1, NO_ENTRY)


def standing(number: int, text: str = "one") -> DiskState:
    """Return the state of a path at which a file stands."""
    now = Standing(file(number), (HEAD,), blob(text), FileMode.REGULAR, len(text))
    return DiskState(now, stat(text, number))


def written(writes: list[Write]) -> dict[str, DiskState | None]:
    """Return what records say of which paths."""
    found: dict[str, DiskState | None] = {}
    for write in writes:
        assert isinstance(write, PutRecord)
        if write.value is None:
            found[write.key.decode()] = None
        else:
            path, state = decode_disk(write.key, write.value)
            found[path] = state
    return found


# --- looking up ----------------------------------------------------------------------------------


def test_a_path_knows_its_file_and_a_file_its_path() -> None:
    """Both ways, and a content knows where it can be read."""
    folder = Folder()
    folder.put("a", standing(1))
    assert folder.standing("a") == standing(1).now
    assert folder.path_of(file(1)) == "a"
    assert folder.source(blob("one")) == BlobSource(blob("one"), "a")
    assert (len(folder), folder.paths()) == (1, ("a",))


def test_what_is_only_planned_stands_nowhere() -> None:
    """A path that waits for its first write has no file, no content and no stat."""
    folder = Folder()
    folder.put("a", DiskState(None, None, planned=standing(1).now))
    assert (folder.standing("a"), folder.path_of(file(1)), len(folder)) == (None, None, 0)
    assert folder.paths() == ()
    assert folder.known_stats() == {}
    assert not folder.holds(blob("one"))


def test_a_content_is_not_to_be_read_where_another_was_seen() -> None:
    """Its other place is named, or none; what stands elsewhere does not matter."""
    folder = Folder()
    folder.put("a", standing(1))
    folder.put("b", standing(2))
    assert folder.source(blob("one"), not_at="b").path == "a"
    assert folder.source(blob("one"), not_at="a").path == "b"
    folder.put("b", None)
    assert folder.source(blob("one"), not_at="a").path is None
    assert folder.source(blob("one"), not_at="c").path == "a"


def test_a_content_is_held_while_it_stands_somewhere_or_is_archived() -> None:
    """Two paths hold it; the last one gone, only the archive does."""
    folder = Folder()
    folder.put("a", standing(1))
    folder.put("b", standing(2))
    folder.put("a", None)
    assert folder.source(blob("one")).path == "b"
    assert folder.holds(blob("one"))
    folder.put("b", None)
    assert not folder.holds(blob("one"))
    assert folder.source(blob("one")).path is None
    folder.mark_archived([blob("one")])
    assert folder.holds(blob("one"))


def test_a_file_that_moved_is_not_forgotten_when_its_old_path_is() -> None:
    """The new path was put first; forgetting the old one leaves it."""
    folder = Folder()
    folder.put("old", standing(1))
    folder.put("new", standing(1))
    folder.put("old", None)
    assert folder.path_of(file(1)) == "new"


def test_stats_are_given_for_all_for_paths_and_for_what_lies_below() -> None:
    """A path that is not known is taken for a folder."""
    folder = Folder()
    for number, path in enumerate(("src/a", "src/b/c", "srca", "top"), 1):
        folder.put(path, standing(number))
    assert set(folder.known_stats()) == {"src/a", "src/b/c", "srca", "top"}
    assert set(folder.known_stats(["src"])) == {"src/a", "src/b/c"}
    assert set(folder.known_stats(["top", "src/b"])) == {"top", "src/b/c"}
    assert folder.known_stats(["nowhere"]) == {}


class Oblivious(Folder):
    """Knows nothing of what has to be looked at anew."""

    def known_stats(self, paths: Iterable[str] | None = None) -> dict[str, FileStat]:
        """Leave it out."""
        known = super().known_stats(paths)
        return {path: stat for path, stat in known.items() if stat != LOOK_ANEW}


class Kept(ContentCache):
    """Where a look at the folder puts contents."""

    keep = ContentCache.put


def told_to_be_gone(folder: Folder) -> list[set[str]]:
    """Look at an empty disk where files are believed to stand: by path, by folder, at all."""
    for number, path in enumerate(("src/a", "src/b"), 1):
        folder.put(path, standing(number))
    anew = folder.get("src/a")
    assert anew is not None
    folder.put("src/a", replace(anew, stat=None))
    tree = MemoryFileTree(MemoryDisk(), Kept())
    looks = (
        [tree.observe(["src/a", "src/b"], folder.known_stats(["src/a", "src/b"]))],
        [tree.observe(["src"], folder.known_stats(["src"]))],
        list(tree.scan(folder.known_stats())),
    )
    return [
        {seen.path for batch in look for seen in batch.observations if seen.stat is None}
        for look in looks
    ]


def test_what_has_to_be_looked_at_anew_is_told_to_be_gone() -> None:
    """Renamed with another mode, it is looked at a second time; it may be gone by then."""
    assert told_to_be_gone(Folder()) == [{"src/a", "src/b"}] * 3


def test_a_variant_that_knows_only_what_it_has_a_stat_of_is_caught() -> None:
    """The check can fail."""
    assert told_to_be_gone(Oblivious()) == [{"src/b"}] * 3


def test_what_came_to_stand_is_handed_out_once() -> None:
    """Whoever counts what is complete hears of each file."""
    folder = Folder()
    folder.put("a", standing(1))
    folder.put("b", standing(2))
    assert folder.take_placed() == (file(1), file(2))
    assert folder.take_placed() == ()


# --- the archive ---------------------------------------------------------------------------------


def test_new_contents_wait_for_the_archive() -> None:
    """Until they are in it; what is archived already does not wait."""
    folder = Folder()
    folder.mark_archived([blob("old")])
    folder.put("a", standing(1, "new"))
    folder.put("b", standing(2, "old"))
    assert list(folder.unarchived) == [blob("new")]
    folder.mark_archived([blob("new")])
    assert list(folder.unarchived) == []


def test_a_texts_first_content_is_archived_before_what_builds_on_it() -> None:
    """It is handed out once, and not at all if it is archived."""
    folder = Folder()
    folder.keep_root(BlobSource(blob("one"), "a"))
    folder.mark_archived([blob("two")])
    folder.keep_root(BlobSource(blob("two"), "b"))
    assert folder.take_roots() == (BlobSource(blob("one"), "a"),)
    assert folder.take_roots() == ()


# --- records -------------------------------------------------------------------------------------


def test_every_change_is_written_once() -> None:
    """The last state counts; forgetting is a record too; what was loaded is none."""
    folder = Folder()
    folder.load("kept", standing(3))
    assert not folder.has_unsaved()
    folder.put("a", standing(1))
    folder.put("a", standing(1, "two"))
    folder.put("kept", None)
    assert written(folder.take_records()) == {"a": standing(1, "two"), "kept": None}
    assert folder.take_records() == []


def test_a_held_path_is_written_with_its_entry_and_not_before() -> None:
    """A record that were durable before the entry would hide the edit after a crash."""
    folder = Folder()
    folder.hold(["a"])
    folder.put("a", standing(1))
    folder.put("b", standing(2))
    assert folder.is_held("a")
    assert set(written(folder.take_records())) == {"b"}
    assert not folder.has_unsaved()
    assert folder.take_settled() == []
    folder.settle(["a"])
    assert set(written(folder.take_settled())) == {"a"}
    assert folder.take_records() == []


def test_a_path_that_is_held_twice_is_settled_twice() -> None:
    """The first of two operations must not let the second one's record out."""
    folder = Folder()
    folder.put("a", standing(1))
    folder.hold(["a", "a"])
    folder.settle(["a"])
    assert (folder.is_held("a"), folder.take_settled()) == (True, [])
    folder.settle(["a"])
    assert set(written(folder.take_settled())) == {"a"}


def test_a_settled_path_that_is_held_again_waits_for_the_later_entry() -> None:
    """Its record now says what the later entry says."""
    folder = Folder()
    folder.put("a", standing(1))
    folder.hold(["a"])
    folder.settle(["a"])
    folder.hold(["a"])
    assert folder.take_settled() == []
    assert folder.take_records() == []
    folder.settle(["a"])
    assert set(written(folder.take_settled())) == {"a"}


def test_records_come_in_bounded_commits() -> None:
    """Five thousand files are written in three."""
    folder = Folder()
    for number in range(1, 5001):
        folder.put(f"{number}", standing(number))
    sizes = [len(folder.take_records()) for _ in range(4)]
    assert sizes == [RECORDS_PER_COMMIT_MAX, RECORDS_PER_COMMIT_MAX, 904, 0]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "drop", "hold", "settle", "take", "commit"]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(1, 3),
    ),
    max_size=40,
)


@given(STEPS)
def test_what_is_written_in_the_end_is_what_is_believed(
    steps: list[tuple[str, str, int]],
) -> None:
    """Whatever is held and settled between, the records come to equal the table."""
    folder, disk = Folder(), dict[str, DiskState | None]()
    held: dict[str, int] = {}
    for deed, path, number in steps:
        if deed in {"put", "drop"}:
            folder.put(path, standing(number, f"text {number}") if deed == "put" else None)
        elif deed == "hold":
            folder.hold([path])
            held[path] = held.get(path, 0) + 1
        elif deed == "settle" and held.get(path):
            folder.settle([path])
            held[path] -= 1
        elif deed == "take":
            fresh = written(folder.take_records())
            assert not any(held.get(one) for one in fresh), "a held path was written"
            disk.update(fresh)
        else:
            fresh = written(folder.take_settled())
            assert not any(held.get(one) for one in fresh), "a held path was written"
            disk.update(fresh)
    for path, count in held.items():
        folder.settle([path] * count)
    disk.update(written(folder.take_settled()))
    disk.update(written(folder.take_records()))
    believed = {path: folder.get(path) for path in disk}
    assert disk == believed
    assert {path for path in ("a", "b", "c") if folder.get(path)} <= set(disk)
