"""``python -m bench``: measure, print the table, leave the figures as JSON."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from bench.bare import Bare, Recorded
from bench.harness import TREES, Plan, run_all
from bench.machine import describe_filesystem
from bench.peer import Peer
from bench.peers import Lsyncd, Rsync, Unison
from bench.product import Mesh
from bench.syncthing import Syncthing

PEERS: tuple[type[Peer], ...] = (Rsync, Mesh, Unison, Lsyncd, Syncthing, Bare, Recorded)
"""In the order of the columns; ratios are to the first with a figure, so rsync stays first."""

RESULTS = Path(__file__).parent / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="1,000 files in memory alone, one round, 20 edits: a minute and a half",
    )
    parser.add_argument("--trees", nargs="+", choices=list(TREES), metavar="NAME")
    parser.add_argument("--places", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--edits", type=int, help="saved lines and live edits to time")
    parser.add_argument("--rounds", type=int, help="first synchronisations; the median counts")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json")
    return parser.parse_args()


def _default_places() -> list[Path]:
    """Return memory and disk: ``/dev/shm``, and the temporary folder unless that is memory too."""
    memory, disk = Path("/dev/shm"), Path(tempfile.gettempdir())  # noqa: S108 - tmpfs by its name
    if describe_filesystem(disk) == "tmpfs":
        disk = Path(__file__).parent
    return [place for place in (memory, disk) if place.is_dir()]


def _plan(arguments: argparse.Namespace) -> Plan:
    """Return what to measure: what was asked for, and the usual for the rest."""
    is_quick: bool = arguments.quick
    edits = arguments.edits or (20 if is_quick else 100)
    return Plan(
        peers=[peer for peer in PEERS if peer.name in arguments.peers],
        trees=arguments.trees or (["few"] if is_quick else ["texts", "library"]),
        places=arguments.places or _default_places()[: 1 if is_quick else None],
        edits=edits,
        edits_of_others=max(1, edits * 3 // 10),
        rounds=arguments.rounds or (1 if is_quick else 3),
    )


def main() -> int:
    """Run what was asked for; return the exit code."""
    arguments = _arguments()
    # As an interruption: what was started is ended, and scratch folders go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = run_all(_plan(arguments), lambda report: report.write(arguments.output))
    report.write(arguments.output)
    for title, facts in (("machine", report.machine), ("versions", report.versions)):
        print(f"{title}: " + "; ".join(f"{name}: {fact}" for name, fact in facts.items()))
    print("trees: " + "; ".join(f"{name}: {fact}" for name, fact in report.trees.items()))
    print()
    print(report.table())
    for note in report.notes():
        print(f"- {note}")
    print(f"\nAll figures: {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
