"""APIs for operators and reporters: NetworkPolicies open them only to the pods that use them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scripts.core import advice
from scripts.core.sentences import joined
from scripts.kubernetes import network_policies
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.network_policies import INGRESS, Party, Rule
from scripts.rules.networking.policies import CONNECTIVITY, Peer, flow, is_for_all_ports, label_of
from scripts.rules.networking.policy_advice import narrower
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects


@rule(CONNECTIVITY, outcome=Outcome.RISK)
def engine_api_too_open(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicies open the Engine API of a chain node only to the Maru that drives it.

    Otherwise other clients can reach the API that decides which blocks the chain has.
    """
    effect = "these clients can decide which blocks the chain has"
    yield from _open_to_others(objects, "engine", "the Engine API", effect)


@rule(CONNECTIVITY, outcome=Outcome.RISK)
def maru_api_too_open(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicies open Maru's API only to the sequencers, for their readiness probes.

    Otherwise other clients can use it: it has no authentication, and requests cost validators time.
    """
    effect = "the API has no authentication, and requests cost validators time"
    yield from _open_to_others(objects, "api", "Maru's API", effect)


def _open_to_others(objects: Objects, name: str, api: str, effect: str) -> Iterator[Problem]:
    """Yield the peers to which a named port is open without need."""
    for workload in objects.workloads:
        number = objects.parties[label_of(workload)].ports.get((name, "TCP"))
        if number is None:
            continue
        callers = [
            label_of(call.source)
            for call in objects.calls
            if call.port == number and workload in call.targets
        ]
        for policy in objects.isolating[INGRESS, label_of(workload)]:
            for allowed in policy.rules[INGRESS]:
                party = objects.parties[label_of(workload)]
                is_for_port = network_policies.is_for_port(allowed, party, number)
                if not is_for_port or _is_reported_elsewhere(objects, allowed):
                    continue
                clients = {path: _others(objects, p, callers) for path, p in allowed.peers or ()}
                is_peer_wrong = any(
                    network_policies.is_for(policy, allowed, objects.parties[caller])
                    for caller in callers
                )
                port = f"{number}/TCP of {label_of(workload)}"
                if not allowed.peers:
                    clients = {allowed.path: "all clients"}
                for path, others in clients.items():
                    if others:
                        message = f"{policy.manifest.label} opens {api} ({port}) to {others}: "
                        message += effect
                        place = path if is_peer_wrong else _port_item(allowed, party, number)
                        change = _without_port(allowed, number)
                        if is_peer_wrong:
                            change = narrower(objects, policy, allowed, path, callers)
                        fix = change + f", because {_only(callers, 'need')} access to {api}"
                        yield Problem(policy.manifest, place, message, fix)


def _only(labels: Sequence[str], verb: str) -> str:
    """Return that only the pods with the labels do something, in words."""
    names = sorted(set(labels))
    if not names:
        return f"no pod of the environment {verb}s"
    return f"only {joined(names)} {verb if names[1:] else f'{verb}s'}"


def _port_item(allowed: Rule, target: Party, port: int) -> Where:
    """Return the path of the item that opens a port in a rule; of the rule if it opens all."""
    items = allowed.ports or ()
    return next(
        (path for path, item in items if network_policies.covers(item, target, port, "TCP")),
        allowed.path,
    )


def _without_port(allowed: Rule, number: int) -> str:
    """Return how a rule no longer allows a port; one without ports would allow all of them."""
    if allowed.ports is None:
        return f"list the ports of this rule, without {number}"
    is_only = len(allowed.ports) == 1
    if is_only:
        return "remove this rule"
    words = f"{number} from the ports of this rule"
    # A range opens other ports, too.
    has_range = any("endPort" in item for _, item in allowed.ports)
    return f"remove {words}" if has_range else advice.remove(words)


def _is_reported_elsewhere(objects: Objects, allowed: Rule) -> bool:
    """Return whether other rules report it: in production, a rule for all peers or all ports."""
    return objects.is_production and (allowed.peers is None or is_for_all_ports(allowed))


def _others(objects: Objects, peer: Peer, callers: Sequence[str]) -> str:
    """Return the clients of a peer other than the callers, in words; empty if there are none."""
    if peer.keys() != {"podSelector"}:
        return flow(peer)
    if not peer["podSelector"]:
        return "all pods of the namespace"
    clients = {label_of(workload) for workload in objects.selected(peer["podSelector"])}
    others = clients - set(callers)
    return f"the pods of {joined(sorted(others))}" if others else ""


@rule(CONNECTIVITY, outcome=Outcome.RISK)
def ethstats_too_open(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicies open EthStats only to those pods of the environment that report to it.

    Otherwise other pods can report data under the name of any chain node, and the dashboard shows
    false data.
    """
    for workload in objects.workloads:
        if workload.manifest.component != "ethstats":
            continue
        callers = [label_of(call.source) for call in objects.calls if workload in call.targets]
        for policy in objects.isolating[INGRESS, label_of(workload)]:
            items = [(one, *item) for one in policy.rules[INGRESS] for item in one.peers or ()]
            for allowed, path, peer in items:
                is_by_labels = peer.keys() == {"podSelector"}
                if is_by_labels and (others := _others(objects, peer, callers)):
                    message = (
                        f"{policy.manifest.label} opens EthStats to {others}, which can report"
                        " false data"
                    )
                    change = narrower(objects, policy, allowed, path, callers)
                    fix = change + f", because {_only(callers, 'report')} to EthStats"
                    yield Problem(policy.manifest, path, message, fix)
