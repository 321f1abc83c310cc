"""What a node is called by others: the public key in its id, and the address of it."""

from __future__ import annotations

import re
from functools import lru_cache

_ENODE = re.compile("[0-9a-f]{128}")
_LIBP2P = bytes.fromhex("002508021221")
"""Multihash "identity" of 37 bytes: protobuf of a key on secp256k1 of 33 bytes."""


@lru_cache
def public_key(id_: str) -> bytes | None:
    """Return the 65 bytes of the key in an enode's or libp2p's id; None where it has none.

    Source: https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
    """
    import base58  # only where there are ids
    import coincurve

    try:
        if _ENODE.fullmatch(id_):
            public = b"\x04" + bytes.fromhex(id_)
        else:
            public = base58.b58decode(id_)
            if not public.startswith(_LIBP2P):
                return None
            public = public.removeprefix(_LIBP2P)
        return coincurve.PublicKey(public).format(compressed=False)
    except ValueError:
        return None


@lru_cache
def address(public: bytes) -> str:
    """Return the address of a key of 65 bytes, in lower case."""
    from Crypto.Hash import keccak

    return "0x" + keccak.new(digest_bits=256, data=public[1:]).digest()[-20:].hex()
