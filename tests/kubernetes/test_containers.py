"""What containers have, and what Kubernetes makes of the variables in their texts."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.kubernetes import containers, network_policies
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import Workload, makers


def workload(**spec: Any) -> Workload:
    manifest = Manifest({"kind": "Pod", "metadata": {"name": "one"}, "spec": spec}, "")
    (made,) = makers([manifest])
    return made


def test_sidecars_run_as_long_as_the_pod_and_other_init_containers_do_not() -> None:
    inits = [{"name": "first"}, {"name": "beside", "restartPolicy": "Always"}]
    made = workload(initContainers=inits, containers=[{"name": "main"}])
    assert [one.name for one in containers.of(made)] == ["first", "beside", "main"]
    assert [one.name for one in containers.running(made)] == ["main", "beside"]


def test_the_ports_of_a_pod_that_policies_name_are_those_that_it_has_while_it_runs() -> None:
    ended = {"ports": [{"name": "old", "containerPort": 1}]}
    ports = [{"containerPort": 2}, {"name": "rpc", "containerPort": 3}, {"name": "rpc"}]
    made = workload(initContainers=[ended], containers=[{"ports": ports}])
    assert network_policies.pod(made).ports == {("rpc", "TCP"): 3}
    assert [port.number for port in containers.ports(made)] == [2, 3, 0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)/$(A)", "x/x"),
        ("$(B)", "$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$x"),
        ("$A ${A}", "$A ${A}"),
    ],
)
def test_variables_are_put_into_texts_as_the_kubelet_does(text: str, expected: str) -> None:
    """k8s.io/kubernetes/third_party/forked/golang/expansion/expand.go."""
    assert containers.expanded(text, {"A": "x"}) == expected


def test_values_are_known_where_they_are_texts_or_the_pod_s_name() -> None:
    env = [
        {"name": "A", "value": "a$$b"},
        {"name": "B", "value": "$(A)"},
        {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "D", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    (one,) = containers.of(workload(containers=[{"env": env}]))
    assert containers.values(one, "one-0") == {"A": "a$b", "C": "one-0"}


def test_env_sources_are_the_config_maps_and_secrets_of_env_and_env_from() -> None:
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
    ]
    many = [{"prefix": "P_", "configMapRef": {"name": "m", "key": "ignored"}}]
    (container,) = containers.of(workload(containers=[{"env": env, "envFrom": many}]))
    one, every = container.env_sources()
    assert (one.kind, one.name, one.key, one.prefix) == ("Secret", "s", "k", None)
    assert one.path == ("spec", "containers", 0, "env", 1, "valueFrom", "secretKeyRef")
    assert one.is_optional
    assert (every.kind, every.name, every.key, every.prefix) == ("ConfigMap", "m", "", "P_")
    assert every.path == ("spec", "containers", 0, "envFrom", 0, "configMapRef")
    assert not every.is_optional


@pytest.mark.parametrize("odd", [None, 1, "x", [], ["x"], [{}], {}, {"name": 1}])
def test_objects_of_any_shape_do_no_harm(odd: Any) -> None:
    fields = ("ports", "env", "command", "args", "envFrom", "volumeMounts", "name", "image")
    spec = {"initContainers": odd, "containers": [odd, dict.fromkeys(fields, odd)], "volumes": odd}
    for made in (workload(**spec), workload(containers=odd)):
        for one in containers.of(made):
            list(one.ports()), list(one.variables()), list(one.mounts()), one.words()
            assert all(source.name == "" for source in one.env_sources())
            assert (one.name, one.image, containers.values(one, "")) is not None
