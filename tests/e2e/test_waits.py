"""What the other tests rest on: their waits end only if nothing moves, and they miss no state."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from scripts.cluster.api_client import LOOK_S, NotInTimeError, Object
from scripts.cluster.cluster import Cluster
from tests.e2e import steps
from tests.e2e.watching import Watching

NAMESPACE = "default"


@pytest.fixture
def note(cluster: Cluster) -> Iterator[str]:
    """Return the name of a ConfigMap that is there; it need not be in the end."""
    steps.wait_synced(cluster)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"note-{uuid.uuid4()}"}}
    name = str(cluster.api.create("ConfigMap", body, NAMESPACE)["metadata"]["name"])
    yield name
    if cluster.api.find("ConfigMap", name, NAMESPACE):
        cluster.api.delete("ConfigMap", name, NAMESPACE)


def test_a_wait_ends_when_nothing_moves_and_says_what_the_last_state_is(cluster: Cluster) -> None:
    steps.wait_synced(cluster)
    with pytest.raises(NotInTimeError) as told:
        steps.wait(cluster, lambda there: False, "what never comes", LOOK_S)
    first, *states = str(told.value).splitlines()
    assert first == f"what never comes: nothing has moved for {LOOK_S:.0f} s; last of Application:"
    assert f"  {steps.ROOT}: " in "".join(states)
    assert all("health Healthy" in state and "sync Synced" in state for state in states)


def test_a_wait_goes_on_as_long_as_something_moves(cluster: Cluster, note: str) -> None:
    begun, still_s = time.monotonic(), 2 * LOOK_S

    def is_there(_: dict[str, Object]) -> bool:
        body = {"data": {"text": str(uuid.uuid4())}}
        cluster.api.patch("ConfigMap", note, body, NAMESPACE)
        time.sleep(LOOK_S / 4)
        return time.monotonic() - begun > 2 * still_s

    cluster.api.until("ConfigMap", is_there, "a note", namespace=NAMESPACE, timeout_s=still_s)


def test_what_is_deleted_at_the_last_moment_is_seen(cluster: Cluster, note: str) -> None:
    def is_gone(there: dict[str, Object]) -> str | None:
        return None if note in there else "the note is gone"

    with (
        pytest.raises(AssertionError, match="the note is gone"),
        Watching(cluster, "ConfigMap", NAMESPACE, is_gone),
    ):
        cluster.api.delete("ConfigMap", note, NAMESPACE)
