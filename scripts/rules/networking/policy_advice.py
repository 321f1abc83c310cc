"""Fixes for NetworkPolicies: which field to change, and what to write there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scripts.core import advice
from scripts.core.fixes import Fix
from scripts.kubernetes import containers, network_policies
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import FIELDS, Party, Policy, Rule
from scripts.kubernetes.workloads import Workload
from scripts.rules.chart_values import file, is_from_values
from scripts.rules.networking.policies import (
    Peer,
    Port,
    flow,
    label_of,
    named_pods,
    selected,
)
from scripts.rules.rule import Problem
from scripts.rules.snapshot import Objects

ANY = Party("any pod", "any")
SUBNETS = "write an ipBlock for each subnet of the load balancer, for example cidr: 10.30.0.0/22"
_USUAL = tuple(f"app.kubernetes.io/{name}" for name in ("component", "instance", "name"))
"""The labels by which the chart selects pods."""


def of_missing_rule(policy: Policy, direction: str) -> Where:
    """Return the path for a rule to add; of all rules if a patch may have removed it."""
    path = ("spec", FIELDS[direction][0])
    return path if policy.manifest.patches else (*path, len(policy.rules[direction]))


def port_list(ports: Iterable[Port]) -> list[dict[str, Any]]:
    """Return the items of a rule's ports."""
    return [{"port": number, "protocol": protocol} for number, protocol in sorted(ports)]


def port_items(ports: Iterable[Port]) -> str:
    """Return the items of a rule's ports as YAML on one line."""
    return ", ".join(map(flow, port_list(ports)))


def pod_list(workloads: Iterable[Workload]) -> list[dict[str, Any]]:
    """Return the peers that select the pods of workloads, each once."""
    found = [{"podSelector": {"matchLabels": dict(pod_selector(own))}} for own in workloads]
    return [item for index, item in enumerate(found) if item not in found[:index]]


def pod_items(workloads: Iterable[Workload]) -> str:
    """Return the peers that select the pods of workloads, as YAML on one line."""
    return ", ".join(map(flow, pod_list(workloads)))


def pod_selector(workload: Workload) -> Mapping[str, Any]:
    """Return the labels that select only the pods of a workload."""
    labels = workload.get("spec", "selector", "matchLabels")
    if isinstance(labels, dict) and labels:
        return labels
    usual = {key: value for key, value in workload.labels.items() if key in _USUAL}
    return usual or workload.labels


def one_each(field: str, what: str, workloads: Sequence[Workload]) -> str:
    """Return the fix for missing peers: the workloads as peers, and others that are unknown."""
    if workloads:
        return f"write {field}: [{pod_items(workloads)}], and an item for each other {what}"
    example = "{ipBlock: {cidr: 10.30.0.0/22}}"
    return f"write an item for each {what}, for example {field}: [{example}]"


def narrower(
    objects: Objects, policy: Policy, allowed: Rule, path: Where, callers: Sequence[str]
) -> str:
    """Return the fix for a peer, or a rule without peers, that is for others than the callers."""
    sources = [own for own in objects.workloads if label_of(own) in callers]
    if not allowed.peers:
        return advice.write("from", pod_list(sources))
    peer, namespace = dict(allowed.peers)[path], policy.manifest.namespace
    parties = objects.parties
    own = [s for s in sources if network_policies.names(peer, parties[label_of(s)], namespace)]
    if not own:
        is_only = len(allowed.peers) == 1
        return "remove the rule with this peer" if is_only else advice.remove("this peer")
    words = f"replace this peer with {pod_items(own)}"
    return words if own[1:] else advice.saying(words, pod_list(own)[0])


def at_own_policy(
    objects: Objects,
    direction: str,
    workload: Workload,
    message: str,
    peers: Sequence[Peer],
    ports: Iterable[Port],
    value: str,
) -> Problem:
    """Return the problem of a missing rule, at the workload's policy or the workload itself.

    value: the chart's value for the peers; empty if it has none.
    """
    policy, (name, side) = own_policy(objects, direction, workload), FIELDS[direction]
    item = {side: [*peers], "ports": port_list(ports)}
    if policy is None:
        new = new_policy(workload, direction, [flow(item)])
        return Problem(workload.manifest, ("metadata", "name"), message, new)
    fix = advice.add_to(name, [item], name)
    if value and is_from_values(policy.manifest):
        fix = in_values(objects, value, [*peers])
    wanted = set(ports)
    for allowed in policy.rules[direction]:
        is_for_ports = all(network_policies.is_for_port(allowed, ANY, *port) for port in wanted)
        if allowed.peers and is_for_ports and not any(named_pods(objects, allowed)):
            return Problem(policy.manifest, (*allowed.path, side), message, fix)
    return Problem(policy.manifest, of_missing_rule(policy, direction), message, fix)


def new_policy(workload: Workload, direction: str, rules: Sequence[str]) -> str:
    """Return the fix for a missing NetworkPolicy of a workload, with the rules as YAML."""
    labels = {"matchLabels": pod_selector(workload)}
    spec = f"podSelector: {flow(labels)}, policyTypes: [{direction}]"
    spec += f", {FIELDS[direction][0]}: [{', '.join(rules)}]" if rules else ""
    return f"add a NetworkPolicy to the chart, with spec: {{{spec}}}"


def in_values(objects: Objects, key: str, value: Any) -> Fix:
    """Return the fix to write a value of networkPolicy."""
    return advice.write_values(f"networkPolicy.{key}", value, f" in {file(objects)}")


def peers_of(
    isolating: Iterable[Policy], direction: str, port: Port, target: Party = ANY
) -> Iterator[Peer | None]:
    """Yield the peers of the policies' rules that allow a port; None for all peers."""
    for policy in isolating:
        for allowed in policy.rules[direction]:
            if network_policies.is_for_port(allowed, target, *port):
                if allowed.peers is None:
                    yield None
                yield from (peer for _, peer in allowed.peers or ())


def own_policy(objects: Objects, direction: str, workload: Workload) -> Policy | None:
    """Return the policy that isolates only the pods of a workload."""
    isolating = objects.isolating[direction, label_of(workload)]
    return next((policy for policy in isolating if len(selected(objects, policy)) == 1), None)


def variable_with(workload: Workload, text: str) -> Where | None:
    """Return the path of the value of the environment variable that contains a text."""
    for container in containers.of(workload):
        for path, variable in container.variables():
            if text in str(variable.get("value")):
                return (*path, "value")
    return None


def own_node_by_full_name(objects: Objects, source: Workload, target: Workload) -> Problem | None:
    """Return the problem of a TX Sender that calls a node of its release by a DNS name.

    The chart opens its policies only to besu and sequencer: by another name, it is a Service
    elsewhere.
    """
    service = target.manifest.component
    if source.manifest.component != "tx-sender" or service not in ("besu", "sequencer"):
        return None
    for call in objects.calls:
        place = variable_with(source, f"//{call.host}")
        if call.source is source and target in call.targets and "." in call.host and place:
            message = (
                f"{source.manifest.label} calls the node {service} by the name {call.host}, so the"
                " chart takes it for a Service of another release: no NetworkPolicy allows egress"
                f" from {source.manifest.label} to {target.manifest.label}, and no transfer is made"
            )
            fix = advice.write_values("txSender.rpc.service", service, f" in {file(objects)}")
            return Problem(source.manifest, place, message, fix)
    return None
