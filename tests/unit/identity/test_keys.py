"""Keys against RFC 8032's vectors, and statements that nobody can shift."""

from __future__ import annotations

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiplatform.mesh_ide.identity.keys import SigningKey, number, statement, verify

PRIME = 2**255 - 19
ORDER_8_Y = (
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
)


def test_rfc_8032_test_vector_2() -> None:
    """RFC 8032, section 7.1, TEST 2."""
    key = SigningKey.from_seed(
        bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
    )
    signature = bytes.fromhex(
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )
    assert key.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72") == signature
    assert verify(key.public, b"\x72", signature)


@given(st.binary(max_size=64), st.integers(0, 63), st.integers(0, 7))
def test_a_flipped_bit_is_no_signature(message: bytes, position: int, bit: int) -> None:
    """Signature, message and key are all bound."""
    key = SigningKey.from_seed(b"k" * 32)
    signature = bytearray(key.sign(message))
    signature[position] ^= 1 << bit
    assert not verify(key.public, message, bytes(signature))
    assert not verify(key.public, message + b"\x00", key.sign(message))
    assert not verify(SigningKey.from_seed(b"l" * 32).public, message, key.sign(message))


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_garbage_is_no_signature_and_no_crash(public: bytes, signature: bytes) -> None:
    """Whatever length a peer sends, the answer is no."""
    assert not verify(public, b"message", signature)


@pytest.mark.parametrize("sign_bit", [0, 0x80])
@pytest.mark.parametrize(
    "y",
    [0, 1, PRIME - 1, PRIME, PRIME + 1]
    + [int.from_bytes(bytes.fromhex(point), "little") for point in ORDER_8_Y],
)
def test_keys_of_small_order_sign_nothing(y: int, sign_bit: int) -> None:
    """Under the neutral point as key, R = A, S = 0 would sign every message."""
    public = bytearray(y.to_bytes(32, "little"))
    public[31] |= sign_bit
    neutral = (1).to_bytes(32, "little")
    assert not verify(bytes(public), b"anything", neutral + bytes(32))


def test_the_order_8_points_in_the_list_are_of_order_8() -> None:
    """The two long constants follow from the curve equation: doubling thrice gives neutral."""
    d = -121665 * pow(121666, -1, PRIME) % PRIME

    for encoded in ORDER_8_Y:
        y = int.from_bytes(bytes.fromhex(encoded), "little")
        x_squared = (y * y - 1) * pow(d * y * y + 1, -1, PRIME) % PRIME
        x = pow(x_squared, (PRIME + 3) // 8, PRIME)
        if x * x % PRIME != x_squared:
            x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
        assert x * x % PRIME == x_squared
        point = (x, y)
        for _ in range(3):
            px, py = point
            k = d * px * px * py * py % PRIME
            point = (
                2 * px * py * pow(1 + k, -1, PRIME) % PRIME,
                (py * py + px * px) * pow(1 - k, -1, PRIME) % PRIME,
            )
        assert point == (0, 1)


def test_a_key_never_shows_its_secret() -> None:
    """Neither repr nor copying (which pickling does too) leak the seed."""
    seed = bytes(range(32))
    key = SigningKey.from_seed(seed)
    assert seed.hex() not in repr(key)
    assert repr(seed) not in repr(key)
    assert key.public.hex()[:10] in repr(key)
    with pytest.raises(TypeError, match="key store"):
        copy.copy(key)


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_refused(length: int) -> None:
    """A cut-off seed is not stretched."""
    with pytest.raises(ValueError, match="32 bytes"):
        SigningKey.from_seed(bytes(length))


@given(st.lists(st.binary(max_size=9), max_size=4), st.lists(st.binary(max_size=9), max_size=4))
def test_statements_are_equal_only_for_equal_parts(left: list[bytes], right: list[bytes]) -> None:
    """No byte can move from one part into the next."""
    assert (statement(b"d", *left) == statement(b"d", *right)) == (left == right)


def test_numbers_are_bounded_parts() -> None:
    """A number that does not fit is an error, never a wrapped one."""
    assert number(-1) == b"\xff" * 8
    with pytest.raises(OverflowError):
        number(2**63)
