"""What runs becomes what is committed: the base is synced first, then the working tree."""

from __future__ import annotations

import pytest

from scripts.cluster.cluster import Cluster
from tests.e2e import steps
from tests.e2e.conftest import FirstSync


def test_the_working_tree_syncs_where_its_base_runs(
    cluster: Cluster, base: str, first_sync: FirstSync
) -> None:
    if not base:
        pytest.skip("this clone has one commit: nothing came before")
    steps.wait_synced(cluster, revision=cluster.remote.revision())
    for name, (_, pods) in first_sync.items():
        assert pods, f"{name} did not run as of {base}"
