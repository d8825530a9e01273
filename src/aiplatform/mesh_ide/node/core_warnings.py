"""Warnings for people, each said once in a while."""

from __future__ import annotations

from typing import Final

from aiplatform.mesh_ide.node.events import Told

WARN_AGAIN_MS: Final = 60_000
REMEMBERED_MAX: Final = 256


class Warnings:
    """Who repeats a fault must not fill logs, nor hide other words."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}

    def say(self, text: str, now_ms: int) -> list[Told]:
        """Return the warning, unless the same was said within a minute."""
        if now_ms - self._said.get(text, -WARN_AGAIN_MS) < WARN_AGAIN_MS:
            return []
        self._said.pop(text, None)
        self._said[text] = now_ms
        if len(self._said) > REMEMBERED_MAX:
            del self._said[next(iter(self._said))]
        return [Told("warning", text)]
