"""How a node's last run ended, as the next command finds it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from aiplatform.mesh_ide.api import last_run as module
from aiplatform.mesh_ide.api.client import NodeDiedError, NotServedError, not_served
from aiplatform.mesh_ide.api.last_run import (
    REASON_CHARS_MAX,
    RUN_FILE,
    RunMark,
    last_run,
)

_KILLED = """
import os, signal, sys
from pathlib import Path
from aiplatform.mesh_ide.api.last_run import RunMark
mark = RunMark(Path(sys.argv[1]), sys.argv[2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def killed(state: Path, log: str = "") -> None:
    """Begin a run in a process that is killed in it."""
    subprocess.run([sys.executable, "-c", _KILLED, str(state), log], check=False)


def test_a_run_that_ended_as_it_should_says_nothing(tmp_path: Path) -> None:
    """Nor does one that never was."""
    assert last_run(tmp_path) is None
    for _ in range(2):
        mark = RunMark(tmp_path, "")
        mark.end()
        mark.end()
        assert last_run(tmp_path) is None
    assert type(not_served(tmp_path)) is NotServedError
    assert "Nobody serves" in str(not_served(tmp_path))


def test_a_run_under_way_is_not_taken_for_a_dead_one(tmp_path: Path) -> None:
    """While it starts or stops it does not answer, and is there all the same."""
    mark = RunMark(tmp_path, "/log")
    run = last_run(tmp_path)
    assert run is not None
    assert (run.pid, run.log, run.is_running) == (os.getpid(), "/log", True)
    error = not_served(tmp_path)
    assert type(error) is NotServedError
    assert "starting or stopping" in str(error)
    mark.end()


def test_a_killed_node_is_told_with_its_log(tmp_path: Path) -> None:
    """It could not say anything itself; the time is when it was last seen."""
    killed(tmp_path, "/state/mesh.log")
    os.utime(tmp_path / RUN_FILE, (1_000_000_000, 1_000_000_000))
    error = not_served(tmp_path)
    assert isinstance(error, NodeDiedError)
    assert "ended unexpectedly (node last seen 2001-09-0" in str(error)
    assert "its log: /state/mesh.log; `mesh up` starts it again" in str(error)


def test_a_process_that_got_a_dead_nodes_number_is_not_the_node(tmp_path: Path) -> None:
    """Planted: this very process has the number that the file names, and holds no lock."""
    killed(tmp_path)
    (tmp_path / RUN_FILE).write_text(f'{{"pid": {os.getpid()}, "boot": "", "log": ""}}')
    assert isinstance(not_served(tmp_path), NodeDiedError)


def test_a_machine_that_restarted_is_told_as_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was wrong with the node."""
    killed(tmp_path)
    monkeypatch.setattr(module, "boot_id", lambda: "another")
    assert "The machine restarted (node last seen" in str(not_served(tmp_path))


def test_a_node_that_ended_by_a_fault_says_which(tmp_path: Path) -> None:
    """In one line, bounded, and without what drives a terminal."""
    RunMark(tmp_path, "").fail("OSError: \x1b[31m" + "x" * 2 * REASON_CHARS_MAX)
    said = str(not_served(tmp_path))
    assert "): OSError: [31mxxx" in said
    assert len(said) < 2 * REASON_CHARS_MAX
    assert "\x1b" not in said


def test_the_next_run_replaces_what_was_told_of_the_last(tmp_path: Path) -> None:
    """A longer text leaves nothing behind a shorter one."""
    RunMark(tmp_path, "/a/long/path").fail("a reason")
    RunMark(tmp_path, "").end()
    assert last_run(tmp_path) is None


@pytest.mark.parametrize("text", ["{", "[]", "7", '{"pid": "x"}', "\x00" * 9])
def test_a_torn_note_still_tells_that_the_run_did_not_end(tmp_path: Path, text: str) -> None:
    """The power went as it was written."""
    (tmp_path / RUN_FILE).write_text(text)
    assert isinstance(not_served(tmp_path), NodeDiedError)


def test_a_state_that_cannot_be_written_hinders_no_node(tmp_path: Path) -> None:
    """It serves; only its end is not told."""
    mark = RunMark(tmp_path / "gone", "")
    mark.seen()
    mark.end()
    assert last_run(tmp_path / "gone") is None


def test_being_seen_moves_the_time(tmp_path: Path) -> None:
    """What is told of a killed node is when it was seen last, not when it began."""
    mark = RunMark(tmp_path, "")
    os.utime(tmp_path / RUN_FILE, (1, 1))
    mark.seen()
    run = last_run(tmp_path)
    assert run is not None
    assert run.seen_s > 1
    mark.end()
