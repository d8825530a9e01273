"""The proof of an equivocation: made only by who signed both, checkable by anybody."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from aiplatform.mesh_ide.identity import equivocation
from aiplatform.mesh_ide.identity.equivocation import (
    is_equivocation,
    sequence_of,
    signed_place,
)
from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.sessions import certify, is_certificate
from aiplatform.mesh_ide.identity.subsets import subset
from aiplatform.mesh_ide.model.entries import SessionCertificate
from aiplatform.mesh_ide.model.ids import EntryId, NodeId, WorkspaceId
from aiplatform.mesh_ide.model.messages import EquivocationProof, SignedPlace
from tests.unit.identity.slices import KEY, WORKSPACE, draft, sealed

NODE = SigningKey.from_seed(b"n" * 32)
CERTIFICATE = certify(node=NODE, session=KEY, workspace=WORKSPACE, started_ms=1)


def place_of(word: bytes, index: int = 1, count: int = 3, first: int = 1) -> SignedPlace:
    """Return how a batch of entries that say ``word`` was signed, at one place."""
    previous = EntryId(b"p" * 32) if first > 1 else EntryId(bytes(32))
    piece, known = sealed(
        [draft(payload=word + bytes((n,))) for n in range(count)], first, previous
    )
    return signed_place(piece, known, index)


PROOF = EquivocationProof(CERTIFICATE, place_of(b"one"), place_of(b"two"))


def test_two_entries_of_one_number_convince_anybody() -> None:
    """Whatever the batches around them look like: the number counts, not the place in a batch."""
    other = place_of(b"two", index=0, count=1, first=2)
    assert sequence_of(PROOF.first) == sequence_of(other) == 2
    assert is_equivocation(PROOF, WORKSPACE)
    assert is_equivocation(replace(PROOF, second=other), WORKSPACE)


def test_a_part_of_a_batch_proves_as_much_as_the_whole() -> None:
    """A slice that carries its proofs gives the same half."""
    piece, known = sealed([draft(payload=bytes((n,))) for n in range(5)])
    part = subset(piece, known, [3])
    assert signed_place(part, known[3:4], 0) == signed_place(piece, known, 3)


OTHER_NODE = certify(
    node=SigningKey.from_seed(b"o" * 32), session=KEY, workspace=WORKSPACE, started_ms=1
)
FALSE: dict[str, EquivocationProof] = {
    "the same entry twice": replace(PROOF, second=PROOF.first),
    "two numbers": replace(PROOF, second=place_of(b"two", index=2)),
    "an id that was not signed": replace(
        PROOF, second=replace(PROOF.second, id=EntryId(b"x" * 32))
    ),
    "a path that leads elsewhere": replace(
        PROOF, second=replace(PROOF.second, proof=PROOF.first.proof)
    ),
    "a path too short": replace(PROOF, second=replace(PROOF.second, proof=PROOF.second.proof[:1])),
    "an inner node for an entry": replace(
        PROOF,
        second=replace(
            PROOF.second, id=EntryId(PROOF.second.proof[-1]), proof=PROOF.second.proof[:1]
        ),
    ),
    "a header that nobody signed": replace(
        PROOF,
        second=replace(PROOF.second, header=replace(PROOF.second.header, signature=bytes(64))),
    ),
    "another number under the same signature": replace(
        PROOF,
        second=replace(
            place_of(b"two", index=2),
            header=replace(place_of(b"two", index=2).header, first_sequence=0),
        ),
    ),
    "a place outside of the batch": replace(PROOF, second=replace(PROOF.second, index=9)),
    "somebody else's certificate": replace(
        PROOF, certificate=replace(CERTIFICATE, node=NodeId(KEY.public))
    ),
    "a certificate of another session": replace(
        PROOF,
        certificate=certify(
            node=NODE, session=SigningKey.from_seed(b"z" * 32), workspace=WORKSPACE, started_ms=1
        ),
    ),
}


@pytest.mark.parametrize("name", FALSE)
def test_nobody_is_accused_falsely(name: str) -> None:
    """Each lie differs from a true proof in one thing, and is refused."""
    assert not is_equivocation(FALSE[name], WORKSPACE)


def test_a_proof_counts_in_its_own_workspace_only() -> None:
    """What a session signed elsewhere proves nothing here."""
    assert not is_equivocation(PROOF, WorkspaceId(b"v" * 32))


def test_who_is_named_follows_from_the_certificate() -> None:
    """A session certified by two nodes accuses the one whose certificate is shown."""
    assert is_equivocation(replace(PROOF, certificate=OTHER_NODE), WORKSPACE)
    assert OTHER_NODE.node != CERTIFICATE.node


def believing(*names: str) -> Callable[[EquivocationProof], bool]:
    """Return a check that skips parts, as a broken node would."""

    def check(proof: EquivocationProof) -> bool:
        first, second = proof.first, proof.second
        parts = {
            "numbers": sequence_of(first) == sequence_of(second) and first.id != second.id,
            "halves": all(equivocation._is_signed(half, WORKSPACE) for half in (first, second)),
            "certificate": is_certificate(proof.certificate, WORKSPACE)
            and proof.certificate.session == first.header.session,
        }
        return all(holds for name, holds in parts.items() if name not in names)

    return check


@pytest.mark.parametrize("skipped", ["numbers", "halves", "certificate"])
def test_planted_bugs_accuse_honest_members(skipped: str) -> None:
    """Whoever skips one part of the check believes some lie; with all parts nobody does."""
    assert any(believing(skipped)(lie) for lie in FALSE.values())
    assert not any(believing()(lie) for lie in FALSE.values())


@given(st.binary(max_size=40), st.integers(), st.integers(), st.lists(st.binary(), max_size=4))
def test_garbage_accuses_nobody(noise: bytes, index: int, count: int, proof: list[bytes]) -> None:
    """Whatever a peer sends, the answer is no, not a crash."""
    half = SignedPlace(
        replace(PROOF.first.header, count=count, root=noise), index, EntryId(noise), tuple(proof)
    )
    garbage: SessionCertificate = replace(CERTIFICATE, signature=noise)
    assert not is_equivocation(replace(PROOF, second=half), WORKSPACE)
    assert not is_equivocation(EquivocationProof(garbage, half, half), WORKSPACE)
