"""Ignore rules: git's semantics, .meshignore that only adds, built-in exclusions with reasons."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.ports.filetree import SkipReason
from aiplatform.mesh_ide.workspace.adapters.opened import CONTENT_BYTES_MAX
from aiplatform.mesh_ide.workspace.gitignore import IgnoreRules
from aiplatform.mesh_ide.workspace.ignore import (
    KEY_FILE_BYTES_MAX,
    FolderRules,
    is_control_name,
    judge_content,
    judge_markers,
    judge_name,
    judge_size,
)

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"

FOLDERS = ("a", "b", "a/b", "a/b/c", "foo", "foo/bar", "foo/bar/a")
NAMES = ("a.py", "b", "foo", "x1", "é.c", "keep.log", "!n", "#h", "sp ace", "[z]", "-q", "B.PY")
# Plain text: a tuple of patterns is easier to shrink than generated ones, and reaches every branch.
ATOMS = (
    *("a", "b", "foo", "bar", "x1", "*", "**", "?", "*.py", "*.PY", "*.log", "keep.log", "é.c"),
    *("[a-f]", "[!a]*", "[^x]1", "[[:digit:]]", "x[[:digit:]]", "[[:nope:]]", "[", "[]a]", "[a-]"),
    *(
        "\\!n",
        "\\#h",
        "sp ace",
        "sp\\ ace",
        "\\[z\\]",
        "[[]z]",
        "-q",
        "[+--]q",
        "f*o",
        "*a*",
        "fo\\",
    ),
    *("???.c", "????.c", "foo**", "**r", "[a-\\f]", "[\\a]", "k*p*g"),
)


def _lines() -> st.SearchStrategy[list[str]]:
    atom = st.sampled_from(ATOMS)
    body = st.lists(atom, min_size=1, max_size=3).map("/".join)
    line = st.tuples(
        st.sampled_from(("", "", "!")),
        st.sampled_from(("", "", "/", "**/")),
        body,
        st.sampled_from(("", "", "/", "/*", "/**", " ", "\r")),
    ).map("".join)
    return st.lists(st.one_of(line, st.sampled_from(("", "#c", "/", "!", "**/"))), max_size=5)


@pytest.fixture(scope="module")
def repository() -> Iterator[Path]:
    """A git repository with the folders and files that all generated patterns are asked about."""
    root = Path(tempfile.mkdtemp(prefix="mesh-ignore-"))
    subprocess.run(["git", "init", "-q", str(root)], check=True, timeout=20)
    for folder in FOLDERS:
        (root / folder).mkdir()
    for folder in ("", *FOLDERS):
        for name in NAMES:
            if not (root / folder / name).is_dir():
                (root / folder / name).write_bytes(b"")
    yield root
    shutil.rmtree(root)


def _paths(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix()
        for path in root.rglob("*")
        if ".git" not in path.parts and path.name not in {".gitignore", ".meshignore"}
    )


def _ignored_by_git(root: Path, paths: list[str]) -> set[str]:
    answer = subprocess.run(
        ["git", "-c", "core.excludesFile=/dev/null", "check-ignore", "-z", "--stdin", "--no-index"],
        cwd=root,
        input="\0".join(paths).encode(),
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert answer.returncode in {0, 1}, answer.stderr
    return {path.decode() for path in answer.stdout.split(b"\0") if path}


def _ignored_by_us(root: Path) -> set[str]:
    ignored: set[str] = set()

    def walk(folder: Path, rules: FolderRules, *, is_out: bool) -> None:
        for path in folder.iterdir():
            relative = path.relative_to(root).as_posix()
            if path.name in {".git", ".gitignore", ".meshignore"}:
                continue
            out = is_out or rules.judge(path.name, is_folder=path.is_dir()) is not None
            if out:
                ignored.add(relative)
            if path.is_dir():
                walk(path, rules.enter(path.name, _read(path / ".gitignore")), is_out=out)

    walk(root, FolderRules.root(_read(root / ".gitignore")), is_out=False)
    return ignored


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


@settings(max_examples=250)
@example(["*", "!*/", "!*.py"], [], [])
@example(["foo/*", "!foo/bar"], ["!b"], ["*"])
@example(["foo**/a.py"], ["foo**/b", "**\\/b"], [])
@example(["/foo/", "!/foo/bar/"], ["*.py", "!a.py"], ["!a"])
@example(["foo/**", "!foo/**/", "!foo/bar/*.py"], [], [])
@given(_lines(), _lines(), _lines())
def test_rules_agree_with_git_on_generated_trees(
    repository: Path, top: list[str], in_foo: list[str], in_a: list[str]
) -> None:
    """Whatever the patterns at three levels, we leave out exactly what git leaves out."""
    for folder, lines in (("", top), ("foo", in_foo), ("a", in_a)):
        content = "\n".join(lines).encode()
        (repository / folder / ".gitignore").write_bytes(content)
    paths = _paths(repository)
    assert _ignored_by_us(repository) == _ignored_by_git(repository, paths)


def test_nothing_below_an_excluded_folder_comes_back() -> None:
    """An excluded folder is judged by its parent, so its own rules are never asked."""
    rules = FolderRules.root(b"build/\n!build/keep\n")
    assert rules.judge("build", is_folder=True) is not None


def test_meshignore_only_adds() -> None:
    """A negation in .meshignore does not let in what .gitignore leaves out."""
    rules = FolderRules.root(b"*.log\n", b"!*.log\n*.tmp\n!keep.tmp\n")
    judged = {n: rules.judge(n, is_folder=False) for n in ("a.log", "a.tmp", "keep.tmp", "a.py")}
    reasons = {name: skip.detail if skip else None for name, skip in judged.items()}
    expected = {"a.log": ".gitignore", "a.tmp": ".meshignore", "keep.tmp": None, "a.py": None}
    assert reasons == expected


def test_no_ignore_file_lifts_a_built_in_exclusion() -> None:
    """`!.env` and `!.git` change nothing."""
    rules = FolderRules.root(b"!.env\n!.git\n", b"!.env\n!.git\n")
    skips = (rules.judge(".env", is_folder=False), rules.judge(".git", is_folder=True))
    reasons = [skip.reason for skip in skips if skip]
    assert reasons == [SkipReason.SECRET, SkipReason.CONTROL]


@pytest.mark.parametrize(
    "name",
    [".git", ".GIT", ".Git", ".git.", ".git ", "git~1", "GIT~1", ".g\u200cit", ".hg", ".svn",
     ".git::$INDEX_ALLOCATION", ".mesh-tmp", ".Mesh-Tmp"],
)  # fmt: skip
def test_names_that_pass_for_a_control_folder_are_control_names(name: str) -> None:
    """Case, NTFS' and HFS+'s foldings do not smuggle a .git past us (CVE-2014-9390)."""
    assert is_control_name(name)


@pytest.mark.parametrize("name", [".gitignore", ".github", "git", ".gitattributes", "a.git", "~"])
def test_names_that_only_look_alike_are_not(name: str) -> None:
    """Git's own visible files are files like others."""
    assert not is_control_name(name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        (".env", SkipReason.SECRET),
        (".env.local", SkipReason.SECRET),
        (".ENV.production", SkipReason.SECRET),
        (".env.example", None),
        (".env.local.sample", None),
        (".env.template", None),
        (".envrc", None),
        ("id_rsa", SkipReason.SECRET),
        ("id_rsa.pub", None),
        ("id_ed25519", SkipReason.SECRET),
        ("server.PEM", None),
        ("tls.key", None),
        ("a.p12", SkipReason.SECRET),
        (".netrc", SkipReason.SECRET),
        (".npmrc", None),
        (".a.py.swp", SkipReason.IGNORED),
        (".#a.py", SkipReason.IGNORED),
        (".DS_Store", SkipReason.IGNORED),
        ("keys.py", None),
        ("__pycache__", None),
    ],
)
def test_a_file_name_is_judged(name: str, reason: SkipReason | None) -> None:
    """Secrets go by their names; their samples and public halves do not, nor what may be either."""
    skip = judge_name(name, is_folder=False)
    assert (skip.reason if skip else None) == reason


@pytest.mark.parametrize("name", [".venv", "node_modules", "__pycache__", ".tox", ".mypy_cache"])
def test_environments_and_caches_are_left_out(name: str) -> None:
    """What every machine makes for itself does not travel."""
    skip = judge_name(name, is_folder=True)
    assert skip is not None
    assert skip.reason is SkipReason.IGNORED


def test_a_folder_called_target_or_venv_is_judged_by_its_markers() -> None:
    """People call sources `target` and `venv` too: only the marker inside decides."""
    assert judge_name("target", is_folder=True) is None
    assert judge_name("venv", is_folder=True) is None
    assert judge_markers(has_environment_marker=True, cache_tag=b"") is not None
    tag = b"Signature: 8a477f597d28d172789f06886806bc55\n"
    assert judge_markers(has_environment_marker=False, cache_tag=tag) is not None
    assert judge_markers(has_environment_marker=False, cache_tag=b"my notes") is None


@pytest.mark.parametrize(
    ("name", "content", "is_secret"),
    [
        ("a", b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blb", True),
        ("a", b"\n -----BEGIN RSA PRIVATE KEY-----\n", True),
        ("a", b"-----BEGIN PRIVATE KEY-----\n", True),
        ("a", b"-----BEGIN PGP PRIVATE KEY BLOCK-----\n", True),
        ("a", b"-----BEGIN CERTIFICATE-----\n", False),
        ("a", b"-----BEGIN PUBLIC KEY-----\n", False),
        ("a.md", b"A key begins with -----BEGIN PRIVATE KEY-----", False),
        ("a", b"-----BEGIN PRIVATE KEY-----" + bytes(70_000), False),
        (".npmrc", b"save-exact=true\n", False),
        (".npmrc", b"//registry/:_authToken=${NPM_TOKEN}\n", False),
        (".npmrc", b"//registry/:_authToken=abc\n", True),
        ("a.pem", _CERTIFICATE, False),
        ("A.KEY", _CERTIFICATE, False),
        ("a.pem", _CERTIFICATE * 3000, False),
        ("a.pem", _CERTIFICATE + b"-----BEGIN PRIVATE KEY-----\n", True),
        ("a.pem", _CERTIFICATE * 3000 + b"-----BEGIN PRIVATE KEY-----\n", True),
        ("a.pem", _CERTIFICATE * 30_000, True),
        ("talk.key", b"PK\x03\x04", True),
        ("empty.pem", b"", True),
    ],
)
def test_a_private_key_is_found_by_its_content(name: str, content: bytes, is_secret: bool) -> None:
    """Whatever its name; a text that quotes one is not one."""
    assert (judge_content(name, content) is not None) is is_secret


def test_a_file_too_large_for_a_key_file_stays_unread() -> None:
    """No look reads more than a mebibyte of what then stays at home; other names are not asked."""
    assert judge_size("a.pem", KEY_FILE_BYTES_MAX) is None
    assert judge_size("a.pem", KEY_FILE_BYTES_MAX + 1) is not None
    assert judge_size("film.mp4", KEY_FILE_BYTES_MAX + 1) is None
    assert KEY_FILE_BYTES_MAX <= CONTENT_BYTES_MAX, "or a file would be judged by nothing"


def test_whoever_is_told_of_a_secret_is_told_what_to_do() -> None:
    """By its name: rename it. By what it holds: what may stand in it."""
    by_name, by_content = judge_name(".netrc", is_folder=False), judge_content("a.pem", b"")
    assert by_name is not None
    assert "rename it" in by_name.detail
    assert by_content is not None
    assert "nothing but certificates and public keys" in by_content.detail


def test_ten_thousand_paths_are_judged_within_a_tenth_of_a_second() -> None:
    """A scan spends its time on reading, not on patterns (25 ms measured; the bound is 100)."""
    patterns = b"*.log\n!keep.log\nbuild/\n/site\n*.py[cod]\na/**/b\ndocs/_build/\n.coverage.*\n"
    top = FolderRules.root(patterns * 4, b"*.bak\n")
    start = time.process_time()
    left_out = 0
    for folder in range(100):
        rules = top.enter(f"package{folder}")
        for number in range(100):
            left_out += rules.judge(f"module_{number}.pyc", is_folder=False) is not None
    assert time.process_time() - start < 0.1
    assert left_out == 10_000


def test_a_hostile_pattern_costs_no_exponential_time() -> None:
    """Forty stars against a name that almost matches end at once."""
    rules = IgnoreRules(b"*a" * 40 + b"b\n" + b"x/" + b"*a" * 40 + b"b\n" + b"**/" * 30 + b"z\n")
    name = b"a" * 250
    start = time.process_time()
    verdicts = [
        rules.decide(name, name, is_folder=False),
        rules.decide(name, b"x/" + name, is_folder=False),
        rules.decide(b"y", b"/".join([b"y"] * 200), is_folder=False),
    ]
    assert verdicts == [None, None, None]
    assert time.process_time() - start < 0.5
