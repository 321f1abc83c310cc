"""Run a command many times, each time with a signal at another step of its work.

    python -m tests.interrupted_runs REPOSITORY SIGNAL  <  lines of JSON: [step, arguments…]

A step is a change that the command is about to make to the file system of the repository; the
signal comes before the step of the given number, counted from 0, or before the renaming to the
given name. Answers are lines of JSON: `stopped` with the process where the signal stopped it, and
how it ended: its `code` (negative: the signal that killed it), the `steps` that it came to, and all
that it `said`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.__main__ import main
from scripts.output import update  # noqa: F401, loaded once for all the children
from scripts.rendering import pipeline

CHANGES = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink"}
EXCHANGE = "ctypes.dlsym"
"""The exchange of two folders has no event of its own: this one looks up how it is done."""


class Steps:
    """Counts changes below a folder, and sends this process a signal before one of them."""

    def __init__(self, root: Path, wanted: int | str, number: int) -> None:
        self.root, self.wanted, self.number = str(root), wanted, number
        self.count = 0
        self.begun = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._is_change(event, arguments):
            return
        now = self.count == self.wanted
        if isinstance(self.wanted, str) and event in ("os.rename", EXCHANGE):
            now = str(arguments[1]).endswith(self.wanted)
        self.count += 1
        if now:
            os.kill(os.getpid(), self.number)

    def _is_change(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event == EXCHANGE:
            return str(arguments[1]).startswith("rename")
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return False
        elif event in CHANGES:
            path = arguments[0]
        else:
            return False
        if not isinstance(path, str | bytes | os.PathLike):
            return False
        name = os.fsdecode(path)
        inside = name.startswith(self.root)
        self.begun = self.begun or name.startswith(f"{self.root}/.render/staged")
        # A whole tree is removed by names relative to the folder that is being emptied.
        return inside or (self.begun and not name.startswith("/"))


def child(
    root: Path, number: int, arguments: list[str], wanted: int | str, said: int, told: int
) -> int:
    os.dup2(said, 1)
    os.dup2(said, 2)
    # Helm's engine hangs in a fork: a child that needs more than what was rendered before fails.
    sys.modules["helm_python"] = None  # type: ignore[assignment]
    steps = Steps(root, wanted, number)
    sys.addaudithook(steps)
    try:
        return main(["--repository", str(root), *arguments])
    finally:
        sys.stdout.flush()
        os.write(told, str(steps.count).encode())


def run(root: Path, number: int, arguments: list[str], wanted: int | str) -> dict[str, object]:
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as told:
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = child(root, number, arguments, wanted, said.fileno(), told.fileno())
            finally:
                os._exit(code)
        while True:
            _, status = os.waitpid(pid, os.WUNTRACED)
            if not os.WIFSTOPPED(status):
                break
            print(json.dumps({"stopped": pid}), flush=True)
        said.seek(0)
        told.seek(0)
        return {
            "code": os.waitstatus_to_exitcode(status),
            "steps": int(told.read() or 0),
            "said": said.read().decode(),
        }


if __name__ == "__main__":
    folder, name = sys.argv[1:]
    # What costs most is not repeated: the children find what Helm made of these values.
    pipeline.render(Path(folder), "dev")
    for line in sys.stdin:
        step, *words = json.loads(line)
        ended = run(Path(folder), signal.Signals[name], words, step)
        print(json.dumps(ended), flush=True)
