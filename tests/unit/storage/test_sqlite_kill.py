"""``kill -9`` of a real process: nothing is lost whose commit returned.

``STORE_KILLS=1000 pytest tests/unit/storage/test_sqlite_kill.py`` searches longer.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from aiplatform.mesh_ide.ports.store import RecordKind
from aiplatform.mesh_ide.storage.sqlite.store import SqliteStore
from tests.unit.storage import kill_child
from tests.unit.storage.making import blob_of, file_id

KILLS = int(os.environ.get("STORE_KILLS", "10"))
COMMITS_MAX = 400
ROOT = Path(__file__).parents[3]


def run_and_kill(state: Path, run: str, chance: random.Random, *more: str) -> int:
    """Start a child, kill it at a random moment, and return the last number it printed."""
    with subprocess.Popen(
        [sys.executable, kill_child.__file__, str(state), run, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as child:
        assert child.stdout is not None
        # A line says that the child is committing; from there a timer hits any moment of it.
        printed = [child.stdout.readline() for _ in range(1 if more else chance.randint(1, 60))]
        timer = threading.Timer(chance.uniform(0, 0.005), child.kill)
        timer.start()
        printed.extend(child.stdout)
        timer.join()
    assert child.returncode == -9
    # The pipe may hold half a line: its number was not printed whole.
    whole = [int(line) for line in printed if line.endswith("\n")]
    assert whole == list(range(1, len(whole) + 1))
    return whole[-1]


def assert_nothing_lost(state: Path, last_printed: dict[str, int]) -> None:
    """Check that each run's printed commits are there, and that none is there by half."""
    store = SqliteStore.open(state)
    assert store.check_integrity() == ()
    for run, printed in last_printed.items():
        stored = int(store.record(RecordKind.NODE, run.encode()) or b"0")
        assert stored in {printed, printed + 1}
        for number in range(1, stored + 2):
            key = f"{run}/{number}".encode()
            entries = [known.ref.sequence for known in store.entries_of(file_id(key))]
            is_there = number <= stored
            assert entries == ([number] if is_there else [])
            assert store.verify_blob(blob_of(key * 3000)) == is_there
    store.close()


@pytest.mark.timeout(60 + KILLS * 5)
def test_a_killed_process_loses_nothing_it_had_acknowledged(tmp_path: Path) -> None:
    """Killed at random moments, again and again on one state directory."""
    chance = random.Random(KILLS)
    last_printed: dict[str, int] = {}
    for number in range(KILLS):
        run = f"run {number}"
        last_printed[run] = run_and_kill(tmp_path, run, chance)
        assert_nothing_lost(tmp_path, {run: last_printed[run]})
    assert_nothing_lost(tmp_path, last_printed)


def test_a_process_that_acknowledges_too_early_is_caught(tmp_path: Path) -> None:
    """Planted bug: the number is printed before the commit."""
    printed = run_and_kill(tmp_path, "run", random.Random(1), "early")
    with pytest.raises(AssertionError):
        assert_nothing_lost(tmp_path, {"run": printed})
