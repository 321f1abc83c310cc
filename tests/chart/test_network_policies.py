"""The policies allow what docs/connectivity.md says, nothing more and nothing less."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import Any

import pytest
import yaml

from scripts.core.yamlio import Document, load
from scripts.environments import environment
from scripts.environments.environment import Environment, coalesce
from scripts.kubernetes import pod_connections, workloads
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm, pipeline
from tests.conftest import EXAMPLE, ROOT
from tests.cyclonus import COMPONENT, Actor, Flow, actors, allowed, denials, every
from tests.objects import CHART, ENVIRONMENTS, FULL, containers, of, of_environment, of_kind, pods

BUCKET = {"enabled": True, "storage": {"bucket": "backups", "region": "eu-central-1"}}
PRIVATE = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
VARIANTS: dict[str, dict[str, Any]] = {
    "backup-by-a-secret": {"backup": BUCKET, "aws": {"identity": "none"}},
    "backup-by-irsa": {"backup": BUCKET, "aws": {"identity": "irsa"}},
    "backup-by-pod-identity": {"backup": BUCKET, "aws": {"identity": "podIdentity"}},
    "no-backup": {
        "backup": {"enabled": False},
        "restore": {"backup": "", "drill": {"enabled": False}},
        "aws": {"identity": "podIdentity"},
    },
    "restore-by-irsa": {
        "backup": BUCKET,
        "restore": {"backup": "20261125T060000Z"},
        "aws": {
            "identity": "irsa",
            "restoreRoleArn": "arn:aws:iam::111122223333:role/restore",
        },
    },
    "restore-by-pod-identity": {
        "backup": {**BUCKET, "enabled": False},
        "restore": {"backup": "20261125T060000Z"},
        "aws": {"identity": "podIdentity"},
    },
    "peers-outside": {
        "networkPolicy": {"p2pFrom": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE}}]}
    },
    "dashboard-for-the-load-balancer": {
        "ingress": {"ethstats": {"host": "stats.example.com"}},
        "networkPolicy": {"ethstatsFrom": [{"ipBlock": {"cidr": "10.30.0.0/22"}}]},
    },
    "reached-by-nobody": {
        "ingress": {"alb": {"enabled": False}},
        "networkPolicy": {"rpcFrom": [], "ethstatsFrom": []},
    },
    "dashboard-with-a-host": {
        "networkPolicy": {"ethstatsFrom": [{"ipBlock": {"cidr": "10.30.0.0/22"}}]}
    },
    "transfers-to-the-sequencer": {"txSender": {"rpc": {"service": "sequencer"}}},
    "transfers-to-others": {
        "txSender": {"rpc": {"service": "linea-stack-besu.other"}},
        "networkPolicy": {
            "txSenderTo": [
                {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "other"}}}
            ]
        },
    },
}
"""Values over those of prod."""


@dataclass(frozen=True)
class Case:
    """An environment, or a variant of one, and who may talk to whom there."""

    values: dict[str, Any]
    manifests: list[Manifest]
    among: list[Actor]

    @cached_property
    def denials(self) -> dict[Flow, set[str]]:
        """Return every connection, and which ends deny it."""
        return denials(self.manifests, self.among, every(self.manifests, self.among))

    @property
    def allowed(self) -> set[Flow]:
        return {flow for flow, denied in self.denials.items() if not denied}


def named(name: str) -> Environment:
    """Return an environment, or the variant of prod with that name."""
    if name in ENVIRONMENTS:
        return environment.load(EXAMPLE, name)
    prod = environment.load(EXAMPLE, "prod")
    return replace(prod, layers=(*prod.layers, Document(name, VARIANTS[name], None)))


def values(of: Environment) -> dict[str, Any]:
    """Return its values over the chart's own."""
    return coalesce(of.layers[0].data, of.values)


@lru_cache
def case(name: str) -> Case:
    """Return what policies say in an environment, or in the variant of prod with that name."""
    its = values(named(name))
    manifests = pipeline.objects(EXAMPLE, named(name))
    blocks = [peer["ipBlock"]["cidr"] for peer in its["networkPolicy"]["rpcFrom"]]
    subnets = ipaddress.ip_network(blocks[0] if blocks else "10.0.0.0/24")
    return Case(its, manifests, actors(manifests, str(subnets[10])))


@pytest.fixture(scope="module", params=[*ENVIRONMENTS, *VARIANTS])
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of each case; its tests run one after the other, as asking takes long."""
    return str(request.param)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the document's table."""

    source: list[str]
    target: list[str]
    ports: list[str]
    conditions: list[str]
    """Paths of values, like restore.backup, or a path and a value, like aws.identity: irsa.

    restore.backup: not latest stands for any other value.
    """

    def counts(self, values: dict[str, Any]) -> bool:
        """Return whether all conditions hold for the values."""
        for condition in self.conditions:
            path, _, wanted = condition.partition(": ")
            found: Any = values
            for key in path.split("."):
                found = found[key]
            unwanted = wanted.startswith("not ") and found == wanted.removeprefix("not ")
            if not found or unwanted or (wanted not in ("", found) and wanted[:4] != "not "):
                return False
        return True

    def flows(self) -> Iterator[Flow]:
        yield from product(self.source, self.target, self.ports)


@lru_cache
def table() -> list[Row]:
    """Return the table of docs/connectivity.md."""
    text = (ROOT / "docs" / "connectivity.md").read_text("utf-8")
    _, _, body = text.partition("| From | To | Port | With | Why |\n|---|---|---|---|---|\n")
    lines = body.partition("\n\n")[0].splitlines()
    cells = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines]
    return [Row(*(re.split(r"`?, `?", c) if c else [] for c in line[:4])) for line in cells]


def expected(given: Case) -> set[Flow]:
    """Return what the document says of the environment: the table, or all that there is."""
    if not given.values["networkPolicy"]["enabled"]:
        return set(every(given.manifests, given.among))
    return {flow for row in table() if row.counts(given.values) for flow in row.flows()}


@pytest.mark.parametrize(
    ("endpoint", "identity", "ports"),
    [
        ("", "irsa", [443]),
        ("https://s3.example.com", "none", [443]),
        ("http://s3.example.com/", "none", [80]),
        ("https://s3.example.com:9000", "none", [9000]),
        ("https://s3.example.com:9000/", "irsa", [9000, 443]),
        ("http://[2001:db8::1]:9000", "none", [9000]),
    ],
)
def test_s3_is_reached_at_the_port_of_its_endpoint(
    endpoint: str, identity: str, ports: list[int]
) -> None:
    storage = {"bucket": "backups", "region": "eu-central-1", "endpoint": endpoint}
    role = "arn:aws:iam::111122223333:role/linea"
    manifests = of(
        {
            "backup": {"enabled": True, "storage": storage},
            "restore": {"backup": "latest", "drill": {"enabled": True}},
            "aws": {"identity": identity, "backupRoleArn": role, "restoreRoleArn": role},
            "networkPolicy": {
                "enabled": True,
                "backupTo": [{"ipBlock": {"cidr": "203.0.113.0/24"}}],
            },
        }
    )
    outside = {
        policy.name.removeprefix("linea-stack-"): [port["port"] for port in egress["ports"]]
        for policy in of_kind(manifests, "NetworkPolicy")
        for egress in policy.object["spec"].get("egress", [])
        if any(peer.get("ipBlock") for peer in egress["to"])
    }
    assert outside == dict.fromkeys(("backup", "restore-drill", "besu"), ports)


def test_the_table_is_read_whole() -> None:
    every_condition = {condition for row in table() for condition in row.conditions}
    assert {"restore.backup", "aws.identity: podIdentity"} <= every_condition
    assert ("maru", "sequencer", "8550/TCP") in {flow for row in table() for flow in row.flows()}
    named = {actor.name for actor in case("backup-by-irsa").among}
    assert {name for row in table() for name in (*row.source, *row.target)} <= named


def test_the_policies_allow_what_the_document_says_and_nothing_else(name: str) -> None:
    given = case(name)
    assert given.allowed == expected(given)


def test_neither_end_alone_allows_more(name: str) -> None:
    """What one end would let through is one mistake at the other away."""
    given = case(name)
    home = {actor.name for actor in given.among if actor.namespace == given.among[0].namespace}
    for end, place in (("Egress", 0), ("Ingress", 1)):
        alone = {f for f, denied in given.denials.items() if end not in denied and f[place] in home}
        assert alone == {flow for flow in expected(given) if flow[place] in home}


def test_each_line_with_a_condition_is_tried_with_it_and_without_it() -> None:
    for row in table():
        if row.conditions:
            assert {row.counts(values(named(name))) for name in VARIANTS} == {True, False}, row


def test_dev_has_no_policies_and_is_open() -> None:
    given = case("dev")
    assert not of_kind(given.manifests, "NetworkPolicy")
    assert ("internet", "sequencer", "8550/TCP") in given.allowed


@pytest.mark.parametrize(
    ("name", "policy"),
    [
        (name, p.name)
        for name in ENVIRONMENTS
        for p in of_kind(of_environment(name)[1], "NetworkPolicy")
    ],
)
def test_without_any_one_policy_the_statement_is_another(name: str, policy: str) -> None:
    given = case(name)
    left = [m for m in given.manifests if (m.kind, m.name) != ("NetworkPolicy", policy)]
    assert len(left) == len(given.manifests) - 1
    # One connection that is otherwise is enough: who is let in, and who is a stranger to all.
    strangers = {f for f in every(left, given.among) if "other pod" in f and f[2] == "1/TCP"}
    asked = expected(given) | strangers
    found = denials(left, given.among, asked)
    assert {flow for flow, denied in found.items() if not denied} != expected(given)


# The chart alone


def test_in_a_namespace_with_others_the_chart_leaves_them_alone() -> None:
    manifests = of({"networkPolicy": {"enabled": True}})
    among = actors(manifests, "10.0.0.10")
    others = {actor.name for actor in among} - {name for name, _ in components(manifests)}
    found = allowed(manifests, among)
    for flow in every(manifests, among):
        if "other pod" in flow:
            assert (flow in found) == (others >= {*flow[:2]}), flow


def test_helm_test_reaches_besu_and_names_and_nothing_else() -> None:
    texts = helm.command(CHART, yaml.safe_load(FULL.read_text("utf-8")), "linea", "1.34")
    found = [Manifest(o, "") for text in texts.values() for o in yaml.safe_load_all(text) if o]
    (pod,) = [manifest for manifest in found if manifest.kind == "Pod"]
    stack = [manifest for manifest in found if manifest.kind != "Pod"]
    among = actors(stack, "10.0.0.10")
    test = Actor("test", "10.0.64.200", among[0].namespace, pod.metadata["labels"])
    assert {flow for flow in allowed(stack, [*among, test]) if "test" in flow[:2]} == {
        ("test", "besu", "8545/TCP"),
        ("test", "besu", "8546/TCP"),
        ("test", "DNS", "53/TCP"),
        ("test", "DNS", "53/UDP"),
    }


# What the pods really call


def components(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the components that have pods, each with the template of these."""
    for _, template in pods(manifests):
        yield template["metadata"]["labels"][COMPONENT], template


def services(manifests: list[Manifest]) -> dict[str, tuple[str, dict[int, int]]]:
    """Return for each Service the component behind it, and its ports with those of the pods."""
    numbers = {
        (component, port["name"]): port["containerPort"]
        for component, template in components(manifests)
        for container in containers(template)
        for port in container.get("ports", [])
    }
    found = {}
    for service in of_kind(manifests, "Service"):
        spec = service.object["spec"]
        component = spec["selector"][COMPONENT]
        targets = {
            port["port"]: numbers.get((component, port["targetPort"]), port["targetPort"])
            for port in spec["ports"]
        }
        found[service.name] = (component, targets)
    return found


def called(manifests: list[Manifest]) -> Iterator[Flow]:
    """Yield whom the pods call, by what they are told."""
    component = {w.manifest.label: w.labels[COMPONENT] for w in workloads.workloads(manifests)}
    for call in pod_connections.calls(manifests, workloads.workloads(manifests)):
        source = component[call.source.manifest.label]
        for target in call.targets:
            yield source, component[target.manifest.label], f"{call.port}/TCP"
        if not call.targets and not call.namespace:
            yield source, "internet", f"{call.port}/TCP"
        if call.is_by_name:
            yield source, "DNS", "53/UDP"


CALLS = {
    ("maru", "sequencer", "8550/TCP"),
    ("maru", "sequencer", "8545/TCP"),
    ("maru", "maru", "9000/TCP"),
    ("sequencer", "maru", "8080/TCP"),
    ("sequencer", "sequencer", "30303/TCP"),
    ("sequencer", "ethstats", "3000/TCP"),
    ("besu", "sequencer", "30303/TCP"),
    ("besu", "maru", "9000/TCP"),
    ("besu", "ethstats", "3000/TCP"),
}
"""What the pods of every environment with four validators call, whatever else."""


def test_whomever_a_pod_calls_it_may_call(name: str) -> None:
    found = set(called(case(name).manifests))
    assert found >= CALLS
    assert found <= expected(case(name))


def test_the_calls_of_transfers_and_backups_are_seen() -> None:
    for name, call in {
        "prod": ("tx-sender", "besu", "8545/TCP"),
        "transfers-to-the-sequencer": ("tx-sender", "sequencer", "8545/TCP"),
        "backup-by-irsa": ("backup", "internet", "443/TCP"),
        "restore-by-irsa": ("maru", "internet", "443/TCP"),
    }.items():
        assert call in set(called(case(name).manifests))


def test_a_service_s_port_is_its_pods_port() -> None:
    """Else the VPC CNI would not know it for what a policy allows: docs/connectivity.md."""
    for name in ENVIRONMENTS:
        for _, targets in services(case(name).manifests).values():
            assert all(port == target for port, target in targets.items())


def test_the_load_balancers_subnets_are_not_those_of_pods() -> None:
    """Pods have addresses of the same network, with the VPC CNI."""
    for name in ENVIRONMENTS:
        rules = values(named(name))["networkPolicy"]
        for peer in rules["rpcFrom"] + rules["ethstatsFrom"]:
            assert ipaddress.ip_network(peer["ipBlock"]["cidr"]).prefixlen > 16


def test_the_internet_that_backups_go_to_is_nothing_private() -> None:
    profile = load(EXAMPLE / "base" / "profiles" / "eks.yaml", EXAMPLE).data
    (peer,) = profile["networkPolicy"]["backupTo"]
    assert peer["ipBlock"]["except"] == PRIVATE
