"""Seeds that caught each planted bug when they were last searched for (``mutants.py``)."""

from __future__ import annotations

from typing import Final

CATCHING: Final[dict[str, tuple[int, ...]]] = {
    "acknowledges before it persists": (6, 10, 16, 18, 20),
    "loses the last commits in a crash": (1, 3, 5, 7, 10),
    "accepts entries without their parents": (3, 5, 6, 13, 15),
    "takes a session's entries in any order": (3, 44, 49, 63, 64),
    "lets deletes win over concurrent edits": (5, 6, 8, 10, 13),
    "lets the latest arrival win a conflict": (20, 59, 61, 106),
    "reuses its branch beside the base": (2, 8, 13, 16, 18),
    "writes over what it did not expect": (51, 56, 68, 73, 79),
    "does not record a plan before a write": (0, 1, 12, 14, 16),
    "records the folder before the entry": (5, 12, 14, 21, 23),
    "never asks what a writer had read": (2, 4, 6, 8, 9),
    "ignores a head in the fingerprint": (1, 3, 6, 18, 19),
    "forgets to announce what it stored": (0, 1, 2, 3, 4),
    "announces what it has only heard of": (0, 5, 6, 10, 14),
    "promises a vector before it is stored": (87, 94, 108, 166, 175),
    "never asks for what is missing": (31, 115),
}

MORE: Final = 200
"""What a core does first or later moves the seeds on: if none of the recorded ones catches a bug
any more, this many others are tried before the check counts as blind. Record anew then."""
