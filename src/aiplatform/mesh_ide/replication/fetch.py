"""Fetching contents: who is asked for which blob, how much at a time, and what if it fails."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.model.ids import BlobHash, NodeId
from aiplatform.mesh_ide.model.messages import BlobRequest

WINDOW_BYTES: Final = 16 * 1024 * 1024
"""Asked for and not yet at its place, per peer: fits the content cache (64 MiB) of a node with
four fast peers, and covers 100 ms at 160 MB/s."""

WINDOW_BLOBS: Final = 1024
BLOBS_PER_REQUEST_MAX: Final = 256
STALL_MS: Final = 20_000
"""A peer that sends nothing of what was asked for this long is asked no more for it now."""


class _Want(Struct):
    size: int
    tried: set[NodeId]
    asked: NodeId | None = None
    asked_ms: int = 0
    first_chunk: int = 0
    """Where to go on after a transfer that broke off."""


class Fetcher:
    """What is missing here and who was asked.

    Invariants:
        1. ``_load[peer]`` is the sum of sizes of wants whose ``asked`` is the peer.
        2. a want is asked of one peer at a time.
    """

    def __init__(self) -> None:
        self._wants: dict[BlobHash, _Want] = {}
        self._idle: dict[BlobHash, None] = {}
        self._load: dict[NodeId, int] = {}
        self._count: dict[NodeId, int] = {}
        self._progress_ms: dict[NodeId, int] = {}

    def __len__(self) -> int:
        """Return how many contents are missing."""
        return len(self._wants)

    @property
    def under_way(self) -> int:
        """Return how many contents may come now: none while nobody is linked who could send."""
        return len(self._wants) if self._load else 0

    def is_wanted(self, blob: BlobHash) -> bool:
        """Return whether a content is missing and may still come."""
        return blob in self._wants

    def expects(self, blob: BlobHash, size: int) -> bool | None:
        """Return whether a content of this size is missing; ``None``: the content is not."""
        want = self._wants.get(blob)
        return None if want is None else want.size == size

    def want(self, blob: BlobHash, size: int) -> None:
        """Add a missing content."""
        if blob not in self._wants:
            self._wants[blob] = _Want(size, set())
            self._idle[blob] = None

    def add_peer(self, peer: NodeId) -> None:
        """A peer can be asked from now on."""
        self._load.setdefault(peer, 0)
        self._count.setdefault(peer, 0)

    def drop_peer(self, peer: NodeId) -> None:
        """A peer is gone: what it was asked for is asked of others."""
        for blob, want in self._wants.items():
            if want.asked == peer:
                want.asked = None
                self._idle[blob] = None
            want.tried.discard(peer)
        self._load.pop(peer, None)
        self._count.pop(peer, None)
        self._progress_ms.pop(peer, None)

    def arrived(self, blobs: Iterable[BlobHash]) -> list[BlobHash]:
        """Contents are here; returns those that were wanted."""
        wanted = []
        for blob in blobs:
            want = self._wants.pop(blob, None)
            if want is not None:
                self._idle.pop(blob, None)
                self._unload(want)
                wanted.append(blob)
        return wanted

    def missing(self, peer: NodeId, blobs: Iterable[BlobHash]) -> None:
        """The peer does not have these (or sent something else under their name)."""
        for blob in blobs:
            want = self._wants.get(blob)
            if want is not None and want.asked == peer:
                self._unload(want)
                want.asked = None
                want.tried.add(peer)
                want.first_chunk = 0
                self._idle[blob] = None

    def kept(self, partial: Iterable[tuple[BlobHash, int]]) -> None:
        """Chunks of large blobs are kept up to here: a new request begins there."""
        for blob, first_chunk in partial:
            want = self._wants.get(blob)
            if want is not None:
                want.first_chunk = first_chunk

    def progressed(self, peer: NodeId, now_ms: int) -> None:
        """The peer sends: its wants are not stalled."""
        self._progress_ms[peer] = now_ms

    def _unload(self, want: _Want) -> None:
        if want.asked is not None and want.asked in self._load:
            self._load[want.asked] -= want.size
            self._count[want.asked] -= 1

    def tick(self, now_ms: int) -> None:
        """Take back what stalled."""
        silent = {
            peer
            for peer, count in self._count.items()
            if count and now_ms - self._progress_ms.get(peer, 0) > STALL_MS
        }
        if not silent:
            return
        stalled: dict[NodeId, list[BlobHash]] = {}
        for blob, want in self._wants.items():
            if want.asked is None or want.asked not in silent:
                continue
            alive_ms = max(want.asked_ms, self._progress_ms.get(want.asked, 0))
            if now_ms - alive_ms > STALL_MS:
                stalled.setdefault(want.asked, []).append(blob)
        for peer, blobs in stalled.items():
            self.missing(peer, blobs)

    def requests(self, now_ms: int) -> list[tuple[NodeId, BlobRequest]]:
        """Return the requests to send now; the least loaded peer that may have a blob is asked."""
        chosen: dict[NodeId, list[tuple[BlobHash, int, int]]] = {}
        if not any(self._has_room(peer) for peer in self._load):
            return []
        for blob in list(self._idle):
            want = self._wants[blob]
            peers = [peer for peer in self._load if peer not in want.tried]
            ready = [peer for peer in peers if peer in chosen or self._has_room(peer)]
            if not peers:
                if self._load:
                    # Nobody has it. Whoever still needs it wants it again.
                    del self._idle[blob], self._wants[blob]
                continue
            if not ready:
                continue
            peer = min(ready, key=lambda p: (self._load[p], p))
            is_full = self._load[peer] and self._load[peer] + want.size > WINDOW_BYTES
            if is_full or self._count[peer] >= WINDOW_BLOBS:
                break
            del self._idle[blob]
            want.asked, want.asked_ms = peer, now_ms
            self._load[peer] += want.size
            self._count[peer] += 1
            chosen.setdefault(peer, []).append((blob, want.size, want.first_chunk))
        return [
            (peer, BlobRequest(tuple(blobs[i : i + BLOBS_PER_REQUEST_MAX])))
            for peer, blobs in chosen.items()
            for i in range(0, len(blobs), BLOBS_PER_REQUEST_MAX)
        ]

    def _has_room(self, peer: NodeId) -> bool:
        """Return whether half of a peer's window is free: it is refilled in large requests.

        Asking for each blob as another arrived made frames of two files each (measured: the
        first synchronisation of 10,000 files took twice as long).
        """
        return 2 * self._load[peer] <= WINDOW_BYTES and 2 * self._count[peer] <= WINDOW_BLOBS

    def _check_invariants(self) -> None:
        """Invariants 1 and 2."""
        for peer, load in self._load.items():
            asked = [want for want in self._wants.values() if want.asked == peer]
            assert load == sum(want.size for want in asked), "load is off"
            assert self._count[peer] == len(asked), "count is off"
