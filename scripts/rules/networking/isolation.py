"""Isolation: NetworkPolicies mean what they say."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
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
    joined,
)
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_REFERENCE = (
    "https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/"
)


@rule(_REFERENCE, outcome=Outcome.HIDDEN)
def missing_policy_type(objects: Objects) -> Iterator[Problem]:
    """A policy's policyTypes have each direction that it has rules for.

    Else those rules do nothing, and the pods are as open, or as shut, as other policies have it.
    """
    for policy in objects.policies:
        types = paths.get(policy.manifest.object, ("spec", "policyTypes"))
        known = {one for one in types if isinstance(one, str)} if isinstance(types, list) else set()
        if types and known <= FIELDS.keys():
            for direction in FIELDS.keys() - known:
                if policy.rules[direction]:
                    name = FIELDS[direction][0]
                    message = f"policyTypes has no {direction}: the rules below {name} do nothing"
                    fix = f"write policyTypes: [Ingress, Egress], or remove {name}"
                    yield Problem(policy.manifest, ("spec", "policyTypes"), message, fix)


@rule(_REFERENCE, outcome=Outcome.REJECTED)
def invalid_policy_type(objects: Objects) -> Iterator[Problem]:
    """A policy's policyTypes are Ingress and Egress.

    The API server takes no others: the sync fails or does not begin.
    """
    for policy in objects.policies:
        types = paths.get(policy.manifest.object, ("spec", "policyTypes"))
        for index, one in enumerate(types if isinstance(types, list) else ()):
            if isinstance(one, str) and one not in FIELDS:
                near = difflib.get_close_matches(one.capitalize(), list(FIELDS), 1) or [INGRESS]
                message = f"there is no policy type {one}"
                yield Problem(
                    policy.manifest, ("spec", "policyTypes", index), message, f"write {near[0]}"
                )


@rule(_REFERENCE, severity=Severity.WARNING)
def empty_policy_types(objects: Objects) -> Iterator[Problem]:
    """A policy's policyTypes, where they are written, are not empty.

    An empty list means what Kubernetes fills in: Ingress always, Egress only beside egress rules.
    """
    for policy in objects.policies:
        if paths.get(policy.manifest.object, ("spec", "policyTypes")) == []:
            message = (
                f"policyTypes is empty: pods are isolated for {joined(sorted(policy.isolates))}"
            )
            fix = "write the directions that are meant, like [Ingress, Egress]"
            yield Problem(policy.manifest, ("spec", "policyTypes"), message, fix)


@rule(_REFERENCE, outcome=Outcome.REJECTED)
def invalid_cidr(objects: Objects) -> Iterator[Problem]:
    """An ipBlock's addresses are ranges, like 10.30.0.0/22.

    The API server takes nothing else: the sync fails or does not begin.
    """
    for policy, path, block in blocks(objects):
        for inner, text in (((*path, "cidr"), block.get("cidr")), *_excepted(path, block)):
            is_range = isinstance(text, str) and "/" in text and network_policies.network(text)
            if not is_range:
                message = f"{text} is no range of addresses"
                fix = "write an address and a length, like 10.30.0.0/22, or /32 for one address"
                yield Problem(policy.manifest, inner, message, fix)


@rule(_REFERENCE, outcome=Outcome.REJECTED)
def cidr_exception_outside_block(objects: Objects) -> Iterator[Problem]:
    """What an ipBlock excepts is a part of it.

    The API server takes nothing else: the sync fails or does not begin.
    """
    for policy, path, block in blocks(objects):
        cidr = network_policies.network(block.get("cidr"))
        for inner, text in _excepted(path, block):
            found = network_policies.network(text)
            if cidr and found and (found == cidr or not is_within(found, cidr)):
                what = "all of" if found == cidr else "not a part of"
                message = f"{text} is to be excepted, and it is {what} {cidr}"
                yield Problem(
                    policy.manifest, inner, message, "write a narrower range, or remove it"
                )


def _excepted(path: Where, block: Mapping[str, Any]) -> list[tuple[Where, Any]]:
    excepted = block.get("except")
    items = excepted if isinstance(excepted, list) else []
    return [((*path, "except", index), text) for index, text in enumerate(items)]


@rule(CONCEPTS + "#behavior-of-to-and-from-selectors", outcome=Outcome.REJECTED)
def ip_block_beside_selector(objects: Objects) -> Iterator[Problem]:
    """A NetworkPolicy's peer is an ipBlock, or pods by selectors: not both, and not nothing.

    The API server rejects anything else: the sync fails or does not begin.
    """
    for policy, path, peer in all_peers(objects):
        given = {key for key, value in peer.items() if value is not None}
        beside = [key for key in ("podSelector", "namespaceSelector") if key in given]
        label = policy.manifest.label
        if "ipBlock" in given and beside:
            message = f"a peer of {label} has ipBlock and {beside[0]}: the API server rejects that"
            fix = "write two peers, a list item for each"
            yield Problem(policy.manifest, (*path, "ipBlock"), message, fix)
        elif not given:
            message = f"a peer of {label} is empty: the API server rejects that"
            fix = "write podSelector: {} for every pod here"
            yield Problem(policy.manifest, path, message, fix)


@rule(CONCEPTS + "#targeting-a-range-of-ports", outcome=Outcome.REJECTED)
def invalid_end_port(objects: Objects) -> Iterator[Problem]:
    """An endPort stands beside a port that is a number, and is not less than it.

    The API server takes nothing else: the sync fails or does not begin.
    """
    for policy, path, item in _all_ports(objects):
        first, last = item.get("port"), item.get("endPort")
        if last is None:
            continue
        if not isinstance(first, int):
            given = "missing" if first is None else first
            message = f"endPort {last} is beside no number: port is {given}"
            yield Problem(policy.manifest, (*path, "endPort"), message, "write port as a number")
        elif whole(last, first) < first:
            message = f"endPort {last} is less than port {first}"
            fix = f"write port: {last} and endPort: {first}, or remove endPort"
            yield Problem(policy.manifest, (*path, "endPort"), message, fix)


@rule(CONNECTIVITY, outcome=Outcome.HIDDEN)
def named_port_with_ip_block(objects: Objects) -> Iterator[Problem]:
    """Beside an ipBlock a policy has ports by number.

    Addresses have no names for ports, and the VPC CNI leaves such a rule out: it opens nothing.
    """
    for policy in objects.policies:
        for one in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            if not any(peer.get("ipBlock") is not None for _, peer in one.peers or ()):
                continue
            for path, item in one.ports or ():
                name = item.get("port")
                if isinstance(name, str):
                    numbers = {
                        party.ports[name, containers.protocol(item)]
                        for party in objects.parties.values()
                        if (name, containers.protocol(item)) in party.ports
                    }
                    message = f"port {name} is a name, and a rule for addresses has no use for it"
                    fix = f"write {min(numbers)}" if numbers else "write its number"
                    yield Problem(policy.manifest, (*path, "port"), message, fix)


def _all_ports(objects: Objects) -> Iterator[tuple[Policy, Where, Mapping[str, Any]]]:
    for policy in objects.policies:
        for one in (*policy.rules[INGRESS], *policy.rules[EGRESS]):
            yield from ((policy, path, item) for path, item in one.ports or ())
