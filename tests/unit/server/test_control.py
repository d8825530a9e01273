"""The control socket: frames, answers, streams, cancellation, and who may connect."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from aiplatform.mesh_ide.api import answers, requests
from aiplatform.mesh_ide.api.async_client import AsyncControlClient
from aiplatform.mesh_ide.api.client import ControlClient, NotServedError
from aiplatform.mesh_ide.api.control import CalledError, CallTimedOutError, NotUtf8Error
from aiplatform.mesh_ide.api.locations import UnsafeFolderError
from aiplatform.mesh_ide.model.errors import ConflictError
from aiplatform.mesh_ide.server.control import AlreadyServedError, ControlServer, server_pid


class FakeOperations:
    """Answers a few requests in ways that tests need."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def perform(  # noqa: C901 - one line per request
        self, request: requests.AnyAsk, emit: Callable[[Struct], Awaitable[None]]
    ) -> Struct:
        match request:
            case requests.AskWhy():
                return answers.Why(request.path, "SYNCED", "fine")
            case requests.AskResolve():
                raise ConflictError("two sides: choose one")
            case requests.AskRelease():
                await self.released.wait()
                return answers.Done(f"released {request.hold}")
            case requests.AskReject():
                self.released.set()
                return answers.Done("set")
            case requests.AskBlame():
                raise TimeoutError  # of a part that has a bound of its own
            case requests.AskCat():
                return answers.Content(request.path, "now", "regular", bytes(17 * 1024 * 1024))
            case requests.AskPing():
                for number in range(request.count):
                    await emit(answers.PingRound(number, 1.5))
                return answers.PingResult(
                    "00", request.node, "", request.count, 0, None, None, None
                )
            case requests.AskEvents():
                try:
                    while True:
                        await emit(answers.Happening(1, "files", "something"))
                        await asyncio.sleep(0)
                finally:
                    self.cancelled.set()
            case _:
                raise AssertionError(request)


@pytest.fixture
def path() -> Iterator[Path]:
    """Give a short path in a folder of our own."""
    folder = Path(os.environ["XDG_RUNTIME_DIR"], f"c{os.getpid()}")
    folder.mkdir(mode=0o700)
    yield folder / "node.sock"
    for left in folder.iterdir():
        left.unlink()
    folder.rmdir()


@asynccontextmanager
async def served(path: Path) -> AsyncIterator[FakeOperations]:
    """Serve fake operations on a path."""
    operations = FakeOperations()
    server = ControlServer(path, operations)
    await server.start()
    try:
        yield operations
    finally:
        await server.stop()


def run(path: Path, work: Callable[[], object]) -> object:
    """Run blocking client code against a served socket."""

    async def main() -> object:
        async with served(path), asyncio.timeout(20):
            return await asyncio.to_thread(work)

    return asyncio.run(main())


def test_a_request_is_answered_with_its_record(path: Path) -> None:
    """The synchronous client gets the type that the request names."""

    def work() -> object:
        with ControlClient(path) as node:
            assert node.pid == os.getpid()
            return node.call(requests.AskWhy("a.txt"))

    assert answers.Why("a.txt", "SYNCED", "fine") == run(path, work)


def test_a_text_that_is_not_utf_8_is_refused_before_it_is_sent(path: Path) -> None:
    """As usage, in the form that the folder's own look shows; the connection goes on."""

    def work() -> object:
        with ControlClient(path) as node:
            with pytest.raises(NotUtf8Error, match=r"na\\xefve is not UTF-8") as caught:
                node.call(requests.AskWhy(os.fsdecode(b"na\xefve")))
            assert caught.value.exit_code == 2
            with pytest.raises(NotUtf8Error, match=r"a\\ud800 is not UTF-8"):
                node.call(requests.AskWhy("a\ud800"))
            return node.call(requests.AskWhy("after")).path

    assert run(path, work) == "after"


def test_a_problem_keeps_message_code_and_exit_code(path: Path) -> None:
    """What the node raised is what the command ends with."""

    def work() -> object:
        with ControlClient(path) as node, pytest.raises(CalledError) as caught:
            node.call(requests.AskResolve("a.txt", "x"))
        return caught.value

    error = run(path, work)
    assert isinstance(error, CalledError)
    assert (str(error), error.code, error.exit_code) == ("two sides: choose one", "conflict", 5)


def test_a_stream_gives_its_items_and_then_its_answer(path: Path) -> None:
    """In order, nothing lost."""

    def work() -> object:
        with ControlClient(path) as node:
            return list(node.stream(requests.AskPing("x", 3), answers.PingRound))

    items = run(path, work)
    assert isinstance(items, list)
    assert [item.sequence for item in items[:-1]] == [0, 1, 2]
    assert isinstance(items[-1], answers.PingResult)


def test_a_call_that_takes_too_long_ends_with_124(path: Path) -> None:
    """The server bounds each call by the caller's time."""

    def work() -> object:
        with ControlClient(path) as node, pytest.raises(CallTimedOutError) as caught:
            node.call(requests.AskRelease(1), timeout_s=0.05)
        return caught.value.exit_code

    assert run(path, work) == 124


@pytest.mark.parametrize("timeout_s", [None, 60.0])
def test_a_part_that_is_too_slow_is_not_taken_for_the_callers_time(
    path: Path, timeout_s: float | None
) -> None:
    """With a bound of the caller's or without: it has not passed, and the message says what has."""

    def work() -> object:
        with ControlClient(path) as node:
            with pytest.raises(CallTimedOutError) as caught:
                node.call(requests.AskBlame("a.txt"), timeout_s)
            assert node.call(requests.AskWhy("after")).path == "after"
        return caught.value

    error = run(path, work)
    assert isinstance(error, CallTimedOutError)
    assert "a part of this node did not answer" in str(error)
    assert "60" not in str(error)
    assert error.exit_code == 124


def test_an_answer_over_the_bound_is_a_problem_and_the_connection_lives(path: Path) -> None:
    """Seventeen MiB do not fit a frame."""

    def work() -> object:
        with ControlClient(path) as node:
            with pytest.raises(CalledError, match="over the bound"):
                node.call(requests.AskCat("big"))
            return node.call(requests.AskWhy("b")).path

    assert run(path, work) == "b"


def test_a_thousand_calls_are_under_way_at_once_on_one_connection(path: Path) -> None:
    """The last call lets all before it go: none may wait for another's answer."""

    async def main() -> list[str]:
        async with served(path), AsyncControlClient.connect(path) as node, asyncio.timeout(20):
            async with asyncio.TaskGroup() as tasks:
                calls = [
                    tasks.create_task(node.call(requests.AskRelease(number)))
                    for number in range(1000)
                ]
                await node.call(requests.AskReject(0))
            return [call.result().message for call in calls]

    assert [f"released {number}" for number in range(1000)] == asyncio.run(main())


def test_what_a_client_that_goes_away_asked_for_is_cancelled(path: Path) -> None:
    """A stream without a reader ends."""

    async def main() -> None:
        async with served(path) as operations, asyncio.timeout(20):

            def look() -> None:
                with ControlClient(path) as node:
                    next(iter(node.stream(requests.AskEvents(), answers.Happening)))

            await asyncio.to_thread(look)
            await operations.cancelled.wait()

    asyncio.run(main())


def test_leaving_a_stream_early_cancels_that_call_alone(path: Path) -> None:
    """The asynchronous client says so, and the connection goes on."""

    async def main() -> str:
        async with (
            served(path) as operations,
            AsyncControlClient.connect(path) as node,
            asyncio.timeout(20),
        ):
            stream = node.stream(requests.AskEvents(), answers.Happening)
            assert (await anext(stream)).text == "something"
            await stream.aclose()  # type: ignore[attr-defined]
            await operations.cancelled.wait()
            return (await node.call(requests.AskWhy("after"))).path

    assert asyncio.run(main()) == "after"


def test_the_client_hears_that_the_node_stopped(path: Path) -> None:
    """A call under way does not hang."""

    async def main() -> None:
        async with served(path), asyncio.timeout(20):
            reader, writer = await asyncio.open_unix_connection(str(path))
            await reader.readexactly(4)
            writer.close()

        def dead() -> None:
            with pytest.raises(NotServedError):
                ControlClient(path)

        await asyncio.to_thread(dead)

    asyncio.run(main())
    assert not path.exists(), "the socket is taken away"


@pytest.mark.parametrize(
    "sent", [struct.pack(">I", 1 << 31), struct.pack(">I", 3) + b"abc", b"\0\0\0"]
)
def test_what_is_not_the_protocol_ends_the_connection_only(path: Path, sent: bytes) -> None:
    """A frame over the bound, garbage, half a header; others are served on."""

    def work() -> object:
        with socket.socket(socket.AF_UNIX) as other:
            other.settimeout(10)
            other.connect(str(path))
            other.sendall(sent)
            other.shutdown(socket.SHUT_WR)
            while other.recv(4096):
                pass
        with ControlClient(path) as node:
            return node.call(requests.AskWhy("still")).path

    assert run(path, work) == "still"


def test_the_socket_is_for_its_user_alone(path: Path) -> None:
    """Mode 0600, in a folder of mode 0700."""

    async def main() -> int:
        async with served(path):
            return stat.S_IMODE(os.stat(path).st_mode)  # noqa: PTH116 - a test's look

    assert asyncio.run(main()) == 0o600
    path.parent.chmod(0o755)
    with pytest.raises(UnsafeFolderError):
        asyncio.run(main())


def test_another_user_gets_no_word(path: Path) -> None:
    """Whoever the kernel says is somebody else is disconnected before the greeting."""

    async def first_bytes(uid: int) -> bytes:
        server = ControlServer(path, FakeOperations(), lambda _: (1, uid))
        await server.start()
        try:
            reader, writer = await asyncio.open_unix_connection(str(path))
            async with asyncio.timeout(10):
                said = await reader.read(1)
            writer.close()
            return said
        finally:
            await server.stop()

    assert asyncio.run(first_bytes(os.geteuid() + 4711)) == b""
    assert asyncio.run(first_bytes(os.geteuid())) != b"", "the check is what makes the difference"


def test_a_dead_socket_is_replaced_and_a_live_one_is_not(path: Path) -> None:
    """What a killed node left behind is no obstacle; a node that answers is named."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    assert server_pid(path) is None

    async def main() -> AlreadyServedError:
        async with served(path):
            assert server_pid(path) == os.getpid()
            with pytest.raises(AlreadyServedError) as caught:
                await ControlServer(path, FakeOperations()).start()
            return caught.value

    error = asyncio.run(main())
    assert (error.pid, error.exit_code) == (os.getpid(), 1)
    assert str(os.getpid()) in str(error)
