"""Jobs of the store: commits in groups and order, the archive, contents that come in."""

from __future__ import annotations

from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.model.messages import BlobPart
from aiplatform.mesh_ide.ports.jobs import (
    ArchiveBlobs,
    BlobsArchived,
    BlobSource,
    PartsReceived,
    Persist,
    Persisted,
    ReceiveParts,
)
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES, PutEntries, PutRecord, RecordKind
from tests.unit.documents.authors import Author, blob, file
from tests.unit.node.ports import Ports

PEER = NodeId(b"p" * 32)
LARGE = "".join(f"{number:08}" for number in range(CHUNK_BYTES * 5 // 16))


def note(ticket: int) -> Persist:
    """Return a commit of one record that says which one it was."""
    return Persist(ticket, (PutRecord(RecordKind.NODE, b"last", b"%d" % ticket),))


def last(ports: Ports) -> bytes | None:
    """Return which commit was last."""
    return ports.store.record(RecordKind.NODE, b"last")


# --- commits -------------------------------------------------------------------------------------


def test_a_group_is_committed_in_order() -> None:
    """Every job is answered, the last write of a record counts."""
    ports = Ports()
    results = ports.runner.persist_group([note(1), note(2), note(3)])
    assert results == [Persisted(1), Persisted(2), Persisted(3)]
    assert last(ports) == b"3"


def test_a_contradiction_is_told_to_the_job_that_brought_it() -> None:
    """The rest of the group is stored."""
    ports, ben = Ports(), Author("ben")
    liar = ben.twin()
    first = ben.say(ben.genesis(file(1)))
    second = liar.say(liar.genesis(file(2)))
    jobs = [
        Persist(1, (PutEntries(ben.said[-1], first),)),
        Persist(2, (PutEntries(liar.said[-1], second),)),
        note(3),
    ]
    assert ports.runner.persist_group(jobs) == [
        Persisted(1),
        Persisted(2, refused=(second[0].ref,)),
        Persisted(3),
    ]
    assert ports.store.entry(first[0].ref.id) == first[0]
    assert last(ports) == b"3"


def test_commits_behind_one_that_failed_wait_for_it() -> None:
    """Stored later, its older records would overwrite theirs: the order is kept by refusing."""
    ports = Ports()
    ports.disk.fill()
    results = ports.runner.persist_group([note(1), note(2)])
    assert all(result.problem for result in results)
    ports.disk.make_room()
    (behind,) = ports.runner.persist_group([note(3)])
    assert behind.problem is not None
    assert last(ports) is None
    assert ports.runner.persist_group([note(1)]) == [Persisted(1)]
    assert ports.runner.persist_group([note(2), note(3)]) == [Persisted(2), Persisted(3)]
    assert last(ports) == b"3"


def test_the_one_that_failed_may_come_again_within_a_group() -> None:
    """What was queued before its retry is refused; what comes behind is stored with it."""
    ports = Ports()
    ports.disk.fill()
    ports.runner.persist_group([note(1)])
    ports.disk.make_room()
    results = ports.runner.persist_group([note(5), note(1), note(6)])
    assert [bool(result.problem) for result in results] == [True, False, False]
    assert last(ports) == b"6"


# --- the archive ---------------------------------------------------------------------------------


def archive(ports: Ports, *sources: BlobSource) -> BlobsArchived:
    """Archive contents."""
    return ports.run(ArchiveBlobs(sources), BlobsArchived)


def test_contents_are_archived_from_wherever_they_are() -> None:
    """Kept, in the folder, archived already; what is nowhere is missing."""
    ports = Ports()
    ports.archive("here")
    ports.contents.keep(blob("kept"), b"kept")
    ports.disk.folder.write("a", b"file")
    sources = [BlobSource(blob(text)) for text in ("here", "kept", "nowhere")]
    result = archive(ports, *sources, BlobSource(blob("file"), "a"))
    assert set(result.archived) == {blob("here"), blob("kept"), blob("file")}
    assert (result.missing, result.problem) == ((blob("nowhere"),), None)
    assert ports.store.held_blobs(result.archived) == set(result.archived)


def test_a_file_that_holds_something_else_is_missing() -> None:
    """The wrong bytes never get into the archive under this name."""
    ports = Ports()
    ports.disk.folder.write("a", b"changed")
    assert archive(ports, BlobSource(blob("file"), "a")).missing == (blob("file"),)
    ports.disk.folder.write("large", LARGE.encode()[:-1] + b"?")
    assert archive(ports, BlobSource(blob(LARGE), "large")).missing == (blob(LARGE),)
    assert ports.store.held_blobs([blob("file"), blob(LARGE)]) == set()


def test_a_full_disk_archives_nothing_and_says_so() -> None:
    """Nothing is claimed that was not synced; what was there still is."""
    ports = Ports()
    ports.archive("here")
    ports.contents.keep(blob("kept"), b"kept")
    ports.disk.fill()
    result = archive(ports, BlobSource(blob("here")), BlobSource(blob("kept")))
    assert result.archived == (blob("here"),)
    assert result.problem is not None


# --- contents that come in -----------------------------------------------------------------------


def receive(ports: Ports, *parts: BlobPart) -> PartsReceived:
    """Take parts from a peer."""
    return ports.run(ReceiveParts(PEER, parts), PartsReceived)


def chunks(text: str) -> list[BlobPart]:
    """Cut a content as a sender does."""
    content = text.encode()
    return [
        BlobPart(blob(text), len(content), index, content[start : start + CHUNK_BYTES])
        for index, start in enumerate(range(0, len(content), CHUNK_BYTES))
    ]


def test_small_contents_are_checked_and_kept_at_hand() -> None:
    """Right ones are complete, wrong ones corrupt; each under its own name."""
    ports = Ports()
    good = BlobPart(blob("one"), 3, 0, b"one")
    wrong = BlobPart(blob("two"), 3, 0, b"???")
    short = BlobPart(blob("three"), 5, 0, b"thr")
    empty = BlobPart(blob(""), 0, 0, b"")
    result = receive(ports, good, wrong, short, empty)
    assert set(result.complete) == {blob("one"), blob("")}
    assert set(result.corrupt) == {blob("two"), blob("three")}
    assert ports.contents.read(blob("one")) == b"one"
    assert ports.contents.read(blob("two")) is None


def test_a_large_content_is_complete_with_its_last_chunk_in_any_order() -> None:
    """Until then what is still to come is told; the whole is verified."""
    ports = Ports()
    first, second, third = chunks(LARGE)
    assert receive(ports, third).partial == ((blob(LARGE), 0),)
    assert receive(ports, first).partial == ((blob(LARGE), 1),)
    result = receive(ports, second)
    assert (result.complete, result.corrupt, result.partial) == ((blob(LARGE),), (), ())
    assert ports.store.held_blobs([blob(LARGE)]) == {blob(LARGE)}


def test_a_large_content_with_a_wrong_chunk_is_thrown_away() -> None:
    """Nothing of it stays: it is fetched anew from somebody else."""
    ports = Ports()
    first, second, third = chunks(LARGE)
    lie = BlobPart(second.blob, second.size, 1, bytes(len(second.content)))
    result = receive(ports, first, lie, third)
    assert (result.complete, result.corrupt) == ((), (blob(LARGE),))
    assert ports.store.missing_chunks(blob(LARGE), len(LARGE)) == (0, 1, 2)


def test_a_part_that_cannot_belong_to_its_content_is_corrupt() -> None:
    """An index outside, a chunk of the wrong length: not stored."""
    ports = Ports()
    size = 2 * CHUNK_BYTES
    bad = [
        BlobPart(blob("x"), size, 2, b""),
        BlobPart(blob("y"), size, 0, b"short"),
        BlobPart(blob("z"), 3, 1, b""),
    ]
    result = receive(ports, *bad)
    assert result.corrupt == (blob("x"), blob("y"), blob("z"))
    assert ports.store.missing_chunks(blob("x"), size) == (0, 1)


def test_a_full_disk_takes_no_chunk_and_says_so() -> None:
    """It is asked for again later; small contents need no disk."""
    ports = Ports()
    ports.disk.fill()
    result = receive(ports, chunks(LARGE)[0], BlobPart(blob("one"), 3, 0, b"one"))
    assert result.complete == (blob("one"),)
    assert result.problem is not None
