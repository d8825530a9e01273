"""The process that serves: a node, its control socket, its signals. Imports everything."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from msgspec import Struct

from aiplatform.mesh_ide.api.happenings import Happenings
from aiplatform.mesh_ide.api.locations import Place, identity_of, write_place
from aiplatform.mesh_ide.api.operations import Operations
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.cli.casing import check_case
from aiplatform.mesh_ide.cli.output import locations
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.node.boot import open_node
from aiplatform.mesh_ide.node.settings import move_folder
from aiplatform.mesh_ide.server.control import AlreadyServedError, ControlServer, server_pid
from aiplatform.mesh_ide.storage.errors import StateInUseError

STOP_GRACE_S: Final = 0.2
"""Between being asked to stop and stopping: the answer to who asked still goes out."""


class ServeOptions(Struct, frozen=True):
    """How to serve. ``port`` -1: the one it had, or the next free one."""

    port: int = -1
    listen: str = "everywhere"
    relay: str = ""


class Ready(Struct, frozen=True):
    """A node serves now."""

    workspace: str
    node: str
    folder: str
    addresses: tuple[str, ...]
    pid: int


Tell = Callable[[str, str], None]
"""Takes kind and text of what happens, for a log or a terminal."""


def is_moved(place: Place, folder: Path | None) -> bool:
    """Return whether a node's folder stands somewhere else now than when it was registered."""
    if folder is None or folder == place.folder:
        return False
    return place.folder is None or identity_of(place.folder) is None


def find_moved(place: Place, folder: Path | None) -> Place:
    """Take note of a folder that was moved while nobody served it."""
    if folder is None or not is_moved(place, folder):
        return place
    move_folder(place.state, folder)
    return write_place(place.state, folder, place.workspace, place.node)


async def serve(
    place: Place, options: ServeOptions, ready: Callable[[Ready], None], tell: Tell
) -> None:
    """Serve a node until it is asked to stop (by signal or over its socket).

    Args:
        place: which node.
        options: how.
        ready: called once, when it serves.
        tell: called with what happens from then on.

    Raises:
        AlreadyServedError: another process serves it.
        AddressInUseError: the port is taken.
        RootMissingError: its folder is gone.
        CaseInsensitiveError: the folder's disk takes two names for one.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    socket = locations().socket(place.state)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stopping.set)
    pid = server_pid(socket)
    if pid is not None:
        raise already_served(place, pid, place.folder)
    if place.folder is not None:
        check_case(place.folder)  # it may have moved to another disk since it was founded
    try:
        node = open_node(
            place.state,
            port=None if options.port < 0 else options.port,
            listen=Listen[options.listen.upper()],
            relay=options.relay,
        )
    except StateInUseError as error:
        raise AlreadyServedError(str(error), 0) from error
    async with AsyncExitStack() as stack:
        stack.push_async_callback(node.stop)
        await node.start()
        subjects = Subjects(node, stopping.set)
        control = ControlServer(socket, Operations(subjects))
        stack.push_async_callback(control.stop)
        await control.start()
        if place.folder is not None:
            write_place(place.state, place.folder, place.workspace, place.node)
        settings = node.settings
        ready(
            Ready(
                settings.workspace_name,
                settings.node_name,
                settings.folder,
                node.driver.addresses,
                _pid(),
            )
        )
        async with asyncio.TaskGroup() as tasks:
            telling = tasks.create_task(_tell(subjects, tell))
            running = tasks.create_task(node.wait())
            stopped = tasks.create_task(stopping.wait())
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            telling.cancel()
            stopped.cancel()
            if stopping.is_set():
                await asyncio.sleep(STOP_GRACE_S)
                await control.stop()
                await node.stop()


def _pid() -> int:
    import os  # noqa: PLC0415

    return os.getpid()


async def _tell(subjects: Subjects, tell: Tell) -> None:
    happenings = Happenings(subjects)
    async with subjects.driver.watch() as told:
        while True:
            seen = happenings.happening(await told.get())
            paths = ", ".join(seen.paths[:3])
            tell(seen.kind, f"{seen.text}{': ' + paths if paths else ''}")


def already_served(place: Place, pid: int, folder: Path | None) -> AlreadyServedError:
    """Return the error of a second ``mesh up``; ``folder``: where the node's folder stands now."""
    if is_moved(place, folder):
        return AlreadyServedError(
            f"{place.folder} was moved to {folder} while process {pid} serves it: `mesh down` "
            "here, then `mesh up` here to serve it in its new place",
            pid,
        )
    return AlreadyServedError(
        f"{place.folder or place.name} is served already, by process {pid}: see `mesh status`, or "
        "end it with `mesh down`",
        pid,
    )


def single(error: BaseException) -> BaseException:
    """Return the one error inside a group of one."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return uvloop's event loop; there is none for Windows.

    Measured with two nodes on loopback: a live edit 12 ms instead of 14.
    """
    if sys.platform == "win32":
        return asyncio.new_event_loop()
    import uvloop  # noqa: PLC0415 - not there on every platform

    return uvloop.new_event_loop()


def run(place: Place, options: ServeOptions, ready: Callable[[Ready], None], tell: Tell) -> None:
    """``serve`` in an event loop of its own; raises what ended it."""
    try:
        with asyncio.Runner(loop_factory=_new_loop) as runner:
            runner.run(serve(place, options, ready, tell))
    except BaseExceptionGroup as group:
        error = single(group)
        if isinstance(error, MeshIDEError):
            raise error from group
        raise
