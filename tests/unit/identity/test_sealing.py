"""The seal between two nodes: known answers, tampering, replay."""

from __future__ import annotations

import copy
import hashlib
import hmac

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from hypothesis import given, settings
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.keys import SigningKey
from aiplatform.mesh_ide.identity.sealing import (
    COUNTER_MAX,
    OFFER_BYTES,
    REPLAY_WINDOW,
    SEAL_OVERHEAD_BYTES,
    BadSealError,
    FrameSeal,
    ReplayWindow,
    SealFault,
    SealingKey,
    SealingOffer,
    derive_seal,
    encode_offer,
    offer_sealing,
    open_frame,
    open_offer,
    seal_frame,
)
from aiplatform.mesh_ide.model.enums import Channel
from aiplatform.mesh_ide.model.ids import NodeId, WorkspaceId

WORKSPACE = WorkspaceId(b"w" * 32)
# The private keys and the shared secret of RFC 7748, section 6.1.
ALICE = SealingKey.from_seed(
    bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
)
BOB = SealingKey.from_seed(
    bytes.fromhex("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
)
SHARED = bytes.fromhex("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")
ALICE_NODE = SigningKey.from_seed(b"a" * 32)
BOB_NODE = SigningKey.from_seed(b"b" * 32)


def seals(channel: Channel = Channel.DOCUMENTS) -> tuple[FrameSeal, FrameSeal]:
    """Both ends of one channel."""
    alice = offer_sealing(node=ALICE_NODE, sealing=ALICE, workspace=WORKSPACE)
    bob = offer_sealing(node=BOB_NODE, sealing=BOB, workspace=WORKSPACE)
    return (
        derive_seal(
            own=ALICE,
            own_node=NodeId(ALICE_NODE.public),
            peer=bob,
            workspace=WORKSPACE,
            channel=channel,
        ),
        derive_seal(
            own=BOB,
            own_node=NodeId(BOB_NODE.public),
            peer=alice,
            workspace=WORKSPACE,
            channel=channel,
        ),
    )


AT_ALICE, AT_BOB = seals()


def fault_of(sealed: bytes, seal: FrameSeal = AT_BOB) -> SealFault | None:
    """Why a sealed frame is refused; ``None`` if it is not."""
    try:
        open_frame(seal, ReplayWindow(), sealed)
    except BadSealError as error:
        return error.fault
    return None


def test_keys_agree_as_rfc_7748_says() -> None:
    """Section 6.1: public keys and shared secret."""
    assert ALICE.public.hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert ALICE.agree(BOB.public) == BOB.agree(ALICE.public) == SHARED


def test_frame_keys_follow_from_hmac_and_the_documented_fields() -> None:
    """The same keys and frame from HKDF written out by hand, and a pinned answer for good."""
    info = b"".join(
        len(part).to_bytes(4, "big") + part
        for part in (
            b"mesh-ide frame seal 1",
            WORKSPACE,
            ALICE_NODE.public + ALICE.public,
            BOB_NODE.public + BOB.public,
            bytes((Channel.DOCUMENTS.value,)),
        )
    )
    extracted = hmac.new(WORKSPACE, SHARED, hashlib.sha256).digest()
    key = hmac.new(extracted, info + b"\x01", hashlib.sha256).digest()
    assert AT_ALICE.send_key == AT_BOB.receive_key == key
    head = b"\x01" + (7).to_bytes(8, "big")
    by_hand = head + ChaCha20Poly1305(key).encrypt((7).to_bytes(12, "big"), b"hello", head)
    assert seal_frame(AT_ALICE, 7, b"hello") == by_hand
    assert by_hand.hex() == PINNED


PINNED = "010000000000000007dbacc5ec79ac69d0b4f53780e3d2baae19dd1c7f8c"


@given(st.binary(max_size=200), st.integers(1, COUNTER_MAX))
def test_what_is_sealed_opens_at_the_peer(frame: bytes, counter: int) -> None:
    """Both ways, with the stated overhead."""
    sealed = seal_frame(AT_ALICE, counter, frame)
    assert len(sealed) == len(frame) + SEAL_OVERHEAD_BYTES
    assert open_frame(AT_BOB, ReplayWindow(), sealed)[0] == frame
    back = seal_frame(AT_BOB, counter, frame)
    assert open_frame(AT_ALICE, ReplayWindow(), back)[0] == frame


def test_a_relay_sees_nothing_and_can_turn_nothing_round() -> None:
    """A frame opens only in its own direction and channel, and its words do not show."""
    sealed = seal_frame(AT_ALICE, 1, b"a secret line of code")
    assert b"secret" not in sealed
    assert fault_of(sealed, AT_ALICE) is SealFault.TAMPERED
    assert fault_of(sealed, seals(Channel.BULK)[1]) is SealFault.TAMPERED
    keys = [key for channel in Channel for key in msgspec.structs.astuple(seals(channel)[0])]
    assert len(set(keys)) == len(keys) == 2 * len(Channel)


@settings(max_examples=200)
@given(st.data())
def test_a_flipped_bit_is_refused(data: st.DataObject) -> None:
    """Version, counter, text and tag are all authenticated."""
    sealed = bytearray(seal_frame(AT_ALICE, 300, b"frame"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert fault_of(bytes(sealed)) in {SealFault.TAMPERED, SealFault.MALFORMED}


@given(st.binary(max_size=60))
def test_garbage_is_refused(garbage: bytes) -> None:
    """Whatever a relay invents, the answer is an error of ours."""
    assert fault_of(garbage) is not None


@settings(max_examples=60)
@given(st.lists(st.integers(1, 3000), max_size=60))
def test_each_counter_opens_once_within_the_window(counters: list[int]) -> None:
    """Against a slow model: a set, and the highest so far."""
    window, seen, highest = ReplayWindow(), set[int](), 0
    for counter in counters:
        sealed = seal_frame(AT_ALICE, counter, b"x")
        if counter in seen or counter <= highest - REPLAY_WINDOW:
            with pytest.raises(BadSealError, match="came before, or is too old"):
                open_frame(AT_BOB, window, sealed)
            continue
        frame, window = open_frame(AT_BOB, window, sealed)
        assert frame == b"x"
        seen.add(counter)
        highest = max(highest, counter)


def test_a_forged_counter_does_not_move_the_window() -> None:
    """Only what is authentic counts: else one forged frame would shut out all true ones."""
    sealed = seal_frame(AT_ALICE, COUNTER_MAX, b"x")
    forged = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    window = ReplayWindow()
    with pytest.raises(BadSealError):
        open_frame(AT_BOB, window, forged)
    _, window = open_frame(AT_BOB, window, seal_frame(AT_ALICE, 1, b"x"))
    assert window == ReplayWindow(1, 1)
    _, window = open_frame(AT_BOB, window, sealed)
    assert window == ReplayWindow(COUNTER_MAX, 1)


@pytest.mark.parametrize("counter", [0, -1, COUNTER_MAX + 1])
def test_counters_are_bounded(counter: int) -> None:
    """Nothing wraps round to a nonce that was used."""
    with pytest.raises(ValueError, match="new session"):
        seal_frame(AT_ALICE, counter, b"x")


def derive_from(offer: SealingOffer) -> FrameSeal:
    """Alice's seal for an offer."""
    return derive_seal(
        own=ALICE,
        own_node=NodeId(ALICE_NODE.public),
        peer=offer,
        workspace=WORKSPACE,
        channel=Channel.CONTROL,
    )


def test_a_relay_cannot_offer_a_key_of_its_own() -> None:
    """An offer is signed by the node it names, for one workspace."""
    good = offer_sealing(node=BOB_NODE, sealing=BOB, workspace=WORKSPACE)
    relay = SealingKey.from_seed(b"r" * 32)
    other = offer_sealing(node=BOB_NODE, sealing=BOB, workspace=WorkspaceId(b"v" * 32))
    for offer in (
        msgspec.structs.replace(good, public=relay.public),
        msgspec.structs.replace(good, node=NodeId(ALICE_NODE.public)),
        msgspec.structs.replace(good, public=b"short"),
        other,
    ):
        with pytest.raises(BadSealError) as caught:
            derive_from(offer)
        assert caught.value.fault is SealFault.OFFER
    assert derive_from(good).send_key != AT_ALICE.send_key


def test_a_key_of_small_order_is_refused_though_signed() -> None:
    """RFC 7748, section 6.1: an all-zero secret means that anybody knows it."""

    class Zero(SealingKey):
        """Offers the neutral point."""

        __slots__ = ()

    zero = Zero.from_seed(b"z" * 32)
    zero.public = bytes(32)
    offer = offer_sealing(node=BOB_NODE, sealing=zero, workspace=WORKSPACE)
    with pytest.raises(BadSealError) as caught:
        derive_from(offer)
    assert caught.value.fault is SealFault.OFFER


def test_secrets_do_not_show() -> None:
    """Neither repr nor copies."""
    assert AT_ALICE.send_key.hex() not in repr(AT_ALICE)
    assert repr(AT_ALICE) == "FrameSeal(...)"
    assert repr(ALICE) == f"SealingKey(public={ALICE.public.hex()[:10]})"
    with pytest.raises(TypeError, match="never stored"):
        copy.copy(ALICE)
    with pytest.raises(ValueError, match="32 bytes"):
        SealingKey.from_seed(b"short")


def window_blind_open(
    seal: FrameSeal, window: ReplayWindow, sealed: bytes
) -> tuple[bytes, ReplayWindow]:
    """Planted bug: opens without looking at the window."""
    return open_frame(seal, ReplayWindow(), sealed)[0], window


@pytest.mark.parametrize(("opener", "expected"), [(open_frame, True), (window_blind_open, False)])
def test_replay_is_refused_and_a_planted_bug_is_caught(opener: object, expected: bool) -> None:
    """The check can fail: an opener that forgets the window takes a frame twice."""
    assert callable(opener)
    sealed = seal_frame(AT_ALICE, 1, b"pay")
    _, window = opener(AT_BOB, ReplayWindow(), sealed)
    try:
        opener(AT_BOB, window, sealed)
    except BadSealError:
        is_refused = True
    else:
        is_refused = False
    assert is_refused is expected


# --- keys and offers of sessions -----------------------------------------------------------------


def test_a_sessions_sealing_key_is_as_fresh_as_the_session_and_none_of_its_own() -> None:
    """The same for one session, another for each other, and not the signing key's seed."""
    session = SigningKey.from_seed(b"s" * 32)
    key = SealingKey.of_session(session)
    assert key.public == SealingKey.of_session(session).public
    assert key.public != SealingKey.of_session(SigningKey.from_seed(b"t" * 32)).public
    assert key.public != SealingKey.from_seed(session.reveal_seed()).public


OFFER = offer_sealing(node=ALICE_NODE, sealing=ALICE, workspace=WORKSPACE)


def test_an_offer_travels_in_a_greeting() -> None:
    """Public key and signature; the greeting names the node. What is appended is passed over."""
    encoded = encode_offer(OFFER)
    assert len(encoded) == OFFER_BYTES
    assert open_offer(encoded, OFFER.node, WORKSPACE) == OFFER
    assert open_offer(encoded + b"from a later version", OFFER.node, WORKSPACE) == OFFER


@pytest.mark.parametrize("cut", [0, 31, 32, OFFER_BYTES - 1])
def test_a_truncated_offer_is_none(cut: int) -> None:
    """Whatever its length, the error is the same."""
    with pytest.raises(BadSealError):
        open_offer(encode_offer(OFFER)[:cut], OFFER.node, WORKSPACE)


def test_an_offer_of_another_node_or_workspace_is_none() -> None:
    """Nobody can put its own key under another's name."""
    encoded = encode_offer(OFFER)
    with pytest.raises(BadSealError):
        open_offer(encoded, NodeId(BOB_NODE.public), WORKSPACE)
    with pytest.raises(BadSealError):
        open_offer(encoded, OFFER.node, WorkspaceId(b"v" * 32))
    swapped = BOB.public + encoded[32:]
    with pytest.raises(BadSealError):
        open_offer(swapped, OFFER.node, WORKSPACE)
