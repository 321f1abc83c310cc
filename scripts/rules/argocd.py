"""Argo CD: what brings the objects to a cluster may do it, in an order that works."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import pairwise
from typing import Any

from scripts import argocd, tree, yamlio
from scripts.findings import Severity
from scripts.manifest import PODS, Manifest, Where
from scripts.rules.objects import Objects, containers, pod
from scripts.rules.rule import Problem, across, rule
from scripts.workloads import Workload, mappings

_DOCS = "https://argo-cd.readthedocs.io/en/stable"
_PROJECTS = f"{_DOCS}/operator-manual/project-specification/"
_WAVES = f"{_DOCS}/user-guide/sync-waves/"
_SYNC_OPTIONS = f"{_DOCS}/user-guide/sync-options/"
_DIFFING = f"{_DOCS}/user-guide/diffing/"
_AUTOMATED = f"{_DOCS}/user-guide/auto_sync/"

_HOOK = "argocd.argoproj.io/hook"
_HELM_HOOK = "helm.sh/hook"
_COMPARE = "argocd.argoproj.io/compare-options"


def _notes(manifest: Manifest) -> dict[str, Any]:
    found = manifest.metadata.get("annotations")
    return found if isinstance(found, dict) else {}


def _at(name: str) -> Where:
    return "metadata", "annotations", name


def _spec(manifest: Manifest, *path: str) -> Any:
    return yamlio.get(manifest.object, ("spec", *path))


def _named(value: str, known: Iterable[str], otherwise: str) -> str:
    near = difflib.get_close_matches(value, list(known), 1)
    return f"write {near[0]}" if near else otherwise


# The project


def _allows(manifest: Manifest, field: str, wanted: dict[str, str]) -> bool:
    """Return whether one of the entries of a list of the project matches; `*` as Argo CD does."""
    return any(
        all(key not in one or fnmatchcase(value, str(one[key])) for key, value in wanted.items())
        for _, one in mappings(_spec(manifest, field))
    )


@rule(_PROJECTS)
def project_forbids_a_kind(objects: Objects) -> Iterator[Problem]:
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
def project_forbids_a_namespace(objects: Objects) -> Iterator[Problem]:
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
    found = _spec(objects.application, "destination")
    found = found if isinstance(found, dict) else {}
    return {key: str(found[key]) for key in ("server", "name") if key in found}


@rule(_PROJECTS)
def project_forbids_the_repository(objects: Objects) -> Iterator[Problem]:
    """The AppProject allows the repository that the Application reads.

    Else Argo CD reads nothing, and the environment stays as it is, whatever is merged.
    """
    url = str(_spec(objects.application, "source", "repoURL"))
    allowed = _spec(objects.project, "sourceRepos")
    listed = [str(one) for one in allowed] if isinstance(allowed, list) else []
    if not any(fnmatchcase(_plain(url), _plain(one)) for one in listed):
        message = f"the project does not allow {url}, which the Application reads"
        yield Problem(objects.project, ("spec", "sourceRepos"), message, f"write [{url}]")


def _plain(url: str) -> str:
    return url.lower().rstrip("/").removesuffix(".git")


@rule(_PROJECTS)
def project_allows_everything(objects: Objects) -> Iterator[Problem]:
    """The AppProject names what it allows: repositories, clusters, namespaces and kinds.

    Else a commit to some repository, or an Application by somebody else, can do with the project
    what nobody meant.
    """
    for field in ("sourceRepos", "destinations", "namespaceResourceWhitelist"):
        listed = _spec(objects.project, field)
        for index, one in enumerate(listed if isinstance(listed, list) else ()):
            for key, value in one.items() if isinstance(one, dict) else (("", one),):
                if isinstance(value, str) and "*" in value:
                    path = ("spec", field, index, *([key] if key else []))
                    what = f"{field}.{key}" if key else field
                    message = f"{what} {value} of the project allows what nobody has named"
                    fix = "write what is needed, by its name"
                    yield Problem(objects.project, path, message, fix)


@rule(_PROJECTS)
def project_is_not_kept_to_its_namespace(objects: Objects) -> Iterator[Problem]:
    """Of what belongs to the whole cluster, the AppProject allows its own Namespace only.

    Else a commit could change the cluster for all; and without its own Namespace, Argo CD can't
    make it, nor give it its labels.
    """
    allowed = list(mappings(_spec(objects.project, "clusterResourceWhitelist")))
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
def application_is_of_another(objects: Objects) -> Iterator[Problem]:
    """The Application has this environment's project, manifests and namespace.

    Else the one environment is made what the other's manifests say, with the other's keys and
    sizes; or Argo CD makes objects out of other files, without what is checked here.
    """
    application = objects.application
    wanted = {
        ("project",): objects.project.name,
        ("source", "path"): tree.manifests_folder(objects.name),
        ("destination", "namespace"): objects.namespace,
    }
    for path, right in wanted.items():
        found = _spec(application, *path)
        if found != right:
            message = f"the Application of {objects.name} has {'.'.join(path)}: {found}"
            yield Problem(application, ("spec", *path), message, f"write {right}")
    if len(_cluster(objects)) != 1:
        message = "the Application names its cluster by server and by name, or not at all"
        fix = "write destination.server or destination.name, one of the two"
        yield Problem(application, ("spec", "destination"), message, fix)
    for tool in ("helm", "kustomize", "plugin", "directory"):
        if _spec(application, "source", tool):
            message = f"the Application lets {tool} change what is applied: not what was reviewed"
            fix = f"remove {tool}: overlays/ has plain manifests"
            yield Problem(application, ("spec", "source", tool), message, fix)


_NEEDED = {
    "CreateNamespace": "nothing makes the namespace, and without it the sync fails",
    "ServerSideApply": "fields that controllers own are taken from them, and a large ConfigMap "
    "does not fit into the annotation that is kept otherwise",
    "PruneLast": "what is old goes before what is new works",
    "FailOnSharedResource": "two Applications can fight for one object without an error",
}


@rule(_SYNC_OPTIONS)
def application_lacks_a_sync_option(objects: Objects) -> Iterator[Problem]:
    """The Application's syncOptions have what a sync of the stack relies on.

    Else a sync fails, or does what the waves and the patches of the stack don't expect.
    """
    options = _options(_spec(objects.application, "syncPolicy", "syncOptions"))
    for option, what in _NEEDED.items():
        if options.get(option) != "true":
            message = f"without {option}=true, {what}"
            path = ("spec", "syncPolicy", "syncOptions")
            yield Problem(objects.application, path, message, f"add {option}=true")


def _options(listed: Any) -> dict[str, str]:
    """Return sync options by name; those of an annotation come as one text."""
    found = str(listed).split(",") if isinstance(listed, str) else listed
    split = [str(one).strip().partition("=") for one in found] if isinstance(found, list) else []
    return {name: value for name, _, value in split if name}


_SKIP = "argocd.argoproj.io/skip-reconcile"


@rule(f"{_DOCS}/user-guide/skip_reconcile/")
def application_is_skipped(objects: Objects) -> Iterator[Problem]:
    """Argo CD looks after the Application.

    Else nothing that is merged comes to the cluster, and nothing says so.
    """
    if str(_notes(objects.application).get(_SKIP)).lower() == "true":
        message = f"with {_SKIP}, Argo CD brings nothing of {objects.name} to its cluster"
        yield Problem(objects.application, _at(_SKIP), message, "remove the annotation")


_FINALIZER = "resources-finalizer.argocd.argoproj.io"


@rule(f"{_DOCS}/user-guide/app_deletion/")
def application_without_finalizer(objects: Objects) -> Iterator[Problem]:
    """The Application has Argo CD's finalizer.

    Else deleting it leaves all of its objects on the cluster, and nobody keeps them any more.
    """
    listed = objects.application.metadata.get("finalizers")
    names = [str(one) for one in listed] if isinstance(listed, list) else []
    if not any(name.partition("/")[0] == _FINALIZER for name in names):
        message = "deleting the Application would leave its objects behind, kept by nobody"
        fix = f"write {_FINALIZER}/background"
        yield Problem(objects.application, ("metadata", "finalizers"), message, fix)


@rule(_AUTOMATED)
def application_may_be_emptied(objects: Objects) -> Iterator[Problem]:
    """A sync that prunes is not allowed to remove every object of the environment.

    Else a folder that was renamed, or a rendering that failed, takes the whole chain along.
    """
    if _spec(objects.application, "syncPolicy", "automated", "allowEmpty"):
        message = "with allowEmpty, a commit without manifests removes the whole environment"
        path = ("spec", "syncPolicy", "automated", "allowEmpty")
        yield Problem(objects.application, path, message, "remove allowEmpty")


@rule(_AUTOMATED)
def application_gives_up(objects: Objects) -> Iterator[Problem]:
    """A sync that failed is tried again without end, each time with the newest commit.

    Else Argo CD leaves a commit alone after some tries: what failed because a store or a node was
    away for an hour stays as it was, and nothing is healed by itself.
    """
    policy = ("spec", "syncPolicy")
    automated = _spec(objects.application, "syncPolicy", "automated")
    retry = _spec(objects.application, "syncPolicy", "retry")
    limit = retry.get("limit") if isinstance(retry, dict) else None
    if isinstance(automated, dict) and limit != -1:
        said = f"after {limit} tries" if isinstance(limit, int) else "after five tries"
        path = (*policy, "retry", "limit")
        message = f"{said}, Argo CD leaves a commit whose sync failed alone"
        yield Problem(objects.application, path, message, "write -1")
    elif isinstance(automated, dict) and not yamlio.get(retry, ["refresh"]):
        message = "what is tried again is the commit that failed, though a newer one mends it"
        yield Problem(objects.application, (*policy, "retry", "refresh"), message, "write true")


@rule(
    "https://kubernetes.io/docs/tasks/configure-pod-container/enforce-standards-namespace-labels/"
)
def namespace_is_not_restricted(objects: Objects) -> Iterator[Problem]:
    """The namespace enforces the Pod Security Standard "restricted".

    Else whoever may make a pod in it, by hand or by a mistake in git, can take its node.
    """
    path = ("syncPolicy", "managedNamespaceMetadata", "labels")
    label = "pod-security.kubernetes.io/enforce"
    labels = _spec(objects.application, *path)
    found = labels.get(label) if isinstance(labels, dict) else None
    if found != "restricted":
        said = f"enforces {found}" if found else "enforces no Pod Security Standard"
        message = f"the namespace {objects.namespace} {said}: a pod in it can take its node"
        yield Problem(objects.application, ("spec", *path, label), message, "write restricted")


# Differences


def _ignored(objects: Objects) -> list[tuple[int, dict[str, Any]]]:
    return list(mappings(_spec(objects.application, "ignoreDifferences")))


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
    for scaler in objects.of_kind("HorizontalPodAutoscaler"):
        reference = _spec(scaler, "scaleTargetRef")
        reference = reference if isinstance(reference, dict) else {}
        target = objects.find(str(reference.get("kind")), reference.get("name"))
        if target is not None:
            yield scaler, target


_REPLICAS = "/spec/replicas"


@rule(_DIFFING)
def autoscaled_replicas_are_compared(objects: Objects) -> Iterator[Problem]:
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
def ignored_difference_is_applied(objects: Objects) -> Iterator[Problem]:
    """What ignoreDifferences names is left alone by a sync, too.

    Else it is left out of the comparison only: the next sync, for whatever reason, sets the field
    to what git says.
    """
    options = _options(_spec(objects.application, "syncPolicy", "syncOptions"))
    if _ignored(objects) and options.get("RespectIgnoreDifferences") != "true":
        message = "what ignoreDifferences names is not compared, and still set with each sync"
        path = ("spec", "syncPolicy", "syncOptions")
        yield Problem(objects.application, path, message, "add RespectIgnoreDifferences=true")


@rule(_DIFFING)
def ignored_difference_hides_git(objects: Objects) -> Iterator[Problem]:
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
            fix = _named(str(entry.get("name")), names, "remove the entry")
            yield Problem(objects.application, (*path, "name"), message, fix)
        for number, pointer in enumerate(_pointers(entry)):
            parts = _parts(pointer)
            for manifest in found if parts else ():
                by_another = pointer == _REPLICAS and manifest.identity in scaled
                if not by_another and yamlio.has(manifest.object, parts or []):
                    message = (
                        f"git sets {pointer} of {manifest.label}, and Argo CD ignores it there"
                    )
                    fix = "remove it here, or in the manifest: one of them is to say it"
                    place = (*path, "jsonPointers", number)
                    yield Problem(objects.application, place, message, fix)


@rule("https://www.rfc-editor.org/rfc/rfc6901")
def ignored_pointer_is_none(objects: Objects) -> Iterator[Problem]:
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


# Waves

_NUMBER = re.compile(r"[-+]?[0-9]{1,9}")


def _wave(manifest: Manifest) -> int:
    """Return the wave that Argo CD reads; 0 where it can't."""
    said = str(_notes(manifest).get(argocd.WAVE, "0"))
    return int(said) if _NUMBER.fullmatch(said) else 0


def _is_hook(manifest: Manifest) -> bool:
    return _HOOK in _notes(manifest) or _HELM_HOOK in _notes(manifest)


def _is_moved(manifest: Manifest) -> bool:
    """Return whether its wave is another than the one it would have by itself."""
    return _wave(manifest) != argocd.wave(manifest)


@rule(_WAVES)
def wave_is_no_number(objects: Objects) -> Iterator[Problem]:
    """A sync wave is a whole number, in quotes.

    Else Argo CD takes it for 0: the object comes before what it needs.
    """
    for manifest in objects.manifests:
        said = _notes(manifest).get(argocd.WAVE)
        if said is not None and not _NUMBER.fullmatch(str(said)):
            message = f"the wave {said!r} of {manifest.label} is no number: Argo CD takes it for 0"
            fix = f'write "{argocd.wave(manifest)}"'
            yield Problem(manifest, _at(argocd.WAVE), message, fix)


@rule(_WAVES)
def wave_before_what_it_needs(objects: Objects) -> Iterator[Problem]:
    """What an object needs comes in its wave, or in one before.

    Else the wave waits for pods that can't start until a later one brings their ConfigMap or
    Secret: the sync never ends.
    """
    late = dict[str, tuple[Manifest, Manifest, list[str]]]()
    for user, needed in _needs(objects):
        if _wave(needed) > _wave(user) and not (_is_hook(user) or _is_hook(needed)):
            wrong, other = (user, needed) if _is_moved(user) else (needed, user)
            late.setdefault(wrong.label, (wrong, other, []))[2].append(other.label)
    for wrong, other, others in late.values():
        first = wrong if _wave(wrong) < _wave(other) else other
        last = other if first is wrong else wrong
        names = list(dict.fromkeys(others))
        which = names[0] + (f" (and {len(names) - 1} more)" if names[1:] else "")
        if first is wrong:
            message = f"{wrong.label}, of wave {_wave(wrong)}, needs {which} of a later one"
        else:
            message = f"{which} needs {last.label}, which comes later, in wave {_wave(last)}"
        waves = [_wave(m) for m in objects.manifests if m.label in others]
        fix = f'write "{max(waves)}"' if first is wrong else f'write "{min(waves)}"'
        fix += " or less" if first is not wrong else " or more"
        yield Problem(wrong, _at(argocd.WAVE), message, fix)


def _needs(objects: Objects) -> Iterator[tuple[Manifest, Manifest]]:
    """Yield each object with one that must be there before it is well."""
    for workload in objects.workloads:
        for kind, name in _references(workload):
            found = objects.find(kind, name)
            if kind == "Secret" and not found:
                found = objects.find("ExternalSecret", name)
            if found is not None:
                yield workload.manifest, found
    for secret in objects.of_kind("ExternalSecret"):
        store = objects.find("SecretStore", _spec(secret, "secretStoreRef", "name"))
        if store is not None:
            yield secret, store
    for store in objects.of_kind("SecretStore"):
        path = ("provider", "aws", "auth", "jwt", "serviceAccountRef", "name")
        account = objects.find("ServiceAccount", _spec(store, *path))
        if account is not None:
            yield store, account
    # Pods are guarded from their first moment.
    for policy in objects.of_kind("NetworkPolicy"):
        for workload in objects.selected(_spec(policy, "podSelector")):
            yield workload.manifest, policy


def _references(workload: Workload) -> Iterator[tuple[str, Any]]:
    """Yield kind and name of what a workload's pods need to start."""
    _, spec = pod(workload)
    yield "ServiceAccount", spec.get("serviceAccountName")
    if workload.manifest.kind == "StatefulSet":
        yield "Service", workload.get("spec", "serviceName")
    for _, volume in mappings(spec.get("volumes")):
        sources = [volume, *(one for _, one in mappings(_projected(volume)))]
        for source in sources:
            yield "ConfigMap", yamlio.get(source, ("configMap", "name"))
            yield "Secret", yamlio.get(source, ("secret", "secretName"))
            yield "Secret", yamlio.get(source, ("secret", "name"))
        claim = yamlio.get(volume, ("persistentVolumeClaim", "claimName"))
        yield "PersistentVolumeClaim", claim
    for container in containers(workload):
        for _, variable in mappings(container.get("env")):
            yield "ConfigMap", yamlio.get(variable, ("valueFrom", "configMapKeyRef", "name"))
            yield "Secret", yamlio.get(variable, ("valueFrom", "secretKeyRef", "name"))
        for _, source in mappings(container.get("envFrom")):
            yield "ConfigMap", yamlio.get(source, ("configMapRef", "name"))
            yield "Secret", yamlio.get(source, ("secretRef", "name"))


def _projected(volume: dict[str, Any]) -> Any:
    return yamlio.get(volume, ("projected", "sources"))


_ORDER = ("sequencer", "maru", "besu")
_AFTER = ("tx-sender", "backup")


@rule(_WAVES)
def component_starts_too_early(objects: Objects) -> Iterator[Problem]:
    """Sequencers start before Maru, Maru before Besu, and Besu before what uses it.

    Else a change of two components restarts halves of two validators at a time, which can be more
    than the chain goes on without; or users start before there is JSON-RPC.
    """
    by_component = dict[str, Manifest]()
    for workload in objects.workloads:
        if not _is_hook(workload.manifest):
            by_component.setdefault(workload.manifest.component, workload.manifest)
    pairs = [*pairwise(_ORDER), *((_ORDER[-1], user) for user in _AFTER)]
    told = set[str]()
    for before, after in pairs:
        first, second = by_component.get(before), by_component.get(after)
        if first is None or second is None or _wave(first) < _wave(second):
            continue
        wrong = first if _is_moved(first) and not _is_moved(second) else second
        if wrong.label not in told:
            told.add(wrong.label)
            message = (
                f"{second.label} (wave {_wave(second)}) does not wait for {first.label} "
                f"(wave {_wave(first)})"
            )
            fix = f'write "{argocd.wave(wrong)}", which is its wave'
            yield Problem(wrong, _at(argocd.WAVE), message, fix)


@rule(_WAVES)
def wave_waits_for_the_outside(objects: Objects) -> Iterator[Problem]:
    """What becomes healthy only through something outside comes after the chain.

    Else the chain waits for it: for an address of a load balancer, metrics of an autoscaler, the
    last backup, blocks for the TX Sender, or an operator of monitoring that is not there.
    """
    inner = [
        one.manifest for one in objects.workloads if one.manifest.component in (*_ORDER, "ethstats")
    ]
    if not inner:
        return
    last, least = max(inner, key=_wave), max(map(argocd.wave, inner))
    for manifest in objects.manifests:
        # By itself, it would come after them.
        waits = argocd.wave(manifest) > least and not _is_hook(manifest)
        if manifest.kind.lower() in PODS and manifest.component not in _AFTER:
            continue
        if waits and _wave(manifest) < _wave(last):
            message = (
                f"{last.label}, of wave {_wave(last)}, waits until {manifest.label}, of wave "
                f"{_wave(manifest)}, is healthy, which something outside decides"
            )
            fix = f'write "{argocd.wave(manifest)}", which is its wave'
            yield Problem(manifest, _at(argocd.WAVE), message, fix)


# Annotations that Argo CD reads

_SWITCH = ("true", "false")
_OPTION_VALUES: dict[str, tuple[str, ...]] = {
    "Prune": (*_SWITCH, "confirm"),
    "Delete": (*_SWITCH, "confirm"),
    "PruneLast": _SWITCH,
    "Replace": _SWITCH,
    "Force": _SWITCH,
    "Validate": _SWITCH,
    "ServerSideApply": _SWITCH,
    "ClientSideApplyMigration": _SWITCH,
    "SkipDryRunOnMissingResource": _SWITCH,
    "RespectIgnoreDifferences": _SWITCH,
}
_OF_APPLICATIONS: dict[str, tuple[str, ...]] = {
    "ApplyOutOfSyncOnly": _SWITCH,
    "CreateNamespace": _SWITCH,
    "FailOnSharedResource": _SWITCH,
    "PrunePropagationPolicy": ("foreground", "background", "orphan"),
}


@rule(_SYNC_OPTIONS)
def sync_option_is_unknown(objects: Objects) -> Iterator[Problem]:
    """Sync options are ones that Argo CD knows, with a value that it knows.

    Else it takes no notice: what was to ask a person before it is deleted is deleted.
    """
    every = _OPTION_VALUES | _OF_APPLICATIONS
    listed = _spec(objects.application, "syncPolicy", "syncOptions")
    for index, one in enumerate(listed if isinstance(listed, list) else ()):
        if problem := _unknown_option(str(one), every):
            path = ("spec", "syncPolicy", "syncOptions", index)
            yield Problem(objects.application, path, *problem)
    for manifest in objects.manifests:
        said = _notes(manifest).get(argocd.OPTIONS)
        for one in said.split(",") if isinstance(said, str) else ():
            name = one.strip().partition("=")[0]
            problem = _unknown_option(one.strip(), _OPTION_VALUES)
            if name in _OF_APPLICATIONS:
                problem = f"{name} is an option of Applications only", "remove it"
            if problem:
                yield Problem(manifest, _at(argocd.OPTIONS), *problem)


def _unknown_option(text: str, known: dict[str, tuple[str, ...]]) -> tuple[str, str] | None:
    name, _, value = text.partition("=")
    if name not in known:
        fix = _named(name, known, f"write one of {', '.join(known)}")
        return f"Argo CD knows no sync option {name or text!r}", fix
    if value not in known[name]:
        fix = f"write {name}= and one of {', '.join(known[name])}"
        return f"the sync option {name} can't be {value!r}: Argo CD ignores it", fix
    return None


_COMPARE_OPTIONS = (
    "IgnoreExtraneous",
    "IncludeMutationWebhook=true",
    "ServerSideDiff=false",
    "ServerSideDiff=true",
)


@rule(f"{_DOCS}/user-guide/compare-options/")
def compare_option_is_unknown(objects: Objects) -> Iterator[Problem]:
    """Compare options are ones that Argo CD knows.

    Else it takes no notice, and compares as if nothing were said.
    """
    for manifest in (*objects.manifests, objects.application):
        said = _notes(manifest).get(_COMPARE)
        for one in said.split(",") if isinstance(said, str) else ():
            if one.strip() not in _COMPARE_OPTIONS:
                message = f"Argo CD knows no compare option {one.strip()!r}"
                otherwise = f"write one of {', '.join(_COMPARE_OPTIONS)}"
                fix = _named(one.strip(), _COMPARE_OPTIONS, otherwise)
                yield Problem(manifest, _at(_COMPARE), message, fix)


_HOOKS = ("PreSync", "Sync", "PostSync", "SyncFail", "Skip", "PreDelete", "PostDelete")
_POLICIES = ("BeforeHookCreation", "HookSucceeded", "HookFailed")
_HOOK_VALUES: dict[str, tuple[str, ...]] = {
    _HOOK: _HOOKS,
    f"{_HOOK}-delete-policy": _POLICIES,
    _HELM_HOOK: (
        "pre-install",
        "pre-upgrade",
        "post-install",
        "post-upgrade",
        "pre-delete",
        "post-delete",
        "crd-install",
    ),
    f"{_HELM_HOOK}-delete-policy": ("before-hook-creation", "hook-succeeded", "hook-failed"),
}


@rule(f"{_DOCS}/user-guide/helm/#helm-hooks")
def hook_is_unknown(objects: Objects) -> Iterator[Problem]:
    """Hooks, and when they are deleted, are words that Argo CD knows; of Helm's, those it takes.

    Else the object is never applied, or applied as no hook: a check before the sync runs after it.
    """
    for manifest in objects.manifests:
        for key, known in _HOOK_VALUES.items():
            said = _notes(manifest).get(key)
            for one in said.split(",") if isinstance(said, str) else ():
                if one.strip() not in known:
                    message = f"Argo CD knows no {key.rpartition('/')[2]} {one.strip()!r}"
                    fix = _named(one.strip(), known, f"write one of {', '.join(known)}")
                    yield Problem(manifest, _at(key), message, fix)


_LASTING = {
    "CronJob",
    "DaemonSet",
    "Deployment",
    "HorizontalPodAutoscaler",
    "Ingress",
    "NetworkPolicy",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Service",
    "StatefulSet",
}


@rule(_WAVES)
def hook_is_no_task(objects: Objects) -> Iterator[Problem]:
    """A hook is a task with an end: a Job or a pod, not what is to stay.

    Else Argo CD deletes the object and makes it anew with each sync, and no longer compares it with
    git in between.
    """
    for manifest in objects.manifests:
        for key in (_HOOK, _HELM_HOOK):
            said = _notes(manifest).get(key)
            if said == "Skip":
                message = f"{manifest.label} is in git, and Argo CD never applies it"
                fix = "remove the annotation, or the object"
                yield Problem(manifest, _at(key), message, fix)
            elif said is not None and manifest.kind in _LASTING:
                message = f"{manifest.label} is a hook: each sync deletes it and makes it anew"
                fix = "remove the annotation; where it is about the order, write a sync wave"
                yield Problem(manifest, _at(key), message, fix)


@rule(_SYNC_OPTIONS + "#resource-pruning-with-confirmation")
def data_goes_unasked(objects: Objects) -> Iterator[Problem]:
    """What holds data is pruned and deleted only when a person confirms it.

    Else a commit that renames a StatefulSet, or a wrong folder, takes the chain's data along.
    """
    for manifest in objects.manifests:
        if not argocd.holds_data(manifest):
            continue
        options = _options(_notes(manifest).get(argocd.OPTIONS))
        # Prune=false and Delete=false keep the data, too.
        lacking = [o for o in ("Prune", "Delete") if options.get(o) not in ("confirm", "false")]
        if lacking:
            what = " and ".join({"Prune": "pruned", "Delete": "deleted"}[one] for one in lacking)
            message = f"{manifest.label} holds data, and is {what} without asking"
            fix = f"write {argocd.CONFIRM}"
            yield Problem(manifest, _at(argocd.OPTIONS), message, fix)


_KEEP = "helm.sh/resource-policy"


@rule(_SYNC_OPTIONS + "#no-prune-resources", Severity.WARNING)
def object_outlives_git(objects: Objects) -> Iterator[Problem]:
    """What holds no data goes when it leaves git.

    Else it stays on the cluster, kept by nobody: an old NetworkPolicy still opens a port, an old
    alert still wakes people; and the Application is OutOfSync for ever.
    """
    for manifest in objects.manifests:
        options = _options(_notes(manifest).get(argocd.OPTIONS))
        kept = [f"{o}=false" for o in ("Delete", "Prune") if options.get(o) == "false"]
        key = argocd.OPTIONS
        # Helm's word for the same, which Argo CD reads, too.
        if not kept and _notes(manifest).get(_KEEP) == "keep":
            kept, key = ["it"], _KEEP
        if kept and not argocd.holds_data(manifest):
            message = f"{manifest.label} stays on the cluster after it has left git"
            yield Problem(manifest, _at(key), message, f"remove {' and '.join(kept)}")
    path = ("spec", "syncPolicy", "syncOptions")
    options = _options(_spec(objects.application, *path[1:]))
    for one in ("Prune", "Delete"):
        if options.get(one) == "false":
            message = f"{one}=false on the Application keeps whatever has left git"
            yield Problem(objects.application, path, message, f"remove {one}=false")


@rule(_SYNC_OPTIONS + "#force-sync")
def sync_deletes_what_runs(objects: Objects) -> Iterator[Problem]:
    """A sync changes objects in place; only Jobs are deleted and made anew.

    Else a change of one field deletes the pods, all at once, and with Replace the fields that
    controllers own: an autoscaler's replicas, a load balancer's address.
    """
    path = ("spec", "syncPolicy", "syncOptions")
    for manifest in (*objects.manifests, objects.application):
        own = manifest is objects.application
        said = _spec(manifest, *path[1:]) if own else _notes(manifest).get(argocd.OPTIONS)
        options = _options(said)
        found = [one for one in ("Force", "Replace") if options.get(one) == "true"]
        if found and manifest.kind not in ("Job", "Pod"):
            what = " and ".join(f"{one}=true" for one in found)
            verb = "deletes and makes anew" if "Force" in found else "replaces as a whole"
            message = f"a sync {verb} {'every object' if own else manifest.label}: {what}"
            yield Problem(manifest, path if own else _at(argocd.OPTIONS), message, f"remove {what}")


# Two owners


def _by_weight(objects: Objects) -> tuple[bool, str]:
    """Return how to sort environments so that the one to change comes last."""
    return not objects.is_production, objects.name


@across(_SYNC_OPTIONS + "#fail-the-sync-if-a-shared-resource-is-found")
def object_of_two_applications(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
    """An object belongs to one Application.

    Else the sync of the second fails; without that guard, each undoes what the other does.
    """
    owners = dict[tuple[object, ...], Objects]()
    for objects in sorted(among, key=_by_weight):
        cluster = sorted(_cluster(objects).items())
        for manifest in objects.manifests:
            owner = owners.setdefault((*cluster, *manifest.identity), objects)
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
        cluster = sorted(_cluster(objects).items())
        paths = dict[tuple[object, ...], Manifest]()
        for manifest in objects.of_kind("Ingress"):
            for index, one in mappings(_spec(manifest, "rules")):
                host = str(one.get("host", ""))
                owner = hosts.setdefault((*cluster, host), objects)
                found = mappings(yamlio.get(one, ("http", "paths")))
                keys = [(host, str(p.get("path")), str(p.get("pathType"))) for _, p in found]
                others = [paths.setdefault(key, manifest) for key in keys]
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
        cluster = sorted(_cluster(objects).items())
        told = False
        for manifest in objects.of_kind("Ingress"):
            group = str(_notes(manifest).get(_GROUP) or "")
            owner = owners.setdefault((*cluster, group), objects) if group else objects
            if owner is not objects and not told:
                told = True
                message = f"the load balancer {group} is {owner.name}'s, too"
                fix = f"write {objects.namespace}, or leave the name to the chart"
                yield objects, Problem(manifest, _at(_GROUP), message, fix)


# Names

_MOST = 63
_HASH = 11
"""Of `-` and the hash of a revision, which is a label of a StatefulSet's pods."""
_OF_CRON_JOBS = 52
"""A CronJob adds `-` and the minute to the names of its Jobs."""


@rule("https://kubernetes.io/docs/concepts/overview/working-with-objects/names/")
def name_is_too_long(objects: Objects) -> Iterator[Problem]:
    """The names that a controller makes out of an object's fit into its labels.

    Else the controller can make no pod: the object is there, and nothing runs.
    """
    for manifest in objects.manifests:
        most, why = _MOST, ""
        if manifest.kind == "StatefulSet":
            most, why = _MOST - _HASH, "its pods have it with a revision's hash as a label"
        elif manifest.kind == "CronJob":
            most, why = _OF_CRON_JOBS, "its Jobs have it with the minute as their name"
        elif manifest.kind == "Job":
            why = "its pods have it as a label"
        if why and len(manifest.name) > most:
            message = f"the name has {len(manifest.name)} characters, and {why}: {most} at most"
            fix = "write a shorter name"
            yield Problem(manifest, ("metadata", "name"), message, fix)


_MOST_OF_ANNOTATIONS = 256 * 1024


@rule("https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/")
def annotations_are_too_large(objects: Objects) -> Iterator[Problem]:
    """An object's annotations have at most 256 KiB together.

    Else the API server refuses the object, and the sync fails.
    """
    for manifest in objects.manifests:
        sizes = {
            key: len(str(key).encode()) + len(str(value).encode())
            for key, value in _notes(manifest).items()
        }
        if sum(sizes.values()) > _MOST_OF_ANNOTATIONS:
            largest = max(sizes, key=lambda key: sizes[key])
            message = f"the annotations have {sum(sizes.values())} bytes, of 262144 at most"
            fix = "keep the text in a ConfigMap"
            yield Problem(manifest, _at(largest), message, fix)


_LIVE: dict[str, str] = {
    "kubectl.kubernetes.io/last-applied-configuration": "kubectl",
    "deployment.kubernetes.io/revision": "the Deployment's controller",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/installation-id": "Argo CD",
    "deprecated.daemonset.template.generation": "the DaemonSet's controller",
    "pv.kubernetes.io/bind-completed": "the volumes' controller",
    "autoscaling.alpha.kubernetes.io/conditions": "the autoscaler",
}
_SET_BY_THE_SERVER = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation")


@rule("https://kubernetes.io/docs/reference/labels-annotations-taints/")
def object_is_a_copy_of_a_live_one(objects: Objects) -> Iterator[Problem]:
    """Manifests have nothing that a cluster writes into them.

    Else two write one field, and undo each other: the object is OutOfSync for ever, is taken for
    another Application's, or can't be applied at all.
    """
    for manifest in objects.manifests:
        found: list[tuple[Where, str]] = [
            (_at(key), who) for key, who in _LIVE.items() if key in _notes(manifest)
        ]
        if "argocd.argoproj.io/instance" in (manifest.metadata.get("labels") or {}):
            found.append((("metadata", "labels", "argocd.argoproj.io/instance"), "Argo CD"))
        found += [
            (("metadata", field), "the API server")
            for field in _SET_BY_THE_SERVER
            if manifest.metadata.get(field) is not None
        ]
        for path, who in found:
            message = f"{path[-1]} of {manifest.label} is {who}'s to write: it undoes what git says"
            yield Problem(manifest, path, message, "remove it")
