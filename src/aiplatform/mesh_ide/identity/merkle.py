"""Merkle trees over entries: one root names a batch, a short proof ties one entry to it.

The tree is that of RFC 9162, section 2.1, with BLAKE3 in the place of SHA-256: leaves and inner
nodes are hashed under different prefixes, so that no inner node can be passed off as an entry,
and a lone last node of a level moves up unhashed, so that no two lists share a root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from blake3 import blake3

from aiplatform.mesh_ide.model.errors import RemoteError
from aiplatform.mesh_ide.model.ids import EntryId

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAF_PREFIX: Final = b"\x00"
_NODE_PREFIX: Final = b"\x01"


class BadProofError(RemoteError):
    """An inclusion proof has not the length that its place in the tree asks for."""


def leaf_hash(data: bytes) -> EntryId:
    """Return the hash of an encoded entry: its identity (RFC 9162, section 2.1.1)."""
    return EntryId(blake3(_LEAF_PREFIX + data).digest())


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node (RFC 9162, section 2.1.1)."""
    return blake3(_NODE_PREFIX + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf hashes; the empty list has the hash of nothing.

    Args:
        leaves: leaf hashes in order (not the data below them).
    """
    if not leaves:
        return blake3(b"").digest()
    level: Sequence[bytes] = leaves
    while len(level) > 1:
        level = _next_level(level)
    return level[0]


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Return the sibling hashes from leaf ``index`` up to the root, lowest first.

    Raises:
        IndexError: there is no such leaf (a caller's error: nothing remote decides this).
    """
    if not 0 <= index < len(leaves):
        message = f"no leaf {index} in a tree of {len(leaves)}"
        raise IndexError(message)
    proof: list[bytes] = []
    level: Sequence[bytes] = leaves
    position = index
    while len(level) > 1:
        sibling = position ^ 1
        if sibling < len(level):
            proof.append(level[sibling])
        level = _next_level(level)
        position >>= 1
    return tuple(proof)


def root_from_proof(leaf: bytes, index: int, count: int, proof: Sequence[bytes]) -> bytes:
    """Return the root that follows from a leaf and its proof; the caller compares it.

    Args:
        leaf: the leaf's hash.
        index: its position, ``0 <= index < count``.
        count: number of leaves of the tree.
        proof: sibling hashes, lowest first.

    Raises:
        BadProofError: the position is outside the tree, or the proof is too short or too long.
    """
    if not 0 <= index < count:
        message = f"leaf {index} lies outside a tree of {count}: the sender's proof is wrong"
        raise BadProofError(message)
    hash_so_far = leaf
    position, last, used = index, count - 1, 0
    while last > 0:
        # An even position at the end of its level has no sibling: it moves up as it is.
        if position & 1 or position != last:
            if used == len(proof):
                break
            sibling = proof[used]
            used += 1
            hash_so_far = (
                node_hash(sibling, hash_so_far) if position & 1 else node_hash(hash_so_far, sibling)
            )
        position >>= 1
        last >>= 1
    if last > 0 or used != len(proof):
        message = f"a proof of {len(proof)} hashes does not fit leaf {index} of {count}"
        raise BadProofError(message)
    return hash_so_far


def _next_level(level: Sequence[bytes]) -> list[bytes]:
    paired = [
        blake3(_NODE_PREFIX + left + right).digest()
        for left, right in zip(level[::2], level[1::2], strict=False)
    ]
    if len(level) & 1:
        paired.append(level[-1])
    return paired
