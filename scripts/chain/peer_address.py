"""Addresses of peers: enode URLs of Besu, multiaddresses of Maru."""

from __future__ import annotations

import re

_ENODE = re.compile(r"enode://([0-9a-fA-F]+)@\[?([^]@:/?]+)\]?:(\d+)")
_MULTIADDRESS = re.compile(r"/(?:dns|dns4|dns6|ip4|ip6)/([^/]+)/(?:tcp|udp)/(\d+)(?:/p2p/(\w+))?")


def peer_of(text: str) -> tuple[str, int | None, str]:
    """Return host, port and ID of a peer; empty if it has another format."""
    if match := _ENODE.match(text):
        return match[2], int(match[3]), match[1].lower()
    if match := _MULTIADDRESS.match(text):
        return match[1], int(match[2]), match[3] or ""
    return "", None, ""
