"""Ownership: what is one environment's, or one component's, is no other's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings
from scripts.rules.pod_templates import pods
from scripts.rules.rule import Problem, across, rule
from scripts.rules.snapshot import Objects, annotation, spec_of

_ROLE = "eks.amazonaws.com/role-arn"
_IRSA = "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html"

_Owned = tuple[str, Manifest, Where, str]
"""What an environment has, the manifest and the path that say so, and what to write instead."""


def _by_weight(objects: Objects) -> tuple[bool, str]:
    """Return how to sort environments so that the one to change comes last."""
    return not objects.is_production, objects.name


def _shared(among: Sequence[Objects], of: Any, message: str) -> Iterator[tuple[Objects, Problem]]:
    """Yield what one environment has and another before it has, too; of one thing, one place."""
    owners = dict[str, Objects]()
    told = set[tuple[str, str]]()
    for objects in sorted(among, key=_by_weight):
        for what, manifest, path, fix in of(objects):
            owner = owners.setdefault(what, objects)
            if owner is not objects and (objects.name, what) not in told:
                told.add((objects.name, what))
                text = message.format(what, owner.name)
                yield objects, Problem(manifest, path, text, fix)


_RESTORING = {"besu", "maru", "restore-drill", "sequencer"}


@rule(_IRSA)
def role_of_another(objects: Objects) -> Iterator[Problem]:
    """An IAM role is one component's; only what restores backups has one together.

    Else one has what the other may: nodes that have the role of backups can delete every backup.
    """
    owners = dict[str, Manifest]()
    for role, manifest, path, _ in _roles(objects):
        owner = owners.setdefault(role, manifest)
        both = {owner.component, manifest.component}
        if owner.component != manifest.component and not both <= _RESTORING:
            message = f"{manifest.label} has the IAM role of {owner.label}: {role}"
            fix = f"make a role that allows what {manifest.component or manifest.name} needs"
            yield Problem(manifest, path, message, fix)


@across(_IRSA)
def role_of_two_environments(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """An IAM role belongs to one environment.

    Else what breaks into one environment has the backups and the Secrets of the other.
    """
    yield from _shared(among, _roles, "the IAM role {} is {}'s, too: each has what the other has")


def _roles(objects: Objects) -> Iterator[tuple[str, Manifest, Where, str]]:
    for manifest in objects.of_kind("ServiceAccount"):
        path: Where = ("metadata", "annotations", _ROLE)
        role = paths.get(manifest.object, path)
        if isinstance(role, str) and role:
            yield role, manifest, path, f"make a role for {objects.name}, and write its ARN"
    for manifest in objects.of_kind("SecretStore"):
        path = ("spec", "provider", "aws", "role")
        role = paths.get(manifest.object, path)
        if isinstance(role, str) and role:
            yield role, manifest, path, f"make a role for {objects.name}, and write its ARN"


@across("docs/backups.md")
def backups_in_one_place(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Environments keep their backups apart: each has a bucket, or a prefix in it, of its own.

    Else each deletes the other's as outdated, and restores what the other's chain has been.
    """
    yield from _shared(
        among,
        _places_of_backups,
        "backups go to {}, and those of {} do, too: each deletes the other's as outdated",
    )


def _places_of_backups(objects: Objects) -> Iterator[_Owned]:
    for pod in pods(objects):
        if pod.manifest.kind != "CronJob":
            continue
        for path, container in pod.containers():
            said = {
                str(one.get("name")): (("env", index, "value"), one.get("value"))
                for index, one in mappings(container.get("env"))
            }
            bucket, prefix = said.get("BUCKET"), said.get("PREFIX")
            if bucket and prefix:
                _, endpoint = said.get("RCLONE_CONFIG_S3_ENDPOINT", ((), "s3:/"))
                place = (*pod.path, *path, *prefix[0])
                fix = f"write another bucket, or the prefix {objects.namespace}"
                yield f"{endpoint}/{bucket[1]}/{prefix[1]}", pod.manifest, place, fix


@across("https://external-secrets.io/latest/api/externalsecret/")
def secret_of_two_environments(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """An entry of a store of secrets is read by one environment only.

    Else two environments have one key: who has the one's has the other's, two validators with one
    key sign two chains, and two senders of one account take each other's nonces.
    """
    # One prefix decides all entries of an environment: it is told once.
    more = dict[tuple[str, str], list[tuple[Objects, Problem]]]()
    message = "the entry {} is read by {}, too: both have one key, and who gets it has both"
    for objects, problem in _shared(among, _entries, message):
        reference = paths.get(problem.manifest.object, ("spec", "secretStoreRef", "name"))
        more.setdefault((objects.name, str(reference)), []).append((objects, problem))
    for (objects, problem), *others in more.values():
        also = f"; so are {len(others)} more" if others else ""
        yield objects, replace(problem, message=problem.message + also)


def _entries(objects: Objects) -> Iterator[_Owned]:
    for manifest in objects.of_kind("ExternalSecret"):
        reference = paths.get(manifest.object, ("spec", "secretStoreRef"))
        reference = reference if isinstance(reference, dict) else {}
        store = objects.find("SecretStore", reference.get("name"))
        provider = store and paths.get(store.object, ("spec", "provider", "aws"))
        # Of other stores, nobody here knows which two are one.
        if not isinstance(provider, dict):
            continue
        for index, one in mappings(paths.get(manifest.object, ("spec", "data"))):
            remote = one.get("remoteRef")
            if isinstance(remote, dict):
                key = f"{remote.get('key')} in {provider.get('region')}"
                path = ("spec", "data", index, "remoteRef", "key")
                fix = f"write an entry of its own, like {objects.namespace}/{manifest.name}"
                yield key, manifest, path, fix


@across("https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/")
def object_in_namespace_of_another(
    among: Sequence[Objects],
) -> Iterator[tuple[Objects, Problem]]:
    """No environment has an object in the namespace of another on the same cluster.

    Else a change of one environment changes the other: a NetworkPolicy opens its pods, a Service
    takes its connections.
    """
    owners = {(_cluster(objects), objects.namespace): objects for objects in among}
    for objects in among:
        cluster = _cluster(objects)
        for manifest in objects.manifests:
            owner = owners.get((cluster, manifest.namespace))
            if owner is None or owner is objects or manifest.namespace == objects.namespace:
                continue
            # That both have the object is object-of-two-applications.
            if manifest.identity not in {one.identity for one in owner.of_kind(manifest.kind)}:
                message = (
                    f"{manifest.label} is in {manifest.namespace}, the namespace of {owner.name}: "
                    f"{objects.name} would change {owner.name}"
                )
                fix = f"write {objects.namespace}, or nothing, which is the same"
                yield objects, Problem(manifest, ("metadata", "namespace"), message, fix)


def _cluster(objects: Objects) -> str:
    destination = paths.get(objects.application.object, ("spec", "destination"))
    found = destination if isinstance(destination, dict) else {}
    if found.get("name") == "in-cluster":
        return "https://kubernetes.default.svc"
    return str(found.get("name") or found.get("server") or "").rstrip("/").lower()


@across(
    "https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/"
    "#fail-the-sync-if-a-shared-resource-is-found"
)
def object_of_two_applications(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """An object belongs to one Application.

    Else the sync of the second fails; without that guard, each undoes what the other does.
    """
    owners = dict[tuple[object, ...], Objects]()
    for objects in sorted(among, key=_by_weight):
        cluster = _cluster(objects)
        for manifest in objects.manifests:
            owner = owners.setdefault((cluster, *manifest.identity), objects)
            # A whole namespace that two have is told where it is chosen.
            if owner is not objects and manifest.namespace != objects.namespace:
                message = (
                    f"{manifest.label} in {manifest.namespace} is {owner.name}'s, too: the sync of "
                    "one of the two fails"
                )
                fix = f"give it the namespace {objects.namespace}, or another name"
                yield objects, Problem(manifest, ("metadata", "namespace"), message, fix)


@across("https://kubernetes.io/docs/concepts/services-networking/ingress/#the-ingress-resource")
def host_of_two_ingresses(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """A host and path lead to one place on a cluster.

    Else the controller takes one of the two, and which one changes: users of prod's JSON-RPC are
    on dev's chain, and sign for it.
    """
    hosts = dict[tuple[object, ...], Objects]()
    for objects in sorted(among, key=_by_weight):
        cluster = _cluster(objects)
        known = dict[tuple[object, ...], Manifest]()
        for manifest in objects.of_kind("Ingress"):
            for index, one in mappings(spec_of(manifest, "rules")):
                host = str(one.get("host", ""))
                owner = hosts.setdefault((cluster, host), objects)
                found = mappings(paths.get(one, ("http", "paths")))
                # Of two types for one path, Exact has all of its requests.
                keys = [(host, str(p.get("path"))) for _, p in found]
                others = [known.setdefault(key, manifest) for key in keys]
                other = next((m.label for m in others if m is not manifest), "")
                if owner is not objects or other:
                    whose = other if owner is objects else owner.name
                    message = f"{whose} has the host {host or '(every one)'}, too"
                    fix = "write a host that nothing else has"
                    place = ("spec", "rules", index, "host")
                    yield objects, Problem(manifest, place, message, fix)


_GROUP = "alb.ingress.kubernetes.io/group.name"


@across("docs/eks.md", Severity.WARNING)
def load_balancer_of_two_environments(
    among: Sequence[Objects],
) -> Iterator[tuple[Objects, Problem]]:
    """An environment's Ingresses have a load balancer of their own.

    Else who may change one environment can take the other's hosts, and a setting that the two don't
    agree on stops the load balancer's changes for both.
    """
    owners = dict[tuple[object, ...], Objects]()
    for objects in sorted(among, key=_by_weight):
        cluster = _cluster(objects)
        told = False
        for manifest in objects.of_kind("Ingress"):
            group = str(manifest.annotations.get(_GROUP) or "")
            owner = owners.setdefault((cluster, group), objects) if group else objects
            if owner is not objects and not told:
                told = True
                message = f"the load balancer {group} is {owner.name}'s, too"
                fix = f"write {objects.namespace}, or leave the name to the chart"
                yield objects, Problem(manifest, annotation(_GROUP), message, fix)
