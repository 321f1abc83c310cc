"""Runs the program in processes that are forked from one which has loaded all of it.

    python -m tests.program_server  <  lines of JSON: [arguments, environment variables,
                                       the folder that it writes to]

A run costs what it does, and not also a second of imports. Answers are its exit codes, a line each.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import scripts
from scripts.__main__ import main

ROOT = Path(__file__).resolve().parent.parent
OUT, ERR = "out", "err"

WITHOUT = ("scripts.__main__", "scripts.cluster")
"""Modules that are not loaded: the cluster needs packages that these tests do without."""

STARTING = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "MALLOC_")
"""How names of variables begin that count when an interpreter starts."""


def run(arguments: Sequence[str], environment: Mapping[str, str]) -> tuple[int, bytes, bytes]:
    """Return the exit code of a run of the program, and what it has written to stdout and stderr.

    Raises ValueError where only a process that starts anew would heed the environment.
    """
    server, started_with = _server()
    if _starting(environment) != started_with:
        raise ValueError("the environment changes how Python starts")
    assert server.stdin and server.stdout
    with tempfile.TemporaryDirectory() as folder:
        server.stdin.write(f"{json.dumps([list(arguments), dict(environment), folder])}\n".encode())
        server.stdin.flush()
        code = int(server.stdout.readline())
        return code, Path(folder, OUT).read_bytes(), Path(folder, ERR).read_bytes()


@cache
def _server() -> tuple[subprocess.Popen[bytes], dict[str, str]]:
    """Return the process that forks, which ends with this one, and what it was started with."""
    command = [sys.executable, "-m", "tests.program_server"]
    pipe = subprocess.PIPE
    server = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe)
    return server, _starting(os.environ)


def _starting(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: text for name, text in environment.items() if name.startswith(STARTING)}


def serve() -> None:
    """Answer until stdin ends."""
    # Helm's engine, whose threads don't survive a fork, is loaded where it is first used.
    for module in pkgutil.walk_packages(scripts.__path__, "scripts."):
        if not module.name.startswith(WITHOUT):
            importlib.import_module(module.name)
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        arguments, environment, folder = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _child(arguments, environment, Path(folder))
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _child(arguments: list[str], environment: dict[str, str], folder: Path) -> None:
    """Run the program as a process of its own does, and end."""
    code = 1
    try:
        os.environ.clear()
        os.environ.update(environment)
        for number, name in ((1, OUT), (2, ERR)):
            file = os.open(folder / name, os.O_WRONLY | os.O_CREAT)
            os.dup2(file, number)
            os.close(file)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = main(arguments)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
