"""A member that says two things under one number, in a workspace of several machines."""

from __future__ import annotations

import pytest

from aiplatform.mesh_ide.mesh.membership import MembershipCore
from aiplatform.mesh_ide.mesh.outputs import MembershipOutput
from aiplatform.mesh_ide.model.ids import FileId, NodeId
from aiplatform.mesh_ide.model.messages import EquivocationProof, Equivocations, Vectors
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.core_doubts import Doubts
from aiplatform.mesh_ide.ports.transport import LinkEnd
from aiplatform.mesh_ide.simulation.network import address_of
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.stage import Stage
from tests.forging import genesis, tree_update
from tests.simulation.mallory import LINKING_MS, Mallory
from tests.simulation.mutant_nodes import Twisted

BEFORE, ONE, TWO = (FileId(bytes((number,)) * 16) for number in (5, 6, 7))


class Secretive(MembershipCore):
    """Keeps the proofs that it has to itself."""

    def _shut_out(
        self, proof: EquivocationProof, source: NodeId | None, now_ms: int
    ) -> list[MembershipOutput]:
        return _without_proofs(super()._shut_out(proof, source, now_ms))

    def on_message(self, peer, message, now_ms):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        """Say nothing of proofs at a meeting either."""
        out = super().on_message(peer, message, now_ms)
        return None if out is None else _without_proofs(out)


def _without_proofs(out: list[MembershipOutput]) -> list[MembershipOutput]:
    return [one for one in out if not isinstance(getattr(one, "message", None), Equivocations)]


def keep_to_oneself(core: NodeCore) -> None:
    """Make a core's membership a secretive one."""
    core.membership.__class__ = Secretive


def contradicted(nodes: int = 3, factory: Factory | None = None) -> tuple[Stage, Mallory]:
    """Let a member write a file, and then two different ones under one number, to machine 0.

    Machine 2 is away meanwhile, and never meets machine 0 again.
    """
    stage = Stage(nodes, factory=factory)
    stage.save(0, "a.txt", "one\n")
    stage.start()
    stage.settle()
    mallory = Mallory(stage)
    if nodes > 2:
        stage.part(2)
    mallory.link(0)
    tree = mallory.mouth.tree_operations([(None, "before.txt", BEFORE)])
    content = mallory.offer(b"written honestly\n")
    before, _ = mallory.mouth.seal([tree_update(tree), genesis(BEFORE, content)])
    mallory.entries(0, before)
    stage.wait(2000)
    one, _ = mallory.mouth.seal([genesis(ONE, content)], advance=False)
    two, _ = mallory.mouth.seal([genesis(TWO, content)])
    mallory.entries(0, one)
    stage.wait(1000)
    mallory.entries(0, two)
    stage.wait(2000)
    return stage, mallory


def meet_the_one_who_was_away(factory: Factory | None = None) -> tuple[Stage, Mallory]:
    """Let machine 2 come back when only machine 1 is there to tell it."""
    stage, mallory = contradicted(factory=factory)
    stage.crash(0)
    stage.heal()
    stage.wait(10_000)
    return stage, mallory


def tries_to_link(mallory: Mallory, number: int) -> bool:
    """Let the member dial a machine; tell whether a link stands afterwards."""
    mallory.link(number)
    mallory.stage.wait(LINKING_MS)
    return mallory.stage[number].id in mallory.linked


def who_knows(stage: Stage, mallory: Mallory) -> list[bool]:
    """Return for each honest machine whether it has shut the member out."""
    return [
        mallory.id in stage[number].core.membership.shut_out
        for number in range(len(stage.world.nodes) - 1)
    ]


def test_one_member_catches_it_and_all_who_are_there_shut_it_out() -> None:
    """Machine 1 never saw a contradiction itself: it was shown the proof, and believes that."""
    stage, mallory = contradicted()

    assert who_knows(stage, mallory) == [True, True, False]
    assert {end[:2] for end in mallory.ends} == {
        (stage[0].id, LinkEnd.REFUSED),
        (stage[1].id, LinkEnd.REFUSED),
    }
    assert not tries_to_link(mallory, 1)
    assert stage[1].core.ledger.state(TWO) is None


def test_who_was_away_is_told_by_one_who_was_told() -> None:
    """The proof goes on from member to member; what the member wrote before is still taken."""
    stage, mallory = meet_the_one_who_was_away()

    assert who_knows(stage, mallory) == [True, True, True]
    assert not tries_to_link(mallory, 2)
    assert stage.text(2, "before.txt") == "written honestly\n"


def test_a_proof_outlives_a_restart_of_who_was_only_told() -> None:
    """It is on the disk of everybody who was convinced."""
    stage, mallory = meet_the_one_who_was_away()
    for number in (1, 2):
        stage.crash(number)
    stage.start(2)
    stage.wait(3000)

    assert mallory.id in stage[2].core.membership.shut_out
    assert not tries_to_link(mallory, 2)


def test_members_that_keep_proofs_to_themselves_leave_the_door_open() -> None:
    """The planted bug: whoever was not there links with the contradicter as ever."""
    stage, mallory = meet_the_one_who_was_away(Twisted(keep_to_oneself))

    assert who_knows(stage, mallory) == [True, False, False]
    assert tries_to_link(mallory, 2)


# --- one half each -------------------------------------------------------------------------------


def halves_given_apart(file: FileId, factory: Factory | None = None) -> tuple[Stage, Mallory]:
    """Give machine 0 one half and machine 1 the other, of one file or of two; then leave."""
    stage = Stage(2, factory=factory)
    stage.save(0, "a.txt", "one\n")
    stage.start()
    stage.settle()
    mallory = Mallory(stage)
    mallory.link(0)
    mallory.link(1)
    one, _ = mallory.mouth.seal([genesis(ONE, mallory.offer(b"one"))], advance=False)
    two, _ = mallory.mouth.seal([genesis(file, mallory.offer(b"two"))])
    mallory.entries(0, one)
    mallory.entries(1, two)
    stage.wait(180_000)
    return stage, mallory


@pytest.mark.parametrize("file", [ONE, TWO], ids=["of one file", "of two files"])
def test_halves_given_to_different_members_are_found_when_these_compare(file: FileId) -> None:
    """Equal numbers and different heads: the second question about them is answered in full."""
    stage, mallory = halves_given_apart(file)

    assert who_knows(stage, mallory) == [True, True]


def never_doubt(core: NodeCore) -> None:
    """Make a core answer each question about a file by numbers alone."""

    class Sure(Doubts):
        def widened(self, peer: NodeId, message: Vectors) -> Vectors:
            return message

    core._doubts.__class__ = Sure


def test_members_that_compare_numbers_alone_never_find_halves_of_one_file() -> None:
    """The planted bug: each believes that the other has what it has."""
    stage, mallory = halves_given_apart(ONE, Twisted(never_doubt))

    assert who_knows(stage, mallory) == [False, False]


# --- restarts ------------------------------------------------------------------------------------


def forgetful(core: NodeCore) -> None:
    """Make a core that was given no proofs at its start."""
    held = core.membership._contradictions

    class Forgetful(type(held)):  # type: ignore[misc]
        def restore(self, proofs: object) -> None:
            """Take nothing."""

    held.__class__ = Forgetful


def test_members_that_do_not_keep_proofs_let_it_in_after_a_restart() -> None:
    """The planted bug: what is not on the disk is gone."""
    stage, mallory = contradicted(nodes=2, factory=Twisted(forgetful))
    assert who_knows(stage, mallory) == [True, True]
    for number in (0, 1):
        stage.crash(number)
    stage.start(0)
    stage.wait(3000)

    assert tries_to_link(mallory, 0)


def test_its_owner_comes_back_with_a_fresh_key() -> None:
    """Removed and admitted anew as another node: it works with everybody, the old key does not."""
    stage, mallory = contradicted(nodes=2)
    stage.remove_member(mallory.number)
    stage.world.nodes.remove(mallory.node)
    again = stage.admit("mallory")
    stage.start(again)
    stage.settle()
    stage.save(again, "back.txt", "from the fresh key\n")
    stage.settle()

    assert stage.text(0, "back.txt") == "from the fresh key\n"
    assert stage.text(again, "before.txt") == "written honestly\n"
    assert stage[again].id not in stage[0].core.membership.shut_out
    stage.world.network.dial(mallory.id, stage[0].id, (address_of(stage[0].id),))
    stage.wait(LINKING_MS)
    assert mallory.linked == set()
