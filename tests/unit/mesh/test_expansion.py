"""What a small frame can make of itself in memory: nothing on the wire is compressed.

MessagePack has no references and no repetition, so every object costs at least a byte on the
wire; what one byte becomes at most is measured here, for the densest frame of each shape.
"""

from __future__ import annotations

import ast
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from aiplatform.mesh_ide.mesh.codec import LIMITS, decode
from aiplatform.mesh_ide.model.messages import Acquaintances
from aiplatform.mesh_ide.ports.errors import BadFrameError

SIZE = 256 * 1024
EXPANSION_MAX = 20
"""Measured: 18 for the densest (pairs of an empty id and nothing). With the largest frame of
8 MiB that is 150 MB, for as long as it takes to count the items and refuse them."""

CONSTANT_BYTES = 64 * 1024
"""Error texts, the decoder's own first buffers."""

HEADER = b"\x95\xc4\x00\x01\x01\xc4\x00\xc4\x00"
SOURCE = Path(__file__).parents[3] / "src"


def array(count: int) -> bytes:
    """Return the head of an array."""
    return b"\xdd" + count.to_bytes(4, "big")


def filled(before: bytes, item: bytes, after: bytes = b"") -> bytes:
    """Return a frame of about ``SIZE`` bytes with as many items as fit."""
    count = (SIZE - len(before) - len(after) - 5) // len(item)
    return before + array(count) + item * count + after


DENSE: dict[str, bytes] = {
    "records": filled(b"\x00\x92\x02", b"\xc4\x00"),
    "vectors": filled(b"\x00\x93\x07", b"\x92\xc4\x00\x90", b"\xc2"),
    "one vector": filled(b"\x00\x93\x07\x91\x92\xc4\x00", b"\x92\xc4\x00\x00", b"\xc2"),
    "ranges": filled(b"\x00\x94\x06\x00\x90", b"\x93\xc4\x00\xc4\x00\x90"),
    "items of a range": filled(
        b"\x00\x94\x06\x00\x90\x91\x93\xc4\x00\xc4\x00", b"\x92\xc4\x00\xc4\x00"
    ),
    "slices": filled(b"\x00\x92\x08", b"\x93" + HEADER + b"\x90\x90"),
    "indexes of a slice": filled(b"\x00\x92\x08\x91\x93" + HEADER, b"\x01", b"\x90"),
    "proofs of a slice": filled(b"\x00\x92\x08\x91\x94" + HEADER + b"\x90\x90", b"\x90"),
    "heads": filled(b"\x00\x92\x09", b"\x92\xc4\x00\xc4\x00"),
    "blob requests": filled(b"\x00\x92\x0a", b"\x93\xc4\x00\x00\x00"),
    "blob parts": filled(b"\x00\x92\x0b", b"\x94\xc4\x00\x00\x00\xc4\x00"),
    "acquaintances": filled(b"\x00\x92\x0f", b"\x92\xc4\x00\x90"),
    "fields of a later version": filled(b"\x00\x93\x08\x90", b"\x80"),
}


def peak_bytes(frame: bytes, decoder: Callable[[bytes], object]) -> int:
    """Return how much memory decoding a frame takes at its height, whatever comes of it."""
    tracemalloc.start()
    try:
        decoder(frame)
    except (BadFrameError, msgspec.DecodeError):
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def is_bounded(frame: bytes, decoder: Callable[[bytes], object]) -> bool:
    """Return whether a frame stays within its bound."""
    return peak_bytes(frame, decoder) <= EXPANSION_MAX * len(frame) + CONSTANT_BYTES


@pytest.mark.parametrize("shape", DENSE)
def test_no_frame_becomes_more_than_a_stated_multiple_of_itself(shape: str) -> None:
    """Also where it is refused afterwards for its number of items."""
    assert len(DENSE[shape]) > SIZE // 2
    assert is_bounded(DENSE[shape], decode)


CLAIMS = [
    before + head + count.to_bytes(4, "big")
    for before in (b"\x00\x92\x02", b"\x00\x93\x07", b"\x00\x92\x08", b"\x00\x93\x08\x90")
    for head in (b"\xdd", b"\xdf", b"\xc6", b"\xdb")
    for count in (2**32 - 1, 2**31 - 1, 2**24)
]


@pytest.mark.parametrize("frame", CLAIMS, ids=bytes.hex)
def test_a_claimed_length_allocates_nothing(frame: bytes) -> None:
    """Ten bytes that announce four thousand million items are refused at the cost of ten bytes."""
    assert peak_bytes(frame, decode) <= CONSTANT_BYTES
    with pytest.raises(BadFrameError):
        decode(frame)


def test_planted_bug_a_decoder_without_types_expands_beyond_the_bound() -> None:
    """Untyped, each byte can be a dictionary; the check above says so."""
    untyped = msgspec.msgpack.Decoder()

    def careless(frame: bytes) -> object:
        return untyped.decode(memoryview(frame)[1:])

    assert not is_bounded(DENSE["fields of a later version"], careless)


def test_a_frame_is_measured_before_it_is_decoded() -> None:
    """Where a kind's own bound is small, a large frame of it costs nothing at all."""
    most = LIMITS[Acquaintances].frame_bytes_max
    head = b"\x00\x92\x0f"
    frame = head + array(most // 4) + b"\x92\xc4\x00\x90" * (most // 4)
    assert len(frame) > most
    assert peak_bytes(frame, decode) <= CONSTANT_BYTES


UNPACKERS = {"bz2", "gzip", "lz4", "lzma", "zipfile", "zlib", "zstandard", "tarfile", "brotli"}


def test_nothing_that_comes_from_a_peer_is_unpacked() -> None:
    """No module of ours imports a decompressor: where none is, no bomb goes off.

    Loro alone has one inside, for snapshots, which no entry may hold (``test_engine_bombs``).
    """
    imported: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported.update(name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.partition(".")[0])
    assert "msgspec" in imported
    assert imported & UNPACKERS == set()
