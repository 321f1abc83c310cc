"""Shared names: what exists only once on a cluster, in an account or in DNS has one owner."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from scripts.core import advice
from scripts.kubernetes import services
from scripts.kubernetes.annotation_table import ALB, NLB, string_list
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings
from scripts.rules.alb import balancers
from scripts.rules.delivery.owners import cluster_of, production_first
from scripts.rules.rule import Problem, across
from scripts.rules.snapshot import Objects, annotation

_ALB_NAME, _NLB_NAME = f"{ALB}load-balancer-name", f"{NLB}aws-load-balancer-name"
_ADDRESSES = (
    f"{ALB}frontend-nlb-eip-allocations",
    f"{NLB}aws-load-balancer-eip-allocations",
    f"{NLB}aws-load-balancer-private-ipv4-addresses",
)
_DNS = ("external-dns.alpha.kubernetes.io/", "external-dns.kubernetes.io/")


@dataclass(frozen=True, slots=True)
class _Use:
    """A name that something of an environment has."""

    name: str
    owner: str
    """What has it: the load balancer or the object."""
    manifest: Manifest
    path: Where


def _second_uses(
    among: Sequence[Objects], uses: Sequence[tuple[Objects, _Use]]
) -> Iterator[tuple[Objects, _Use, Objects, _Use]]:
    """Yield each use of a name that something else has, with the first use."""
    first = dict[str, tuple[Objects, _Use]]()
    reported = set[tuple[str, str, str]]()
    by_rank = sorted(among, key=production_first)
    for objects, use in sorted(uses, key=lambda each: by_rank.index(each[0])):
        owner, other = first.setdefault(use.name, (objects, use))
        key = (objects.name, use.name, use.owner)
        if (owner.name, other.owner) != (objects.name, use.owner) and key not in reported:
            reported.add(key)
            yield objects, use, owner, other


def _claims(uses: Iterable[_Use]) -> Iterator[tuple[str, bool]]:
    return ((use.name, True) for use in uses)


def _by(objects: Objects, owner: Objects, other: _Use) -> str:
    """Return the first owner in words."""
    return other.owner if owner is objects else f"{other.owner} in {owner.name}"


@across(
    "https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_CreateLoadBalancer.html",
    lambda objects: _claims(_of_balancers(objects)),
)
def duplicate_load_balancer_name(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Each load balancer has its own name and its own fixed addresses.

    Otherwise the second load balancer is never created, or replaces the first one: AWS allows a
    name once in an account and region, and an Elastic IP address at one place.
    """
    uses = [(objects, use) for objects in among for use in _of_balancers(objects)]
    for objects, use, owner, other in _second_uses(among, uses):
        what = "name" if use.path[-1] in (_ALB_NAME, _NLB_NAME) else "address"
        message = (
            f"the load balancer of {use.owner} has the {what} {use.name}, as that of"
            f" {_by(objects, owner, other)}: AWS creates only one of the two"
        )
        fix: str = advice.remove(f"{use.path[-1]}: the controller then chooses a name of its own")
        if what == "address":
            fix = f"write another address in {use.path[-1]}"
        yield objects, Problem(use.manifest, use.path, message, fix, use.name)


def _of_balancers(objects: Objects) -> Iterator[_Use]:
    for balancer in balancers(objects):
        owner = f"the group {balancer.group}" if balancer.group else balancer.ingresses[0].label
        for ingress in balancer.ingresses:
            yield from _uses(ingress, owner, (_ALB_NAME, *_ADDRESSES))
    for service in objects.of_kind("Service"):
        if service.get("spec", "type") == "LoadBalancer":
            yield from _uses(service, service.label, (_NLB_NAME, *_ADDRESSES))


def _uses(manifest: Manifest, owner: str, keys: Sequence[str]) -> Iterator[_Use]:
    for key in keys:
        for name in string_list(str(manifest.annotations.get(key) or "")):
            yield _Use(name, owner, manifest, annotation(key))


@across(
    "https://kubernetes-sigs.github.io/external-dns/latest/docs/annotations/annotations/",
    lambda objects: _claims(_of_dns(objects)),
)
def duplicate_dns_name(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Each DNS name belongs to one Ingress or Service.

    Otherwise external-dns sends clients of one environment to the other, or writes the record to
    and fro. Names with a set-identifier may have several owners, for example weights.
    """
    uses = [(objects, use) for objects in among for use in _of_dns(objects)]
    for objects, use, owner, other in _second_uses(among, uses):
        # duplicate-ingress-host reports two hosts.
        if use.path[0] == other.path[0] == "spec":
            continue
        message = (
            f"{use.owner} has the DNS name {use.name}, as {_by(objects, owner, other)}: clients"
            " reach one of the two"
        )
        fix = f"write another DNS name in {use.path[-1]}; if {use.owner} needs none, remove it"
        if use.path[0] == "spec":
            fix = f"write another host; if {use.owner} is the right one, remove {other.path[-1]} of"
            fix += f" {_by(objects, owner, other)}"
        yield objects, Problem(use.manifest, use.path, message, fix, use.name)


def _of_dns(objects: Objects) -> Iterator[_Use]:
    for manifest in objects.of_kind("Ingress", "Service"):
        notes = manifest.annotations
        if any(f"{prefix}set-identifier" in notes for prefix in _DNS):
            continue
        for path, entry in services.rules(manifest) if manifest.kind == "Ingress" else ():
            if host := str(entry.get("host") or ""):
                yield _Use(host.lower(), manifest.label, manifest, (*path, "host"))
        for prefix in _DNS:
            for name in ("hostname", "internal-hostname"):
                key = f"{prefix}{name}"
                for host in string_list(str(notes.get(key) or "")):
                    bare = host.lower().rstrip(".")
                    yield _Use(bare, manifest.label, manifest, annotation(key))


@across(
    "https://kubernetes.io/docs/concepts/services-networking/service/#nodeport-custom-port",
    lambda objects: _claims(_of_node_ports(objects)),
)
def duplicate_node_port(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Each node port of a cluster belongs to one Service.

    Otherwise the API server rejects the second Service, and the sync fails.
    """
    uses = [(objects, use) for objects in among for use in _of_node_ports(objects)]
    for objects, use, owner, other in _second_uses(among, uses):
        port = use.name.rpartition(" ")[2]
        message = (
            f"{use.owner} has the node port {port}, as {_by(objects, owner, other)}: the API server"
            " rejects one of the two"
        )
        fix = "remove nodePort: Kubernetes then chooses a free port; if clients need a fixed one,"
        fix += " write another number"
        yield objects, Problem(use.manifest, use.path, message, fix, port)


def _of_node_ports(objects: Objects) -> Iterator[_Use]:
    cluster = cluster_of(objects)
    for service in objects.of_kind("Service"):
        for index, port in mappings(service.get("spec", "ports")):
            if number := port.get("nodePort"):
                name = f"{cluster} {port.get('protocol') or 'TCP'} {number}"
                place: Where = ("spec", "ports", index, "nodePort")
                yield _Use(name, service.label, service, place)
