"""Which paths lie below a folder, against a look at all of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.workspace.path_tree import PathTree

PATHS = st.lists(st.sampled_from("ab"), min_size=1, max_size=4).map("/".join)
"""So few names that files and folders of one name meet all the time."""


@given(st.lists(st.tuples(st.booleans(), PATHS), max_size=60))
def test_below_is_what_a_look_at_all_paths_finds(steps: list[tuple[bool, str]]) -> None:
    """After any paths came and went, for every folder; nothing is left of an empty set."""
    paths: set[str] = set()
    tree = PathTree(paths)
    for is_coming, path in steps:
        if is_coming and path not in paths:
            paths.add(path)
            tree.added(path)
        elif not is_coming and path in paths:
            paths.remove(path)
            tree.removed(path)
    for folder in ("a", "b", "a/b", "a/a/a"):
        found = list(tree.below(folder))
        assert len(found) == len(set(found))
        assert set(found) == {path for path in paths if path.startswith(folder + "/")}
    assert sorted(tree.below("")) == sorted(paths)
    for path in sorted(paths):
        paths.remove(path)
        tree.removed(path)
    assert not tree._children
