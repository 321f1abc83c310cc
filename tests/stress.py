"""Run tests again and again, in random order, beside a load on all cores.

    nox -s tests -- --stress [RUNS] [--seed SEED] [options of pytest]
    nox -s e2e -- --stress [RUNS] …

A seed decides the order of the tests and hypothesis' examples. Each run takes a new one, which is
printed: `--stress --seed SEED` repeats its order. Which of pytest's workers gets which test is
decided as they run, by no seed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence

from scripts.core import process_lifetime

LOAD = "while True: pass"


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the runs, print what became of each, and return 1 if a test failed in any of them."""
    process_lifetime.end_with_parent()
    parser = argparse.ArgumentParser(prog="nox -s tests --", description=__doc__)
    about = "how often to run all of them; once, if no number is given"
    parser.add_argument("--stress", nargs="?", type=int, const=1, metavar="RUNS", help=about)
    parser.add_argument("--seed", type=int, help="the seed of the first run, then one more each")
    options, rest = parser.parse_known_args(arguments)
    cores, rows = os.cpu_count() or 1, []
    first = secrets.randbelow(2**31) if options.seed is None else options.seed
    for number in range(options.stress):
        seed = first + number
        print(f"run {number + 1} of {options.stress}, seed {seed}, load {cores}", flush=True)
        with load(cores):
            begun = time.monotonic()
            code = _run(seed, rest)
        rows.append((seed, time.monotonic() - begun, code))
    print("\n      seed  seconds  exit code")
    for seed, seconds, code in rows:
        print(f"{seed:10}  {seconds:7.0f}  {code}")
    return int(any(code for _, _, code in rows))


def _run(seed: int, arguments: Sequence[str]) -> int:
    """Return pytest's exit code."""
    command = [sys.executable, "-m", "pytest", "-p", "randomly"]
    command += [f"--randomly-seed={seed}", f"--hypothesis-seed={seed}"]
    command += ["--hypothesis-profile=random", *arguments]
    with subprocess.Popen(command) as pytest:
        try:
            return pytest.wait()
        except KeyboardInterrupt:
            # It may have the signal already, or not; it ends its workers in either case.
            pytest.terminate()
            raise


@contextlib.contextmanager
def load(processes: int) -> Iterator[None]:
    """Keep so many cores busy; none of these processes outlives this one."""
    reading, writing = os.pipe()
    command = process_lifetime.until_end_of_stdin([sys.executable, "-S", "-c", LOAD])
    try:
        running = [
            subprocess.Popen(command, stdin=reading, start_new_session=True)
            for _ in range(processes)
        ]
    finally:
        os.close(reading)
    try:
        yield
        ended = [process for process in running if process.poll() is not None]
        assert not ended, "the load has ended before the tests"
    finally:
        os.close(writing)
        for process in running:
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
