"""Write findings in the format that was asked for."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scripts.core import findings
from scripts.core.findings import Finding


def report(found: Sequence[Finding], format: str) -> int:
    """Write the findings to stdout, and return the exit code that they mean."""
    described = {}
    if found and format == "sarif":
        from scripts.rules import descriptions

        described = descriptions.described()
    findings.write(found, format, sys.stdout, described)
    return int(findings.has_errors(found))
