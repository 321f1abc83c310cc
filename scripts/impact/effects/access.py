"""Effects on access: connections, exposure and permissions, before and after. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from scripts.core import paths
from scripts.impact.compare import difference
from scripts.impact.compare.difference import Change
from scripts.impact.effects.context import ChangedObject, Context
from scripts.impact.effects.effect import Effect, Risk, listed, verb
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
"""Fields that https://kubernetes.io/docs/concepts/security/pod-security-standards/ restricts."""
_ACCOUNT = ("automountServiceAccountToken", "serviceAccountName")


@dataclass(frozen=True, slots=True)
class Audience:
    """Who can reach something that is served."""

    where: str
    ranges: tuple[str, ...] = ()
    """The addresses that are allowed; empty if all are."""

    def __str__(self) -> str:
        return f"{self.where}, only for {', '.join(self.ranges)}" if self.ranges else self.where

    def is_within(self, other: Audience | None) -> bool:
        """Return whether everyone in it is in the other, too."""
        if other is None or self.where not in (other.where, _PRIVATE):
            return False
        return not other.ranges or (
            bool(self.ranges)
            and all(any(_holds(outer, one) for outer in other.ranges) for one in self.ranges)
        )


def _holds(outer: str, inner: str) -> bool:
    """Return whether a block of addresses contains another."""
    blocks = network_policies.network(outer), network_policies.network(inner)
    if isinstance(blocks[0], IPv4Network) and isinstance(blocks[1], IPv4Network):
        return blocks[1].subnet_of(blocks[0])
    if isinstance(blocks[0], IPv6Network) and isinstance(blocks[1], IPv6Network):
        return blocks[1].subnet_of(blocks[0])
    return outer == inner


def connections(context: Context) -> Iterator[Effect]:
    """Yield which connections the NetworkPolicies open and close."""
    if not context.touches("NetworkPolicy", *_MAKERS):
        return
    old, new = context.old, context.new
    if not old.policies and not new.policies:
        return
    # Added or removed pods do not count as new or closed connections; other effects name them.
    pods = _pods(new).keys() & _pods(old).keys()
    others = {party.name: party for objects in (old, new) for party in _others(objects)}
    ports = sorted({port for objects in (old, new) for port in _ports(objects)})
    before, after = (
        network_policies.openings(
            objects.policies,
            [*(_pods(objects)[name] for name in sorted(pods)), *others.values()],
            ports,
        )
        for objects in (old, new)
    )
    opened = [each for each in after - before if _is_of(each, pods)]
    for sources, target, on in _grouped(opened):
        message = f"{listed(sources)} may connect to {target} on {', '.join(on)}"
        yield Effect(Risk.OPENS, message, "NetworkPolicies now allow it")
    used = {
        (call.source.manifest.name, target.manifest.name, f"{call.port}/TCP")
        for call in new.calls
        for target in call.targets
    }
    closed = {each for each in before - after if _is_of(each, pods)}
    reason = "NetworkPolicies no longer allow it"
    for some, risk, why in (
        (closed & used, Risk.STOPS, f"{reason}, although the pods use this connection"),
        (closed - used, Risk.CHANGES, reason),
    ):
        for sources, target, on in _grouped(some):
            message = f"{listed(sources)} may no longer connect to {target} on {', '.join(on)}"
            yield Effect(risk, message, why)


def _is_of(connection: Connection, pods: Iterable[str]) -> bool:
    """Return whether one of the pods is an end of a connection."""
    return connection[0] in pods or connection[1] in pods


def _pods(objects: Objects) -> dict[str, Party]:
    return {party.name: party for party in objects.parties.values()}


def _others(objects: Objects) -> Iterator[Party]:
    """Yield whom policies name in addition to the pods of their own namespace."""
    yield Party(_INTERNET)
    yield Party(_OTHERS, "")
    for policy in objects.policies:
        for rules in policy.rules.values():
            for _, peer in (each for rule in rules for each in rule.peers or ()):
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
                    pods = ", ".join(f"{key}={value}" for key, value in sorted(labels.items()))
                    title = f"pods {pods} in namespace {name}" if pods else f"namespace {name}"
                    yield Party(title, name, labels)


def _ports(side: Objects) -> Iterator[tuple[int, str]]:
    """Yield the ports of pods, and the ports that policies name by number."""
    for workload in side.makers:
        yield from ((port.number, port.protocol) for port in containers.ports(workload))
    for policy in side.policies:
        for rules in policy.rules.values():
            for _, port in (one for rule in rules for one in rule.ports or ()):
                if number := whole(port.get("port"), 0):
                    yield number, containers.protocol(port)


def _grouped(some: Iterable[Connection]) -> list[tuple[list[str], str, list[str]]]:
    """Return sources, target and ports of connections, with equal ones in one group."""
    ports: dict[tuple[str, str], list[str]] = {}
    # The internet comes first.
    for source, target, port in sorted(some, key=lambda each: (each[0] != _INTERNET, each)):
        ports.setdefault((source, target), []).append(port)
    alike: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for (source, target), on in ports.items():
        alike.setdefault((target, tuple(on)), []).append(source)
    return [(sources, target, list(on)) for (target, on), sources in alike.items()]


def permissions(context: Context) -> Iterator[Effect]:
    """Yield changed permissions: RBAC, service accounts, cloud roles, rights of containers."""
    for each in context.changed:
        kind, label = each.manifest.kind, each.manifest.label
        if kind in _RBAC:
            what = "changes" if each.is_modified else "is new" if each.new else "is removed"
            risk = Risk.OPENS if each.new else Risk.CHANGES
            message = f"{label} {what}: {_granted(each)}"
            reason = "RBAC decides what service accounts may do"
            yield Effect(risk, message, reason, "", (label,))
        for change in each.difference.changes:
            if reason := _permission(each.manifest, change):
                old, new = _text(change.old), _text(change.new)
                message = f"{label}: {difference.shown(change.path)} changes from {old} to {new}"
                yield Effect(Risk.OPENS, message, reason, "", (label,))


def _granted(each: ChangedObject) -> str:
    """Return the verbs and resources of a role, or the role of a binding."""
    rules = paths.get(each.manifest.object, ("rules",))
    rights = [
        " ".join(", ".join(map(str, rule.get(part) or ())) for part in ("verbs", "resources"))
        for _, rule in mappings(rules)
    ]
    if rights:
        return "; ".join(rights)
    return f"role {paths.get(each.manifest.object, ('roleRef', 'name'))}"


def _permission(manifest: Manifest, change: Change) -> str:
    """Return why a change is about permissions; empty if it is not."""
    path = change.path
    if manifest.kind == "ServiceAccount" and path[-1] == "eks.amazonaws.com/role-arn":
        return "pods with this account use this AWS role"
    if manifest.kind in ("SecretStore", "ExternalSecret") and path[:1] == ("spec",):
        return "this decides which secrets are read, and with which identity"
    if manifest.kind.lower() in PODS and any(part in _POD_SECURITY for part in path):
        return "this decides what the containers may do (Pod Security Standards)"
    if manifest.kind.lower() in PODS and path[-1] in _ACCOUNT:
        return "this decides with which account the pods call the API server"
    return ""


def _text(value: Any) -> str:
    return "unset" if value is None else difference.compact(value)


def exposure(context: Context) -> Iterator[Effect]:
    """Yield what becomes reachable, or unreachable, from the internet or the network around."""
    if not context.touches("Service", "Ingress"):
        return
    before, after = (dict(_exposed(side)) for side in (context.old, context.new))
    hosts = {where.partition("/")[0] for _, where in after}
    alike: dict[tuple[str, Audience | None, Audience | None], list[str]] = {}
    for label, what in dict.fromkeys((*before, *after)):
        # A rule reports a host that is removed as a whole.
        if label.startswith("Ingress/") and what.partition("/")[0] not in hosts:
            continue
        key = (label, before.get((label, what)), after.get((label, what)))
        alike.setdefault(key, []).append(what)
    for (label, old, new), served in alike.items():
        what, be = listed(_short(served)), verb(served, "is", "are")
        if old == new:
            continue
        risk = Risk.OPENS if new and not new.is_within(old) else Risk.CHANGES
        message = f"{what} {be} served {new}" if new else f"{what} {be} no longer served"
        if old and new:
            message += f" (before: {old})"
        reason = f"{label} {'exposes' if new else 'no longer exposes'} {verb(served, 'it', 'them')}"
        yield Effect(risk, message, reason, "", (label,))


def _short(served: Sequence[str]) -> list[str]:
    """Return host/path of each; without the host if it is the same as the one before."""
    host, names = "", []
    for name in served:
        is_same = bool(host) and name.startswith(f"{host}/")
        names.append(name.removeprefix(host) if is_same else name)
        host = name.partition("/")[0]
    return names


def _exposed(side: Objects) -> Iterator[tuple[tuple[str, str], Audience]]:
    """Yield (object, what it serves), and its audience."""
    for manifest in side.of_kind("Service"):
        kind = manifest.get("spec", "type")
        if kind not in _OPEN:
            continue
        ranges = manifest.get("spec", "loadBalancerSourceRanges")
        whom = _whom(manifest.annotations, ranges if isinstance(ranges, list) else [])
        if kind == "NodePort":
            whom = Audience("on a port of every node")
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
