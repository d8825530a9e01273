"""Who holds what: nothing is called synced that a peer may lack, and memory has a bound."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from random import Random

import pytest
from msgspec.structs import replace

from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.documents.state import covers
from aiplatform.mesh_ide.model.entries import FileVector, KnownEntry
from aiplatform.mesh_ide.model.enums import SyncState
from aiplatform.mesh_ide.model.ids import FileId, Fingerprint, NodeId
from aiplatform.mesh_ide.model.messages import Reconcile, Stored
from aiplatform.mesh_ide.replication import reconcile
from aiplatform.mesh_ide.replication.holdings import HEADS_PER_MESSAGE_MAX, RECHECK_MAX, Holdings
from aiplatform.mesh_ide.replication.own_work import OwnWork
from tests.unit.documents.authors import Author, file
from tests.unit.replication.peers import ANNA, BEN, CARL, START_MS, Judged, Side

FILE, STRANGE = file(1), file(99)
STRANGERS_HEAD = Fingerprint(b"f" * 16)


# --- what is called synced is on the peer's disk -------------------------------------------------


def own_work_of(author: Author) -> OwnWork:
    """Return what tells of an editor's work: everybody takes it."""
    return OwnWork(author.ledger, Judged(author.session))


class Half:
    """One of two nodes: what it wrote and heard, what of that is on its disk, what it claims."""

    def __init__(self, me: NodeId, other: NodeId, kind: type[Holdings]) -> None:
        """Begin linked, with nothing."""
        self.other = other
        self.author = Author(me.hex())
        self.holdings = kind(self.author.ledger, own_work_of(self.author))
        self.holdings.add_peer(other)
        self.storing: list[KnownEntry] = []
        self.disk: dict[FileId, FileVector] = {}
        self.sent: deque[Stored] = deque()

    def write(self, one: FileId, number: int) -> None:
        """Change a file in memory."""
        known = self.author.ledger.state(one)
        change, genesis = self.author.change, self.author.genesis
        said = self.author.say(change(one, f"text {number}") if known else genesis(one))
        self._begin_storing(said)
        self.holdings.on_files_changed([one])

    def _begin_storing(self, known: Sequence[KnownEntry]) -> None:
        self.author.ledger.begin_storing(known)
        self.storing.extend(known)

    def hear(self, other: Half) -> None:
        """Take the other's entries into memory; their contents are not here."""
        count = len(self.author.heard)
        other.author.tell(self.author)
        new = self.author.heard[count:]
        self._begin_storing(new)
        changed = list(dict.fromkeys(known.entry.file for known in new))
        for one in changed:
            self.holdings.set_complete(one, is_complete=False)
        self.holdings.on_files_changed(changed)
        self.holdings.refresh(changed)

    def keep(self) -> None:
        """Have everything on the disk, contents too."""
        self.author.ledger.end_storing(self.storing)
        self.storing.clear()
        files = [state.file for state in self.author.ledger.states()]
        for one in files:
            self.disk[one] = self.author.state(one).vector
            self.holdings.set_complete(one, is_complete=True)
        self.holdings.refresh(files)

    def claims(self, one: FileId) -> bool:
        """Return whether people or peers are told that the other has all of a file."""
        pending = self.holdings.pending_at(self.other) or ()
        is_synced = self.holdings.sync_state(one, [self.other]) is SyncState.SYNCED
        return is_synced or (self.holdings.is_reconciled(self.other) and one not in pending)

    def announce(self) -> None:
        """Put on the wire what there is to say."""
        self.sent.extend(message for _, message in self.holdings.take_announcements())

    def listen(self, other: Half) -> None:
        """Take the next of the other's announcements from the wire."""
        if other.sent:
            self.holdings.on_stored(self.other, other.sent.popleft())


def reconcile_both(one: Half, other: Half) -> None:
    """Compare the two by the real messages."""
    speaker, listener = one, other
    message = reconcile.opening(one.holdings.index, 1)
    while True:
        reply, differing = reconcile.answer(listener.holdings.index, message)
        listener.holdings.differ(listener.other, differing)
        speaker.holdings.differ(speaker.other, differing)  # as by the vectors that follow
        if reconcile.is_end(message):
            break
        message, speaker, listener = reply, listener, speaker
    one.holdings.reconciled(one.other)
    other.holdings.reconciled(other.other)


def false_claims(kind: type[Holdings], seeds: int = 100, steps: int = 80) -> int:
    """Return how often, in random histories of two nodes, something was claimed that is not so."""
    found = 0
    for seed in range(seeds):
        random = Random(seed)
        halves = [Half(ANNA, BEN, kind), Half(BEN, ANNA, kind)]
        for number in range(steps):
            one, other = random.sample(halves, 2)
            act = random.randrange(6)
            if act == 0:
                one.write(file(random.randint(1, 3)), number)
            elif act == 1:
                one.hear(other)
            elif act == 2:
                one.keep()
            elif act == 3:
                one.announce()
            elif act == 4:
                one.listen(other)
            elif number % 3 == 0:
                reconcile_both(one, other)
            found += _false_now(one, other) + _false_now(other, one)
    return found


def _false_now(one: Half, other: Half) -> int:
    one.holdings._check_invariants()
    return sum(
        one.claims(state.file) and not covers(other.disk.get(state.file, ()), state.vector)
        for state in one.author.ledger.states()
    )


class Unmoved(Holdings):
    """Goes on believing a peer after a change of its own: the planted bug."""

    def on_files_changed(self, files: Collection[FileId]) -> None:
        """Do nothing before the change is durable."""


class Trusting(Holdings):
    """Takes any word about a file for its confirmation: the planted bug."""

    def on_stored(self, peer: NodeId, message: Stored) -> tuple[list[FileId], list[FileId]]:
        """Look at no fingerprint."""
        self._peers[peer].pending.difference_update(one for one, _ in message.heads)
        return super().on_stored(peer, message)


class Blind(Holdings):
    """Forgets what a reconciliation found to differ: the planted bug."""

    def differ(self, peer: NodeId, files: Iterable[FileId]) -> None:
        """Note nothing."""

    def reconciled(self, peer: NodeId) -> None:
        """Forget what changed meanwhile as well."""
        self._peers[peer].differing.clear()
        super().reconciled(peer)


class Boastful(Holdings):
    """Says that it holds what it has only heard of: the planted bug."""

    def set_complete(self, file: FileId, *, is_complete: bool) -> None:
        """Take everything for complete."""
        super().set_complete(file, is_complete=True)


def test_nothing_is_called_synced_that_the_peer_may_lack() -> None:
    """Whatever the order of edits, commits, announcements and reconciliations."""
    assert false_claims(Holdings) == 0


@pytest.mark.parametrize("broken", [Unmoved, Trusting, Blind, Boastful])
def test_variants_that_claim_too_much_are_caught(broken: type[Holdings]) -> None:
    """The check of the claims can fail, for each reason on its own."""
    assert false_claims(broken) > 0


# --- memory --------------------------------------------------------------------------------------


class Hoarding(Holdings):
    """Remembers every file that a peer names: the planted bug."""

    def differ(self, peer: NodeId, files: Iterable[FileId]) -> None:
        """Ask no ledger."""
        self._peers[peer].differing.update(files)


class Endless(Holdings):
    """Remembers every word of a peer: the planted bug."""

    def on_stored(self, peer: NodeId, message: Stored) -> tuple[list[FileId], list[FileId]]:
        """Keep what was told although it is too much."""
        before = dict(self._peers[peer].told)
        answer = super().on_stored(peer, message)
        self._peers[peer].told.update({**before, **dict(message.heads)})
        return answer


def survives_strangers(kind: type[Holdings]) -> bool:
    """Return whether a peer that names files without end leaves the invariants whole."""
    author = Author("anna")
    holdings = kind(Ledger(author.session), own_work_of(author))
    holdings.add_peer(BEN)
    holdings.differ(BEN, [STRANGE])
    for first in range(0, 6 * HEADS_PER_MESSAGE_MAX, HEADS_PER_MESSAGE_MAX):
        numbers = range(first, first + HEADS_PER_MESSAGE_MAX)
        holdings.on_stored(BEN, Stored(tuple((file(n), STRANGERS_HEAD) for n in numbers)))
    try:
        holdings._check_invariants()
    except AssertionError:
        return False
    return True


def test_a_peer_that_names_files_without_end_does_not_fill_the_memory() -> None:
    """What is not known here is not remembered, and what was said is forgotten in time."""
    assert survives_strangers(Holdings)


@pytest.mark.parametrize("broken", [Hoarding, Endless])
def test_variants_that_remember_everything_are_caught(broken: type[Holdings]) -> None:
    """The check of the memory can fail."""
    assert not survives_strangers(broken)


def test_at_most_so_many_incomplete_files_are_named_at_once() -> None:
    """A tick looks at a bounded part of them again."""
    anna = Side(ANNA)
    for number in range(1, RECHECK_MAX + 9):
        anna.author.say(anna.author.genesis(file(number)))
    assert len(anna.core.holdings.incomplete()) == RECHECK_MAX


# --- peers ---------------------------------------------------------------------------------------


def test_a_word_sorts_files_into_shared_and_unknown() -> None:
    """The same head is shared; one that is not known here is to be waited for."""
    holdings = linked(Side(ANNA, 2))
    ours = holdings.index.get(FILE)
    assert ours is not None
    message = Stored(((FILE, ours), (STRANGE, STRANGERS_HEAD)))
    assert holdings.on_stored(BEN, message) == ([FILE], [STRANGE])
    assert not holdings.is_unheard(BEN, FILE)
    assert holdings.is_unheard(BEN, STRANGE)
    assert holdings.is_unheard(BEN, file(2)), "nothing was said of it"


def test_a_head_that_is_known_and_not_durable_is_neither_shared_nor_unknown() -> None:
    """It is on its way to the disk: there is nothing to ask for, and nothing to rely on."""
    anna = Side(ANNA, 1)
    holdings = linked(anna)
    known = anna.author.say(anna.author.change(FILE, "two"))
    anna.author.ledger.begin_storing(known)
    holdings.refresh([FILE])
    assert holdings.on_stored(BEN, anna.stored(1)) == ([], [])


def test_a_peer_that_comes_again_is_believed_nothing_of_before() -> None:
    """It may come from a backup: only what it says over this link counts."""
    anna = Side(ANNA, 1)
    holdings = linked(anna)
    holdings.reconciled(BEN)
    assert not holdings.is_owed(BEN)
    holdings.drop_peer(BEN)
    assert (holdings.pending_at(BEN), holdings.is_owed(BEN)) == (None, False)
    holdings.add_peer(BEN)
    assert (holdings.pending_at(BEN), holdings.is_owed(BEN)) == (frozenset({FILE}), True)
    assert not holdings.is_reconciled(BEN)


def test_a_peer_is_owed_until_it_is_reconciled_and_has_confirmed() -> None:
    """Both: an empty workspace is compared too."""
    holdings = linked(Side(ANNA))
    assert holdings.is_owed(BEN)
    holdings.reconciled(BEN)
    assert not holdings.is_owed(BEN)
    assert not holdings.is_owed(CARL), "nobody waits for one that is not there"


def test_announcements_are_handed_out_once() -> None:
    """What was taken is told: the next time there is nothing."""
    anna = Side(ANNA, 1)
    holdings = linked(anna)
    assert holdings.take_announcements() == [(BEN, anna.stored(1))]
    assert holdings.take_announcements() == []


def linked(side: Side) -> Holdings:
    """Return a side's holdings with one peer."""
    side.core.holdings.add_peer(BEN)
    return side.core.holdings


# --- what people are told ------------------------------------------------------------------------


def test_a_file_is_synced_when_every_member_has_confirmed_it() -> None:
    """One that is not connected, not reconciled or behind makes it pending."""
    anna = Side(ANNA, 1)
    holdings = anna.core.holdings
    assert holdings.sync_state(FILE, [BEN]) is SyncState.PENDING
    anna.core.peer_ready(BEN, START_MS)
    assert holdings.sync_state(FILE, [BEN]) is SyncState.PENDING
    anna.core.on_reconcile(BEN, Reconcile(1), START_MS)
    assert holdings.sync_state(FILE, [BEN]) is SyncState.SYNCED
    anna.edit(1, "two")
    assert holdings.sync_state(FILE, [BEN]) is SyncState.PENDING
    assert holdings.sync_state(FILE, []) is SyncState.SYNCED
    holdings.set_complete(FILE, is_complete=False)
    assert holdings.sync_state(FILE, []) is SyncState.PENDING


def test_a_fault_and_a_conflict_are_told_before_anything_else() -> None:
    """Diverged beats conflict beats pending."""
    anna, ben = Side(ANNA, 1), Side(BEN)
    ben.hear(*anna.author.heard)
    for side, text in ((anna, "a"), (ben, "b")):
        side.author.say(side.author.change(FILE, text, is_replace=True))
    anna.hear(*ben.author.heard)
    assert anna.core.holdings.sync_state(FILE, [BEN]) is SyncState.CONFLICT
    state = replace(anna.author.state(FILE), fault="other bytes")
    anna.author.ledger.replace_state(state)
    assert anna.core.holdings.sync_state(FILE, [BEN]) is SyncState.DIVERGED


def test_an_unknown_file_is_pending() -> None:
    """Nobody can have confirmed what is not known."""
    assert Side(ANNA).core.holdings.sync_state(STRANGE, []) is SyncState.PENDING


# --- what this node itself lacks -----------------------------------------------------------------


def test_a_content_that_is_missing_here_is_not_the_peers_lack() -> None:
    """The fingerprints differ either way; only what the peer said of its own disk counts."""
    side = Side(ANNA, 2)
    side.meet(BEN)
    holdings = side.core.holdings
    holdings.set_complete(file(1), is_complete=False)
    holdings.refresh([file(1)])
    assert holdings.lacking == 1
    assert file(1) in (holdings.pending_at(BEN) or ()), "the two do differ"
    assert file(1) not in (holdings.lacked_by(BEN) or ())
    assert holdings.lacked_by(CARL) is None, "nobody knows of one that is not there"
    assert holdings.has_it(BEN, file(1)) is None
    holdings.on_stored(BEN, side.stored(1))
    assert holdings.has_it(BEN, file(1)) is True
    holdings.on_stored(BEN, Stored(((file(1), Fingerprint(b"?" * 16)),)))
    assert holdings.has_it(BEN, file(1)) is False
    assert holdings.has_it(BEN, file(2)) is True
    assert holdings.has_it(CARL, file(2)) is None, "it is not linked"
    side.complete(file(1))
    assert holdings.lacking == 0
    assert holdings.has_it(BEN, file(1)) is False, "it said something else last"


def test_a_held_file_that_nobody_knows_is_caught() -> None:
    """The count of what is missing rests on it."""
    holdings = linked(Side(ANNA, 1))
    holdings._check_invariants()
    holdings.set_complete(file(9), is_complete=True)
    with pytest.raises(AssertionError, match="stranger"):
        holdings._check_invariants()
