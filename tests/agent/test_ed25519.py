"""Signatures as RFC 8032 and another implementation have them, and no second form of any."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from schoolpulse_agent import ed25519
from schoolpulse_agent.ed25519 import L, P, verify

# RFC 8032, 7.1: public key, message, signature.
VECTORS = {
    "test 1": (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe"
        "24655141438e7a100b",
    ),
    "test 2": (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302a"
        "eeb00d291612bb0c00",
    ),
    "test 3": (
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed2"
        "8dc027beceea1ec40a",
    ),
    "test sha(abc)": (
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce8"
        "0e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac1"
        "7ad9bef1177331a704",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_it_agrees_with_the_rfc(name: str) -> None:
    key, message, signature = (bytes.fromhex(part) for part in VECTORS[name])
    assert verify(key, message, signature)
    assert not verify(key, message + b"x", signature)


@settings(max_examples=30, deadline=None)
@given(seed=st.binary(min_size=32, max_size=32), message=st.binary(max_size=300), bit=st.integers(0, 511))
def test_it_agrees_with_another_implementation_and_no_bit_may_change(seed: bytes, message: bytes, bit: int) -> None:
    own = Ed25519PrivateKey.from_private_bytes(seed)
    key, signature = own.public_key().public_bytes_raw(), own.sign(message)
    assert verify(key, message, signature)
    changed = bytearray(signature)
    changed[bit // 8] ^= 1 << bit % 8
    assert not verify(key, message, bytes(changed))


def test_the_order_added_to_s_is_no_second_signature() -> None:
    key, message, signature = (bytes.fromhex(part) for part in VECTORS["test 3"])
    s = int.from_bytes(signature[32:], "little") + L
    assert not verify(key, message, signature[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "said", [P.to_bytes(32, "little"), (P + 1).to_bytes(32, "little"), (1 | 1 << 255).to_bytes(32, "little")]
)
def test_a_point_written_in_another_way_is_none(said: bytes) -> None:
    """With y of P or more, or x = 0 with a sign."""
    assert ed25519._point(said) is None
    assert not verify(said, b"", said + bytes(32))


@pytest.mark.parametrize("y", [1, P - 1, 0])
def test_a_key_of_small_order_would_sign_anything_and_is_refused(y: int) -> None:
    key = y.to_bytes(32, "little")
    assert ed25519._point(key)
    assert not any(verify(key, bytes([message]), key + bytes(32)) for message in range(16))


@pytest.mark.parametrize("key, signature", [(b"", bytes(64)), (bytes(31), bytes(64)), (bytes(32), bytes(63))])
def test_other_lengths_are_refused(key: bytes, signature: bytes) -> None:
    assert not verify(key, b"", signature)


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=20), st.binary(min_size=64, max_size=64))
def test_random_bytes_are_no_signature_and_no_error(key: bytes, message: bytes, signature: bytes) -> None:
    assert not verify(key, message, signature)
