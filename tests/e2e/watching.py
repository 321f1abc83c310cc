"""Check a condition in every state of some objects while something happens to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from scripts.cluster.api_client import STILL_S, Object
from scripts.cluster.cluster import Cluster


class Watching:
    """Checks every state of a kind's objects in a namespace, from `with` to its end.

    problem: gets the objects by name, and returns what is wrong with them, or nothing. The first
    problem fails the test at the end of the `with`, when all states until then are checked.
    states: the number of different states.
    """

    def __init__(
        self,
        cluster: Cluster,
        kind: str,
        namespace: str,
        problem: Callable[[dict[str, Object]], str | None],
    ) -> None:
        self._cluster, self._kind, self._namespace = cluster, kind, namespace
        self._problem, self._problems = problem, list[str]()
        self._changed = threading.Condition()
        self._current, self._seen = dict[str, int](), dict[str, int]()
        self._ended, self.states = False, 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._look, daemon=True).start()
        self._wait_for_now()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._wait_for_now()
                assert not self._problems, self._problems[0]
        finally:
            self._ended = True

    def _wait_for_now(self) -> None:
        """Wait until the current state, or a later one, is checked."""
        listed, version = self._cluster.api.listed(self._kind, self._namespace)
        now = _versions(listed)

        def is_seen() -> bool:
            existing = all(self._seen.get(uid, 0) >= since for uid, since in now.items())
            deleted = all(uid in now or it > int(version) for uid, it in self._current.items())
            return self.states > 0 and existing and deleted

        with self._changed:
            seen = self._changed.wait_for(is_seen, STILL_S)
        assert seen, f"the watch of {self._kind} in {self._namespace} does not work"

    def _look(self) -> None:
        for objects in self._cluster.api.states(self._kind, self._namespace, ""):
            if self._ended:
                return
            problem, current = self._problem(objects), _versions(objects.values())
            with self._changed:
                self.states += not self.states or current != self._current
                self._current = current
                self._seen |= current
                self._problems += [problem] if problem else []
                self._changed.notify_all()


def _versions(objects: Iterable[Object]) -> dict[str, int]:
    """Return objects' uid → resourceVersion, which only grows."""
    metadata = (each["metadata"] for each in objects)
    return {each["uid"]: int(each["resourceVersion"]) for each in metadata}
