"""Call a function on many items, in one process per processor, with progress if it takes long.

The child processes are forked, each with its share of the items. They end when their parent has
ended: a killed render leaves no process behind that holds its lock.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTH_A_PROCESS = 8
"""Items per process: starting a child for fewer would take longer than doing them here."""

PROGRESS_AFTER_S = 1.0

PROCESSES = os.cpu_count() or 1


def each(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    what: str,
    *,
    worth: int = WORTH_A_PROCESS,
    counted: Callable[[Item], int] = lambda _: 1,
) -> list[Result]:
    """Return the function's results in the order of the items.

    what: names the work in the progress that is shown after a second. worth: items per process for
    which starting one pays. counted: how many an item counts for in the progress.
    An exception in a child process is raised here.
    """
    processes = min(PROCESSES, len(items) // worth)
    counts = [*map(counted, items)]
    # Helm's engine is in Go: its threads do not exist in a forked process.
    if processes < 2 or "helm_python" in sys.modules:
        return [result for _, result in _progress(enumerate(map(function, items)), counts, what)]
    results = dict(_progress(_fork(function, items, processes), counts, what))
    return [results[index] for index in range(len(items))]


def _fork(
    function: Callable[[Item], Result], items: Sequence[Item], processes: int
) -> Iterator[tuple[int, Result]]:
    import multiprocessing
    from multiprocessing.connection import Connection, wait

    context = multiprocessing.get_context("fork")
    children, pipes = [], list[Connection]()
    for share in range(processes):
        receive, send = context.Pipe(duplex=False)
        pipes.append(receive)
        arguments = function, items, share, processes, send, list(pipes)
        child = context.Process(target=_work, args=arguments)
        child.start()
        send.close()
        children.append(child)
    try:
        while pipes:
            for pipe in wait(pipes):
                assert isinstance(pipe, Connection)
                try:
                    index, result, error = pipe.recv()
                except EOFError:
                    pipes.remove(pipe)
                    continue
                if error is not None:
                    raise error
                yield index, result
    finally:
        for child in children:
            child.terminate()
            child.join()


def _work(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    share: int,
    processes: int,
    send: Connection,
    inherited: Sequence[Connection],
) -> None:
    # The fork inherits the parent's ends: while one is open here, no child sees the parent end.
    for pipe in inherited:
        pipe.close()
    # Ctrl-C reaches all processes of the terminal; the parent handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        for index in range(share, len(items), processes):
            try:
                send.send((index, function(items[index]), None))
            except BrokenPipeError:
                raise
            except Exception as error:  # the parent raises it
                send.send((index, None, error))
                return
    except BrokenPipeError:
        os._exit(1)


def _progress(
    results: Iterable[tuple[int, Result]], counts: Sequence[int], what: str
) -> Iterator[tuple[int, Result]]:
    """Yield index and result; after a second, print to stderr how many there are so far."""
    total = sum(counts)
    began = printed = time.monotonic()
    live = None
    done = 0
    try:
        for result in results:
            yield result
            done += counts[result[0]]
            now = time.monotonic()
            if now - began < PROGRESS_AFTER_S:
                continue
            if sys.stderr.isatty():
                live = live or _bar(total, what)
                live.update(live.task_ids[0], completed=done)
            elif now - printed > 5:
                printed = now
                print(f"{what}: {done} of {total}", file=sys.stderr)
    finally:
        if live:
            live.stop()


def _bar(total: int, what: str):  # type: ignore[no-untyped-def]
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    bar.add_task(what, total=total)
    bar.start()
    return bar
