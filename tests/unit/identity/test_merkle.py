"""The Merkle tree against a slow reading of RFC 9162, section 2.1."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.merkle import (
    BadProofError,
    inclusion_proof,
    leaf_hash,
    merkle_root,
    node_hash,
    root_from_proof,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

LEAVES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=70)


def slow_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 9162, 2.1.1, word for word: split at the largest power of two below the count."""
    if not leaves:
        return blake3(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = split_of(len(leaves))
    return blake3(b"\x01" + slow_root(leaves[:split]) + slow_root(leaves[split:])).digest()


def slow_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """RFC 9162, 2.1.3.1, word for word."""
    if len(leaves) == 1:
        return []
    split = split_of(len(leaves))
    if index < split:
        return [*slow_proof(leaves[:split], index), slow_root(leaves[split:])]
    return [*slow_proof(leaves[split:], index - split), slow_root(leaves[:split])]


def split_of(count: int) -> int:
    """The largest power of two smaller than ``count``."""
    return 1 << (count - 1).bit_length() - 1


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=70))
def test_root_equals_the_recursive_definition(leaves: list[bytes]) -> None:
    """The level-by-level tree is the RFC's tree."""
    assert merkle_root(leaves) == slow_root(leaves)


@given(LEAVES, st.data())
def test_proof_equals_the_recursive_definition_and_leads_to_the_root(
    leaves: list[bytes], data: st.DataObject
) -> None:
    """A proof has the RFC's hashes in the RFC's order, and proves."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(leaves, index)
    assert list(proof) == slow_proof(leaves, index)
    assert root_from_proof(leaves[index], index, len(leaves), proof) == merkle_root(leaves)


@given(LEAVES, st.data())
def test_no_other_leaf_or_place_leads_to_the_root(leaves: list[bytes], data: st.DataObject) -> None:
    """A proof is good for one leaf at one place."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    other = data.draw(st.binary(min_size=32, max_size=32).filter(lambda b: b != leaves[index]))
    proof = inclusion_proof(leaves, index)
    root = merkle_root(leaves)
    assert root_from_proof(other, index, len(leaves), proof) != root
    for elsewhere in range(len(leaves)):
        if leaves[elsewhere] == leaves[index]:
            continue
        try:
            found = root_from_proof(leaves[elsewhere], elsewhere, len(leaves), proof)
        except BadProofError:
            continue
        assert found != root


@given(LEAVES, st.data())
def test_proofs_of_the_wrong_length_are_refused(leaves: list[bytes], data: st.DataObject) -> None:
    """Too short and too long are errors, not other roots."""
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(leaves, index)
    with pytest.raises(BadProofError):
        root_from_proof(leaves[index], index, len(leaves), (*proof, bytes(32)))
    if proof:
        with pytest.raises(BadProofError):
            root_from_proof(leaves[index], index, len(leaves), proof[:-1])


@pytest.mark.parametrize(("index", "count"), [(-1, 3), (3, 3), (0, 0)])
def test_places_outside_the_tree_are_refused(index: int, count: int) -> None:
    """A sender may not point outside of its own tree."""
    with pytest.raises(BadProofError):
        root_from_proof(bytes(32), index, count, ())
    with pytest.raises(IndexError):
        inclusion_proof([bytes(32)] * count, index)


def test_leaves_and_nodes_live_in_different_domains() -> None:
    """The content of an inner node is not an entry with the same hash."""
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != node_hash(left, right)
    assert leaf_hash(b"a") == blake3(b"\x00a").digest()
    assert node_hash(left, right) == blake3(b"\x01" + left + right).digest()


def test_a_repeated_last_leaf_has_another_root() -> None:
    """The flaw of trees that duplicate an odd last node (CVE-2012-2459) is not here."""
    leaves = [leaf_hash(bytes([number])) for number in range(3)]
    assert merkle_root(leaves) != merkle_root([*leaves, leaves[-1]])
