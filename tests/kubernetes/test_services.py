"""Where Services and Ingresses lead is where Kubernetes leads requests."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.kubernetes import services
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import Workload, makers

LABELS = {"app": "node"}


def service(*ports: dict[str, Any], **spec: Any) -> Manifest:
    """Return a Service of the pods that `pods` makes."""
    fields = {"selector": LABELS, "ports": list(ports), **spec}
    return Manifest({"kind": "Service", "metadata": {"name": "node"}, "spec": fields}, "")


def pods(
    *containers: dict[str, Any], inits: list[dict[str, Any]] | None = None, replicas: int = 1
) -> Workload:
    """Return a StatefulSet of pods with containers."""
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"containers": list(containers), "initContainers": inits or []},
    }
    spec = {"replicas": replicas, "template": template}
    metadata = {"name": "node"}
    (made,) = makers([Manifest({"kind": "StatefulSet", "metadata": metadata, "spec": spec}, "")])
    return made


def port(number: int, name: str = "", **more: Any) -> dict[str, Any]:
    return {"containerPort": number, **({"name": name} if name else {}), **more}


def reached(target: dict[str, Any], workload: Workload) -> int | None:
    """Return the number of the pods' port that a Service's only port leads to."""
    (found,) = services.ports(service({"port": 80, **target}))
    return services.reached(found, workload)


@pytest.mark.parametrize(
    "target", [{}, {"targetPort": 0}, {"targetPort": ""}, {"targetPort": None}]
)
def test_a_port_without_a_target_leads_to_its_own_number(target: dict[str, Any]) -> None:
    """SetDefaults_Service in Kubernetes' pkg/apis/core/v1/defaults.go: for 0 and "" as well."""
    assert reached(target, pods({"ports": [port(8545, "rpc")]})) == 80


def test_a_name_is_that_of_a_port_with_the_same_protocol() -> None:
    """FindPort in Kubernetes' pkg/api/v1/pod/util.go."""
    own = pods({"ports": [port(9000, "p2p", protocol="UDP"), port(9001, "p2p")]})
    assert reached({"targetPort": "p2p"}, own) == 9001
    assert reached({"targetPort": "p2p", "protocol": "UDP"}, own) == 9000
    assert reached({"targetPort": "p2p", "protocol": "SCTP"}, own) is None


def test_a_number_is_taken_as_it_is_whatever_containers_say() -> None:
    own = pods({"ports": [port(8545, "rpc")]})
    assert reached({"targetPort": 8546}, own) == 8546
    (found,) = services.ports(service({"port": 80, "targetPort": 8546}))
    assert services.answering(found, own) is None


def test_of_two_ports_with_one_name_the_first_container_s_is_reached_and_a_sidecar_s_last() -> None:
    sidecar = {"restartPolicy": "Always", "ports": [port(1, "rpc")]}
    first, second = {"ports": [port(2, "rpc")]}, {"ports": [port(3, "rpc")]}
    assert reached({"targetPort": "rpc"}, pods(first, second, inits=[sidecar])) == 2
    assert reached({"targetPort": "rpc"}, pods({}, inits=[sidecar])) == 1


def test_an_init_container_that_ends_has_no_port_that_is_reached() -> None:
    ended = {"ports": [port(1, "rpc")]}
    assert reached({"targetPort": "rpc"}, pods({}, inits=[ended])) is None


@pytest.mark.parametrize(
    "spec", [{"selector": {}}, {"selector": None}, {"type": "ExternalName"}, {"selector": "x"}]
)
def test_a_service_that_selects_no_pods_leads_to_none(spec: dict[str, Any]) -> None:
    """Its controllers give it no endpoints (endpointslice_controller.go); {} is as none at all."""
    assert services.pods(service({"port": 80}, **spec), [pods({})]) == []


def test_a_service_of_one_pod_leads_to_its_statefulset_where_that_has_such_a_pod() -> None:
    def leads(name: str) -> bool:
        labels = {**LABELS, "statefulset.kubernetes.io/pod-name": name}
        return bool(services.pods(service({"port": 80}, selector=labels), [pods({}, replicas=2)]))

    assert leads("node-1")
    assert not leads("node-2")


def ingress(**spec: Any) -> Manifest:
    return Manifest({"kind": "Ingress", "metadata": {"name": "node"}, "spec": spec}, "")


def backend(**port: Any) -> dict[str, Any]:
    return {"service": {"name": "node", "port": port}}


def test_an_ingress_leads_to_its_default_backend_and_to_that_of_each_path() -> None:
    paths = [{"path": "/a", "backend": backend(number=80)}, {"backend": backend(name="rpc")}]
    rules = [{"host": "a.example.com", "http": {"paths": paths}}, {"host": "b.example.com"}]
    found = services.backends(ingress(defaultBackend=backend(number=1), rules=rules))
    assert [(one.host, one.url, one.port) for one in found] == [
        ("", "/", 1),
        ("a.example.com", "/a", 80),
        ("a.example.com", "/", "rpc"),
    ]
    assert [one.path[-1] for one in found] == ["defaultBackend", "backend", "backend"]


def test_a_backend_means_a_port_of_the_service_by_its_name_or_its_number() -> None:
    rpc, ws = services.ports(
        service({"name": "rpc", "port": 80, "targetPort": 81}, {"name": "ws", "port": 81})
    )
    by_number, by_name = (
        services.backends(ingress(defaultBackend=backend(**one)))[0]
        for one in ({"number": 81}, {"name": "rpc"})
    )
    assert not by_number.is_meant(rpc)
    assert by_number.is_meant(ws)
    assert by_name.is_meant(rpc)
    assert not by_name.is_meant(ws)
