"""Ownership: environments and components share no roles, Secrets, objects or hosts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from scripts.core import advice, paths
from scripts.core.findings import Severity
from scripts.kubernetes import services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings
from scripts.rules.delivery.owners import cluster_of, production_first
from scripts.rules.named_objects import ROLE, new_role, other_role
from scripts.rules.rule import Outcome, Problem, across, rule
from scripts.rules.snapshot import Objects, annotation

_IRSA = "https://docs.aws.amazon.com/eks/latest/userguide/iam-roles-for-service-accounts.html"

_Owned = tuple[str, Manifest, Where, str]
"""Name of a resource, the manifest and the path that use it, and what to write instead."""


def _shared(among: Sequence[Objects], of: Any, message: str) -> Iterator[tuple[Objects, Problem]]:
    """Yield resources that an earlier environment also uses, each once per environment."""
    owners = dict[str, Objects]()
    reported = set[tuple[str, str]]()
    for objects in sorted(among, key=production_first):
        for resource, manifest, path, fix in of(objects):
            owner = owners.setdefault(resource, objects)
            if owner is not objects and (objects.name, resource) not in reported:
                reported.add((objects.name, resource))
                text = message.format(resource, owner.name)
                yield objects, Problem(manifest, path, text, fix)


def _claims(owned: Iterable[_Owned]) -> Iterator[tuple[str, bool]]:
    return ((resource, True) for resource, *_ in owned)


_RESTORING = {"besu", "maru", "restore-drill", "sequencer"}


@rule(_IRSA, outcome=Outcome.RISK)
def shared_iam_role(objects: Objects) -> Iterator[Problem]:
    """Each component has its own IAM role; only those that restore a backup share one.

    Otherwise each component has the rights of the other: nodes with the role of the backup can
    delete every backup.
    """
    owners = dict[str, Manifest]()
    for role, manifest, path, _ in _roles(objects):
        owner = owners.setdefault(role, manifest)
        both = {owner.component, manifest.component}
        if owner.component != manifest.component and not both <= _RESTORING:
            message = (
                f"{manifest.label} has the IAM role of {owner.label}, and all of its rights: {role}"
            )
            yield Problem(manifest, path, message, other_role(manifest))


@across(_IRSA, lambda objects: _claims(_roles(objects)), outcome=Outcome.RISK)
def iam_role_shared_by_environments(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Each environment has its own IAM roles.

    Otherwise an attacker in one environment can use the backups and Secrets of the other.
    """
    message = "{1} also uses the IAM role {0}: each environment has the rights of the other"
    yield from _shared(among, _roles, message)


def _roles(objects: Objects) -> Iterator[tuple[str, Manifest, Where, str]]:
    for manifest in objects.of_kind("ServiceAccount"):
        path: Where = ("metadata", "annotations", ROLE)
        role = paths.get(manifest.object, path)
        if isinstance(role, str) and role:
            yield role, manifest, path, new_role(manifest, objects.name)
    for manifest in objects.of_kind("SecretStore"):
        path = ("spec", "provider", "aws", "role")
        role = paths.get(manifest.object, path)
        if isinstance(role, str) and role:
            yield role, manifest, path, new_role(manifest, objects.name)


@across("docs/backups.md", lambda objects: _places(objects))
def backup_location_shared_by_environments(
    among: Sequence[Objects],
) -> Iterator[tuple[Objects, Problem]]:
    """Each environment has its own bucket for backups, or its own prefix in a bucket.

    Otherwise each environment deletes the backups of the other as outdated, and a restore can use
    the chain of the other.
    """
    yield from _shared(
        among,
        _backup_locations,
        "{1} also writes its backups to {0}: each environment deletes the backups of the other",
    )
    yield from _nested(among)


def _nested(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Yield the places of backups that are inside of that of another environment, or around it."""
    before = list[tuple[str, str]]()
    for objects in sorted(among, key=production_first):
        own = {found[0]: found for found in reversed(list(_backup_locations(objects)))}
        for place, manifest, path, fix in own.values():
            for other, owner in before:
                if f"{place}/".startswith(f"{other}/") != f"{other}/".startswith(f"{place}/"):
                    names = {place: objects.name, other: owner}
                    outer, inner = sorted(names, key=len)
                    message = (
                        f"the backups of {names[inner]} in {inner} are inside the folder of"
                        f" {names[outer]}, {outer}: a role that may write there can delete both"
                    )
                    yield objects, Problem(manifest, path, message, fix)
        before += [(place, objects.name) for place in own]


def _places(objects: Objects) -> Iterator[tuple[str, bool]]:
    for place, *_ in _backup_locations(objects):
        yield place, True
        parts = place.split("/")
        yield from (("/".join(parts[:end]), False) for end in range(1, len(parts)))


def _backup_locations(objects: Objects) -> Iterator[_Owned]:
    for container in objects.containers:
        manifest = container.workload.manifest
        if manifest.kind == "CronJob":
            variables = {
                str(variable.get("name")): ((*path, "value"), variable.get("value"))
                for path, variable in container.variables()
            }
            bucket, prefix = variables.get("BUCKET"), variables.get("PREFIX")
            if bucket and prefix:
                _, endpoint = variables.get("RCLONE_CONFIG_S3_ENDPOINT", ((), "s3:/"))
                fix = advice.write_values("backup.storage.prefix", objects.name)
                place = f"{endpoint}/{bucket[1]}/{str(prefix[1]).strip('/')}"
                yield place, manifest, prefix[0], fix


@across(
    "https://external-secrets.io/latest/api/externalsecret/",
    lambda objects: _claims(_entries(objects)),
)
def secret_shared_by_environments(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Each entry of a secret store is read by only one environment.

    Otherwise two environments have the same key: a leak in one exposes the other, two validators
    sign conflicting blocks, and two senders of one account use the same nonces.
    """
    # One prefix decides on all entries of an environment, so it is reported once.
    more = dict[tuple[str, str], list[tuple[Objects, Problem]]]()
    message = "{1} also reads the entry {0}: a leak in one environment exposes both"
    for objects, problem in _shared(among, _entries, message):
        reference = paths.get(problem.manifest.object, ("spec", "secretStoreRef", "name"))
        more.setdefault((objects.name, str(reference)), []).append((objects, problem))
    for (objects, problem), *others in more.values():
        more_entries = f" ({len(others)} more entries are shared)" if others else ""
        yield objects, replace(problem, message=problem.message + more_entries)


def _entries(objects: Objects) -> Iterator[_Owned]:
    for manifest in objects.of_kind("ExternalSecret"):
        reference = paths.get(manifest.object, ("spec", "secretStoreRef"))
        reference = reference if isinstance(reference, dict) else {}
        store = objects.find("SecretStore", reference.get("name"))
        provider = store and paths.get(store.object, ("spec", "provider", "aws"))
        # Whether two stores of other providers are the same is unknown.
        if not isinstance(provider, dict):
            continue
        for index, entry in mappings(paths.get(manifest.object, ("spec", "data"))):
            remote = entry.get("remoteRef")
            if isinstance(remote, dict):
                entry_name = str(remote.get("key"))
                key = f"{entry_name} in {provider.get('region')}"
                path = ("spec", "data", index, "remoteRef", "key")
                # Environments with the same namespace differ by their names.
                is_default = entry_name.startswith(f"{objects.namespace}/")
                prefix = objects.name if is_default else objects.namespace
                fix = (
                    advice.write_values("secrets.external.prefix", prefix)
                    + f", and create entries below {prefix}/"
                )
                yield key, manifest, path, fix


@across(
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/",
    lambda objects: _namespaces(objects),
)
def object_in_foreign_namespace(
    among: Sequence[Objects],
) -> Iterator[tuple[Objects, Problem]]:
    """No environment has objects in the namespace of another on the same cluster.

    Otherwise a change of one environment affects the other: a NetworkPolicy opens its pods, or a
    Service receives its connections.
    """
    owners = {(cluster_of(objects), objects.namespace): objects for objects in among}
    for objects in among:
        cluster = cluster_of(objects)
        for manifest in objects.manifests:
            owner = owners.get((cluster, manifest.namespace))
            if owner is None or owner is objects or manifest.namespace == objects.namespace:
                continue
            # object-in-two-applications reports an object that both environments have.
            if manifest.identity not in {other.identity for other in owner.of_kind(manifest.kind)}:
                message = (
                    f"{manifest.label} is in {manifest.namespace}, the namespace of {owner.name}:"
                    f" syncs of {objects.name} change {owner.name}"
                )
                fix = advice.write("metadata.namespace", objects.namespace)
                yield objects, Problem(manifest, ("metadata", "namespace"), message, fix)


def _namespaces(objects: Objects) -> Iterator[tuple[str, bool]]:
    cluster = cluster_of(objects)
    yield f"{cluster} {objects.namespace}", True
    for namespace in {manifest.namespace for manifest in objects.manifests}:
        if namespace != objects.namespace:
            yield f"{cluster} {namespace}", False


@across(
    "https://argo-cd.readthedocs.io/en/stable/user-guide/sync-options/"
    "#fail-the-sync-if-a-shared-resource-is-found",
    lambda objects: _foreign(objects),
)
def object_in_two_applications(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Each object belongs to only one Application.

    Otherwise the second sync fails. Without FailOnSharedResource=true, the two Applications
    overwrite the changes of each other.
    """
    owners = dict[tuple[object, ...], Objects]()
    for objects in sorted(among, key=production_first):
        cluster = cluster_of(objects)
        for manifest in objects.manifests:
            owner = owners.setdefault((cluster, *manifest.identity), objects)
            # If two environments share a namespace, environment.yaml gets that finding.
            if owner is not objects and manifest.namespace != objects.namespace:
                message = (
                    f"{owner.name} also has {manifest.label} in the namespace {manifest.namespace}:"
                    " the sync of one of the two fails"
                )
                fix = advice.write("metadata.namespace", objects.namespace)
                yield objects, Problem(manifest, ("metadata", "namespace"), message, fix)


def _foreign(objects: Objects) -> Iterator[tuple[str, bool]]:
    """Yield the objects elsewhere; a namespace that two environments have is claimed above."""
    for manifest in objects.manifests:
        if manifest.namespace != objects.namespace:
            yield f"{cluster_of(objects)} {manifest.identity}", True


@across(
    "https://kubernetes.io/docs/concepts/services-networking/ingress/#the-ingress-resource",
    lambda objects: _hosts(objects),
)
def duplicate_ingress_host(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """Each host and path of a cluster belongs to only one Ingress.

    Otherwise the controller chooses one of them: users of the JSON-RPC of prod may reach the chain
    of dev, and sign transactions for it.
    """
    hosts = dict[tuple[object, ...], Objects]()
    for objects in sorted(among, key=production_first):
        cluster = cluster_of(objects)
        known = dict[tuple[object, ...], Manifest]()
        for manifest in objects.of_kind("Ingress"):
            for path, entry in services.rules(manifest):
                host = str(entry.get("host", ""))
                owner = hosts.setdefault((cluster, host), objects)
                backends = mappings(paths.get(entry, ("http", "paths")))
                # Exact takes all requests of its path, even if another Ingress has it as Prefix.
                keys = [(host, str(p.get("path"))) for _, p in backends]
                others = {key: known.setdefault(key, manifest) for key in keys}
                other = next((each for each in others.items() if each[1] is not manifest), None)
                what = f"the host {host}" if host else "a rule for all hosts"
                if owner is not objects:
                    message = f"{owner.name} also has {what}: requests reach one of the two"
                elif other:
                    (_, same), ingress = other
                    message = f"{ingress.label} also has {what} with the path {same}: requests"
                    message += " reach one of the two"
                if owner is not objects or other:
                    fix = "write a host that no other Ingress has"
                    yield objects, Problem(manifest, (*path, "host"), message, fix)


def _hosts(objects: Objects) -> Iterator[tuple[str, bool]]:
    for manifest in objects.of_kind("Ingress"):
        for _, entry in services.rules(manifest):
            yield f"{cluster_of(objects)} {entry.get('host', '')}", True


_GROUP = "alb.ingress.kubernetes.io/group.name"


@across("docs/eks.md", lambda objects: _groups(objects), Severity.WARNING)
def load_balancer_shared_by_environments(
    among: Sequence[Objects],
) -> Iterator[tuple[Objects, Problem]]:
    """Each environment has its own load balancers for its Ingresses.

    Otherwise anyone who can change one environment can take over hosts of the other, and
    conflicting settings block updates of the load balancer for both.
    """
    owners = dict[tuple[object, ...], Objects]()
    for objects in sorted(among, key=production_first):
        cluster = cluster_of(objects)
        is_reported = False
        for manifest in objects.of_kind("Ingress"):
            group = str(manifest.annotations.get(_GROUP) or "")
            owner = owners.setdefault((cluster, group), objects) if group else objects
            if owner is not objects and not is_reported:
                is_reported = True
                message = (
                    f"{owner.name} also uses the load balancer {group}: each environment can take"
                    " over hosts of the other"
                )
                fix = advice.write(_GROUP, objects.namespace)
                yield objects, Problem(manifest, annotation(_GROUP), message, fix)


def _groups(objects: Objects) -> Iterator[tuple[str, bool]]:
    for manifest in objects.of_kind("Ingress"):
        if group := manifest.annotations.get(_GROUP):
            yield f"{cluster_of(objects)} {group}", True
