"""Seeds that caught each planted bug when they were last searched for (``mutants.py``)."""

from __future__ import annotations

from typing import Final

CATCHING: Final[dict[str, tuple[int, ...]]] = {
    "acknowledges before it persists": (6, 10, 13, 14),
    "loses the last commits in a crash": (15, 16, 21, 29),
    "accepts entries without their parents": (5, 10, 15, 18),
    "lets deletes win over concurrent edits": (2, 5, 6, 8),
    "lets the latest arrival win a conflict": (17, 52, 61, 87),
    "reuses its branch beside the base": (30, 53, 73, 82),
    "writes over what it did not expect": (5, 24, 39, 51),
    "does not record a plan before a write": (21, 68, 71),
    "never asks what a writer had read": (19, 41, 48, 51),
    "ignores a head in the fingerprint": (1, 3, 6, 19),
    "forgets to announce what it stored": (0, 1, 2, 3),
    "announces what it has only heard of": (11, 14, 16, 20),
}
