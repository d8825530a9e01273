"""What adapters raise, split by who is to blame."""

from __future__ import annotations

from aiplatform.mesh_ide.model.errors import LocalError, RemoteError, UnavailableError


class RootMissingError(UnavailableError):
    """The working folder is gone, or another folder stands in its place."""


class StorageFullError(UnavailableError):
    """The disk is full; nothing of the call was stored."""


class StorageReadOnlyError(UnavailableError):
    """The disk cannot be written; nothing of the call was stored."""


class NewerStateError(LocalError):
    """The state directory was written by a newer version of this program."""


class CorruptRecordError(UnavailableError):
    """Stored bytes do not match their hash; a peer may still have them.

    Attributes:
        what: "entry" or "blob".
        key: its id.
    """

    def __init__(self, message: str, *, what: str, key: bytes) -> None:
        super().__init__(message)
        self.what = what
        self.key = key


class CorruptContentError(UnavailableError):
    """Bytes that were read are not the blob that was asked for."""


class BlobMissingError(UnavailableError):
    """The blob is not held here."""


class BadUpdateError(RemoteError):
    """An update holds somebody else's operations, is malformed, or lacks what it builds on."""


class BadFrameError(RemoteError):
    """A frame is not a message, or breaks a bound."""


class AddressInUseError(LocalError):
    """The port is taken by another program."""


class NoLinkError(UnavailableError):
    """There is no link to this peer."""


class LinkFullError(UnavailableError):
    """A channel's queue is at its bound; the caller slows down."""


class FrameTooLargeError(LocalError):
    """A frame is over ``FRAME_BYTES_MAX``."""


class PeerUnreachableError(UnavailableError):
    """Nobody answered at these addresses in time."""
