"""What scripts/kubernetes/network_policies.py says of policies is what cyclonus says."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.kubernetes import network_policies
from scripts.kubernetes.manifest import Manifest
from scripts.kubernetes.workloads import selects
from tests import cyclonus
from tests.chart.test_network_policies import VARIANTS, case
from tests.cyclonus import Actor
from tests.objects import ENVIRONMENTS, containers, pods


def parties(manifests: list[Manifest], among: list[Actor]) -> dict[str, network_policies.Party]:
    """Return the actors as scripts/kubernetes/network_policies.py has them."""
    ports = {
        template["metadata"]["labels"][cyclonus.COMPONENT]: {
            (port["name"], port["protocol"]): port["containerPort"]
            for container in containers(template)
            for port in container.get("ports", [])
        }
        for _, template in pods(manifests)
    }
    return {
        actor.name: network_policies.Party(
            actor.name,
            actor.namespace or None,
            actor.labels,
            actor.address,
            ports.get(actor.name, {}),
        )
        for actor in among
    }


@pytest.mark.parametrize("name", [*ENVIRONMENTS, *VARIANTS])
def test_the_answers_are_those_of_cyclonus(name: str) -> None:
    of = case(name)
    found = network_policies.policies(of.manifests)
    known = parties(of.manifests, of.among)
    for (source, target, port), denied in of.denials.items():
        number, _, protocol = port.partition("/")
        answer = network_policies.denies(found, known[source], known[target], int(number), protocol)
        assert answer == denied, (source, target, port)
    numbers = [(int(port.partition("/")[0]), port.partition("/")[2]) for *_, port in of.denials]
    open_ = network_policies.openings(found, list(known.values()), sorted(set(numbers)))
    assert open_ & of.denials.keys() == of.allowed


# Policies that nobody would write

COMPONENTS = st.sampled_from(["sequencer", "maru", "besu"])
SELECTORS = st.one_of(
    st.just({}),
    st.builds(lambda name: {"matchLabels": {cyclonus.COMPONENT: name}}, COMPONENTS),
    st.builds(
        lambda operator, name: {
            "matchExpressions": [
                {"key": cyclonus.COMPONENT, "operator": operator, "values": [name]},
                # Cyclonus takes NotIn to be false of a pod without the label, unlike Kubernetes.
                {"key": cyclonus.COMPONENT, "operator": "Exists"},
            ]
        },
        st.sampled_from(["In", "NotIn"]),
        COMPONENTS,
    ),
)
NAMESPACES = st.one_of(
    st.just({}),
    st.builds(
        lambda name: {"matchLabels": {network_policies.NAMESPACE: name}},
        st.sampled_from(["linea-prod", "monitoring", "kube-system"]),
    ),
)
BLOCKS = st.sampled_from(
    [
        {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8", "169.254.0.0/16"]},
        {"cidr": "10.30.0.0/22"},
        {"cidr": "198.51.100.7/32"},
    ]
)
PEERS = st.one_of(
    st.builds(lambda pods: {"podSelector": pods}, SELECTORS),
    st.builds(lambda names: {"namespaceSelector": names}, NAMESPACES),
    st.builds(
        lambda names, pods: {"namespaceSelector": names, "podSelector": pods}, NAMESPACES, SELECTORS
    ),
    st.builds(lambda block: {"ipBlock": block}, BLOCKS),
)
PORTS = st.sampled_from(
    [
        {"port": 8545, "protocol": "TCP"},
        {"port": 30303},
        {"port": 30303, "protocol": "UDP"},
        {"port": 8545, "endPort": 9545, "protocol": "TCP"},
        {"protocol": "UDP"},
    ]
)


def rules(peers: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    some = {peers: st.lists(PEERS, max_size=2), "ports": st.lists(PORTS, max_size=2)}
    return st.lists(st.fixed_dictionaries({}, optional=some), max_size=2)


SPECS = st.fixed_dictionaries(
    {
        "podSelector": SELECTORS,
        "policyTypes": st.sampled_from([["Ingress"], ["Egress"], ["Ingress", "Egress"]]),
    },
    optional={"ingress": rules("from"), "egress": rules("to")},
)


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(SPECS, min_size=1, max_size=3))
def test_the_answers_are_those_of_cyclonus_for_any_policies(specs: list[dict[str, Any]]) -> None:
    prod = case("prod")
    made = [
        Manifest(
            {
                "apiVersion": "networking.k8s.io/v1",
                "kind": "NetworkPolicy",
                "metadata": {"name": f"made-{index}", "namespace": "linea-prod"},
                "spec": spec,
            },
            "",
        )
        for index, spec in enumerate(specs)
    ]
    known = parties(prod.manifests, prod.among)
    asked = [
        (source, target, port)
        for source, target in product(("sequencer", "besu", "Prometheus", "internet"), repeat=2)
        if {source, target} & {"sequencer", "besu"}
        for port in ("8545/TCP", "9000/TCP", "30303/TCP", "30303/UDP")
    ]
    peers = {actor.name: actor.peer() for actor in prod.among}
    traffic = [
        {
            "Source": peers[source],
            "Destination": peers[target],
            "ResolvedPort": int(port.partition("/")[0]),
            "Protocol": port.partition("/")[2],
        }
        for source, target, port in asked
    ]
    answers = cyclonus.ask([manifest.object for manifest in made], traffic)
    for (source, target, port), denied in zip(asked, answers, strict=True):
        number, _, protocol = port.partition("/")
        ends = known[source], known[target]
        assert (
            network_policies.denies(network_policies.policies(made), *ends, int(number), protocol)
            == denied
        )


@pytest.mark.parametrize(
    ("operator", "values", "labels", "is_selected"),
    [
        ("In", ["a", "b"], {"x": "a"}, True),
        ("In", ["a", "b"], {"x": "c"}, False),
        ("In", ["a"], {}, False),
        ("NotIn", ["a", "b"], {"x": "a"}, False),
        ("NotIn", ["a", "b"], {"x": "c"}, True),
        ("NotIn", ["a"], {}, True),
        ("Exists", None, {"x": ""}, True),
        ("Exists", None, {}, False),
        ("DoesNotExist", None, {"x": "a"}, False),
        ("DoesNotExist", None, {}, True),
    ],
)
def test_an_expression_selects_what_kubernetes_selects(
    operator: str, values: list[str] | None, labels: dict[str, str], is_selected: bool
) -> None:
    """Requirement.Matches in k8s.io/apimachinery, pkg/labels/selector.go."""
    expression = {"key": "x", "operator": operator} | ({"values": values} if values else {})
    assert selects({"matchExpressions": [expression]}, labels) == is_selected
