"""The waits of the other tests fail only without progress, and miss no state."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import pytest

from scripts.cluster import api_client
from scripts.cluster.api_client import NotInTimeError, Object
from scripts.cluster.cluster import Cluster
from tests.e2e import steps
from tests.e2e.watching import Watching

NAMESPACE = "default"
LOOK_S = 1.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let waits check for progress more often, so that these tests take seconds."""
    monkeypatch.setattr(api_client, "LOOK_S", LOOK_S)


@pytest.fixture
def note(cluster: Cluster) -> Iterator[str]:
    """Return the name of a ConfigMap, which the test may delete."""
    steps.wait_synced(cluster)
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"note-{uuid.uuid4()}"}}
    name = str(cluster.api.create("ConfigMap", body, NAMESPACE)["metadata"]["name"])
    yield name
    if cluster.api.find("ConfigMap", name, NAMESPACE):
        cluster.api.delete("ConfigMap", name, NAMESPACE)


def test_a_wait_without_progress_fails_and_shows_the_last_state(cluster: Cluster) -> None:
    steps.wait_synced(cluster)
    with pytest.raises(NotInTimeError) as error:
        steps.wait(cluster, lambda there: False, "what never comes", LOOK_S)
    first, *states = str(error.value).splitlines()
    since = f"no progress for {LOOK_S:.0f} s"
    assert first == f"what never comes: {since}; last state of Application:"
    assert f"  {steps.ROOT}: " in "".join(states)
    assert all("health Healthy" in state and "sync Synced" in state for state in states)


def test_a_wait_continues_as_long_as_there_is_progress(cluster: Cluster, note: str) -> None:
    begun, still_s = time.monotonic(), 2 * LOOK_S

    def is_there(_: dict[str, Object]) -> bool:
        body = {"data": {"text": str(uuid.uuid4())}}
        cluster.api.patch("ConfigMap", note, body, NAMESPACE)
        time.sleep(LOOK_S / 4)
        return time.monotonic() - begun > 2 * still_s

    cluster.api.until("ConfigMap", is_there, "a note", namespace=NAMESPACE, timeout_s=still_s)


def test_a_deletion_at_the_last_moment_is_seen(cluster: Cluster, note: str) -> None:
    def is_gone(there: dict[str, Object]) -> str | None:
        return None if note in there else "the note is gone"

    with (
        pytest.raises(AssertionError, match="the note is gone"),
        Watching(cluster, "ConfigMap", NAMESPACE, is_gone),
    ):
        cluster.api.delete("ConfigMap", note, NAMESPACE)
