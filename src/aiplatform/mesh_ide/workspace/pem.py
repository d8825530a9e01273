"""Whether a file of keys holds nothing secret: read as PEM, and refused at the first doubt.

Pure. PEM is what RFC 7468 says: blocks of base64 between two labelled lines, with any text before,
between and after them. That text is why looking for private blocks is not enough: what is not
understood here counts as secret.
"""

from __future__ import annotations

import re
from typing import Final

PUBLIC_LABELS: Final = frozenset(
    {
        b"CERTIFICATE",
        b"X509 CERTIFICATE",
        b"TRUSTED CERTIFICATE",
        b"CERTIFICATE REQUEST",
        b"NEW CERTIFICATE REQUEST",
        b"X509 CRL",
        b"PUBLIC KEY",
        b"RSA PUBLIC KEY",
    }
)
"""Blocks that are made to be shown (RFC 7468; openssl's pem.h has the older names). Parameters and
PKCS #7 are not among them: the former usually precede a private key, the latter may hold one."""

_BOUNDARY: Final = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{1,40})-----")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/]+={0,2}")
_LONG: Final = re.compile(rb"[A-Za-z0-9+/]{40,}")
"""A key without its labels: the shortest one in base64 (32 bytes) has 43 of these in a row."""
_HEX: Final = re.compile(rb"(?:[0-9a-fA-F]{2}\s?){12,}")
"""Twelve bytes in hexadecimal and more: a serial number, a digest, or a key. Openssl prints keys
with colons, and each private one after a word that ``_SECRET`` knows."""
_DIGEST: Final = re.compile(rb"fingerprint|digest|serial|sha-?\d|md5", re.IGNORECASE)
"""Words by which bundles of certificates introduce hexadecimal numbers."""
_SECRET: Final = re.compile(rb"\b(?:priv|pass|secret|token)|-----", re.IGNORECASE)
_WRAPPED: Final = re.compile(rb"[A-Za-z0-9+/]{12,}={0,2}")
"""A line of this alone: a key in base64 without its labels, cut into short lines."""


def is_public(content: bytes) -> bool:
    """Return whether a content is PEM with nothing but certificates and public keys.

    Cost: O(n), so the caller bounds the content.
    """
    label: bytes | None = None
    blocks = 0
    for raw in content.splitlines():
        line = raw.strip()
        boundary = _BOUNDARY.fullmatch(line)
        if boundary is None:
            is_fine = _is_harmless(line) if label is None else _BASE64.fullmatch(line)
        elif boundary[1] == b"BEGIN":
            is_fine = label is None and boundary[2] in PUBLIC_LABELS
            label = boundary[2]
        else:
            is_fine = label == boundary[2]
            label = None
            blocks += 1
        if not is_fine:
            return False
    return label is None and blocks > 0


def _is_harmless(line: bytes) -> bool:
    """Return whether a line outside of all blocks is an explanation, and no part of a key."""
    try:
        is_text = line.decode().isprintable()
    except UnicodeDecodeError:
        is_text = False
    if not is_text or _SECRET.search(line) or _WRAPPED.fullmatch(line):
        return False
    if _DIGEST.search(line):
        return True
    return not (_HEX.search(line) or _LONG.search(line))
