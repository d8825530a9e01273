"""Runs the measures for each program on each tree and file system."""

from __future__ import annotations

import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from aiplatform.mesh_ide.workspace.ignore import judge_content, judge_name
from bench.machine import describe_filesystem, describe_machine
from bench.measures import (
    CHECKOUT,
    EDIT_P50,
    EDIT_P99,
    FIRST_SYNC,
    MEMORY_LEFT,
    OURS,
    UNITS,
    Unit,
    percentile,
    show,
)
from bench.peer import NotMeasuredError, Peer
from bench.report import Report, Result
from bench.trees import bytes_of, copy_library, make_texts
from bench.watch import NotSeenError

CHECKOUT_FILES: Final = 1_000
QUICK_FILES: Final = 1_000


def copy_library_without_secrets(root: Path) -> list[Path]:
    """Copy the standard library without its test certificates.

    Ours keeps files that look like private keys at home, whoever asks; nobody gets them to carry.

    Returns:
        The paths of the files relative to ``root``, sorted.
    """
    kept: list[Path] = []
    for path in copy_library(root):
        if judge_name(path.name, is_folder=False) or judge_content(
            path.name, (root / path).read_bytes()
        ):
            (root / path).unlink()
        else:
            kept.append(path)
    return kept


TREES: Final[dict[str, Callable[[Path], list[Path]]]] = {
    "texts": make_texts,
    "library": copy_library_without_secrets,
    "few": partial(make_texts, files=QUICK_FILES),
}


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes:
        peers: in the order of the table's columns; ratios are to the first one with a figure.
        trees: names in ``TREES``; what is measured live is measured on the first one alone.
        places: folders on the file systems to measure; everything made there is removed.
        edits: how many saved lines and live edits of ours to time.
        edits_of_others: and saved lines of the other programs, some of which take a second each.
        rounds: how often to repeat the first synchronisation on the first place; the median
            counts. On the others, which no target is for, it is done once.
    """

    peers: Sequence[type[Peer]]
    trees: Sequence[str]
    places: Sequence[Path]
    edits: int
    edits_of_others: int
    rounds: int


def run_all(plan: Plan, done: Callable[[Report], None]) -> Report:
    """Measure every installed program on every tree in every place.

    Args:
        plan: what to measure.
        done: is given the report after each tree: a run that is interrupted leaves what it has.
    """
    versions = {peer.name: peer.version() or "not installed" for peer in plan.peers}
    report = Report(machine=describe_machine(), versions=versions)
    for place in plan.places:
        rounds = plan.rounds if place == plan.places[0] else 1
        for tree in plan.trees:
            with _scratch(place) as scratch:
                _run_tree(report, plan, tree, rounds, scratch)
            done(report)
    report.machine["load at end"] = " ".join(f"{load:.1f}" for load in os.getloadavg())
    return report


def _run_tree(report: Report, plan: Plan, tree: str, rounds: int, scratch: Path) -> None:
    """Measure all programs, one after another in each round.

    In turns, because the first one to fill a virtual machine's memory pays for the pages that all
    later ones find ready (seen: the first ``rsync -a`` 1.2 s, every later one 0.5 s).
    """
    original = scratch / "original"
    original.mkdir()
    paths = TREES[tree](original)
    report.trees[tree] = f"{len(paths):,} files, {bytes_of(original, paths) / 1e6:.0f} MB"
    filesystem = describe_filesystem(original)
    figures: dict[tuple[str, str], list[float]] = {}
    notes: dict[tuple[str, str], str] = {}
    going = [peer for peer in plan.peers if peer.version() is not None]
    for number in range(1, rounds + 1):
        for make_peer in list(going):
            with _scratch(scratch) as own:
                peer = _prepared(make_peer, original, own)
                stages = _Stages(
                    is_last=number == rounds,
                    is_live=tree == plan.trees[0],
                    edits=plan.edits if make_peer.name == OURS else plan.edits_of_others,
                )
                for measure, figure in _measure(peer, paths, stages):
                    _say(f"{make_peer.name}, {tree} on {filesystem}", measure, figure)
                    if not isinstance(figure, str):
                        figures.setdefault((measure, make_peer.name), []).append(figure)
                        continue
                    notes[measure, make_peer.name] = figure
                    if measure == FIRST_SYNC:
                        going.remove(make_peer)  # each try would cost the whole timeout again
    for (measure, name), each in figures.items():
        median = statistics.median(each)
        report.results.append(Result(measure, tree, filesystem, name, median, rounds=tuple(each)))
    for (measure, name), note in notes.items():
        if (measure, name) not in figures:
            report.results.append(Result(measure, tree, filesystem, name, None, note))


def _prepared(make_peer: type[Peer], original: Path, own: Path) -> Peer:
    """Return a program with a copy of the tree of its own."""
    left, right, state = own / "left", own / "right", own / "state"
    shutil.copytree(original, left)
    right.mkdir()
    state.mkdir()
    os.sync()  # the copy's own dirty pages are not the program's to write
    return make_peer(left, right, state)


@dataclass(frozen=True)
class _Stages:
    """What is measured of a program in one round besides its first synchronisation.

    In the last round alone what takes long; of the live measures, on the first tree alone.
    """

    is_last: bool
    is_live: bool
    edits: int


def _measure(peer: Peer, paths: list[Path], stages: _Stages) -> Iterator[tuple[str, float | str]]:
    """Yield each measure with its figure, or with the reason why there is none."""
    stage = FIRST_SYNC
    try:
        yield FIRST_SYNC, peer.first_sync(paths)
        if stages.is_last:
            yield from peer.extra_measures().items()
        if not (stages.is_last and stages.is_live):
            return
        stage = MEMORY_LEFT
        yield from peer.resting_measures().items()
        stage = EDIT_P50
        with peer.live():
            some = paths[:: max(1, len(paths) // CHECKOUT_FILES)]
            latencies = peer.edit_latencies(some, stages.edits)
            yield EDIT_P50, statistics.median(latencies)
            yield EDIT_P99, percentile(latencies, 0.99)
            stage = CHECKOUT
            yield CHECKOUT, peer.checkout(paths[:CHECKOUT_FILES], "other branch")
            stage = "live"
            yield from peer.live_measures(stages.edits).items()
    except (NotMeasuredError, NotSeenError, ProcessLookupError) as why:
        yield stage, f"{type(why).__name__}: {why}"
    finally:
        peer.close()


def _say(who: str, measure: str, figure: float | str) -> None:
    """Tell how far it is, on stderr: a run takes minutes."""
    told = figure if isinstance(figure, str) else show(figure, UNITS.get(measure, Unit.SECONDS))
    print(f"  {who}: {measure}: {told}", file=sys.stderr, flush=True)


@contextmanager
def _scratch(place: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mesh-bench-", dir=place) as folder:
        yield Path(folder)
