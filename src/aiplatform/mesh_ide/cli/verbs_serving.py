"""Verbs that begin and end serving: init, up, join, down."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated, Final

import typer

from aiplatform.mesh_ide.api import requests
from aiplatform.mesh_ide.api.client import ControlClient, NodeWentAwayError, not_served
from aiplatform.mesh_ide.api.locations import Place
from aiplatform.mesh_ide.cli.options import FolderOption, JsonOption, TimeoutOption
from aiplatform.mesh_ide.cli.output import (
    connect,
    folder_of,
    locations,
    note,
    place_of,
    print_json,
    print_text,
    safe,
)
from aiplatform.mesh_ide.model.errors import MeshIDEError, TimedOutError

app = typer.Typer()

_ANY_PORT: Final = -1
"""See ``serve.ServeOptions``."""

DETACH_HELP: Final = "Return when the node is ready; it goes on in the background."
PortOption = Annotated[
    int | None,
    typer.Option(
        "--port",
        metavar="N",
        envvar="MESH_PORT",
        min=0,
        max=65535,
        help="UDP port for links; 0 takes any. [7311, or the next free one]",
        show_default=False,
    ),
]
ListenOption = Annotated[
    str,
    typer.Option(
        "--listen", envvar="MESH_LISTEN", help="everywhere, or loopback: this machine alone."
    ),
]
RelayOption = Annotated[
    str,
    typer.Option(
        "--relay",
        metavar="URL",
        envvar="MESH_RELAY",
        help="An iroh relay, for nodes behind NAT.",
        show_default=False,
    ),
]
NameOption = Annotated[
    str, typer.Option("--name", help="What to call this node. [this machine's name]")
]
TypeOption = Annotated[str, typer.Option("--type", help="local, edge, cloud, quantum or model.")]
DetachOption = Annotated[bool, typer.Option("--detach", "-d", help=DETACH_HELP)]


@app.command("init", epilog="Example: cd ~/code/rocket && mesh init")
def init(  # noqa: PLR0913 - one argument an option
    directory: Annotated[str, typer.Argument(metavar="DIR", show_default=False)] = "",
    *,
    workspace: Annotated[
        str, typer.Option("--workspace", help="The workspace's name. [the folder's name]")
    ] = "",
    name: NameOption = "",
    node_type: TypeOption = "local",
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make a folder a workspace, this machine its first node."""
    from aiplatform.mesh_ide.cli import founding  # noqa: PLC0415 - imports a whole node

    place = founding.init(folder_of(directory or folder), workspace, name, node_type)
    if as_json:
        print_json("init", _shown(place))
        return
    print_text(f"{safe(str(place.folder))} is the workspace {safe(place.workspace)} now")
    note("Serve it with `mesh up` (or `mesh up --detach`), then `mesh share` invites a machine.")


@app.command("up", epilog="Example: mesh up --detach")
def up(  # noqa: PLR0913 - one argument an option
    directory: Annotated[str, typer.Argument(metavar="DIR", show_default=False)] = "",
    *,
    detach: DetachOption = False,
    port: PortOption = None,
    listen: ListenOption = "everywhere",
    relay: RelayOption = "",
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Serve a workspace, until interrupted or in the background.

    It is the one around the current folder, or around DIR.
    """
    word = directory or folder
    serve_place(
        place_of(word), folder_of(word), (port, listen, relay), detach=detach, as_json=as_json
    )


@app.command("join", epilog="Example: mesh join mesh1a... ~/code/rocket --detach")
def join(  # noqa: PLR0913 - one argument an option
    ticket: Annotated[
        str,
        typer.Argument(metavar="TICKET", help="What `mesh share` printed; - reads it from stdin."),
    ],
    directory: Annotated[
        str, typer.Argument(metavar="DIR", help="[./<the workspace's name>]", show_default=False)
    ] = "",
    *,
    name: NameOption = "",
    node_type: TypeOption = "local",
    detach: DetachOption = False,
    port: PortOption = None,
    listen: ListenOption = "everywhere",
    relay: RelayOption = "",
    timeout: TimeoutOption = 20.0,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Become a node of a workspace by a ticket, and serve it.

    What stands in DIR already is joined with the workspace: equal files are one, different files
    of one name are a conflict that you decide. After the first time `mesh up` is enough. In a
    folder that is a node of that workspace already, the ticket says where its issuer is now.
    """
    from aiplatform.mesh_ide.cli import founding  # noqa: PLC0415 - imports a whole node
    from aiplatform.mesh_ide.identity.tickets import format_ticket  # noqa: PLC0415 - as above

    read = founding.read_ticket(ticket)
    there = founding.folder_for(read, folder_of(folder), directory)
    if founding.is_place(there):
        with connect(str(there)) as node:
            done = node.call(requests.AskDial(format_ticket(read)), timeout)
        print_json("join", done) if as_json else print_text(done.message)
        return
    place = founding.join(
        read,
        there,
        name,
        node_type,
        listen=listen,
        port=port or 0,
        timeout_s=timeout,
    )
    assert place.folder is not None, "joined with a folder"
    try:
        serve_place(place, place.folder, (port, listen, relay), detach=detach, as_json=as_json)
    except MeshIDEError:
        note(
            f"{safe(str(place.folder))} has joined {safe(place.workspace)}; the ticket is used up. "
            "It is not served: `mesh up` there does that (`--port N` for another port)"
        )
        raise


@app.command("down", epilog="Example: mesh down")
def down(
    directory: Annotated[str, typer.Argument(metavar="DIR", show_default=False)] = "",
    *,
    timeout: TimeoutOption = 20.0,
    folder: FolderOption = "",
    as_json: JsonOption = False,
) -> None:
    """Stop serving. What was acknowledged is on the disk; `mesh up` goes on."""
    place = place_of(directory or folder)
    message = stop(place, timeout)
    if as_json:
        print_json("down", {"message": message, **_shown(place)})
    else:
        print_text(message)


def serve_place(
    place: Place,
    folder: Path,
    options: tuple[int | None, str, str],
    *,
    detach: bool,
    as_json: bool,
) -> None:
    """Serve here or in the background."""
    from aiplatform.mesh_ide.cli import foreground  # noqa: PLC0415 - imports a whole node

    port, listen, relay = options
    chosen = (_ANY_PORT if port is None else port, listen, relay)
    foreground.up(place, folder, chosen, detach=detach, as_json=as_json)


def stop(place: Place, timeout_s: float) -> str:
    """Ask a node to stop and wait until it has; signal it if it does not answer.

    Raises:
        NotServedError: nobody serves it.
        TimedOutError: it is still there.
    """
    from aiplatform.mesh_ide.server.control import server_pid  # noqa: PLC0415 - imports asyncio

    socket = locations().socket(place.state)
    pid = server_pid(socket)
    if pid is None:
        raise not_served(
            place.state, f"nobody serves {place.folder or place.name}: nothing to stop"
        )
    deadline_s = time.monotonic() + timeout_s
    try:
        with ControlClient(socket, timeout_s=min(5.0, timeout_s)) as node:
            node.call(requests.AskDown(), min(5.0, timeout_s))
    except NodeWentAwayError:
        pass  # it stopped while we asked
    except MeshIDEError:
        # It does not answer. The kernel says who listens there, so this is the right process.
        os.kill(pid, signal.SIGTERM)
    while time.monotonic() < deadline_s:
        if not _is_running(place, pid):
            return f"{place.folder or place.name} is no longer served"
        time.sleep(0.02)
    raise TimedOutError(
        f"process {pid} still serves {place.folder or place.name} after {timeout_s:g} s: "
        f"wait, or end it with `kill {pid}`"
    )


def _is_running(place: Place, pid: int) -> bool:
    """Return whether a process that served a node is still there (a zombie is not)."""
    del place
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (ProcessLookupError, FileNotFoundError):
        return False
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] != "Z"


def _shown(place: Place) -> dict[str, object]:
    return {
        "folder": str(place.folder or ""),
        "workspace": place.workspace,
        "node": place.node,
        "state": str(place.state),
    }
