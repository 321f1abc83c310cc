"""Private keys, and the public names derived from them."""

from __future__ import annotations

import pytest
from eth_keys.backends.native.main import NativeECCBackend
from eth_keys.datatypes import PrivateKey
from eth_keys.main import KeyAPI
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.network.keys import Key

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1: https://www.secg.org/sec2-v2.pdf, 2.4.1."""

BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


any_key = st.integers(1, ORDER - 1).map(lambda number: Key.parse(f"{number:064x}"))

python = KeyAPI(NativeECCBackend())
"""Ethereum's keys in plain Python, an implementation that shares no code with ours."""


def independent(key: Key) -> PrivateKey:
    return python.PrivateKey(bytes.fromhex(key.hex))


def from_base58(text: str) -> bytes:
    number = 0
    for letter in text:
        number = number * 58 + BASE58.index(letter)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def compressed(key: Key) -> bytes:
    return bytes(independent(key).public_key.to_compressed_bytes())


@settings(max_examples=40, deadline=None)
@given(any_key)
def test_address_and_node_id_equal_those_of_another_implementation(key: Key) -> None:
    public = independent(key).public_key
    assert key.address == public.to_checksum_address()
    assert key.node_id == public.to_bytes().hex()


@settings(max_examples=40, deadline=None)
@given(any_key)
def test_the_peer_id_contains_the_public_key(key: Key) -> None:
    assert key.peer_id.startswith("16Uiu2HA")
    assert from_base58(key.peer_id) == bytes.fromhex("002508021221") + compressed(key)


@given(any_key)
def test_a_key_can_be_parsed_from_both_of_its_forms(key: Key) -> None:
    assert Key.parse(key.hex) == Key.parse(f"0x{key.hex}\n") == key
    assert Key.parse_libp2p(key.libp2p_hex) == key
    assert bytes.fromhex(key.libp2p_hex[2:]) == b"\x08\x02\x12\x20" + bytes.fromhex(key.hex)


@pytest.mark.parametrize("number", [0, ORDER, 2**256 - 1])
def test_a_number_outside_the_group_is_not_a_key(number: int) -> None:
    with pytest.raises(ValueError, match="not a private key"):
        Key.parse(f"{number:064x}")


def test_an_error_does_not_repeat_the_text_of_an_invalid_key() -> None:
    secret = Key.generate().hex
    for parse in (Key.parse, Key.parse_libp2p):
        with pytest.raises(ValueError, match=r"not a .*private key") as caught:
            parse(f"{secret}{secret}")
        assert secret not in repr(caught.value)
    assert secret not in repr(Key.parse(secret))
    assert secret not in str([Key.parse(secret)])


def test_new_keys_differ() -> None:
    assert len({Key.generate().hex for _ in range(50)}) == 50
