"""An upgrade works: the base is synced first, then the working tree."""

from __future__ import annotations

import pytest

from scripts.cluster.cluster import Cluster
from tests.e2e import steps
from tests.e2e.conftest import FirstSync


def test_the_working_tree_syncs_after_its_base(
    cluster: Cluster, base: str, first_sync: FirstSync
) -> None:
    if not base:
        pytest.skip("this clone has one commit, so there is no base")
    steps.wait_synced(cluster, revision=cluster.remote.revision())
    for name, (_, pods) in first_sync.items():
        assert pods, f"{name} did not run at {base}"
