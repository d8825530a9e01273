"""``git clean -fdx`` and its like in a served folder."""

from __future__ import annotations

import subprocess

import pytest

from tests.integration.machines import Machine, Machines, founded, joined, machines

__all__ = ["machines"]  # a fixture is found by its name in the module

pytestmark = pytest.mark.timeout(120)


def git(machine: Machine, *words: str) -> str:
    """Run git in a machine's folder; return what it said."""
    identity = ("-c", "user.name=ada", "-c", "user.email=ada@example.org")
    done = subprocess.run(
        ["git", *identity, *words],
        cwd=machine.folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_git_clean_takes_what_is_untracked_and_leaves_the_node_alone(machines: Machines) -> None:
    """The node's state is not in the folder: it goes on, and what went is in the recovery bin."""
    alpha = founded(
        machines("alpha"), a_txt="a\n", b_txt="b\n", c_txt="c\n", src__main_py="print()\n"
    )
    beta = joined(machines("beta"), alpha)
    git(alpha, "init", "-q")
    git(alpha, "add", "--all")
    git(alpha, "commit", "-q", "-m", "one")
    alpha.write("notes.txt", "not tracked\n")
    alpha.write(".gitignore", "build/\n")
    git(alpha, "add", ".gitignore")
    alpha.write("build/out.o", "ignored\n")
    alpha.sync()
    assert beta.read("notes.txt") == "not tracked\n"

    removed = git(alpha, "clean", "-fdx")
    assert "notes.txt" in removed
    assert "build/" in removed
    alpha.sync()
    beta.sync()
    assert not (beta.folder / "notes.txt").exists()
    assert git(alpha, "status", "--porcelain") == "A  .gitignore\n", "the folder is as git left it"

    alpha.run("restore", "notes.txt")
    alpha.write("a.txt", "a\nafter the cleaning\n")
    alpha.sync()
    beta.sync()
    assert beta.read("notes.txt") == "not tracked\n"
    assert beta.read("a.txt") == "a\nafter the cleaning\n"
    beta.write("b.txt", "b\nfrom beta\n")
    beta.sync()
    alpha.sync()
    assert alpha.read("b.txt") == "b\nfrom beta\n", "what comes is still written"
    assert alpha.json("status")["problems"] == []


def test_git_clean_while_nobody_serves_is_as_harmless(machines: Machines) -> None:
    """The next `up` finds key and history, and takes the cleaning for what it is: deletions."""
    alpha = founded(machines("alpha"), a_txt="a\n", b_txt="b\n", c_txt="c\n", d_txt="d\n")
    git(alpha, "init", "-q")
    git(alpha, "add", "--all")
    git(alpha, "commit", "-q", "-m", "one")
    alpha.write("notes.txt", "not tracked\n")
    alpha.sync()
    alpha.settle()
    alpha.run("down")
    git(alpha, "clean", "-fdx")
    alpha.up()
    alpha.sync()
    assert [file["path"] for file in alpha.json("restore", "--list")["files"]] == ["notes.txt"]
    alpha.run("restore", "notes.txt")
    alpha.sync()
    assert alpha.read("notes.txt") == "not tracked\n"
