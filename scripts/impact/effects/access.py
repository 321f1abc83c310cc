"""Who reaches whom, who may do what, and what the world sees, before and after. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from scripts.core import paths
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Change
from scripts.impact.effects.context import Changed, Context
from scripts.impact.effects.effect import Consequence, Risk, listed, verb
from scripts.kubernetes import containers, network_policies, services
from scripts.kubernetes.manifest import PODS, Manifest
from scripts.kubernetes.network_policies import Connection, Party
from scripts.kubernetes.workloads import mappings, whole
from scripts.rules.snapshot import Objects

_MAKERS = ("CronJob", "Deployment", "Job", "StatefulSet")
_RBAC = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
_INTERNET = "the internet"
_OTHERS = "other namespaces"
_SCHEMES = (
    "alb.ingress.kubernetes.io/scheme",
    "service.beta.kubernetes.io/aws-load-balancer-scheme",
)
_INTERNAL = "service.beta.kubernetes.io/aws-load-balancer-internal"
_RANGES = "alb.ingress.kubernetes.io/inbound-cidrs"
_PUBLIC, _PRIVATE = "to the internet", "inside the network"
_OPEN = ("NodePort", "LoadBalancer")
_POD_SECURITY = (
    *("allowPrivilegeEscalation", "capabilities", "hostIPC", "hostNetwork", "hostPID", "hostPath"),
    *("privileged", "procMount", "readOnlyRootFilesystem", "runAsNonRoot", "runAsUser"),
    *("seccompProfile", "appArmorProfile", "seLinuxOptions"),
)
"""Fields that https://kubernetes.io/docs/concepts/security/pod-security-standards/ is about."""
_ACCOUNT = ("automountServiceAccountToken", "serviceAccountName")


@dataclass(frozen=True, slots=True)
class Audience:
    """Who gets to something that is served."""

    where: str
    ranges: tuple[str, ...] = ()
    """The only addresses that may; none where all may."""

    def __str__(self) -> str:
        return f"{self.where}, from {', '.join(self.ranges)}" if self.ranges else self.where

    def is_within(self, other: Audience | None) -> bool:
        """Return whether nobody is in it who is not in the other."""
        if other is None or self.where not in (other.where, _PRIVATE):
            return False
        return not other.ranges or (
            bool(self.ranges)
            and all(any(_holds(outer, one) for outer in other.ranges) for one in self.ranges)
        )


def _holds(outer: str, inner: str) -> bool:
    """Return whether a block of addresses has all of another."""
    blocks = network_policies.network(outer), network_policies.network(inner)
    if isinstance(blocks[0], IPv4Network) and isinstance(blocks[1], IPv4Network):
        return blocks[1].subnet_of(blocks[0])
    if isinstance(blocks[0], IPv6Network) and isinstance(blocks[1], IPv6Network):
        return blocks[1].subnet_of(blocks[0])
    return outer == inner


def connections(found: Context) -> Iterator[Consequence]:
    """Yield which connections the NetworkPolicies open and close."""
    if not found.touches("NetworkPolicy", *_MAKERS):
        return
    old, new = found.old, found.new
    if not old.policies and not new.policies:
        return
    # What is there on one side only opens or closes nothing: it comes or goes.
    pods = _pods(new).keys() & _pods(old).keys()
    parties = [_pods(side) for side in (old, new)]
    others = {one.name: one for side in (old, new) for one in _others(side)}
    ports = sorted({port for side in (old, new) for port in _ports(side)})
    was, now = (
        network_policies.openings(
            side.policies, [*(own[name] for name in sorted(pods)), *others.values()], ports
        )
        for side, own in zip((old, new), parties, strict=True)
    )
    known = lambda one: one[0] in pods or one[1] in pods  # noqa: E731
    for sources, target, on in _grouped(filter(known, now - was)):
        message = f"{listed(sources)} may connect to {target} on {', '.join(on)}"
        yield Consequence(Risk.OPENS, message, "NetworkPolicies")
    called = {
        (call.source.manifest.name, target.manifest.name, f"{call.port}/TCP")
        for call in new.calls
        for target in call.targets
    }
    closed = set(filter(known, was - now))
    for some, risk, reason in (
        (closed & called, Risk.STOPS, "NetworkPolicies; it is called there"),
        (closed - called, Risk.CHANGES, "NetworkPolicies"),
    ):
        for sources, target, on in _grouped(some):
            message = f"{listed(sources)} may no longer connect to {target} on {', '.join(on)}"
            yield Consequence(risk, message, reason)


def _pods(side: Objects) -> dict[str, Party]:
    return {party.name: party for party in side.parties.values()}


def _others(side: Objects) -> Iterator[Party]:
    """Yield whom policies name beside the pods of their own namespace."""
    yield Party(_INTERNET)
    yield Party(_OTHERS, "")
    for policy in side.policies:
        for rules in policy.rules.values():
            for _, peer in (one for rule in rules for one in rule.peers or ()):
                if cidr := network_policies.network(paths.get(peer, ("ipBlock", "cidr"))):
                    if cidr.prefixlen:
                        yield Party(str(cidr), address=str(cidr.network_address))
                    continue
                name = paths.get(
                    peer, ("namespaceSelector", "matchLabels", network_policies.NAMESPACE)
                )
                if isinstance(name, str):
                    labels = paths.get(peer, ("podSelector", "matchLabels"))
                    labels = labels if isinstance(labels, dict) else {}
                    said = ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
                    title = f"pods {said} of namespace {name}" if said else f"namespace {name}"
                    yield Party(title, name, labels)


def _ports(side: Objects) -> Iterator[tuple[int, str]]:
    """Yield the ports that pods have, and those that policies name by their numbers."""
    for workload in side.makers:
        yield from ((port.number, port.protocol) for port in containers.ports(workload))
    for policy in side.policies:
        for rules in policy.rules.values():
            for _, port in (one for rule in rules for one in rule.ports or ()):
                if number := whole(port.get("port"), 0):
                    yield number, containers.protocol(port)


def _grouped(some: Iterable[Connection]) -> list[tuple[list[str], str, list[str]]]:
    """Return sources, target and ports of connections, those that are alike together."""
    ports: dict[tuple[str, str], list[str]] = {}
    # Whoever is outside comes first.
    for source, target, port in sorted(some, key=lambda one: (one[0] != _INTERNET, one)):
        ports.setdefault((source, target), []).append(port)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (source, target), on in ports.items():
        alike.setdefault((target, tuple(on)), []).append(source)
    return [(sources, target, list(on)) for (target, on), sources in alike.items()]


def permissions(found: Context) -> Iterator[Consequence]:
    """Yield who may do more or less: roles, accounts, cloud roles, what containers may."""
    for each in found.changed:
        kind, label = each.manifest.kind, each.manifest.label
        if kind in _RBAC:
            what = "changes" if each.stays else "is new" if each.new else "is gone"
            risk = Risk.OPENS if each.new else Risk.CHANGES
            yield Consequence(risk, f"{label} {what}: {_allowed(each)}", "RBAC", "", (label,))
        for change in each.difference.changes:
            if reason := _permission(each.manifest, change):
                message = f"{label}: {difference.shown(change.path)} {_moves(change)}"
                yield Consequence(Risk.OPENS, message, reason, "", (label,))


def _allowed(each: Changed) -> str:
    rules = paths.get(each.manifest.object, ("rules",))
    told = [
        " ".join(", ".join(map(str, rule.get(part) or ())) for part in ("verbs", "resources"))
        for _, rule in mappings(rules)
    ]
    if told:
        return "; ".join(told)
    return f"role {paths.get(each.manifest.object, ('roleRef', 'name'))}"


def _permission(manifest: Manifest, change: Change) -> str:
    """Return why a change is one of permissions; empty where it is none."""
    path = change.path
    if manifest.kind == "ServiceAccount" and path[-1] == "eks.amazonaws.com/role-arn":
        return "the AWS role that its pods take"
    if manifest.kind in ("SecretStore", "ExternalSecret") and path[:1] == ("spec",):
        return "which secrets are read, and as whom"
    if manifest.kind.lower() in PODS and any(part in _POD_SECURITY for part in path):
        return "what the containers may do (Pod Security Standards)"
    if manifest.kind.lower() in PODS and path[-1] in _ACCOUNT:
        return "as whom the pods call the API server"
    return ""


def _moves(change: Change) -> str:
    return f"{_text(change.old)} → {_text(change.new)}"


def _text(value: Any) -> str:
    return "nothing" if value is None else difference.compact(value)


def exposure(found: Context) -> Iterator[Consequence]:
    """Yield what the world, or the network around the cluster, gets to see, and no longer sees."""
    if not found.touches("Service", "Ingress"):
        return
    was, now = (dict(_exposed(side)) for side in (found.old, found.new))
    hosts = {where.partition("/")[0] for _, where in now}
    alike: dict[tuple[str, Audience | None, Audience | None], list[str]] = {}
    for label, what in dict.fromkeys((*was, *now)):
        # Of a host that is gone as a whole, a rule tells.
        if label.startswith("Ingress/") and what.partition("/")[0] not in hosts:
            continue
        key = (label, was.get((label, what)), now.get((label, what)))
        alike.setdefault(key, []).append(what)
    for (label, old, new), served in alike.items():
        what, be = listed(_short(served)), verb(served, "is", "are")
        if old == new:
            continue
        risk = Risk.OPENS if new and not new.is_within(old) else Risk.CHANGES
        message = f"{what} {be} served {new}" if new else f"{what} {be} no longer served"
        if old and new:
            message += f"; before: {old}"
        yield Consequence(risk, message, label, "", (label,))


def _short(served: Sequence[str]) -> list[str]:
    """Return host/path of several, the host only where it is another than before."""
    host, told = "", []
    for one in served:
        is_same = bool(host) and one.startswith(f"{host}/")
        told.append(one.removeprefix(host) if is_same else one)
        host = one.partition("/")[0]
    return told


def _exposed(side: Objects) -> Iterator[tuple[tuple[str, str], Audience]]:
    """Yield (object, what) and to whom."""
    for manifest in side.of_kind("Service"):
        kind = manifest.get("spec", "type")
        if kind not in _OPEN:
            continue
        ranges = manifest.get("spec", "loadBalancerSourceRanges")
        whom = _whom(manifest.annotations, ranges if isinstance(ranges, list) else [])
        if kind == "NodePort":
            whom = Audience("on each node")
        for port in services.ports(manifest):
            what = f"{port.name or 'port'} {port.number}/{port.protocol}"
            yield (manifest.label, f"{manifest.name} {what}"), whom
    for manifest in side.of_kind("Ingress"):
        ranges = str(manifest.annotations.get(_RANGES) or "").split(",")
        whom = _whom(manifest.annotations, [one.strip() for one in ranges if one.strip()])
        for backend in services.backends(manifest):
            yield (manifest.label, f"{backend.host or '*'}{backend.url}"), whom


def _whom(annotations: Mapping[str, Any], ranges: Sequence[Any]) -> Audience:
    schemes = [str(annotations[name]) for name in _SCHEMES if name in annotations]
    internal = "internal" in schemes or str(annotations.get(_INTERNAL)).lower() == "true"
    where = _PRIVATE if internal else _PUBLIC
    return Audience(where, tuple(map(str, ranges)))
