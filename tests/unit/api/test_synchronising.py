"""What `sync` waits for, and what it does not: judged from pending files and roles alone."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import pytest

from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.api.synchronising import Synchronising
from aiplatform.mesh_ide.documents.ledger import Ledger
from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.enums import Role
from aiplatform.mesh_ide.model.ids import TREE_FILE, EntryId, FileId, NodeId, SessionId
from aiplatform.mesh_ide.replication.own_work import OwnWork
from tests.unit.replication.peers import Judged

ME, PEER = NodeId(b"m" * 32), NodeId(b"p" * 32)
MINE, THEIRS = SessionId(b"s" * 32), SessionId(b"t" * 32)
CUT = 5
"""Entries of ours up to here were written when this node was allowed to edit."""


class Reader(Subjects):
    """A node that may not edit any more; its peer lacks these files."""

    def __init__(self, heads: dict[FileId, EntryRef], role: Role = Role.READ) -> None:
        states = {f: SimpleNamespace(refs=lambda ref=ref: (ref,)) for f, ref in heads.items()}
        peer = SimpleNamespace(node=PEER, label="desk", role=Role.ADMIN)
        roster = SimpleNamespace(role=lambda _: role, members={PEER: peer}, removed=frozenset())
        ledger = SimpleNamespace(state=states.get, claimed=0)
        judge = Judged(MINE, CUT, may_edit=role >= Role.EDIT)
        membership = SimpleNamespace(
            roster=roster,
            link_state=lambda _: ("online", 1.0, ""),
            label=lambda _: "laptop",
        )
        core = SimpleNamespace(
            membership=membership,
            ledger=ledger,
            replication=SimpleNamespace(
                own_work=OwnWork(cast("Ledger", ledger), judge),
                holdings=SimpleNamespace(pending_at=lambda _: frozenset(heads)),
                fetcher=SimpleNamespace(under_way=0),
                is_in_step=lambda _: True,
            ),
            workspace=SimpleNamespace(
                outstanding=0, has_scanned=True, deletions=SimpleNamespace(holds={})
            ),
            authoring=SimpleNamespace(queued=0),
            is_first_sync_done=True,
        )
        driver = SimpleNamespace(core=core)
        node = SimpleNamespace(
            driver=driver,
            key=SimpleNamespace(public=bytes(ME)),
            settings=SimpleNamespace(folder="/f"),
        )
        super().__init__(cast("object", node), lambda: None)  # type: ignore[arg-type]


def file(number: int) -> FileId:
    """Return a file of this number."""
    return FileId(bytes([number]) * 16)


def head(session: SessionId, sequence: int) -> EntryRef:
    """Return the head that a session wrote under a number."""
    return EntryRef(session, sequence, EntryId(bytes(32)))


def test_what_nobody_takes_of_a_reader_is_told_and_not_waited_for() -> None:
    """The tree's change is one of them, and no file."""
    heads = {file(1): head(MINE, CUT + 1), TREE_FILE: head(MINE, CUT + 2)}
    said = Synchronising(Reader(heads)).progress(only_online=False)
    assert (said.is_done, said.staying, said.lacking) == (True, 1, ())
    assert "every member has everything else; this node has the role read" in said.message
    assert "`mesh members role laptop edit`" in said.message


@pytest.mark.parametrize("taken", [head(THEIRS, CUT + 1), head(MINE, CUT)])
def test_what_others_take_of_a_reader_is_waited_for(taken: EntryRef) -> None:
    """Another's change that passes through it, and its own from when it was an editor."""
    heads = {file(1): head(MINE, CUT + 1), file(2): taken}
    said = Synchronising(Reader(heads)).progress(only_online=False)
    assert (said.is_done, said.staying, said.lacking[0].files) == (False, 1, 1)


def test_taking_all_of_a_reader_for_staying_is_caught() -> None:
    """The bug planted: whoever may not edit waits for nothing, and claims what is not so."""

    class Careless(OwnWork):
        def staying(self, files: Iterable[FileId]) -> frozenset[FileId]:
            return frozenset(files)

    reader = Reader({file(1): head(THEIRS, 1)})
    reader.core.replication.own_work.__class__ = Careless
    said = Synchronising(reader).progress(only_online=False)
    assert said.is_done, "what the test above would not accept"


def test_an_editor_waits_for_its_own_changes() -> None:
    """Whatever a roster said before: they are taken now."""
    reader = Reader({file(1): head(MINE, CUT + 1)}, Role.EDIT)
    said = Synchronising(reader).progress(only_online=False)
    assert (said.is_done, said.staying, said.message) == (False, 0, "desk lacks 1 file")
