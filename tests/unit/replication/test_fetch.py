"""Who is asked for which content, how much at a time, and what if it does not come."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from aiplatform.mesh_ide.model.ids import BlobHash, NodeId
from aiplatform.mesh_ide.model.messages import BlobRequest
from aiplatform.mesh_ide.replication.fetch import (
    BLOBS_PER_REQUEST_MAX,
    STALL_MS,
    WINDOW_BLOBS,
    WINDOW_BYTES,
    Fetcher,
)

MIB = 1024 * 1024


def peer(number: int) -> NodeId:
    """Return a peer's id by its number."""
    return NodeId(bytes([number]) * 32)


def blob(number: int) -> BlobHash:
    """Return a content's name by its number."""
    return BlobHash(number.to_bytes(32, "big"))


ANNA, BEN, CARL = peer(1), peer(2), peer(3)


def asked(fetcher: Fetcher, now_ms: int = 0) -> dict[NodeId, list[BlobHash]]:
    """Return what is asked of whom now."""
    found: dict[NodeId, list[BlobHash]] = {}
    for one, request in fetcher.requests(now_ms):
        found.setdefault(one, []).extend(name for name, _, _ in request.blobs)
    return found


def fetching(*peers: NodeId, blobs: int = 1, size: int = 10) -> Fetcher:
    """Return a fetcher that wants so many contents from these peers."""
    fetcher = Fetcher()
    for one in peers:
        fetcher.add_peer(one)
    for number in range(blobs):
        fetcher.want(blob(number), size)
    return fetcher


# --- a dialogue ----------------------------------------------------------------------------------


def test_nothing_is_asked_without_peers_and_everything_once_one_comes() -> None:
    """A wanted content waits for the first peer; it is asked for once."""
    fetcher = fetching(blobs=2)
    assert asked(fetcher) == {}
    fetcher.add_peer(ANNA)
    assert asked(fetcher) == {ANNA: [blob(0), blob(1)]}
    assert asked(fetcher) == {}


def test_nothing_is_under_way_where_nobody_could_send_it() -> None:
    """A node alone would wait for ever for a content that only it ever had."""
    fetcher = Fetcher()
    fetcher.want(blob(1), 10)
    assert fetcher.under_way == 0
    fetcher.add_peer(ANNA)
    assert fetcher.under_way == 1
    fetcher.drop_peer(ANNA)
    assert (fetcher.under_way, len(fetcher)) == (0, 1)


def test_who_does_not_have_it_is_not_asked_again_and_the_next_one_is() -> None:
    """Missing at one peer, asked of the other; missing there too, given up."""
    fetcher = fetching(ANNA, BEN)
    assert asked(fetcher) == {ANNA: [blob(0)]}
    fetcher.missing(ANNA, [blob(0)])
    assert asked(fetcher) == {BEN: [blob(0)]}
    fetcher.missing(BEN, [blob(0)])
    assert asked(fetcher) == {}
    assert not fetcher.is_wanted(blob(0))


def test_wanted_again_after_nobody_had_it_everybody_is_asked_again() -> None:
    """Giving up is not for ever: whoever still needs a content says so and it is asked for."""
    fetcher = fetching(ANNA)
    asked(fetcher)
    fetcher.missing(ANNA, [blob(0)])
    asked(fetcher)
    fetcher.want(blob(0), 10)
    assert asked(fetcher) == {ANNA: [blob(0)]}


def test_only_the_peer_that_was_asked_can_say_missing() -> None:
    """A third node's word about what it was not asked for changes nothing."""
    fetcher = fetching(ANNA, BEN)
    asked(fetcher)
    fetcher.missing(BEN, [blob(0), blob(7)])
    assert asked(fetcher) == {}
    fetcher.missing(ANNA, [blob(0)])
    assert asked(fetcher) == {BEN: [blob(0)]}


def test_the_load_is_spread_over_peers() -> None:
    """Two peers are asked for half each."""
    found = asked(fetching(ANNA, BEN, blobs=8))
    assert {one: len(blobs) for one, blobs in found.items()} == {ANNA: 4, BEN: 4}


def test_what_a_lost_peer_was_asked_for_is_asked_of_others() -> None:
    """A link breaks in the middle: nothing of what it owed is forgotten."""
    fetcher = fetching(ANNA, BEN, blobs=2)
    assert asked(fetcher) == {ANNA: [blob(0)], BEN: [blob(1)]}
    fetcher.drop_peer(ANNA)
    assert asked(fetcher) == {BEN: [blob(0)]}


def test_a_peer_that_comes_back_may_have_what_it_had_not() -> None:
    """Its "missing" counts for one link: it may have fetched the content meanwhile."""
    fetcher = fetching(ANNA, BEN)
    asked(fetcher)
    fetcher.missing(ANNA, [blob(0)])
    fetcher.drop_peer(ANNA)
    fetcher.add_peer(ANNA)
    assert asked(fetcher) == {ANNA: [blob(0)]}


# --- windows -------------------------------------------------------------------------------------


def test_a_peer_owes_at_most_a_window_of_bytes() -> None:
    """Half a window free, the next requests follow; not for every content that arrives."""
    fetcher = fetching(ANNA, blobs=40, size=MIB)
    first = asked(fetcher)[ANNA]
    assert len(first) * MIB == WINDOW_BYTES
    assert fetcher.arrived(first[:7]) == first[:7]
    assert asked(fetcher) == {}
    fetcher.arrived(first[7:8])
    assert len(asked(fetcher)[ANNA]) == 8


def test_a_content_larger_than_the_window_is_asked_for_alone() -> None:
    """A gigabyte does not fit any window, and comes nevertheless."""
    fetcher = fetching(ANNA, blobs=2, size=1024 * MIB)
    assert asked(fetcher) == {ANNA: [blob(0)]}
    fetcher.arrived([blob(0)])
    assert asked(fetcher) == {ANNA: [blob(1)]}


def test_requests_and_small_contents_are_bounded_by_number() -> None:
    """Empty files are asked for by the thousand at most, in requests of a few hundred."""
    fetcher = fetching(ANNA, blobs=3000, size=0)
    requests = fetcher.requests(0)
    assert [len(request.blobs) for _, request in requests] == [BLOBS_PER_REQUEST_MAX] * 4
    assert sum(len(request.blobs) for _, request in requests) == WINDOW_BLOBS


# --- stalls --------------------------------------------------------------------------------------


def test_a_peer_that_sends_nothing_is_asked_no_more() -> None:
    """After the stall time, and not before, what it owed is asked of the other."""
    fetcher = fetching(ANNA, BEN)
    asked(fetcher, 1000)
    fetcher.tick(1000 + STALL_MS)
    assert asked(fetcher, 1000 + STALL_MS) == {}
    fetcher.tick(1001 + STALL_MS)
    assert asked(fetcher, 1001 + STALL_MS) == {BEN: [blob(0)]}


def test_a_slow_peer_that_sends_is_waited_for() -> None:
    """A gigabyte takes long: whoever makes progress has not stalled."""
    fetcher = fetching(ANNA, BEN)
    asked(fetcher)
    fetcher.progressed(ANNA, 15_000)
    fetcher.tick(15_000 + STALL_MS)
    assert asked(fetcher, 15_000 + STALL_MS) == {}
    fetcher.tick(15_001 + STALL_MS)
    assert asked(fetcher, 15_001 + STALL_MS) == {BEN: [blob(0)]}


def test_what_comes_from_a_peer_given_up_counts() -> None:
    """Late is better than never: it is taken, and nobody is asked for it any more."""
    fetcher = fetching(ANNA)
    asked(fetcher)
    fetcher.tick(STALL_MS + 1)
    assert fetcher.arrived([blob(0), blob(9)]) == [blob(0)]
    assert (len(fetcher), asked(fetcher)) == (0, {})


def test_only_parts_of_what_is_missing_with_its_size_are_expected() -> None:
    """What nobody asked for, or of another size, is told apart before it is stored."""
    fetcher = fetching(ANNA, size=10)
    answers = [fetcher.expects(blob(0), 10), fetcher.expects(blob(0), 11)]
    assert [*answers, fetcher.expects(blob(1), 10)] == [True, False, None]


def test_a_large_content_goes_on_where_it_broke_off() -> None:
    """Whoever is asked next sends from the first chunk that is not kept."""
    fetcher = fetching(ANNA, BEN, size=40 * MIB)
    asked(fetcher)
    fetcher.kept([(blob(0), 17), (blob(9), 1)])
    fetcher.drop_peer(ANNA)
    assert fetcher.requests(0) == [(BEN, BlobRequest(((blob(0), 40 * MIB, 17),)))]


# --- any sequence --------------------------------------------------------------------------------

PEERS = st.sampled_from([ANNA, BEN, CARL])
SIZES = st.sampled_from([0, 10, MIB, 9 * MIB, 40 * MIB])


class Fetching(RuleBasedStateMachine):
    """Any sequence of wants, answers, losses and stalls, beside a model of who owes what."""

    names = Bundle("names")

    @initialize()
    def begin(self) -> None:
        """Nobody is connected, nothing is missing."""
        self.fetcher = Fetcher()
        self.now_ms = 0
        self.sizes: dict[BlobHash, int] = {}
        self.peers: set[NodeId] = set()
        self.owes: dict[BlobHash, NodeId] = {}
        self.denied: set[tuple[NodeId, BlobHash]] = set()
        self.next = 0

    @rule(target=names, size=SIZES)
    def want(self, size: int) -> BlobHash:
        """A content is found to be missing."""
        name = blob(self.next)
        self.next += 1
        self.fetcher.want(name, size)
        self.sizes[name] = size
        return name

    @rule(one=PEERS)
    def connect(self, one: NodeId) -> None:
        """A link comes up."""
        self.fetcher.add_peer(one)
        self.peers.add(one)

    @rule(one=PEERS)
    def lose(self, one: NodeId) -> None:
        """A link breaks."""
        self.fetcher.drop_peer(one)
        self.peers.discard(one)
        self.denied = {(who, name) for who, name in self.denied if who != one}
        self.owes = {name: who for name, who in self.owes.items() if who != one}

    @rule()
    def ask(self) -> None:
        """Requests go out: each to one connected peer that has not denied it."""
        for one, request in self.fetcher.requests(self.now_ms):
            assert one in self.peers
            assert 0 < len(request.blobs) <= BLOBS_PER_REQUEST_MAX
            for name, size, first in request.blobs:
                assert (size, first) == (self.sizes[name], 0)
                assert name not in self.owes, "asked of two peers at once"
                assert (one, name) not in self.denied, "asked again in vain"
                self.owes[name] = one
        for one in self.peers:
            owed = [self.sizes[name] for name, who in self.owes.items() if who == one]
            assert sum(owed) <= WINDOW_BYTES or len([size for size in owed if size]) == 1
        for name in list(self.sizes):
            if not self.fetcher.is_wanted(name):
                assert self.peers, "given up without asking anybody"
                assert all((one, name) in self.denied for one in self.peers)
                self._forget(name)

    @precondition(lambda self: self.owes)
    @rule(data=st.data())
    def deny(self, data: st.DataObject) -> None:
        """A peer does not have what it was asked for."""
        name = data.draw(st.sampled_from(sorted(self.owes)))
        one = self.owes.pop(name)
        self.fetcher.missing(one, [name])
        self.denied.add((one, name))

    @rule(name=names)
    def arrive(self, name: BlobHash) -> None:
        """A content arrives, asked for or not."""
        expected = [name] if name in self.sizes else []
        assert self.fetcher.arrived([name]) == expected
        self._forget(name)

    @rule(elapsed_ms=st.sampled_from([100, STALL_MS + 1]))
    def wait(self, elapsed_ms: int) -> None:
        """Time passes; who owed something for long enough counts as a denial."""
        self.now_ms += elapsed_ms
        self.fetcher.tick(self.now_ms)
        if elapsed_ms > STALL_MS:
            self.denied.update((one, name) for name, one in self.owes.items())
            self.owes.clear()

    def _forget(self, name: BlobHash) -> None:
        self.sizes.pop(name, None)
        self.owes.pop(name, None)
        self.denied = {(who, one) for who, one in self.denied if one != name}

    @invariant()
    def sums_are_right(self) -> None:
        """The fetcher's own invariants hold, and it misses what the model misses."""
        self.fetcher._check_invariants()
        assert len(self.fetcher) == len(self.sizes)

    def teardown(self) -> None:
        """Every content still wanted is asked of every peer before it is given up."""
        for _ in range(len(self.peers) * (len(self.sizes) + 1) + 1):
            self.ask()
            for name, one in list(self.owes.items()):
                self.fetcher.missing(one, [name])
                self.denied.add((one, name))
            self.owes.clear()
        assert not (self.peers and self.sizes), "never given up, never asked"


TestFetching = Fetching.TestCase
TestFetching.settings = settings(max_examples=40, stateful_step_count=40)


def test_a_transfer_that_broke_off_goes_on_where_it_stopped() -> None:
    """What is kept of a large blob is not asked for again, unless it turned out to be wrong."""
    blob, first, second = BlobHash(b"b" * 32), NodeId(b"1" * 32), NodeId(b"2" * 32)
    fetcher = Fetcher()
    fetcher.want(blob, 5 * 1024 * 1024)
    fetcher.add_peer(first)
    assert [request.blobs for _, request in fetcher.requests(0)] == [((blob, 5 * 1024 * 1024, 0),)]
    fetcher.kept([(blob, 3)])
    fetcher.drop_peer(first)
    fetcher.add_peer(second)
    assert [request.blobs for _, request in fetcher.requests(1)] == [((blob, 5 * 1024 * 1024, 3),)]
    fetcher.missing(second, [blob])
    fetcher.add_peer(first)
    assert [request.blobs for _, request in fetcher.requests(2)] == [((blob, 5 * 1024 * 1024, 0),)]
