"""Commits under way: in order, also when the disk refuses some for a while."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.ports.jobs import Persist, Persisted

PERSIST_RETRY_MS: Final = 1000


class Commits:
    """Hands commits to the store in order and tries those again that it refused.

    Behind a commit that failed the later ones wait: tried on its own, a later one's records would
    afterwards be overwritten by the older ones of the commit that failed.

    Invariants:
        1. commits that failed are tried again in their order, before anything newer.
        2. while ``_failed`` is not empty, nothing new is in flight.
    """

    def __init__(self) -> None:
        self.problem: str | None = None
        self._failed: list[Persist] = []
        self._behind: list[Persist] = []
        self._in_flight: dict[int, Persist] = {}
        self._retry_ms = 0

    def begin(self, persist: Persist) -> list[Persist]:
        """Return what to ask of the store now."""
        if self._failed:
            self._behind.append(persist)
            return []
        self._in_flight[persist.ticket] = persist
        return [persist]

    def on_persisted(self, result: Persisted, now_ms: int) -> bool:
        """Take an answer; return whether the commit is durable."""
        persist = self._in_flight.pop(result.ticket)
        if result.problem is None:
            self.problem = None
            return True
        self._failed.append(persist)
        self._retry_ms = now_ms + PERSIST_RETRY_MS
        self.problem = self.problem or result.problem
        return False

    def retried(self, now_ms: int) -> list[Persist]:
        """Return the commits that failed, and those behind them, once it is time.

        Only when nothing is under way: what was behind the first that failed is refused as well,
        and nothing new may come before it.
        """
        if not self._failed or self._in_flight or now_ms < self._retry_ms:
            return []
        again = [*self._failed, *self._behind]
        self._failed.clear()
        self._behind.clear()
        return again
