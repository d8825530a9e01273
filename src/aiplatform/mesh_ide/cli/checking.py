"""What a doctor looks at from outside a node."""

from __future__ import annotations

from collections.abc import Iterator

from aiplatform.mesh_ide.api.answers import Check
from aiplatform.mesh_ide.api.health import machine_checks, private_check, space_check
from aiplatform.mesh_ide.api.locations import Place, UnsafeFolderError, identity_of, own_folder
from aiplatform.mesh_ide.cli.output import locations


def machine() -> tuple[Check, ...]:
    """Look at the machine and this program."""
    return machine_checks()


def place_checks(place: Place) -> Iterator[Check]:
    """Look at a node's files."""
    yield private_check(place.state)
    yield space_check("state's disk", place.state)
    if place.folder is not None and identity_of(place.folder) is None:
        advice = "bring it back, then `mesh up`; if it was moved, `mesh up` in its new place"
        yield Check("folder", "problem", f"{place.folder} is gone", advice)
    socket = locations().socket(place.state)
    try:
        own_folder(socket.parent)
    except UnsafeFolderError as error:
        yield Check("socket", "problem", str(error), "see the message")
    else:
        yield Check("socket", "ok", str(socket))
