"""Stops scripts and S3 in the middle of a request."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.chart.backup_store import Store, end
from tests.conftest import Run
from tests.waits import until


@dataclass(slots=True)
class Proxy:
    """Stands between a script and S3, and acts once where a request holds a pattern."""

    port: int
    pattern: bytes
    action: Callable[[], bool]
    """Called at the pattern; False cuts this connection and all later ones."""
    seen: list[bytes] = field(default_factory=list)
    """What requests began with; connections add to it at the same time."""
    dead: bool = False
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}"

    def serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                if self.dead:
                    client.close()
                    continue
                threading.Thread(target=self.connect, args=(client,), daemon=True).start()

    def connect(self, client: socket.socket) -> None:
        """Carry a connection both ways.

        Its sockets are closed only when neither thread uses them: the number of a closed one is
        given to the next file of this process, which the other thread would then read or write.
        """
        with (
            client,
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", self.port)) as server,
        ):
            back = threading.Thread(target=self.pump, args=(server, client, False), daemon=True)
            back.start()
            self.pump(client, server, True)
            back.join()

    def pump(self, giver: socket.socket, taker: socket.socket, is_request: bool) -> None:
        with contextlib.suppress(OSError):
            while data := giver.recv(65536):
                if is_request:
                    self.seen.append(data[:2000])
                    if self.pattern in data and not self.action():
                        self.dead = True
                if self.dead:
                    break
                taker.sendall(data)
        for end_of_it in (giver, taker):
            with contextlib.suppress(OSError):
                end_of_it.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def between(store: Store, pattern: bytes, action: Callable[[], bool]) -> Iterator[Proxy]:
    port = int(store.environment["RCLONE_CONFIG_S3_ENDPOINT"].rsplit(":", 1)[1])
    proxy = Proxy(port, pattern, action)
    thread = threading.Thread(target=proxy.serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.dead = True
        # Wakes who waits for connections, which a close does not.
        with contextlib.suppress(OSError):
            proxy.listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        proxy.listener.close()


@dataclass(frozen=True, slots=True)
class Pause:
    """An action that holds a request until it is let go, and cuts it then."""

    reached: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)

    def __call__(self) -> bool:
        self.reached.set()
        self.released.wait()
        return False


def stopped(
    store: Store, pattern: bytes, by: signal.Signals, script: str, **more: Path | str
) -> Run:
    """Run a script, and send it a signal while a request with the pattern waits."""
    pause = Pause()
    with between(store, pattern, pause) as proxy:
        process = store.start(script, RCLONE_CONFIG_S3_ENDPOINT=proxy.endpoint, **more)
        try:
            until(
                lambda: pause.reached.is_set() or process.poll() is not None,
                "the request",
                lambda: len(proxy.seen),
            )
            assert pause.reached.is_set(), end(process)
            # Kubernetes tells a container's first process only; the kernel kills them all.
            (os.killpg if by == signal.SIGKILL else os.kill)(process.pid, by)
            return end(process)
        finally:
            pause.released.set()
