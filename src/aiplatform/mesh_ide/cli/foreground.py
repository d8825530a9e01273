"""``mesh up``: in the foreground with a line for what happens, or in the background."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path

from aiplatform.mesh_ide.api.locations import Place, identity_of
from aiplatform.mesh_ide.cli import daemon
from aiplatform.mesh_ide.cli.founding import listen_of
from aiplatform.mesh_ide.cli.output import (
    locations,
    note,
    print_json,
    print_text,
    root_around,
    safe,
)
from aiplatform.mesh_ide.cli.serve import (
    Ready,
    ServeOptions,
    already_served,
    find_moved,
    is_remade,
    reason_of,
    run,
)
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.ports.errors import RootMissingError
from aiplatform.mesh_ide.server.control import server_pid


class NodeFailedError(MeshIDEError):
    """A defect ended the node; its traceback was printed."""


def up(
    place: Place,
    folder: Path,
    options: tuple[int, str, str],
    *,
    detach: bool,
    as_json: bool,
) -> None:
    """Serve a node.

    Raises:
        AlreadyServedError: somebody does.
        AddressInUseError: the port is taken.
        RootMissingError: the folder is gone.
    """
    port, listen, relay = options
    listen_of(listen)
    place = _to_serve(place, folder)
    if detach:
        started = daemon.start(place, [str(port), listen, relay])
        if as_json:
            print_json("up", started)
        else:
            print_text(_line(started.folder, started.node, started.addresses, started.pid))
            note(f"Stop with `mesh down`. Its log: {safe(started.log)}")
        return

    def ready(serving: Ready) -> None:
        if as_json:
            print_json("up", serving)
        else:
            print_text(_line(serving.folder, serving.node, serving.addresses, serving.pid))
            note("Stop with Ctrl-C. Invite a machine with `mesh share`, look with `mesh status`.")

    def tell(kind: str, text: str) -> None:
        if kind != "files":
            note(f"{kind}: {safe(text)}")

    try:
        run(place, ServeOptions(port, listen, relay), ready, tell)
    except MeshIDEError:
        raise
    except Exception as error:
        traceback.print_exc()
        raise NodeFailedError(f"the node ended unexpectedly: {reason_of(error)}") from error
    sys.stderr.flush()


def _to_serve(place: Place, folder: Path) -> Place:
    """Return the node with its folder where that stands now."""
    pid = server_pid(locations().socket(place.state))
    root = root_around(place, folder)
    if pid is not None:
        raise already_served(place, pid, root)
    place = find_moved(place, root)
    if place.folder is None:
        return place
    if identity_of(place.folder) is None:
        raise RootMissingError(
            f"the folder {place.folder} of the workspace {place.workspace} is gone: bring it back "
            f"first, or if it was moved, `mesh up` in its new place. What was acknowledged is kept "
            f"in {place.state}"
        )
    if is_remade(place, place.folder):
        note(
            f"{safe(str(place.folder))} is not the folder that was served last: what it lacks "
            "counts as deleted, what differs as edited (`mesh history` keeps every version)"
        )
    return place


def _line(folder: str, node: str, addresses: tuple[str, ...], pid: int) -> str:
    where = ", ".join(addresses)
    return f"ready: {safe(folder)} is served as {safe(node)} at {where} (process {pid})"
