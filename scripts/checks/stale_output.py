"""The finding that something rendered is out of date."""

from __future__ import annotations

from scripts.core.findings import Finding


def finding(file: str, message: str, environment: str = "") -> Finding:
    """Return the finding about a rendered file."""
    fix = "run nox -s render and commit the result"
    return Finding(file, 0, 0, "stale-output", message, fix, environment=environment)
