"""Many items in many processes: results keep their order, errors arrive, no child is left."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from scripts.core.findings import Finding, UserError
from tests.conftest import ROOT

BEGIN = """
import os, sys, time
os.cpu_count = lambda: 2  # two children, whatever machine this is
from scripts.core import parallel
from scripts.core.findings import Finding, UserError
from scripts.core.parallel import each
parallel.PROGRESS_AFTER_S = 1e9  # however slow this machine is

def square(number):
    return number * number
"""


def program(text: str) -> list[str]:
    """Return a program that has not loaded Helm's engine, so that it can fork."""
    return [sys.executable, "-c", BEGIN + textwrap.dedent(text)]


def run(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(program(text), cwd=ROOT, text=True, capture_output=True, check=False)


def test_results_are_in_the_order_of_the_items() -> None:
    done = run("""
        parent = os.getpid()
        def late_first(number):
            assert os.getpid() != parent
            time.sleep(0.05 if number < 2 else 0)
            return number * number
        assert each(late_first, range(40), "x") == [n * n for n in range(40)]
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_few_items_need_no_child_process() -> None:
    done = run("""
        parent = os.getpid()
        assert each(lambda _: os.getpid(), range(7), "x") == [parent] * 7
        assert each(square, [], "x") == []
    """)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_user_error_in_a_child_arrives_with_its_findings() -> None:
    done = run("""
        def fail(number):
            if number == 17:
                raise UserError(Finding("a.yaml", 3, 1, "rule", "wrong", "fix"))
            return number
        try:
            each(fail, range(40), "x")
        except UserError as error:
            (finding,) = error.findings
            assert finding == Finding("a.yaml", 3, 1, "rule", "wrong", "fix")
            sys.exit(7)
    """)
    assert (done.returncode, done.stderr) == (7, "")


def test_a_bug_in_a_child_is_raised_in_the_parent() -> None:
    done = run("""
        try:
            each(lambda number: 1 // (number - 30), range(40), "x")
        except ZeroDivisionError:
            sys.exit(7)
    """)
    assert (done.returncode, done.stderr) == (7, "")


def test_a_killed_child_is_an_error() -> None:
    done = run("""
        def vanish(number):
            if number == 20:
                os.kill(os.getpid(), 9)
            return number
        each(vanish, range(40), "x")
        print("went on")
    """)
    assert done.returncode not in (0, -signal.SIGKILL)
    assert "went on" not in done.stdout


@pytest.mark.parametrize("size", [0, 300_000], ids=["small", "more than a pipe holds"])
def test_children_end_when_their_parent_is_killed(size: int) -> None:
    parent = subprocess.Popen(
        program(f"""
            def work(number):
                if number < 2:
                    os.write(1, b"%d\\n" % os.getpid())
                time.sleep(0.01)
                return "x" * {size}
            each(work, range(10**9), "x")  # which takes weeks
        """),
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout
    children = [os.pidfd_open(int(parent.stdout.readline())) for _ in range(2)]
    parent.kill()
    parent.wait()
    parent.stdout.close()
    try:
        for child in children:
            select.select([child], [], [])
    finally:
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child, signal.SIGKILL)
            os.close(child)


def test_an_error_leaves_no_child_behind() -> None:
    done = run("""
        def work(number):
            if number == 1:
                raise ValueError
            time.sleep(1e6)
        try:
            each(work, range(40), "x")
        except ValueError:
            children = open(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read()
            assert children == "", children
            sys.exit(7)
    """)
    assert (done.returncode, done.stderr) == (7, "")


@pytest.mark.parametrize(("after_s", "shown"), [(0.05, True), (1e9, False)])
def test_progress_is_shown_only_for_slow_work(after_s: float, shown: bool) -> None:
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(
        program(f"""
            parallel.PROGRESS_AFTER_S = {after_s}
            each(lambda _: time.sleep(0.05), range(7), "counting sheep")
        """),
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    # Read while it runs: a terminal buffers at most 4 KiB.
    with contextlib.suppress(OSError):  # raised at the end: no process has the other side open
        while part := os.read(terminal, 4096):
            seen += part
    os.close(terminal)
    out, _ = process.communicate()
    assert (b"counting sheep" in seen) == shown
    assert (process.returncode, out) == (0, b"")


def test_a_user_error_can_be_pickled() -> None:
    import pickle

    error = UserError(Finding("a", 1, 2, "b", "c", "d"), Finding("e", 0, 0, "f", "g", "h"))
    assert pickle.loads(pickle.dumps(error)).findings == error.findings


def test_these_tests_run_the_program_of_this_repository() -> None:
    done = run("import scripts.core.parallel; print(scripts.core.parallel.__file__)")
    assert Path(done.stdout.strip()) == ROOT / "scripts/core/parallel.py"
