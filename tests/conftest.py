"""What every test gets: repeatable Hypothesis runs and a home of its own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples everywhere: a red run on another machine is red here. `fresh` searches anew.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("fresh", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

_GIT_CONFIG = (
    "[user]\n\tname = Tester\n\temail = tester@example.org\n[init]\n\tdefaultBranch = main\n"
)


@pytest.fixture(scope="session", autouse=True)
def own_home() -> Iterator[Path]:
    """Give this worker, and the programs its tests start, a home apart from the user's.

    It lies directly under the temporary folder: a socket's path has at most 107 bytes (unix(7)),
    and pytest's own temporary paths use up most of them.
    """
    home = Path(tempfile.mkdtemp(prefix="mesh-home-"))
    folders = {
        "HOME": home,
        "XDG_CACHE_HOME": home / "cache",
        "XDG_CONFIG_HOME": home / "config",
        "XDG_DATA_HOME": home / "data",
        "XDG_RUNTIME_DIR": home / "run",
        "XDG_STATE_HOME": home / "state",
    }
    for folder in folders.values():
        folder.mkdir(mode=0o700, exist_ok=True)
    git_config = home / "gitconfig"
    git_config.write_text(_GIT_CONFIG, encoding="utf-8")
    with pytest.MonkeyPatch.context() as environment:
        for name in [name for name in os.environ if name.startswith("MESH_")]:
            environment.delenv(name)
        for name, folder in folders.items():
            environment.setenv(name, str(folder))
        environment.setenv("GIT_CONFIG_GLOBAL", str(git_config))
        environment.setenv("GIT_CONFIG_NOSYSTEM", "1")
        yield home
    shutil.rmtree(home, ignore_errors=True)
