"""A sync with `verify: true` is green only if the check of the chain succeeds.

No container runs in the cluster, so a Job's pod succeeds, or fails if its image ends in "failing";
tests/chart/test_verify.py runs the check itself on a real chain.
"""

from __future__ import annotations

from typing import Any

from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.git_remote import Remote
from tests.e2e import steps

NAME = "dev"
APPLICATION = steps.application(NAME)
FAILING = {"txSender": {"image": {"tag": "failing", "digest": ""}}}
WORKING = {"txSender": {"image": {"tag": "v1.7.1"}}}


def hook(application: Object) -> tuple[str, str]:
    """Return the type and the phase of the check in the last sync; empty without one."""
    found: list[dict[str, Any]] = (
        steps.status(application, "operationState", "syncResult", "resources") or []
    )
    own = [each for each in found if each["name"] == "linea-stack-verify" and "hookType" in each]
    return (own[0]["hookType"], own[0].get("hookPhase", "")) if own else ("", "")


def test_a_sync_is_green_only_if_the_check_of_the_chain_succeeds(
    cluster: Cluster, remote: Remote
) -> None:
    file = remote.checkout / "overlays" / NAME / "environment.yaml"
    file.write_text(f"{file.read_text()}verify: true\n")
    steps.change(remote, NAME, WORKING)
    revision = remote.push("verify each sync")
    steps.wait_synced(cluster, [APPLICATION], revision)
    application = cluster.api.get("Application", APPLICATION, "argocd")
    assert hook(application) == ("PostSync", "Succeeded")
    assert not cluster.api.find("Job", "linea-stack-verify", f"linea-{NAME}")

    steps.change(remote, NAME, FAILING)
    revision = remote.push("a chain that does not pass the check")
    steps.refresh(cluster, [APPLICATION])

    def failed(there: dict[str, Object]) -> Object | None:
        each = there[APPLICATION]
        at = steps.status(each, "operationState", "syncResult", "revision")
        is_compared = steps.status(each, "sync", "status") == "Synced"
        has_failed = at == revision and hook(each) == ("PostSync", "Failed")
        return each if has_failed and is_compared else None

    application = steps.wait(cluster, failed, "the check fails, and with it the sync")
    assert not steps.is_synced(application, revision)

    steps.change(remote, NAME, WORKING)
    steps.wait_synced(cluster, [APPLICATION], remote.push("a chain that passes it again"))
