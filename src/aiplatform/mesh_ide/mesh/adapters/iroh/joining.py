"""The join protocol over iroh: one bidirectional stream, one small frame each way.

The end of the stream is the end of the frame, so there is no length to lie about. QUIC's
handshake proves the key of who asks (RFC 9001, with raw public keys as of RFC 7250).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from iroh import Connection, Endpoint, IrohError

from aiplatform.mesh_ide.mesh.adapters.iroh.closing import CloseCode, close, explain
from aiplatform.mesh_ide.mesh.adapters.iroh.reaching import NotReachedError, Reached
from aiplatform.mesh_ide.mesh.adapters.joins import (
    ANSWER_TIMEOUT_S,
    READ_TIMEOUT_S,
    JoinBusyError,
    JoinGate,
    check_join_frame,
)
from aiplatform.mesh_ide.model.errors import MeshIDEError
from aiplatform.mesh_ide.model.ids import NodeId, short
from aiplatform.mesh_ide.ports.errors import PeerUnreachableError
from aiplatform.mesh_ide.ports.transport import JOIN_FRAME_BYTES_MAX, LinkListener


async def serve(connection: Connection, gate: JoinGate, listener: LinkListener) -> None:
    """Answer the one request of a connection and close it, whatever the peer does.

    It is closed while the error still holds the stream: a stream that is let go counts as
    finished, and the asker would take nothing for the answer.
    """
    peer = NodeId(connection.remote_id().to_bytes())
    try:
        with gate.admit(peer, asyncio.get_running_loop().time()):
            await _answer(connection, peer, listener)
    except JoinBusyError as error:
        close(connection, CloseCode.BUSY, str(error))
    except TimeoutError:
        close(connection, CloseCode.FAULT, "the join request took too long")
    except IrohError:
        close(connection, CloseCode.FAULT, "the join request is malformed or too large")
    except MeshIDEError as error:
        close(connection, CloseCode.REFUSED, str(error))
    finally:
        close(connection, CloseCode.SHUTDOWN, "done")


async def _answer(connection: Connection, peer: NodeId, listener: LinkListener) -> None:
    async with asyncio.timeout(READ_TIMEOUT_S):
        stream = await connection.accept_bi()
        request = await stream.recv().read_to_end(JOIN_FRAME_BYTES_MAX)
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        answer = await listener.on_join(peer, request)
    check_join_frame(answer, "answer")
    async with asyncio.timeout(READ_TIMEOUT_S):
        sender = stream.send()
        await sender.write_all(answer)
        await sender.finish()
        await connection.closed()  # the asker closes when it has read; closing first could cut it


@asynccontextmanager
async def limited(peer: NodeId, addresses: Sequence[str], timeout_s: float) -> AsyncIterator[None]:
    """Limit the time of a request, and say in people's words why its peer was not reached.

    Raises:
        PeerUnreachableError: nobody answered, in time or as this peer.
    """
    where = ", ".join(addresses) or "no address"
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise PeerUnreachableError(
            f"{short(peer)} did not answer at {where} within {timeout_s:g} s: check that it runs "
            "and that UDP reaches it"
        ) from None
    except NotReachedError as error:
        words = explain(error.words).detail
        raise PeerUnreachableError(f"{short(peer)} gave no answer at {where}: {words}") from None


async def ask(
    reached: Reached, let_go: Callable[[Endpoint | None], None], peer: NodeId, request: bytes
) -> bytes:
    """Send one request over a fresh connection, and return the answer. The caller limits the time.

    Raises:
        PeerUnreachableError: the request was turned away.
    """
    connection = reached.connection
    try:
        stream = await connection.open_bi()
        sender = stream.send()
        await sender.write_all(request)
        await sender.finish()
        return await stream.recv().read_to_end(JOIN_FRAME_BYTES_MAX)
    except IrohError as error:
        words = explain(connection.close_reason() or error.message()).detail
        raise PeerUnreachableError(f"{short(peer)} gave no answer: {words}") from None
    finally:
        close(connection, CloseCode.SHUTDOWN, "done")
        let_go(reached.spare)
