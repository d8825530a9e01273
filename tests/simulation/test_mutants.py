"""Every planted bug is caught, by seeds that the unbroken node passes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _beside(name: str) -> ModuleType:
    """Import a module that stands beside this one (test folders are no packages)."""
    spec = importlib.util.spec_from_file_location(
        f"simulation_{name}", Path(__file__).parent / f"{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


mutants = _beside("mutants")
recorded = _beside("recorded")


def test_at_least_ten_bugs_are_planted() -> None:
    """Each mutant has seeds on record, and none has been forgotten."""
    assert len(recorded.CATCHING) >= 10
    assert set(recorded.CATCHING) == set(mutants.MUTANTS)


@pytest.mark.parametrize("name", sorted(recorded.CATCHING))
def test_a_planted_bug_is_caught(name: str) -> None:
    """At least one of its recorded seeds breaks a promise that the check notices."""
    caught = next(mutants.catching(name, recorded.CATCHING[name]), None)

    assert caught is not None
