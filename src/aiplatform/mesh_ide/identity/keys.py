"""Signing keys and the one form in which anything is signed.

Ed25519 as RFC 8032 defines it, from ``cryptography``. Every signature covers a *statement*: a
domain that says what kind of sentence it is, and length-prefixed parts. A signature of one kind
can therefore never be shown as one of another kind, nor bytes moved from one part to the next.
"""

from __future__ import annotations

from typing import Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from aiplatform.mesh_ide.model.ids import KEY_BYTES, short

SIGNATURE_BYTES: Final = 64
"""RFC 8032, section 5.1.6."""

_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""The encodings, without their sign bit, of the eight points of small order. Under such a "key"
one signature fits many messages: whoever used it could later deny or swap what was said
(Chalkias et al., "Taming the many EdDSAs", 2020)."""


class SigningKey:
    """An Ed25519 private key that never shows itself.

    Attributes:
        public: the 32 bytes of the public key, which serve as id of node, user or session.
    """

    __slots__ = ("_private", "public")

    def __init__(self, private: Ed25519PrivateKey) -> None:
        """Wrap a private key of the library."""
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the key that follows from 32 secret random bytes.

        Raises:
            ValueError: the seed has another length (a caller's error).
        """
        if len(seed) != KEY_BYTES:
            message = f"a seed has {KEY_BYTES} bytes, this one {len(seed)}"
            raise ValueError(message)
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    def sign(self, message: bytes) -> bytes:
        """Return the 64 bytes of the (deterministic) signature."""
        return self._private.sign(message)

    def reveal_seed(self) -> bytes:
        """Return the 32 secret bytes: for the link library, which proves the key by itself."""
        return self._private.private_bytes_raw()

    def __repr__(self) -> str:
        """Show the public half only: reprs end up in logs."""
        return f"SigningKey(public={short(self.public)})"

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be copied into a byte string by accident."""
        message = "a signing key is not serialised; the key store writes its seed"
        raise TypeError(message)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Return whether the holder of ``public`` signed ``message``.

    Malformed keys and signatures, and keys of small order, are simply not signatures: ``False``.
    """
    if len(public) != KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    if public[:-1] + bytes((public[-1] & 0x7F,)) in _SMALL_ORDER:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def statement(domain: bytes, *parts: bytes) -> bytes:
    """Return the bytes to sign for a domain and its parts: injective, each with its length."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in (domain, *parts))


def number(value: int) -> bytes:
    """Return a number as a part of a statement: eight bytes, signed, big-endian.

    Raises:
        OverflowError: the number does not fit.
    """
    return value.to_bytes(8, "big", signed=True)
