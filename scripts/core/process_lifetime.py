"""What ends with what: no child outlives its program, and none of our programs outlives nox."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Sequence
from pathlib import Path

STARTED_BY = "LINEA_STARTED_BY"
"""Environment variable with the id of the nox process that a session's program ends with."""

LOOK_S = 0.2

_UNTIL_END_OF_STDIN = """
exec 3<&0 </dev/null
(read -r _ <&3; kill -9 0) >/dev/null 2>&1 &
exec "$@" 3<&-
"""


def until_end_of_stdin(command: Sequence[str | Path]) -> list[str | Path]:
    """Return a command that runs the given one, and kills its process group at the end of stdin.

    Give it a session of its own and the reading end of a pipe as stdin: when the process that holds
    the other end closes it or ends, however it ends, the command and all its children are killed.
    """
    return ["sh", "-c", _UNTIL_END_OF_STDIN, "sh", *command]


def end_with_parent() -> None:
    """Raise KeyboardInterrupt in the main thread at a SIGTERM, or when the parent has ended.

    Call it once, in the main thread. It makes a killed nox end what it started.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Its own children are not nox's.
    parent = int(os.environ.pop(STARTED_BY, 0)) or os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_S)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=look, daemon=True).start()
