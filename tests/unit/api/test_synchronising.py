"""What `sync` waits for, and what it does not: judged from pending files and roles alone."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import cast

import pytest

from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.api.synchronising import Synchronising
from aiplatform.mesh_ide.api.unwritten import said_of
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
    """A node that may not edit any more; its peer lacks these files.

    Args:
        heads: the files' last entries.
        role: its own.
        missing: of these files the content is not on this node.
        is_online: the peer is linked.
        failed: what this node could not write.
    """

    def __init__(
        self,
        heads: dict[FileId, EntryRef],
        role: Role = Role.READ,
        missing: Iterable[FileId] = (),
        failed: Iterable[tuple[str, str]] = (),
        *,
        is_online: bool = True,
    ) -> None:
        states = {
            f: SimpleNamespace(file=f, refs=lambda ref=ref: (ref,)) for f, ref in heads.items()
        }
        lacking = frozenset(missing)
        peer = SimpleNamespace(node=PEER, label="desk", role=Role.ADMIN)
        roster = SimpleNamespace(role=lambda _: role, members={PEER: peer}, removed=frozenset())
        ledger = SimpleNamespace(state=states.get, states=states.values, claimed=0)
        judge = Judged(MINE, CUT, may_edit=role >= Role.EDIT)
        membership = SimpleNamespace(
            roster=roster,
            link_state=lambda _: ("online" if is_online else "offline", 1.0, ""),
            label=lambda _: "laptop",
        )
        core = SimpleNamespace(
            membership=membership,
            ledger=ledger,
            replication=SimpleNamespace(
                own_work=OwnWork(cast("Ledger", ledger), judge),
                holdings=SimpleNamespace(
                    pending_at=lambda _: frozenset(heads) if is_online else None,
                    lacked_by=lambda _: frozenset(heads) - lacking if is_online else None,
                    lacking=len(lacking),
                ),
                fetcher=SimpleNamespace(under_way=0),
                is_in_step=lambda _: True,
            ),
            workspace=SimpleNamespace(
                outstanding=0,
                has_scanned=True,
                deletions=SimpleNamespace(holds={}),
                applier=SimpleNamespace(failed={path: (0, why) for path, why in failed}),
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
    assert said.is_tree_staying
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


# --- who is not there ----------------------------------------------------------------------------


def test_members_that_are_left_out_are_named() -> None:
    """With nobody online nothing is known of anybody: no word of every member."""
    alone = Reader({file(1): head(THEIRS, 1)}, Role.EDIT, is_online=False)
    said = Synchronising(alone).progress(only_online=True)
    assert said.is_done
    assert said.message == "every member that is online (0 of 1) has everything; offline: desk"
    assert said.offline == ("desk",)
    said = Synchronising(alone).progress(only_online=False)
    assert (said.is_done, said.message, said.offline) == (False, "desk is offline", ())


def test_a_reader_whom_nobody_is_linked_with_still_tells_what_stays() -> None:
    """What it changed is not forgotten because nobody lacks it just now."""
    alone = Reader({file(1): head(MINE, CUT + 1), file(2): head(THEIRS, 1)}, is_online=False)
    said = Synchronising(alone).progress(only_online=True)
    assert (said.is_done, said.staying) == (True, 1)
    assert "has everything else; offline: desk; this node has the role read" in said.message


# --- what this node lacks itself -----------------------------------------------------------------


def test_what_this_node_could_not_write_is_its_own_fault() -> None:
    """The peer has the files; they differ because they are not here."""
    files = [file(1), file(2), file(3)]
    failed = [(f"{number}.bin", "the disk is full") for number in range(2)]
    dan = Reader(dict.fromkeys(files, head(THEIRS, 1)), Role.EDIT, files, failed)
    said = Synchronising(dan).progress(only_online=False)
    assert (said.is_done, said.lacking) == (False, ())
    assert said.message == "this node could not write 2 files: the disk is full"
    assert (said.unwritten, said.lacking_here) == (2, 3)


def test_what_could_not_be_written_is_waited_for_even_if_its_content_is_here() -> None:
    """In the archive it is safe, in the folder it is not."""
    dan = Reader({}, Role.EDIT, failed=[("a", "read-only"), ("b", "read-only"), ("c", "denied")])
    said = Synchronising(dan).progress(only_online=False)
    assert not said.is_done
    assert said.message == "this node could not write 3 files: read-only (2); denied (1)"


def test_a_content_that_is_not_here_is_lacked_here_and_not_by_the_peer() -> None:
    """Who else lacks something is named beside it."""
    files = {file(1): head(THEIRS, 1), file(2): head(MINE, 1)}
    said = Synchronising(Reader(files, Role.EDIT, [file(1)])).progress(only_online=False)
    assert said.message == "this node lacks 1 file; desk lacks 1 file"
    assert not said.is_done
    said = Synchronising(Reader({file(1): head(THEIRS, 1)}, Role.EDIT, [file(1)])).progress(
        only_online=True
    )
    assert (said.is_done, said.message) == (False, "this node lacks 1 file")


def test_blaming_the_peer_is_caught() -> None:
    """The bug planted: who does not look at its own disk says that the others lack it."""
    dan = Reader({file(1): head(THEIRS, 1)}, Role.EDIT, [file(1)])
    holdings = dan.core.replication.holdings
    holdings.lacked_by = holdings.pending_at  # type: ignore[method-assign]
    said = Synchronising(dan).progress(only_online=False)
    assert "desk lacks 1 file" in said.message, "what the test above would not accept"


def test_few_reasons_are_named_and_the_others_counted() -> None:
    """A line is a line."""
    failed = {str(number): (0, f"reason {number}") for number in range(5)}
    assert said_of(failed).endswith("reason 0 (1); reason 1 (1); reason 2 (1); 2 other reasons")
    assert said_of({}) == ""
