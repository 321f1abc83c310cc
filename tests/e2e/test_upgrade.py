"""What runs becomes what is committed: the base is synced first, then the working tree."""

from __future__ import annotations

import pytest

from scripts.cluster.cluster import Cluster
from tests.e2e import steps


def test_the_working_tree_syncs_where_its_base_runs(cluster: Cluster, base: str) -> None:
    if not base:
        pytest.skip("this clone has one commit: nothing came before")
    steps.wait_synced(cluster, revision=cluster.remote.revision())
    first, *_ = cluster.remote.revisions()
    for name in steps.applications(cluster):
        each = cluster.api.get("Application", name, "argocd")
        ran = [entry["revision"] for entry in steps.status(each, "history")]
        assert ran[0] == first, f"{name} began with {ran[0]}, not with {base}"
