"""Requests of people and programs: each is answered exactly once, when it is durable."""

from __future__ import annotations

from collections.abc import Sequence

from aiplatform.mesh_ide.documents.notices import EntriesStored
from aiplatform.mesh_ide.documents.state import base_of
from aiplatform.mesh_ide.model.entries import EntryRef, KnownEntry
from aiplatform.mesh_ide.model.enums import EntryKind, FileMode
from aiplatform.mesh_ide.model.ids import TREE_FILE, FileId
from aiplatform.mesh_ide.node.core_requests import (
    SPLICES_PER_JOB_MAX,
    WAITING_MAX,
    RequestsCore,
)
from aiplatform.mesh_ide.node.events import DeleteFile, EditText, MoveFile, PutContent, Replied
from aiplatform.mesh_ide.ports.engine import Splice
from aiplatform.mesh_ide.ports.jobs import Persist, SpliceText, TextSpliced
from tests.unit.documents.authors import PERSON, Author, blob, file
from tests.unit.workspace.bench import NOW_MS, Bench, only

FILE = file(1)


class Counter:
    """Requests over the workspace's bench; ``replies`` are all answers so far."""

    def __init__(self) -> None:
        """File 1 stands at ``a``."""
        self.bench = Bench()
        self.bench.stand("a", 1)
        self.requests = RequestsCore(
            self.bench.ledger, self.bench.authoring, self.bench.folder, self.bench._new_file_id
        )
        self.replies: list[Replied] = []

    def done(self, out: Sequence[object]) -> list[object]:
        """Do seals and tree edits, begin what waited; returns what else was asked for."""
        rest: list[object] = []
        queue = self.bench.run(out)
        while queue:
            one = queue.pop(0)
            if isinstance(one, Replied):
                self.replies.append(one)
                continue
            rest.append(one)
            for freed in self.bench.ledger.take_freed():
                queue.extend(self.bench.run(self.requests.next(freed, NOW_MS)))
        return rest

    def asks(self, request: EditText | PutContent | DeleteFile | MoveFile) -> list[object]:
        """Take a request."""
        return self.done(self.requests.handle(request, NOW_MS))

    def spliced(self, job: object, text: str, problem: str | None = None) -> list[object]:
        """Answer a splice with the text it results in."""
        assert isinstance(job, SpliceText)
        result = TextSpliced(
            job.lineage.file,
            job.base,
            job.branch,
            b"" if problem else b"operations",
            None if problem else blob(text),
            len(text),
            problem,
        )
        return self.done(self.requests.on_spliced(result, NOW_MS))

    def durable(self, out: Sequence[object]) -> None:
        """Let the disk answer all commits."""
        for job in only(out, Persist):
            for notice in self.bench.authoring.on_persisted(job.ticket):
                assert isinstance(notice, EntriesStored)
                self.replies.extend(self.requests.on_stored(notice))

    def wrote(self) -> list[KnownEntry]:
        """Return the entries of files that were written."""
        return [known for known in self.bench.sealed if known.entry.file != TREE_FILE]


def edit(tag: int, text: str = "x", base: tuple[EntryRef, ...] = ()) -> EditText:
    """Return the request of one keystroke."""
    return EditText(tag, FILE, (Splice(0, 0, text),), PERSON, base)


def put(  # noqa: PLR0913 - a request has these facts
    tag: int,
    text: str,
    one: FileId | None = FILE,
    path: str | None = None,
    *,
    is_rewrite: bool = False,
    mode: FileMode = FileMode.REGULAR,
) -> PutContent:
    """Return the request of a whole content."""
    return PutContent(
        tag, one, path, blob(text), len(text), mode, True, PERSON, is_rewrite=is_rewrite
    )


# --- edits ---------------------------------------------------------------------------------------


def test_a_keystroke_is_spliced_written_and_answered_when_durable() -> None:
    """Not a version by itself; the answer names the base of the next edit."""
    counter = Counter()
    (job,) = counter.asks(edit(1))
    assert isinstance(job, SpliceText)
    assert job.base == base_of(counter.bench.state(1))
    out = counter.spliced(job, "xone")
    assert counter.replies == []
    counter.durable(out)
    (known,) = counter.wrote()
    assert (known.entry.kind, known.entry.is_save) == (EntryKind.UPDATE, False)
    assert counter.replies == [Replied(1, None, FILE, (known.ref,))]


def test_keystrokes_that_wait_are_joined() -> None:
    """A hundred while one is being signed are one entry, and a hundred answers."""
    counter = Counter()
    (first,) = counter.asks(edit(1))
    for tag in range(2, 102):
        assert counter.asks(edit(tag)) == []
    out = counter.spliced(first, "xone")
    (second,) = only(out, SpliceText)
    assert len(second.splices) == 100
    counter.durable([*out, *counter.spliced(second, "x" * 101 + "one")])
    assert len(counter.wrote()) == 2
    assert [reply.tag for reply in counter.replies] == list(range(1, 102))
    assert all(reply.problem is None for reply in counter.replies)


def test_only_edits_on_one_base_are_joined_and_in_bounded_jobs() -> None:
    """Another base is another entry; thousands of splices are several."""
    counter = Counter()
    counter.bench.ledger.claim(FILE)
    other = base_of(counter.bench.state(1))
    many = tuple(Splice(0, 0, "x") for _ in range(SPLICES_PER_JOB_MAX))
    counter.asks(EditText(1, FILE, many, PERSON))
    counter.asks(edit(2))
    counter.asks(edit(3, base=other))
    counter.bench.ledger.release([FILE])
    (job,) = counter.done(counter.requests.next(FILE, NOW_MS))
    sizes = []
    for _ in range(3):
        assert isinstance(job, SpliceText)
        sizes.append(len(job.splices))
        out = counter.spliced(job, f"text {len(sizes)}")
        job = next(iter(only(out, SpliceText)), None)
    assert sizes == [SPLICES_PER_JOB_MAX, 1, 1]


def test_an_edit_that_cannot_be_is_answered_with_why_and_the_next_one_begins() -> None:
    """Outside the text, or no text at all: nothing is written."""
    counter = Counter()
    (job,) = counter.asks(edit(1))
    counter.asks(put(2, "two"))
    out = counter.spliced(job, "", problem="position 99 is not in it")
    assert counter.replies == [Replied(1, "position 99 is not in it", FILE)]
    counter.durable(out)
    assert [reply.tag for reply in counter.replies] == [1, 2]
    counter.bench.arrive(
        *counter.bench.peer.say(counter.bench.peer.genesis(file(2), is_text=False))
    )
    counter.asks(EditText(3, file(2), (), PERSON))
    assert "not a text" in (counter.replies[-1].problem or "")


def test_nothing_is_done_for_a_file_that_is_not_there() -> None:
    """Unknown, or the tree itself: said at once."""
    counter = Counter()
    for tag, one in ((1, file(99)), (2, TREE_FILE)):
        counter.asks(DeleteFile(tag, one, PERSON))
    assert [(reply.tag, bool(reply.problem)) for reply in counter.replies] == [(1, True), (2, True)]


def test_too_many_waiting_requests_are_refused() -> None:
    """The caller goes on once some are done; nothing that waits is lost."""
    counter = Counter()
    counter.bench.ledger.claim(FILE)
    request = edit(1)
    for _ in range(WAITING_MAX):
        assert counter.requests.handle(request, NOW_MS) == []
    (reply,) = counter.requests.handle(edit(2), NOW_MS)
    assert isinstance(reply, Replied)
    assert (reply.tag, bool(reply.problem)) == (2, True)


# --- whole contents ------------------------------------------------------------------------------


def test_a_whole_content_is_a_replace() -> None:
    """On what is visible; the content is in the archive already."""
    counter = Counter()
    base = base_of(counter.bench.state(1))
    counter.durable(counter.asks(put(1, "two")))
    (known,) = counter.wrote()
    assert (known.entry.kind, known.entry.parents) == (EntryKind.REPLACE, base)
    assert counter.bench.folder.holds(blob("two"))
    assert counter.replies == [Replied(1, None, FILE, (known.ref,))]


def test_the_content_that_is_there_already_needs_no_entry() -> None:
    """Answered at once with the frontier; another mode is a change."""
    counter = Counter()
    assert counter.asks(put(1, "one")) == []
    assert counter.replies == [Replied(1, None, FILE, counter.bench.state(1).refs())]
    assert not counter.bench.ledger.is_claimed(FILE)
    counter.durable(counter.asks(put(2, "one", mode=FileMode.EXECUTABLE)))
    assert [known.entry.mode for known in counter.wrote()] == [FileMode.EXECUTABLE]


def test_a_rewrite_decides_a_conflict_even_with_what_stands_there() -> None:
    """It builds on both sides, so that no rival is left."""
    counter = Counter()
    ben = Author("ben")
    ben.hear(*counter.bench.peer.heard)
    counter.bench.arrive(
        *counter.bench.peer.say(counter.bench.peer.change(FILE, "x", is_replace=True))
    )
    counter.bench.arrive(*ben.say(ben.change(FILE, "y", is_replace=True)))
    head = counter.bench.ledger.head(FILE)
    assert head is not None
    winner = "x" if head.blob == blob("x") else "y"
    counter.durable(counter.asks(put(1, winner, is_rewrite=True)))
    (known,) = counter.wrote()
    assert len(known.entry.parents) == 2
    after = counter.bench.ledger.head(FILE)
    assert after is not None
    assert (after.blob, after.rivals) == (blob(winner), ())


def test_a_new_file_gets_its_place() -> None:
    """Genesis and tree edit in one; the answer names the file."""
    counter = Counter()
    counter.durable(counter.asks(put(1, "new", None, "dir/new")))
    (known,) = counter.wrote()
    assert counter.bench.ledger.index.owner("dir/new") == known.entry.file
    assert counter.replies == [Replied(1, None, known.entry.file, (known.ref,))]


def test_a_path_that_cannot_be_is_refused() -> None:
    """Taken, absolute, leaving the root, nameless: no entry, and why."""
    counter = Counter()
    for tag, path in enumerate(("a", "/etc/passwd", "../x", "", "x/./y"), 1):
        counter.asks(put(tag, "new", None, path))
        counter.asks(MoveFile(10 + tag, FILE, path, PERSON))
    assert len(counter.replies) == 10
    assert all(reply.problem for reply in counter.replies)
    assert counter.wrote() == []


# --- deletions and moves -------------------------------------------------------------------------


def test_a_deletion_is_answered_when_durable_and_not_twice() -> None:
    """The second one is told that there is nothing to delete."""
    counter = Counter()
    counter.durable(counter.asks(DeleteFile(1, FILE, PERSON)))
    assert not counter.bench.ledger.is_alive(FILE)
    counter.asks(DeleteFile(2, FILE, PERSON))
    assert [bool(reply.problem) for reply in counter.replies] == [False, True]


def test_a_move_is_an_edit_of_the_tree() -> None:
    """No entry of the file; a dead file is not moved."""
    counter = Counter()
    counter.durable(counter.asks(MoveFile(1, FILE, "dir/b", PERSON)))
    assert counter.bench.path_of(1) == "dir/b"
    assert counter.wrote() == []
    assert counter.replies == [Replied(1, None, FILE, counter.bench.state(1).refs())]
    counter.asks(MoveFile(2, file(99), "c", PERSON))
    assert counter.replies[-1].problem is not None
