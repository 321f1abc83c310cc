"""The dashboard: only known users see EthStats from outside of the cluster."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from scripts.kubernetes import services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.services import Backend
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation

_ALB = "alb.ingress.kubernetes.io/"
_NGINX = "nginx.ingress.kubernetes.io/"
_GUIDE = "https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/guide/ingress/annotations/#authentication"
_UNKNOWN_USERS = f"{_ALB}auth-on-unauthenticated-request"
_LOGINS = ("oidc", "cognito")
_ALL_ADDRESSES = {"0.0.0.0/0", "::/0"}


@rule(_GUIDE, outcome=Outcome.RISK)
def dashboard_without_login(objects: Objects) -> Iterator[Problem]:
    """In production, users log in before an Ingress from the internet shows them EthStats.

    Otherwise anyone sees the names, versions and heights of all chain nodes, and can crash EthStats
    with one malformed message. An Ingress that is internal, or open only to some addresses, is not
    reported.
    """
    for ingress in objects.of_kind("Ingress") if objects.is_production else ():
        if _is_narrowed(ingress):
            continue
        shown = (backend for backend in services.backends(ingress) if _shows(objects, backend))
        first = next((one for one in shown if not _has_login(_notes(objects, one))), None)
        if first:
            message = (
                f"{ingress.label} shows EthStats at {first.host or 'any host'} to the whole"
                " internet without a login: anyone can watch the chain nodes, and crash the page"
                " with one message"
            )
            yield Problem(ingress, *_advice(first, message))


def _advice(backend: Backend, message: str) -> tuple[Where, str, str]:
    """Return the field that lets everyone in, the message, and what to write."""
    notes = backend.ingress.annotations
    host: Where = (*backend.path[:3], "host") if backend.rule else backend.path
    if backend.ingress.component != "ethstats":
        place = backend.path[:-1] if backend.of else backend.path
        fix = "remove the path; ingress.ethstats gives the dashboard a host of its own"
        return place, message, fix
    if notes.get(_UNKNOWN_USERS) == "allow":
        return annotation(_UNKNOWN_USERS), message, f"write {_UNKNOWN_USERS}: authenticate"
    if not _is_alb(backend.ingress):
        fix = f"write {_NGINX}auth-url: the address of a login service, or remove the host"
        return host, message, fix
    if notes.get(f"{_ALB}auth-type") in _LOGINS:
        fix = f"remove {_ALB}auth-type of the Service, which takes precedence"
        return host, message, fix
    fix = "write ingress.ethstats.oidc.issuer: the URL of your OpenID Connect provider"
    return host, message, f"{fix}, or remove the host"


def _shows(objects: Objects, backend: Backend) -> bool:
    """Return whether a backend leads to pods of EthStats."""
    return any(
        workload.manifest.component == "ethstats"
        for port in objects.led_to(backend)
        for workload in objects.behind(port.service)
    )


def _is_alb(ingress: Manifest) -> bool:
    return any(str(key).startswith(_ALB) for key in ingress.annotations)


def _is_narrowed(ingress: Manifest) -> bool:
    """Return whether only some addresses reach an Ingress, by its own annotations."""
    notes = ingress.annotations
    if _is_alb(ingress):
        if notes.get(f"{_ALB}scheme", "internal") == "internal":
            return True
        ranges = notes.get(f"{_ALB}inbound-cidrs")
    else:
        ranges = notes.get(f"{_NGINX}allowlist-source-range")
        ranges = ranges or notes.get(f"{_NGINX}whitelist-source-range")
    listed = {cidr.strip() for cidr in str(ranges or "").split(",")} - {""}
    return bool(listed) and not listed & _ALL_ADDRESSES


def _notes(objects: Objects, backend: Backend) -> Mapping[str, str]:
    """Return the annotations that decide about a login.

    The AWS Load Balancer Controller adds those of the Service, which take precedence:
    buildAuthConfig in pkg/ingress/enhanced_backend_builder.go.
    """
    service = objects.find("Service", backend.service)
    own = backend.ingress.annotations
    return {**own, **service.annotations} if service and _is_alb(backend.ingress) else own


def _has_login(notes: Mapping[str, str]) -> bool:
    """Return whether these annotations ask users to log in."""
    if any(str(key).startswith(_ALB) for key in notes):
        return notes.get(f"{_ALB}auth-type") in _LOGINS and notes.get(_UNKNOWN_USERS) != "allow"
    if notes.get(f"{_NGINX}auth-tls-secret"):
        return notes.get(f"{_NGINX}auth-tls-verify-client", "on") == "on"
    return any(notes.get(f"{_NGINX}{name}") for name in ("auth-url", "auth-secret"))
