"""Argo CD: the AppProject allows what the environment needs, and the Application syncs it."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from scripts.core import advice, paths
from scripts.core.fixes import Fix
from scripts.environments import layout
from scripts.kubernetes import autoscalers, sync
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation, nearest, spec_of

_DOCS = "https://argo-cd.readthedocs.io/en/stable"
_PROJECTS = f"{_DOCS}/operator-manual/project-specification/"
_SYNC_OPTIONS = f"{_DOCS}/user-guide/sync-options/"
_DIFFING = f"{_DOCS}/user-guide/diffing/"
_AUTOMATED = f"{_DOCS}/user-guide/auto_sync/"


# The project


def _allows(manifest: Manifest, field: str, wanted: dict[str, str]) -> bool:
    """Return whether an entry of a list of the project matches, with wildcards as in Argo CD."""
    return any(
        all(
            key not in entry or fnmatchcase(value, str(entry[key])) for key, value in wanted.items()
        )
        for _, entry in mappings(spec_of(manifest, field))
    )


@rule(_PROJECTS)
def project_forbids_kind(objects: Objects) -> Iterator[Problem]:
    """The AppProject allows every kind of the environment.

    Otherwise the whole sync fails, and nothing of the commit is applied.
    """
    reported = set[tuple[str, str]]()
    for manifest in objects.manifests:
        kind = manifest.group, manifest.kind
        wanted = {"group": manifest.group, "kind": manifest.kind}
        allowed = _allows(objects.project, "namespaceResourceWhitelist", wanted)
        if kind not in reported and not allowed:
            reported.add(kind)
            message = (
                f"{objects.project.label} does not allow the kind {manifest.kind}, which"
                f" {manifest.label} has: the sync fails"
            )
            fix = advice.add_item(wanted, "namespaceResourceWhitelist")
            path = ("spec", "namespaceResourceWhitelist")
            yield Problem(objects.project, path, message, fix)


@rule(_PROJECTS)
def project_forbids_namespace(objects: Objects) -> Iterator[Problem]:
    """The AppProject allows every namespace of the environment, on its cluster.

    Otherwise the whole sync fails, and nothing of the commit is applied.
    """
    cluster = _cluster(objects)
    reported = set[str]()
    for namespace, label in (
        (objects.namespace, objects.application.label),
        *((manifest.namespace, manifest.label) for manifest in objects.manifests),
    ):
        allowed = _allows(objects.project, "destinations", {"namespace": namespace, **cluster})
        if namespace and namespace not in reported and not allowed:
            reported.add(namespace)
            message = (
                f"{objects.project.label} does not allow the namespace {namespace} of {label} on"
                f" {next(iter(cluster.values()), 'its cluster')}: the sync fails"
            )
            fix = advice.add_item(_destination(cluster, namespace), "destinations")
            yield Problem(objects.project, ("spec", "destinations"), message, fix)


def _destination(cluster: dict[str, str], namespace: str) -> dict[str, str]:
    """Return the destination that allows a namespace of a cluster."""
    return {**cluster, "namespace": namespace}


def _cluster(objects: Objects) -> dict[str, str]:
    """Return server or name of the cluster of the Application."""
    destination = spec_of(objects.application, "destination")
    destination = destination if isinstance(destination, dict) else {}
    return {key: str(destination[key]) for key in ("server", "name") if key in destination}


@rule(_PROJECTS)
def project_forbids_repository(objects: Objects) -> Iterator[Problem]:
    """The AppProject allows the repository of the Application.

    Otherwise Argo CD does not read the repository, and no merge reaches the cluster.
    """
    url = str(spec_of(objects.application, "source", "repoURL"))
    allowed = spec_of(objects.project, "sourceRepos")
    listed = [str(pattern) for pattern in allowed] if isinstance(allowed, list) else []
    if not any(fnmatchcase(_plain(url), _plain(pattern)) for pattern in listed):
        message = (
            f"{objects.project.label} does not allow {url}, the repository of"
            f" {objects.application.label}: no merge is synced"
        )
        fix = advice.write("sourceRepos", [url])
        yield Problem(objects.project, ("spec", "sourceRepos"), message, fix)


def _plain(url: str) -> str:
    return url.lower().rstrip("/").removesuffix(".git")


@rule(_PROJECTS, outcome=Outcome.RISK)
def project_allows_everything(objects: Objects) -> Iterator[Problem]:
    """The AppProject lists its repositories, clusters, namespaces and kinds without wildcards.

    Otherwise another repository, or an Application of another team in this project, can change
    objects that no one meant to allow.
    """
    url = spec_of(objects.application, "source", "repoURL")
    destination = _destination(_cluster(objects), objects.namespace)
    right = {
        "sourceRepos": advice.write("sourceRepos", [url]),
        "destinations": advice.write("destinations", [destination]),
        "namespaceResourceWhitelist": "write an entry for each kind that the environment has, such"
        " as {group: apps, kind: StatefulSet}",
    }
    for field, fix in right.items():
        listed = spec_of(objects.project, field)
        for index, entry in enumerate(listed if isinstance(listed, list) else ()):
            for key, value in entry.items() if isinstance(entry, dict) else (("", entry),):
                if isinstance(value, str) and "*" in value:
                    path = ("spec", field, index, *([key] if key else []))
                    message = (
                        f"{field} of {objects.project.label} has the wildcard"
                        f" {f'{key}: ' if key else ''}{value!r}, which allows more than the"
                        " environment needs"
                    )
                    yield Problem(objects.project, path, message, fix)


@rule(_PROJECTS, outcome=Outcome.RISK)
def project_allows_foreign_namespace(objects: Objects) -> Iterator[Problem]:
    """The only cluster-scoped object that the AppProject allows is its own Namespace.

    Otherwise a commit could change the cluster for other environments. If its own Namespace is not
    allowed, Argo CD cannot create or label it.
    """
    allowed = list(mappings(spec_of(objects.project, "clusterResourceWhitelist")))
    own = {"group": "", "kind": "Namespace", "name": objects.namespace}
    for index, entry in allowed:
        if {key: entry.get(key, "") for key in own} != own:
            kind, name = entry.get("kind"), entry.get("name")
            scope = f"{kind}/{name}" if name else f"every {kind}"
            message = (
                f"{objects.project.label} allows {scope}: a commit could change the cluster for"
                " other environments"
            )
            fix = advice.write("clusterResourceWhitelist", [own])
            yield Problem(
                objects.project, ("spec", "clusterResourceWhitelist", index), message, fix
            )
    if not any(entry.get("kind") in ("Namespace", "*") for _, entry in allowed):
        message = (
            f"{objects.project.label} does not allow Namespace/{objects.namespace}, which Argo CD"
            " creates: the sync fails"
        )
        fix = advice.add_item(own, "clusterResourceWhitelist")
        yield Problem(objects.project, ("spec", "clusterResourceWhitelist"), message, fix)


# The application


@rule(_DOCS + "/operator-manual/declarative-setup/")
def application_of_another_environment(objects: Objects) -> Iterator[Problem]:
    """The Application has the project, manifests and namespace of its environment.

    Otherwise Argo CD applies the manifests of another environment, with its keys and sizes, or
    objects that are not in the reviewed manifests.
    """
    application = objects.application
    wanted = {
        ("project",): (objects.project.name, "the limits of another AppProject apply"),
        ("source", "path"): (
            layout.manifests_folder(objects.name),
            f"Argo CD does not apply the manifests of {objects.name}",
        ),
        ("destination", "namespace"): (
            objects.namespace,
            f"Argo CD applies {objects.name} to another namespace",
        ),
    }
    for path, (right, effect) in wanted.items():
        found = spec_of(application, *path)
        if found != right:
            field = ".".join(path)
            message = f"{field} of {application.label} is {found}, not {right}: {effect}"
            yield Problem(application, ("spec", *path), message, advice.write(field, right))
    if len(cluster := _cluster(objects)) != 1:
        message = (
            f"{application.label} has {'both' if cluster else 'neither'} destination.server"
            f" {'and' if cluster else 'nor'} destination.name: Argo CD does not sync it"
        )
        fix: str = advice.write("destination.server", "https://kubernetes.default.svc")
        if name := "destination.name" if cluster else "":
            fix = advice.remove(name, name) + ": destination.server is enough"
        yield Problem(application, ("spec", "destination"), message, fix)
    for tool in ("helm", "kustomize", "plugin", "directory"):
        if spec_of(application, "source", tool):
            message = f"with source.{tool}, Argo CD applies other objects than the reviewed ones"
            words = f"source.{tool}: {layout.manifests_folder(objects.name)} needs no tool"
            yield Problem(application, ("spec", "source", tool), message, advice.remove(words))


@rule(f"{_DOCS}/operator-manual/declarative-setup/#quick-reference")
def application_outside_argocd_namespace(objects: Objects) -> Iterator[Problem]:
    """The AppProject and the Application are in the namespace of Argo CD.

    Otherwise Argo CD does not read them, and nothing of the environment is applied.
    """
    for manifest in (objects.project, objects.application):
        if manifest.namespace != sync.NAMESPACE:
            message = (
                f"{manifest.label} is in the namespace {manifest.namespace}: Argo CD ignores it"
                " there"
            )
            path = ("metadata", "namespace")
            fix = advice.write("metadata.namespace", sync.NAMESPACE)
            yield Problem(manifest, path, message, fix)


_NEEDED = {
    "CreateNamespace": "the namespace is not created, and the sync fails",
    "ServerSideApply": "a sync overwrites fields of controllers, and fails for ConfigMaps that do"
    " not fit into the last-applied annotation",
    "PruneLast": "a sync deletes old objects before the new ones are healthy",
    "FailOnSharedResource": "two Applications can overwrite the same object without an error",
}
"""Sync option → what happens without it."""


@rule(_SYNC_OPTIONS)
def missing_sync_option(objects: Objects) -> Iterator[Problem]:
    """The Application has the sync options that the stack relies on.

    Otherwise a sync fails, overwrites fields of controllers, or deletes objects too early.
    """
    options = sync.options(spec_of(objects.application, "syncPolicy", "syncOptions"))
    for option, effect in _NEEDED.items():
        if options.get(option) != "true":
            message = f"without {option}=true, {effect}"
            path = ("spec", "syncPolicy", "syncOptions")
            fix = advice.add_item(f"{option}=true", "syncPolicy.syncOptions")
            yield Problem(objects.application, path, message, fix)


_SKIP = "argocd.argoproj.io/skip-reconcile"


@rule(f"{_DOCS}/user-guide/skip_reconcile/")
def application_reconciliation_skipped(objects: Objects) -> Iterator[Problem]:
    """Argo CD reconciles the Application.

    Otherwise no merge reaches the cluster, and Argo CD reports no error.
    """
    if str(objects.application.annotations.get(_SKIP)).lower() == "true":
        message = (
            f"with the annotation {_SKIP}, Argo CD does not sync {objects.name}: no merge reaches"
            " the cluster"
        )
        fix = advice.remove("the annotation")
        yield Problem(objects.application, annotation(_SKIP), message, fix)


_FINALIZER = "resources-finalizer.argocd.argoproj.io"


@rule(f"{_DOCS}/user-guide/app_deletion/", outcome=Outcome.RISK)
def missing_application_finalizer(objects: Objects) -> Iterator[Problem]:
    """The Application has the finalizer of Argo CD.

    Otherwise deleting the Application leaves all of its objects on the cluster, where no one
    maintains them.
    """
    listed = objects.application.metadata.get("finalizers")
    names = [str(one) for one in listed] if isinstance(listed, list) else []
    if not any(name.partition("/")[0] == _FINALIZER for name in names):
        message = (
            f"without a finalizer, deleting {objects.application.label} leaves its objects on the"
            " cluster"
        )
        fix = advice.add_item(f"{_FINALIZER}/background", "metadata.finalizers")
        yield Problem(objects.application, ("metadata", "finalizers"), message, fix)


@rule(_AUTOMATED, outcome=Outcome.RISK)
def allow_empty_sync(objects: Objects) -> Iterator[Problem]:
    """A sync cannot delete all objects of the environment.

    Otherwise a renamed folder or a failed rendering deletes the whole chain.
    """
    if spec_of(objects.application, "syncPolicy", "automated", "allowEmpty"):
        message = (
            "with syncPolicy.automated.allowEmpty, a commit without manifests deletes all objects"
            f" of {objects.name}"
        )
        path = ("spec", "syncPolicy", "automated", "allowEmpty")
        yield Problem(objects.application, path, message, advice.remove("allowEmpty"))


@rule(_AUTOMATED)
def limited_sync_retries(objects: Objects) -> Iterator[Problem]:
    """Argo CD retries a failed sync without a limit, each time with the newest commit.

    Otherwise it gives up after some retries: if a store or a node is down for an hour, the sync
    stays failed until someone starts it by hand.
    """
    policy = ("spec", "syncPolicy")
    automated = spec_of(objects.application, "syncPolicy", "automated")
    retry = spec_of(objects.application, "syncPolicy", "retry")
    limit = retry.get("limit") if isinstance(retry, dict) else None
    if isinstance(automated, dict) and limit != -1:
        times = limit if isinstance(limit, int) else "five"
        message = f"after {times} retries, Argo CD gives up on a failed sync"
        fix: str = advice.write("syncPolicy.retry.limit", -1) + ", which means no limit"
        if not paths.get(retry, ["refresh"]):
            both = advice.write_all(
                {"syncPolicy.retry.limit": -1, "syncPolicy.retry.refresh": True}
            )
            fix = Fix("write limit: -1 and refresh: true in syncPolicy.retry", both.changes)
        yield Problem(objects.application, (*policy, "retry", "limit"), message, fix)
    elif isinstance(automated, dict) and not paths.get(retry, ["refresh"]):
        message = "Argo CD retries the commit whose sync failed, even if a newer commit fixes it"
        fix = advice.write("syncPolicy.retry.refresh", True)
        yield Problem(objects.application, (*policy, "retry", "refresh"), message, fix)


@rule(
    "https://kubernetes.io/docs/tasks/configure-pod-container/enforce-standards-namespace-labels/",
    outcome=Outcome.RISK,
)
def namespace_not_restricted(objects: Objects) -> Iterator[Problem]:
    """The namespace enforces the Pod Security Standard "restricted".

    Otherwise a pod in it, created by hand or by a mistake in git, can take control of its node.
    """
    path = ("syncPolicy", "managedNamespaceMetadata", "labels")
    label = "pod-security.kubernetes.io/enforce"
    labels = spec_of(objects.application, *path)
    found = labels.get(label) if isinstance(labels, dict) else None
    if found != "restricted":
        enforced = f'the Pod Security Standard "{found}"' if found else "no Pod Security Standard"
        message = (
            f"the namespace {objects.namespace} enforces {enforced}: a pod in it can take control"
            " of its node"
        )
        fix = advice.write(label, "restricted") + f" in {'.'.join(path)}"
        yield Problem(objects.application, ("spec", *path, label), message, fix)


# Differences


def _ignored(objects: Objects) -> list[tuple[int, dict[str, Any]]]:
    return list(mappings(spec_of(objects.application, "ignoreDifferences")))


def _pointers(entry: dict[str, Any], field: str = "jsonPointers") -> list[str]:
    found = entry.get(field)
    return [str(one) for one in found] if isinstance(found, list) else []


def _scaled(objects: Objects) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each autoscaler with its target."""
    for scaler in objects.of_kind(autoscalers.KIND):
        target = autoscalers.target(scaler)
        workload = objects.find(target.kind, target.name)
        if workload is not None and workload.group == target.group:
            yield scaler, workload


_REPLICAS = "/spec/replicas"


@rule(_DIFFING)
def autoscaled_replicas_not_ignored(objects: Objects) -> Iterator[Problem]:
    """Argo CD ignores the replicas of the targets of autoscalers.

    Otherwise every sync resets the replicas to the value in git, and deletes pods that the load
    requires.
    """
    for scaler, target in _scaled(objects):
        if not any(
            sync.is_about(entry, target)
            and (_REPLICAS in _pointers(entry) or ".spec.replicas" in _jq(entry))
            for _, entry in _ignored(objects)
        ):
            message = f"{scaler.label} scales {target.label}, but every sync resets its replicas"
            fields = ("group", "kind", "name", "namespace")
            item: dict[str, Any] = {field: getattr(target, field) for field in fields}
            fix = advice.add_item(item | {"jsonPointers": [_REPLICAS]}, "ignoreDifferences")
            yield Problem(objects.application, ("spec", "ignoreDifferences"), message, fix)


def _jq(entry: dict[str, Any]) -> list[str]:
    return _pointers(entry, "jqPathExpressions")


@rule(_SYNC_OPTIONS + "#respect-ignore-differences-configs")
def missing_respect_ignore_differences(objects: Objects) -> Iterator[Problem]:
    """A sync does not change the fields in ignoreDifferences.

    Otherwise Argo CD ignores them only when it compares: the next sync, for whatever reason, resets
    them to the values in git.
    """
    options = sync.options(spec_of(objects.application, "syncPolicy", "syncOptions"))
    if _ignored(objects) and options.get("RespectIgnoreDifferences") != "true":
        message = "every sync still resets the fields that ignoreDifferences lists"
        path = ("spec", "syncPolicy", "syncOptions")
        fix = advice.add_item("RespectIgnoreDifferences=true", "syncPolicy.syncOptions")
        yield Problem(objects.application, path, message, fix)


@rule(_DIFFING, outcome=Outcome.RISK)
def unneeded_ignore_differences(objects: Objects) -> Iterator[Problem]:
    """IgnoreDifferences lists only existing objects, and only fields that a controller sets.

    Otherwise Argo CD does not apply the value in git, and reports Synced if someone changes the
    field by hand.
    """
    scaled = {target.identity for _, target in _scaled(objects)}
    for index, entry in _ignored(objects):
        path: Where = ("spec", "ignoreDifferences", index)
        matching = [manifest for manifest in objects.manifests if sync.is_about(entry, manifest)]
        if not matching:
            names = [m.name for m in objects.manifests if m.kind == entry.get("kind")]
            label = "/".join(str(entry[key]) for key in ("kind", "name") if entry.get(key))
            message = (
                f"ignoreDifferences names {label}, which does not exist: the entry has no effect"
            )
            fix = nearest(str(entry.get("name")), names, "remove the entry", entry.get("name"))
            yield Problem(objects.application, (*path, "name"), message, fix)
        for number, pointer in enumerate(_pointers(entry)):
            parts = _parts(pointer)
            for manifest in matching if parts else ():
                is_autoscaled = pointer == _REPLICAS and manifest.identity in scaled
                if not is_autoscaled and paths.has(manifest.object, parts or []):
                    message = (
                        f"ignoreDifferences has {pointer} of {manifest.label}, which git sets:"
                        " Argo CD ignores changes to the field"
                    )
                    fix = advice.remove(f"{pointer} from ignoreDifferences").unless(
                        f"; if a controller sets the field, remove it from {manifest.label} instead"
                    )
                    place = (*path, "jsonPointers", number)
                    yield Problem(objects.application, place, message, fix)


@rule("https://www.rfc-editor.org/rfc/rfc6901")
def invalid_json_pointer(objects: Objects) -> Iterator[Problem]:
    """Pointers in ignoreDifferences are JSON pointers, for example /spec/replicas.

    Otherwise Argo CD cannot compare the objects, and reports ComparisonError only once the change
    is merged.
    """
    for index, entry in _ignored(objects):
        for number, pointer in enumerate(_pointers(entry)):
            if not pointer or _parts(pointer) is None:
                message = (
                    f"{pointer!r} in ignoreDifferences is not a JSON pointer: Argo CD cannot"
                    " compare the objects, and reports ComparisonError"
                )
                right = pointer.strip("$./").replace(".", "/")
                path = ("spec", "ignoreDifferences", index, "jsonPointers", number)
                fix = advice.write_value(f"/{right}") if right else "remove the pointer"
                yield Problem(objects.application, path, message, fix)


def _parts(pointer: str) -> list[str | int] | None:
    import jsonpointer

    try:
        parts = jsonpointer.JsonPointer(pointer).parts
    except jsonpointer.JsonPointerException:
        return None
    return [int(part) if str(part).isdecimal() else str(part) for part in parts]
