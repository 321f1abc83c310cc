"""An autoscaler scales the object that its controller finds."""

from __future__ import annotations

import pytest

from scripts.kubernetes import autoscalers
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import workloads

BESU = {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "besu"}}


def scaler(**target: str) -> Manifest:
    spec = {"scaleTargetRef": target, "minReplicas": 2, "maxReplicas": 5}
    return Manifest({"kind": autoscalers.KIND, "metadata": {"name": "x"}, "spec": spec}, "")


@pytest.mark.parametrize(
    ("version", "is_found"),
    [("apps/v1", True), ("apps/v1beta1", True), ("extensions/v1beta1", False), ("v1", False)],
)
def test_the_group_and_kind_decide_and_no_version(version: str, is_found: bool) -> None:
    """reconcileAutoscaler in Kubernetes' pkg/controller/podautoscaler/horizontal.go."""
    own = scaler(apiVersion=version, kind="StatefulSet", name="besu")
    assert (autoscalers.target(own) == autoscalers.as_target(Manifest(BESU, ""))) is is_found
    (found,) = workloads([Manifest(BESU, ""), own])
    assert (found.least, found.most) == ((2, 5) if is_found else (1, 1))


def test_an_object_of_another_kind_is_not_scaled() -> None:
    (found,) = workloads(
        [Manifest(BESU, ""), scaler(apiVersion="apps/v1", kind="Deployment", name="besu")]
    )
    assert found.most == 1
