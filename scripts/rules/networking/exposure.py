"""Exposure: what is reachable from outside of the environment, and how."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.core.sentences import joined
from scripts.kubernetes import network_policies, services
from scripts.kubernetes.containers import listed
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.services import Backend, ServicePort
from scripts.kubernetes.workloads import mappings
from scripts.rules.alb import is_alb
from scripts.rules.chart_values import file, is_from_values
from scripts.rules.rule import Outcome, Problem, rule
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
_P2P = {"maru-p2p", "p2p", "p2p-udp"}
_BALANCED: tuple[Where, str] = (("spec", "type"), "has its own load balancer, without TLS")


@dataclass(frozen=True, slots=True)
class _Port:
    """A port of a Service, and the port of the pods that it forwards to."""

    of: ServicePort
    name: str
    """Of the container port, as far as it is known."""
    container: str
    number: int | str


def _reached(objects: Objects, ports: Iterable[ServicePort]) -> Iterator[_Port]:
    """Yield the ports of pods that ports of Services forward to."""
    for port in ports:
        answering = [services.answering(port, pods) for pods in objects.behind(port.service)]
        own = next(filter(None, answering), None)
        if own:
            yield _Port(port, own.name, own.container.name, own.number)
        else:
            yield _Port(port, str(port.target), "", port.target)


def _opened(service: Manifest) -> tuple[Where, str] | None:
    """Return the field that opens a Service to the outside of the cluster, and how."""
    spec = service.object.get("spec")
    if not isinstance(spec, dict):
        return None
    if spec.get("externalIPs"):
        return ("spec", "externalIPs"), "receives the traffic of its externalIPs"
    if spec.get("type") == "NodePort":
        return ("spec", "type"), "is open on a port of every Kubernetes node"
    notes = service.annotations
    is_internal = any(notes.get(key) == value for key, value in _INTERNAL.items())
    if spec.get("type") == "LoadBalancer" and not is_internal:
        return _BALANCED
    return None


def _is_narrowed(service: Manifest) -> bool:
    """Return whether only some addresses reach the load balancer of a Service."""
    ranges = paths.get(service.object, ("spec", "loadBalancerSourceRanges"))
    listed_ranges = [str(cidr) for cidr in ranges] if isinstance(ranges, list) else []
    networks = map(network_policies.network, listed_ranges)
    return bool(listed_ranges) and not any(map(network_policies.is_everywhere, networks))


@rule("docs/connectivity.md", outcome=Outcome.RISK)
def public_service(objects: Objects) -> Iterator[Problem]:
    """In production, only Ingresses and the Services for P2P are public.

    Otherwise requests are unencrypted, and bypass the TLS, the limits and the logs of the shared
    load balancer. A load balancer that is internal, or has narrow loadBalancerSourceRanges, is not
    public.
    """
    for service in objects.of_kind("Service") if objects.is_production else ():
        opened = _opened(service)
        if opened and not (opened == _BALANCED and _is_narrowed(service)):
            ports = list(_reached(objects, services.ports(service)))
            is_reported = any(map(_private, ports))  # by public-private-port
            if not is_reported and (not ports or {port.name for port in ports} - _P2P):
                path, how = opened
                message = f"{service.label} {how}: clients can bypass the Ingress"
                fix = advice.write("type", "ClusterIP") + ", and route requests through an Ingress"
                if path[-1] == "externalIPs":
                    fix = advice.remove("externalIPs") + ", and route requests through an Ingress"
                yield Problem(service, path, message, fix)


@rule("docs/connectivity.md", Severity.WARNING)
def load_balancer_open_to_all(objects: Objects) -> Iterator[Problem]:
    """Outside production, load balancers accept only listed address ranges.

    Otherwise anyone on the internet can send unencrypted requests to nodes that no one watches.
    """
    for service in () if objects.is_production else objects.of_kind("Service"):
        opened = _opened(service)
        if opened != _BALANCED or _is_narrowed(service):
            continue
        ports = list(_reached(objects, services.ports(service)))
        # public-private-port reports private ports; peers may be anywhere.
        if any(map(_private, ports)) or (ports and not {port.name for port in ports} - _P2P):
            continue
        message = (
            f"the load balancer of {service.label} is open to all addresses: anyone on the "
            "internet can send unencrypted requests"
        )
        field = f"spec.loadBalancerSourceRanges of {service.label}"
        if service.component in ("besu", "ethstats") and is_from_values(service):
            field = f"{service.component}.service.loadBalancerSourceRanges in {file(objects)}"
        fix = f"write {field}: the address ranges of your clients, for example [203.0.113.0/24]"
        yield Problem(service, opened[0], message, fix)


_PRIVATE = {
    "engine": "the Engine API, through which anyone can change the chain",
    "metrics": "the metrics, which reveal the state and the peers of chain nodes",
    "maru-metrics": "the metrics, which reveal the state and the peers of chain nodes",
    "api": "Maru's API, which is only for operators",
}
_ENGINE = 8550


def _private(port: _Port) -> str:
    """Return the private API of a port in words; empty if the port may be public."""
    if port.name == "api" and port.container != "maru":
        return ""
    return _PRIVATE["engine"] if port.number == _ENGINE else _PRIVATE.get(port.name, "")


@rule("docs/connectivity.md", outcome=Outcome.RISK)
def public_private_port(objects: Objects) -> Iterator[Problem]:
    """The Engine API, Maru's API and metrics are not reachable from outside of the cluster.

    Otherwise anyone who finds the port can change the chain, or watch and stop its nodes.
    """
    for service in objects.of_kind("Service"):
        opened = _opened(service)
        every = _reached(objects, services.ports(service)) if opened else ()
        private = [port for port in every if _private(port)]
        if opened and private:
            what = ", and ".join(dict.fromkeys(map(_private, private)))
            message = f"{service.label} is reachable from outside of the cluster and exposes {what}"
            path = private[0].of.path if len(private) == 1 else opened[0]
            yield Problem(service, path, message, _closing(service, opened[0], private))
    for backend in _backends(objects):
        for port in _reached(objects, objects.led_to(backend)):
            if what := _private(port):
                message = f"{backend.ingress.label} exposes {what}"
                fix = f"remove {'this path' if backend.of else 'defaultBackend'}"
                if public := _public(objects):
                    fix += (
                        f"; if it should serve JSON-RPC of Besu, write {backend.path[-1]}: {public}"
                    )
                yield Problem(backend.ingress, _place(backend), message, fix)


def _closing(service: Manifest, opened: Where, private: Sequence[_Port]) -> str:
    """Return the fix for a Service that is open to the outside and has private ports."""
    close = (
        advice.remove("externalIPs")
        if opened[-1] == "externalIPs"
        else advice.write("type", "ClusterIP")
    )
    if len(private) == len(services.ports(service)):
        return f"{close}, so that only pods of the cluster can connect"
    numbers = joined([str(port.of.number) for port in private])
    ports = f"the ports {numbers}" if private[1:] else f"port {numbers}"
    return f"remove {ports}; if no port has to be public, {close} instead"


def _public(objects: Objects) -> str:
    """Return the backend for JSON-RPC of Besu, as YAML; empty if there is none."""
    for service in objects.of_kind("Service"):
        names = [port.name for port in services.ports(service)]
        if service.component == "besu" and not services.is_headless(service) and "rpc" in names:
            return f"{{service: {{name: {service.name}, port: {{name: rpc}}}}}}"
    return ""


def _backends(objects: Objects) -> Iterator[Backend]:
    for ingress in objects.of_kind("Ingress"):
        yield from services.backends(ingress)


def _place(backend: Backend) -> Where:
    """Return the path of the item in paths; of the backend if it is the default backend."""
    return backend.path[:-1] if backend.of else backend.path


_REPORTING = "/api"
_PAGE = "/css, /favicon.ico, /fonts, /js and /primus"
"""What the page loads: chart/templates/ethstats/ingress.yaml."""


@rule("https://github.com/cubedro/eth-netstats/blob/master/app.js", outcome=Outcome.RISK)
def public_ethstats_api(objects: Objects) -> Iterator[Problem]:
    """Ingresses expose the page of EthStats, but not /api, where chain nodes report.

    Otherwise anyone can report false data: EthStats checks the password only in the first message.
    """
    for backend in _backends(objects):
        ports = _reached(objects, objects.led_to(backend))
        if not any(port.container == "ethstats" for port in ports):
            continue
        where, exact = backend.url, backend.of.get("pathType") == "Exact"
        reaches = where.rstrip("/") == _REPORTING if exact else _includes_reporting(where)
        if reaches:
            label = backend.ingress.label
            message = (
                f"the path {where} of {label} exposes /api of EthStats, where chain nodes report:"
                " anyone can report false data"
            )
            fix = f"write pathType: Exact, and add a path of type Prefix for each of {_PAGE}"
            if where.startswith(_REPORTING):
                fix = "remove this path: chain nodes report in the cluster, through the Service"
            yield Problem(backend.ingress, _place(backend), message, fix)


def _includes_reporting(path: str) -> bool:
    """Return whether a path of type Prefix matches /api."""
    bare = path.removesuffix("*").rstrip("/")
    return bare == _REPORTING or f"{_REPORTING}/".startswith(f"{bare}/") or path.startswith("/api/")


@dataclass(frozen=True, slots=True)
class _Listeners:
    """The protocols of an Ingress."""

    has_tls: bool
    has_http: bool
    redirects: bool


def _listeners(ingress: Manifest) -> _Listeners:
    notes = ingress.annotations
    if not is_alb(ingress):
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


@lru_cache(maxsize=64)
def _listen_ports(text: str) -> list[str]:
    """Return the protocols of an ALB's listeners, from the JSON in its annotation."""
    try:
        listeners = json.loads(text)
    except ValueError:
        return []
    return [protocol for _, listener in mappings(listeners) for protocol in listener]


def _hosts_without_tls(ingress: Manifest) -> Iterator[tuple[Where, str]]:
    """Yield the hosts that spec.tls does not cover, each with its path."""
    covered = {
        str(host)
        for _, tls in mappings(paths.get(ingress.object, ("spec", "tls")))
        for host in listed(tls.get("hosts"))
    }
    for path, route in services.rules(ingress):
        host = str(route.get("host", ""))
        wildcard = f"*.{host.partition('.')[2]}"
        if not {host, wildcard} & covered:
            yield (*path, "host"), host or "any host"


@rule(_ALB_GUIDE, outcome=Outcome.RISK)
def ingress_without_tls(objects: Objects) -> Iterator[Problem]:
    """In production, every host of an Ingress is served over TLS.

    Otherwise requests and signed transactions can be read and changed on the way.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        if _listeners(ingress).has_tls:
            continue
        if is_alb(ingress):
            path: Where = ("metadata", "annotations", f"{_ALB}listen-ports")
            message = f"{ingress.label} has no HTTPS listener: requests are unencrypted"
            fix = f"""write {path[-1]}: '[{{"HTTP": 80}}, {{"HTTPS": 443}}]'"""
            yield Problem(ingress, path, message, fix)
        for where, host in () if is_alb(ingress) else _hosts_without_tls(ingress):
            message = (
                f"{host} is not listed in spec.tls of {ingress.label}: its requests are unencrypted"
            )
            fix = "add the name of the Secret with the certificate of this host, for example"
            fix += " tlsSecretName: rpc-tls"
            if not ingress.template.startswith("chart/"):
                named = paths.get(ingress.object, where)
                fix = f"add to spec.tls: {{hosts: [{named or '<host>'}], secretName: <Secret with"
                fix += " the certificate of the host>}"
                fix = fix if named else f"write host: <host> in the rule, and {fix}"
            yield Problem(ingress, where, message, fix)


@rule(_ALB_GUIDE, outcome=Outcome.RISK)
def missing_https_redirect(objects: Objects) -> Iterator[Problem]:
    """In production, Ingresses redirect plain HTTP to HTTPS.

    Otherwise a client with an http:// URL keeps sending unencrypted requests, and no one notices.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        listeners = _listeners(ingress)
        if listeners.has_tls and listeners.has_http and not listeners.redirects:
            key, value = f"{_ALB}ssl-redirect", "443"
            if not is_alb(ingress):
                key, value = "nginx.ingress.kubernetes.io/ssl-redirect", "true"
            message = (
                f"{ingress.label} serves plain HTTP without a redirect to HTTPS: requests to"
                " http:// stay unencrypted"
            )
            fix = advice.write_value(value, f'{key}: "{value}"')
            yield Problem(ingress, ("metadata", "annotations", key), message, fix)


_OLD_TLS = re.compile(
    r"ELBSecurityPolicy-(2015-05|2016-08|FS-2018-06|FS-1-1-.*|TLS-1-[01]-.*|TLS13-1-[01]-.*)"
)


@rule(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/describe-ssl-policies.html",
    outcome=Outcome.RISK,
)
def outdated_tls_policy(objects: Objects) -> Iterator[Problem]:
    """In production, load balancers accept only TLS 1.2 and later.

    Otherwise an attacker can downgrade connections to TLS 1.0 or 1.1, which are insecure. The
    default policy of AWS allows that.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        if is_alb(ingress) and _listeners(ingress).has_tls:
            path = ("metadata", "annotations", f"{_ALB}ssl-policy")
            policy = paths.get(ingress.object, path)
            if policy is None or _OLD_TLS.fullmatch(str(policy)):
                actual = f"the ssl-policy {policy}" if policy else "the default ssl-policy of AWS"
                message = f"{actual} allows the insecure TLS 1.0 or 1.1 for {ingress.label}"
                fix = advice.write(path[-1], "ELBSecurityPolicy-TLS13-1-2-2021-06")
                yield Problem(ingress, path, message, fix)


@rule(
    "https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-rules",
    outcome=Outcome.RISK,
)
def ingress_without_host(objects: Objects) -> Iterator[Problem]:
    """In production, every rule of an Ingress has a host.

    Otherwise it receives the requests for all hosts of its load balancer, also those of other
    Ingresses; and by DNS rebinding, a web page can send requests to the chain nodes.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        for path, route in services.rules(ingress):
            if route.get("host") in (None, "", "*"):
                message = (
                    f"a rule of {ingress.label} has no host, so it receives the requests for all"
                    " hosts of its load balancer"
                )
                fix = "write the DNS name that clients use, for example host: rpc.example.com"
                yield Problem(ingress, (*path, "host"), message, fix)


# The load balancers of AWS


@rule(f"{_ALB_GUIDE}#target-type")
def missing_node_port(objects: Objects) -> Iterator[Problem]:
    """A Service behind an Ingress with the target type instance has a node port.

    Otherwise the AWS Load Balancer Controller rejects the Ingress, and no client can reach it.
    """
    key = f"{_ALB}target-type"
    without = dict[str, tuple[Manifest, Manifest]]()
    for backend in _backends(objects):
        ingress, service = backend.ingress, objects.find("Service", backend.service)
        # Without the annotation, the class of the Ingress may set it (IngressClassParams).
        target = (service.annotations.get(key) if service else None) or ingress.annotations.get(key)
        kind = service.get("spec", "type") if service else None
        if service and target == "instance" and kind not in ("NodePort", "LoadBalancer"):
            without.setdefault(ingress.label, (ingress, service))
    for ingress, service in list(without.values())[:1]:
        others = len(without) - 1
        more = f" (like {others} other Ingress{'es' * (others > 1)})" if others else ""
        message = (
            f"{ingress.label}{more} has target-type: instance, but {service.label} has no node"
            " port: the AWS Load Balancer Controller rejects the Ingress"
        )
        where = f", also in the other{f' {others}' * (others > 1)}" if others else ""
        where = f" in the annotations of {service.label}" if key in service.annotations else where
        yield Problem(ingress, annotation(key), message, f"write {key}: ip{where}")


_GATE = "elbv2.k8s.aws/pod-readiness-gate-inject"


@rule(
    "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/pod_readiness_gate/"
)
def missing_readiness_gate(objects: Objects) -> Iterator[Problem]:
    """A pod behind a load balancer is ready only if the load balancer reports it as healthy.

    Otherwise a rolling update replaces the next pod before the new one gets requests: for a while,
    no pod answers.
    """
    path = ("spec", "syncPolicy", "managedNamespaceMetadata", "labels")
    labels = paths.get(objects.application.object, path)
    gate = labels.get(_GATE) if isinstance(labels, dict) else None
    by_ip = (
        ingress
        for ingress in objects.of_kind("Ingress")
        if ingress.annotations.get(f"{_ALB}target-type") == "ip"
    )
    ingress = next(by_ip, None)
    if ingress and gate != "enabled":
        message = (
            f"the namespace does not have the label {_GATE}: enabled. So pods are ready before the"
            f" load balancer of {ingress.label} sends them requests: during updates, no pod answers"
            " for a while"
        )
        words = f"write {_GATE}: enabled in {'.'.join(map(str, path[1:]))} of the Application"
        fix = advice.saying(words, "enabled", (_GATE,))
        yield Problem(objects.application, (*path, _GATE), message, fix)
