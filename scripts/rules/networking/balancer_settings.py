"""Settings of load balancers that must fit each other, and the pods behind them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import Any

from scripts.chain import node_config
from scripts.core import advice
from scripts.core.sentences import joined
from scripts.kubernetes import services
from scripts.kubernetes.annotation_table import ALB, NLB, string_list
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules.alb import GROUP, Balancer, balancers, is_alb, listeners
from scripts.rules.networking.annotated import GUIDE, VALUES, set_to, together
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation

_SERVICE = f"{NLB}aws-load-balancer-"
_HEALTH = "https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html"


def _number(manifest: Manifest, key: str, default: int) -> int:
    text = str(manifest.annotations.get(key, default))
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else default


@rule(_HEALTH)
def health_check_timeout_above_interval(objects: Objects) -> Iterator[Problem]:
    """The timeout of a load balancer's health check is less than its interval.

    Otherwise AWS rejects the target group, and the AWS Load Balancer Controller stops there. For a
    Network Load Balancer, both may be equal. The defaults are those of the controller 3.5.0.
    """
    yield from together(_slow_checks(objects))


def _slow_checks(objects: Objects) -> Iterator[Problem]:
    for manifest in objects.of_kind("Ingress", "Service"):
        if manifest.kind == "Ingress" and is_alb(manifest):
            timeout, interval = (
                f"{ALB}healthcheck-{name}-seconds" for name in ("timeout", "interval")
            )
            every, least = _number(manifest, interval, 15), 1
            given = _number(manifest, timeout, 5)
        elif manifest.kind == "Service":
            timeout, interval = (f"{_SERVICE}healthcheck-{n}" for n in ("timeout", "interval"))
            every, least = _number(manifest, interval, 10), 0
            given = _number(manifest, timeout, 0)
        else:
            continue
        if given > every - least:
            # The chart writes both annotations, 5 and 10: the other one is the cause.
            is_chart = str(manifest.annotations.get(timeout, 5)) == "5"
            key = interval if is_chart and interval in manifest.annotations else timeout
            message = (
                f"{manifest.label} has a health check with a timeout of {given} s and an interval"
                f" of {every} s: AWS rejects it, and the AWS Load Balancer Controller applies no"
                " more changes"
            )
            fix = f'write {timeout}: "{every - least}" or less; if pods need longer, write a larger'
            fix += f" {interval}"
            yield Problem(manifest, annotation(key), message, fix)


_PLAIN = {"besu": "Besu", "ethstats": "EthStats", "maru": "Maru"}
"""Container → program that speaks plain HTTP/1.1 unless it is told to use TLS."""


@rule(f"{GUIDE}ingress/annotations/#backend-protocol")
def backend_protocol_mismatch(objects: Objects) -> Iterator[Problem]:
    """A load balancer speaks to pods as they do: with plain HTTP/1.1.

    Otherwise every health check or request fails: with HTTPS the connection breaks, gRPC gets no
    answer, and with HTTP2, clients of HTTP/1.1 and WebSockets get an error 464.
    """
    yield from together(_mismatches(objects))


_WRONG = {
    "backend-protocol": ("HTTPS",),
    "healthcheck-protocol": ("HTTPS",),
    "backend-protocol-version": ("GRPC", "HTTP2"),
}
_RIGHT = {"backend-protocol-version": "HTTP1"}


def _mismatches(objects: Objects) -> Iterator[Problem]:
    for backend in (own for ing in objects.of_kind("Ingress") for own in services.backends(ing)):
        service = objects.find("Service", backend.service)
        program = _plain(objects, service) if service else ""
        for name, wrong in _WRONG.items() if service and program else ():
            key = f"{ALB}{name}"
            owner = backend.ingress if key in backend.ingress.annotations else service
            assert owner is not None
            value = owner.annotations.get(key)
            if value in wrong:
                message = (
                    f"{owner.label} has {name}: {value}, but {program} speaks plain HTTP/1.1: the"
                    " load balancer gets no answer, and clients get errors"
                )
                right = _RIGHT.get(name, "HTTP")
                fix = set_to(key, right)
                yield Problem(owner, annotation(key), message, fix)


def _plain(objects: Objects, service: Manifest) -> str:
    """Return the program behind a Service, if it is known not to use TLS."""
    for workload in objects.behind(service):
        nodes = [node for node in objects.programs if node.workload is workload]
        uses_tls = any(
            setting.value in ("true", True) and name.endswith(("tls-enabled", "ssl-enabled"))
            for node in nodes
            if node.program == node_config.BESU
            for name, setting in node.settings.items()
        )
        for name in () if uses_tls else _names(workload):
            if name in _PLAIN:
                return _PLAIN[name]
    return ""


def _names(workload: Workload) -> Iterable[str]:
    containers = workload.pod_spec.get("containers")
    found = containers if isinstance(containers, list) else []
    return (str(each.get("name")) for each in found if isinstance(each, dict))


@rule(f"{GUIDE}ingress/annotations/#ssl-redirect")
def redirect_to_unknown_listener(objects: Objects) -> Iterator[Problem]:
    """The port of ssl-redirect is that of an HTTPS listener of the load balancer.

    Otherwise the AWS Load Balancer Controller applies no change to any Ingress that shares it.
    """
    key = f"{ALB}ssl-redirect"
    for balancer in balancers(objects):
        ports = {port: p for each in balancer.ingresses for port, p in listeners(each).items()}
        secure = [port for port, protocol in ports.items() if protocol == "HTTPS"]
        ports_key = f"{ALB}listen-ports"
        if any(
            ports_key in each.annotations and not listeners(each) for each in balancer.ingresses
        ):
            continue  # invalid-annotation-value reports listeners that can't be read
        wrong = [
            each
            for each in balancer.ingresses
            if str(each.annotations.get(key, "")).isdecimal()
            and int(each.annotations[key]) not in secure
        ]
        for ingress in wrong[:1]:
            message = (
                f"{ingress.label} redirects to port {ingress.annotations[key]}, but the load"
                " balancer has no HTTPS listener there: the AWS Load Balancer Controller updates no"
                " Ingress that shares it"
            )
            fix = set_to(key, str(secure[0])) if secure else advice.remove(key, (key,))
            is_chart = str(ingress.annotations[key]) == "443"  # as the chart writes it
            place = ports_key if is_chart and ports_key in ingress.annotations else key
            if place == ports_key and not secure:
                fix = set_to(ports_key, '[{"HTTP": 80}, {"HTTPS": 443}]')
            yield Problem(ingress, annotation(place), message, fix)


# Who may connect

_PRIVATE = [
    ipaddress.ip_network(cidr)
    for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7")
]


@rule(f"{GUIDE}ingress/annotations/#inbound-cidrs")
def private_ranges_for_public_load_balancer(objects: Objects) -> Iterator[Problem]:
    """A load balancer that faces the internet accepts clients with public addresses.

    Otherwise no one reaches it: it sees the public addresses of its clients, never their private
    ones. Even clients in the VPC reach it through a public address.
    """
    for balancer in balancers(objects):
        key = f"{ALB}inbound-cidrs"
        owner = next((each for each in balancer.ingresses if key in each.annotations), None)
        ranges = string_list(balancer.value("inbound-cidrs"))
        if owner and balancer.is_public and _are_private(ranges):
            yield _unreachable(owner, annotation(key), ranges, _internal(owner))
    for service in objects.of_kind("Service"):
        found = _source_ranges(service)
        is_local = found and service.get("spec", "type") == "LoadBalancer" and _are_local(found[1])
        if found and (is_local or (_is_public(service) and _are_private(found[1]))):
            path, ranges = found
            yield _unreachable(service, path, ranges, f"{_SERVICE}scheme: internal")


def _internal(owner: Manifest) -> str:
    key = "ingress.alb.scheme" if owner.template.startswith("chart/") else f"{ALB}scheme"
    return f"{key}: internal"


def _unreachable(manifest: Manifest, path: Where, ranges: list[str], internal: str) -> Problem:
    """Return the problem of ranges; internal: the setting by which the ranges are right."""
    message = (
        f"the load balancer of {manifest.label} is internet-facing, but accepts only the private"
        f" addresses {joined(ranges)}: no one can connect"
    )
    fix = "write the public addresses of the clients instead; if the clients are in the VPC, write"
    fix += f" {internal}"
    return Problem(manifest, path, message, fix, ranges[0])


def _source_ranges(service: Manifest) -> tuple[Where, list[str]] | None:
    """Return the field with the ranges of a Service's load balancer, and the ranges."""
    listed = service.get("spec", "loadBalancerSourceRanges")
    if isinstance(listed, list) and listed:
        return ("spec", "loadBalancerSourceRanges"), [str(cidr) for cidr in listed]
    key = f"{NLB}load-balancer-source-ranges"
    text = service.annotations.get(key)
    return (annotation(key), string_list(str(text))) if text else None


def _is_public(service: Manifest) -> bool:
    """Return whether a Service asks AWS for a load balancer that faces the internet."""
    is_balancer = service.get("spec", "type") == "LoadBalancer"
    return is_balancer and service.annotations.get(f"{_SERVICE}scheme") == "internet-facing"


def _are_local(ranges: Iterable[str]) -> bool:
    """Return whether only addresses that never leave a host or a link are in the ranges."""
    networks = [_network(cidr) for cidr in ranges]
    return all(each is not None and (each.is_loopback or each.is_link_local) for each in networks)


def _are_private(ranges: Iterable[str]) -> bool:
    networks = [_network(cidr) for cidr in ranges]
    return bool(networks) and all(
        network is not None
        and any(network.version == p.version and network.subnet_of(p) for p in _PRIVATE)
        for network in networks
    )


def _network(cidr: str) -> Any:
    try:
        return ipaddress.ip_network(cidr, strict=False)
    except ValueError:
        return None


# Annotations that another one switches off

_Ignored = tuple[str, str, str]
"""Annotation, why it is ignored, and the fix."""


@rule(f"{GUIDE}ingress/annotations/", outcome=Outcome.HIDDEN)
def ignored_annotation(objects: Objects) -> Iterator[Problem]:
    """No annotation of a load balancer is without effect because of another one, or its absence.

    Otherwise the setting has no effect, and nothing reports it: a load balancer that should be
    closed is open, for example.
    """
    found = list[Problem]()
    for balancer in balancers(objects):
        for ingress in balancer.ingresses:
            for name, why, fix in _of_ingress(balancer, ingress):
                found.append(_without_effect(ingress, f"{ALB}{name}", why, fix))
    for service in objects.of_kind("Service"):
        if service.get("spec", "type") == "LoadBalancer":
            for name, why, fix in _of_service(service):
                found.append(_without_effect(service, name, why, fix))
    yield from together(found)


def _without_effect(manifest: Manifest, key: str, why: str, fix: str) -> Problem:
    message = f"the annotation {key} of {manifest.label} has no effect: {why}"
    return Problem(manifest, annotation(key), message, fix)


def _of_ingress(balancer: Balancer, ingress: Manifest) -> Iterator[_Ignored]:
    names = {str(key).removeprefix(ALB) for key in ingress.annotations}
    for name in sorted({"inbound-cidrs", "security-group-prefix-lists"} & names):
        if balancer.value("security-groups"):
            fix = f"remove {_source(ingress, name)}, if the security groups allow only the right"
            fix += f" clients; otherwise remove {ALB}security-groups"
            yield name, "security-groups replaces it", fix
    if "wafv2-acl-arn" in names and balancer.value("wafv2-acl-name"):
        fix = f"remove {ALB}wafv2-acl-name; to use that web ACL, write its ARN in"
        fix += f" {_source(ingress, 'wafv2-acl-arn')}"
        yield "wafv2-acl-arn", "wafv2-acl-name replaces it", fix
    if "group.order" in names and not balancer.group:
        yield "group.order", "the Ingress is in no group", f"write {GROUP}, too"
    if "HTTPS" not in listeners(ingress).values():
        # Clients of port 80 may not expect it.
        fix = set_to(f"{ALB}listen-ports", '[{"HTTPS": 443}]', is_safe=False)
        # The chart always writes ssl-policy.
        for name in sorted({"certificate-arn", "mutual-authentication"} & names):
            yield name, "the Ingress has no HTTPS listener", fix
    kind = str(ingress.annotations.get(f"{ALB}auth-type", "none"))
    for each in ("cognito", "oidc"):
        if f"auth-idp-{each}" in names and kind != each:
            why = f"auth-type is {kind}, so that everyone can connect"
            yield f"auth-idp-{each}", why, set_to(f"{ALB}auth-type", each)
    if balancer.value("enable-frontend-nlb") not in ("true", "True", "1"):
        for name in sorted(name for name in names if name.startswith("frontend-nlb-")):
            fix = set_to(f"{ALB}enable-frontend-nlb", "true").unless(
                "; without an NLB, remove the annotation"
            )
            yield name, "there is no frontend NLB", fix


def _source(ingress: Manifest, name: str) -> str:
    """Return the value of the chart that writes an annotation; the annotation if there is none."""
    key = f"{ALB}{name}"
    return VALUES.get(key, key) if ingress.template.startswith("chart/") else key


def _of_service(service: Manifest) -> Iterator[_Ignored]:
    notes = {str(key) for key in service.annotations}
    ranges = f"{NLB}load-balancer-source-ranges"
    if ranges in notes and service.get("spec", "loadBalancerSourceRanges"):
        yield ranges, "spec.loadBalancerSourceRanges replaces it", advice.remove(ranges)
    elif ranges in notes and f"{_SERVICE}security-groups" in notes:
        fix = f"remove {ranges}, if the security groups allow only the right clients; otherwise"
        fix += f" remove {_SERVICE}security-groups"
        yield ranges, "aws-load-balancer-security-groups replaces it", fix
    if {f"{_SERVICE}scheme", f"{_SERVICE}internal"} <= notes:
        why = "aws-load-balancer-scheme replaces it"
        yield f"{_SERVICE}internal", why, advice.remove("the annotation")
    needed = {
        "ssl-ports": "ssl-cert",
        "ssl-negotiation-policy": "ssl-cert",
        "alpn-policy": "ssl-cert",
        "access-log-s3-bucket-name": "access-log-enabled",
        "access-log-s3-bucket-prefix": "access-log-enabled",
    }
    for name, other in needed.items():
        if f"{_SERVICE}{name}" in notes and f"{_SERVICE}{other}" not in notes:
            right = '"true"' if other == "access-log-enabled" else "<ARN of the certificate>"
            fix = f"add {_SERVICE}{other}: {right}; without it, remove {_SERVICE}{name}"
            yield f"{_SERVICE}{name}", f"there is no aws-load-balancer-{other}", fix
