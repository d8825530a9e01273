"""`make run`: it shows the main job, proves it, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

DEMO = [sys.executable, "-m", "aiplatform.mesh_ide.cli.demo", "--example", "examples/rocket"]
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.timeout(120)


def running(folder: Path) -> list[str]:
    """Return the command lines of processes that serve below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in line:
            found.append(line)
    return found


def test_once_shows_everything_and_ends_clean() -> None:
    """Exit code 0, equal folders, no process and no folder left."""
    with tempfile.TemporaryDirectory(prefix="mesh-d-") as folder:
        done = subprocess.run(
            [*DEMO, "--once"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "equal in both folders, byte for byte" in done.stdout
        assert not list(Path(folder).iterdir())
        assert not running(Path(folder))


def test_interrupted_it_ends_what_it_started() -> None:
    """Without ``--once`` it stays up until told to stop, then cleans up."""
    with tempfile.TemporaryDirectory(prefix="mesh-d-") as folder:
        with subprocess.Popen(
            DEMO,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": folder},
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "mesh join mesh1" in line:
                    break
            assert len(running(Path(folder))) == 2
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
        assert not running(Path(folder))
        assert not list(Path(folder).iterdir())
