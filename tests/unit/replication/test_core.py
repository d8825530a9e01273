"""Who knows what, who lacks what, and what is said about it."""

from __future__ import annotations

from msgspec.structs import replace

from aiplatform.mesh_ide.documents.notices import EntriesStored, ParentsMissing
from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.model.entries import ENTRIES_PER_BATCH_MAX
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import BlobHash, Fingerprint, SessionId
from aiplatform.mesh_ide.model.messages import (
    BlobRequest,
    BlobsMissing,
    Entries,
    RangeItems,
    Reconcile,
    Sent,
    Stored,
    Vectors,
)
from aiplatform.mesh_ide.replication.commands import SendBlobs, SendEntries, SendMessage
from aiplatform.mesh_ide.replication.core import (
    ANTI_ENTROPY_MS,
    ENTRIES_PER_MESSAGE_MAX,
    FILES_PER_VECTORS_MAX,
    RECONCILE_TIMEOUT_MS,
)
from aiplatform.mesh_ide.replication.holdings import DOTS_MAX, HEADS_PER_MESSAGE_MAX
from aiplatform.mesh_ide.replication.unheard import ASK_AFTER_MS, ASK_BUSY_AFTER_MS
from tests.unit.documents.authors import blob, file
from tests.unit.replication.peers import (
    ANNA,
    BEN,
    CARL,
    START_MS,
    Side,
    messages,
    reconciled,
    said,
)

FILE = file(1)


# --- a link comes up -----------------------------------------------------------------------------


def test_the_lower_id_opens() -> None:
    """Of two nodes exactly one begins the reconciliation."""
    assert messages(Side(ANNA).core.peer_ready(BEN, START_MS)) == [Reconcile]
    assert messages(Side(BEN).core.peer_ready(ANNA, START_MS)) == []


def test_equal_nodes_are_in_step_after_reconciliation() -> None:
    """Both know that the other has everything, and nothing is asked for."""
    anna, ben = Side(ANNA, 3), Side(BEN)
    ben.hear(*anna.author.heard)
    reconciled(anna, ben)
    for side, other in ((anna, BEN), (ben, ANNA)):
        assert side.core.is_in_step(other)
        assert side.core.holdings.pending_at(other) == frozenset()
        assert not side.core.depends_on(other)


def test_what_differs_stays_pending_and_is_sent() -> None:
    """The file that the other lacks is sent from an empty vector, and pending until stored."""
    anna, ben = Side(ANNA, 3), Side(BEN)
    ben.hear(*anna.author.heard[:2])
    rest = reconciled(anna, ben)
    sends = [c for c in rest[ANNA] if isinstance(c, SendEntries)]
    assert ((file(3), ()),) in [send.wanted for send in sends]
    assert anna.core.holdings.pending_at(BEN) == frozenset({file(3)})
    assert anna.core.depends_on(BEN)
    ben.hear(anna.author.heard[2])
    anna.core.on_stored(BEN, ben.stored(3), START_MS)
    assert anna.core.holdings.pending_at(BEN) == frozenset()


def test_before_reconciliation_everything_is_pending() -> None:
    """What nobody has confirmed is not synced, however likely."""
    anna = Side(ANNA, 2)
    anna.core.peer_ready(BEN, START_MS)
    assert anna.core.holdings.pending_at(BEN) == frozenset({FILE, file(2)})
    assert not anna.core.is_in_step(BEN)
    assert anna.core.holdings.pending_at(CARL) is None


def test_both_sides_of_a_difference_ask_for_what_they_lack() -> None:
    """Edits on both sides: each is asked to send what the other's vector does not cover."""
    anna, ben = Side(ANNA, 1), Side(BEN)
    ben.hear(*anna.author.heard)
    anna.edit(1, "anna's")
    ben.edit(1, "ben's")
    rest = reconciled(anna, ben)
    asked = {
        me: [c.wanted for c in commands if isinstance(c, SendEntries)]
        for me, commands in rest.items()
    }
    assert ((FILE, ben.author.state(FILE).vector),) in asked[ANNA]
    assert ((FILE, anna.author.state(FILE).vector),) in asked[BEN]


def test_vectors_ask_back_once_and_no_further() -> None:
    """An answer to a request is no request: the conversation ends."""
    anna, ben = Side(ANNA, 1), Side(BEN)
    anna.meet(BEN)
    request = Vectors(((FILE, ()), (file(2), ((ben.author.session, 1),))), is_request=True)
    send, ask = anna.core.on_vectors(BEN, request)
    assert send == SendEntries(BEN, request.vectors)
    assert ask == SendMessage(BEN, Channel.CONTROL, Vectors(((file(2), ()),), is_request=False))
    (only,) = anna.core.on_vectors(BEN, replace(request, is_request=False))
    assert only == send


def test_in_step_waits_for_what_was_asked_for() -> None:
    """Each request is answered by one ``Sent``; more of them than requests do no harm."""
    anna = Side(ANNA)
    anna.meet(BEN)
    vector = ((b"s" * 32, 1),)
    anna.core.on_vectors(BEN, Vectors(((FILE, vector),), is_request=True))  # type: ignore[arg-type]
    assert not anna.core.is_in_step(BEN)
    anna.core.on_sent(BEN, Sent(1))
    assert anna.core.is_in_step(BEN)
    anna.core.on_sent(BEN, Sent(5))
    assert anna.core.is_in_step(BEN)


def test_a_peer_that_names_strangers_files_does_not_fill_the_memory() -> None:
    """Files that are not known here are asked for, not remembered."""
    anna = Side(ANNA, 1)
    anna.meet(BEN)
    foreign = tuple((file(n), Fingerprint(b"f" * 16)) for n in range(100, 5000))
    items = RangeItems(file(100), file(5000), foreign)
    out = anna.core.on_reconcile(BEN, Reconcile(2, asked=(items,)), START_MS)
    asked = [len(vectors.vectors) for vectors in said(out, Vectors)]
    assert (sum(asked), max(asked)) == (4900, FILES_PER_VECTORS_MAX)
    anna.core.on_vectors(BEN, Vectors(tuple((one, ()) for one, _ in foreign), is_request=True))
    assert anna.core.holdings._peers[BEN].differing <= {FILE}


def test_messages_of_nobody_change_nothing() -> None:
    """A peer that is gone, or never came, is not answered."""
    anna = Side(ANNA, 1)
    anna.core.peer_ready(BEN, START_MS)
    anna.core.peer_gone(BEN)
    assert anna.core.on_reconcile(BEN, Reconcile(1), START_MS) == []
    assert anna.core.on_vectors(BEN, Vectors((), is_request=True)) == []
    anna.core.on_stored(BEN, anna.stored(1), START_MS)
    anna.core.on_sent(BEN, Sent(1))
    assert (anna.core.peers(), anna.core.is_in_step(BEN)) == ((), False)


# --- live ----------------------------------------------------------------------------------------


def test_an_own_edit_is_pushed_to_every_peer_on_the_documents_channel() -> None:
    """Durable entries go out at once; what others wrote is not passed on unasked."""
    anna = Side(ANNA, 1)
    anna.meet(BEN)
    anna.meet(CARL)
    out = anna.edit(1, "two")
    entries = Entries((anna.author.said[-1],))
    assert out == [SendMessage(peer, Channel.DOCUMENTS, entries) for peer in (BEN, CARL)]
    foreign = EntriesStored((anna.author.said[-1],), (FILE,), BEN)
    assert anna.core.on_entries_stored(foreign) == []


def test_a_push_is_cut_into_frames() -> None:
    """Three thousand entries leave in messages of about a thousand."""
    anna = Side(ANNA)
    anna.meet(BEN)
    for first in range(0, 12 * ENTRIES_PER_BATCH_MAX, ENTRIES_PER_BATCH_MAX):
        numbers = range(1 + first, 1 + first + ENTRIES_PER_BATCH_MAX)
        anna.author.say(*(anna.author.genesis(file(number)) for number in numbers))
    frames = said(anna.core.push(tuple(anna.author.said)), Entries)
    counts = [sum(len(piece.entries) for piece in frame.slices) for frame in frames]
    assert counts == [ENTRIES_PER_MESSAGE_MAX] * 3


def test_an_edit_is_pending_until_the_peer_has_stored_it() -> None:
    """From the change in memory on; an older head that is confirmed late does not count."""
    anna = Side(ANNA, 1)
    anna.meet(BEN)
    old = anna.stored(1)
    anna.author.say(anna.author.change(FILE, "two"))
    anna.core.holdings.on_files_changed([FILE])
    assert anna.core.holdings.pending_at(BEN) == frozenset({FILE})
    anna.complete(FILE)
    anna.core.on_stored(BEN, old, START_MS)
    assert anna.core.holdings.pending_at(BEN) == frozenset({FILE})
    anna.core.on_stored(BEN, anna.stored(1), START_MS)
    assert anna.core.holdings.pending_at(BEN) == frozenset()


def test_a_head_confirmed_before_it_is_durable_here_stays_pending() -> None:
    """The author's own crash may still take it back: it counts once our disk has it."""
    anna = Side(ANNA, 1)
    anna.meet(BEN)
    known = anna.author.say(anna.author.change(FILE, "two"))
    anna.core.holdings.on_files_changed([FILE])
    anna.author.ledger.begin_storing(known)
    anna.core.holdings.refresh([FILE])
    anna.core.on_stored(BEN, anna.stored(1), START_MS)
    assert anna.core.holdings.pending_at(BEN) == frozenset({FILE})


def test_what_is_complete_is_announced_once_to_everybody() -> None:
    """One ``Stored`` says head, entries and content are here; the next flush has nothing new."""
    anna = Side(ANNA, 1)
    anna.meet(BEN)
    anna.meet(CARL)
    anna.edit(1, "two")
    out = anna.core.flush(START_MS)
    assert said(out, Stored, BEN) == said(out, Stored, CARL) == [anna.stored(1)]
    assert anna.core.flush(START_MS) == []


def test_a_head_without_its_content_is_not_announced() -> None:
    """Entries alone are not the file: nobody is told before the content is here."""
    anna = Side(ANNA)
    anna.meet(BEN)
    anna.author.say(anna.author.genesis(FILE))
    anna.core.holdings.refresh([FILE])
    assert said(anna.core.flush(START_MS), Stored) == []
    assert anna.core.holdings.incomplete() == [FILE]
    anna.complete(FILE)
    assert said(anna.core.flush(START_MS), Stored) == [anna.stored(1)]
    assert anna.core.holdings.incomplete() == []


def test_announcements_are_cut_into_messages() -> None:
    """Five thousand files that became complete are told in two."""
    anna = Side(ANNA)
    anna.meet(BEN)
    numbers = range(1, HEADS_PER_MESSAGE_MAX + 100)
    for number in numbers:
        anna.author.say(anna.author.genesis(file(number)))
    anna.complete(*map(file, numbers))
    sizes = [len(message.heads) for message in said(anna.core.flush(START_MS), Stored)]
    assert sizes == [HEADS_PER_MESSAGE_MAX, 99]


def test_who_got_a_head_elsewhere_is_shown_ours() -> None:
    """Without our word it would hold the file pending here for ever."""
    anna = Side(ANNA, 1)
    anna.core.peer_ready(BEN, START_MS)
    anna.core.flush(START_MS)
    anna.meet(CARL)
    anna.core.on_stored(CARL, anna.stored(1), START_MS)
    out = anna.core.flush(START_MS)
    assert said(out, Stored, CARL) == [anna.stored(1)]
    anna.core.on_stored(CARL, anna.stored(1), START_MS)
    assert said(anna.core.flush(START_MS), Stored) == []


# --- heads that were announced -------------------------------------------------------------------


def test_a_head_that_did_not_come_is_asked_for_after_a_while() -> None:
    """Its author may be on the way with it; then whoever announced it is asked, once."""
    anna, ben = Side(ANNA, 1), Side(BEN)
    ben.hear(*anna.author.heard)
    ben.edit(1, "ben's")
    anna.meet(BEN)
    anna.core.on_stored(BEN, ben.stored(1), START_MS)
    assert said(anna.core.tick(START_MS + ASK_AFTER_MS - 1), Vectors) == []
    (ask,) = said(anna.core.tick(START_MS + ASK_AFTER_MS), Vectors)
    assert ask == Vectors(((FILE, anna.author.state(FILE).vector),), is_request=True)
    assert said(anna.core.tick(START_MS + 2 * ASK_AFTER_MS), Vectors) == []


def test_a_head_that_came_in_time_is_not_asked_for() -> None:
    """The push arrived meanwhile: there is nothing to ask."""
    anna, ben = Side(ANNA, 1), Side(BEN)
    ben.hear(*anna.author.heard)
    ben.edit(1, "ben's")
    anna.meet(BEN)
    anna.core.on_stored(BEN, ben.stored(1), START_MS)
    anna.hear(*ben.author.heard)
    assert said(anna.core.tick(START_MS + ASK_AFTER_MS), Vectors) == []


def test_while_entries_are_checked_announced_heads_are_waited_for() -> None:
    """They may be in the queue; a peer that never pauses is asked in the end all the same."""
    anna, ben = Side(ANNA, 1), Side(BEN)
    ben.hear(*anna.author.heard)
    ben.edit(1, "ben's")
    anna.meet(BEN)
    anna.core.on_entries_received(BEN)
    anna.core.on_stored(BEN, ben.stored(1), START_MS)
    assert said(anna.core.tick(START_MS + ASK_BUSY_AFTER_MS - 1), Vectors) == []
    assert len(said(anna.core.tick(START_MS + ASK_BUSY_AFTER_MS), Vectors)) == 1


def test_missing_parents_are_asked_for_at_the_next_tick() -> None:
    """Nothing can be taken without them, so no time is lost, whatever else is being checked."""
    anna = Side(ANNA, 1)
    anna.meet(BEN)
    anna.core.on_entries_received(BEN)
    notice = ParentsMissing(BEN, (FILE, file(7)))
    assert anna.core.on_parents_missing(notice, START_MS) == []
    (ask,) = said(anna.core.tick(START_MS + 1), Vectors)
    assert [one for one, _ in ask.vectors] == [FILE, file(7)]


def test_whole_histories_are_asked_of_one_or_all() -> None:
    """Entries that rotted here are wanted again from the first on."""
    anna = Side(ANNA, 1)
    anna.meet(BEN)
    anna.meet(CARL)
    ask = Vectors(((FILE, ()),), is_request=False)
    assert said(anna.core.ask_whole((FILE,)), Vectors) == [ask, ask]
    assert said(anna.core.ask_whole((FILE,), CARL), Vectors, CARL) == [ask]


# --- time ----------------------------------------------------------------------------------------


def test_a_reconciliation_that_hangs_is_begun_anew() -> None:
    """Lost frames cost fifteen seconds, not for ever; only the lower id begins."""
    anna, ben = Side(ANNA, 1), Side(BEN, 1)
    anna.core.peer_ready(BEN, START_MS)
    ben.core.peer_ready(ANNA, START_MS)
    assert messages(anna.core.tick(START_MS + RECONCILE_TIMEOUT_MS - 1)) == []
    assert messages(anna.core.tick(START_MS + RECONCILE_TIMEOUT_MS)) == [Reconcile]
    assert messages(ben.core.tick(START_MS + RECONCILE_TIMEOUT_MS)) == []


def test_standing_links_are_compared_now_and_then() -> None:
    """What a lost frame left out heals within a minute."""
    anna = Side(ANNA, 1)
    anna.meet(BEN)
    assert messages(anna.core.tick(START_MS + ANTI_ENTROPY_MS - 1)) == []
    assert messages(anna.core.tick(START_MS + ANTI_ENTROPY_MS)) == [Reconcile]


# --- contents ------------------------------------------------------------------------------------


def test_wanted_contents_are_asked_for_unless_the_folder_is_behind() -> None:
    """Congestion stops new requests; the peer that lacks a content is not asked again."""
    anna = Side(ANNA)
    anna.meet(BEN)
    anna.core.fetcher.want(blob("two"), 3)
    anna.core.is_congested = True
    assert said(anna.core.flush(START_MS), BlobRequest) == []
    anna.core.is_congested = False
    request = BlobRequest(((blob("two"), 3, 0),))
    assert said(anna.core.flush(START_MS), BlobRequest, BEN) == [request]
    anna.meet(CARL)
    out = anna.core.on_blobs_missing(BEN, BlobsMissing((blob("two"),)), START_MS)
    assert said(out, BlobRequest, CARL) == [request]


def test_a_request_for_contents_is_passed_to_who_has_the_bytes() -> None:
    """The core holds no contents: it names what is to be sent."""
    request = BlobRequest(((BlobHash(b"x" * 32), 3, 0),))
    assert Side(ANNA).core.on_blob_request(BEN, request) == [SendBlobs(BEN, request)]


def test_vectors_of_files_with_many_sessions_go_in_messages_that_a_peer_takes() -> None:
    """Two thousand files that a hundred sessions wrote: more dots than one frame may name."""
    anna = Side(ANNA, 2000)
    sessions = tuple((SessionId(number.to_bytes(32, "big")), 1) for number in range(100))
    for state in list(anna.author.ledger.states()):
        anna.author.ledger.replace_state(replace(state, vector=sessions))
    anna.meet(BEN)
    asked = [(file(n), Fingerprint(b"f" * 16)) for n in range(1, 2001)]
    items = RangeItems(file(1), file(2001), tuple(asked))
    out = said(anna.core.on_reconcile(BEN, Reconcile(2, asked=(items,)), START_MS), Vectors)
    assert sum(len(vectors.vectors) for vectors in out) == 2000
    for vectors in out:
        assert decode(encode(vectors)) == vectors, "a peer takes it"
    assert max(sum(len(v) for _, v in vectors.vectors) for vectors in out) > DOTS_MAX - 100
