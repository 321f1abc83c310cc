"""A real browser, without a window: the pinned one, which needs nothing of its machine."""

from __future__ import annotations

import io
import os
import platform
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import brotli
import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from scripts.core import toolchain
from tests.optional_tools import tool
from tests.waits import STILL_S

TIMEOUT_MS = STILL_S * 1000
expect.set_options(timeout=TIMEOUT_MS)

_PIECE = 1 << 20
"""Bytes that are decompressed at a time."""


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Yield a browser; the test is skipped where there is none for the machine, but never in CI.

    folder: an empty one, for what the browser wants to know of its user.
    """
    named = os.environ.get("CHROMIUM")
    if named is None and (sys.platform, platform.machine()) != ("linux", "x86_64"):
        why = f"no browser is pinned for {sys.platform} {platform.machine()}: name one in CHROMIUM"
        pytest.fail(why) if os.environ.get("CI") else pytest.skip(why)
    environment = {**os.environ, "HOME": str(folder)}
    if named is None:
        home = _unpacked()
        program = home / "chromium"
        fonts = folder / "fonts.conf"
        fonts.write_text(
            f"<fontconfig><dir>{home}</dir><cachedir>{folder}/fonts</cachedir></fontconfig>"
        )
        environment |= {"FONTCONFIG_FILE": str(fonts), "LD_LIBRARY_PATH": str(home / "lib")}
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=named or program, env=dict(environment), timeout=TIMEOUT_MS
        )
        with started:
            yield started


def _unpacked() -> Path:
    """Return the folder of the pinned browser with its libraries and fonts, unpacked once."""
    package = tool("chromium")
    home = package / "unpacked"
    if home.is_dir():
        return home
    with toolchain.locked(), toolchain.scratch() as temporary:
        if not home.is_dir():
            made = temporary / "made"
            made.mkdir()
            for name in ("al2023", "fonts"):
                content = brotli.decompress((package / "bin" / f"{name}.tar.br").read_bytes())
                with tarfile.open(fileobj=io.BytesIO(content)) as archive:
                    toolchain.unpack(archive, made)
            program = made / "chromium"
            _decompress(package / "bin" / "chromium.br", program)
            program.chmod(0o755)
            os.replace(made, home)
    return home


def _decompress(source: Path, target: Path) -> None:
    """Write what a file holds, a piece at a time: the browser has 200 MB."""
    decompressor = brotli.Decompressor()
    with source.open("rb") as packed, target.open("wb") as plain:
        while piece := packed.read(_PIECE):
            plain.write(decompressor.process(piece))
    assert decompressor.is_finished(), source


def axe() -> str:
    """Return the script that finds what hinders people."""
    return (toolchain.tool("axe-core") / "axe.min.js").read_text("utf-8")
