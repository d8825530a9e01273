"""Runs the measures for each program on each tree and file system, and prints them with ratios."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.machine import describe_filesystem, describe_machine
from bench.peer import NotMeasuredError, Peer
from bench.trees import bytes_of, copy_library, make_texts
from bench.watch import NotSeenError

CHECKOUT_FILES: Final = 1_000

TREES: Final[dict[str, Callable[[Path], list[Path]]]] = {
    "texts": make_texts,
    "library": copy_library,
}

FIRST_SYNC: Final = "first sync"
EDIT_P50: Final = "edit p50"
EDIT_P99: Final = "edit p99"
CHECKOUT: Final = "checkout 1,000"


@dataclass(frozen=True)
class Result:
    """One figure, or why there is none."""

    measure: str
    tree: str
    filesystem: str
    peer: str
    seconds: float | None
    note: str = ""


@dataclass
class Report:
    """All figures of one run and what they were measured on."""

    machine: dict[str, str]
    versions: dict[str, str]
    trees: dict[str, str] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Leave everything as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")

    def table(self) -> str:
        """Return a Markdown table; in brackets: multiples of the row's first figure."""
        peers = list(dict.fromkeys(result.peer for result in self.results))
        order = [FIRST_SYNC, EDIT_P50, EDIT_P99, CHECKOUT]
        rows = sorted(
            dict.fromkeys((each.measure, each.tree, each.filesystem) for each in self.results),
            key=lambda row: order.index(row[0]) if row[0] in order else len(order),
        )
        figures = {(e.measure, e.tree, e.filesystem, e.peer): e for e in self.results}
        lines = ["| measure | " + " | ".join(peers) + " |", "|---|" + "---:|" * len(peers)]
        for row in rows:
            of_row = [figures.get((*row, peer)) for peer in peers]
            base = next((e.seconds for e in of_row if e is not None and e.seconds), None)
            cells = [_cell(result, base) for result in of_row]
            lines.append(f"| {row[0]}, {row[1]}, {row[2]} | " + " | ".join(cells) + " |")
        return "\n".join(lines)


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        peers: in the order of the table's columns; ratios are to the first one with a figure.
        trees: names in ``TREES``; single saves and checkouts are timed on the first one alone.
        places: folders on the file systems to measure; everything made there is removed.
        edits: how many saved lines to time.
        rounds: how often to repeat the first synchronisation; the median counts.
    """

    peers: Sequence[type[Peer]]
    trees: Sequence[str]
    places: Sequence[Path]
    edits: int
    rounds: int


def run_all(plan: Plan) -> Report:
    """Measure every installed program on every tree in every place."""
    versions = {peer.name: peer.version() or "not installed" for peer in plan.peers}
    report = Report(machine=describe_machine(), versions=versions)
    for place in plan.places:
        for tree in plan.trees:
            with _scratch(place) as scratch:
                _run_tree(report, plan, tree, scratch)
    return report


def _run_tree(report: Report, plan: Plan, tree: str, scratch: Path) -> None:
    """Measure all programs, one after another in each round.

    In turns, because the first one to fill a virtual machine's memory pays for the pages that all
    later ones find ready (seen: the first ``rsync -a`` 1.2 s, every later one 0.5 s).
    """
    original = scratch / "original"
    original.mkdir()
    paths = TREES[tree](original)
    report.trees[tree] = f"{len(paths):,} files, {bytes_of(original, paths) / 1e6:.0f} MB"
    filesystem = describe_filesystem(original)
    seconds: dict[tuple[str, str], list[float]] = {}
    notes: dict[tuple[str, str], str] = {}
    installed = [peer for peer in plan.peers if peer.version() is not None]
    for number in range(1, plan.rounds + 1):
        for make_peer in installed:
            with _scratch(scratch) as own:
                left, right, state = own / "left", own / "right", own / "state"
                shutil.copytree(original, left)
                right.mkdir()
                state.mkdir()
                os.sync()  # the copy's own dirty pages are not the program's to write
                is_live = number == plan.rounds and tree == plan.trees[0]
                edits = plan.edits if is_live else 0
                for measure, figure in _measure(make_peer(left, right, state), paths, edits):
                    _say(f"{make_peer.name}, {tree} on {filesystem}: {measure}", figure)
                    if isinstance(figure, str):
                        notes[measure, make_peer.name] = figure
                    else:
                        seconds.setdefault((measure, make_peer.name), []).append(figure)
    for (measure, name), figures in seconds.items():
        median = statistics.median(figures)
        report.results.append(Result(measure, tree, filesystem, name, median))
    for (measure, name), note in notes.items():
        report.results.append(Result(measure, tree, filesystem, name, None, note))


def _measure(peer: Peer, paths: list[Path], edits: int) -> Iterator[tuple[str, float | str]]:
    """Yield each measure with its seconds, or with the reason why there are none."""
    try:
        yield FIRST_SYNC, peer.first_sync(paths)
        yield from peer.extra_measures().items()
    except (NotMeasuredError, NotSeenError) as why:
        yield FIRST_SYNC, str(why)
        return
    if edits == 0:
        return
    try:
        with peer.live():
            latencies = peer.edit_latencies(paths[:: max(1, len(paths) // CHECKOUT_FILES)], edits)
            yield EDIT_P50, statistics.median(latencies)
            yield EDIT_P99, percentile(latencies, 0.99)
            yield CHECKOUT, peer.checkout(paths[:CHECKOUT_FILES], "other branch")
    except (NotMeasuredError, NotSeenError) as why:
        yield CHECKOUT, str(why)


def _say(what: str, figure: float | str) -> None:
    """Tell how far it is, on stderr: a run takes minutes."""
    told = figure if isinstance(figure, str) else format_seconds(figure)
    print(f"  {what}: {told}", file=sys.stderr, flush=True)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below or at which ``share`` of all values lie (nearest rank)."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def format_seconds(seconds: float) -> str:
    """Return milliseconds below one second, seconds above."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _cell(result: Result | None, base: float | None) -> str:
    if result is None or result.seconds is None:
        return "—"
    ratio = f" ({result.seconds / base:.1f} x)" if base and result.seconds != base else ""
    return format_seconds(result.seconds) + ratio


@contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mesh-bench-", dir=place) as folder:
        yield Path(folder)
