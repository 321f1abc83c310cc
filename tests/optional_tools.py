"""Tools that take long to build and few tests need: without them, these tests are skipped.

`nox -s tests -- --all-tools` builds them all. In CI, and with that option, none is skipped: a tool
that cannot be installed is a failure there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from scripts.core import toolchain

OPTION = "--all-tools"
_ALL = "LINEA_ALL_TOOLS"
"""Environment variable that tells the workers of a run about the option."""


def add_option(parser: pytest.Parser) -> None:
    """Add the option to pytest's."""
    parser.addoption(
        OPTION, action="store_true", help="install what is missing, instead of skipping its tests"
    )


def configure(config: pytest.Config) -> None:
    """Let the workers of this run know whether any test may be skipped."""
    if config.getoption(OPTION):
        os.environ[_ALL] = "1"


def needs(*names: str) -> None:
    """Skip the test if one of the tools is not built and need not be."""
    if os.environ.get("CI") or os.environ.get(_ALL):
        return
    if missing := [name for name in names if not toolchain.is_there(name)]:
        pytest.skip(f"{' and '.join(missing)} not built: run nox -s tests -- {OPTION}")


def tool(name: str) -> Path:
    """Return the program of a tool, or skip the test."""
    needs(name)
    return toolchain.tool(name)
