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

from aiplatform.mesh_ide.api.births import birth_of
from aiplatform.mesh_ide.api.happenings import Happenings
from aiplatform.mesh_ide.api.last_run import SEEN_EVERY_S, RunMark
from aiplatform.mesh_ide.api.locations import Place, identity_of, write_place
from aiplatform.mesh_ide.api.operations import Operations
from aiplatform.mesh_ide.api.subjects import Subjects
from aiplatform.mesh_ide.cli.casing import check_case
from aiplatform.mesh_ide.cli.output import locations
from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.node.boot import ServingNode, open_node
from aiplatform.mesh_ide.node.settings import move_folder
from aiplatform.mesh_ide.server.control import AlreadyServedError, ControlServer, server_pid
from aiplatform.mesh_ide.storage.errors import StateInUseError

STOP_GRACE_S: Final = 0.2
"""Between being asked to stop and stopping: the answer to who asked still goes out."""


class ServeOptions(Struct, frozen=True):
    """How to serve.

    Attributes:
        port: UDP port for links; 0: any, -1: the one it had, or the next free one.
        listen: the name of a ``Listen``.
        relay: URL of a relay, or empty.
        log: the file that tells what happens, empty if there is none.
    """

    port: int = -1
    listen: str = "everywhere"
    relay: str = ""
    log: str = ""


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
    """Return whether a node's folder stands somewhere else now than when it was registered.

    Proven, even where another folder was made in its old place by now.
    """
    if folder is None or place.folder is None or folder == place.folder:
        return False
    return identity_of(place.folder) != identity_of(folder) and place.is_same(folder)


def is_remade(place: Place, folder: Path) -> bool:
    """Return whether another folder was put where a node's folder was, a backup for example.

    By the birth alone: device numbers of one and the same disk change with a restart.
    """
    birth_ns = birth_of(folder)
    return birth_ns not in {0, place.birth_ns} and place.birth_ns != 0


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
    mark = RunMark(place.state, options.log)
    is_serving = False

    def served(serving: Ready) -> None:
        nonlocal is_serving
        is_serving = True
        ready(serving)

    try:
        await _serve(place, node, socket, stopping, mark, served, tell)
    except BaseException as error:
        # Before it served, whoever started it is told.
        mark.fail(reason_of(error)) if is_serving else mark.end()
        raise
    mark.end()


async def _serve(  # noqa: PLR0913 - the parts of a process that serves
    place: Place,
    node: ServingNode,
    socket: Path,
    stopping: asyncio.Event,
    mark: RunMark,
    ready: Callable[[Ready], None],
    tell: Tell,
) -> None:
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
            beside = (tasks.create_task(_tell(subjects, tell)), tasks.create_task(_be_seen(mark)))
            running = tasks.create_task(node.wait())
            stopped = tasks.create_task(stopping.wait())
            await asyncio.wait({running, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (*beside, stopped):
                task.cancel()
            if stopping.is_set():
                await asyncio.sleep(STOP_GRACE_S)
                await control.stop()
                await node.stop()


async def _be_seen(mark: RunMark) -> None:
    while True:
        await asyncio.sleep(SEEN_EVERY_S)
        mark.seen()


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


def reason_of(error: BaseException) -> str:
    """Return in one line what ended a node."""
    error = single(error)
    said = " ".join(str(error).split())
    return said if isinstance(error, MeshIDEError) else f"{type(error).__name__}: {said}"


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
