"""Exposure: what is open to others than the environment's pods, and how."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes.containers import listed
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Problem, rule
from scripts.rules.snapshot import Objects, annotation

_ALB = "alb.ingress.kubernetes.io/"
_ALB_GUIDE = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/"


_INTERNAL = {
    "service.beta.kubernetes.io/aws-load-balancer-scheme": "internal",
    "service.beta.kubernetes.io/aws-load-balancer-internal": "true",
    "service.beta.kubernetes.io/azure-load-balancer-internal": "true",
    "networking.gke.io/load-balancer-type": "Internal",
    "cloud.google.com/load-balancer-type": "Internal",
}
_ANYBODY = {"0.0.0.0/0", "::/0"}
_P2P = {"maru-p2p", "p2p", "p2p-udp"}


@dataclass(frozen=True, slots=True)
class _Port:
    """A port of a Service, and the port of the pods that it leads to."""

    path: Where
    number: Any
    name: str
    """As the container calls it; nothing where it names none."""
    container: str
    target: Any


def _ports(objects: Objects, service: Manifest) -> Iterator[_Port]:
    selector = paths.get(service.object, ("spec", "selector"))
    selected = objects.selected({"matchLabels": selector}) if isinstance(selector, dict) else []
    declared = {
        key: (str(port.get("name", "")), one.name, port.get("containerPort"))
        for one in objects.containers
        if one.workload in selected
        for _, port in mappings(one.get("ports"))
        for key in (port.get("name"), port.get("containerPort"))
        if isinstance(key, str | int)
    }
    for index, port in mappings(paths.get(service.object, ("spec", "ports"))):
        target = port.get("targetPort", port.get("port"))
        known = declared.get(target) if isinstance(target, str | int) else None
        name, container, number = known or (str(target), "", target)
        yield _Port(("spec", "ports", index), port.get("port"), name, container, number)


def _opened(service: Manifest) -> tuple[Where, str] | None:
    """Return the field that opens a Service to others than the cluster's pods, and how."""
    spec = service.object.get("spec")
    if not isinstance(spec, dict):
        return None
    if spec.get("externalIPs"):
        return ("spec", "externalIPs"), "takes addresses of nodes or of the network as its own"
    if spec.get("type") == "NodePort":
        return ("spec", "type"), "is a port on every node"
    notes = service.annotations
    is_internal = any(notes.get(key) == value for key, value in _INTERNAL.items())
    if spec.get("type") == "LoadBalancer" and not is_internal:
        return ("spec", "type"), "has a load balancer of its own, without TLS"
    return None


def _is_narrowed(service: Manifest) -> bool:
    ranges = paths.get(service.object, ("spec", "loadBalancerSourceRanges"))
    return isinstance(ranges, list) and bool(ranges) and not _ANYBODY & {str(r) for r in ranges}


@rule("docs/connectivity.md")
def service_is_public(objects: Objects) -> Iterator[Problem]:
    """In production, only Ingresses are open to the public, and Services for peers of the chain.

    Else requests go in plain text, past the TLS, the limits and the logs of the load balancer that
    all share. A load balancer that is internal, or has narrow loadBalancerSourceRanges, is not
    public.
    """
    for service in objects.of_kind("Service") if objects.is_production else ():
        opened = _opened(service)
        if opened and not (_is_narrowed(service) and opened[1].startswith("has")):
            ports = list(_ports(objects, service))
            # Of those that nobody may reach, private-port-is-public tells.
            is_told = any(map(_private, ports))
            if not is_told and (not ports or {port.name for port in ports} - _P2P):
                path, how = opened
                message = f"{service.label} {how}: production is reached around its Ingress"
                fix = "write type: ClusterIP, and let an Ingress lead to it"
                if path[-1] == "externalIPs":
                    fix = "remove externalIPs, and let an Ingress lead to it"
                yield Problem(service, path, message, fix)


@rule("docs/connectivity.md", Severity.WARNING)
def load_balancer_open_to_all(objects: Objects) -> Iterator[Problem]:
    """Outside production, too, a load balancer lets in only those who are meant to use it.

    Else anybody on the internet can send requests to a node that nobody watches, in plain text.
    """
    for service in () if objects.is_production else objects.of_kind("Service"):
        opened = _opened(service)
        if not opened or not opened[1].startswith("has") or _is_narrowed(service):
            continue
        ports = list(_ports(objects, service))
        # Of those that nobody may reach, private-port-is-public tells; peers may be anywhere.
        if any(map(_private, ports)) or (ports and not {port.name for port in ports} - _P2P):
            continue
        message = f"{service.label} has a load balancer that is open to all addresses, without TLS"
        fix = "write loadBalancerSourceRanges: who may connect, for example your own network"
        yield Problem(service, opened[0], message, fix)


_PRIVATE = {
    "engine": "the Engine API, by which whoever reaches it decides what the chain is",
    "metrics": "the metrics, which tell how the nodes are and whom they know",
    "maru-metrics": "the metrics, which tell how the nodes are and whom they know",
    "api": "Maru's API, which is for its operators",
}
_ENGINE = 8550


def _private(port: _Port) -> str:
    """Return what a port of pods is that nobody outside may reach; nothing where it may be open."""
    if port.name == "api" and port.container != "maru":
        return ""
    return _PRIVATE["engine"] if port.target == _ENGINE else _PRIVATE.get(port.name, "")


@rule("docs/connectivity.md")
def private_port_is_public(objects: Objects) -> Iterator[Problem]:
    """Nothing leads from outside of the cluster to the Engine API, Maru's API or metrics.

    Else the chain can be rewritten, or its nodes be watched and stopped, by whoever finds the port.
    """
    for service in objects.of_kind("Service"):
        opened = _opened(service)
        found = [port for port in _ports(objects, service) if opened and _private(port)]
        if opened and found:
            what = ", and to ".join(dict.fromkeys(map(_private, found)))
            message = f"{service.label} is open to others, and leads to {what}"
            path, fix = found[0].path, "remove the port here: what needs it has another Service"
            if len(found) > 1:
                path, fix = opened[0], "write type: ClusterIP, or remove these ports"
            yield Problem(service, path, message, fix)
    for ingress, path, backend in _backends(objects):
        service_, ports = _backend(objects, backend)
        for port in ports if service_ else ():
            if what := _private(port):
                message = f"{ingress.label} leads to {what}"
                fix = "lead to the port rpc or ws of Besu, or remove the path"
                yield Problem(ingress, path, message, fix)


def _backends(objects: Objects) -> Iterator[tuple[Manifest, Where, dict[str, Any]]]:
    """Yield the paths of all Ingresses, and what is asked where none of them is meant."""
    for ingress in objects.of_kind("Ingress"):
        if default := paths.get(ingress.object, ("spec", "defaultBackend")):
            yield ingress, ("spec", "defaultBackend"), {"path": "/", "backend": default}
        for index, data in mappings(paths.get(ingress.object, ("spec", "rules"))):
            for number, one in mappings(paths.get(data, ("http", "paths"))):
                yield ingress, ("spec", "rules", index, "http", "paths", number), one


def _backend(objects: Objects, path: dict[str, Any]) -> tuple[Manifest | None, list[_Port]]:
    """Return the Service that a path of an Ingress leads to, and those of its ports it means."""
    wanted = paths.get(path, ("backend", "service"))
    service = objects.find("Service", wanted.get("name")) if isinstance(wanted, dict) else None
    if service is None:
        return None, []
    named, number = (paths.get(wanted, ("port", field)) for field in ("name", "number"))
    names = {
        index: port.get("name")
        for index, port in mappings(paths.get(service.object, ("spec", "ports")))
    }
    return service, [
        port
        for port in _ports(objects, service)
        if (named is not None and names.get(int(port.path[-1])) == named)
        or (number is not None and port.number == number)
    ]


_REPORTING = "/api"


@rule("https://github.com/cubedro/eth-netstats/blob/master/app.js")
def reporting_is_public(objects: Objects) -> Iterator[Problem]:
    """An Ingress leads to EthStats' page, and not to /api, where the nodes report.

    Else anybody can report there: of what it is told, the program asks for its password only once.
    """
    for ingress, path, data in _backends(objects):
        _, ports = _backend(objects, data)
        if not any(port.container == "ethstats" for port in ports):
            continue
        where, exact = str(data.get("path", "/")), data.get("pathType") == "Exact"
        reaches = where.rstrip("/") == _REPORTING if exact else _leads_to_reporting(where)
        if reaches:
            message = f"{ingress.label} leads to EthStats' /api, where nodes report, by {where}"
            fix = "write pathType: Exact, and the page's folders each by its own path"
            if where.startswith(_REPORTING):
                fix = "remove the path: nodes report through the Service, in the cluster"
            yield Problem(ingress, path, message, fix)


def _leads_to_reporting(path: str) -> bool:
    bare = path.removesuffix("*").rstrip("/")
    return bare == _REPORTING or f"{_REPORTING}/".startswith(f"{bare}/") or path.startswith("/api/")


@dataclass(frozen=True, slots=True)
class _Listeners:
    """How an Ingress is spoken to."""

    has_tls: bool
    has_http: bool
    redirects: bool


def _listeners(ingress: Manifest) -> _Listeners:
    notes = ingress.annotations
    if not _is_alb(ingress):
        off = "false" in (
            notes.get("nginx.ingress.kubernetes.io/ssl-redirect"),
            notes.get("nginx.ingress.kubernetes.io/force-ssl-redirect", ""),
        )
        return _Listeners(not list(_hosts_without_tls(ingress)), True, not off)
    ports = _listen_ports(str(notes.get(f"{_ALB}listen-ports")))
    if not ports:
        ports = ["HTTPS" if notes.get(f"{_ALB}certificate-arn") else "HTTP"]
    redirects = f"{_ALB}ssl-redirect" in notes or any(
        str(key).startswith(f"{_ALB}actions.") and '"redirect"' in str(value)
        for key, value in notes.items()
    )
    return _Listeners("HTTPS" in ports, "HTTP" in ports, redirects)


def _is_alb(ingress: Manifest) -> bool:
    notes = ingress.annotations
    named = paths.get(ingress.object, ("spec", "ingressClassName"))
    return "alb" in (named, notes.get("kubernetes.io/ingress.class")) or any(
        str(key).startswith(_ALB) for key in notes
    )


@lru_cache(maxsize=64)
def _listen_ports(text: str) -> list[str]:
    """Return the protocols of an ALB's listeners, as its annotation says them in JSON."""
    try:
        found = json.loads(text)
    except ValueError:
        return []
    return [key for _, one in mappings(found) for key in one]


def _hosts_without_tls(ingress: Manifest) -> Iterator[tuple[Where, str]]:
    covered = {
        str(host)
        for _, one in mappings(paths.get(ingress.object, ("spec", "tls")))
        for host in listed(one.get("hosts"))
    }
    for index, data in mappings(paths.get(ingress.object, ("spec", "rules"))):
        host = str(data.get("host", ""))
        wildcard = f"*.{host.partition('.')[2]}"
        if not {host, wildcard} & covered:
            yield ("spec", "rules", index, "host"), host or "every host"


@rule(_ALB_GUIDE)
def ingress_without_tls(objects: Objects) -> Iterator[Problem]:
    """In production, each host of an Ingress is served over TLS.

    Else requests and signed transactions can be read and changed on their way.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        if _listeners(ingress).has_tls:
            continue
        if _is_alb(ingress):
            path: Where = ("metadata", "annotations", f"{_ALB}listen-ports")
            message = f"{ingress.label} listens without TLS: the load balancer speaks plain HTTP"
            fix = 'write [{"HTTP": 80}, {"HTTPS": 443}]'
            yield Problem(ingress, path, message, fix)
        for where, host in () if _is_alb(ingress) else _hosts_without_tls(ingress):
            message = f"{host} is served without TLS: spec.tls does not name it"
            fix = "write tlsSecretName of the host: the Secret with its certificate"
            yield Problem(ingress, where, message, fix)


@rule(_ALB_GUIDE)
def http_without_redirect(objects: Objects) -> Iterator[Problem]:
    """In production, what asks over plain HTTP is sent to HTTPS.

    Else a client that was given http:// goes on that way, and nobody notices that it is not safe.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        found = _listeners(ingress)
        if found.has_tls and found.has_http and not found.redirects:
            key = f"{_ALB}ssl-redirect"
            if not _is_alb(ingress):
                key = "nginx.ingress.kubernetes.io/ssl-redirect"
            message = f"{ingress.label} answers over plain HTTP, too, and sends nobody to HTTPS"
            fix = 'write "443"' if _is_alb(ingress) else 'write "true"'
            yield Problem(ingress, ("metadata", "annotations", key), message, fix)


_OLD_TLS = re.compile(
    r"ELBSecurityPolicy-(2015-05|2016-08|FS-2018-06|FS-1-1-.*|TLS-1-[01]-.*|TLS13-1-[01]-.*)"
)


@rule(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html"
)
def tls_is_old(objects: Objects) -> Iterator[Problem]:
    """In production, load balancers speak TLS 1.2 and later only.

    Else connections can be brought down to TLS 1.0 or 1.1, which can be broken; that is what the
    controller's default allows.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        if _is_alb(ingress) and _listeners(ingress).has_tls:
            path = ("metadata", "annotations", f"{_ALB}ssl-policy")
            policy = paths.get(ingress.object, path)
            if policy is None or _OLD_TLS.fullmatch(str(policy)):
                said = f"{policy} allows" if policy else "without an ssl-policy, AWS allows"
                message = f"{said} TLS 1.0 or 1.1 on the hosts of {ingress.label}"
                fix = "write ELBSecurityPolicy-TLS13-1-2-2021-06"
                yield Problem(ingress, path, message, fix)


@rule("https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-rules")
def ingress_for_every_host(objects: Objects) -> Iterator[Problem]:
    """In production, each rule of an Ingress names its host.

    Else it takes the requests for every host of its load balancer, the others' among them; and a
    web page whose own name leads there reaches the nodes from its visitors' browsers.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        for index, one in mappings(paths.get(ingress.object, ("spec", "rules"))):
            if one.get("host") in (None, "", "*"):
                message = f"{ingress.label} takes the requests for every host"
                place = ("spec", "rules", index, "host")
                yield Problem(ingress, place, message, "write the host that it is for")


# The load balancers of AWS


@rule(f"{_ALB_GUIDE}#target-type")
def target_without_node_port(objects: Objects) -> Iterator[Problem]:
    """A Service that a load balancer reaches by the nodes has a port on them.

    Else the AWS Load Balancer Controller refuses the Ingress: nothing is reached by it.
    """
    key = f"{_ALB}target-type"
    found = dict[str, tuple[Manifest, Manifest]]()
    for ingress, _, data in _backends(objects):
        service, _ = _backend(objects, data)
        # Where nothing is said, the class of the Ingress may say it (IngressClassParams).
        said = (service.annotations.get(key) if service else None) or ingress.annotations.get(key)
        kind = paths.get(service.object, ("spec", "type")) if service else None
        if service and said == "instance" and kind not in ("NodePort", "LoadBalancer"):
            found.setdefault(ingress.label, (ingress, service))
    for ingress, service in list(found.values())[:1]:
        more = f" (and {len(found) - 1} more)" if found.keys() - {ingress.label} else ""
        message = (
            f"{ingress.label}{more} reaches pods by a port of their nodes, and {service.label} "
            "has none there"
        )
        yield Problem(ingress, annotation(key), message, "write ip")


_GROUP = f"{_ALB}group.name"
_EXCLUSIVE = (
    "customer-owned-ipv4-pool",
    "inbound-cidrs",
    "ip-address-type",
    "load-balancer-name",
    "scheme",
    "security-groups",
    "shield-advanced-protection",
    "ssl-policy",
    "subnets",
    "wafv2-acl-arn",
)
"""Annotations that are a load balancer's, or a listener's, as a whole."""


@rule(f"{_ALB_GUIDE}#ingressgroup")
def ingresses_disagree(objects: Objects) -> Iterator[Problem]:
    """The Ingresses of one load balancer say the same about it as a whole.

    Else the AWS Load Balancer Controller changes nothing any more, for none of them.
    """
    groups = dict[str, list[Manifest]]()
    for ingress in objects.of_kind("Ingress"):
        if group := ingress.annotations.get(_GROUP):
            groups.setdefault(str(group), []).append(ingress)
    for group, among in groups.items():
        for name in _EXCLUSIVE:
            key = f"{_ALB}{name}"
            said = [str(one.annotations[key]) for one in among if key in one.annotations]
            most = max(said, key=said.count, default="")
            for ingress in among:
                own = str(ingress.annotations.get(key, most))
                if own != most:
                    message = (
                        f"{ingress.label} has the {name} {own}, and the others of its load "
                        f"balancer ({group}) have {most}"
                    )
                    fix = f"write {most}, or give it another group.name"
                    yield Problem(ingress, annotation(key), message, fix)


_GATE = "elbv2.k8s.aws/pod-readiness-gate-inject"


@rule(
    "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/pod_readiness_gate/"
)
def pods_ready_before_the_load_balancer(objects: Objects) -> Iterator[Problem]:
    """A pod that a load balancer reaches is ready only when the load balancer says so, too.

    Else an update goes on to the next pod before the last one gets requests: for a time, nobody
    answers.
    """
    path = ("spec", "syncPolicy", "managedNamespaceMetadata", "labels")
    labels = paths.get(objects.application.object, path)
    said = labels.get(_GATE) if isinstance(labels, dict) else None
    by_ip = (
        ingress
        for ingress in objects.of_kind("Ingress")
        if ingress.annotations.get(f"{_ALB}target-type") == "ip"
    )
    ingress = next(by_ip, None)
    if ingress and said != "enabled":
        message = f"pods count as ready before the load balancer of {ingress.label} reaches them"
        yield Problem(objects.application, (*path, _GATE), message, "write enabled")
