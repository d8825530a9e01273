"""The project's own rules: layers, purity, sizes, and commands that do what the README says."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "aiplatform"
LINES_PER_FILE_MAX = 600
LINES_PER_FUNCTION_MAX = 70

PYTHON_FILES = sorted(
    path
    for folder in ("src", "tests", "bench", "scripts", "examples")
    for path in (ROOT / folder).rglob("*.py")
)
PACKAGES = sorted(path for path in SOURCE.rglob("__init__.py"))


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache", "--no-logo"]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=50, check=False
    )


def _copy_with_package(tmp_path: Path, files: dict[str, str]) -> Path:
    """Copy what the contracts need, with a package ``aiplatform.mesh_ide`` of these files."""
    root = tmp_path / "copy"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "pyproject.toml", root)
    shutil.copy(ROOT / "scripts" / "contracts.py", root / "scripts")
    everywhere = {"__init__.py": "", "model/__init__.py": "", "ports/__init__.py": ""}
    for name, text in (everywhere | files).items():
        path = root / "aiplatform" / "mesh_ide" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


def test_layers_and_core_purity_hold() -> None:
    """The import contracts in pyproject.toml are kept by the code as it stands."""
    done = _lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        pytest.param(
            {"identity/__init__.py": "", "identity/roster.py": "import time\n"},
            "identity.roster is not allowed to import time",
            id="clock-in-core",
        ),
        pytest.param(
            {
                "replication/__init__.py": "",
                "replication/reconcile.py": "import aiplatform.mesh_ide.replication.adapters.x\n",
                "replication/adapters/__init__.py": "",
                "replication/adapters/x.py": "import socket\n",
            },
            "replication.reconcile is not allowed to import socket",
            id="socket-through-an-adapter",
        ),
        pytest.param(
            {
                "documents/__init__.py": "",
                "documents/places_index.py": "from os import path\n",
            },
            "documents.places_index is not allowed to import os",
            id="name-by-pattern",
        ),
        pytest.param(
            {"model/up.py": "import aiplatform.mesh_ide.ports\n"},
            "model is not allowed to import aiplatform.mesh_ide.ports",
            id="upward",
        ),
        pytest.param(
            {
                "mesh/__init__.py": "import aiplatform.mesh_ide.storage\n",
                "storage/__init__.py": "",
            },
            "mesh is not allowed to import aiplatform.mesh_ide.storage",
            id="sideways",
        ),
        pytest.param(
            {"stray/__init__.py": ""},
            "aiplatform.mesh_ide.stray",
            id="package-without-a-place",
        ),
        pytest.param(
            {"node/__init__.py": "", "node/driver.py": "import apsw\n"},
            "node.driver is not allowed to import apsw",
            id="library-outside-its-home",
        ),
    ],
)
def test_contracts_catch_a_planted_violation(
    tmp_path: Path, files: dict[str, str], complaint: str
) -> None:
    """Each contract breaks, and names the culprit, when somebody breaks it."""
    done = _lint_imports(_copy_with_package(tmp_path, files))
    told = " ".join(done.stdout.split())
    assert done.returncode == 1, told
    assert complaint in told


def test_contracts_allow_what_adapters_need(tmp_path: Path) -> None:
    """Purity binds cores alone: adapters and the key store may touch the world."""
    files = {
        "identity/__init__.py": "",
        "identity/keystore.py": "import os\n",
        "replication/__init__.py": "",
        "replication/adapters/__init__.py": "",
        "replication/adapters/disk.py": "import pathlib\n",
        "mesh/__init__.py": "",
        "mesh/adapters/__init__.py": "",
        "mesh/adapters/links.py": "import asyncio\n",
    }
    done = _lint_imports(_copy_with_package(tmp_path, files))
    assert done.returncode == 0, done.stdout


def test_aiplatform_is_a_namespace_package() -> None:
    """Sibling projects share the name ``aiplatform``: nobody owns its ``__init__``."""
    assert not (SOURCE / "__init__.py").exists()
    assert (SOURCE / "mesh_ide" / "py.typed").exists()


@pytest.mark.parametrize("path", PACKAGES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_package_says_what_it_is(path: Path) -> None:
    """The docstring of every package's ``__init__`` is its map, of more than one line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert docstring is not None
    assert len(docstring.splitlines()) > 1


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_and_its_functions_stay_small(path: Path) -> None:
    """A file is split at 600 lines, a function at 70."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= LINES_PER_FILE_MAX
    too_long = {
        node.name: length
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > LINES_PER_FUNCTION_MAX
    }
    assert too_long == {}


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """``.ci/run`` does what the README tells people to do, and nothing more."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci_lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in ci_lines if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == ["make test"]
    assert re.search(r"^make test\b", readme, re.MULTILINE)


def test_make_commands_of_the_documents_exist() -> None:
    """Every ``make`` command that a document names is a target."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    documents = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]
    named = {
        target
        for document in documents
        for target in re.findall(r"(?:^|`)make ([a-z]+)", document.read_text("utf-8"), re.MULTILINE)
    }
    assert named - targets == set()


def test_links_between_documents_lead_somewhere() -> None:
    """Every relative link in a document names a file that exists."""
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{document.relative_to(ROOT)}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8"))
        if not (document.parent / target).exists()
    ]
    assert broken == []


def test_lock_file_names_only_the_public_index() -> None:
    """A stranger can install from ``uv.lock``: no mirror's address, a hash for every file."""
    packages = tomllib.loads((ROOT / "uv.lock").read_text("utf-8"))["package"]
    locked = [package for package in packages if package["name"] != "mesh-ide"]
    files = [file for package in locked for file in package.get("wheels", [])]
    assert {package["source"]["registry"] for package in locked} == {"https://pypi.org/simple"}
    assert {file["url"].split("/")[2] for file in files} == {"files.pythonhosted.org"}
    assert all(file["hash"].startswith("sha256:") for file in files)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        pytest.param(["-m", "rocket"], "apogee", id="run"),
        pytest.param(["-m", "unittest"], "OK", id="tests"),
    ],
)
def test_example_project_works(tmp_path: Path, arguments: list[str], told: str) -> None:
    """The bundled example does what its README says, from a copy, with nothing installed."""
    rocket = tmp_path / "rocket"
    shutil.copytree(ROOT / "examples" / "rocket", rocket)
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=rocket,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert told in done.stdout + done.stderr
