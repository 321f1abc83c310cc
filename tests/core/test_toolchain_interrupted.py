"""However nox ends, its builds end, too; the next run starts anew and succeeds."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import noxfile
from scripts.core import tool_store, toolchain
from tests.conftest import ROOT

PROGRAM = 'package main\n\nimport "net"\n\nfunc main() { net.Dial("", "") }\n'
"""Its build needs no network, but most of Go's standard library."""
MOMENTS = [
    (1, signal.SIGKILL),
    (2, signal.SIGTERM),
    (2, signal.SIGKILL),
    (3, signal.SIGINT),
    (4, signal.SIGKILL),
    (6, signal.SIGTERM),
    (9, signal.SIGINT),
    (12, signal.SIGKILL),
    (14, signal.SIGTERM),
    (16, signal.SIGKILL),
]
"""Number of processes (nox, Python, a shell, go, compilers) → the signal that is sent then.

SIGINT goes to nox and its children, as from a terminal; SIGTERM to nox, which does not pass it on;
SIGKILL to all Python processes at once.
"""
GONE_S = 300.0
"""How long all processes may take to end on a busy machine; an orphan runs until its build ends."""

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """Return a checkout with one tool to build and nothing to install; kill its processes."""
    root = tmp_path / "checkout"
    shutil.copytree(
        ROOT / "scripts", root / "scripts", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(noxfile.LOCKS, root / "tools" / "python")
    shutil.copy(ROOT / "noxfile.py", root)
    files = {
        "go.mod": "module example.com/tools\n\ngo 1.21\n\ntool example.com/busy\n\n"
        "require example.com/busy v1.0.0\n\nreplace example.com/busy => ./busy\n",
        "go.sum": "",
        "busy/go.mod": "module example.com/busy\n\ngo 1.21\n",
        "busy/main.go": PROGRAM,
    }
    for name, text in files.items():
        file = root / "tools" / "busy" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    _pretend_installed(root)
    yield root
    for pid in _processes(root):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _pretend_installed(root: Path) -> None:
    """Give the checkout this Python and its packages, as it has the same locks."""
    environment = root / ".nox" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text("\n".join(p for p in sys.path if p.endswith("-packages")))
    lock = (noxfile.LOCKS / "pipeline.txt").read_bytes()
    there = {"pipeline": hashlib.sha256(lock).hexdigest()}
    there["python"] = f"{sys.version} {sys.base_prefix} {environment}"
    (environment / "installed.json").write_text(json.dumps(there))


def test_an_interrupted_nox_leaves_no_build_behind(checkout: Path) -> None:
    with toolchain.locked():
        go = toolchain.find_go(toolchain.modules()[0])
    store = checkout.parent / "store"
    path = f"{go.parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, tool_store.VARIABLE: str(store)}
    command = [sys.executable, "-m", "nox", "--session", "tools", "--", "busy"]
    for count, number in MOMENTS:
        with (checkout.parent / "log").open("ab") as log:
            nox = subprocess.Popen(
                command,
                cwd=checkout,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        seen = {nox.pid}
        while len(seen) < count:
            assert nox.poll() is None, (checkout.parent / "log").read_text()
            seen |= _processes(checkout)
        _send(nox, number, checkout)
        nox.wait()
        end = time.monotonic() + GONE_S
        while left := _processes(checkout):
            assert time.monotonic() < end, (
                f"{signal.Signals(number).name}: {[*map(_command, left)]}"
            )
            time.sleep(0.05)
        assert not list(checkout.glob(".tools/[bt]*/**/busy*")), "the build went on to its end"
        # Without a cache, the next build takes long enough to be interrupted.
        shutil.rmtree(checkout / ".tools/gocache", ignore_errors=True)
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (busy,) = checkout.glob(".tools/bin/busy-v1.0.0-*")
    assert [entry.name for entry in store.iterdir()] == [busy.name]
    assert not list(checkout.glob(".tools/tmp/*"))


def _send(nox: subprocess.Popen[bytes], number: signal.Signals, root: Path) -> None:
    if number == signal.SIGINT:
        os.killpg(nox.pid, number)
        return
    nox.send_signal(number)
    if number == signal.SIGKILL:
        for pid in _processes(root):
            if "scripts tools" in _command(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)


def _processes(root: Path) -> set[int]:
    """Return the ids of the processes whose working directory or command names a folder."""
    pids = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            about = f"{(entry / 'cwd').readlink()} {(entry / 'cmdline').read_text('latin-1')}"
            is_over = (entry / "stat").read_text("latin-1").rpartition(") ")[2].startswith("Z")
        except OSError:
            continue
        if str(root) in about and not is_over:
            pids.add(int(entry.name))
    return pids


def _command(pid: int) -> str:
    """Return the command of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text("latin-1").replace("\0", " ")
    except OSError:
        return ""
