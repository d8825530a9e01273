"""Turns what Loro raises on bad input into errors of ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiplatform.mesh_ide.model.entries import EntryRef
from aiplatform.mesh_ide.model.errors import LocalError, MeshIDEError
from aiplatform.mesh_ide.model.ids import short
from aiplatform.mesh_ide.ports.errors import BadUpdateError


class BadEntryError(BadUpdateError):
    """An entry's update was refused.

    Attributes:
        entry: whose payload it was.
    """

    def __init__(self, entry: EntryRef, problem: str) -> None:
        super().__init__(entry, problem)
        self.entry = entry
        self.problem = problem

    def __str__(self) -> str:
        return (
            f"the update of entry {short(self.entry.id)} {self.problem}; "
            "keep the entry aside and distrust the session that signed it"
        )


class BadEditError(LocalError):
    """An edit does not fit the document it was meant for; nothing was changed."""


@contextmanager
def loro_faults_as(error: MeshIDEError) -> Iterator[None]:
    """Raise ``error`` where Loro reports bad input or panics.

    Loro 1.17 raises ``BaseException`` itself for decode errors and pyo3's ``PanicException``
    (which cannot be imported) for broken invariants. Both are recognised exactly, so that an
    interrupt, an exit or an error of our own passes through.
    """
    try:
        yield
    except BaseException as fault:
        if type(fault) is BaseException or type(fault).__name__ == "PanicException":
            raise error from fault
        raise
