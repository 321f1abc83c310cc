"""Private keys on secp256k1, and the public names that Ethereum and libp2p derive from them."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Self

import base58
import coincurve
from coincurve.utils import GROUP_ORDER_INT
from Crypto.Hash import keccak

_LIBP2P_PRIVATE = bytes.fromhex("08021220")
"""Protobuf of libp2p: type (field 1) Secp256k1, data (field 2) of 32 bytes."""
_LIBP2P_PUBLIC = bytes.fromhex("08021221")
"""The same of a public key: 33 bytes."""
_IDENTITY = bytes.fromhex("0025")
"""Multihash "identity" of the 37 bytes that a public key's protobuf has."""

_SECRET = re.compile(r"(?:0x)?([0-9a-fA-F]{64})\n?")
_LIBP2P = re.compile(r"(?:0x)?08021220([0-9a-fA-F]{64})\n?")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True)
class Key:
    """A private key; nothing that prints or compares a Key shows it."""

    _secret: bytes = field(repr=False)
    """32 bytes, big-endian."""

    @classmethod
    def generate(cls) -> Self:
        """Return a new key, from the system's source of randomness."""
        return cls((secrets.randbelow(GROUP_ORDER_INT - 1) + 1).to_bytes(32, "big"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key from its 32 bytes in hex; raises ValueError, which does not repeat it."""
        return cls(_parsed(_SECRET, text, "no private key: 32 bytes in hex, on one line"))

    @classmethod
    def parse_libp2p(cls, text: str) -> Self:
        """Return the key from the hex of libp2p's protobuf; raises ValueError as parse does."""
        told = "no private key of libp2p: 0x08021220 and 32 bytes in hex, on one line"
        return cls(_parsed(_LIBP2P, text, told))

    @property
    def hex(self) -> str:
        """The private key itself, as Besu's --node-private-key-file has it."""
        return self._secret.hex()

    @property
    def libp2p_hex(self) -> str:
        """The private key itself, as Maru's private-key-path has it.

        Source: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
        """
        return f"0x{(_LIBP2P_PRIVATE + self._secret).hex()}"

    @property
    def address(self) -> str:
        """The account's, and the validator's, address with its checksum."""
        return address_of(self._public(compressed=False))

    @property
    def node_id(self) -> str:
        """The 128 hex digits of an enode URL: the public key without its first byte, 04."""
        return self._public(compressed=False)[1:].hex()

    @property
    def peer_id(self) -> str:
        """The peer's id in libp2p."""
        return peer_id_of(self._public(compressed=True))

    def _public(self, *, compressed: bool) -> bytes:
        return coincurve.PrivateKey(self._secret).public_key.format(compressed=compressed)


def address_of(public: bytes) -> str:
    """Return the address of a public key of 65 bytes (04, x, y), with its checksum."""
    return checksummed(_keccak(public[1:])[-20:].hex())


def peer_id_of(public: bytes) -> str:
    """Return libp2p's id of a public key of 33 bytes (02 or 03, x).

    Source: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
    """
    return base58.b58encode(_IDENTITY + _LIBP2P_PUBLIC + public).decode()


def checksummed(address: str) -> str:
    """Return an address (40 hex digits, with or without 0x) in the letters of EIP-55."""
    digits = address.removeprefix("0x").lower()
    marks = _keccak(digits.encode()).hex()
    pairs = zip(digits, marks, strict=False)
    return "0x" + "".join(d.upper() if int(mark, 16) > 7 else d for d, mark in pairs)


def is_address(text: str) -> bool:
    """Return whether the text is an address; where its letters have both cases, EIP-55 holds."""
    digits = text.removeprefix("0x")
    one_case = digits in (digits.lower(), digits.upper())
    return bool(_ADDRESS.fullmatch(text)) and (one_case or text == checksummed(text))


def _keccak(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


def _parsed(form: re.Pattern[str], text: str, told: str) -> bytes:
    found = form.fullmatch(text)
    if not found or not 0 < int(found[1], 16) < GROUP_ORDER_INT:
        raise ValueError(told)
    return bytes.fromhex(found[1])
