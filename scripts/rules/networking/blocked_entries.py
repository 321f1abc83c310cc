"""Blocked entries: NetworkPolicies let in who scrapes, and who comes through a load balancer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from scripts.kubernetes import monitors, network_policies, services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.network_policies import INGRESS, Policy
from scripts.kubernetes.workloads import Workload
from scripts.rules.networking.policies import (
    CONNECTIVITY,
    Peer,
    Port,
    flow,
    has_dead_rules,
    joined,
    label_of,
    numbered,
    opened_ports,
    p2p_ports,
    pods_behind,
)
from scripts.rules.networking.policy_advice import at_own_policy, own_policy, peers_of, port_items
from scripts.rules.networking.selection import monitored
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_MONITORING = {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: "monitoring"}}}


@rule(CONNECTIVITY)
def network_policy_blocks_scrape(objects: Objects) -> Iterator[Problem]:
    """Policies let somebody outside of the environment in to the ports that Prometheus scrapes.

    Else there are no metrics, and alerts on them stay silent.
    """
    blocked: dict[str, tuple[Workload, set[Port]]] = {}
    for workload, port in _scraped(objects):
        isolating = objects.isolating[INGRESS, label_of(workload)]
        if isolating and not any(_is_outside(objects, p) for p in _into(objects, workload, port)):
            blocked.setdefault(label_of(workload), (workload, set()))[1].add(port)
    usual = _usual_scraper(objects)
    peer = json.loads(usual) if usual else _MONITORING
    left = [at for at in blocked.values() if not has_dead_rules(objects, INGRESS, at[0])]
    # Without any peer to scrape from, it is one value that is missing.
    for together in [left] if left and not usual else [[at] for at in left]:
        what = joined(
            [f"{numbered(ports)} of the pods of {label_of(at)}" for at, ports in together]
        )
        message = f"Prometheus may not scrape {what}"
        kin = {port for _, port in _scraped(objects)}
        yield _shut(objects, *together[0], message, peer, kin, "metricsFrom")


@rule(CONNECTIVITY)
def network_policy_blocks_prometheus(objects: Objects) -> Iterator[Problem]:
    """All ports that Prometheus scrapes are open to one and the same peer.

    One Prometheus scrapes them all: where a port is open to another, its metrics are missing.
    """
    usual = _usual_scraper(objects)
    for workload, port in _scraped(objects):
        texts = _scrapers(objects, workload, port)
        if usual and texts and usual not in texts:
            policy, path = _opening(objects, workload, port)
            message = (
                f"{numbered([port])} of the pods of {label_of(workload)} is open to "
                f"{flow(json.loads(texts[0]))}, and what Prometheus scrapes elsewhere to another"
            )
            yield Problem(policy.manifest, path, message, f"write {flow(json.loads(usual))}")


def _usual_scraper(objects: Objects) -> str:
    """Return the peer, as JSON, to which most ports that Prometheus scrapes are open."""
    found = [text for one in _scraped(objects) for text in _scrapers(objects, *one)]
    return max(sorted(set(found)), key=found.count, default="")


def _scrapers(objects: Objects, workload: Workload, port: Port) -> list[str]:
    """Return the peers outside, as JSON, to which a port is open; none where all may."""
    found = [peer for peer in _into(objects, workload, port) if _is_outside(objects, peer)]
    return [] if None in found else [json.dumps(peer, sort_keys=True) for peer in found]


def _opening(objects: Objects, workload: Workload, port: Port) -> tuple[Policy, Where]:
    """Return the first policy and peer that open a workload's port to somebody outside."""
    party = objects.parties[label_of(workload)]
    return next(
        (policy, path)
        for policy in objects.isolating[INGRESS, label_of(workload)]
        for one in policy.rules[INGRESS]
        if network_policies.is_for_port(one, party, *port)
        for path, peer in one.peers or ()
        if _is_outside(objects, peer)
    )


def _scraped(objects: Objects) -> Iterator[tuple[Workload, Port]]:
    """Yield the workloads and ports of ServiceMonitors."""
    for monitor in objects.of_kind("ServiceMonitor"):
        for service in monitored(objects, monitor):
            for _, endpoint in monitors.endpoints(monitor):
                yield from pods_behind(objects, monitors.meant(endpoint, service))


@rule(CONNECTIVITY)
def network_policy_blocks_load_balancer(objects: Objects) -> Iterator[Problem]:
    """Policies let in who comes through an Ingress, a load balancer or a node's port.

    Else the health checks fail, and clients get an error 503 or 504, or no answer at all.
    """
    blocked: dict[str, tuple[Workload, dict[Port, tuple[Manifest, bool]]]] = {}
    entered = set[Port]()
    for entry, workload, port, is_by_address in _entries(objects):
        entered.add(port)
        isolating = objects.isolating[INGRESS, label_of(workload)]
        peers = _into(objects, workload, port)
        if isolating and not any(
            peer is None or "ipBlock" in peer if is_by_address else _is_outside(objects, peer)
            for peer in peers
        ):
            _, ports = blocked.setdefault(label_of(workload), (workload, {}))
            ports.setdefault(port, (entry, is_by_address))
    for label, (workload, ports) in blocked.items():
        entries = joined(sorted({entry.label for entry, _ in ports.values()}))
        message = (
            f"nothing lets what comes by {entries} in to {numbered(ports)} of the pods of {label}"
        )
        name = "the ingress controller's"
        peer: Peer = {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: name}}}
        if any(entry.kind == "Service" or is_by_address for entry, is_by_address in ports.values()):
            peer = {"ipBlock": {"cidr": "the load balancer's subnets"}}
        if not has_dead_rules(objects, INGRESS, workload):
            value = "ethstatsFrom" if workload.manifest.component == "ethstats" else "rpcFrom"
            p2p = p2p_ports(objects)
            kin = p2p if ports.keys() <= p2p else entered - p2p
            if kin is p2p:
                value, peer = "p2pFrom", {"ipBlock": {"cidr": "the addresses of the peers"}}
            yield _shut(objects, workload, ports, message, peer, kin, value)


def _entries(objects: Objects) -> Iterator[tuple[Manifest, Workload, Port, bool]]:
    """Yield the ways in: the object that opens it, pods and their port, whether by address."""
    for service in objects.of_kind("Service"):
        if service.get("spec", "type") in ("LoadBalancer", "NodePort"):
            for workload, port in pods_behind(objects, services.ports(service)):
                yield service, workload, port, False
    for ingress in objects.of_kind("Ingress"):
        is_by_address = ingress.get("spec", "ingressClassName") == "alb"
        for backend in services.backends(ingress):
            led_to = objects.led_to(backend)
            for workload, port in pods_behind(objects, led_to):
                yield ingress, workload, port, is_by_address
            every = services.ports(led_to[0].service) if led_to else ()
            for workload, port in pods_behind(objects, every):
                if port == _checked(ingress):
                    yield ingress, workload, port, is_by_address


def _checked(ingress: Manifest) -> Port:
    """Return the pods' port for the load balancer's health checks, where an Ingress has one."""
    port = str(ingress.annotations.get("alb.ingress.kubernetes.io/healthcheck-port"))
    return (int(port) if port.isdecimal() else 0), "TCP"


def _into(objects: Objects, workload: Workload, port: Port) -> Iterator[Peer | None]:
    """Yield the peers to which policies open a port of a workload; None for everyone."""
    isolating = objects.isolating[INGRESS, label_of(workload)]
    return peers_of(isolating, INGRESS, port, objects.parties[label_of(workload)])


def _is_outside(objects: Objects, peer: Peer | None) -> bool:
    """Return whether a peer is, or includes, somebody that the environment does not make."""
    if peer is None or peer.get("ipBlock") is not None:
        return True
    if peer.get("namespaceSelector") is not None:
        return True
    return not objects.selected(peer.get("podSelector"))


def _shut(
    objects: Objects,
    workload: Workload,
    ports: Iterable[Port],
    message: str,
    peer: Peer,
    kin: set[Port],
    value: str,
) -> Problem:
    """Return that ports are shut to somebody outside, at the policy that may open them.

    peer: who it is, as far as that is known. kin: the ports that are for them; a rule that opens
    some of them to somebody outside is where others belong.
    """
    policy, missing = own_policy(objects, INGRESS, workload), set(ports)
    for one in policy.rules[INGRESS] if policy else ():
        opened = set(opened_ports(objects, one, workload))
        is_to_outside = any(_is_outside(objects, item) for _, item in one.peers or ())
        if policy and is_to_outside and opened & kin and not opened & missing:
            path = (*one.path, "ports")
            return Problem(policy.manifest, path, message, f"add to it {port_items(missing)}")
    return at_own_policy(objects, INGRESS, workload, message, [peer], missing, value)
