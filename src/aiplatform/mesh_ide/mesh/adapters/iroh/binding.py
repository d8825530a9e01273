"""Mends the byte-by-byte copy of iroh's generated Python binding.

``_UniffiRustBufferBuilder.write`` copies in a Python loop: 3 MB/s. One ``memmove`` makes it
240 MB/s end to end. Reported as iroh-ffi#229, mended upstream in uniffi-rs#2824, not in iroh
1.2.0. The read side slices a ``POINTER(c_char)``, which ctypes does by one copy already.
"""

from __future__ import annotations

import ctypes
import importlib
import warnings
from typing import Any, Final

_SAMPLES: Final = (b"", b"\x00", bytes(range(16)), bytes(range(17)), bytes(range(256)) * 40)
"""Around the builder's first allocation of 16 bytes, where it has to grow, and beyond."""


def mend() -> bool:
    """Replace the slow copy where it is there; return whether bytes are copied fast now.

    Does nothing if the binding no longer has the slow copy, and warns instead of replacing if the
    replacement would not build equal bytes. Idempotent.
    """
    ffi: Any = importlib.import_module("iroh.iroh_ffi")
    builder = ffi._UniffiRustBufferBuilder  # noqa: SLF001 - what is mended is private
    if not is_slow(builder.write):
        return True
    if not builds_equal_bytes(ffi, fast_write):
        warnings.warn(
            "iroh's binding changed: its slow copy stays, links will reach about 3 MB/s; "
            "install the iroh version named in pyproject.toml",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    builder.write = fast_write
    return True


def is_slow(write: Any) -> bool:  # noqa: ANN401 - any version's function
    """Tell the looping implementation by the name it uses: it enumerates the bytes."""
    return "enumerate" in getattr(getattr(write, "__code__", None), "co_names", ())


def fast_write(builder: Any, value: bytes | bytearray | memoryview) -> None:  # noqa: ANN401 - a private class
    """Append ``value`` by one copy; stands in for ``_UniffiRustBufferBuilder.write``."""
    size = len(value)
    buffer = builder.rbuf
    if buffer.len + size > buffer.capacity:
        buffer = builder.rbuf = type(buffer).reserve(buffer, size)
    if size:
        start = ctypes.addressof(buffer.data.contents) + buffer.len
        ctypes.memmove(start, value if isinstance(value, bytes) else bytes(value), size)
        buffer.len += size


def builds_equal_bytes(ffi: Any, write: Any) -> bool:  # noqa: ANN401 - private, any version
    """Compare what ``write`` builds with what the binding's own function builds."""
    own = ffi._UniffiRustBufferBuilder.write  # noqa: SLF001 - as above
    return all(_build(ffi, own, sample) == _build(ffi, write, sample) for sample in _SAMPLES)


def _build(ffi: Any, write: Any, sample: bytes) -> bytes:  # noqa: ANN401 - as above
    builder = ffi._UniffiRustBufferBuilder()  # noqa: SLF001 - as above
    try:
        builder.write_i32(len(sample))
        write(builder, sample)
        write(builder, b"end")
        return bytes(builder.rbuf.data[: builder.rbuf.len])
    finally:
        builder.discard()
