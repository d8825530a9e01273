"""Identifiers: what they are made of and how people see them."""

from __future__ import annotations

from typing import Final, NewType

WorkspaceId = NewType("WorkspaceId", bytes)
"""32 bytes: the Ed25519 public key that founded the workspace."""

NodeId = NewType("NodeId", bytes)
"""32 bytes: a node's Ed25519 public key, which is its network address too."""

UserId = NewType("UserId", bytes)
"""32 bytes: the Ed25519 public key of a person, who vouches for nodes."""

SessionId = NewType("SessionId", bytes)
"""32 bytes: the Ed25519 public key of one run of a node, a page or an agent."""

FileId = NewType("FileId", bytes)
"""16 random bytes: a file apart from its place in the tree."""

EntryId = NewType("EntryId", bytes)
"""32 bytes: the Merkle leaf hash of an encoded entry (see ``identity.merkle``)."""

BlobHash = NewType("BlobHash", bytes)
"""32 bytes: BLAKE3 of the plaintext bytes."""

Fingerprint = NewType("Fingerprint", bytes)
"""16 bytes: a hash that names a file together with its frontier."""

TreeNodeId = NewType("TreeNodeId", str)
"""A folder's or file's node in the tree document, as the tree engine writes it."""

KEY_BYTES: Final = 32
FILE_ID_BYTES: Final = 16
HASH_BYTES: Final = 32
FINGERPRINT_BYTES: Final = 16

TREE_FILE: Final = FileId(bytes(FILE_ID_BYTES))
"""The file id of the tree document itself. Random ids are never all zero."""

NO_ENTRY: Final = EntryId(bytes(HASH_BYTES))
"""What stands for "no previous entry" in the first entry of a session."""

_SHORT_HEX: Final = 10
"""Forty bits: enough that people's own nodes and files never collide on a screen."""


def short(identifier: bytes) -> str:
    """Return the first ten hexadecimal digits, the form that people see."""
    return identifier.hex()[:_SHORT_HEX]
