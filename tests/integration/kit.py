"""Real nodes in this process: a folder, a store, a key and links over loopback each.

Nothing is simulated and nothing is patched. Waiting is done on conditions, looked at again and
again for a bounded time; a condition that does not come says what was waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from aiplatform.mesh_ide.documents.state import content_of
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.tickets import Ticket
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.model.enums import NodeType, Role
from aiplatform.mesh_ide.model.ids import FileId, NodeId
from aiplatform.mesh_ide.node.boot import ServingNode, open_node
from aiplatform.mesh_ide.node.clock import SteadyClock
from aiplatform.mesh_ide.node.events import LookAgain, Told
from aiplatform.mesh_ide.node.founding import create_workspace, join_workspace

WAIT_S: Final = 8.0
LOOK_S: Final = 0.01

Mesh = tuple["Node", "Node"]


def run(work: Coroutine[Any, Any, None], limit_s: float = 30.0) -> None:
    """Run a test on an event loop of its own."""

    async def limited() -> None:
        async with asyncio.timeout(limit_s):
            await work

    asyncio.run(limited())


async def until(
    is_there: Callable[[], bool], what: Callable[[], object] | str, timeout_s: float = WAIT_S
) -> None:
    """Return once a condition holds."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    while not is_there():
        if loop.time() > deadline:
            shown = what() if callable(what) else what
            raise AssertionError(f"not within {timeout_s:g} s: {shown}")
        await asyncio.sleep(LOOK_S)


class Node:
    """One node: what it is made of, and what it told since it was opened."""

    def __init__(self, base: Path, name: str) -> None:
        self.name = name
        self.state = base / name / "state"
        self.folder = base / name / "folder"
        self.user = SigningKey.from_seed(bytes([len(name)]) * 31 + name.encode()[:1])
        self.told: list[Told] = []
        self.serving: ServingNode | None = None
        self.clock: SteadyClock | None = None

    # --- life --------------------------------------------------------------------------------

    def found(self) -> None:
        """Make this node the first of a workspace."""
        self.folder.mkdir(parents=True, exist_ok=True)
        create_workspace(
            self.state,
            folder=self.folder,
            name="rocket",
            node_name=self.name,
            node_type=NodeType.LOCAL,
            person=self.name,
            user=self.user,
        )

    async def join(self, ticket: Ticket) -> None:
        """Become a member."""
        self.folder.mkdir(parents=True, exist_ok=True)
        await join_workspace(
            self.state,
            ticket,
            folder=self.folder,
            node_name=self.name,
            node_type=NodeType.LOCAL,
            person=self.name,
            user=self.user,
            listen=Listen.LOOPBACK,
            timeout_s=10,
        )

    @asynccontextmanager
    async def up(self) -> AsyncIterator[Node]:
        """Serve for the time of the context."""
        self.serving = open_node(self.state, listen=Listen.LOOPBACK, clock=self.clock)
        try:
            async with self.serving.driver.watch() as told:
                self._queue = told
                await self.serving.start()
                yield self
        finally:
            self.hear()
            await self.serving.stop()

    @property
    def node(self) -> ServingNode:
        """The node while it serves."""
        assert self.serving is not None, "it is not up"
        return self.serving

    @property
    def core(self) -> Any:  # noqa: ANN401 - tests look into it
        """Its state machine."""
        return self.node.driver.core

    @property
    def id(self) -> NodeId:
        """Its key."""
        return NodeId(self.node.key.public)

    @property
    def is_serving(self) -> bool:
        """Whether nothing has ended it."""
        runs = self.node.driver._runs
        return runs is not None and not runs.done()

    async def ticket(self, role: Role = Role.ADMIN, expires_s: float = 60) -> Ticket:
        """Invite somebody."""
        return await self.node.admitter.issue(role, expires_s)

    async def look(self) -> None:
        """Have it look at its folder and dial everybody."""
        await self.node.driver.request(LookAgain)

    # --- what it told ------------------------------------------------------------------------

    def hear(self) -> list[Told]:
        """Take what was told meanwhile; return all of it."""
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self.told.append(self._queue.get_nowait())
        return self.told

    def said(self, *words: str, kind: str | None = None) -> bool:
        """Whether it told something with all these words."""
        return any(
            all(word in told.text for word in words) and kind in {None, told.kind}
            for told in self.hear()
        )

    def texts(self) -> list[str]:
        """What it told, for a failure's message."""
        return [f"{told.kind}: {told.text}" for told in self.hear() if told.kind != "files"]

    async def hears(self, *words: str, kind: str | None = None, timeout_s: float = WAIT_S) -> None:
        """Wait until it told something with all these words."""
        await until(
            lambda: self.said(*words, kind=kind),
            lambda: f"{self.name} tells {words}; it told {self.texts()}",
            timeout_s,
        )

    # --- its files ---------------------------------------------------------------------------

    def write(self, path: str, content: bytes | str) -> None:
        """Save a file as an editor does."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        data = content.encode() if isinstance(content, str) else content
        beside = target.parent / f".{target.name}.swp-save"
        beside.write_bytes(data)
        if target.exists():
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)

    def read(self, path: str) -> bytes | None:
        """What stands at a path."""
        with contextlib.suppress(OSError):
            return (self.folder / path).read_bytes()
        return None

    async def shows(
        self, path: str, content: bytes | str | None, timeout_s: float = WAIT_S
    ) -> None:
        """Wait until a path has this content."""
        data = content.encode() if isinstance(content, str) else content
        await until(
            lambda: self.read(path) == data,
            lambda: (
                f"{path} of {self.name}: {(self.read(path) or b'nothing')[:80]!r}; "
                f"it told {self.texts()}"
            ),
            timeout_s,
        )

    def file(self, path: str) -> FileId:
        """The file that stands at a path, by the ledger."""
        owner = self.core.ledger.index.owner(path)
        assert owner is not None, f"nothing at {path}"
        return FileId(owner)

    def has_agreed(self, path: str) -> bool:
        """Whether ledger and folder say the same of a path."""
        owner = self.core.ledger.index.owner(path)
        state = None if owner is None else self.core.ledger.state(owner)
        standing = self.core.workspace.folder.standing(path)
        content = None if state is None else content_of(state)
        return content is not None and standing is not None and standing.blob == content[0]

    def tree(self) -> dict[str, tuple[str, bytes]]:
        """Everything in the folder: kind and mode, and content or target."""
        return picture(self.folder)

    def skipped(self) -> dict[str, str]:
        """What does not replicate, and the reason."""
        return {path: s.reason.value for path, s in self.core.workspace.skipped.items()}

    # --- its links ---------------------------------------------------------------------------

    def is_linked(self, other: Node) -> bool:
        """Whether a link stands and both have said hello."""
        return other.id in self.core.membership.ready()

    def is_even(self, other: Node) -> bool:
        """Whether, by this node, the other one has everything."""
        core = self.core
        return (
            core.replication.is_in_step(other.id)
            and core.replication.holdings.pending_at(other.id) == frozenset()
            and not core.workspace.outstanding
            and not core.authoring.queued
            and not core.ledger.claimed
        )


async def converged(one: Node, two: Node, timeout_s: float = WAIT_S) -> None:
    """Wait until two nodes have everything of each other, on their disks too."""
    await until(
        lambda: one.is_even(two) and two.is_even(one) and one.tree() == two.tree(),
        lambda: f"they converge: {differences(one, two)}; {one.texts()}; {two.texts()}",
        timeout_s,
    )


def differences(one: Node, two: Node) -> str:
    """What two folders have not in common."""
    mine, theirs = one.tree(), two.tree()
    paths = [p for p in sorted(mine.keys() | theirs.keys()) if mine.get(p) != theirs.get(p)]
    even = f"even: {one.is_even(two)}, {two.is_even(one)}"
    return f"{paths[:10]} differ, {even}, outstanding {one.core.workspace.outstanding}"


def picture(folder: Path) -> dict[str, tuple[str, bytes]]:
    """Everything that can replicate in a folder: kind and mode, and content or target."""
    found: dict[str, tuple[str, bytes]] = {}
    for at, folders, files in os.walk(os.fsencode(folder)):
        for name in [*files, *(f for f in folders if os.path.islink(os.path.join(at, f)))]:  # noqa: PTH114, PTH118
            path = os.path.join(at, name)  # noqa: PTH118 - names that are not UTF-8 too
            shown = os.path.relpath(path, os.fsencode(folder)).decode(errors="replace")
            with contextlib.suppress(OSError):
                status = os.lstat(path)
                if stat.S_ISLNK(status.st_mode):
                    found[shown] = ("link", os.readlink(path))  # noqa: PTH115
                elif stat.S_ISREG(status.st_mode):
                    kind = "executable" if status.st_mode & stat.S_IXUSR else "file"
                    with open(path, "rb") as file:  # noqa: PTH123
                        found[shown] = (kind, file.read())
    return {p: seen for p, seen in found.items() if not p.startswith(".mesh-tmp")}


@asynccontextmanager
async def one_node(base: Path) -> AsyncIterator[Node]:
    """Give the only member of a workspace."""
    alpha = Node(base, "alpha")
    alpha.found()
    async with alpha.up():
        await until(lambda: alpha.core.workspace.has_scanned, "alpha looked at its folder")
        yield alpha


@asynccontextmanager
async def two_nodes(base: Path, files: dict[str, str] | None = None) -> AsyncIterator[Mesh]:
    """Give two linked members that have the same files."""
    alpha, beta = Node(base, "alpha"), Node(base, "beta")
    alpha.found()
    for path, content in (files or {}).items():
        alpha.write(path, content)
    async with alpha.up():
        await beta.join(await alpha.ticket())
        async with beta.up():
            await until(lambda: alpha.is_linked(beta) and beta.is_linked(alpha), "they link")
            await until(lambda: beta.core.workspace.has_scanned, "beta looked at its folder")
            await converged(alpha, beta)
            yield alpha, beta
