"""One end of ``bench.bare``: ``-m bench.bare_end SIDE FOLDER FILES DATABASE [--records]``."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import apsw
import msgspec
import uvloop
from blake3 import blake3
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Struct

from aiplatform.mesh_ide.mesh.adapters.iroh.endpoint import Listen
from aiplatform.mesh_ide.mesh.adapters.iroh.transport import IrohTransport
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId
from aiplatform.mesh_ide.ports.transport import LinkEnd

BATCH_FILES: Final = 50
BATCH_BYTES: Final = 2_000_000
_PART_BYTES: Final = 1_000_000
_ENTRY_BYTES: Final = 150
"""What an entry of ours takes on the wire and in the store."""

_SIGNER: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))


class Part(Struct, array_like=True):
    """A file, or a piece of a large one; the hash comes with the last piece."""

    path: str
    mode: int
    offset: int
    data: bytes
    hash: bytes = b""


class Batch(Struct, array_like=True):
    """Parts, and the entries of the files that end in them under one signature."""

    parts: list[Part]
    entries: list[bytes]
    signature: bytes


class Records:
    """Entries and records in SQLite, durable when ``keep`` returns."""

    def __init__(self, database: str) -> None:
        self._connection = apsw.Connection(database)
        self._connection.pragma("journal_mode", "wal")
        self._connection.pragma("synchronous", "full")
        for table in ("entries", "records"):
            self._connection.execute(
                f"create table {table} (key blob primary key, value blob) without rowid"
            )

    def keep(self, batch: Batch) -> None:
        """Commit what belongs to a batch."""
        ended = [part for part in batch.parts if part.hash]
        with self._connection:
            self._connection.executemany(
                "insert into entries values (?, ?)",
                [
                    (blake3(entry).digest(), entry)
                    for _, entry in zip(ended, batch.entries, strict=True)
                ],
            )
            self._connection.executemany(
                "insert into records values (?, ?)",
                [(part.path.encode(), part.hash) for part in ended],
            )


class Right:
    """Checks and writes what comes."""

    def __init__(self, folder: Path, files: int, records: Records | None) -> None:
        self.up, self.done = asyncio.Event(), asyncio.Event()
        self._folder = folder
        self._missing = files
        self._records = records
        self._made: set[str] = set()
        self._decoder = msgspec.msgpack.Decoder(Batch)
        self._open: dict[str, tuple[int, blake3]] = {}

    def on_link_up(self, peer: NodeId, address: str) -> None:
        """See ``LinkListener``."""
        del peer, address
        self.up.set()

    def on_link_down(self, peer: NodeId, end: LinkEnd, detail: str) -> None:
        """See ``LinkListener``."""
        del peer, end
        print(detail, file=sys.stderr)  # its log

    async def on_join(self, peer: NodeId, request: bytes) -> bytes:
        """See ``LinkListener``."""
        del peer, request
        return b""

    def on_frame(self, peer: NodeId, channel: Channel, frame: bytes) -> None:
        """See ``LinkListener``."""
        del peer, channel
        batch = self._decoder.decode(memoryview(frame)[1:])
        if self._records is not None:
            _SIGNER.public_key().verify(batch.signature, blake3(b"".join(batch.entries)).digest())
            self._records.keep(batch)
        for part in batch.parts:
            self._write(part)
        if self._missing == 0:
            self.done.set()

    def _write(self, part: Part) -> None:
        whole = f"{self._folder}/{part.path}"
        parent, _, name = whole.rpartition("/")
        if part.offset == 0:
            if parent not in self._made:
                Path(parent).mkdir(parents=True, exist_ok=True)
                self._made.add(parent)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._open[whole] = (os.open(f"{parent}/.{name}~", flags, part.mode), blake3())
        target, digest = self._open[whole]
        digest.update(part.data)
        os.write(target, part.data)
        if part.hash:
            assert digest.digest() == part.hash, part.path
            os.close(target)
            os.rename(f"{parent}/.{name}~", whole)  # noqa: PTH104 - the least there is
            del self._open[whole]
            self._missing -= 1


def read_parts(folder: Path) -> Iterator[Part]:
    """Yield all files below a folder, large ones in pieces."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = f"{parent}/{name}"
            source = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            stat = os.fstat(source)
            digest = blake3()
            for offset in range(0, max(1, stat.st_size), _PART_BYTES):
                data = os.read(source, _PART_BYTES)
                digest.update(data)
                is_last = offset + len(data) >= stat.st_size
                relative = path[len(str(folder)) + 1 :]
                hashed = digest.digest() if is_last else b""
                yield Part(relative, stat.st_mode & 0o777, offset, data, hashed)
            os.close(source)


def batches(folder: Path, records: Records | None) -> Iterator[bytes]:
    """Yield the frames that carry a folder."""
    parts: list[Part] = []
    size = 0
    encoder = msgspec.msgpack.Encoder()

    def take() -> bytes:
        entries = [
            part.hash + part.path.encode().ljust(_ENTRY_BYTES - len(part.hash), b"\0")
            for part in parts
            if part.hash and records is not None
        ]
        signature = b"" if records is None else _SIGNER.sign(blake3(b"".join(entries)).digest())
        batch = Batch(parts, entries, signature)
        if records is not None:
            records.keep(batch)
        return b"\0" + encoder.encode(batch)

    for part in read_parts(folder):
        parts.append(part)
        size += len(part.data)
        if len(parts) >= BATCH_FILES or size >= BATCH_BYTES:
            yield take()
            parts.clear()
            size = 0
    if parts:
        yield take()


async def main(side: str, folder: Path, files: int, records: Records | None) -> None:
    """Exchange addresses over the standard streams, then copy."""
    transport = IrohTransport(side.encode().ljust(32), listen=Listen.LOOPBACK)
    end = Right(folder, files, records)
    addresses = await transport.start(end)
    hear = partial(asyncio.get_running_loop().run_in_executor, None, sys.stdin.readline)
    say([transport.node.hex(), addresses])
    peer_hex, peer_addresses = json.loads(json.loads(await hear()))
    peer = NodeId(bytes.fromhex(peer_hex))
    transport.allow(frozenset({peer}))
    if side == "left":
        while not end.up.is_set():
            transport.dial(peer, peer_addresses)
            await asyncio.sleep(0.5)
    await end.up.wait()
    say("ready")
    if side == "left":
        await hear()
        for frame in batches(folder, records):
            await transport.send(peer, Channel.BULK, frame)
            await asyncio.sleep(0)
        await hear()  # until it is ended
    else:
        await end.done.wait()
        say("done")
        await hear()


def say(word: object) -> None:
    """Tell the benchmark."""
    print(json.dumps(json.dumps(word)), flush=True)


if __name__ == "__main__":
    uvloop.run(
        main(
            sys.argv[1],
            Path(sys.argv[2]),
            int(sys.argv[3]),
            Records(sys.argv[4]) if "--records" in sys.argv else None,
        )
    )
