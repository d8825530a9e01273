"""The index of paths, beside a slow oracle that computes everything anew."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.documents.places import (
    DEPTH_MAX,
    PathChange,
    PathError,
    TreeIndex,
    fold,
    name_problem,
    validate_name,
)
from aiplatform.mesh_ide.model.ids import FileId, TreeNodeId
from aiplatform.mesh_ide.ports.engine import MoveNode, PlaceNode, TreeOperation, TreePlace


def file(number: int) -> FileId:
    """Return a file id that sorts by its number."""
    return FileId(number.to_bytes(16, "big"))


class World:
    """A tree without any CRDT: applies operations, and knows all places."""

    def __init__(self) -> None:
        self.places: dict[TreeNodeId, TreePlace] = {}

    def edit(self, operations: Iterable[TreeOperation]) -> list[TreePlace]:
        """Apply operations and return the places that they touch."""
        touched: list[TreeNodeId] = []
        for operation in operations:
            parent = operation.parent
            above = touched[parent] if isinstance(parent, int) else parent
            if isinstance(operation, PlaceNode):
                node = TreeNodeId(f"{len(self.places):04d}@1")
                identity = operation.file
            else:
                node = operation.node
                identity = self.places[node].file
            self.places[node] = TreePlace(node, above, operation.name, identity)
            touched.append(node)
        return [self.places[node] for node in dict.fromkeys(touched)]

    def path(self, node: TreeNodeId) -> str | None:
        """Return a node's path by walking up."""
        names: list[str] = []
        at: TreeNodeId | None = node
        while at is not None:
            place = self.places.get(at)
            if place is None or name_problem(place.name) or (names and place.file is not None):
                return None
            names.append(place.name)
            at = place.parent
        return "/".join(reversed(names)) if len(names) <= DEPTH_MAX else None

    def paths(self) -> dict[FileId, str]:
        """Return every file's path: that of its lowest node which has one."""
        found: dict[FileId, str] = {}
        for node in sorted(self.places):
            identity, path = self.places[node].file, self.path(node)
            if identity is not None and path is not None:
                found.setdefault(identity, path)
        return found


def agrees(index: TreeIndex, world: World, alive: set[FileId]) -> bool:
    """Return whether an index says of everything what the oracle says."""
    paths = world.paths()
    claims: dict[str, list[FileId]] = {}
    for identity in sorted(alive & paths.keys()):
        claims.setdefault(paths[identity], []).append(identity)
    folders = {
        path
        for node, place in world.places.items()
        if place.file is None and (path := world.path(node)) is not None
    }
    everywhere = {*claims, *folders, "no/such"}
    files = {place.file for place in world.places.values() if place.file is not None}
    return (
        all(index.path_of(identity) == paths.get(identity) for identity in files)
        and index.owned() == tuple(sorted((path, ids[0]) for path, ids in claims.items()))
        and index.contested() == tuple(sorted(p for p, ids in claims.items() if len(ids) > 1))
        and all(index.claims(path) == tuple(claims.get(path, ())) for path in everywhere)
        and all(index.owner(path) == next(iter(claims.get(path, ())), None) for path in everywhere)
        and all(
            index.has_below(path) == any(one.startswith(path + "/") for one in claims)
            and index.has_folder(path) == (path in folders)
            and index.files_below(path)
            == tuple(sorted(one for one, at in paths.items() if at.startswith(path + "/")))
            and index.twins(path)
            == tuple(sorted(one for one in claims if one != path and fold(one) == fold(path)))
            for path in everywhere
        )
        and all(world.path(node) is None for node in index.invalid)
    )


NAMES = st.sampled_from(["a", "A", "b", "é", "e\u0301", "..", "x/y", ""])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("place"), st.integers(-1, 30), NAMES, st.integers(-4, 5)),
        st.tuples(st.just("move"), st.integers(0, 30), NAMES, st.integers(-1, 30)),
        st.tuples(st.just("alive"), st.integers(0, 5), NAMES, st.integers(0, 1)),
        st.tuples(st.just("flush"), st.just(0), NAMES, st.just(0)),
    ),
    max_size=40,
)
Step = tuple[str, int, str, int]


def play(index: TreeIndex, steps: list[Step]) -> bool:
    """Apply steps in batches; return whether the index agrees with the oracle throughout."""
    world, alive, batch = World(), set[FileId](), list[TreePlace]()
    told: dict[FileId, str | None] = {}
    for kind, one, name, two in [*steps, ("flush", 0, "", 0)]:
        nodes = sorted(world.places)
        if kind == "place":
            parent = nodes[one % len(nodes)] if nodes and one >= 0 else None
            identity = file(two) if two >= 0 else None
            batch += world.edit([PlaceNode(parent, name, identity)])
        elif kind == "move" and nodes:
            node = nodes[one % len(nodes)]
            target = nodes[two % len(nodes)] if two >= 0 else None
            if not within(world, target, node):
                batch += world.edit([MoveNode(node, target, name)])
        elif kind == "alive":
            (alive.add if two else alive.discard)(file(one))
            index.set_alive(file(one), is_alive=bool(two))
        elif kind == "flush":
            changes = index.apply(world.places[place.node] for place in batch)
            batch.clear()
            if not (is_news(told, changes) and agrees(index, world, alive)):
                return False
            if {one: at for one, at in told.items() if at is not None} != world.paths():
                return False
    return True


def is_news(told: dict[FileId, str | None], changes: Iterable[PathChange]) -> bool:
    """Take note of changes; return whether each begins where the last one of its file ended."""
    is_right = True
    for change in changes:
        is_right &= told.get(change.file) == change.old != change.new
        told[change.file] = change.new
    return is_right


def within(world: World, node: TreeNodeId | None, ancestor: TreeNodeId) -> bool:
    """Return whether a node is another one or stands below it."""
    while node is not None and node != ancestor:
        node = world.places[node].parent
    return node is not None


@settings(max_examples=200, deadline=None)
@given(STEPS)
def test_the_index_agrees_with_the_slow_oracle(steps: list[Step]) -> None:
    """After any placements, moves, bad names and changes of life, in any batches."""
    assert play(TreeIndex(), steps)


COLLISION: list[Step] = [
    ("place", -1, "a", 2),
    ("place", -1, "a", 1),
    ("flush", 0, "", 0),
    ("alive", 2, "", 1),
    ("alive", 1, "", 1),
]


def test_planted_bugs_in_the_collision_rule_are_caught() -> None:
    """The last claim wins; the first come keeps it: the oracle contradicts both."""

    class LastWins(TreeIndex):
        def owner(self, path: str) -> FileId | None:
            claims = self.claims(path)
            return claims[-1] if claims else None

    class FirstComeWins(TreeIndex):
        def _claim(self, path: str, file: FileId) -> None:
            before = self.claims(path)
            super()._claim(path, file)
            self._claims[path] = (*before, file)

    assert play(TreeIndex(), COLLISION)
    assert not play(LastWins(), COLLISION)
    assert not play(FirstComeWins(), COLLISION)


def grown(paths: dict[str, int]) -> tuple[TreeIndex, World]:
    """Return an index and a world with these living files."""
    index, world = TreeIndex(), World()
    index.apply(world.edit(index.plan_creates((p, file(n)) for p, n in paths.items())))
    for number in paths.values():
        index.set_alive(file(number), is_alive=True)
    return index, world


def test_missing_folders_are_made_once() -> None:
    """Within one plan and beside those that stand already."""
    index, world = grown({"src/a.py": 1, "src/deep/b.py": 2})
    assert [p.name for p in world.places.values()] == ["src", "a.py", "deep", "b.py"]
    plan = index.plan_creates([("src/c.py", file(3)), ("new/d", file(4)), ("new/e", file(5))])
    assert plan == [
        PlaceNode(TreeNodeId("0000@1"), "c.py", file(3)),
        PlaceNode(None, "new", None),
        PlaceNode(1, "d", file(4)),
        PlaceNode(1, "e", file(5)),
    ]
    assert index.plan_create("src/deep/x", file(9)) == [
        PlaceNode(TreeNodeId("0002@1"), "x", file(9))
    ]


def test_a_file_moves_by_one_operation() -> None:
    """To a new name, a new folder, or a name that differs in case alone."""
    index, world = grown({"README": 1, "other": 2})
    assert index.plan_move(file(1), "Readme") == [MoveNode(TreeNodeId("0000@1"), None, "Readme")]
    assert index.twins("Readme") == ("README",)
    changes = index.apply(world.edit(index.plan_move(file(1), "docs/Readme")))
    assert changes == (PathChange(file(1), "README", "docs/Readme"),)
    assert index.plan_moves([(file(1), "README"), (file(2), "docs/o")])[1].parent is not None


def test_a_folder_with_a_thousand_files_moves_by_one_operation() -> None:
    """And reports each file's old and new path."""
    index, world = grown({f"old/sub {i % 7}/{i}": i for i in range(1000)})
    plan = index.plan_move_folder("old", "new/place")
    assert plan == [PlaceNode(None, "new", None), MoveNode(TreeNodeId("0000@1"), 0, "place")]
    changes = index.apply(world.edit(plan))
    assert changes == tuple(
        PathChange(file(i), f"old/sub {i % 7}/{i}", f"new/place/sub {i % 7}/{i}")
        for i in range(1000)
    )
    assert not index.has_below("old")
    assert len(index.files_below("new")) == 1000


def test_several_nodes_with_one_path_are_one_folder() -> None:
    """Two machines made it at once: both hold files, and both move."""
    index, world = grown({"lib/a": 1})
    index.apply(world.edit([PlaceNode(None, "lib", None), PlaceNode(0, "b", file(2))]))
    index.set_alive(file(2), is_alive=True)
    assert index.files_below("lib") == (file(1), file(2))
    plan = index.plan_move_folder("lib", "pkg")
    assert [operation.name for operation in plan] == ["pkg", "pkg"]
    index.apply(world.edit(plan))
    assert index.owned() == (("pkg/a", file(1)), ("pkg/b", file(2)))


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "a//b", "../a", "a/./b", "a/", "a\0b", "a/" + "b" * 256]
)
def test_bad_paths_cannot_be_planned(path: str) -> None:
    """No plan ever holds a name that would leave the workspace."""
    index, _ = grown({"d/x": 1})
    with pytest.raises(PathError):
        index.plan_create(path, file(2))
    with pytest.raises(PathError):
        index.plan_move(file(1), path)
    with pytest.raises(PathError):
        index.plan_move_folder("d", path)


def test_what_cannot_be_moved_or_made_says_so() -> None:
    """Unknown files and folders, places taken by the file itself, folders into themselves."""
    index, _ = grown({"d/x": 1})
    for path, identity in (("e", file(1)), ("a/" * DEPTH_MAX + "b", file(3))):
        with pytest.raises(PathError):
            index.plan_create(path, identity)
    with pytest.raises(PathError):
        index.plan_move(file(2), "e")
    for old, new in (("nowhere", "e"), ("d", "d/e")):
        with pytest.raises(PathError):
            index.plan_move_folder(old, new)
    assert index.plan_move_folder("d", "d") == []


def test_nodes_without_a_path_are_kept_and_reported() -> None:
    """A remote node with a bad name, one below a file, one that is too deep."""
    index, world = TreeIndex(), World()
    bad, file_node = world.edit([PlaceNode(None, "a/b", None), PlaceNode(None, "f", file(1))])
    (below,) = world.edit([PlaceNode(file_node.node, "x", file(2))])
    (inside,) = world.edit([PlaceNode(bad.node, "y", file(3))])
    deep = world.edit(PlaceNode(i - 1 if i else None, "d", None) for i in range(DEPTH_MAX + 2))
    index.apply([bad, file_node, below, inside, *deep])
    assert sorted(index.invalid) == sorted([bad.node, below.node, deep[DEPTH_MAX].node])
    assert index.path_of(file(3)) is None
    (renamed,) = world.edit([MoveNode(bad.node, None, "good")])
    assert index.apply([renamed]) == (PathChange(file(3), None, "good/y"),)
    assert bad.node not in index.invalid


def test_names_are_judged_by_their_bytes() -> None:
    """255 bytes of UTF-8 fit, 256 do not."""
    validate_name("a" * 255)
    validate_name("é" * 127)
    for name in ("a" * 256, "é" * 128, "\ud800", ".", "..", "", "a/b", "a\0"):
        with pytest.raises(PathError):
            validate_name(name)
