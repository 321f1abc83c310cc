"""Addresses and peer ids are those of the specifications."""

from __future__ import annotations

import pytest

from scripts.chain.identity import address_of, checksummed, is_address, peer_id_of


def test_the_peer_id_equals_that_in_the_specification_of_libp2p() -> None:
    # https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md#test-vectors
    public = "037777e994e452c21604f91de093ce415f5432f701dd8cd1a7a6fea0e630bfca99"
    expected = "16Uiu2HAmLhLvBoYaoZfaMUKuibM6ac163GwKY74c5kiSLg5KvLpY"
    assert peer_id_of(bytes.fromhex(public)) == expected


def test_the_address_of_the_generator_of_secp256k1() -> None:
    public = (
        "0479be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
        "483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"
    )
    assert address_of(bytes.fromhex(public)) == "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"


@pytest.mark.parametrize(
    "address",
    [
        "0x52908400098527886E0F7030069857D2E4169EE7",
        "0xde709f2102306220921060314715629080e2fb77",
        "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
        "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
        "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
    ],
)
def test_the_checksums_equal_those_in_eip_55(address: str) -> None:
    assert checksummed(address.lower()) == address
    assert is_address(address)
    assert is_address(address.lower())
    wrong = address.swapcase().replace("X", "x")
    assert is_address(wrong) == (wrong.lower() == wrong or wrong[2:].upper() == wrong[2:])


@pytest.mark.parametrize("text", ["", "0x", "12" * 20, "0x" + "g" * 40, "0x" + "1" * 39])
def test_an_invalid_address_is_rejected(text: str) -> None:
    assert not is_address(text)
