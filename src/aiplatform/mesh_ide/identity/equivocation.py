"""Equivocation: the proof that a session signed two different entries for one sequence number.

No honest node does that: sessions are never continued after a restart, and a session numbers its
entries in one place. Each half of a proof is a signed batch header and the Merkle path of one
entry's id below its root; since leaves and inner nodes are hashed apart (``identity.merkle``) and
the path's length follows from the place, a half can only be made from what the session signed.
The certificate, signed by node and session, says whose session it is.
"""

from __future__ import annotations

from aiplatform.mesh_ide.identity.batches import is_signed_header
from aiplatform.mesh_ide.identity.merkle import BadProofError, inclusion_proof, root_from_proof
from aiplatform.mesh_ide.identity.sessions import is_certificate
from aiplatform.mesh_ide.model.entries import BatchSlice, KnownEntry
from aiplatform.mesh_ide.model.ids import WorkspaceId
from aiplatform.mesh_ide.model.messages import EquivocationProof, SignedPlace


def signed_place(piece: BatchSlice, known: tuple[KnownEntry, ...], position: int) -> SignedPlace:
    """Return one half of a proof: that the entry at this position of a slice was signed.

    Args:
        piece: a checked slice.
        known: its entries, in its order.
        position: which of them.
    """
    index = piece.indexes[position]
    if piece.proofs:
        proof = piece.proofs[position]
    else:
        proof = inclusion_proof([entry.ref.id for entry in known], index)
    return SignedPlace(piece.header, index, known[position].ref.id, proof)


def sequence_of(place: SignedPlace) -> int:
    """Return the sequence number that a half is about."""
    return place.header.first_sequence + place.index


def is_equivocation(proof: EquivocationProof, workspace: WorkspaceId) -> bool:
    """Return whether the certificate's session signed two different entries for one number.

    Whether its node is a member is the roster's business. Costs four verifications, 0.6 ms; the
    cheap comparisons come first.
    """
    first, second = proof.first, proof.second
    session = proof.certificate.session
    if not (
        first.header.session == second.header.session == session
        and sequence_of(first) == sequence_of(second)
        and first.id != second.id
    ):
        return False
    return (
        _is_signed(first, workspace)
        and _is_signed(second, workspace)
        and is_certificate(proof.certificate, workspace)
    )


def _is_signed(place: SignedPlace, workspace: WorkspaceId) -> bool:
    header = place.header
    try:
        root = root_from_proof(place.id, place.index, header.count, place.proof)
    except BadProofError:
        return False
    return root == header.root and is_signed_header(header, workspace)
