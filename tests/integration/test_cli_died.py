"""Nodes that died, and folders that are not what they were: what people are told, what is done."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys

import pytest

from aiplatform.mesh_ide.api.locations import Locations, Place, read_place, write_place
from tests.integration.machines import (
    TIMEOUT_S,
    Machine,
    Machines,
    founded,
    joined,
    machines,
    wait_gone,
)

__all__ = ["machines"]

pytestmark = pytest.mark.timeout(120)

_FAULTY = """
import sys
from aiplatform.mesh_ide.cli import daemon, main
from aiplatform.mesh_ide.node.jobs_folder import FolderJobs
def observe(self, job):
    raise OSError(30, "Read-only file system", "planted")
    yield
FolderJobs.observe = observe
sys.exit(main.main() if sys.argv[1:] == ["up"] else daemon.main(sys.argv[1:]))
"""
"""A node that has a defect: the next save ends it."""


def place_of(machine: Machine) -> Place:
    """Return the one node of a machine."""
    (place,) = Locations.of(machine.environment, os.geteuid()).places()
    return place


def test_a_killed_node_is_told_by_every_verb_and_an_ended_one_by_none(machines: Machines) -> None:
    """With its log and the way to start it; a doctor counts it as a problem."""
    alpha = machines("alpha")
    alpha.run("init")
    log = place_of(alpha).state / "mesh.log"
    ready = alpha.run("up", "--detach")
    assert str(log) in ready.stderr
    pid = int(alpha.json("status")["pid"])
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    for verb in (["status"], ["sync"], ["history", "a"], ["down"], ["members"]):
        said = alpha.run(*verb, code=2).stderr
        assert "ended unexpectedly (node last seen 2" in said
        assert f"its log: {log}; `mesh up` starts it again" in said
    assert json.loads(alpha.run("status", "--json", code=2).stdout)["problem"]["code"] == (
        "node-died"
    )
    found = alpha.run("doctor", code=1)
    assert "ended unexpectedly" in found.stdout
    assert json.loads(alpha.run("up", "--detach", "--json").stdout)["result"]["log"] == str(log)
    alpha.run("down")
    assert "Nobody serves" in alpha.run("status", code=2).stderr
    assert "nothing to stop" in alpha.run("down", code=2).stderr


def test_a_node_that_ends_by_a_fault_leaves_the_reason(machines: Machines) -> None:
    """As the last line of its log, and in what the next command says."""
    alpha = machines("alpha")
    alpha.run("init")
    state = place_of(alpha).state
    reader, writer = os.pipe()
    node = subprocess.Popen(
        [sys.executable, "-c", _FAULTY, str(state), str(writer), "-1", "loopback", ""],
        env=alpha.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=(writer,),
    )
    os.close(writer)
    assert b'"problem":""' in os.read(reader, 65536)
    os.close(reader)
    alpha.write("a.txt", "a\n")
    assert node.wait(TIMEOUT_S) == 1
    last = (state / "mesh.log").read_text(encoding="utf-8").splitlines()[-1]
    assert "CRITICAL the node ended unexpectedly: OSError: [Errno 30] Read-only" in last
    assert "OSError: [Errno 30] Read-only file system" in alpha.run("status", code=2).stderr
    alpha.up()
    assert alpha.json("status")["files"] == 1


def test_a_node_in_a_terminal_that_ends_by_a_fault_says_so_last(machines: Machines) -> None:
    """Below the traceback, in one line; there is no log to name."""
    alpha = machines("alpha")
    alpha.run("init")
    node = subprocess.Popen(
        [sys.executable, "-c", _FAULTY, "up"],
        env=alpha.environment,
        cwd=alpha.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert node.stdout is not None
    assert "ready" in node.stdout.readline()
    alpha.write("a.txt", "a\n")
    _, said = node.communicate(timeout=TIMEOUT_S)
    assert node.returncode == 1
    assert "Traceback" in said
    last = said.splitlines()[-1]
    assert last.startswith("mesh: the node ended unexpectedly: OSError: [Errno 30] Read-only")
    told = alpha.run("status", code=2).stderr
    assert "): OSError: [Errno 30] Read-only file system: 'planted'; `mesh up` starts" in told


def test_a_node_that_is_refused_its_port_did_not_die(machines: Machines) -> None:
    """It never served, and whoever started it was told."""
    alpha = machines("alpha")
    alpha.run("init")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        alpha.run("up", "--detach", "--port", str(taken.getsockname()[1]), code=2)
    assert "Nobody serves" in alpha.run("status", code=2).stderr


def test_a_join_whose_port_is_taken_keeps_its_ticket(machines: Machines) -> None:
    """The same ticket joins with another port."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = machines("beta")
    ticket = alpha.json("share")["ticket"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        refused = beta.run("join", ticket, str(beta.folder), "-d", "--port", port, code=2).stderr
        assert f"port {port} is taken" in refused
        assert "--port" in refused
        assert "asking" not in refused
        assert len(alpha.json("members")["members"]) == 1
        beta.run("join", ticket, str(beta.folder), "-d", "--port", "0")
    beta.sync()
    assert beta.read("a.txt") == "a\n"


def test_a_new_folder_is_not_served_as_a_deleted_one(machines: Machines) -> None:
    """Its number on the disk is the deleted one's, as ext4 gives it at once."""
    alpha = founded(machines("alpha"), f_txt="f\n")
    beta = joined(machines("beta"), alpha)
    alpha.run("down")
    place = place_of(alpha)
    (alpha.folder / "f.txt").unlink()
    alpha.folder.rmdir()
    two = alpha.root / "two"
    two.mkdir()
    (two / "other.txt").write_text("private\n")
    said = json.loads((place.state / "place.json").read_text())
    said["inode"] = two.stat().st_ino  # whatever this disk gave it
    (place.state / "place.json").write_text(json.dumps(said))
    refused = alpha.run("up", "--detach", cwd=two, code=2).stderr
    assert "No workspace is at or above" in refused
    assert "is gone" in alpha.run("up", str(alpha.folder), cwd=alpha.root, code=3).stderr
    alpha.run("init", cwd=two)
    assert set(beta.files()) == {"f.txt"}


def test_a_workspace_that_was_moved_is_named_as_that(machines: Machines) -> None:
    """Where somebody begins another in it; a new folder at its old path is not taken for it."""
    alpha = machines("alpha")
    alpha.write("a.txt", "a\n")
    alpha.run("init")
    moved = alpha.root / "moved"
    alpha.folder.rename(moved)
    refused = alpha.run("init", cwd=moved, code=2).stderr
    assert f"it is the workspace rocket already, moved from {alpha.folder}" in refused
    inner = moved / "inner"
    inner.mkdir()
    assert f"it lies in {moved}, which is" in alpha.run("init", cwd=inner, code=2).stderr
    alpha.folder.mkdir()
    alpha.run("up", "--detach", cwd=moved)
    assert alpha.json("status", cwd=moved)["folder"] == str(moved)
    assert alpha.json("status", cwd=moved)["files"] == 1


def test_a_folder_that_was_made_anew_is_served_and_told(machines: Machines) -> None:
    """A backup put back to its path, once; what an older version registered is not doubted."""
    alpha = machines("alpha")
    for name in ("a.txt", "b.txt"):
        alpha.write(name, f"{name}\n")
    alpha.run("init")
    alpha.up()
    alpha.run("down")
    old = alpha.root / "old"
    alpha.folder.rename(old)
    alpha.folder.mkdir()
    for file in old.glob("*.txt"):
        alpha.write(file.name, file.read_text())
    assert "is not the folder that was served last" in alpha.run("up", "-d").stderr
    assert alpha.json("status")["files"] == 2
    alpha.run("down")
    assert "served last" not in alpha.run("up", "-d").stderr
    alpha.run("down")
    place = place_of(alpha)
    said = json.loads((place.state / "place.json").read_text())
    del said["birth_ns"]
    (place.state / "place.json").write_text(json.dumps(said))
    alpha.folder.rename(alpha.root / "older")
    alpha.folder.mkdir()
    assert "served last" not in alpha.run("up", "-d").stderr
    upgraded = read_place(place.state)
    assert upgraded is not None
    assert upgraded == write_place(place.state, place.folder, place.workspace, place.node)
    assert upgraded.birth_ns != 0
