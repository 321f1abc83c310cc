"""Argo CD makes the cluster equal to git: root, projects, Applications, objects, in waves."""

from __future__ import annotations

from scripts.cluster.cluster import Cluster
from tests.e2e import steps


def test_everything_is_synced_and_healthy(cluster: Cluster) -> None:
    steps.wait_synced(cluster)
