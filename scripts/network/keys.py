"""Private secp256k1 keys, and their public names."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Self

from cryptography.hazmat.primitives.asymmetric import ec

from scripts.chain.identity import address_of, curve, encoded, peer_id_of

_LIBP2P_PRIVATE = bytes.fromhex("08021220")
"""Protobuf of libp2p: type (field 1) Secp256k1, data (field 2) of 32 bytes."""

_SECRET = re.compile(r"(?:0x)?([0-9a-fA-F]{64})\n?")
_LIBP2P = re.compile(r"(?:0x)?08021220([0-9a-fA-F]{64})\n?")


@dataclass(frozen=True, slots=True)
class Key:
    """A private key, which is never shown when the object is printed or compared."""

    _secret: bytes = field(repr=False)
    """32 bytes, big-endian."""

    @classmethod
    def generate(cls) -> Self:
        """Return a new key from the system's source of randomness."""
        return cls((secrets.randbelow(curve().group_order - 1) + 1).to_bytes(32, "big"))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the key of 32 bytes in hex; raises ValueError without the text."""
        return cls(_parsed(_SECRET, text, "not a private key: expected 32 bytes in hex, one line"))

    @classmethod
    def parse_libp2p(cls, text: str) -> Self:
        """Return the key of libp2p's protobuf in hex; raises ValueError without the text."""
        problem = "not a libp2p private key: expected 0x08021220 and 32 bytes in hex, one line"
        return cls(_parsed(_LIBP2P, text, problem))

    @property
    def hex(self) -> str:
        """The private key itself, in the form of Besu's --node-private-key-file."""
        return self._secret.hex()

    @property
    def libp2p_hex(self) -> str:
        """The private key itself, in the form of Maru's private-key-path.

        Source: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
        """
        return f"0x{(_LIBP2P_PRIVATE + self._secret).hex()}"

    @property
    def address(self) -> str:
        """The address of the account or validator, with its checksum."""
        return address_of(self._public(compressed=False))

    @property
    def node_id(self) -> str:
        """The 128 hex digits in an enode URL: the public key without its first byte, 04."""
        return self._public(compressed=False)[1:].hex()

    @property
    def peer_id(self) -> str:
        """The libp2p peer id."""
        return peer_id_of(self._public(compressed=True))

    def _public(self, *, compressed: bool) -> bytes:
        private = ec.derive_private_key(int.from_bytes(self._secret, "big"), curve())
        return encoded(private.public_key(), compressed=compressed)


def _parsed(form: re.Pattern[str], text: str, problem: str) -> bytes:
    match = form.fullmatch(text)
    if not match or not 0 < int(match[1], 16) < curve().group_order:
        raise ValueError(problem)
    return bytes.fromhex(match[1])
