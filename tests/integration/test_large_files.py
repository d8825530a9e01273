"""A file far larger than what a node may hold in memory, between two real processes.

``LARGE_MIB`` in the environment makes another size; a gigabyte takes a minute:
``LARGE_MIB=1024 pytest -n0 tests/integration/test_large_files.py -o timeout=600``.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import blake3
import pytest

from tests.integration.machines import Machine, Machines, founded, joined, machines
from tests.integration.measuring import memory_mib

__all__ = ["machines"]  # a fixture is found by its name in the module

MIB: Final = 1024 * 1024
LARGE_MIB: Final = int(os.environ.get("LARGE_MIB", "256"))
GROWTH_MIB_MAX: Final = 190
"""What either process may grow by at its peak, however large the file is (measured: 70 MiB for a
file of 64 MiB, 120 for 256, 151 for 1,024: what is under way, and the store's caches)."""

ARRIVES_S: Final = max(30.0, LARGE_MIB / 4)

pytestmark = pytest.mark.timeout(60 + 4 * ARRIVES_S)


def make_large(path: Path, seed: int, mib: int = LARGE_MIB) -> None:
    """Write a file whose chunks of 1 MiB all differ and that nothing compresses."""
    piece = bytearray(random.Random(seed).randbytes(MIB))
    with path.open("wb") as file:
        for number in range(mib):
            piece[:8] = number.to_bytes(8, "big")
            file.write(piece)


def hash_of(path: Path) -> str:
    """Return the hash of a file's bytes; read in parts, to keep this process small too."""
    return blake3.blake3().update_mmap(path).hexdigest()


def arrives(machine: Machine, name: str, size: int) -> None:
    """Wait until a file stands in a folder with its whole size (it appears at once or not)."""
    deadline = time.monotonic() + ARRIVES_S
    path = machine.folder / name
    while not path.exists() or path.stat().st_size != size:
        assert time.monotonic() < deadline, f"{name} did not come{machine.log()}"
        time.sleep(0.05)


def test_a_large_file_and_its_next_version_arrive_in_bounded_memory(machines: Machines) -> None:
    """There, changed in one chunk there, and back; neither process ever holds the file."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = joined(machines("beta"), alpha)
    pids = {m.name: m.json("status")["pid"] for m in (alpha, beta)}
    before = {name: memory_mib(pid) for name, pid in pids.items()}

    make_large(alpha.folder / "large.bin", 1)
    arrives(beta, "large.bin", LARGE_MIB * MIB)
    assert hash_of(alpha.folder / "large.bin") == hash_of(beta.folder / "large.bin")

    with (beta.folder / "large.bin").open("r+b") as file:
        file.seek(LARGE_MIB * MIB // 2)
        file.write(b"changed on beta")
        file.seek(0, os.SEEK_END)
        file.write(b"and grown")
    arrives(alpha, "large.bin", LARGE_MIB * MIB + 9)
    assert hash_of(alpha.folder / "large.bin") == hash_of(beta.folder / "large.bin")
    assert [v["size"] for v in alpha.json("history", "large.bin")["versions"]] == [
        LARGE_MIB * MIB + 9,
        LARGE_MIB * MIB,
    ]

    grown = {name: memory_mib(pid, "VmHWM") - before[name] for name, pid in pids.items()}
    assert GROWTH_MIB_MAX < LARGE_MIB, "a smaller file proves nothing"
    assert max(grown.values()) < GROWTH_MIB_MAX, f"grown by MiB: {grown}"


def test_a_process_that_holds_the_file_is_seen_to() -> None:
    """The planted bug: who reads all of it at once is over the bound, by the same measure."""
    code = f"import sys; held = b'x' * ({LARGE_MIB} << 20); print(len(held)); sys.stdin.read()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert memory_mib(holder.pid, "VmHWM") > GROWTH_MIB_MAX
