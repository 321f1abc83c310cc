"""Isolation: NetworkPolicies are valid, and every part of them has an effect."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.core.sentences import joined
from scripts.kubernetes import containers, network_policies
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import EGRESS, FIELDS, INGRESS, Policy
from scripts.kubernetes.workloads import whole
from scripts.rules.networking.policies import (
    CONCEPTS,
    CONNECTIVITY,
    all_peers,
    blocks,
    is_within,
)
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_REFERENCE = (
    "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/"
)


@rule(_REFERENCE, outcome=Outcome.HIDDEN)
def missing_policy_type(objects: Objects) -> Iterator[Problem]:
    """The policyTypes of a NetworkPolicy list each direction for which it has rules.

    Otherwise these rules have no effect: only other policies decide about that direction.
    """
    for policy in objects.policies:
        types = paths.get(policy.manifest.object, ("spec", "policyTypes"))
        listed = types if isinstance(types, list) else []
        known = {direction for direction in listed if isinstance(direction, str)}
        if types and known <= FIELDS.keys():
            for direction in FIELDS.keys() - known:
                if policy.rules[direction]:
                    name = FIELDS[direction][0]
                    message = (
                        f"policyTypes of {policy.manifest.label} does not list {direction}, so the"
                        f" rules in {name} have no effect"
                    )
                    fix = advice.write("policyTypes", ["Ingress", "Egress"]).unless(
                        "; if this policy should not restrict"
                    )
                    fix += f" {name}, remove {name} from it"
                    yield Problem(policy.manifest, ("spec", "policyTypes"), message, fix)


@rule(_REFERENCE, outcome=Outcome.REJECTED)
def invalid_policy_type(objects: Objects) -> Iterator[Problem]:
    """The policyTypes of a NetworkPolicy are Ingress or Egress.

    Otherwise the API server rejects the policy, so the sync fails or does not begin.
    """
    for policy in objects.policies:
        types = paths.get(policy.manifest.object, ("spec", "policyTypes"))
        for index, value in enumerate(types if isinstance(types, list) else ()):
            if isinstance(value, str) and value not in FIELDS:
                near = difflib.get_close_matches(value.capitalize(), list(FIELDS), 1) or [INGRESS]
                message = (
                    f'"{value}" in policyTypes of {policy.manifest.label} is not a valid value:'
                    " the API server rejects it"
                )
                yield Problem(
                    policy.manifest,
                    ("spec", "policyTypes", index),
                    message,
                    advice.write_value(near[0]),
                )


@rule(_REFERENCE, severity=Severity.WARNING)
def empty_policy_types(objects: Objects) -> Iterator[Problem]:
    """The policyTypes of a NetworkPolicy, if they are set, are not empty.

    Otherwise Kubernetes uses its defaults: Ingress always, and Egress only if there are egress
    rules.
    """
    for policy in objects.policies:
        if paths.get(policy.manifest.object, ("spec", "policyTypes")) == []:
            actual = sorted(policy.isolates, reverse=True)
            message = (
                f"policyTypes of {policy.manifest.label} is empty, so by default the policy"
                f" restricts {'only ' if not actual[1:] else ''}{joined(actual).lower()}"
            )
            fix = advice.write("policyTypes", actual)
            if not actual[1:]:
                fix = fix.unless("; to restrict egress, too, write policyTypes: [Ingress, Egress]")
            yield Problem(policy.manifest, ("spec", "policyTypes"), message, fix)


@rule(_REFERENCE, outcome=Outcome.REJECTED)
def invalid_cidr(objects: Objects) -> Iterator[Problem]:
    """The addresses of an ipBlock are valid CIDR ranges, for example 10.30.0.0/22.

    Otherwise the API server rejects the NetworkPolicy, so the sync fails or does not begin.
    """
    for policy, path, block in blocks(objects):
        for inner, text in (((*path, "cidr"), block.get("cidr")), *_excepted(path, block)):
            # Python also reads a single address, and a mask such as 255.255.252.0.
            has_length = isinstance(text, str) and text.partition("/")[2].isdecimal()
            if not has_length or network_policies.network(text) is None:
                message = f"{text} is not a valid CIDR range: the API server rejects it"
                if text is None:
                    message = "an ipBlock has no cidr: the API server rejects it"
                fix = "write an address and a prefix length, for example 10.30.0.0/22, or"
                fix += " 10.30.0.1/32 for one address"
                yield Problem(policy.manifest, inner, message, fix)


@rule(_REFERENCE, outcome=Outcome.REJECTED)
def cidr_exception_outside_block(objects: Objects) -> Iterator[Problem]:
    """The ranges in except of an ipBlock are strictly inside its cidr.

    Otherwise the API server rejects the NetworkPolicy, so the sync fails or does not begin.
    """
    for policy, path, block in blocks(objects):
        cidr = network_policies.network(block.get("cidr"))
        for inner, text in _excepted(path, block):
            network = network_policies.network(text)
            if cidr and network and (network == cidr or not is_within(network, cidr)):
                what = f"is outside of cidr, which is {cidr}"
                fix: str = advice.remove(text).unless(
                    ", which the rule does not allow anyway; if another range is"
                )
                fix += f" meant, write one inside {cidr}"
                if is_within(cidr, network):
                    what = f"includes all of cidr, which is {cidr}"
                    fix = f"write a smaller range inside {cidr}; if no address of it should be"
                    fix += " allowed, remove the ipBlock"
                message = f"{text} in except {what}: the API server rejects it"
                yield Problem(policy.manifest, inner, message, fix)


def _excepted(path: Where, block: Mapping[str, Any]) -> list[tuple[Where, Any]]:
    """Return the ranges in except of an ipBlock, each with its path."""
    excepted = block.get("except")
    items = excepted if isinstance(excepted, list) else []
    return [((*path, "except", index), text) for index, text in enumerate(items)]


@rule(CONCEPTS + "#behavior-of-to-and-from-selectors", outcome=Outcome.REJECTED)
def ip_block_beside_selector(objects: Objects) -> Iterator[Problem]:
    """Every peer of a NetworkPolicy has either an ipBlock or selectors.

    Otherwise the API server rejects the policy, so the sync fails or does not begin.
    """
    for policy, path, peer in all_peers(objects):
        present = {key for key, value in peer.items() if value is not None}
        selectors = [key for key in ("podSelector", "namespaceSelector") if key in present]
        item = f"an item of {path[1]}.{path[-2]} in {policy.manifest.label}"
        if "ipBlock" in present and selectors:
            message = f"{item} has both ipBlock and {selectors[0]}: the API server rejects it"
            fix = f"move ipBlock to a separate item of {path[1]}.{path[-2]}"
            yield Problem(policy.manifest, (*path, "ipBlock"), message, fix)
        elif not present:
            message = f"{item} is empty: the API server rejects it"
            fix = "write a podSelector, for example podSelector: {matchLabels:"
            fix += " {app.kubernetes.io/component: besu}}; for all pods of the namespace,"
            fix += " podSelector: {}"
            yield Problem(policy.manifest, path, message, fix)


@rule(CONCEPTS + "#targeting-a-range-of-ports", outcome=Outcome.REJECTED)
def invalid_end_port(objects: Objects) -> Iterator[Problem]:
    """Every endPort in a NetworkPolicy is beside a numeric port that is not greater.

    Otherwise the API server rejects the policy, so the sync fails or does not begin.
    """
    for policy, path, item in _all_ports(objects):
        first, last = item.get("port"), item.get("endPort")
        if last is None:
            continue
        if not isinstance(first, int):
            actual = "is missing" if first is None else f"is {first}"
            message = (
                f"endPort {last} needs a numeric port, but port {actual}: the API server rejects it"
            )
            numbers = _numbers(objects, policy, path, item)
            fix = "write the number of the first port, for example port: 30303"
            if numbers:
                fix = advice.write("port", min(numbers))
            yield Problem(policy.manifest, (*path, "endPort"), message, fix)
        elif whole(last, first) < first:
            message = f"endPort {last} is less than port {first}: the API server rejects it"
            fix = advice.write_all({"port": last, "endPort": first}).unless(
                f"; if only port {first} is meant, remove endPort"
            )
            yield Problem(policy.manifest, (*path, "endPort"), message, fix)


@rule(CONNECTIVITY, outcome=Outcome.HIDDEN)
def named_port_with_ip_block(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicy rules with an ipBlock have numeric ports.

    Otherwise the rule has no effect: addresses have no port names, and the VPC CNI ignores it.
    """
    for policy in objects.policies:
        for allowed in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            if not any(peer.get("ipBlock") is not None for _, peer in allowed.peers or ()):
                continue
            for path, item in allowed.ports or ():
                name = item.get("port")
                if isinstance(name, str):
                    message = (
                        f"port {name} is a name, and a rule with an ipBlock needs port numbers,"
                        " because addresses have no port names: connections time out"
                    )
                    numbers = _numbers(objects, policy, path, item)
                    fix = "write the number of the port, for example port: 443"
                    if numbers:
                        fix = advice.write("port", min(numbers))
                    yield Problem(policy.manifest, (*path, "port"), message, fix)


def _numbers(objects: Objects, policy: Policy, path: Where, item: Mapping[str, Any]) -> set[int]:
    """Return the numbers that the pods have for the port name in an item of a rule's ports."""
    key = str(item.get("port")), containers.protocol(item)
    is_own = "ingress" in path
    pods = [own for own in objects.parties.values() if not is_own or policy.selects(own)]
    return {own.ports[key] for own in pods if key in own.ports}


def _all_ports(objects: Objects) -> Iterator[tuple[Policy, Where, Mapping[str, Any]]]:
    """Yield the ports of all rules, each with its policy and path."""
    for policy in objects.policies:
        for allowed in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            yield from ((policy, path, item) for path, item in allowed.ports or ())
