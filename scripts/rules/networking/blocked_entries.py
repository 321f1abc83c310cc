"""Blocked entries: NetworkPolicies allow ingress from Prometheus and from load balancers."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from scripts.core import advice
from scripts.core.sentences import joined
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
    label_of,
    numbered,
    opened_ports,
    p2p_ports,
    pods_behind,
)
from scripts.rules.networking.policy_advice import at_own_policy, own_policy, peers_of, port_list
from scripts.rules.networking.selection import monitored
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects

_MONITORING = {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: "monitoring"}}}


@rule(CONNECTIVITY)
def network_policy_blocks_scrape(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicies open the scraped ports to peers outside of the environment.

    Otherwise Prometheus can't scrape them: there are no metrics, and alerts on them never fire.
    """
    blocked: dict[str, tuple[Workload, set[Port]]] = {}
    for workload, port in _scraped(objects):
        isolating = objects.isolating[INGRESS, label_of(workload)]
        if isolating and not any(_is_outside(objects, p) for p in _into(objects, workload, port)):
            blocked.setdefault(label_of(workload), (workload, set()))[1].add(port)
    usual = _usual_scraper(objects)
    peer = json.loads(usual) if usual else _MONITORING
    left = [item for item in blocked.values() if not has_dead_rules(objects, INGRESS, item[0])]
    # If no port is open to Prometheus, the cause is one missing value: report it once.
    for together in [left] if left and not usual else [[item] for item in left]:
        targets = [f"{numbered(ports)} of {label_of(workload)}" for workload, ports in together]
        message = (
            f"no NetworkPolicy allows Prometheus to scrape {joined(targets)}: there are no"
            " metrics, and alerts on them never fire"
        )
        scraped = {port for _, port in _scraped(objects)}
        yield _missing_ingress(objects, *together[0], message, peer, scraped, "metricsFrom")


@rule(CONNECTIVITY)
def network_policy_blocks_prometheus(objects: Objects) -> Iterator[Problem]:
    """All ports that Prometheus scrapes are open to the same peer.

    Otherwise some metrics are missing: one Prometheus scrapes all ports.
    """
    usual = _usual_scraper(objects)
    for workload, port in _scraped(objects):
        texts = _scrapers(objects, workload, port)
        if usual and texts and usual not in texts:
            policy, path = _opening(objects, workload, port)
            actual, expected = json.loads(texts[0]), json.loads(usual)
            message = (
                f"{policy.manifest.label} opens {numbered([port])} of {label_of(workload)} to"
                f" {flow(actual)}, but other policies open scraped ports to {flow(expected)}: one"
                " Prometheus"
                " can't scrape both"
            )
            yield Problem(policy.manifest, path, message, advice.instead(actual, expected))


def _usual_scraper(objects: Objects) -> str:
    """Return the peer, as JSON, to which most ports that Prometheus scrapes are open."""
    peers = [text for scraped in _scraped(objects) for text in _scrapers(objects, *scraped)]
    return max(sorted(set(peers)), key=peers.count, default="")


def _scrapers(objects: Objects, workload: Workload, port: Port) -> list[str]:
    """Return the peers outside, as JSON, to which a port is open; none if it is open to all."""
    peers = [peer for peer in _into(objects, workload, port) if _is_outside(objects, peer)]
    return [] if None in peers else [json.dumps(peer, sort_keys=True) for peer in peers]


def _opening(objects: Objects, workload: Workload, port: Port) -> tuple[Policy, Where]:
    """Return the first policy, and the path of its peer, that open a port to the outside."""
    party = objects.parties[label_of(workload)]
    return next(
        (policy, path)
        for policy in objects.isolating[INGRESS, label_of(workload)]
        for allowed in policy.rules[INGRESS]
        if network_policies.is_for_port(allowed, party, *port)
        for path, peer in allowed.peers or ()
        if _is_outside(objects, peer)
    )


def _scraped(objects: Objects) -> Iterator[tuple[Workload, Port]]:
    """Yield the workloads and ports that ServiceMonitors scrape."""
    for monitor in objects.of_kind("ServiceMonitor"):
        for service in monitored(objects, monitor):
            for _, endpoint in monitors.endpoints(monitor):
                yield from pods_behind(objects, monitors.meant(endpoint, service))


@rule(CONNECTIVITY)
def network_policy_blocks_load_balancer(objects: Objects) -> Iterator[Problem]:
    """NetworkPolicies allow ingress through Ingresses, load balancers and node ports.

    Otherwise health checks fail, and clients get an error 503 or 504, or a timeout.
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
            f"no NetworkPolicy allows ingress through {entries} to {numbered(ports)} of {label}:"
            " health checks and connections time out"
        )
        classes = {entry.get("spec", "ingressClassName") for entry, _ in ports.values()}
        controller = " ".join([*sorted(filter(None, classes)), "ingress controller"])
        name = f"<namespace of the {controller}>"
        peer: Peer = {"namespaceSelector": {"matchLabels": {network_policies.NAMESPACE: name}}}
        if any(entry.kind == "Service" or is_by_address for entry, is_by_address in ports.values()):
            peer = {"ipBlock": {"cidr": "<subnet of the load balancer>"}}
        if not has_dead_rules(objects, INGRESS, workload):
            value = "ethstatsFrom" if workload.manifest.component == "ethstats" else "rpcFrom"
            p2p = p2p_ports(objects)
            similar = p2p if ports.keys() <= p2p else entered - p2p
            if similar is p2p:
                value, peer = "p2pFrom", {"ipBlock": {"cidr": "<CIDR range of the peers>"}}
            yield _missing_ingress(objects, workload, ports, message, peer, similar, value)


def _entries(objects: Objects) -> Iterator[tuple[Manifest, Workload, Port, bool]]:
    """Yield the entries: the Service or Ingress, the workload, its port, whether by address."""
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
    """Return the pods' port for the load balancer's health checks; port 0 if none is set."""
    port = str(ingress.annotations.get("alb.ingress.kubernetes.io/healthcheck-port"))
    return (int(port) if port.isdecimal() else 0), "TCP"


def _into(objects: Objects, workload: Workload, port: Port) -> Iterator[Peer | None]:
    """Yield the peers to which policies open a port of a workload; None for all peers."""
    isolating = objects.isolating[INGRESS, label_of(workload)]
    return peers_of(isolating, INGRESS, port, objects.parties[label_of(workload)])


def _is_outside(objects: Objects, peer: Peer | None) -> bool:
    """Return whether a peer includes clients outside of the environment."""
    if peer is None or peer.get("ipBlock") is not None:
        return True
    if peer.get("namespaceSelector") is not None:
        return True
    return not objects.selected(peer.get("podSelector"))


def _missing_ingress(
    objects: Objects,
    workload: Workload,
    ports: Iterable[Port],
    message: str,
    peer: Peer,
    similar: set[Port],
    value: str,
) -> Problem:
    """Return the problem of ports that are closed to the outside, at the policy to change.

    peer: the client, as far as it is known. similar: the ports for such clients; a rule that opens
    some of them to the outside is extended.
    """
    policy, missing = own_policy(objects, INGRESS, workload), set(ports)
    for allowed in policy.rules[INGRESS] if policy else ():
        opened = set(opened_ports(objects, allowed, workload))
        is_to_outside = any(_is_outside(objects, item) for _, item in allowed.peers or ())
        if policy and is_to_outside and opened & similar and not opened & missing:
            path, fix = (*allowed.path, "ports"), advice.add_to("ports", port_list(missing))
            return Problem(policy.manifest, path, message, fix)
    return at_own_policy(objects, INGRESS, workload, message, [peer], missing, value)
