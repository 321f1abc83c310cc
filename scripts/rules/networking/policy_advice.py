"""Where in a NetworkPolicy something belongs, and what to write there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from scripts.kubernetes import network_policies
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import FIELDS, Party, Policy
from scripts.kubernetes.workloads import Workload
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

ANY = Party("a pod of no namespace in particular", "any")


def of_missing_rule(policy: Policy, direction: str) -> Where:
    """Return the path of a rule that is not there: of all rules, where a patch may have it out."""
    path = ("spec", FIELDS[direction][0])
    return path if policy.manifest.patches else (*path, len(policy.rules[direction]))


def port_items(ports: Iterable[Port]) -> str:
    """Return the items of a rule's ports, as they are to be written."""
    return ", ".join(flow({"port": p, "protocol": protocol}) for p, protocol in sorted(ports))


def at_own_policy(
    objects: Objects,
    direction: str,
    workload: Workload,
    message: str,
    peers: Sequence[Peer],
    ports: Iterable[Port],
    value: str,
) -> Problem:
    """Return that a rule is missing, at the policy of a workload, or the workload without one.

    value: the chart's value that has the peers.
    """
    policy, (name, of) = own_policy(objects, direction, workload), FIELDS[direction]
    item = f"{{{of}: {flow(peers)}, ports: [{port_items(ports)}]}}"
    if policy is None:
        fix = f"write a NetworkPolicy for them with {name}: [{item}]"
        return Problem(workload.manifest, ("metadata", "name"), message, fix)
    fix = f"add to {name} {item}"
    if not policy.manifest.patches and policy.manifest.template.startswith("chart/"):
        fix = f"write networkPolicy.{value}: {flow(peers)}"
    wanted = set(ports)
    for one in policy.rules[direction]:
        is_for_ports = all(network_policies.is_for_port(one, ANY, *port) for port in wanted)
        if one.peers and is_for_ports and not any(named_pods(objects, one)):
            return Problem(policy.manifest, (*one.path, of), message, fix)
    return Problem(policy.manifest, of_missing_rule(policy, direction), message, fix)


def peers_of(
    isolating: Iterable[Policy], direction: str, port: Port, target: Party = ANY
) -> Iterator[Peer | None]:
    """Yield the peers of the policies' rules that are for a port; None for everyone."""
    for policy in isolating:
        for one in policy.rules[direction]:
            if network_policies.is_for_port(one, target, *port):
                if one.peers is None:
                    yield None
                yield from (peer for _, peer in one.peers or ())


def own_policy(objects: Objects, direction: str, workload: Workload) -> Policy | None:
    """Return the policy that isolates a workload's pods, and no others."""
    isolating = objects.isolating[direction, label_of(workload)]
    return next((one for one in isolating if len(selected(objects, one)) == 1), None)
