"""Taking some entries out of a slice, with the proofs they then need."""

from __future__ import annotations

from collections.abc import Sequence

from aiplatform.mesh_ide.identity.merkle import inclusion_proof
from aiplatform.mesh_ide.model.entries import BatchSlice, KnownEntry


def subset(piece: BatchSlice, known: Sequence[KnownEntry], chosen: Sequence[int]) -> BatchSlice:
    """Return a slice with the entries at these positions of ``piece``.

    Args:
        piece: a checked slice.
        known: its entries, in its order.
        chosen: ascending positions within the slice.

    The proofs of a slice that has them are kept; those of a whole batch are computed from the
    ids alone (no content is hashed again).
    """
    indexes = tuple(piece.indexes[position] for position in chosen)
    entries = tuple(piece.entries[position] for position in chosen)
    if piece.proofs:
        proofs = tuple(piece.proofs[position] for position in chosen)
    else:
        leaves = [entry.ref.id for entry in known]
        proofs = tuple(inclusion_proof(leaves, index) for index in indexes)
    return BatchSlice(piece.header, indexes, entries, proofs)
