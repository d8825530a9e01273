"""Loro peer ids, derived so that everybody can tell whose operations an update may hold."""

from __future__ import annotations

from typing import Final

from blake3 import blake3

from aiplatform.mesh_ide.model.ids import BlobHash, FileId, SessionId

_AUTHOR_CONTEXT: Final = "mesh-ide 2026-01 crdt peer of (session, file, branch)"
_GENESIS_CONTEXT: Final = "mesh-ide 2026-01 crdt peer of (file, genesis blob)"
"""BLAKE3 contexts are hard-coded, unique strings (BLAKE3 specification, section 2.3)."""

_PEER_BYTES: Final = 8
_PEER_RESERVED: Final = frozenset({0, 2**64 - 1})
"""Loro keeps the largest id for itself; zero is what an unset id looks like."""

BRANCH_MAX: Final = 2**64 - 1
"""A branch is an entry's sequence number, which fits eight bytes."""


def derive_peer(session: SessionId, file: FileId, branch: int) -> int:
    """Return the peer id under which this session writes this file on this branch.

    Args:
        session: who writes.
        file: what it writes.
        branch: sequence number of the entry that began the branch, 0 to ``BRANCH_MAX``.

    Raises:
        OverflowError: the branch is outside its range.
    """
    material = session + file + branch.to_bytes(_PEER_BYTES, "big")
    return _to_peer(blake3(material, derive_key_context=_AUTHOR_CONTEXT))


def genesis_peer(file: FileId, blob_hash: BlobHash) -> int:
    """Return the peer id that inserts a text's first content, the same on every node."""
    return _to_peer(blake3(file + blob_hash, derive_key_context=_GENESIS_CONTEXT))


def _to_peer(hasher: blake3) -> int:
    """Take the first eight bytes of the output stream that are not a reserved id."""
    offset = 0
    while True:
        peer = int.from_bytes(hasher.digest(length=_PEER_BYTES, seek=offset), "big")
        if peer not in _PEER_RESERVED:
            return peer
        offset += _PEER_BYTES
