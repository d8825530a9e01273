"""Two real processes and one folder, by the command line alone."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from tests.integration.machines import Machine, Machines, founded, joined, machines, wait_gone

__all__ = ["machines"]  # a fixture is found by its name in the module

pytestmark = pytest.mark.timeout(120)


def both(one: Machine, two: Machine) -> None:
    one.sync()
    two.sync()
    assert one.files() == two.files()


def test_an_edit_on_either_side_is_on_the_other_and_two_at_once_are_merged(
    machines: Machines,
) -> None:
    """Join with a ticket, edit here, there, and in one file on both sides at once."""
    alpha = founded(
        machines("alpha"), README_md="# Rocket\n\nIt flies.\n", src__main_py="print()\n"
    )
    beta = joined(machines("beta"), alpha)
    assert beta.read("README.md") == "# Rocket\n\nIt flies.\n"
    alpha.settle()
    beta.settle()
    alpha.write("README.md", "# Rocket\n\nIt flies.\nHigh.\n")
    beta.write("README.md", "# A rocket\n\nIt flies.\n")
    beta.write("src/new.py", "new = True\n")
    both(alpha, beta)
    assert alpha.read("README.md") == "# A rocket\n\nIt flies.\nHigh.\n"
    assert alpha.read("src/new.py") == "new = True\n"

    history = beta.json("history", "README.md")
    assert [history["versions"][0]["version"], history["versions"][-1]["version"]] == [3, 1] or (
        {v["version"] for v in history["versions"]} == {1, 2}
    ), "two saves after the first one, in a row or apart"
    assert {"alpha", "beta"} == {version["node"] for version in history["versions"]}

    blame = alpha.json("blame", "README.md")["lines"]
    assert [(line["text"], line["node"]) for line in blame if line["text"]] == [
        ("# A rocket", "beta"),
        ("It flies.", "alpha"),
        ("High.", "alpha"),
    ]

    status = alpha.json("status")
    assert status["is_synced"]
    assert [peer["state"] for peer in status["peers"]] == ["online"]
    assert alpha.json("status")["heads"] == beta.json("status")["heads"]
    ping = alpha.json("ping", "beta", "--count", "2")
    assert ping["received"] == 2
    assert 0 < ping["rtt_ms_min"] < 1000
    why = alpha.json("why", "README.md")
    assert why["state"] == "SYNCED"
    assert [replica["has_it"] for replica in why["replicas"]] == [True]


def test_offline_edits_on_both_sides_are_merged_when_they_meet(machines: Machines) -> None:
    """Stop one node, edit both folders, start it again."""
    alpha = founded(machines("alpha"), a_txt="one\ntwo\nthree\n", b_txt="b\n")
    beta = joined(machines("beta"), alpha)
    alpha.settle()
    beta.settle()
    beta.run("down")
    alpha.write("a.txt", "ONE\ntwo\nthree\n")
    beta.write("a.txt", "one\ntwo\nTHREE\n")
    (beta.folder / "b.txt").rename(beta.folder / "c.txt")
    beta.up()
    both(alpha, beta)
    assert alpha.read("a.txt") == "ONE\ntwo\nTHREE\n"
    assert {"a.txt", "c.txt"} == set(alpha.files())


def test_a_killed_node_goes_on_where_it_was(machines: Machines) -> None:
    """``kill -9`` leaves a socket behind; the next ``up`` replaces it and nothing is lost."""
    alpha = founded(machines("alpha"), a_txt="one\n")
    beta = joined(machines("beta"), alpha)
    beta.write("a.txt", "one\ntwo\n")
    both(alpha, beta)
    pid = beta.json("status")["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_gone(pid)
    assert "`mesh up` starts it again" in beta.run("status", code=2).stderr
    beta.write("a.txt", "one\ntwo\nthree\n")
    beta.up()
    both(alpha, beta)
    assert alpha.read("a.txt") == "one\ntwo\nthree\n"


def test_a_deleted_file_and_an_old_version_come_back(machines: Machines) -> None:
    """Restores are new versions, on every node, whoever still has the content."""
    alpha = founded(machines("alpha"), a_txt="first\n", gone_txt="precious\n")
    beta = joined(machines("beta"), alpha)
    alpha.write("a.txt", "second\n")
    (beta.folder / "gone.txt").unlink()
    both(alpha, beta)
    assert [file["path"] for file in alpha.json("restore", "--list")["files"]] == ["gone.txt"]
    assert "gone.txt" in alpha.run("restore", "--list", "gone.txt").stdout
    assert alpha.run("restore", "--list", "src/").stdout == "nothing was deleted\n"
    assert alpha.run("cat", "gone.txt").stdout == "precious\n"
    beta.run("restore", "gone.txt")
    alpha.run("restore", "a.txt", "--version", "1")
    both(alpha, beta)
    assert alpha.files() == {"a.txt": b"first\n", "gone.txt": b"precious\n"}
    assert alpha.run("restore", "a.txt", code=1).stderr.startswith("mesh: a.txt is not deleted")
    assert "no version 99" in alpha.run("restore", "a.txt", "--version", "99", code=1).stderr


def test_a_deleted_folder_comes_back_with_one_word(machines: Machines) -> None:
    """All that was deleted in it, in folders inside it too, and nothing beside it."""
    files = {"docs__a_md": "a\n", "docs__deep__b_md": "b\n", "docsy_md": "not in docs\n"}
    alpha = founded(machines("alpha"), **files, x_txt="x\n", y_txt="y\n", z_txt="z\n")
    beta = joined(machines("beta"), alpha)
    before = alpha.files()
    shutil.rmtree(alpha.folder / "docs")
    (alpha.folder / "docsy.md").unlink()
    both(alpha, beta)
    hint = beta.run("restore", "docs", code=2).stderr
    assert "`mesh restore docs/` brings back the 2 deleted files" in hint
    assert "for one file" in beta.run("restore", "docs/", "--version", "1", code=2).stderr
    done = beta.json("restore", "docs/")
    assert (done["restored"], done["failed"]) == (["docs/a.md", "docs/deep/b.md"], {})
    both(alpha, beta)
    del before["docsy.md"]
    assert alpha.files() == before
    assert "no deleted file lies below docs/" in beta.run("restore", "docs/", code=2).stderr


def test_all_that_was_deleted_comes_back_with_one_word(machines: Machines) -> None:
    """However the root is spelled, and from wherever; what stands there now is left as it is."""
    alpha = founded(machines("alpha"), a_txt="a\n", docs__b_md="b\n", docs__deep__c_md="c\n")
    alpha.write("stays.txt", "stays\n")
    alpha.sync()
    root, docs = alpha.folder, alpha.folder / "docs"
    everything = {"a.txt", "docs/b.md", "docs/deep/c.md"}
    assert "below the workspace" in alpha.run("restore", "./", code=2).stderr
    for words, cwd, expected in (
        (".", root, everything),
        ("./", root, everything),
        ("/", docs, everything),
        (str(root), root, everything),
        (f"{root}/", root, everything),
        ("..", docs, everything),
        ("../", docs, everything),
        ("docs/..", root, everything),
        (".", docs, everything - {"a.txt"}),
        ("deep/", docs, {"docs/deep/c.md"}),
        ("./", docs, {"docs/b.md"}),
        ("/", root, {"a.txt"}),
    ):
        for path in everything if expected == everything else expected & set(alpha.files()):
            (alpha.folder / path).unlink()
        alpha.sync()
        done = alpha.json("restore", words, cwd=cwd)
        assert (set(done["restored"]), done["failed"]) == (expected, {}), (words, cwd)
        alpha.sync()
    outside = alpha.run("restore", "../", code=2).stderr
    assert "../ is not in the workspace: `/` is the whole workspace" in outside


def test_conflicts_are_listed_resolved_and_can_be_undone(machines: Machines) -> None:
    """Two versions of a binary, and two files of one name."""
    alpha = founded(machines("alpha"))
    (alpha.folder / "logo.bin").write_bytes(b"\0first")
    beta = joined(machines("beta"), alpha)
    alpha.settle()
    beta.settle()
    beta.run("down")
    (alpha.folder / "logo.bin").write_bytes(b"\0alpha")
    (beta.folder / "logo.bin").write_bytes(b"\0beta")
    alpha.write("same.txt", "of alpha\n")
    beta.write("same.txt", "of beta\n")
    beta.up()
    both(alpha, beta)
    conflicts = beta.json("conflicts")["conflicts"]
    assert [(conflict["path"], conflict["kind"]) for conflict in conflicts] == [
        ("logo.bin", "versions"),
        ("same.txt", "files"),
    ]
    assert alpha.run("conflicts", "--check", code=5).stdout
    assert "choose among" in alpha.run("resolve", "logo.bin", "nobody", code=2).stderr
    undo = alpha.json("resolve", "logo.bin", "beta")["undo"]
    undo_files = alpha.json("resolve", "same.txt", "alpha")["undo"]
    both(alpha, beta)
    assert beta.files() == {"logo.bin": b"\0beta", "same.txt": b"of alpha\n"}
    assert beta.json("conflicts")["conflicts"] == []
    alpha.run(*undo.split()[1:])
    both(alpha, beta)
    assert beta.files()["logo.bin"] == b"\0alpha"
    beta.run(*undo_files.split()[1:])
    both(alpha, beta)
    (again,) = alpha.json("conflicts")["conflicts"]
    assert again["sides"][0]["id"] in {side["id"] for side in conflicts[1]["sides"]}
    assert {side["node"] for side in again["sides"]} == {"alpha", "beta"}


def test_a_file_that_became_a_folder_elsewhere_is_told_and_both_can_be_kept(
    machines: Machines,
) -> None:
    """Made apart; it leaves its own folder, so every verb on every node says where it is."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = joined(machines("beta"), alpha)
    alpha.settle()
    beta.settle()
    beta.run("down")
    alpha.write("d1/x", "in the folder\n")
    beta.write("d1", "of beta\n")
    beta.up()
    both(alpha, beta)
    assert beta.files() == {"a.txt": b"a\n", "d1/x": b"in the folder\n"}
    for one in (alpha, beta):
        listed = one.run("conflicts", "--check", code=5)
        assert "d1: a folder, and a file of this name that waits beside it" in listed.stdout
        assert "1 conflict needs a decision" in listed.stderr
        assert "1 conflict (mesh conflicts)" in one.run("status").stdout
        assert one.json("status")["files"] == 2
        why = one.run("why", "d1").stdout
        assert "d1: CONFLICT" in why
        assert "a folder of this name stands there" in why
        assert one.run("cat", "d1").stdout == "of beta\n"
    undo = alpha.run("resolve", "../d1", "folder", cwd=alpha.folder / "d1").stderr
    assert f"Undo (in {alpha.folder}): mesh restore d1 --version " in undo
    alpha.run(*undo.rpartition("mesh ")[2].split())
    beta.sync()
    assert "choose among folder, " in beta.run("resolve", "d1", "beta", code=2).stderr
    beta.run("resolve", "d1", "alpha", "--to", "d1.txt")  # who brought it back wrote it last
    both(alpha, beta)
    assert alpha.files()["d1.txt"] == b"of beta\n"
    assert alpha.run("conflicts").stdout == "no conflicts\n"


def test_a_mass_deletion_is_held_until_somebody_decides(machines: Machines) -> None:
    """Reject brings the files back, release deletes them everywhere."""
    alpha = founded(machines("alpha"), **{f"f{n}_txt": f"{n}\n" for n in range(20)})
    beta = joined(machines("beta"), alpha)
    before = beta.files()
    for path in list(alpha.files()):
        (alpha.folder / path).unlink()
    alpha.sync()
    holds = alpha.json("held")["holds"]
    assert [len(hold["paths"]) for hold in holds] == [20]
    assert beta.files() == before
    alpha.run("reject", str(holds[0]["id"]))
    both(alpha, beta)
    assert alpha.files() == before
    for path in list(alpha.files()):
        (alpha.folder / path).unlink()
    alpha.sync()
    alpha.run("release", str(alpha.json("held")["holds"][0]["id"]))
    both(alpha, beta)
    assert beta.files() == {}
    assert "no hold 77" in alpha.run("release", "77", code=1).stderr


def test_what_a_reader_changes_stays_and_nobody_waits_for_it(machines: Machines) -> None:
    """It is told at once, for the node and for the file; made an editor, its changes travel."""
    alpha = founded(machines("alpha"), a_txt="a\n", b_txt="b\n")
    gamma = joined(machines("gamma"), alpha, "--role", "read")
    (alpha.folder / "logo.bin").write_bytes(b"\0first")
    alpha.sync()
    gamma.settle()
    gamma.write("a.txt", "gamma\n")
    gamma.write("new.txt", "gamma\n")
    (gamma.folder / "logo.bin").write_bytes(b"\0gamma")
    said = gamma.json("sync", "--wait", "--timeout", "20")
    assert (said["is_done"], said["staying"], said["lacking"]) == (True, 3, [])
    assert "every member has everything else; this node has the role read" in said["message"]
    for path, state in (("a.txt", "LOCAL"), ("new.txt", "LOCAL"), ("b.txt", "SYNCED")):
        assert gamma.json("why", path)["state"] == state, path
    why = gamma.json("why", "a.txt")["explanation"]
    assert "stays here" in why
    assert "`mesh members role gamma edit`" in why
    assert "3 changed here, which stay here" in gamma.json("why", ".")["explanation"]
    (alpha.folder / "logo.bin").write_bytes(b"\0alpha")
    alpha.sync()  # gamma has this too, beside its own: nobody waits for what nobody takes
    assert alpha.json("why", "logo.bin")["state"] == "SYNCED"
    status = gamma.json("status")
    assert (status["is_synced"], status["staying"]) == (True, 3)
    assert "synced: every member has everything else" in gamma.run("status").stdout
    listed = gamma.run("conflicts").stdout
    assert "logo.bin" in listed
    assert "mesh resolve" not in listed
    assert "role read and cannot decide: ask an admin" in listed
    alpha.run("members", "role", "gamma", "edit")
    gamma.sync()
    assert alpha.read("new.txt") == "gamma\n"
    assert "mesh resolve logo.bin" in gamma.run("conflicts").stdout


def test_what_a_reader_deletes_moves_and_brings_back_is_told_as_what_stays(
    machines: Machines,
) -> None:
    """Each verb says that it stays here; a restore is a change like any other."""
    alpha = founded(machines("alpha"), a_txt="a\n", b_txt="b\n", util_py="x\n")
    gamma = joined(machines("gamma"), alpha, "--role", "read")
    gamma.settle()
    (gamma.folder / "util.py").rename(gamma.folder / "utilities.py")
    said = gamma.json("sync", "--wait", "--timeout", "20")
    assert (said["staying"], said["is_tree_staying"]) == (0, True)
    state = gamma.run("status").stdout
    assert "synced: every member has everything else; names or places changed here" in state
    why = gamma.json("why", "utilities.py")["explanation"]
    assert "it may stand at another path there: this node has the role read" in why
    assert alpha.json("why", "util.py")["explanation"] == (
        "Every member has this version on its disk."
    ), "to the others it is nobody's concern"
    (gamma.folder / "b.txt").unlink()
    gamma.sync()
    why = gamma.run("why", "b.txt").stdout
    assert (
        "It was deleted here. This node has the role read: what is changed here stays here" in why
    )
    restored = gamma.run("restore", "b.txt").stdout
    assert "b.txt is version" in restored
    assert "stays here, until an admin allows it" in restored
    gamma.sync()
    assert gamma.read("b.txt") == "b\n"
    assert gamma.json("why", "b.txt")["state"] == "LOCAL"
    alpha.run("down")
    status = gamma.json("status")
    assert (status["staying"], status["is_tree_staying"]) == (1, True), "with nobody linked too"
    alpha.up()
    said = alpha.run("members", "role", "gamma", "edit").stdout
    assert "what it changed so far, which stayed with it, goes to everybody now" in said
    both(alpha, gamma)
    assert set(alpha.files()) == {"a.txt", "b.txt", "utilities.py"}
    assert "so far" not in alpha.run("members", "role", "gamma", "admin").stdout


def test_a_reader_cannot_release_a_mass_deletion(machines: Machines) -> None:
    """The words are true, and an admin's word about its role deletes nothing by itself."""
    alpha = founded(machines("alpha"), **{f"f{n}_txt": f"{n}\n" for n in range(20)})
    gamma = joined(machines("gamma"), alpha, "--role", "read")
    before = alpha.files()
    for path in list(gamma.files()):
        (gamma.folder / path).unlink()
    gamma.sync()
    held = gamma.run("held").stdout
    assert "mesh release" not in held
    assert "this node has the role read and may not delete files everywhere" in held
    assert "may not delete files everywhere" in gamma.run("release", "1", code=4).stderr
    alpha.run("members", "role", "gamma", "edit")
    gamma.sync()
    assert alpha.files() == before
    assert gamma.files() == {}
    assert "mesh release 1" in gamma.run("held").stdout
    gamma.run("release", "1")
    both(alpha, gamma)
    assert alpha.files() == {}


def test_members_that_are_away_are_named(machines: Machines) -> None:
    """Waiting for those that are online says nothing of the others."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = joined(machines("beta"), alpha)
    beta.run("down")
    alpha.write("b.txt", "b\n")
    said = alpha.json("sync", "--wait", "--online", "--timeout", "20")
    assert said["is_done"]
    assert said["offline"] == ["beta"]
    assert said["message"] == ("every member that is online (0 of 1) has everything; offline: beta")


def test_leaving_right_after_joining_or_starting_dials_first(machines: Machines) -> None:
    """A node that has just begun to serve knows nobody yet; that is no reason to refuse."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    ticket = alpha.json("share")["ticket"]
    beta = machines("beta")
    beta.json("join", ticket, str(beta.folder), "--name", "beta", "--detach")
    assert "has left" in beta.run("leave").stdout
    assert [member["label"] for member in alpha.json("members")["members"]] == ["alpha"]


def test_two_machines_that_both_moved_meet_again_by_a_ticket(machines: Machines) -> None:
    """Neither knows where the other is now; the ticket is not used up, a wrong one is refused."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = joined(machines("beta"), alpha)
    both(alpha, beta)
    for machine in (alpha, beta):
        machine.run("down")
    for machine in (alpha, beta):
        machine.move()
        machine.up()
    beta.write("b.txt", "b\n")
    ticket = alpha.json("share")["ticket"]
    assert "linked with alpha" in beta.run("join", ticket, ".").stdout
    both(alpha, beta)
    assert alpha.read("b.txt") == "b\n"
    other = founded(machines("other"), c_txt="c\n")
    refused = beta.run("join", other.json("share")["ticket"], ".", code=2).stderr
    assert "is the workspace rocket already, and the ticket is for" in refused
    beta.run("down")
    assert "Nobody serves" in beta.run("join", ticket, ".", code=2).stderr


def test_a_removed_member_learns_how_to_come_back(machines: Machines) -> None:
    """The commands that `mesh status` names work, in the same folder."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = joined(machines("beta"), alpha)
    alpha.run("members", "remove", "beta")
    deadline_s = time.monotonic() + 20
    while not (problems := beta.json("status")["problems"]):
        assert time.monotonic() < deadline_s, beta.log()
    assert "`mesh leave`, then `mesh join TICKET .`" in problems[0]
    deadline_s = time.monotonic() + 20
    while "not a member" not in (said := beta.run("ping", "alpha", code=3).stderr):
        assert time.monotonic() < deadline_s, said
    assert "UDP" not in said, "it answered: nothing is wrong with the way there"
    refused = beta.run("sync", "--wait", "--timeout", "20", code=4).stderr
    assert "no longer a member" in refused, "there is nobody to wait for"
    assert "no member of" in beta.run("leave").stdout
    assert "mesh join TICKET" in beta.run("up", code=2).stderr
    beta.write("b.txt", "b\n")
    beta.run("join", alpha.json("share")["ticket"], ".", "--name", "beta", "--detach")
    both(alpha, beta)
    assert alpha.read("b.txt") == "b\n"


def test_members_change_roles_leave_and_are_removed(machines: Machines) -> None:
    """Roles hold, a node that left is no member, a removed one is refused."""
    alpha = founded(machines("alpha"), a_txt="a\n")
    beta = joined(machines("beta"), alpha)
    gamma = joined(machines("gamma"), alpha, "--role", "read")
    assert {member["label"]: member["role"] for member in alpha.json("members")["members"]} == {
        "alpha": "admin",
        "beta": "edit",
        "gamma": "read",
    }
    assert "only admins" in beta.run("share", code=4).stderr
    assert "may not" in gamma.run("resolve", "a.txt", "beta", code=4).stderr
    alpha.run("members", "role", "gamma", "edit")
    gamma.write("a.txt", "a\ngamma\n")
    gamma.sync()
    assert beta.read("a.txt") == "a\ngamma\n"
    gamma.run("leave")
    gamma.run("status", code=2)
    assert gamma.read("a.txt") == "a\ngamma\n"
    alpha.run("members", "remove", "beta")
    assert [member["label"] for member in alpha.json("members")["members"]] == ["alpha"]
    alpha.write("a.txt", "secret\n")
    alpha.sync()
    assert beta.read("a.txt") == "a\ngamma\n"
    assert "last admin" in alpha.run("members", "role", "alpha", "edit", code=2).stderr
    assert "only member" in alpha.run("leave", code=2).stderr


def test_verbs_understand_paths_as_they_are_typed(machines: Machines) -> None:
    """From a folder inside, absolute, and through a link to the workspace."""
    alpha = founded(machines("alpha"), src__main_py="print()\n")
    link = alpha.root / "link"
    link.symlink_to(alpha.folder)
    for cwd, path in (
        (alpha.folder / "src", "main.py"),
        (alpha.folder / "src", "../src/main.py"),
        (alpha.root, str(alpha.folder / "src" / "main.py")),
        (link / "src", "main.py"),
    ):
        words = ("-C", str(alpha.folder)) if cwd == alpha.root else ()
        assert alpha.json("why", path, *words, cwd=cwd)["path"] == "src/main.py"


def test_the_shell_completes_verbs(machines: Machines) -> None:
    """What `mesh --install-completion` sets up asks the program itself."""
    alpha = machines("alpha")
    alpha.environment |= {
        "_MESH_COMPLETE": "complete_bash",
        "COMP_WORDS": "mesh st",
        "COMP_CWORD": "1",
    }
    assert alpha.run().stdout.split() == ["status"]
