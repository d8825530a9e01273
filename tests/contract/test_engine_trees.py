"""What every tree engine must do and refuse."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loro import ExportMode, LoroDoc

from aiplatform.mesh_ide.documents.engine.peers import derive_peer
from aiplatform.mesh_ide.documents.engine.tree import LoroTreeEngine
from aiplatform.mesh_ide.model.entries import KnownEntry
from aiplatform.mesh_ide.model.ids import (
    TREE_FILE,
    SessionId,
)
from aiplatform.mesh_ide.ports.engine import (
    MoveNode,
    PlaceNode,
    TreeEngine,
    TreePlace,
)
from tests.contract.engine_kit import (
    ADA,
    BOB,
    EVE,
    FILE,
    TREE_ENGINES,
    entry,
    is_refused,
    loro_update,
)


@pytest.fixture(params=TREE_ENGINES)
def tree_engine(request: pytest.FixtureRequest) -> TreeEngine:
    """Each tree engine in turn."""
    return TREE_ENGINES[request.param]()


# --- trees --------------------------------------------------------------------------------------


def standing(places: Iterable[TreePlace]) -> dict[str, TreePlace]:
    """Return places by node."""
    return {place.node: place for place in places}


def everything(engine: TreeEngine) -> dict[str, TreePlace]:
    """Return where every node of a tree stands, by way of its snapshot."""
    return standing(LoroTreeEngine().load(engine.snapshot(), ()))


def tree_entry(session: SessionId, sequence: int, payload: bytes) -> KnownEntry:
    """Return an entry of the tree document."""
    return entry(session, sequence, (), payload, file=TREE_FILE)


def test_an_edit_tells_where_its_nodes_stand(tree_engine: TreeEngine) -> None:
    """Later operations of one edit may stand in folders that earlier ones make."""
    made = tree_engine.edit([PlaceNode(None, "src", None), PlaceNode(0, "a.py", FILE)], ADA, 1)
    folder, file = made.places
    assert (folder.parent, folder.name, folder.file) == (None, "src", None)
    assert (file.parent, file.name, file.file) == (folder.node, "a.py", FILE)
    moved = tree_engine.edit([MoveNode(file.node, None, "b.py")], ADA, 1)
    assert moved.places == (TreePlace(file.node, None, "b.py", FILE),)
    assert everything(tree_engine) == standing((folder, *moved.places))


def test_importing_returns_what_changed(tree_engine: TreeEngine) -> None:
    """Creations, moves and renames, in the words of the author's own edit; twice is once."""
    author = LoroTreeEngine()
    made = author.edit(
        [PlaceNode(None, "src", None), *(PlaceNode(0, f"{i}", FILE) for i in range(20))], ADA, 1
    )
    first = tree_entry(ADA, 1, made.payload)
    assert standing(tree_engine.import_payloads([first])) == standing(made.places)
    node = made.places[3].node
    for sequence, target in enumerate((None, made.places[0].node), 2):
        moved = author.edit([MoveNode(node, target, f"new {sequence}")], ADA, 1)
        changed = tree_engine.import_payloads([tree_entry(ADA, sequence, moved.payload)])
        assert changed == moved.places
    renamed = author.edit([MoveNode(node, made.places[0].node, "renamed")], ADA, 1)
    assert tree_engine.import_payloads([tree_entry(ADA, 4, renamed.payload)]) == renamed.places
    assert tree_engine.import_payloads([tree_entry(ADA, 4, renamed.payload)]) == ()
    assert everything(tree_engine) == everything(author)


def test_a_concurrent_move_and_rename_both_stay(tree_engine: TreeEngine) -> None:
    """A node's place and its name merge apart."""
    made = tree_engine.edit([PlaceNode(None, "d", None), PlaceNode(None, "f", FILE)], ADA, 1)
    other = LoroTreeEngine()
    other.import_payloads([tree_entry(ADA, 1, made.payload)])
    folder, file = made.places
    tree_engine.edit([MoveNode(file.node, folder.node, "f")], ADA, 1)
    renamed = other.edit([MoveNode(file.node, None, "g")], BOB, 1)
    changed = tree_engine.import_payloads([tree_entry(BOB, 1, renamed.payload)])
    assert changed == (TreePlace(file.node, folder.node, "g", FILE),)


def test_concurrent_moves_into_each_other_make_no_cycle(tree_engine: TreeEngine) -> None:
    """One of the moves stands on both nodes, whoever hears first."""
    made = tree_engine.edit([PlaceNode(None, "a", None), PlaceNode(None, "b", None)], ADA, 1)
    other = LoroTreeEngine()
    other.import_payloads([tree_entry(ADA, 1, made.payload)])
    a, b = (place.node for place in made.places)
    ours = tree_engine.edit([MoveNode(a, b, "a")], ADA, 1)
    theirs = other.edit([MoveNode(b, a, "b")], BOB, 1)
    before = everything(tree_engine)
    changed = tree_engine.import_payloads([tree_entry(BOB, 1, theirs.payload)])
    other.import_payloads([tree_entry(ADA, 2, ours.payload)])
    assert everything(tree_engine) == everything(other)
    assert before | standing(changed) == everything(tree_engine)
    assert sum(place.parent is None for place in everything(other).values()) == 1


@pytest.mark.parametrize(
    "kind", ["stranger", "snapshot", "garbage", "gap", "deletion", "text", "smuggled"]
)
def test_bad_tree_updates_are_refused_and_leave_the_tree(
    tree_engine: TreeEngine, kind: str
) -> None:
    """Nothing of the call stays, not even the good updates beside the bad one."""
    author = LoroTreeEngine()
    made = author.edit([PlaceNode(None, "d", None)], ADA, 1)
    good = author.edit([PlaceNode(None, "e", None)], ADA, 1)
    more = author.edit([PlaceNode(None, "f", None)], ADA, 1)
    tree_engine.import_payloads([tree_entry(ADA, 1, made.payload)])
    before = everything(tree_engine)
    bad = {
        "stranger": tree_entry(BOB, 3, more.payload),
        "snapshot": tree_entry(ADA, 3, author.snapshot()),
        "garbage": tree_entry(ADA, 3, more.payload[:-7]),
        "gap": tree_entry(ADA, 3, more.payload),
        "deletion": tree_entry(EVE, 3, deletion(made.payload, made.places[0])),
        "smuggled": tree_entry(BOB, 3, loro_update(derive_peer(BOB, TREE_FILE, 1))),
        "text": entry(ADA, 3, (), more.payload),
    }[kind]
    given_ = [bad] if kind == "gap" else [tree_entry(ADA, 2, good.payload), bad]
    assert is_refused(tree_engine.import_payloads, given_)
    assert everything(tree_engine) == before
    rest = [tree_entry(ADA, 2, good.payload), tree_entry(ADA, 3, more.payload)]
    tree_engine.import_payloads(rest)
    assert everything(tree_engine) == everything(author)


def deletion(history: bytes, place: TreePlace) -> bytes:
    """Return an update that deletes a node, which no engine of ours writes."""
    doc = LoroDoc()
    doc.import_(history)
    doc.peer_id = derive_peer(EVE, TREE_FILE, 1)
    here = doc.oplog_vv
    tree = doc.get_tree("tree")
    (node,) = (one.id for one in tree.get_nodes(with_deleted=False))
    assert place.node == f"{node.counter}@{node.peer}"
    tree.delete(node)
    doc.commit()
    return doc.export(ExportMode.Updates(here))


def is_within(places: dict[str, TreePlace], node: str | None, ancestor: str) -> bool:
    """Return whether a node is another one or stands below it."""
    while node is not None and node != ancestor:
        node = places[node].parent
    return node is not None


def test_a_tree_loads_from_snapshot_and_later_payloads(tree_engine: TreeEngine) -> None:
    """And from payloads alone; damage is an error and leaves the tree as it was."""
    author = LoroTreeEngine()
    first = author.edit([PlaceNode(None, "d", None)], ADA, 1)
    snapshot = author.snapshot()
    second = author.edit([PlaceNode(first.places[0].node, "f", FILE)], ADA, 1)
    expected = standing((*first.places, *second.places))
    assert standing(tree_engine.load(snapshot, [second.payload])) == expected
    assert standing(tree_engine.load(None, [first.payload, b"", second.payload])) == expected
    for damaged in (snapshot[:-5], b"", b"nonsense"):
        assert is_refused(tree_engine.load, damaged, ())
    assert is_refused(tree_engine.load, None, [second.payload])
    assert everything(tree_engine) == expected
    assert tree_engine.load(None, ()) == ()


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(-1, 30), st.booleans()),
        max_size=20,
    ),
    st.randoms(use_true_random=False),
)
def test_trees_converge_and_changes_are_complete(
    steps: list[tuple[int, int, int, bool]], chance: Random
) -> None:
    """Three authors edit and exchange at random; what imports report is what happened."""
    sessions = (ADA, BOB, EVE)
    engines = [LoroTreeEngine() for _ in sessions]
    mirrors: list[dict[str, TreePlace]] = [{} for _ in sessions]
    said: list[tuple[int, KnownEntry]] = []
    heard = [0, 0, 0]

    def listen(who: int) -> None:
        news = [known for author, known in said[heard[who] :] if author != who]
        mirrors[who] |= standing(engines[who].import_payloads(news))
        heard[who] = len(said)

    for number, (who, pick, target, is_new) in enumerate(steps):
        nodes = sorted(mirrors[who])
        parent = mirrors[who][nodes[target % len(nodes)]].node if nodes and target >= 0 else None
        if is_new or not nodes:
            operation: PlaceNode | MoveNode = PlaceNode(parent, f"n{number}", None)
        else:
            node = mirrors[who][nodes[pick % len(nodes)]]
            if is_within(mirrors[who], parent, node.node):
                continue
            operation = MoveNode(node.node, parent, f"m{number}")
        made = engines[who].edit([operation], sessions[who], 1)
        mirrors[who] |= standing(made.places)
        if heard[who] == len(said):
            heard[who] += 1
        said.append((who, tree_entry(sessions[who], number + 1, made.payload)))
        if chance.random() < 0.4:
            listen(chance.randrange(3))
    for who in range(3):
        listen(who)
    assert everything(engines[0]) == everything(engines[1]) == everything(engines[2])
    assert [mirrors[who] == everything(engines[who]) for who in range(3)] == [True] * 3
