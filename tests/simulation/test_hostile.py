"""Each check against a hostile member is needed: without it the attack gets through."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.simulation.oracle import FailedRunError
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.stage import Stage
from tests.simulation.hostility import ATTACKS, Attack
from tests.simulation.mallory import Mallory

AFTER_MS = 3000


def attacked(attack: Attack, factory: Factory | None = None) -> tuple[Stage, Mallory]:
    """Let a hostile member do its worst to one node."""
    stage = Stage(1, factory=factory)
    stage.save(0, "a.txt", "one\n")
    stage.start()
    stage.settle()
    mallory = Mallory(stage, attack.role)
    mallory.link(0)
    assert stage[0].id in mallory.linked
    attack.act(mallory)
    stage.wait(AFTER_MS)
    return stage, mallory


def check_unharmed(attack: Attack, factory: Factory | None = None) -> None:
    """Check that an attack leaves no trace but a warning.

    Raises:
        FailedRunError: it does.
    """
    stage, mallory = attacked(attack, factory)
    if attack.is_harmed(mallory):
        raise FailedRunError("the attack got through")
    if not any(attack.words in text for _, text in stage.world.oracle.warnings):
        raise FailedRunError(f"nobody was told: {stage.world.oracle.warnings}")
    stage.save(0, "b.txt", "still here\n")
    stage.wait(AFTER_MS)
    if stage.head(0, "b.txt") is None or stage.paths(0) != ["a.txt", "b.txt"]:
        raise FailedRunError(f"the node does not go on as if nothing had been: {stage.paths(0)}")
    stage[0].core.check_invariants()


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_leaves_no_trace_but_a_warning(name: str) -> None:
    """Nothing of it is taken, people are told, and the node goes on."""
    check_unharmed(ATTACKS[name])


@pytest.mark.parametrize("name", ATTACKS)
def test_without_its_check_the_attack_gets_through(name: str) -> None:
    """The planted bug: a node that lacks this one check is harmed, and the check above says so."""
    with pytest.raises(FailedRunError, match="got through"):
        check_unharmed(ATTACKS[name], ATTACKS[name].broken)
