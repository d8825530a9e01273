"""What must be kept becomes a commit; who asked for it hears when it is durable."""

from __future__ import annotations

from itertools import count

from aiplatform.mesh_ide.mesh.outputs import KeepAddresses
from aiplatform.mesh_ide.node import records
from aiplatform.mesh_ide.node.core_keeping import Keeping
from aiplatform.mesh_ide.node.events import Replied
from aiplatform.mesh_ide.ports.jobs import Persist
from tests.unit.documents.authors import PEER

TAG = 70


def keeping() -> Keeping:
    """Return one whose tickets count from one."""
    tickets = count(1)
    return Keeping(lambda: next(tickets))


def test_each_commit_has_a_ticket_of_its_own_and_the_records_it_was_given() -> None:
    """Results are told apart by tickets alone."""
    door = keeping()
    addresses = ("127.0.0.1:1",)
    assert door.keep(KeepAddresses(PEER, addresses)) == Persist(
        1, (records.addresses_record(PEER, addresses),)
    )
    assert door.keep_joined() == Persist(2, (records.joined_record(),))
    assert door.keep_for(TAG, (records.port_record(1),)).ticket == 3


def test_a_request_is_answered_once_and_by_its_own_commit() -> None:
    """Neither by another one that is durable earlier, nor again."""
    door = keeping()
    other = door.keep_joined()
    mine = door.keep_for(TAG, (records.port_record(1),))
    assert door.on_persisted(other.ticket) == []
    assert door.on_persisted(mine.ticket) == [Replied(TAG)]
    assert door.on_persisted(mine.ticket) == []
