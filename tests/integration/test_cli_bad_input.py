"""What goes wrong gets a clear message, a documented exit code, and loses nothing."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from tests.integration.machines import MESH, Machine, Machines, founded, joined, machines

__all__ = ["machines"]

pytestmark = pytest.mark.timeout(120)


def test_a_second_up_of_one_folder_names_who_serves_it(machines: Machines) -> None:
    """One node, one process."""
    alpha = founded(machines("alpha"))
    pid = alpha.json("status")["pid"]
    for words in (("up",), ("up", "--detach")):
        refused = alpha.run(*words, code=1).stderr
        assert f"by process {pid}" in refused
    assert alpha.json("status")["pid"] == pid


def test_tickets_that_are_wrong_used_expired_or_truncated_are_refused(machines: Machines) -> None:
    """Each with its own words; nothing is left behind, and the ticket that is good still works."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    good = alpha.json("share")["ticket"]
    brief = alpha.json("share", "--expires", "0.01s")["ticket"]
    beta = machines("beta")
    beta.folder.rmdir()
    words = ("--detach", "--name", "beta")
    assert "not a ticket" in beta.run("join", "hello", *words, cwd=beta.root, code=2).stderr
    cut = beta.run("join", good[:-20], *words, cwd=beta.root, code=2).stderr
    assert "cut off or was changed" in cut
    time.sleep(0.02)  # what is tested is that time passes
    expired = beta.run("join", brief, *words, cwd=beta.root, code=4).stderr
    assert "expired" in expired
    assert not beta.folder.exists()
    assert not list((beta.root / "state").glob("mesh/*")), "a refused key is not kept"
    beta.run("join", good, *words, cwd=beta.root)
    assert beta.folder.is_dir(), "named after the workspace"
    gamma = machines("gamma")
    used = gamma.run("join", good, str(gamma.folder), *words, code=4).stderr
    assert "joined with this ticket already" in used
    alpha.run("down")
    lost = machines("delta")
    unreachable = lost.run("join", good, str(lost.folder), *words, "--timeout", "2", code=3).stderr
    assert unreachable.count("\n") <= 2, "a message, not a traceback"


def test_a_port_in_use_is_named(machines: Machines) -> None:
    """A port that was asked for is taken or refused, never another one."""
    alpha = machines("alpha")
    alpha.run("init")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for words in (("--detach",), ()):
            refused = alpha.run("up", "--port", str(port), *words, code=2).stderr
            assert f"port {port} is taken" in refused


def test_no_workspace_no_node_and_bad_usage_each_have_their_code(machines: Machines) -> None:
    """Exit codes 2, and messages that say what to do next."""
    alpha = machines("alpha")
    assert "mesh init" in alpha.run("status", code=2).stderr
    alpha.run("init")
    assert "mesh up" in alpha.run("status", code=2).stderr
    assert "already" in alpha.run("init", code=2).stderr
    inner = alpha.folder / "inner"
    inner.mkdir()
    assert "lies in" in alpha.run("init", cwd=inner, code=2).stderr
    assert "nothing to stop" in alpha.run("down", code=2).stderr
    alpha.run("nonsense", code=2)
    alpha.run("status", "--nonsense", code=2)
    assert "no role" in founded(machines("beta")).run("share", "--role", "king", code=2).stderr


def test_a_folder_moved_away_under_a_node_deletes_nothing(machines: Machines) -> None:
    """The node says so and waits; back in place, it goes on."""
    alpha = founded(machines("alpha"), a_txt="a\n", b_txt="b\n")
    beta = joined(machines("beta"), alpha)
    away = alpha.root / "away"
    alpha.folder.rename(away)
    status = alpha.json("sync", "-C", str(away), cwd=alpha.root)
    assert not status["is_done"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        status = alpha.json("status", "-C", str(away), cwd=alpha.root)
        if status["problems"]:
            break
    assert "gone" in status["problems"][0]
    assert "`mesh down`" in status["problems"][0]
    refused = alpha.run("up", "--detach", cwd=away, code=1).stderr
    assert f"was moved to {away}" in refused
    assert "`mesh down` here, then `mesh up` here" in refused
    assert {"a.txt", "b.txt"} == set(beta.files())
    away.rename(alpha.folder)
    alpha.write("a.txt", "a again\n")
    alpha.sync()
    assert beta.read("a.txt") == "a again\n"


def test_a_folder_moved_under_a_node_goes_on_in_its_new_place(machines: Machines) -> None:
    """By the two commands that the message names."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    away = alpha.root / "away"
    alpha.folder.rename(away)
    alpha.run("down", cwd=away)
    alpha.run("up", "--detach", cwd=away)
    status = alpha.json("status", cwd=away)
    assert (status["folder"], status["files"], status["problems"]) == (str(away), 1, [])


def test_a_folder_moved_while_nobody_serves_it_is_found_again(machines: Machines) -> None:
    """The registry knows a folder by its inode too."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    alpha.run("down")
    moved = alpha.root / "moved"
    alpha.folder.rename(moved)
    refused = alpha.run("up", str(alpha.folder), "--detach", cwd=alpha.root, code=3).stderr
    assert "is gone: bring it back" in refused
    alpha.run("up", "--detach", cwd=moved)
    assert alpha.json("status", cwd=moved)["folder"] == str(moved)


def test_sync_names_who_is_missing_and_ends_with_124(machines: Machines) -> None:
    """An offline member has not got everything."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = joined(machines("beta"), alpha)
    beta.run("down")
    late = alpha.run("sync", "--wait", "--timeout", "0.5", code=124).stderr
    assert "beta is offline" in late
    alpha.sync("--online")


def test_ping_of_a_node_that_is_down_ends_with_3(machines: Machines) -> None:
    """Unreachable is its own exit code; an unknown name is wrong usage."""
    alpha = founded(machines("alpha"))
    beta = joined(machines("beta"), alpha)
    beta.run("down")
    assert "not reachable" in alpha.run("ping", "beta", code=3).stderr
    assert "nobody here is called" in alpha.run("ping", "nobody", code=2).stderr


def test_ping_of_a_node_that_has_just_frozen_says_that_no_answer_came(machines: Machines) -> None:
    """Its link is not known to be dead yet; the time that was asked for is over."""
    alpha = founded(machines("alpha"))
    beta = joined(machines("beta"), alpha)
    pid = beta.json("status")["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        said = alpha.run("ping", "beta", "--timeout", "0.3", code=124).stderr
    finally:
        os.kill(pid, signal.SIGCONT)
    assert said == "mesh: no answer from beta within 0.3 s: is it up (`mesh up` there)?\n"


def test_what_is_skipped_says_why(machines: Machines) -> None:
    """Secrets and ignored files stay at home."""
    alpha = founded(machines("alpha"), _gitignore="*.log\n", _env="KEY=1\n", x_log="log\n")
    skipped = {file["path"]: file["reason"] for file in alpha.json("skipped")["files"]}
    assert skipped.get(".env") == "secret"
    assert alpha.json("why", ".env")["state"] == "SKIPPED"
    assert alpha.json("why", "nothing.txt")["state"] == "UNKNOWN"


def test_public_certificates_replicate_and_no_private_key_follows_them(
    machines: Machines,
) -> None:
    """What was public and left stays with the others when the file becomes private here."""
    certificate = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
    private = certificate + "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"
    alpha = founded(machines("alpha"), a_txt="a\n")
    alpha.write("_vendor/certifi/cacert.pem", certificate)
    alpha.write("server.pem", certificate)
    alpha.write("home.pem", private)
    alpha.sync()
    beta = joined(machines("beta"), alpha)
    replicated = {"a.txt", "_vendor/certifi/cacert.pem", "server.pem"}
    assert set(beta.files()) == replicated
    alpha.write("server.pem", private)
    beta.write("home.pem", certificate)
    unwritten = alpha.run("sync", "--wait", "--timeout", "2", code=124).stderr
    assert "could not write 1 file: what stands at home.pem does not travel" in unwritten
    beta.run("sync")
    assert beta.read("server.pem") == certificate
    assert alpha.read("server.pem") == alpha.read("home.pem") == private
    why = alpha.json("why", "server.pem")
    assert why["state"] == "SKIPPED"
    assert "nothing but certificates and public keys" in why["explanation"]
    assert "keep the version that replicated before" in why["explanation"]
    assert "PRIVATE" not in beta.run("history", "server.pem").stdout + beta.read("home.pem")
    alpha.write("server.pem", certificate * 2)
    (alpha.folder / "home.pem").unlink()
    alpha.sync()
    assert beta.read("server.pem") == certificate * 2


def test_a_folder_and_what_lies_in_a_skipped_one_are_explained(machines: Machines) -> None:
    """Neither is unknown: the one counts its files, the other says which folder is skipped."""
    alpha = founded(machines("alpha"), src__a_py="1\n", src__b_py="2\n")
    alpha.write(".git/config", "[core]\n")
    alpha.write("src/x.pem", "-----BEGIN PRIVATE KEY-----\n")
    alpha.sync()
    inner = alpha.json("why", ".git/config")
    assert (inner["state"], "folder .git" in inner["explanation"]) == ("SKIPPED", True)
    for words, cwd in ((("src",), alpha.folder), ((".",), alpha.folder / "src")):
        folder = alpha.json("why", *words, cwd=cwd)
        assert (folder["path"], folder["state"]) == ("src", "FOLDER")
        assert "2 files, every member has all of them, 1 skipped" in folder["explanation"]
    assert alpha.json("why", ".")["state"] == "FOLDER"


def test_a_path_is_said_to_count_from_the_current_folder(machines: Machines) -> None:
    """Who types the path from the root inside a folder learns what was looked for, and why."""
    alpha = founded(machines("alpha"), src__a_py="1\n")
    said = alpha.run("history", "src/a.py", cwd=alpha.folder / "src", code=1).stderr
    assert "no file src/src/a.py, seen from the workspace's root" in said
    assert "counts from the current folder" in said


def test_a_name_that_is_not_utf_8_is_an_answer_or_an_error_for_every_verb(
    machines: Machines,
) -> None:
    """Never a traceback; as JSON too."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    name = os.fsdecode(b"na\xefve.txt")
    (alpha.folder / name).write_text("x", encoding="utf-8")
    alpha.sync()
    shown = "na\\xefve.txt"
    why = alpha.json("why", name)
    assert (why["path"], why["state"]) == (shown, "SKIPPED")
    for words, code in (
        (("history", name), 1),
        (("blame", name), 1),
        (("cat", name), 1),
        (("restore", name), 1),
        (("restore", f"{name}/"), 2),
        (("restore", "a.txt", "--to", name), 2),
        (("resolve", name, "alpha"), 1),
        (("snapshot", "create", name), 2),
        (("ping", name), 2),
    ):
        done = alpha.run(*words, "--json", code=code)
        assert shown in json.loads(done.stdout)["problem"]["message"], words
        assert done.stderr.startswith("mesh: "), words
    assert sorted(alpha.files()) == sorted(["a.txt", name])


def interrupted(machine: Machine, *words: str) -> tuple[int, str, str]:
    """Begin a command, press Ctrl-C once it waits; return its code, its data, its messages."""
    with subprocess.Popen(
        [*MESH, *words],
        env=machine.environment,
        cwd=machine.folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        # It sleeps in a call that waits (for its node, or for a socket) when it gets no further.
        used = -1.0
        while used != (used := cpu_s(waiting.pid)) or used < 0.05:
            time.sleep(0.3)
        waiting.send_signal(signal.SIGINT)
        printed, said = waiting.communicate(timeout=20)
        return waiting.returncode, printed, said


def cpu_s(pid: int) -> float:
    """Return how much processor time a process used (proc(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_what_is_interrupted_while_it_waits_says_what_goes_on(machines: Machines) -> None:
    """`sync --wait` and `join` end with 130, a line for people, and nothing half done."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = joined(machines("beta"), alpha)
    ticket = alpha.json("share")["ticket"]
    beta.run("down")
    goes_on = "no longer waiting; the node goes on by itself\n"
    assert interrupted(alpha, "sync", "--wait") == (130, "", goes_on)
    code, printed, said = interrupted(alpha, "sync", "--wait", "--json")
    assert (code, said) == (130, goes_on)
    assert json.loads(printed)["problem"]["code"] == "interrupted"
    alpha.run("down")
    gamma = machines("gamma")
    new = str(gamma.root / "new")
    code, _, said = interrupted(gamma, "join", ticket, new, "--timeout", "60")
    assert code == 130
    assert "the same command goes on, with the same ticket" in said
    assert not Path(new).exists()
    alpha.up()
    gamma.run("join", ticket, new, "--name", "gamma", "--detach")
    gamma.run("sync", "--wait", "--online", "--timeout", "20", cwd=Path(new))
    assert Path(new, "a.txt").read_text() == "a\n"


def test_a_snapshot_is_named_as_people_type_it(machines: Machines) -> None:
    """`snapshot create NAME` and `--name NAME` mean the same."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    alpha.run("snapshot", "create", "first")
    alpha.write("a.txt", "b\n")
    alpha.sync()
    alpha.run("snapshot", "create", "--name", "second")
    kept = alpha.json("snapshot", "list")["snapshots"]
    assert sorted(name for one in kept for name in one["names"]) == ["first", "second"]
