"""Which path every file has, and who occupies a path: computed from tree places, incrementally.

Pure. Folders are nodes; several folder nodes with one path are one folder. Several living files
may claim one path: the lowest file id owns it (every node decides alike), the others wait.
Paths are ``/``-separated and relative; names are never normalised.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable

from msgspec import Struct

from aiplatform.mesh_ide.documents.places_plan import (
    DEPTH_MAX,
    NAME_BYTES_MAX,
    PathError,
    Plan,
    fold,
    name_problem,
    validate_name,
)
from aiplatform.mesh_ide.model.ids import FileId, TreeNodeId, short
from aiplatform.mesh_ide.ports.engine import MoveNode, PlaceNode, TreeOperation, TreePlace

__all__ = [
    "DEPTH_MAX",
    "NAME_BYTES_MAX",
    "PathChange",
    "PathError",
    "TreeIndex",
    "fold",
    "name_problem",
    "validate_name",
]


class PathChange(Struct, frozen=True):
    """A file stands elsewhere: ``None`` is nowhere (new, or without a valid path)."""

    file: FileId
    old: str | None
    new: str | None


class TreeIndex:
    """Paths of all files, and files of all paths.

    A file's path is that of its lowest node that has one. A node has none while its name or an
    ancestor's is invalid, it stands below a file, deeper than ``DEPTH_MAX``, or below a node
    that is not known yet. Costs are in proportion to what changes, times the depth.

    Invariants:
        1. ``_paths`` holds exactly the nodes that have a path, ``_folders`` the folders of them.
        2. ``_claims[path]`` are the living files with that path, ascending; never empty.
        3. ``_below[path]`` counts the living files whose path begins with ``path + "/"``.
    """

    def __init__(self) -> None:
        self._places: dict[TreeNodeId, TreePlace] = {}
        self._children: dict[TreeNodeId, dict[TreeNodeId, None]] = {}
        self._paths: dict[TreeNodeId, str] = {}
        self._invalid: dict[TreeNodeId, str] = {}
        self._folders: dict[str, list[TreeNodeId]] = {}
        self._nodes: dict[FileId, list[TreeNodeId]] = {}
        self._file_paths: dict[FileId, str] = {}
        self._alive: set[FileId] = set()
        self._claims: dict[str, tuple[FileId, ...]] = {}
        self._contested: set[str] = set()
        self._folded: dict[str, tuple[str, ...]] = {}
        self._below: dict[str, int] = {}

    # --- asking ------------------------------------------------------------------------------

    def path_of(self, file: FileId) -> str | None:
        """Return a file's path, living or not; ``None`` if it has no place or no valid path."""
        return self._file_paths.get(file)

    def paths(self) -> dict[FileId, str]:
        """Return the path of every file, living or not, as it is at this moment.

        Cost: one copy of a table (100,000 files: 2 ms), so that the rest can be done elsewhere.
        """
        return dict(self._file_paths)

    def claims(self, path: str) -> tuple[FileId, ...]:
        """Return the living files that claim a path, ascending; the first owns it."""
        return self._claims.get(path, ())

    def owner(self, path: str) -> FileId | None:
        """Return the living file that stands at a path."""
        claims = self._claims.get(path)
        return claims[0] if claims else None

    def is_alive(self, file: FileId) -> bool:
        """Return what ``set_alive`` said last; ``False`` for files never named."""
        return file in self._alive

    def has_below(self, path: str) -> bool:
        """Return whether living files stand below a path, which is then a folder."""
        return path in self._below

    def has_folder(self, path: str) -> bool:
        """Return whether a folder node stands at a path, be it empty."""
        return path in self._folders

    def files_below(self, path: str) -> tuple[FileId, ...]:
        """Return all files, living or not, that stand below a folder, ascending."""
        found: set[FileId] = set()
        prefix = path + "/"
        pending = list(self._folders.get(path, ()))
        while pending:
            for child in self._children.get(pending.pop(), ()):
                file = self._places[child].file
                if file is None:
                    pending.append(child)
                elif self._file_paths.get(file, "").startswith(prefix):
                    found.add(file)
        return tuple(sorted(found))

    def contested(self) -> tuple[str, ...]:
        """Return the paths that several living files claim, ascending."""
        return tuple(sorted(self._contested))

    def owned(self) -> tuple[tuple[str, FileId], ...]:
        """Return every path with the file that owns it, ascending."""
        return tuple(sorted((path, claims[0]) for path, claims in self._claims.items()))

    def twins(self, path: str) -> tuple[str, ...]:
        """Return other living files' paths that a case-insensitive file system takes for this."""
        return tuple(twin for twin in self._folded.get(fold(path), ()) if twin != path)

    @property
    def invalid(self) -> dict[TreeNodeId, str]:
        """Return the nodes that have no path by their own fault, and why."""
        return dict(self._invalid)

    # --- changing ----------------------------------------------------------------------------

    def set_alive(self, file: FileId, *, is_alive: bool) -> None:
        """Say whether a file lives (a file not named yet does not)."""
        if is_alive == (file in self._alive):
            return
        path = self._file_paths.get(file)
        if is_alive:
            self._alive.add(file)
            if path is not None:
                self._claim(path, file)
        else:
            self._alive.discard(file)
            if path is not None:
                self._unclaim(path, file)

    def apply(self, places: Iterable[TreePlace]) -> tuple[PathChange, ...]:
        """Take in where nodes stand now; return the files whose path changed, ascending.

        The places of one call together must leave a tree without cycles, as ``TreeEngine`` does.
        """
        dirty: dict[TreeNodeId, None] = {}
        affected: set[FileId] = set()
        for place in places:
            if self._replace(place, affected):
                dirty[place.node] = None
        self._walk(dirty, affected)
        changes: list[PathChange] = []
        for file in sorted(affected):
            old, new = self._file_paths.get(file), self._best_path(file)
            if old == new:
                continue
            changes.append(PathChange(file, old, new))
            is_alive = file in self._alive
            if old is not None:
                del self._file_paths[file]
                if is_alive:
                    self._unclaim(old, file)
            if new is not None:
                self._file_paths[file] = new
                if is_alive:
                    self._claim(new, file)
        return tuple(changes)

    def _replace(self, place: TreePlace, affected: set[FileId]) -> bool:
        """Store a place; return whether it is news."""
        old = self._places.get(place.node)
        if old == place:
            return False
        if old is None or old.parent != place.parent:
            if old is not None and old.parent is not None:
                del self._children[old.parent][place.node]
            if place.parent is not None:
                self._children.setdefault(place.parent, {})[place.node] = None
        old_file = None if old is None else old.file
        if old_file != place.file:
            if old_file is not None:
                self._nodes[old_file].remove(place.node)
                affected.add(old_file)
            if place.file is not None:
                insort(self._nodes.setdefault(place.file, []), place.node)
                affected.add(place.file)
            path = self._paths.get(place.node)
            if path is not None:  # a file became a folder, or the other way round
                self._set_folder(path, place.node, is_there=place.file is None)
        self._places[place.node] = place
        return True

    def _walk(self, dirty: dict[TreeNodeId, None], affected: set[FileId]) -> None:
        """Find the paths anew of changed nodes and of all below them whose path changes."""
        # A node below another changed one is reached from there.
        pending = [node for node in dirty if self._places[node].parent not in dirty]
        while pending:
            node = pending.pop()
            place = self._places[node]
            old = self._paths.get(node)
            new = self._path_for(place)
            if old != new:
                if place.file is not None:
                    affected.add(place.file)
                elif old is not None:
                    self._set_folder(old, node, is_there=False)
                if new is None:
                    del self._paths[node]
                else:
                    self._paths[node] = new
                    if place.file is None:
                        self._set_folder(new, node, is_there=True)
            elif node not in dirty:
                continue
            pending.extend(self._children.get(node, ()))

    def _path_for(self, place: TreePlace) -> str | None:
        """Return a node's path by its parent's, and note what is wrong with the node itself."""
        problem = name_problem(place.name)
        path: str | None = place.name
        if place.parent is not None:
            parent = self._places.get(place.parent)
            above = self._paths.get(place.parent)
            path = None if above is None else f"{above}/{place.name}"
            if parent is not None and parent.file is not None:
                problem = problem or "stands below a file"
            elif above is not None and above.count("/") + 2 > DEPTH_MAX:
                problem = problem or f"stands deeper than {DEPTH_MAX}"
        if problem is None:
            self._invalid.pop(place.node, None)
            return path
        self._invalid[place.node] = problem
        return None

    def _best_path(self, file: FileId) -> str | None:
        paths = (self._paths.get(node) for node in self._nodes.get(file, ()))
        return next((path for path in paths if path is not None), None)

    def _set_folder(self, path: str, node: TreeNodeId, *, is_there: bool) -> None:
        nodes = self._folders.setdefault(path, [])
        if is_there:
            insort(nodes, node)
        elif node in nodes:
            nodes.remove(node)
        if not nodes:
            del self._folders[path]

    def _claim(self, path: str, file: FileId) -> None:
        claims = self._claims.get(path)
        if claims:
            self._claims[path] = tuple(sorted((*claims, file)))
            self._contested.add(path)
        else:
            self._claims[path] = (file,)
            folded = fold(path)
            self._folded[folded] = tuple(sorted((*self._folded.get(folded, ()), path)))
        self._count_above(path, 1)

    def _unclaim(self, path: str, file: FileId) -> None:
        claims = tuple(other for other in self._claims[path] if other != file)
        if len(claims) <= 1:
            self._contested.discard(path)
        if claims:
            self._claims[path] = claims
        else:
            del self._claims[path]
            folded = fold(path)
            twins = tuple(twin for twin in self._folded[folded] if twin != path)
            if twins:
                self._folded[folded] = twins
            else:
                del self._folded[folded]
        self._count_above(path, -1)

    def _count_above(self, path: str, step: int) -> None:
        below = self._below
        end = path.rfind("/")
        while end > 0:
            folder = path[:end]
            count = below.get(folder, 0) + step
            if count:
                below[folder] = count
            else:
                del below[folder]
            end = path.rfind("/", 0, end)

    # --- planning ----------------------------------------------------------------------------

    def plan_create(self, path: str, file: FileId) -> list[TreeOperation]:
        """Plan the place of one new file; see ``plan_creates``."""
        return self.plan_creates([(path, file)])

    def plan_creates(self, files: Iterable[tuple[str, FileId]]) -> list[TreeOperation]:
        """Plan the places of new files, making each missing folder once.

        Raises:
            PathError: an invalid path, or a file that has a place already (move it).
        """
        plan = Plan(self._folders)
        for path, file in files:
            if self._nodes.get(file):
                raise PathError(f"file {short(file)} has a place already; move it to {path!r}")
            parent, name = plan.place(path)
            plan.operations.append(PlaceNode(parent, name, file))
        return plan.operations

    def plan_move(self, file: FileId, new_path: str) -> list[TreeOperation]:
        """Plan another place for one file; see ``plan_moves``."""
        return self.plan_moves([(file, new_path)])

    def plan_moves(self, files: Iterable[tuple[FileId, str]]) -> list[TreeOperation]:
        """Plan other places for files, making each missing folder once.

        Raises:
            PathError: an invalid path, or a file without a place.
        """
        plan = Plan(self._folders)
        for file, new_path in files:
            nodes = self._nodes.get(file)
            if not nodes:
                raise PathError(f"file {short(file)} has no place yet; create it at {new_path!r}")
            node = next((node for node in nodes if node in self._paths), nodes[0])
            parent, name = plan.place(new_path)
            plan.operations.append(MoveNode(node, parent, name))
        return plan.operations

    def plan_move_folder(self, old_path: str, new_path: str) -> list[TreeOperation]:
        """Plan another place for a folder with all below: one move for each of its nodes.

        Raises:
            PathError: an invalid path, no folder at the old one, or the new one lies within it.
        """
        nodes = self._folders.get(old_path)
        if not nodes:
            raise PathError(f"there is no folder {old_path!r}; look at the tree again")
        if new_path == old_path:
            return []
        if new_path.startswith(old_path + "/"):
            raise PathError(f"the folder {old_path!r} cannot move into itself ({new_path!r})")
        plan = Plan(self._folders)
        parent, name = plan.place(new_path)
        plan.operations.extend(MoveNode(node, parent, name) for node in nodes)
        return plan.operations
