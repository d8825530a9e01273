"""What a peer announced and this node has not heard of: when it is asked for."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import takewhile
from typing import Final

from aiplatform.mesh_ide.model.ids import FileId

ASK_AFTER_MS: Final = 400
"""A head that a peer announced and its author has not sent by then is asked for."""

ASK_BUSY_AFTER_MS: Final = 10_000
"""... or by then, where entries of the peer keep coming: the time of a large first exchange."""


class Unheard:
    """Files to ask one peer for.

    Not while its entries are still being checked: announcements overtake them, and a busy node
    asked for ten thousand files that it had in its queue (measured). But a peer that never pauses
    must not keep us from asking for what it left out for ever.
    """

    def __init__(self) -> None:
        self._since: dict[FileId, int] = {}
        """In the order of time."""
        self._lacking: dict[FileId, None] = {}
        self._checking = 0
        """Frames of entries that came from the peer and are being checked."""
        self._checked_ms = 0

    def announced(self, files: Iterable[FileId], now_ms: int) -> None:
        """The peer announced heads that are not known here."""
        for file in files:
            self._since.setdefault(file, now_ms)

    def heard(self, files: Iterable[FileId]) -> None:
        """They are known now."""
        for file in files:
            self._since.pop(file, None)

    def parents_missing(self, files: Iterable[FileId]) -> None:
        """Entries came without what they build on: to be asked for at once."""
        self._lacking.update(dict.fromkeys(files))

    def entries_came(self) -> None:
        """A frame of entries came and is being checked."""
        self._checking += 1

    def entries_checked(self, now_ms: int) -> None:
        """... and has been."""
        self._checking = max(0, self._checking - 1)
        self._checked_ms = now_ms

    def take_due(self, now_ms: int) -> list[FileId]:
        """Return and forget the files to ask for now."""
        is_checking = self._checking or now_ms - self._checked_ms < ASK_AFTER_MS
        latest_ms = now_ms - (ASK_BUSY_AFTER_MS if is_checking else ASK_AFTER_MS)
        old = takewhile(lambda item: item[1] <= latest_ms, self._since.items())
        due = [file for file, _ in old]
        for file in due:
            del self._since[file]
        due.extend(self._lacking)
        self._lacking.clear()
        return due
