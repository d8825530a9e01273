"""The command line by itself: parsing, printing, help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, cast

import pytest
from msgspec.structs import replace
from typer.testing import CliRunner

from aiplatform.mesh_ide.api import answers, requests
from aiplatform.mesh_ide.api.client import ControlClient
from aiplatform.mesh_ide.api.control import CalledError, Problem
from aiplatform.mesh_ide.cli import app, main, present, quick, verbs_history, verbs_looking
from aiplatform.mesh_ide.cli.output import safe, table
from aiplatform.mesh_ide.cli.verbs_belonging import BadDurationError, seconds_of

_HEAVY = (
    "asyncio", "typer", "rich", "pydantic", "iroh", "loro", "apsw", "cryptography", "blake3",
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("status", ("", False)),
        ("status --json", ("", True)),
        ("-C /x status", ("/x", False)),
        ("status -C /x --json", ("/x", True)),
        ("status --folder /x", ("/x", False)),
        ("status --help", None),
        ("status -C", None),
        ("-C --json status", None),
        ("status status", None),
        ("peers", None),
        ("why status", None),
        ("--version status", None),
    ],
)
def test_only_the_plain_forms_of_status_take_the_short_way(
    words: str, expected: tuple[str, bool] | None
) -> None:
    """Whatever looks otherwise goes to the parser of all verbs."""
    assert main._plain_status(words.split()) == expected


def test_status_imports_nothing_of_a_node_and_no_parser() -> None:
    """What makes it answer within a quarter of a second."""
    code = (
        "import sys; sys.argv = ['mesh', 'status', '-C', '/']\n"
        "from aiplatform.mesh_ide.cli.main import main\n"
        "assert main() == 2\n"
        f"print([name for name in {_HEAVY!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "mesh init" in done.stderr


@pytest.mark.parametrize("verb", app._VERBS)
def test_every_verb_has_help_with_an_example_and_json(verb: str) -> None:
    """One sentence, one example, the options that all have."""
    said = CliRunner().invoke(app.app, [verb, "--help"]).output
    assert "Usage:" in said
    if "COMMAND [ARGS]" not in said:
        assert "Example: " in said
        assert "--json" in said
        assert "-C" in said


def mesh(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program where no node ever was."""
    return subprocess.run(
        [sys.executable, "-m", "aiplatform.mesh_ide.cli.main", *words],
        env=os.environ | {"XDG_STATE_HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("verb", ["status", "peers", "conflicts --check", "ping desk"])
def test_a_failure_with_json_is_json_too(tmp_path: Path, verb: str) -> None:
    """One record on stdout that says code and reason; the words for people stay on stderr."""
    done = mesh(tmp_path, *verb.split(), "--json")
    said = json.loads(done.stdout)
    assert said["schema"] == 1
    assert (said["problem"]["code"], said["problem"]["exit_code"]) == ("usage", 2)
    assert done.returncode == 2
    assert done.stderr == f"mesh: {said['problem']['message']}\n"
    assert mesh(tmp_path, *verb.split()).stdout == ""


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("release", "Missing argument 'HOLD'"),
        ("release x", "HOLD"),
        ("members role", "Missing argument 'NODE'"),
        ("nonsense", "No such command 'nonsense'"),
        ("peers --nonsense", "No such option: --nonsense"),
        ("status --nonsense", "No such option: --nonsense"),
        ("up --port -1", "--port"),
    ],
)
def test_wrong_usage_with_json_is_json_too(tmp_path: Path, words: str, reason: str) -> None:
    """What the parser refuses is told as any other failure; without --json stdout is empty."""
    done = mesh(tmp_path, *words.split(), "--json")
    problem = json.loads(done.stdout)["problem"]
    assert (problem["code"], problem["exit_code"], done.returncode) == ("usage", 2, 2)
    assert reason in problem["message"]
    assert "Usage: mesh" in done.stderr
    plain = mesh(tmp_path, *words.split())
    assert (plain.stdout, plain.stderr, plain.returncode) == ("", done.stderr, 2)


@pytest.mark.parametrize("words", [["status"], ["peers"]])
def test_an_interruption_with_json_is_json_too(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also on the short way of `status`; without --json stdout stays empty."""

    def press(_word: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(quick, "connect", press)
    monkeypatch.setattr(verbs_looking, "connect", press)
    for flags, expected in (([], None), (["--json"], ("interrupted", 130))):
        monkeypatch.setattr(sys, "argv", ["mesh", *words, *flags])
        assert main.main() == 130
        out = capsys.readouterr().out
        problem = json.loads(out)["problem"] if out else None
        assert (problem and (problem["code"], problem["exit_code"])) == expected


def test_a_ping_that_is_interrupted_sums_up_what_it_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the ping that everybody knows."""

    class Node:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def stream(self, *_: object) -> Iterator[answers.PingRound]:
            yield answers.PingRound(1, 2.0)
            yield answers.PingRound(2, None)
            yield answers.PingRound(3, 4.0)
            raise KeyboardInterrupt

    monkeypatch.setattr(verbs_looking, "connect", lambda _word: Node())
    with pytest.raises(KeyboardInterrupt):
        verbs_looking.ping("desk", 10)
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "desk: 2 of 3 answered; min 2.0 ms, avg 3.0 ms, max 4.0 ms"


def test_help_and_version_end_well(tmp_path: Path) -> None:
    """They are no failure, though the parser stops early; the port's help names what can be typed.

    The number that stands for "any" inside is nobody's to type.
    """
    said = mesh(tmp_path, "up", "--help")
    assert (said.returncode, "0<=x<=65535" in said.stdout) == (0, True)
    assert mesh(tmp_path, "--version").returncode == 0


def test_an_answer_is_not_followed_by_a_problem() -> None:
    """`doctor --json` prints what it found and fails: one record, not two."""
    code = (
        "import sys; sys.argv = ['mesh', 'doctor', '--json']\n"
        "from aiplatform.mesh_ide.cli import output\n"
        "from aiplatform.mesh_ide.model.errors import ConflictError\n"
        "output.print_json('doctor', {'checks': []})\n"
        "output.print_problem(ConflictError('one problem'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"schema": 1, "verb": "doctor", "result": {"checks": []}}


def test_a_mistyped_verb_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    """Among all verbs, not only those that were imported."""
    done = mesh(tmp_path, "confilcts")
    assert done.returncode == 2
    assert "Did you mean 'conflicts'?" in done.stderr


@pytest.mark.parametrize(
    ("text", "expected"), [("30", 30), ("30s", 30), ("2m", 120), ("1.5h", 5400), ("7D", 604_800)]
)
def test_durations_are_read_as_people_write_them(text: str, expected: float) -> None:
    """Seconds, minutes, hours, days, weeks."""
    assert seconds_of(text) == expected


@pytest.mark.parametrize("text", ["", "soon", "-1h", "1y", "1h30", "9" * 20])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """With an example of one."""
    with pytest.raises(BadDurationError, match="24h"):
        seconds_of(text)


def test_names_cannot_drive_the_terminal() -> None:
    """Control characters are shown, not sent."""
    assert safe("a\x1b[31mb\n") == "a\\x1b[31mb\\x0a"
    assert "\x1b" not in table(("NAME",), [("\x1b]0;title\x07",)])


def test_deleted_files_are_listed_for_a_file_or_a_folder() -> None:
    """A name that only begins alike is another one; the root has all."""
    found = answers.Deleted(
        tuple(
            answers.DeletedFile(path, "ab" * 16, 1, "ann", "desk", 1)
            for path in ("docs", "docs/a", "docs/deep/b", "docsy", "x")
        )
    )

    def below(path: str) -> list[str]:
        return [file.path for file in verbs_history._listed(found, path).files]

    assert below("docs/") == below("docs") == ["docs", "docs/a", "docs/deep/b"]
    assert below("docs/deep/b") == ["docs/deep/b"]
    assert below(".") == below("") == ["docs", "docs/a", "docs/deep/b", "docsy", "x"]
    assert below("nothing") == []


def test_a_path_that_is_in_use_again_is_left_alone_and_counted(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of many that come back it is no failure; what cannot come is one, and stops no other."""
    asked: list[str] = []

    class Node:
        def call(self, request: object) -> object:
            if isinstance(request, requests.AskDeleted):
                names = ("a", "b", "used", "z")
                return answers.Deleted(
                    tuple(
                        answers.DeletedFile(n, "ab" * 16, 1, "ann", "desk", 1, n == "used")
                        for n in names
                    )
                )
            assert isinstance(request, requests.AskRestore)
            asked.append(request.path)
            if request.path == "b":
                raise CalledError(Problem(1, "failed", 1, "its content is nowhere"))
            return None

    with pytest.raises(verbs_history.NotAllRestoredError, match="1 file in the workspace"):
        verbs_history._restore_below(cast("ControlClient", Node()), ".", as_json=False)
    said = capsys.readouterr()
    assert (asked, said.out) == (["a", "b", "z"], "a\nz\n")
    assert said.err.splitlines() == [
        "2 files are back in the workspace",
        "1 path is in use again and left alone: see `mesh restore --list`",
        "b: its content is nowhere",
    ]


def test_the_star_of_a_conflict_is_explained_once() -> None:
    """It marks the side that stands in the folder."""
    sides = (replace(side("aa" * 16, "x"), is_on_disk=True), side("bb" * 16, "y"))
    both = (answers.Conflict("a", "files", sides), answers.Conflict("b", "files", sides))
    said = present.conflicts(answers.Conflicts(both)).splitlines()
    assert [line for line in said if "* is" in line] == ["(* is what stands in the folder now)"]


def side(identifier: str, node: str) -> answers.ConflictSide:
    """Return a side of a conflict."""
    return answers.ConflictSide(identifier, "ann", node, 1, 3, is_on_disk=False, is_text=True)


def test_the_commands_below_a_conflict_can_be_typed_as_they_are() -> None:
    """Quoted for the shell; a label that suits no path gives way to the id."""
    files = answers.Conflict("a b/new.md", "files", (side("aa" * 16, "x"), side("bb" * 16, "../y")))
    said = present.conflicts(answers.Conflicts((files,)))
    assert "a b/new.md: two files of this name" in said
    assert "* is what" not in said, "no star, no legend"
    assert "mesh resolve 'a b/new.md' bbbbbbbbbb --to 'a b/new-bbbbbbbbbb.md'" in said
    folder = answers.Conflict("d", "folder", (side("folder", ""), *files.sides))
    assert "d: a folder, and 2 files of this name that wait" in present.conflicts(
        answers.Conflicts((folder,))
    )


STATUS = answers.Status(
    workspace="rocket",
    workspace_id="cd" * 32,
    node="ef" * 32,
    label="laptop",
    role="admin",
    node_type="LOCAL",
    folder="/home/ada/rocket",
    pid=7,
    addresses=("10.0.0.1:7311",),
    peers=(answers.Peer("ab" * 32, "desk", "edit", "LOCAL", "online", 1.25, "10.0.0.2:7311", 3),),
    members=2,
    files=14,
    bytes=2048,
    outstanding=0,
    authoring=0,
    unarchived=0,
    conflicts=1,
    held=0,
    skipped=0,
    is_looked_at=True,
    is_synced=False,
    problems=("the disk is full",),
    uptime_ms=61_000,
)


def test_a_status_reads_as_sentences() -> None:
    """What is asked most: is everything where it should be?"""
    said = present.status(STATUS)
    assert "14, 2.0 KiB" in said
    assert "1 conflict (mesh conflicts); not confirmed yet by desk" in said
    assert "desk  online  edit  1.2 ms   3" in said
    assert "up 1 min 1 s" in said
    assert said.endswith("problem: the disk is full")


def state_of(**changes: Any) -> str:  # noqa: ANN401 - any field
    """Return the line that says how a node is that has nobody else."""
    said = present.status(replace(STATUS, peers=(), conflicts=0, **changes))
    return next(line for line in said.split("\n") if line.startswith("state")).split(maxsplit=1)[1]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"is_synced": True}, "synced: every member has everything"),
        (
            {"is_synced": True, "is_tree_staying": True},
            (
                "synced: every member has everything else; names or places changed here, which "
                "nobody takes"
            ),
        ),
        ({"unwritten": 2, "lacking": 2}, "2 files could not be written here"),
        ({"lacking": 1}, "this node lacks 1 file"),
        ({"lacking": 1, "outstanding": 1}, "1 change under way"),
    ],
)
def test_the_state_says_what_this_node_lacks_and_what_stays(
    changes: dict[str, Any], expected: str
) -> None:
    """No claim of everything where something is missing here, or stays here."""
    assert state_of(**changes) == expected


def test_who_may_not_release_is_told_so_beside_the_hold() -> None:
    """No command is printed that is refused."""
    hold = answers.HeldChange(1, "mass-deletion", 0, "2 of 2 files vanished", ("a", "b"))
    assert "delete them everywhere: mesh release 1" in present.held(answers.Held((hold,)))
    said = present.held(answers.Held((hold,), "this node has the role read"))
    assert "mesh release" not in said
    assert "delete them everywhere: this node has the role read" in said
    assert "mesh reject 1" in said
