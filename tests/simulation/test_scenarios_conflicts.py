"""Conflicts that no merge can join: what can still be read of the side that lost."""

from __future__ import annotations

from aiplatform.mesh_ide.documents.state import FileState, Head, head_of
from aiplatform.mesh_ide.model.enums import FileMode
from aiplatform.mesh_ide.node.core import NodeCore
from aiplatform.mesh_ide.node.events import EditText, PutContent
from aiplatform.mesh_ide.ports.engine import Splice
from aiplatform.mesh_ide.ports.store import PutBlob
from aiplatform.mesh_ide.simulation.parts import Factory
from aiplatform.mesh_ide.simulation.stage import Stage
from aiplatform.mesh_ide.simulation.users import AGENT
from aiplatform.mesh_ide.workspace.core_needs import Needs
from tests.simulation.mutant_nodes import Twisted
from tests.simulation.steps import two_in_step

ARRIVES_MS_MAX = 3000


class TrustingNeeds(Needs):
    """Takes it that somebody has every rival's bytes."""

    def keep_rival(self, state: FileState, head: Head) -> None:
        """Fetch it."""
        if head.blob is not None and self.keep(head.blob, state.file):
            self.shelve(head.blob, head.size, state.file)


def only_fetch_rivals(core: NodeCore) -> None:
    """Compute nothing of a losing side."""
    core.workspace._needs.__class__ = TrustingNeeds


def rewrite(stage: Stage, number: int, path: str, text: str) -> None:
    """Let a program give a file a whole new content through the API."""
    content = text.encode()
    blob = stage.world.oracle.wrote(content)
    stage[number].store.commit([PutBlob(blob, content)])
    (file,) = stage.claims(number, path)
    facts = (blob, len(content), FileMode.REGULAR)
    tag = stage.world.oracle.next_tag()
    request = PutContent(tag, file, None, *facts, is_text=True, principal=AGENT, is_rewrite=True)
    stage[number].request(request)


def typed_and_gone(factory: Factory | None = None) -> list[bytes | None]:
    """Let somebody type while another rewrites the file, and lose the machine a moment later.

    Returns what the other machine has of the side that lost.
    """
    stage = two_in_step(factory, a="one\n")
    (file,) = stage.claims(1, "a.txt")
    typed = (Splice(0, 0, "typed\n"),)
    stage[1].request(EditText(stage.world.oracle.next_tag(), file, typed, AGENT))
    rewrite(stage, 0, "a.txt", "first\n")
    rewrite(stage, 0, "a.txt", "second\n")  # the deeper side wins
    state = stage[0].core.ledger.state(file)
    waited_ms = 0
    while state is None or not head_of(state).rivals:
        assert waited_ms < ARRIVES_MS_MAX, "the typed edit never came"
        stage.wait(1)
        waited_ms += 1
        state = stage[0].core.ledger.state(file)
    stage.crash(1)
    stage.wait(5000)

    assert stage.text(0, "a.txt") == "second\n"
    stage.crash(0)
    stage.start(0)  # only what is archived is left
    lost = [head.blob for head in state.heads if head.ref in head_of(state).rivals]
    return [stage[0].contents.read(blob) for blob in lost if blob is not None]


def test_what_was_typed_is_kept_although_its_machine_never_came_back() -> None:
    """Its operations had left, its bytes had not: they are computed, and kept for a decision."""
    assert typed_and_gone() == [b"typed\none\n"]


def test_a_node_that_only_asks_others_for_a_rival_never_gets_it() -> None:
    """The planted bug: all the operations are here, and what was typed is to be read nowhere."""
    assert typed_and_gone(Twisted(only_fetch_rivals)) == [None]
