"""Who may talk to whom: what NetworkPolicies come to, as cyclonus works it out.

cyclonus (https://github.com/mattfenwick/cyclonus), which network plugins are tested with, says of
a connection whether policies allow it, by the rules of
https://kubernetes.io/docs/concepts/services-networking/network-policies/. Here are the parties,
and the questions.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from scripts.core import programs
from scripts.kubernetes.manifest import Manifest
from tests.objects import containers, of_kind, pods, walk
from tests.optional_tools import tool

TIMEOUT_S = 1800

NAMESPACE = "default"
"""Where objects are that name none, as the chart's alone."""

OTHER_PORT = 1
"""Stands for all the ports that neither a policy nor a container names."""
WELL_KNOWN = ("53/TCP", "53/UDP", "80/TCP", "443/TCP")

COMPONENT = "app.kubernetes.io/component"

Flow = tuple[str, str, str]
"""From, to, and the port, like 8545/TCP."""


@dataclass(frozen=True, slots=True)
class Actor:
    """A pod, or an address outside of the cluster."""

    name: str
    address: str
    namespace: str = ""
    """Of a pod; empty for an address."""
    labels: dict[str, str] = field(default_factory=dict)

    def peer(self) -> dict[str, Any]:
        """Return it as cyclonus reads it."""
        if not self.namespace:
            return {"IP": self.address}
        namespace = {"kubernetes.io/metadata.name": self.namespace}
        pod = {"Namespace": self.namespace, "NamespaceLabels": namespace, "PodLabels": self.labels}
        return {"IP": self.address, "Internal": pod}


def policies(manifests: Iterable[Manifest]) -> list[dict[str, Any]]:
    return [manifest.object for manifest in of_kind(manifests, "NetworkPolicy")]


def actors(manifests: Iterable[Manifest], load_balancer: str) -> list[Actor]:
    """Return a pod of each component (its others differ from it in nothing), and who else there is.

    Some of the others are dressed as a component, or stand beside somebody who is let in.
    load_balancer: an address in its subnets; pods are in other subnets of the same network.
    """
    subnet = f"{load_balancer.rsplit('.', 2)[0]}.64"
    found = dict[str, Actor]()
    for workload, template in pods(manifests):
        labels = template["metadata"]["labels"]
        address = f"{subnet}.{len(found) + 1}"
        name = labels.get(COMPONENT, workload.name)
        found[name] = Actor(name, address, workload.namespace or NAMESPACE, labels)
    first = next(iter(found.values()))
    stranger = {"app.kubernetes.io/name": "stranger", "k8s-app": "kube-dns"}
    return [
        *found.values(),
        Actor("other pod", f"{subnet}.100", first.namespace, stranger),
        Actor("other namespace", f"{subnet}.101", "other", {**first.labels, COMPONENT: "maru"}),
        Actor("DNS", f"{subnet}.102", "kube-system", {"k8s-app": "kube-dns"}),
        Actor("kube-system", f"{subnet}.103", "kube-system", {"k8s-app": "metrics-server"}),
        Actor(
            "Prometheus", f"{subnet}.104", "monitoring", {"app.kubernetes.io/name": "prometheus"}
        ),
        Actor("load balancer", load_balancer),
        Actor("internet", "198.51.100.7"),
        Actor("private network", f"{subnet}.105"),
        Actor("metadata service", "169.254.169.254"),
        Actor("Pod Identity agent", "169.254.170.23"),
        Actor("Pod Identity agent by IPv6", "fd00:ec2::23"),
        Actor("Kubernetes API", "172.20.0.1"),
    ]


def ports(manifests: Sequence[Manifest]) -> list[str]:
    """Return the ports that may make a difference, like 8545/TCP, and one that stands for all else.

    A port in a policy must be a number: the VPC CNI leaves names out beside an ipBlock, and the
    ports between two ends would all have to be asked for.
    """
    found = {f"{OTHER_PORT}/TCP", f"{OTHER_PORT}/UDP", *WELL_KNOWN}
    for policy in policies(manifests):
        for path, part in walk(policy["spec"]):
            if path[-2:-1] == ("ports",):
                assert isinstance(part["port"], int), (policy["metadata"]["name"], part)
                assert "endPort" not in part, (policy["metadata"]["name"], part)
                found.add(f"{part['port']}/{part['protocol']}")
    for _, template in pods(manifests):
        for container in containers(template):
            for port in container.get("ports", []):
                found.add(f"{port['containerPort']}/{port['protocol']}")
    return sorted(found)


def every(manifests: Sequence[Manifest], among: Sequence[Actor]) -> list[Flow]:
    """Return all connections that begin or end in the namespace of the components, the first."""
    each = ports(manifests)
    return [
        (source.name, target.name, port)
        for source, target in product(among, among)
        if among[0].namespace in (source.namespace, target.namespace)
        for port in each
    ]


def denials(
    manifests: Sequence[Manifest], among: Sequence[Actor], asked: Collection[Flow]
) -> dict[Flow, set[str]]:
    """Return for each connection which ends deny it by policy: Egress, Ingress, both or none."""
    peers = {actor.name: actor.peer() for actor in among}
    traffic = []
    for source, target, port in asked:
        number, _, protocol = port.partition("/")
        ends = {"Source": peers[source], "Destination": peers[target]}
        traffic.append({**ends, "ResolvedPort": int(number), "Protocol": protocol})
    return dict(zip(asked, ask(policies(manifests), traffic), strict=True))


def allowed(manifests: Sequence[Manifest], among: Sequence[Actor]) -> set[Flow]:
    """Return the connections that no end denies."""
    found = denials(manifests, among, every(manifests, among))
    return {flow for flow, denied in found.items() if not denied}


def ask(rules: list[dict[str, Any]], traffic: list[dict[str, Any]]) -> list[set[str]]:
    """Return for each connection which ends deny it by the rules."""
    with tempfile.TemporaryDirectory() as folder:
        given, asked = Path(folder, "policies.json"), Path(folder, "traffic.json")
        # cyclonus reads YAML, of which JSON is a part.
        kind = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicyList"}
        given.write_text(json.dumps({**kind, "items": rules}))
        asked.write_text(json.dumps(traffic))
        command: list[str | Path] = [
            tool("cyclonus"),
            "analyze",
            "--mode",
            "query-traffic",
        ]
        command += ["--policy-path", given, "--traffic-path", asked]
        done = programs.run(command, "cyclonus", TIMEOUT_S, cwd=Path(folder))
    assert done.returncode == 0, done.stderr
    found = []
    for answer in done.stdout.split("Is traffic allowed?")[1:]:
        # An end's first line is of a policy that allows it, where there is one.
        denied = set(re.findall(r"\| (Ingress|Egress) +\| Deny", answer))
        assert bool(denied) == bool(re.search(r"IS ALLOWED\? +\| +FALSE", answer)), answer
        found.append(denied)
    return found
