"""Write findings in the requested format."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from scripts.core import findings
from scripts.core.findings import Finding


def report(reported: Sequence[Finding], format: str) -> int:
    """Write the findings to stdout, and return the exit code: 1 if any is an error."""
    described = {}
    if reported and format == "sarif":
        from scripts.rules import descriptions

        described = descriptions.described()
    findings.write(reported, format, sys.stdout, described)
    return int(findings.has_errors(reported))
