"""Versions of a Loro document as plain values."""

from __future__ import annotations

from collections.abc import Sequence

from loro import ID, Frontiers, LoroDoc

Version = tuple[tuple[int, int], ...]
"""Loro's frontiers: the (peer, counter) of the last atoms, sorted; none is the ancestor of
another. Loro's own object shows its ids to nobody."""


def new_document() -> LoroDoc:
    """Return an empty document."""
    return LoroDoc()


def frontiers(version: Version) -> Frontiers:
    """Return a version as Loro takes it."""
    if len(version) == 1:
        peer, counter = version[0]
        return Frontiers.from_id(ID(peer, counter))
    return Frontiers.from_ids([ID(peer, counter) for peer, counter in version])


def minimal(doc: LoroDoc, versions: Sequence[Version]) -> Version:
    """Return the version that joins versions of this document.

    Cost: quadratic in the number of distinct heads, which are few.
    """
    newest: dict[int, int] = {}
    for version in versions:
        for peer, counter in version:
            newest[peer] = max(counter, newest.get(peer, -1))
    if len(newest) <= 1:
        return tuple(newest.items())
    histories = []
    for peer, counter in newest.items():
        vector = doc.frontiers_to_vv(Frontiers.from_id(ID(peer, counter)))
        assert vector is not None, "a version of an admitted entry is in the document"
        histories.append((peer, vector))
    return tuple(
        sorted(
            (peer, counter)
            for peer, counter in newest.items()
            if not any(
                vector.includes_id(ID(peer, counter))
                for other, vector in histories
                if other != peer
            )
        )
    )
