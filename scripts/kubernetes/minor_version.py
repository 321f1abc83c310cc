"""Minor versions of Kubernetes as numbers, to compare them."""

from __future__ import annotations


def number(version: str) -> int:
    """Return 34 for 1.34; 0 if it is not a version."""
    major, _, minor = version.partition(".")
    return int(minor) if major == "1" and minor.isdecimal() else 0
