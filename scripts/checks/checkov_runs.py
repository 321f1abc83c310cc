"""Run checkov on many folders: it is imported once, and forked for each folder.

This program runs with the Python of checkov's own virtual environment, so it imports nothing of
this repository. Its standard input is JSON: {"arguments": […], "folders": […], "processes": 2,
"timeout_s": 600}. It writes what checkov prints to the files `stdout` and `stderr` beside each
folder, and prints a JSON list of exit codes. The folder beside is checkov's home.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

_FAILED = 2
"""The exit code for an error of the program; 1 is that of failed checks."""


def main() -> None:
    """Read the request, run checkov on all folders, and print the exit codes."""
    request = json.load(sys.stdin)
    sys.argv[1:] = request["arguments"]
    # After the arguments are set: they are the default of a parameter of checkov's.
    from checkov.main import Checkov

    codes = dict[int, int]()
    running = dict[int, int]()
    for number, folder in enumerate(request["folders"]):
        if len(running) >= request["processes"]:
            _wait(running, codes)
        child = os.fork()
        if not child:
            _scan(Checkov, Path(folder), request)
        running[child] = number
    while running:
        _wait(running, codes)
    print(json.dumps([codes[number] for number in sorted(codes)]))


def _wait(running: dict[int, int], codes: dict[int, int]) -> None:
    child, status = os.wait()
    codes[running.pop(child)] = os.waitstatus_to_exitcode(status)


def _scan(checkov: Any, folder: Path, request: dict[str, Any]) -> None:
    """Run checkov in a child process, which ends here."""
    code = _FAILED
    try:
        signal.alarm(request["timeout_s"])
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            with (folder.parent / name).open("wb") as file:
                os.dup2(file.fileno(), descriptor)
        os.environ["HOME"] = os.environ["TMPDIR"] = tempfile.tempdir = str(folder.parent)
        os.chdir(folder)
        code = checkov(argv=request["arguments"]).run() or 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except OSError:  # the disk is full: the output is incomplete
            code = _FAILED
        os._exit(code)


if __name__ == "__main__":
    main()
