"""Sending: a core's messages and answers, to the link of the peer they are for."""

from __future__ import annotations

from collections.abc import Callable

from aiplatform.mesh_ide.mesh.codec import encode
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import BlobHash
from aiplatform.mesh_ide.node.events import LinkQueueFull, Told
from aiplatform.mesh_ide.node.outbox import Outbox
from aiplatform.mesh_ide.node.outgoing import blob_messages, entry_messages
from aiplatform.mesh_ide.ports.errors import (
    BadFrameError,
    CorruptRecordError,
    FrameTooLargeError,
    LinkFullError,
    NoLinkError,
)
from aiplatform.mesh_ide.ports.filetree import Contents
from aiplatform.mesh_ide.ports.store import Store
from aiplatform.mesh_ide.ports.transport import Transport
from aiplatform.mesh_ide.replication.commands import SendBlobs, SendEntries, SendMessage


class Sending:
    """Sends small messages at once and long answers piece by piece, through the outbox.

    Loss: what cannot be sent is dropped. The core hears of a queue that is full; after the end of
    a link reconciliation makes up for what was lost with it.
    """

    def __init__(  # noqa: PLR0913 - what it reads, where it goes, who hears of failures
        self,
        transport: Transport,
        outbox: Outbox,
        store: Store,
        contents: Contents,
        path_of: Callable[[BlobHash], str | None],
        on_full: Callable[[LinkQueueFull], None],
        tell: Callable[[Told], None],
        report_damage: Callable[[CorruptRecordError], None],
    ) -> None:
        self._transport = transport
        self._outbox = outbox
        self._store = store
        self._contents = contents
        self._path_of = path_of
        self._on_full = on_full
        self._tell = tell
        self._report_damage = report_damage

    def send(self, command: SendMessage | SendEntries | SendBlobs) -> None:
        """Send a message, or begin to send what a peer asked for."""
        match command:
            case SendMessage():
                self._send_message(command)
            case SendEntries():
                wanted = command.wanted
                answer = entry_messages(self._store, wanted, self._report_damage)
                if not self._outbox.put(command.peer, Channel.DOCUMENTS, answer, len(wanted)):
                    self._on_full(LinkQueueFull(command.peer))
            case SendBlobs():
                request = command.request
                blobs = blob_messages(self._contents, request, self._path_of)
                if not self._outbox.put(command.peer, Channel.BULK, blobs, len(request.blobs)):
                    self._on_full(LinkQueueFull(command.peer))

    def _send_message(self, command: SendMessage) -> None:
        peer = command.peer
        try:
            self._transport.send_nowait(peer, command.channel, encode(command.message))
        except NoLinkError:
            return  # its LinkDown is on the way; reconciliation makes up for it
        except (LinkFullError, FrameTooLargeError):
            self._on_full(LinkQueueFull(peer))
        except BadFrameError as error:
            # What a peer made us answer is over a bound: neither it nor we end for that.
            self._tell(Told("warning", f"an answer was not sent: {error}", peer))
