"""``python -m bench``: measure, print the table, leave the figures as JSON."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from bench.harness import TREES, Plan, run_all
from bench.machine import describe_filesystem
from bench.peer import Peer
from bench.peers import Lsyncd, Rsync, Unison
from bench.syncthing import Syncthing

PEERS: tuple[type[Peer], ...] = (Rsync, Unison, Lsyncd, Syncthing)
"""In the order of the columns; ratios are to the first with a figure, so rsync stays first."""

RESULTS = Path(__file__).parent / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peers", nargs="+", choices=names, default=names, metavar="NAME")
    parser.add_argument("--trees", nargs="+", choices=list(TREES), default=list(TREES))
    parser.add_argument("--places", nargs="+", type=Path, default=_default_places())
    parser.add_argument("--edits", type=int, default=100, help="saved lines to time (default 100)")
    parser.add_argument("--rounds", type=int, default=3, help="first syncs, median (default 3)")
    parser.add_argument("--output", type=Path, default=RESULTS / "latest.json")
    return parser.parse_args()


def _default_places() -> list[Path]:
    """Return memory and disk: ``/dev/shm``, and the temporary folder unless that is memory too."""
    memory, disk = Path("/dev/shm"), Path(tempfile.gettempdir())  # noqa: S108 - tmpfs by its name
    if describe_filesystem(disk) == "tmpfs":
        disk = Path(__file__).parent
    return [place for place in (memory, disk) if place.is_dir()]


def main() -> int:
    """Run what was asked for; return the exit code."""
    arguments = _arguments()
    peers = [peer for peer in PEERS if peer.name in arguments.peers]
    report = run_all(
        Plan(peers, arguments.trees, arguments.places, arguments.edits, arguments.rounds)
    )
    report.write(arguments.output)
    for title, facts in (("machine", report.machine), ("versions", report.versions)):
        print(f"{title}: " + "; ".join(f"{name}: {fact}" for name, fact in facts.items()))
    print("trees: " + "; ".join(f"{name}: {fact}" for name, fact in report.trees.items()))
    print()
    print(report.table())
    print(f"\nAll figures: {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
