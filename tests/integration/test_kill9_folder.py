"""``kill -9`` while programs save files on two machines."""

from __future__ import annotations

import pytest

from tests.integration.killing import (
    KILLS_A_ROUND,
    ROUNDS,
    SEED,
    FolderWriter,
    Victim,
    check_tokens,
    kill_at_random,
    settled,
    texts,
)
from tests.integration.machines import Machines, founded, joined, machines

__all__ = ["machines"]  # a fixture is found by its name in the module


@pytest.mark.timeout(110)
@pytest.mark.parametrize("part", range(ROUNDS))
def test_no_observed_save_is_lost_however_often_a_node_is_killed(
    machines: Machines, part: int
) -> None:
    """Both converge, and every token that was durable once stands there exactly once."""
    alpha = founded(machines("alpha"), shared_txt="")
    beta = joined(machines("beta"), alpha)
    for machine in (alpha, beta):
        machine.run("down")
    victims = [Victim(alpha), Victim(beta)]
    writers = [FolderWriter(victim, f"w{number}") for number, victim in enumerate(victims)]
    try:
        for victim in victims:
            victim.start()
        for writer in writers:
            writer.start()
        kill_at_random(victims, KILLS_A_ROUND, SEED + 1000 * part + 1)
        for writer in writers:
            writer.stop()
        for writer in writers:
            writer.join(20)
        settled(victims)
        check_tokens(texts(alpha.folder), [*writers])
    finally:
        for victim in victims:
            victim.end()
