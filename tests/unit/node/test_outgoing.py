"""Long answers, piece by piece: entries with their certificates, contents in chunks."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import msgpack

from aiplatform.mesh_ide.mesh.codec import encode
from aiplatform.mesh_ide.model.entries import ENTRIES_PER_BATCH_MAX, FileVector, KnownEntry
from aiplatform.mesh_ide.model.ids import BlobHash, FileId
from aiplatform.mesh_ide.model.messages import (
    AnyMessage,
    BlobRequest,
    Blobs,
    BlobsMissing,
    Certificates,
    Entries,
    Sent,
)
from aiplatform.mesh_ide.node.outgoing import (
    ENTRIES_PER_MESSAGE_MAX,
    PARTS_PER_MESSAGE_MAX,
    blob_messages,
    entry_messages,
)
from aiplatform.mesh_ide.node.records import certificate_record
from aiplatform.mesh_ide.ports.store import CHUNK_BYTES
from tests.unit.documents.authors import Author, blob, file
from tests.unit.mesh.members import certificate_of
from tests.unit.node.ports import Ports


def kinds(messages: Sequence[AnyMessage]) -> list[str]:
    """Return the names of messages, each of which fits a frame."""
    for message in messages:
        encode(message)
    return [type(message).__name__ for message in messages]


def everything(ports: Ports, wanted: Sequence[tuple[FileId, FileVector]]) -> list[AnyMessage]:
    """Return the whole answer about these files."""
    return list(entry_messages(ports.store, wanted))


def wrote(ports: Ports, author: Author, *numbers: int) -> tuple[KnownEntry, ...]:
    """Let an author create files, stored here."""
    known = author.say(*(author.genesis(file(number)) for number in numbers))
    ports.stored(known, author)
    return known


# --- entries -------------------------------------------------------------------------------------


def test_an_empty_answer_is_an_answer() -> None:
    """Nothing that the asker lacks: ``Sent`` says so."""
    ports = Ports()
    assert everything(ports, []) == [Sent(1)]
    assert everything(ports, [(file(9), ())]) == [Sent(1)]


def test_entries_come_with_their_sessions_certificate_before_them() -> None:
    """Each session is introduced once; who has no certificate here is not."""
    ports, ben = Ports(), Author("ben")
    wrote(ports, ben, 1, 2)
    certificate = certificate_of("a")
    record = certificate_record(certificate)
    ports.store.commit((type(record)(record.kind, ben.session, record.value),))
    wrote(ports, ben, 3)
    wrote(ports, ports.me, 4)
    messages = everything(ports, [(file(number), ()) for number in (1, 2, 3, 4)])
    assert kinds(messages) == ["Certificates", "Entries", "Sent"]
    assert messages[0] == Certificates(
        (msgpack.decode(record.value or b"", type=type(certificate)),)
    )
    assert isinstance(messages[1], Entries)
    assert sum(len(piece.entries) for piece in messages[1].slices) == 4


def test_only_what_lies_beyond_the_vector_is_sent() -> None:
    """The asker has the first entry: it gets the second."""
    ports = Ports()
    wrote(ports, ports.me, 1)
    (two,) = ports.me.say(ports.me.change(file(1), "two"))
    ports.stored((two,))
    messages = everything(ports, [(file(1), ((ports.me.session, 1),))])
    (entries,) = [message for message in messages if isinstance(message, Entries)]
    assert [piece.entries for piece in entries.slices] == [(two.encoded,)]


def test_many_entries_are_cut_into_messages() -> None:
    """Three thousand are three; the last one is followed by ``Sent``."""
    ports = Ports()
    for first in range(0, 12 * ENTRIES_PER_BATCH_MAX, ENTRIES_PER_BATCH_MAX):
        wrote(ports, ports.me, *range(1 + first, 1 + first + ENTRIES_PER_BATCH_MAX))
    total = 12 * ENTRIES_PER_BATCH_MAX
    messages = everything(ports, [(file(number), ()) for number in range(1, total + 1)])
    sizes = [
        sum(len(piece.entries) for piece in message.slices)
        for message in messages
        if isinstance(message, Entries)
    ]
    assert sum(sizes) == total
    assert max(sizes) < ENTRIES_PER_MESSAGE_MAX + ENTRIES_PER_BATCH_MAX
    assert kinds(messages)[-1] == "Sent"


# --- contents ------------------------------------------------------------------------------------


def asked(*contents: bytes, first: int = 0) -> BlobRequest:
    """Return the request for these contents."""
    return BlobRequest(tuple((named(content), len(content), first) for content in contents))


def named(content: bytes) -> BlobHash:
    """Return a content's name."""
    return blob(content.decode())


def contents(ports: Ports, request: BlobRequest) -> list[AnyMessage]:
    """Return the whole answer about these contents; nothing is known of paths."""
    return list(blob_messages(ports.contents, request, lambda _: None))


def test_small_contents_share_a_message() -> None:
    """Archived or just kept: both are sent, an empty one too."""
    ports = Ports()
    ports.archive("one")
    ports.contents.keep(blob("two"), b"two")
    ports.archive("")
    (message,) = contents(ports, asked(b"one", b"two", b""))
    assert isinstance(message, Blobs)
    assert [(p.blob, p.size, p.index, p.content) for p in message.parts] == [
        (blob("one"), 3, 0, b"one"),
        (blob("two"), 3, 0, b"two"),
        (blob(""), 0, 0, b""),
    ]


def test_a_large_content_goes_in_chunks_and_can_be_resumed() -> None:
    """Each chunk a message; asked from the second on, the first is left out."""
    ports = Ports()
    large = "x" * (2 * CHUNK_BYTES + 5)
    ports.disk.folder.write("large", large.encode())
    path_of = {blob(large): "large"}.get
    for first in (0, 1):
        request = asked(large.encode(), first=first)
        messages = list(blob_messages(ports.contents, request, path_of))
        parts = [part for m in messages if isinstance(m, Blobs) for part in m.parts]
        assert [(part.index, len(part.content)) for part in parts] == [
            (0, CHUNK_BYTES),
            (1, CHUNK_BYTES),
            (2, 5),
        ][first:]
        assert len(kinds(messages)) == len(parts)


def test_what_is_not_here_is_told_after_what_is() -> None:
    """The asker asks somebody else; the others of its request come nevertheless."""
    ports = Ports()
    ports.archive("one")
    messages = contents(ports, asked(b"gone", b"one", b"also gone"))
    assert kinds(messages) == ["Blobs", "BlobsMissing"]
    assert messages[1] == BlobsMissing((blob("gone"), blob("also gone")))


def test_a_file_that_changed_meanwhile_is_missing() -> None:
    """The path holds other bytes by now: they are not the content that was asked for."""
    ports = Ports()
    ports.disk.folder.write("a", b"changed")
    messages = list(blob_messages(ports.contents, asked(b"one"), lambda _: "a"))
    assert [message for message in messages if isinstance(message, BlobsMissing)] == [
        BlobsMissing((blob("one"),))
    ]


def test_messages_are_bounded_by_number_too() -> None:
    """Thousands of empty files do not make one endless frame."""
    ports = Ports()
    ports.archive("")
    messages = contents(ports, asked(*([b""] * (PARTS_PER_MESSAGE_MAX + 1))))
    assert [len(m.parts) for m in messages if isinstance(m, Blobs)] == [PARTS_PER_MESSAGE_MAX, 1]
