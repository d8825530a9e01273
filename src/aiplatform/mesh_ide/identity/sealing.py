"""The seal between two nodes: what a third node that relays their frames cannot read or replay.

Each session makes one fresh X25519 key (RFC 7748) and lets its node's key sign it. Two such keys
agree on one ChaCha20-Poly1305 key (RFC 8439) for each direction and channel, through HKDF-SHA256
(RFC 5869) over everything that both sides believe: workspace, both nodes, both public keys. The
shape is that of HPKE's authenticated mode (RFC 9180), with both keys fresh.

What it gives: only these two sessions can read or write the frames; a frame taken from one
channel, direction or session opens in no other; a repeated frame is refused. When a session ends
and forgets its key, nobody can read its frames any more. Within a session there is no ratchet:
who gets hold of a running node's memory reads that session.

Rules for the caller: a counter is never used twice for one ``FrameSeal``. Counters start at 1 and
go on when a link is made anew within a session; a restart is a new session, and new keys. Once a
peer has offered another key, frames under its former one are refused: a relay could repeat both.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from msgspec import Struct

from aiplatform.mesh_ide.identity.keys import SIGNATURE_BYTES, SigningKey, statement, verify
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.errors import RemoteError
from aiplatform.mesh_ide.model.ids import KEY_BYTES, NodeId, WorkspaceId, short

SEAL_OVERHEAD_BYTES: Final = 1 + 8 + 16
"""Version, counter and authentication tag."""

REPLAY_WINDOW: Final = 1024
"""How far a frame may be overtaken by others, as in RFC 6479 (64 is RFC 4303's least). Relays
reorder across paths; one channel's queue is far shorter than this."""

COUNTER_MAX: Final = 2**48 - 1
"""A million frames a second for nine years: a bound that nothing honest reaches."""

_VERSION: Final = 1
_OFFER_DOMAIN: Final = b"mesh-ide sealing key 1"
_KEY_DOMAIN: Final = b"mesh-ide frame seal 1"
_SESSION_DOMAIN: Final = b"mesh-ide sealing key of a session 1"

OFFER_BYTES: Final = KEY_BYTES + SIGNATURE_BYTES
"""An offer on the wire, where the message around it names the node."""


class SealFault(Enum):
    """Why a sealed frame was refused."""

    MALFORMED = "it is no sealed frame of a known version"
    TAMPERED = "it was changed, or sealed for somebody else"
    REPLAYED = "it came before, or is too old"
    OFFER = "the peer's sealing key is not signed by its node, or is unusable"


class BadSealError(RemoteError):
    """A sealed frame, or a key to seal with, was refused; nothing was decrypted.

    Attributes:
        fault: why.
    """

    def __init__(self, fault: SealFault) -> None:
        """Say why."""
        super().__init__(f"a sealed frame was refused: {fault.value}; it is dropped")
        self.fault = fault


class SealingKey:
    """A session's X25519 private key, which never shows itself."""

    __slots__ = ("_private", "public")

    def __init__(self, private: X25519PrivateKey) -> None:
        """Wrap a private key of the library."""
        self._private = private
        self.public = private.public_key().public_bytes_raw()

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the key that follows from 32 secret random bytes, fresh for each session.

        Raises:
            ValueError: the seed has another length (a caller's error).
        """
        if len(seed) != KEY_BYTES:
            raise ValueError(f"a seed has {KEY_BYTES} bytes, this one {len(seed)}")
        return cls(X25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def of_session(cls, session: SigningKey) -> Self:
        """Return the key that belongs to a session: as fresh as it is, and forgotten with it.

        HKDF keeps the two uses apart: nobody learns anything of one key from the other.
        """
        hkdf = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=_SESSION_DOMAIN)
        return cls.from_seed(hkdf.derive(session.reveal_seed()))

    def agree(self, public: bytes) -> bytes:
        """Return the secret shared with the holder of ``public``.

        Raises:
            BadSealError: the public key is of small order: anybody could know the secret.
        """
        try:
            return self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError as error:
            raise BadSealError(SealFault.OFFER) from error

    def __repr__(self) -> str:
        """Show the public half only."""
        return f"SealingKey(public={short(self.public)})"

    def __reduce__(self) -> tuple[object, ...]:
        """Refuse to be copied into a byte string by accident."""
        raise TypeError("a sealing key is never stored: each session makes its own")


class SealingOffer(Struct, frozen=True, array_like=True):
    """A node's signed word that frames for its present session are sealed to this key."""

    node: NodeId
    public: bytes
    signature: bytes


class FrameSeal(Struct, frozen=True):
    """Both directions' keys of one channel between two sessions."""

    send_key: bytes
    receive_key: bytes

    def __repr__(self) -> str:
        """Show nothing: reprs end up in logs."""
        return "FrameSeal(...)"


class ReplayWindow(Struct, frozen=True):
    """Which counters came: the highest, and a bit for each of the ``REPLAY_WINDOW`` up to it."""

    highest: int = 0
    seen: int = 0


def offer_sealing(*, node: SigningKey, sealing: SealingKey, workspace: WorkspaceId) -> SealingOffer:
    """Return what to tell peers so that they can seal frames to this session."""
    node_id = NodeId(node.public)
    message = statement(_OFFER_DOMAIN, workspace, node_id, sealing.public)
    return SealingOffer(node_id, sealing.public, node.sign(message))


def encode_offer(offer: SealingOffer) -> bytes:
    """Return an offer as ``Hello.sealing`` carries it: public key and signature."""
    return offer.public + offer.signature


def open_offer(encoded: bytes, node: NodeId, workspace: WorkspaceId) -> SealingOffer:
    """Return a node's offer once its signature is checked (142 microseconds).

    Args:
        encoded: as ``encode_offer`` made it; what a later version appends is passed over.
        node: whose offer it is said to be.
        workspace: what it is bound to.

    Raises:
        BadSealError: too short, or not signed by this node for this workspace.
    """
    offer = SealingOffer(node, encoded[:KEY_BYTES], encoded[KEY_BYTES:OFFER_BYTES])
    _check_offer(offer, workspace)
    return offer


def _check_offer(offer: SealingOffer, workspace: WorkspaceId) -> None:
    message = statement(_OFFER_DOMAIN, workspace, offer.node, offer.public)
    if len(offer.public) != KEY_BYTES or not verify(offer.node, message, offer.signature):
        raise BadSealError(SealFault.OFFER)


def derive_seal(
    *,
    own: SealingKey,
    own_node: NodeId,
    peer: SealingOffer,
    workspace: WorkspaceId,
    channel: Channel,
) -> FrameSeal:
    """Return the keys for one channel with a peer's session.

    Raises:
        BadSealError: the offer is not signed by the node it names, or its key is unusable.
    """
    _check_offer(peer, workspace)
    shared = own.agree(peer.public)
    us, them = own_node + own.public, peer.node + peer.public
    return FrameSeal(
        send_key=_direction_key(shared, workspace, us, them, channel),
        receive_key=_direction_key(shared, workspace, them, us, channel),
    )


def seal_frame(seal: FrameSeal, counter: int, frame: bytes) -> bytes:
    """Return the sealed frame: version, counter, ciphertext and tag.

    Args:
        seal: of this channel.
        counter: 1 for the first frame sent with this seal, then ascending, never repeated.
        frame: what only the peer shall read.

    Raises:
        ValueError: the counter is out of bounds (a caller's error).
    """
    if not 1 <= counter <= COUNTER_MAX:
        raise ValueError(f"{counter} cannot count a frame: begin a new session")
    head = bytes((_VERSION,)) + counter.to_bytes(8, "big")
    return head + ChaCha20Poly1305(seal.send_key).encrypt(_nonce(counter), frame, head)


def open_frame(seal: FrameSeal, window: ReplayWindow, sealed: bytes) -> tuple[bytes, ReplayWindow]:
    """Return the frame and the window to use from now on.

    Raises:
        BadSealError: malformed, changed, or not new; the window stays as it was.
    """
    if len(sealed) < SEAL_OVERHEAD_BYTES or sealed[0] != _VERSION:
        raise BadSealError(SealFault.MALFORMED)
    head = sealed[:9]
    counter = int.from_bytes(head[1:], "big")
    if not 1 <= counter <= COUNTER_MAX:
        raise BadSealError(SealFault.MALFORMED)
    if not _is_new(window, counter):
        raise BadSealError(SealFault.REPLAYED)
    try:
        frame = ChaCha20Poly1305(seal.receive_key).decrypt(_nonce(counter), sealed[9:], head)
    except InvalidTag as error:
        raise BadSealError(SealFault.TAMPERED) from error
    # Only after the tag was right: a forged counter must not push true frames out of the window.
    return frame, _marked(window, counter)


def _direction_key(
    shared: bytes, workspace: WorkspaceId, sender: bytes, receiver: bytes, channel: Channel
) -> bytes:
    info = statement(_KEY_DOMAIN, workspace, sender, receiver, bytes((channel,)))
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=workspace, info=info).derive(shared)


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12, "big")


def _is_new(window: ReplayWindow, counter: int) -> bool:
    age = window.highest - counter
    return age < 0 or (age < REPLAY_WINDOW and not window.seen >> age & 1)


def _marked(window: ReplayWindow, counter: int) -> ReplayWindow:
    age = window.highest - counter
    if age >= 0:
        return ReplayWindow(window.highest, window.seen | 1 << age)
    # A shift beyond the window would make a number of a million digits of a forged-looking jump.
    shifted = window.seen << -age if -age < REPLAY_WINDOW else 0
    return ReplayWindow(counter, (shifted | 1) & ((1 << REPLAY_WINDOW) - 1))
