"""A promise that is looked at in every state of some objects while something happens to them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from scripts.cluster.api import Object
from scripts.cluster.cluster import Cluster

LONG_S = 3600.0
FIRST_S = 30.0


class Watching:
    """Looks at every state of a kind's objects in a namespace, from `with` to its end.

    broken: gets the objects by name, and returns what is wrong with them, or nothing. The first
    thing wrong fails the test at the end of the `with`.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        namespace: str,
        broken: Callable[[dict[str, Object]], str | None],
    ) -> None:
        self._cluster, self._kind, self._namespace = cluster, kind, namespace
        self._broken, self._found = broken, list[str]()
        self._begun, self._ended = threading.Event(), threading.Event()
        self.states = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._look, daemon=True).start()
        assert self._begun.wait(FIRST_S), f"{self._kind} can't be watched"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended.set()
        if error is None:
            assert not self._found, self._found[0]

    def _look(self) -> None:
        end = time.monotonic() + LONG_S
        for objects in self._cluster.api.states(self._kind, self._namespace, "", end):
            if self._ended.is_set():
                return
            self.states += 1
            if wrong := self._broken(objects):
                self._found.append(wrong)
            self._begun.set()
