"""Argo CD: the project allows what is needed, and the Application brings it."""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Any

from scripts.core import paths
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
    """Return whether one of the entries of a list of the project matches; `*` as Argo CD does."""
    return any(
        all(key not in one or fnmatchcase(value, str(one[key])) for key, value in wanted.items())
        for _, one in mappings(spec_of(manifest, field))
    )


@rule(_PROJECTS)
def project_forbids_kind(objects: Objects) -> Iterator[Problem]:
    """The AppProject allows each kind that the environment has.

    Else the sync fails as a whole: nothing of the commit is applied.
    """
    told = set[tuple[str, str]]()
    for manifest in objects.manifests:
        kind = manifest.group, manifest.kind
        wanted = {"group": manifest.group, "kind": manifest.kind}
        if kind not in told and not _allows(objects.project, "namespaceResourceWhitelist", wanted):
            told.add(kind)
            message = f"the project allows no {manifest.kind}, and {manifest.label} is one"
            fix = f"add {{group: {manifest.group!r}, kind: {manifest.kind}}}"
            path = ("spec", "namespaceResourceWhitelist")
            yield Problem(objects.project, path, message, fix)


@rule(_PROJECTS)
def project_forbids_namespace(objects: Objects) -> Iterator[Problem]:
    """The AppProject allows each namespace that the environment has objects in, on its cluster.

    Else the sync fails as a whole: nothing of the commit is applied.
    """
    cluster = _cluster(objects)
    told = set[str]()
    for namespace, label in (
        (objects.namespace, "the Application"),
        *((manifest.namespace, manifest.label) for manifest in objects.manifests),
    ):
        allowed = _allows(objects.project, "destinations", {"namespace": namespace, **cluster})
        if namespace and namespace not in told and not allowed:
            told.add(namespace)
            where = next(iter(cluster.values()), "its cluster")
            message = f"the project does not allow {namespace} on {where}, where {label} goes"
            fix = f"add {{{', '.join(f'{k}: {v}' for k, v in cluster.items())}, "
            fix += f"namespace: {namespace}}}"
            yield Problem(objects.project, ("spec", "destinations"), message, fix)


def _cluster(objects: Objects) -> dict[str, str]:
    """Return server or name of the cluster that the Application goes to."""
    found = spec_of(objects.application, "destination")
    found = found if isinstance(found, dict) else {}
    return {key: str(found[key]) for key in ("server", "name") if key in found}


@rule(_PROJECTS)
def project_forbids_repository(objects: Objects) -> Iterator[Problem]:
    """The AppProject allows the repository that the Application reads.

    Else Argo CD reads nothing, and the environment stays as it is, whatever is merged.
    """
    url = str(spec_of(objects.application, "source", "repoURL"))
    allowed = spec_of(objects.project, "sourceRepos")
    listed = [str(one) for one in allowed] if isinstance(allowed, list) else []
    if not any(fnmatchcase(_plain(url), _plain(one)) for one in listed):
        message = f"the project does not allow {url}, which the Application reads"
        yield Problem(objects.project, ("spec", "sourceRepos"), message, f"write [{url}]")


def _plain(url: str) -> str:
    return url.lower().rstrip("/").removesuffix(".git")


@rule(_PROJECTS, outcome=Outcome.RISK)
def project_allows_everything(objects: Objects) -> Iterator[Problem]:
    """The AppProject names what it allows: repositories, clusters, namespaces and kinds.

    Else a commit to some repository, or an Application by somebody else, can do with the project
    what nobody meant.
    """
    for field in ("sourceRepos", "destinations", "namespaceResourceWhitelist"):
        listed = spec_of(objects.project, field)
        for index, one in enumerate(listed if isinstance(listed, list) else ()):
            for key, value in one.items() if isinstance(one, dict) else (("", one),):
                if isinstance(value, str) and "*" in value:
                    path = ("spec", field, index, *([key] if key else []))
                    what = f"{field}.{key}" if key else field
                    message = f"{what} {value} of the project allows what nobody has named"
                    fix = "write what is needed, by its name"
                    yield Problem(objects.project, path, message, fix)


@rule(_PROJECTS, outcome=Outcome.RISK)
def project_allows_foreign_namespace(objects: Objects) -> Iterator[Problem]:
    """Of what belongs to the whole cluster, the AppProject allows its own Namespace only.

    Else a commit could change the cluster for all; and without its own Namespace, Argo CD can't
    make it, nor give it its labels.
    """
    allowed = list(mappings(spec_of(objects.project, "clusterResourceWhitelist")))
    own = {"group": "", "kind": "Namespace", "name": objects.namespace}
    for index, one in allowed:
        if {key: one.get(key, "") for key in own} != own:
            named = f"{one.get('kind')}" + (
                f"/{one['name']}" if one.get("name") else ", any of them"
            )
            message = f"the project allows {named}, which belongs to the whole cluster"
            fix = f"allow nothing but the Namespace {objects.namespace}, by its name"
            yield Problem(
                objects.project, ("spec", "clusterResourceWhitelist", index), message, fix
            )
    if not any(one.get("kind") in ("Namespace", "*") for _, one in allowed):
        message = f"the project does not allow the Namespace {objects.namespace} itself"
        fix = f"write {{group: '', kind: Namespace, name: {objects.namespace}}}"
        yield Problem(objects.project, ("spec", "clusterResourceWhitelist"), message, fix)


# The application


@rule(_DOCS + "/operator-manual/declarative-setup/")
def application_of_another_environment(objects: Objects) -> Iterator[Problem]:
    """The Application has this environment's project, manifests and namespace.

    Else the one environment is made what the other's manifests say, with the other's keys and
    sizes; or Argo CD makes objects out of other files, without what is checked here.
    """
    application = objects.application
    wanted = {
        ("project",): objects.project.name,
        ("source", "path"): layout.manifests_folder(objects.name),
        ("destination", "namespace"): objects.namespace,
    }
    for path, right in wanted.items():
        found = spec_of(application, *path)
        if found != right:
            message = f"the Application of {objects.name} has {'.'.join(path)}: {found}"
            yield Problem(application, ("spec", *path), message, f"write {right}")
    if len(_cluster(objects)) != 1:
        message = "the Application names its cluster by server and by name, or not at all"
        fix = "write destination.server or destination.name, one of the two"
        yield Problem(application, ("spec", "destination"), message, fix)
    for tool in ("helm", "kustomize", "plugin", "directory"):
        if spec_of(application, "source", tool):
            message = f"the Application lets {tool} change what is applied: not what was reviewed"
            fix = f"remove {tool}: overlays/ has plain manifests"
            yield Problem(application, ("spec", "source", tool), message, fix)


@rule(f"{_DOCS}/operator-manual/declarative-setup/#quick-reference")
def application_outside_argocd_namespace(objects: Objects) -> Iterator[Problem]:
    """The AppProject and the Application are in Argo CD's own namespace.

    Else Argo CD does not read them: nothing of the environment comes to its cluster.
    """
    for manifest in (objects.project, objects.application):
        if manifest.namespace != sync.NAMESPACE:
            message = f"{manifest.label} is in {manifest.namespace}, where Argo CD does not look"
            path = ("metadata", "namespace")
            yield Problem(manifest, path, message, f"write {sync.NAMESPACE}")


_NEEDED = {
    "CreateNamespace": "nothing makes the namespace, and without it the sync fails",
    "ServerSideApply": "fields that controllers own are taken from them, and a large ConfigMap "
    "does not fit into the annotation that is kept otherwise",
    "PruneLast": "what is old goes before what is new works",
    "FailOnSharedResource": "two Applications can fight for one object without an error",
}


@rule(_SYNC_OPTIONS)
def missing_sync_option(objects: Objects) -> Iterator[Problem]:
    """The Application's syncOptions have what a sync of the stack relies on.

    Else a sync fails, or does what the waves and the patches of the stack don't expect.
    """
    options = sync.options(spec_of(objects.application, "syncPolicy", "syncOptions"))
    for option, what in _NEEDED.items():
        if options.get(option) != "true":
            message = f"without {option}=true, {what}"
            path = ("spec", "syncPolicy", "syncOptions")
            yield Problem(objects.application, path, message, f"add {option}=true")


_SKIP = "argocd.argoproj.io/skip-reconcile"


@rule(f"{_DOCS}/user-guide/skip_reconcile/")
def application_reconciliation_skipped(objects: Objects) -> Iterator[Problem]:
    """Argo CD looks after the Application.

    Else nothing that is merged comes to the cluster, and nothing says so.
    """
    if str(objects.application.annotations.get(_SKIP)).lower() == "true":
        message = f"with {_SKIP}, Argo CD brings nothing of {objects.name} to its cluster"
        yield Problem(objects.application, annotation(_SKIP), message, "remove the annotation")


_FINALIZER = "resources-finalizer.argocd.argoproj.io"


@rule(f"{_DOCS}/user-guide/app_deletion/", outcome=Outcome.RISK)
def missing_application_finalizer(objects: Objects) -> Iterator[Problem]:
    """The Application has Argo CD's finalizer.

    Else deleting it leaves all of its objects on the cluster, and nobody keeps them any more.
    """
    listed = objects.application.metadata.get("finalizers")
    names = [str(one) for one in listed] if isinstance(listed, list) else []
    if not any(name.partition("/")[0] == _FINALIZER for name in names):
        message = "deleting the Application would leave its objects behind, kept by nobody"
        fix = f"write {_FINALIZER}/background"
        yield Problem(objects.application, ("metadata", "finalizers"), message, fix)


@rule(_AUTOMATED, outcome=Outcome.RISK)
def allow_empty_sync(objects: Objects) -> Iterator[Problem]:
    """A sync that prunes is not allowed to remove every object of the environment.

    Else a folder that was renamed, or a rendering that failed, takes the whole chain along.
    """
    if spec_of(objects.application, "syncPolicy", "automated", "allowEmpty"):
        message = "with allowEmpty, a commit without manifests removes the whole environment"
        path = ("spec", "syncPolicy", "automated", "allowEmpty")
        yield Problem(objects.application, path, message, "remove allowEmpty")


@rule(_AUTOMATED)
def limited_sync_retries(objects: Objects) -> Iterator[Problem]:
    """A sync that failed is tried again without end, each time with the newest commit.

    Else Argo CD leaves a commit alone after some tries: what failed because a store or a node was
    away for an hour stays as it was, and nothing is healed by itself.
    """
    policy = ("spec", "syncPolicy")
    automated = spec_of(objects.application, "syncPolicy", "automated")
    retry = spec_of(objects.application, "syncPolicy", "retry")
    limit = retry.get("limit") if isinstance(retry, dict) else None
    if isinstance(automated, dict) and limit != -1:
        said = f"after {limit} tries" if isinstance(limit, int) else "after five tries"
        path = (*policy, "retry", "limit")
        message = f"{said}, Argo CD leaves a commit whose sync failed alone"
        yield Problem(objects.application, path, message, "write -1")
    elif isinstance(automated, dict) and not paths.get(retry, ["refresh"]):
        message = "what is tried again is the commit that failed, though a newer one mends it"
        yield Problem(objects.application, (*policy, "retry", "refresh"), message, "write true")


@rule(
    "https://kubernetes.io/docs/tasks/configure-pod-container/enforce-standards-namespace-labels/",
    outcome=Outcome.RISK,
)
def namespace_not_restricted(objects: Objects) -> Iterator[Problem]:
    """The namespace enforces the Pod Security Standard "restricted".

    Else whoever may make a pod in it, by hand or by a mistake in git, can take its node.
    """
    path = ("syncPolicy", "managedNamespaceMetadata", "labels")
    label = "pod-security.kubernetes.io/enforce"
    labels = spec_of(objects.application, *path)
    found = labels.get(label) if isinstance(labels, dict) else None
    if found != "restricted":
        said = f"enforces {found}" if found else "enforces no Pod Security Standard"
        message = f"the namespace {objects.namespace} {said}: a pod in it can take its node"
        yield Problem(objects.application, ("spec", *path, label), message, "write restricted")


# Differences


def _ignored(objects: Objects) -> list[tuple[int, dict[str, Any]]]:
    return list(mappings(spec_of(objects.application, "ignoreDifferences")))


def _pointers(entry: dict[str, Any], field: str = "jsonPointers") -> list[str]:
    found = entry.get(field)
    return [str(one) for one in found] if isinstance(found, list) else []


def _is_of(entry: dict[str, Any], manifest: Manifest) -> bool:
    return (
        entry.get("kind") in (manifest.kind, "*")
        and entry.get("group", "") in (manifest.group, "*")
        and entry.get("name") in (None, "", manifest.name)
        and entry.get("namespace") in (None, "", manifest.namespace)
    )


def _scaled(objects: Objects) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each autoscaler with what it scales."""
    for scaler in objects.of_kind(autoscalers.KIND):
        target = autoscalers.target(scaler)
        found = objects.find(target.kind, target.name)
        if found is not None and found.group == target.group:
            yield scaler, found


_REPLICAS = "/spec/replicas"


@rule(_DIFFING)
def autoscaled_replicas_not_ignored(objects: Objects) -> Iterator[Problem]:
    """Argo CD leaves the replicas of what an autoscaler scales alone.

    Else the two undo each other: with each sync, the pods that the load needs are deleted.
    """
    for scaler, target in _scaled(objects):
        if not any(
            _is_of(entry, target)
            and (_REPLICAS in _pointers(entry) or ".spec.replicas" in _jq(entry))
            for _, entry in _ignored(objects)
        ):
            message = f"{scaler.label} scales {target.label}, and Argo CD compares its replicas"
            fix = (
                f"add {{group: {target.group}, kind: {target.kind}, name: {target.name}, "
                f"namespace: {target.namespace}, jsonPointers: [{_REPLICAS}]}}"
            )
            yield Problem(objects.application, ("spec", "ignoreDifferences"), message, fix)


def _jq(entry: dict[str, Any]) -> list[str]:
    return _pointers(entry, "jqPathExpressions")


@rule(_SYNC_OPTIONS + "#respect-ignore-differences-configs")
def missing_respect_ignore_differences(objects: Objects) -> Iterator[Problem]:
    """What ignoreDifferences names is left alone by a sync, too.

    Else it is left out of the comparison only: the next sync, for whatever reason, sets the field
    to what git says.
    """
    options = sync.options(spec_of(objects.application, "syncPolicy", "syncOptions"))
    if _ignored(objects) and options.get("RespectIgnoreDifferences") != "true":
        message = "what ignoreDifferences names is not compared, and still set with each sync"
        path = ("spec", "syncPolicy", "syncOptions")
        yield Problem(objects.application, path, message, "add RespectIgnoreDifferences=true")


@rule(_DIFFING, outcome=Outcome.RISK)
def unneeded_ignore_differences(objects: Objects) -> Iterator[Problem]:
    """A difference is ignored only of an object that is there, in a field that another sets.

    Else what git says in the field is never brought to the cluster, and what somebody changes there
    by hand stays, and is called Synced.
    """
    scaled = {target.identity for _, target in _scaled(objects)}
    for index, entry in _ignored(objects):
        path: Where = ("spec", "ignoreDifferences", index)
        found = [manifest for manifest in objects.manifests if _is_of(entry, manifest)]
        if not found:
            names = [m.name for m in objects.manifests if m.kind == entry.get("kind")]
            message = f"there is no {entry.get('kind')}/{entry.get('name')} to ignore a field of"
            fix = nearest(str(entry.get("name")), names, "remove the entry")
            yield Problem(objects.application, (*path, "name"), message, fix)
        for number, pointer in enumerate(_pointers(entry)):
            parts = _parts(pointer)
            for manifest in found if parts else ():
                by_another = pointer == _REPLICAS and manifest.identity in scaled
                if not by_another and paths.has(manifest.object, parts or []):
                    message = (
                        f"git sets {pointer} of {manifest.label}, and Argo CD ignores it there"
                    )
                    fix = "remove it here, or in the manifest: one of them is to say it"
                    place = (*path, "jsonPointers", number)
                    yield Problem(objects.application, place, message, fix)


@rule("https://www.rfc-editor.org/rfc/rfc6901")
def invalid_json_pointer(objects: Objects) -> Iterator[Problem]:
    """Pointers in ignoreDifferences are JSON pointers: /spec/replicas.

    Else Argo CD can't compare the objects at all, and says so only on the cluster.
    """
    for index, entry in _ignored(objects):
        for number, pointer in enumerate(_pointers(entry)):
            if not pointer or _parts(pointer) is None:
                message = f"{pointer!r} is no JSON pointer"
                near = "/" + pointer.strip("$./").replace(".", "/")
                path = ("spec", "ignoreDifferences", index, "jsonPointers", number)
                yield Problem(objects.application, path, message, f"write {near}")


def _parts(pointer: str) -> list[str | int] | None:
    import jsonpointer

    try:
        parts = jsonpointer.JsonPointer(pointer).parts
    except jsonpointer.JsonPointerException:
        return None
    return [int(part) if str(part).isdecimal() else str(part) for part in parts]
