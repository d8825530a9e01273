"""Which paths are considered when a file changes."""

from __future__ import annotations

from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.workspace.core_touched import Touched
from tests.unit.documents.authors import file
from tests.unit.workspace.bench import Bench


class LastPlace(Touched):
    """Knows only where a file came to stand last."""

    def file(self, file: FileId) -> None:
        """Add its place and one path at which it stands."""
        here = self._folder.path_of(file)
        self.add(path for path in (self._ledger.index.path_of(file), here) if path is not None)


def considered(touched_type: type[Touched]) -> set[str]:
    """Let a file stand at two paths, while a rename of a program and one of ours cross."""
    bench = Bench()
    bench.stand("place", 1)
    bench.agree("left", 1)
    bench.agree("last", 1)
    touched = touched_type(bench.ledger, bench.folder)
    touched.file(file(1))
    return set(touched.take(10))


def test_every_path_at_which_a_file_stands_is_considered() -> None:
    """A copy that is left over from a rename is seen to once nobody is at work on the file."""
    assert considered(Touched) == {"place", "left", "last"}


def test_a_variant_that_knows_only_the_last_path_is_caught() -> None:
    """The check can fail."""
    assert considered(LastPlace) == {"place", "last"}
