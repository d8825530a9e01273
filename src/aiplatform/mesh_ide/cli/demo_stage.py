"""What the demonstration shows: live panels on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Final

from aiplatform.mesh_ide.api import answers
from aiplatform.mesh_ide.cli.output import safe
from aiplatform.mesh_ide.cli.present import rtt, size, when
from aiplatform.mesh_ide.model.counting import counted

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from aiplatform.mesh_ide.cli.demo_nodes import DemoNode

EVENTS_SHOWN: Final = 8
LINES_SHOWN: Final = 24
REFRESH_PER_S: Final = 4
POLL_S: Final = 0.5


class Stage:
    """Collects from any thread; draws on its own."""

    def __init__(self) -> None:
        """Begin empty; ``nodes`` are added when they exist."""
        self.nodes: list[DemoNode] = []
        self._lines: deque[str] = deque(maxlen=LINES_SHOWN)
        self._events: deque[str] = deque(maxlen=EVENTS_SHOWN)
        self._statuses: dict[str, answers.Status | None] = {}
        self._is_live = sys.stdout.isatty()
        self._live: Live | None = None
        self._over = threading.Event()

    def say(self, text: str) -> None:
        """Tell what the demonstration does."""
        self._lines.append(text)
        if not self._is_live:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def print_whole(self, text: str) -> None:
        """Write something to be copied: no frame around it, no line broken."""
        if self._live is None:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        else:
            self._live.console.print(text, soft_wrap=True, markup=False, highlight=False)

    def event(self, node: str, happening: answers.Happening) -> None:
        """Take something that happened at a node."""
        paths = f": {', '.join(happening.paths[:3])}" if happening.paths else ""
        by = f" from {happening.peer}" if happening.peer and happening.kind == "files" else ""
        text = f"{when(happening.time_ms)[11:]}  {node:6} {happening.text}{by}{paths}"
        self._events.append(safe(text))
        if not self._is_live:
            sys.stdout.write(f"    | {safe(text)}\n")
            sys.stdout.flush()

    def table(self) -> None:
        """Write how the nodes are (plain output; the live one always shows it)."""
        if self._is_live:
            return
        for node in self.nodes:
            self.say(f"    {self._summary(node.name, node.status())}")

    @staticmethod
    def _summary(name: str, status: answers.Status | None) -> str:
        if status is None:
            return f"{name}: down"
        links = ", ".join(f"{p.label} {p.state} {rtt(p.rtt_ms)}" for p in status.peers)
        return (
            f"{name}: {counted(status.files, 'file')}, {size(status.bytes)}, "
            f"heads {status.heads[:10]}, link to {links or 'nobody'}"
        )

    # --- live --------------------------------------------------------------------------------

    def live(self) -> AbstractContextManager[object]:
        """Draw for the time of the context, where that makes sense."""
        if not self._is_live:
            return nullcontext()
        from rich.live import Live  # noqa: PLC0415 - only here, see cli/__init__

        threading.Thread(target=self._poll, daemon=True).start()
        self._live = Live(get_renderable=self._draw, refresh_per_second=REFRESH_PER_S)
        return self._live

    def close(self) -> None:
        """End what runs for the drawing."""
        self._over.set()

    def _poll(self) -> None:
        while not self._over.wait(POLL_S):
            for node in list(self.nodes):
                self._statuses[node.name] = node.status() if node.is_up else None

    def _draw(self) -> RenderableType:
        from rich.console import Group  # noqa: PLC0415 - as above
        from rich.panel import Panel  # noqa: PLC0415
        from rich.table import Table  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        nodes = Table(expand=True, box=None)
        for column in ("node", "files", "bytes", "heads", "pending", "link", "latency"):
            nodes.add_column(column, style="bold" if column == "node" else "")
        for node in list(self.nodes):
            status = self._statuses.get(node.name)
            if status is None:
                nodes.add_row(Text(node.name), "-", "-", "-", "-", Text("down", style="red"), "-")
                continue
            peer = status.peers[0] if status.peers else None
            is_online = peer is not None and peer.state == "online"
            nodes.add_row(
                Text(node.name),
                str(status.files),
                size(status.bytes),
                status.heads[:10],
                "-" if peer is None or peer.pending is None else str(peer.pending),
                Text(peer.state if peer else "alone", style="green" if is_online else "yellow"),
                rtt(peer.rtt_ms) if peer is not None and is_online else "-",
            )
        return Group(
            Panel(nodes, title="nodes"),
            Panel(Text("\n".join(self._events)), title="last events", height=EVENTS_SHOWN + 2),
            Panel(Text("\n".join(self._lines)), title="what happens"),
        )
