"""Sources: NetworkPolicies open the pods behind one load balancer to the same subnets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.core import advice
from scripts.core.sentences import joined
from scripts.kubernetes import network_policies, services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.network_policies import INGRESS
from scripts.kubernetes.workloads import Workload
from scripts.rules.alb import Balancer, balancers
from scripts.rules.networking.policies import CONNECTIVITY, Port, label_of, pods_behind
from scripts.rules.rule import Problem, across
from scripts.rules.snapshot import Objects


@dataclass(frozen=True, slots=True)
class _Block:
    """An ipBlock of a policy."""

    manifest: Manifest
    path: Where
    cidr: str
    network: Any


_Blocks = tuple[_Block, ...]


@across(CONNECTIVITY, lambda objects: _claimed(objects))
def load_balancer_sources_differ(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """NetworkPolicies open all pods behind one load balancer to the same addresses.

    Otherwise some of them see no requests: the load balancer connects from its own subnets to all
    of them. Probably, the range was copied from another environment. A policy may be open to more.
    """
    opened = {objects.name: list(_opened(objects)) for objects in among}
    for objects in among:
        elsewhere = {
            block.cidr
            for name, groups in opened.items()
            for _, targets in groups
            for _, blocks in targets
            for block in blocks
            if name != objects.name
        }
        for balancer, targets in opened[objects.name]:
            yield from ((objects, problem) for problem in _differing(balancer, targets, elsewhere))


def _claimed(objects: Objects) -> Iterator[tuple[str, bool]]:
    """Yield the ranges: those of others decide which of several is right."""
    for _, targets in _opened(objects):
        ranges = {frozenset(block.cidr for block in blocks) for _, blocks in targets}
        for cidr in frozenset[str]().union(*ranges):
            yield cidr, len(ranges) > 1


def _opened(objects: Objects) -> Iterator[tuple[Balancer, list[tuple[str, _Blocks]]]]:
    """Yield the load balancers, each with the workloads behind it and who may connect to them."""
    for balancer in balancers(objects):
        targets = dict[tuple[str, Port], _Blocks | None]()
        for ingress in balancer.ingresses:
            for backend in services.backends(ingress):
                for workload, port in pods_behind(objects, objects.led_to(backend)):
                    key = (label_of(workload), port)
                    targets.setdefault(key, _blocks(objects, workload, port))
        yield balancer, [(label, blocks) for (label, _), blocks in targets.items() if blocks]


def _blocks(objects: Objects, workload: Workload, port: Port) -> _Blocks | None:
    """Return the ranges of addresses to which policies open a port; None if it is open to all."""
    party, found = objects.parties[label_of(workload)], list[_Block]()
    for policy in objects.isolating[INGRESS, label_of(workload)]:
        for allowed in policy.rules[INGRESS]:
            if not network_policies.is_for_port(allowed, party, *port):
                continue
            if allowed.peers is None:
                return None
            for path, peer in allowed.peers:
                block = peer.get("ipBlock")
                cidr = str(block.get("cidr")) if isinstance(block, dict) else ""
                if network := _network(cidr):
                    place = (*path, "ipBlock", "cidr")
                    found.append(_Block(policy.manifest, place, cidr, network))
    return tuple(found)


def _network(cidr: str) -> Any:
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return None


def _covers(blocks: _Blocks, others: _Blocks) -> bool:
    """Return whether the ranges include all of the others."""
    return all(
        any(
            own.network.version == other.network.version and other.network.subnet_of(own.network)
            for own in blocks
        )
        for other in others
    )


def _differing(
    balancer: Balancer, targets: Sequence[tuple[str, _Blocks]], elsewhere: set[str]
) -> Iterator[Problem]:
    """Yield the workloads that are open to other ranges than most others."""
    ranges = [frozenset(block.cidr for block in blocks) for _, blocks in targets]

    def likelihood(index: int) -> tuple[bool, int]:
        """Prefer ranges that no other environment has, then the most frequent ones."""
        return not ranges[index] & elsewhere, ranges.count(ranges[index])

    if not targets:
        return
    right, usual = targets[max(range(len(targets)), key=likelihood)]
    reported = set[str]()
    for label, blocks in targets:
        if _covers(blocks, usual) or _covers(usual, blocks) or label in reported:
            continue
        reported.add(label)
        wrong = next(block for block in blocks if not _covers(usual, (block,)))
        cidrs = joined(sorted({block.cidr for block in usual}))
        name = f"the group {balancer.group}" if balancer.group else balancer.ingresses[0].label
        message = (
            f"{wrong.manifest.label} opens {label} to {wrong.cidr}, but {right}, behind the same"
            f" load balancer of {name}, is open to {cidrs}: the load balancer reaches only one of"
            " the two"
        )
        missing = [block.cidr for block in usual if not _covers(blocks, (block,))]
        fix = f"write instead an ipBlock for each of {joined(missing)}"
        if not missing[1:]:  # the other one may be the wrong one
            fix = advice.saying(f"write cidr: {missing[0]}", missing[0], is_safe=False)
        yield Problem(wrong.manifest, wrong.path, message, fix, wrong.cidr)
