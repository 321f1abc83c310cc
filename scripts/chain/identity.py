"""The public names of a secp256k1 key: account address, enode id and libp2p peer id."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING

import base58

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

_LIBP2P = bytes.fromhex("002508021221")
"""Multihash "identity" of 37 bytes: libp2p's protobuf of type Secp256k1 with 33 bytes."""

_ENODE = re.compile("[0-9a-f]{128}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")


CHAIN_LABEL = "linea-stack/chain"
"""The label of a chain's Secrets."""


def chain_label(addresses: Iterable[str], chain_id: int) -> str:
    """Return the label of a chain's Secrets: 16 hex digits, derived from its public names.

    addresses: of its validators.
    """
    names = [*sorted(address.lower() for address in addresses), str(chain_id)]
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16]


@cache
def curve() -> ec.SECP256K1:
    """Return the curve of the keys; the import takes a while, and few commands need it."""
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.SECP256K1()


@lru_cache
def public_key(id_: str) -> bytes | None:
    """Return the public key of 65 bytes (04, x, y) in an enode id or a libp2p peer id.

    None if the id has another form, or no point on the curve.
    Source: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
    """
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        if _ENODE.fullmatch(id_):
            public = b"\x04" + bytes.fromhex(id_)
        else:
            public = base58.b58decode(id_)
            if not public.startswith(_LIBP2P):
                return None
            public = public.removeprefix(_LIBP2P)
        return encoded(ec.EllipticCurvePublicKey.from_encoded_point(curve(), public))
    except ValueError:
        return None


def encoded(public: ec.EllipticCurvePublicKey, *, compressed: bool = False) -> bytes:
    """Return a public key as 65 bytes (04, x, y), or compressed as 33 bytes (02 or 03, x)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    form = PublicFormat.CompressedPoint if compressed else PublicFormat.UncompressedPoint
    return public.public_bytes(Encoding.X962, form)


def address_of(public: bytes) -> str:
    """Return the address, with checksum, of a public key of 65 bytes (04, x, y)."""
    return checksummed(_keccak(public[1:])[-20:].hex())


def peer_id_of(public: bytes) -> str:
    """Return the libp2p peer id of a public key of 33 bytes (02 or 03, x).

    Source: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
    """
    return base58.b58encode(_LIBP2P + public).decode()


def checksummed(address: str) -> str:
    """Return an address (40 hex digits, with or without 0x) with the checksum of EIP-55."""
    digits = address.removeprefix("0x").lower()
    marks = _keccak(digits.encode()).hex()
    pairs = zip(digits, marks, strict=False)
    return "0x" + "".join(d.upper() if int(mark, 16) > 7 else d for d, mark in pairs)


def is_address(text: str) -> bool:
    """Return whether the text is an address; in mixed case, its EIP-55 checksum must be valid."""
    digits = text.removeprefix("0x")
    one_case = digits in (digits.lower(), digits.upper())
    return bool(_ADDRESS.fullmatch(text)) and (one_case or text == checksummed(text))


def _keccak(data: bytes) -> bytes:
    from Crypto.Hash import keccak

    return keccak.new(digest_bits=256, data=data).digest()
