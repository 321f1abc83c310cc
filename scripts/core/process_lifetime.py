"""End processes with their parents: children with their program, and programs with nox."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

STARTED_BY = "LINEA_STARTED_BY"
"""Environment variable with the id of the nox process; a session's program ends when nox ends."""

LOOK_S = 0.2

_UNTIL_END_OF_STDIN = """
exec 3<&0 </dev/null
(read -r _ <&3; kill -9 0) >/dev/null 2>&1 &
exec "$@" 3<&-
"""


def until_end_of_stdin(command: Sequence[str | Path]) -> list[str | Path]:
    """Return a command that runs the given one and kills its process group at the end of stdin.

    Start it in a new session, with the reading end of a pipe as stdin. When the process with the
    other end closes it or ends in any way, the command and all its children are killed.
    """
    return ["sh", "-c", _UNTIL_END_OF_STDIN, "sh", *command]


def end_with_parent() -> None:
    """Raise KeyboardInterrupt in the main thread on SIGTERM, or once the parent has ended.

    Call it once, in the main thread. So a program ends even if nox is killed.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Remove the variable: the parent of this process' children is not nox.
    parent = int(os.environ.pop(STARTED_BY, 0)) or os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, daemon=True).start()
