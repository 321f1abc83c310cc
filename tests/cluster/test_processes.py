"""Processes that look for ports at the same time never find the same ones."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

from tests.conftest import ROOT

AT_ONCE, PORTS = 16, 120
"""More ports than a block has."""

FOUND = f"""
import json
from scripts.cluster.processes import free_ports
input()
print(json.dumps([port for _ in range(2) for port in free_ports({PORTS // 2})]), flush=True)
input()
"""
"""Finds ports when it is told to, and keeps them until its input ends."""
LAST_BLOCK = """
from scripts.cluster import processes
processes.BLOCKS = processes.BLOCKS[::-1]
print(processes.free_ports(1)[0], flush=True)
input()
"""
SAME_BLOCK = """
import sys, time
from scripts.cluster import processes
from scripts.core.findings import UsageError
first = int(sys.argv[1]) - 1
processes.BLOCKS = range(first, first + 1)
while True:
    processes._own_ports.cache_clear()
    try:
        print(processes.free_ports(1)[0])
        break
    except UsageError:  # another run of this test has it for a moment
        time.sleep(0.1)
"""


@contextlib.contextmanager
def begun(code: str) -> Iterator[subprocess.Popen[str]]:
    """Run code in a process of its own, until the end of the `with`."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_processes_that_look_at_the_same_time_find_different_ports() -> None:
    with contextlib.ExitStack() as running:
        processes = [running.enter_context(begun(FOUND)) for _ in range(AT_ONCE)]
        for process in processes:
            assert process.stdin
            process.stdin.write("now\n")
            process.stdin.flush()
        found = [port for process in processes for port in json.loads(line(process))]
    assert len(found) == AT_ONCE * PORTS
    assert len(set(found)) == len(found)


def test_a_forked_child_finds_other_ports_than_its_parent() -> None:
    code = """
import os
from scripts.cluster.processes import free_ports
free_ports(1)
child = os.fork()
ports = free_ports(9)
if child:  # prints after the other, so that no line gets into another
    os.waitpid(child, 0)
print(*ports, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    found = done.stdout.split()
    assert len(set(found)) == len(found) == 18


def test_the_ports_of_a_killed_process_can_be_found_again() -> None:
    with begun(LAST_BLOCK) as process:
        port = line(process)
    done = subprocess.run(
        [sys.executable, "-c", SAME_BLOCK, port], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == (port, "")


def line(process: subprocess.Popen[str]) -> str:
    """Return the next line that a process prints, without its end."""
    assert process.stdout
    return process.stdout.readline().strip()
