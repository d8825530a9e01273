"""Jobs of signing and checking entries."""

from __future__ import annotations

from aiplatform.mesh_ide.identity.batches import open_slice
from aiplatform.mesh_ide.identity.equivocation import is_equivocation, sequence_of
from aiplatform.mesh_ide.identity.sessions import certify
from aiplatform.mesh_ide.identity.subsets import subset
from aiplatform.mesh_ide.model.entries import ENTRIES_PER_BATCH_MAX, BatchSlice, KnownEntry
from aiplatform.mesh_ide.model.ids import NO_ENTRY, NodeId
from aiplatform.mesh_ide.model.messages import EquivocationProof, SignedPlace
from aiplatform.mesh_ide.ports.jobs import (
    EntriesSealed,
    Persist,
    SealEntries,
    SlicesVerified,
    VerifySlices,
)
from aiplatform.mesh_ide.ports.store import PutEntries
from tests.unit.documents.authors import WORKSPACE, Author, file
from tests.unit.identity.boards import key_of
from tests.unit.node.ports import Ports

PEER = NodeId(b"p" * 32)


def accusation(author: Author, halves: tuple[SignedPlace, SignedPlace]) -> EquivocationProof:
    """Put a session's certificate to the halves of a proof."""
    certificate = certify(
        node=key_of("ben's node"), session=author.key, workspace=WORKSPACE, started_ms=0
    )
    return EquivocationProof(certificate, *halves)


def seal(ports: Ports, *numbers: int, time_ms: int = 5) -> EntriesSealed:
    """Sign the creation of files."""
    drafts = tuple(ports.me.genesis(file(number)) for number in numbers)
    return ports.run(SealEntries(drafts, time_ms), EntriesSealed)


def verify(ports: Ports, *slices: BatchSlice) -> SlicesVerified:
    """Check what a peer sent."""
    return ports.run(VerifySlices(PEER, slices), SlicesVerified)


def store(ports: Ports, piece: BatchSlice, known: tuple[KnownEntry, ...]) -> None:
    """Have a slice on the disk."""
    ports.run(Persist(1, (PutEntries(piece, known),)), object)


# --- signing -------------------------------------------------------------------------------------


def test_numbering_goes_on_where_the_last_seal_ended() -> None:
    """One chain over all batches of a session, whatever the seals."""
    ports = Ports()
    known = [one for count in (2, 1, 3) for one in seal(ports, *range(1, count + 1)).known]
    assert [one.ref.sequence for one in known] == [1, 2, 3, 4, 5, 6]
    assert [one.entry.previous for one in known] == [NO_ENTRY, *(k.ref.id for k in known[:-1])]
    assert {one.entry.time_ms for one in known} == {5}


def test_many_drafts_are_signed_in_full_batches() -> None:
    """Six hundred entries cost three signatures; every slice is what peers accept."""
    sealed = seal(Ports(), *range(1, 601))
    sizes = [len(piece.entries) for piece in sealed.slices]
    assert sizes == [ENTRIES_PER_BATCH_MAX, ENTRIES_PER_BATCH_MAX, 88]
    opened = [known for piece in sealed.slices for known in open_slice(piece, WORKSPACE)]
    assert tuple(opened) == sealed.known


def test_nothing_to_sign_is_nothing_signed() -> None:
    """A round without entries uses up no number."""
    ports = Ports()
    assert ports.run(SealEntries((), 5), EntriesSealed) == EntriesSealed((), ())
    assert seal(ports, 1).known[0].ref.sequence == 1


# --- checking ------------------------------------------------------------------------------------


def test_good_slices_come_back_with_their_entries() -> None:
    """Also those that are stored already: they are no contradiction."""
    ports = Ports()
    sealed = seal(ports, 1, 2)
    (piece,) = sealed.slices
    assert verify(ports, piece) == SlicesVerified(PEER, ((piece, sealed.known),), ())
    store(ports, piece, sealed.known)
    assert verify(ports, piece).good == ((piece, sealed.known),)


def test_a_forged_slice_is_refused_and_the_others_are_not() -> None:
    """One bad signature spoils only its own slice."""
    ports, ben = Ports(), Author("ben")
    ben.say(ben.genesis(file(1)))
    good = ben.said[0]
    forged = BatchSlice(good.header, good.indexes, (good.entries[0][:-1] + b"?",))
    result = verify(ports, forged, good)
    assert [piece for piece, _ in result.good] == [good]
    assert [(fault.slice, fault.proof) for fault in result.faults] == [(forged, None)]


def test_operations_that_are_none_are_refused_before_they_are_stored() -> None:
    """An update whose payload the engine cannot take never reaches the ledger."""
    ports, ben = Ports(), Author("ben")
    ben.say(ben.genesis(file(1)))
    ben.say(ben.change(file(1), "not operations"))
    result = verify(ports, ben.said[1])
    assert (result.good, len(result.faults)) == ((), 1)


def test_a_contradiction_of_what_is_stored_is_refused_with_the_proof() -> None:
    """Two slices that anybody can check: same session, same number, different entries."""
    ports, ben = Ports(), Author("ben")
    liar = ben.twin()
    known = ben.say(ben.genesis(file(1)), ben.genesis(file(2)))
    lies = liar.say(liar.genesis(file(3)), liar.genesis(file(4)))
    store(ports, ben.said[0], known)
    (fault,) = verify(ports, liar.said[0]).faults
    assert fault.proof is not None
    assert [half.id for half in fault.proof] == [known[0].ref.id, lies[0].ref.id]
    assert is_equivocation(accusation(ben, fault.proof), WORKSPACE)


def test_a_contradiction_within_a_part_is_found_too() -> None:
    """The lying entry travels alone, with its proof of inclusion."""
    ports, ben = Ports(), Author("ben")
    liar = ben.twin()
    known = ben.say(ben.genesis(file(1)), ben.genesis(file(2)))
    lies = liar.say(liar.genesis(file(3)), liar.genesis(file(4)))
    store(ports, ben.said[0], known)
    (fault,) = verify(ports, subset(liar.said[0], lies, [1])).faults
    assert fault.proof is not None
    assert [sequence_of(half) for half in fault.proof] == [2, 2]
    assert is_equivocation(accusation(ben, fault.proof), WORKSPACE)
