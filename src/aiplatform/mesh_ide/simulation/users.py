"""What people and programs do to a folder and ask of a node, drawn at random."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Final

from aiplatform.mesh_ide.documents.state import base_of, content_of
from aiplatform.mesh_ide.model.entries import Principal
from aiplatform.mesh_ide.model.enums import FileMode, PrincipalKind
from aiplatform.mesh_ide.model.ids import FileId
from aiplatform.mesh_ide.node.events import DeleteFile, EditText, GitMoved, MoveFile, PutContent
from aiplatform.mesh_ide.ports.engine import Splice
from aiplatform.mesh_ide.ports.errors import StorageFullError
from aiplatform.mesh_ide.ports.store import PutBlob
from aiplatform.mesh_ide.simulation.clock import US_PER_MS
from aiplatform.mesh_ide.simulation.oracle import Tokens, tokens_of
from aiplatform.mesh_ide.workspace.adapters.memory_disk import MemoryFile

if TYPE_CHECKING:
    from aiplatform.mesh_ide.simulation.node import SimulatedNode
    from aiplatform.mesh_ide.simulation.world import World

AGENT: Final = Principal(PrincipalKind.AGENT, "agent")
_FOLDERS: Final = ("", "src/", "src/inner/", "docs/")
_STALE_MS: Final = 900
"""A program that saves what it read longer ago than this may write over what came meanwhile; the
node takes its word (``OWN_WRITE_MS``, less what watcher and jobs take)."""

_GIT_MS: Final = 2500
"""So long a write counts as git's (``GIT_ACTIVE_MS``, and what watcher and jobs take)."""

_LOOKED_AT_MS: Final = 2000
"""After this the node has seen a save, and written an entry that is on its disk."""

Operation = Callable[["Users", "SimulatedNode"], None]


class Users:
    """All the people and programs of a world."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._oracle = world.oracle
        self._stale: dict[tuple[str, str], tuple[int, Tokens]] = {}

    # --- words -------------------------------------------------------------------------------

    def token(self) -> str:
        """Return a word that occurs nowhere else."""
        return f"tk{self._random.getrandbits(40):010x}"

    def line(self) -> str:
        """Return a line with a token, unlike any other line."""
        return (
            f"{self._random.getrandbits(32):08x} {self.token()} {self._random.getrandbits(32):x}\n"
        )

    def text(self, lines: int) -> bytes:
        """Return a text with a token in every line."""
        return "".join(self.line() for _ in range(lines)).encode()

    def path(self) -> str:
        """Return a path; there are few, so that they collide."""
        folder = self._random.choice(_FOLDERS)
        return f"{folder}f{self._random.randrange(8)}.txt"

    # --- the folder --------------------------------------------------------------------------

    def save(
        self, node: SimulatedNode, path: str, content: bytes, mode: FileMode | None = None
    ) -> None:
        """Write a file as a program does, in place or beside and renamed over."""
        folder = node.disk.folder
        standing = folder.find(path)
        if isinstance(standing, dict) or folder.blocker(path) is not None:
            return
        if isinstance(standing, MemoryFile) and standing.mode is FileMode.SYMLINK:
            return
        self._touched(node, path)
        self._oracle.wrote(content)
        self._world.trace("save", node.name, path, content)
        if mode is None:
            mode = standing.mode if isinstance(standing, MemoryFile) else FileMode.REGULAR
        if mode is FileMode.REGULAR and self._random.random() < 0.5:  # noqa: PLR2004 - both ways
            folder.write_by_rename(path, content)
        else:
            folder.write(path, content, mode)
        node.folder_changed()

    def _touched(self, node: SimulatedNode, path: str = "") -> None:
        """Give up what a stale save left out, if something comes before the node looked at it.

        ``path``: what is touched, a file or a folder; empty: everything (the node dies).
        """
        for key, (at_us, unseen) in list(self._stale.items()):
            name, one = key
            if name == node.name and (not path or one == path or one.startswith(path + "/")):
                del self._stale[key]
                if self._world.agenda.now_us - at_us < _LOOKED_AT_MS * US_PER_MS:
                    self._oracle.gave_up(unseen)

    def on_crash(self, node: SimulatedNode) -> None:
        """Take note that a node dies."""
        self._touched(node)

    def _texts(self, node: SimulatedNode) -> list[str]:
        return [path for path in node.disk.folder.files() if path.endswith(".txt")]

    def _pick(self, node: SimulatedNode) -> tuple[str, bytes] | None:
        paths = self._texts(node)
        if not paths:
            return None
        path = self._random.choice(paths)
        content = node.disk.folder.read(path)
        return None if content is None else (path, content)

    def _inserted(self, content: bytes) -> bytes:
        lines = content.splitlines(keepends=True)
        lines.insert(self._random.randint(0, len(lines)), self.line().encode())
        return b"".join(lines)

    def insert_line(self, node: SimulatedNode) -> None:
        """Save a text with one line more."""
        picked = self._pick(node)
        if picked is not None:
            self.save(node, picked[0], self._inserted(picked[1]))

    def delete_line(self, node: SimulatedNode) -> None:
        """Save a text with one line less."""
        picked = self._pick(node)
        lines = picked[1].splitlines(keepends=True) if picked is not None else []
        if picked is None or not lines:
            return
        gone = lines.pop(self._random.randrange(len(lines)))
        self._oracle.gave_up(tokens_of(gone))
        self.save(node, picked[0], b"".join(lines))

    def rewrite(self, node: SimulatedNode) -> None:
        """Save something wholly different."""
        picked = self._pick(node)
        if picked is not None:
            self._oracle.gave_up(tokens_of(picked[1]))
            self.save(node, picked[0], self.text(self._random.randint(0, 6)))

    def write_binary(self, node: SimulatedNode) -> None:
        """Save a binary file."""
        path = f"b{self._random.randrange(3)}.bin"
        self._oracle.gave_up(tokens_of(node.disk.folder.read(path)))
        self.save(node, path, b"\0\1" + self.token().encode())

    def create(self, node: SimulatedNode) -> None:
        """Make a new text, if nothing stands there."""
        path = self.path()
        if node.disk.folder.find(path) is None:
            self.save(node, path, self.text(self._random.randint(0, 5)))

    def delete(self, node: SimulatedNode) -> None:
        """Delete a file."""
        paths = list(node.disk.folder.files())
        if paths:
            path = self._random.choice(paths)
            self._oracle.gave_up(tokens_of(node.disk.folder.read(path)))
            self._world.trace("remove", node.name, path)
            self._touched(node, path)
            node.disk.folder.remove(path)
            node.folder_changed()

    def _rename(self, node: SimulatedNode, old: str, new: str) -> None:
        folder = node.disk.folder
        is_inside = new.startswith(old + "/")
        if is_inside or folder.find(new) is not None or folder.blocker(new) is not None:
            return
        self._world.trace("rename", node.name, old, new)
        self._touched(node, old)
        folder.rename(old, new)
        node.folder_changed()

    def rename_file(self, node: SimulatedNode) -> None:
        """Give a file another name, perhaps in another folder."""
        paths = self._texts(node)
        if paths:
            self._rename(node, self._random.choice(paths), self.path())

    def rename_case(self, node: SimulatedNode) -> None:
        """Change only the case of a name."""
        paths = self._texts(node)
        if paths:
            old = self._random.choice(paths)
            above, _, name = old.rpartition("/")
            new = name.upper().replace(".TXT", ".txt") if name.islower() else name.lower()
            self._rename(node, old, f"{above}/{new}" if above else new)

    def rename_folder(self, node: SimulatedNode) -> None:
        """Give a folder another name."""
        folders = sorted({p.rpartition("/")[0] for p in node.disk.folder.files() if "/" in p})
        if folders:
            new = self._random.choice(("src", "docs", "lib", "src/inner", "lib/deep"))
            self._rename(node, self._random.choice(folders), new)

    def change_mode(self, node: SimulatedNode) -> None:
        """Make a file executable, or not."""
        picked = self._pick(node)
        if picked is None:
            return
        found = node.disk.folder.find(picked[0])
        assert isinstance(found, MemoryFile)
        is_plain = found.mode is FileMode.REGULAR
        mode = FileMode.EXECUTABLE if is_plain else FileMode.REGULAR
        self._world.trace("chmod", node.name, picked[0])
        node.disk.folder.write(picked[0], picked[1], mode)
        node.folder_changed()

    def format_later(self, node: SimulatedNode) -> None:
        """Read a text now, and save it with a line more a little later."""
        picked = self._pick(node)
        if picked is None:
            return
        path, read = picked
        delay_ms = self._random.choice((20, 100, 400, 1500))
        incarnation = node.incarnation

        def format_now() -> None:
            standing = node.disk.folder.read(path)
            if standing is None:
                return
            content = self._inserted(read)
            unseen = tokens_of(standing) - tokens_of(read)
            write = node.own_writes.get(path)
            is_recent = (
                write is not None
                and self._world.agenda.now_us - write.at_us < _STALE_MS * US_PER_MS
                and (write.before, write.after) == (read, standing)
            )
            is_git = self._world.agenda.now_us - node.git_us < _GIT_MS * US_PER_MS
            is_calm = node.is_running and node.incarnation == incarnation and not is_git
            if not (is_calm and is_recent):
                # Whoever read what stood there two versions ago cannot be understood: what came
                # since may go, and what went since may come back, beside its first copy too.
                older = tokens_of(write.before) if write is not None else frozenset()
                self._oracle.gave_up(unseen | (older - tokens_of(read)))
                self._oracle.may_return.update(tokens_of(read) if read != standing else ())
            self._oracle.may_return.update(tokens_of(read) - tokens_of(standing))
            self.save(node, path, content)
            self._stale[node.name, path] = (self._world.agenda.now_us, unseen)

        self._world.agenda.after(delay_ms * US_PER_MS, format_now)

    def check_out(self, node: SimulatedNode) -> None:
        """Rewrite several files at once, as git does.

        What the node has not looked at yet when git moves is git's as well: nothing tells the two
        apart.
        """
        self._touched(node)
        paths = self._texts(node)
        self._random.shuffle(paths)
        for path in paths[: self._random.randint(1, 5)]:
            content = node.disk.folder.read(path) or b""
            lines = content.splitlines(keepends=True)
            kept = lines[: len(lines) // 2]
            self._oracle.gave_up(tokens_of(content) - tokens_of(b"".join(kept)))
            self.save(node, path, b"".join(kept) + self.line().encode())
        node.git_us = self._world.agenda.now_us
        node.post(GitMoved())

    # --- the API -----------------------------------------------------------------------------

    def _known_text(self, node: SimulatedNode) -> tuple[FileId, bytes] | None:
        if not node.is_running:
            return None
        owned = [file for path, file in node.core.ledger.index.owned() if path.endswith(".txt")]
        if not owned:
            return None
        file = self._random.choice(owned)
        state = node.core.ledger.state(file)
        content = content_of(state) if state is not None else None
        if content is None:
            return None
        path = node.core.workspace.folder.source(content[0]).path
        text = node.contents.read(content[0], path)
        return None if text is None else (file, text)

    def edit_live(self, node: SimulatedNode) -> None:
        """Type a line or two through the API."""
        known = self._known_text(node)
        if known is None:
            return
        file, content = known
        state = node.core.ledger.state(file)
        assert state is not None
        text = content.decode()
        starts = [0, *(i + 1 for i, letter in enumerate(text) if letter == "\n")]
        splice = Splice(self._random.choice(starts), 0, self.line())
        tag = self._oracle.next_tag()
        base = base_of(state) if self._random.random() < 0.5 else ()  # noqa: PLR2004 - both ways
        node.request(EditText(tag, file, (splice,), AGENT, base))

    def put_content(self, node: SimulatedNode) -> None:
        """Give a file a whole new content through the API, or create one."""
        if not node.is_running:
            return
        content = self.text(self._random.randint(1, 4))
        blob = self._oracle.wrote(content)
        try:
            node.store.commit([PutBlob(blob, content)])
        except StorageFullError:
            return
        tag = self._oracle.next_tag()
        facts = (blob, len(content), FileMode.REGULAR)
        if self._random.random() < 0.5:  # noqa: PLR2004 - both ways
            node.request(PutContent(tag, None, self.path(), *facts, is_text=True, principal=AGENT))
            return
        known = self._known_text(node)
        if known is not None:
            node.request(PutContent(tag, known[0], None, *facts, is_text=True, principal=AGENT))

    def delete_by_request(self, node: SimulatedNode) -> None:
        """Delete a file through the API."""
        known = self._known_text(node)
        if known is not None:
            self._oracle.gave_up(tokens_of(known[1]))
            node.request(DeleteFile(self._oracle.next_tag(), known[0], AGENT))

    def move_by_request(self, node: SimulatedNode) -> None:
        """Move a file through the API."""
        known = self._known_text(node)
        if known is not None:
            node.request(MoveFile(self._oracle.next_tag(), known[0], self.path(), AGENT))


OPERATIONS: Final[dict[str, tuple[Operation, int]]] = {
    "insert": (Users.insert_line, 12),
    "cut": (Users.delete_line, 4),
    "rewrite": (Users.rewrite, 2),
    "binary": (Users.write_binary, 2),
    "create": (Users.create, 5),
    "delete": (Users.delete, 3),
    "rename": (Users.rename_file, 3),
    "case": (Users.rename_case, 1),
    "folder": (Users.rename_folder, 2),
    "mode": (Users.change_mode, 1),
    "format": (Users.format_later, 3),
    "git": (Users.check_out, 1),
    "edit": (Users.edit_live, 8),
    "put": (Users.put_content, 2),
    "unlink": (Users.delete_by_request, 1),
    "move": (Users.move_by_request, 2),
}
"""What users do, and how often in proportion."""
