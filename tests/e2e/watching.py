"""A promise that is looked at in every state of some objects while something happens to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from scripts.cluster.api_client import STILL_S, Object
from scripts.cluster.cluster import Cluster


class Watching:
    """Looks at every state of a kind's objects in a namespace, from `with` to its end.

    broken: gets the objects by name, and returns what is wrong with them, or nothing. The first
    thing wrong fails the test at the end of the `with`, when all that has happened by then was
    looked at. states: how many different ones that were.
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
        self._changed = threading.Condition()
        self._there, self._seen = dict[str, int](), dict[str, int]()
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
                assert not self._found, self._found[0]
        finally:
            self._ended = True

    def _wait_for_now(self) -> None:
        """Wait until all that is there now was looked at, or something later."""
        listed, version = self._cluster.api.listed(self._kind, self._namespace)
        now = _versions(listed)

        def is_seen() -> bool:
            come = all(self._seen.get(uid, 0) >= since for uid, since in now.items())
            gone = all(uid in now or it > int(version) for uid, it in self._there.items())
            return self.states > 0 and come and gone

        with self._changed:
            seen = self._changed.wait_for(is_seen, STILL_S)
        assert seen, f"{self._kind} of {self._namespace} can't be watched"

    def _look(self) -> None:
        for objects in self._cluster.api.states(self._kind, self._namespace, ""):
            if self._ended:
                return
            wrong, there = self._broken(objects), _versions(objects.values())
            with self._changed:
                self.states += not self.states or there != self._there
                self._there = there
                self._seen |= there
                self._found += [wrong] if wrong else []
                self._changed.notify_all()


def _versions(objects: Iterable[Object]) -> dict[str, int]:
    """Return objects' uid → resourceVersion, which only grows."""
    found = (each["metadata"] for each in objects)
    return {each["uid"]: int(each["resourceVersion"]) for each in found}
