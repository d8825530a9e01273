"""A seed is a recording: it happens again byte for byte."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

_PROGRAM = """
from aiplatform.mesh_ide.simulation.scenarios import run_seed
for seed in range(20):
    print(run_seed(seed).trace_hash)
"""


def traces(hash_seed: str) -> list[str]:
    """Return the trace hashes of some seeds, from a process of its own."""
    environment = {
        **os.environ,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.split()


@pytest.mark.timeout(120)
def test_a_seed_replays_byte_for_byte_in_another_process() -> None:
    """Neither the process nor the order of its hash tables shows in what happens."""
    first, second = traces("1"), traces("4242")

    assert len(first) == 20
    assert first == second


def test_different_seeds_are_different_worlds() -> None:
    """The trace hash tells worlds apart."""
    hashes = traces("0")

    assert len(set(hashes)) == len(hashes)
