"""What a member that may not edit changed: it stays, it is told, and nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.mesh.codec import decode, encode
from aiplatform.mesh_ide.model.entries import FileVector
from aiplatform.mesh_ide.model.ids import FileId, SessionId
from aiplatform.mesh_ide.model.messages import Reconcile, Stored, Vectors
from aiplatform.mesh_ide.replication.commands import SendEntries
from aiplatform.mesh_ide.replication.holdings import (
    HEADS_PER_MESSAGE_MAX,
    Holdings,
    _Peer,
)
from tests.unit.documents.authors import file
from tests.unit.replication.peers import ANNA, BEN, CARL, START_MS, Side, messages, said

FILE, ANOTHER = file(1), file(2)


def reader(editor: Side, cut: int = 0) -> Side:
    """Return Ben, who has everything of an editor and may not edit."""
    ben = Side(BEN)
    ben.hear(*editor.author.heard)
    ben.judge.may_edit, ben.judge.cut = False, cut
    return ben


def own_word(side: Side, one: FileId) -> Stored:
    """Return what a side says to a peer that it has met, once a file has changed."""
    side.core.holdings.refresh([one])
    (message,) = said(side.core.flush(START_MS), Stored)
    return message


# --- what stays ----------------------------------------------------------------------------------


def test_each_file_is_judged_by_who_wrote_its_last_version() -> None:
    """Of a reader's files those stay that it changed itself, after it was forbidden to."""
    anna = Side(ANNA, 3)
    ben = reader(anna, cut=1)
    ben.edit(1, "while he was allowed")
    ben.edit(2, "afterwards")
    assert ben.core.own_work.staying([FILE, ANOTHER, file(3), file(9)]) == {ANOTHER}
    ben.judge.may_edit = True
    assert ben.core.own_work.staying([FILE, ANOTHER]) == frozenset()


def test_a_reader_pushes_nothing() -> None:
    """An editor's edit goes to whoever is linked; a reader's to nobody."""
    ben = reader(Side(ANNA, 1))
    ben.meet(ANNA)
    assert ben.edit(1, "mine") == []
    ben.judge.may_edit = True
    assert ben.edit(1, "mine, allowed") != []


def test_who_asks_a_reader_gets_all_but_what_he_would_refuse() -> None:
    """The reader's own session counts as had; what it lacks of others' is sent."""
    anna = Side(ANNA, 1)
    ben = reader(anna)
    ben.meet(CARL)
    ben.edit(1, "mine")
    (send, *_) = ben.core.on_vectors(CARL, Vectors(((FILE, ()),), is_request=True))
    assert send == SendEntries(CARL, ((FILE, ((ben.author.session, 1),)),))


def test_who_lacks_something_of_the_readers_time_as_an_editor_gets_it() -> None:
    """Up to the cut it is everybody's: a session of which he lacks such entries is sent."""
    ben = reader(Side(ANNA, 1), cut=1)
    ben.edit(1, "allowed")
    ben.edit(1, "forbidden")
    own = ben.author.session
    assert dict(ben.core.own_work.withheld(FILE, ())).get(own) is None
    assert ben.core.own_work.withheld(FILE, ((own, 1),)) == ((own, 2),)
    assert ben.core.own_work.withheld(FILE, ((own, 9),)) == ((own, 9),), "never less than he has"


# --- what it confirms ----------------------------------------------------------------------------


class DeafHoldings(Holdings):
    """Hears fingerprints only: the planted bug."""

    def _has_confirmed(self, peer: _Peer, file: FileId) -> bool:
        return peer.told.get(file) == self.index.get(file)


class TrustingHoldings(Holdings):
    """Takes any vector for all that is here: the planted bug."""

    def _has_confirmed(self, peer: _Peer, file: FileId) -> bool:
        return file in peer.beyond or super()._has_confirmed(peer, file)


def pending_at_reader(kind: type[Holdings], *, hears: bool) -> bool:
    """Return whether an editor waits for a reader that changed a file, after an edit of its own.

    Args:
        kind: the editor's holdings.
        hears: the edit reaches the reader before it says what it holds.
    """
    anna = Side(ANNA, 1)
    anna.core.holdings.__class__ = kind
    ben = reader(anna)
    for side, other in ((anna, BEN), (ben, ANNA)):
        side.meet(other)
    ben.edit(1, "ben's")
    anna.edit(1, "anna's")
    if hears:
        ben.hear(*anna.author.heard)
    anna.core.on_stored(BEN, own_word(ben, FILE), START_MS)
    anna.core.holdings._check_invariants()
    return FILE in (anna.core.holdings.pending_at(BEN) or ())


def test_a_vector_that_covers_ours_confirms() -> None:
    """The reader has our edit on its disk, merged with its own: there is nothing to wait for."""
    assert not pending_at_reader(Holdings, hears=True)
    assert pending_at_reader(DeafHoldings, hears=True), "the check can fail"


def test_a_vector_that_does_not_cover_ours_confirms_nothing() -> None:
    """It was said before our edit came."""
    assert pending_at_reader(Holdings, hears=False)
    assert not pending_at_reader(TrustingHoldings, hears=False), "the check can fail"


def test_it_confirms_when_our_edit_is_durable_here_later_than_there() -> None:
    """The vector is remembered: what we have is compared with it again when it changes."""
    anna = Side(ANNA, 1)
    ben = reader(anna)
    for side, other in ((anna, BEN), (ben, ANNA)):
        side.meet(other)
    ben.edit(1, "ben's")
    known = anna.author.say(anna.author.change(FILE, "anna's"))
    anna.author.ledger.begin_storing(known)
    anna.core.holdings.on_files_changed([FILE])
    ben.hear(*known)
    anna.core.on_stored(BEN, own_word(ben, FILE), START_MS)
    assert anna.core.holdings.pending_at(BEN) == frozenset({FILE})
    anna.author.ledger.end_storing(known)
    anna.complete(FILE)
    assert anna.core.holdings.pending_at(BEN) == frozenset()


def test_what_is_on_its_way_to_the_readers_disk_is_in_no_vector() -> None:
    """A vector says what is stored, as a fingerprint does."""
    anna = Side(ANNA, 1)
    ben = reader(anna)
    ben.meet(ANNA)
    ben.edit(1, "ben's")
    assert own_word(ben, FILE).vectors == ((FILE, ben.author.state(FILE).vector),)
    known = anna.author.say(anna.author.change(FILE, "anna's"))
    ben.author.ledger.begin_storing(known)
    ben.author.hear(*known)
    ben.core.holdings.refresh([FILE])
    ben.core.holdings.differ(ANNA, [FILE])
    assert all(message.vectors == () for message in said(ben.core.flush(START_MS), Stored))


def test_a_reader_says_it_again_when_somebody_finds_a_difference() -> None:
    """Who has just come knows nothing of what was said before."""
    ben = reader(Side(ANNA, 1))
    ben.meet(ANNA)
    ben.edit(1, "ben's")
    own_word(ben, FILE)
    assert ben.core.flush(START_MS) == []
    ben.core.on_vectors(ANNA, Vectors(((FILE, ()),), is_request=True))
    (again,) = said(ben.core.flush(START_MS), Stored, ANNA)
    assert again.vectors[0][0] == FILE


# --- bounds --------------------------------------------------------------------------------------


def many_sessions(count: int) -> FileVector:
    """Return a vector of so many sessions."""
    return tuple((SessionId(number.to_bytes(32, "big")), 1) for number in range(count))


class Hoarding(Holdings):
    """Keeps every vector: the planted bug."""

    def on_stored(self, peer, message):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Put back what was forgotten."""
        before = dict(self._peers[peer].beyond)
        answer = super().on_stored(peer, message)
        self._peers[peer].beyond.update({**before, **dict(message.vectors)})
        return answer


def test_vectors_without_end_do_not_fill_the_memory() -> None:
    """Above a bound they are forgotten, and told anew at the next difference."""
    assert keeps_little(Holdings)
    assert not keeps_little(Hoarding), "the check can fail"


def keeps_little(kind: type[Holdings]) -> bool:
    """Return whether a flood of vectors leaves the invariants whole."""
    anna = Side(ANNA, 3)
    anna.core.holdings.__class__ = kind
    anna.meet(BEN)
    for number in range(1, 4):
        word = replace(anna.stored(number), vectors=((file(number), many_sessions(30_000)),))
        anna.core.on_stored(BEN, word, START_MS)
    try:
        anna.core.holdings._check_invariants()
    except AssertionError:
        return False
    return True


def test_a_reader_of_many_sessions_speaks_in_messages_that_a_peer_takes() -> None:
    """Four thousand files, each of a hundred sessions: more than one message may name."""
    anna = Side(ANNA, 4000)
    anna.judge.may_edit = False
    for state in list(anna.author.ledger.states()):
        anna.author.ledger.replace_state(replace(state, vector=many_sessions(100)))
    out = said(anna.meet(BEN), Stored)
    assert sum(len(message.vectors) for message in out) == 4000
    assert max(len(message.heads) for message in out) <= HEADS_PER_MESSAGE_MAX
    for message in out:
        assert decode(encode(message)) == message, "a peer takes it"


# --- roles that change ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "expected"),
    [((BEN,), [BEN]), ((CARL,), [CARL]), ((ANNA,), [BEN, CARL]), ((), [])],
)
def test_whose_role_changed_is_compared_with_again(
    members: Iterable[object], expected: list[object]
) -> None:
    """With that member; with all, if it is this node's own."""
    anna = Side(ANNA, 1)
    for peer in (BEN, CARL):
        anna.meet(peer)
    out = anna.core.on_roles_changed(frozenset(members), START_MS)  # type: ignore[arg-type]
    assert [command.peer for command in out] == expected
    assert set(messages(out)) <= {Reconcile}
