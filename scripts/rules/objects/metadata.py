"""Metadata: names that fit, and the annotations that Argo CD reads."""

from __future__ import annotations

from collections.abc import Iterator

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes import sync
from scripts.kubernetes.manifest import Manifest, Where, config_maps
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects, annotation, nearest, spec_of

_DOCS = "https://argo-cd.readthedocs.io/en/stable"
_WAVES = f"{_DOCS}/user-guide/sync-waves/"
_SYNC_OPTIONS = f"{_DOCS}/user-guide/sync-options/"
_COMPARE = "argocd.argoproj.io/compare-options"


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


@rule(_SYNC_OPTIONS, outcome=Outcome.HIDDEN)
def unknown_sync_option(objects: Objects) -> Iterator[Problem]:
    """Sync options are ones that Argo CD knows, with a value that it knows.

    Else it takes no notice: what was to ask a person before it is deleted is deleted.
    """
    every = _OPTION_VALUES | _OF_APPLICATIONS
    listed = spec_of(objects.application, "syncPolicy", "syncOptions")
    for index, one in enumerate(listed if isinstance(listed, list) else ()):
        if problem := _unknown_option(str(one), every):
            path = ("spec", "syncPolicy", "syncOptions", index)
            yield Problem(objects.application, path, *problem)
    for manifest in objects.manifests:
        said = manifest.annotations.get(sync.OPTIONS)
        for one in said.split(",") if isinstance(said, str) else ():
            name = one.strip().partition("=")[0]
            problem = _unknown_option(one.strip(), _OPTION_VALUES)
            if name in _OF_APPLICATIONS:
                problem = f"{name} is an option of Applications only", "remove it"
            if problem:
                yield Problem(manifest, annotation(sync.OPTIONS), *problem)


def _unknown_option(text: str, known: dict[str, tuple[str, ...]]) -> tuple[str, str] | None:
    name, _, value = text.partition("=")
    if name not in known:
        fix = nearest(name, known, f"write one of {', '.join(known)}")
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


@rule(f"{_DOCS}/user-guide/compare-options/", outcome=Outcome.HIDDEN)
def unknown_compare_option(objects: Objects) -> Iterator[Problem]:
    """Compare options are ones that Argo CD knows.

    Else it takes no notice, and compares as if nothing were said.
    """
    for manifest in (*objects.manifests, objects.application):
        said = manifest.annotations.get(_COMPARE)
        for one in said.split(",") if isinstance(said, str) else ():
            if one.strip() not in _COMPARE_OPTIONS:
                message = f"Argo CD knows no compare option {one.strip()!r}"
                otherwise = f"write one of {', '.join(_COMPARE_OPTIONS)}"
                fix = nearest(one.strip(), _COMPARE_OPTIONS, otherwise)
                yield Problem(manifest, annotation(_COMPARE), message, fix)


_HOOKS = ("PreSync", "Sync", "PostSync", "SyncFail", "Skip", "PreDelete", "PostDelete")
_POLICIES = ("BeforeHookCreation", "HookSucceeded", "HookFailed")
_HOOK_VALUES: dict[str, tuple[str, ...]] = {
    sync.HOOK: _HOOKS,
    f"{sync.HOOK}-delete-policy": _POLICIES,
    sync.HELM_HOOK: (
        "pre-install",
        "pre-upgrade",
        "post-install",
        "post-upgrade",
        "pre-delete",
        "post-delete",
        "crd-install",
    ),
    f"{sync.HELM_HOOK}-delete-policy": ("before-hook-creation", "hook-succeeded", "hook-failed"),
}


@rule(f"{_DOCS}/user-guide/helm/#helm-hooks", outcome=Outcome.HIDDEN)
def unknown_hook(objects: Objects) -> Iterator[Problem]:
    """Hooks, and when they are deleted, are words that Argo CD knows; of Helm's, those it takes.

    Else the object is never applied, or applied as no hook: a check before the sync runs after it.
    """
    for manifest in objects.manifests:
        for key, known in _HOOK_VALUES.items():
            said = manifest.annotations.get(key)
            for one in said.split(",") if isinstance(said, str) else ():
                if one.strip() not in known:
                    message = f"Argo CD knows no {key.rpartition('/')[2]} {one.strip()!r}"
                    fix = nearest(one.strip(), known, f"write one of {', '.join(known)}")
                    yield Problem(manifest, annotation(key), message, fix)


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
def invalid_hook_kind(objects: Objects) -> Iterator[Problem]:
    """A hook is a task with an end: a Job or a pod, not what is to stay.

    Else Argo CD deletes the object and makes it anew with each sync, and no longer compares it with
    git in between.
    """
    for manifest in objects.manifests:
        for key in (sync.HOOK, sync.HELM_HOOK):
            said = manifest.annotations.get(key)
            if said == "Skip":
                message = f"{manifest.label} is in git, and Argo CD never applies it"
                fix = "remove the annotation, or the object"
                yield Problem(manifest, annotation(key), message, fix)
            elif said is not None and _is_to_stay(objects, manifest):
                message = f"{manifest.label} is a hook: each sync deletes it and makes it anew"
                fix = "remove the annotation; where it is about the order, write a sync wave"
                yield Problem(manifest, annotation(key), message, fix)


def _is_to_stay(objects: Objects, hook: Manifest) -> bool:
    """Return whether an object is to stay: a ConfigMap, unless hooks alone use it."""
    if hook.kind != "ConfigMap":
        return hook.kind in _LASTING
    users = [one for one in objects.manifests if hook.name in config_maps(one.object)]
    hooks = [one for one in users if {sync.HOOK, sync.HELM_HOOK} & one.annotations.keys()]
    return not hooks or len(hooks) < len(users)


@rule(_SYNC_OPTIONS + "#resource-pruning-with-confirmation", outcome=Outcome.RISK)
def missing_prune_confirmation(objects: Objects) -> Iterator[Problem]:
    """What holds data, and the Application that does, is pruned only when a person confirms it.

    Else a commit that renames a StatefulSet, or a wrong folder, takes the chain's data along.
    """
    for manifest in objects.manifests:
        if not sync.holds_data(manifest):
            continue
        options = sync.options(manifest.annotations.get(sync.OPTIONS))
        # Prune=false and Delete=false keep the data, too.
        lacking = [o for o in ("Prune", "Delete") if options.get(o) not in ("confirm", "false")]
        if lacking:
            what = " and ".join({"Prune": "pruned", "Delete": "deleted"}[one] for one in lacking)
            message = f"{manifest.label} holds data, and is {what} without asking"
            fix = f"write {sync.CONFIRM}"
            yield Problem(manifest, annotation(sync.OPTIONS), message, fix)
    for manifest in (objects.project, objects.application):
        options = sync.options(manifest.annotations.get(sync.OPTIONS))
        if options.get("Prune") not in ("confirm", "false"):
            message = f"a commit that loses {manifest.label} would prune {objects.name}, unasked"
            fix = f"write {sync.BY_HAND}"
            yield Problem(manifest, annotation(sync.OPTIONS), message, fix)


_KEEP = "helm.sh/resource-policy"


@rule(_SYNC_OPTIONS + "#no-prune-resources", Severity.WARNING)
def prune_disabled(objects: Objects) -> Iterator[Problem]:
    """What holds no data goes when it leaves git.

    Else it stays on the cluster, kept by nobody: an old NetworkPolicy still opens a port, an old
    alert still wakes people; and the Application is OutOfSync for ever.
    """
    for manifest in objects.manifests:
        options = sync.options(manifest.annotations.get(sync.OPTIONS))
        kept = [f"{o}=false" for o in ("Delete", "Prune") if options.get(o) == "false"]
        key = sync.OPTIONS
        # Helm's word for the same, which Argo CD reads, too.
        if not kept and manifest.annotations.get(_KEEP) == "keep":
            kept, key = ["it"], _KEEP
        if kept and not sync.holds_data(manifest):
            message = f"{manifest.label} stays on the cluster after it has left git"
            yield Problem(manifest, annotation(key), message, f"remove {' and '.join(kept)}")
    path = ("spec", "syncPolicy", "syncOptions")
    options = sync.options(spec_of(objects.application, *path[1:]))
    for one in ("Prune", "Delete"):
        if options.get(one) == "false":
            message = f"{one}=false on the Application keeps whatever has left git"
            yield Problem(objects.application, path, message, f"remove {one}=false")


@rule(_SYNC_OPTIONS + "#force-sync")
def sync_replaces_running_object(objects: Objects) -> Iterator[Problem]:
    """A sync changes objects in place; only Jobs are deleted and made anew.

    Else a change of one field deletes the pods, all at once, and with Replace the fields that
    controllers own: an autoscaler's replicas, a load balancer's address.
    """
    path = ("spec", "syncPolicy", "syncOptions")
    for manifest in (*objects.manifests, objects.application):
        own = manifest is objects.application
        said = spec_of(manifest, *path[1:]) if own else manifest.annotations.get(sync.OPTIONS)
        options = sync.options(said)
        found = [one for one in ("Force", "Replace") if options.get(one) == "true"]
        if found and manifest.kind not in ("Job", "Pod"):
            what = " and ".join(f"{one}=true" for one in found)
            verb = "deletes and makes anew" if "Force" in found else "replaces as a whole"
            message = f"a sync {verb} {'every object' if own else manifest.label}: {what}"
            yield Problem(
                manifest, path if own else annotation(sync.OPTIONS), message, f"remove {what}"
            )


_MOST = 63
_HASH = 11
"""Of `-` and the hash of a revision, which is a label of a StatefulSet's pods."""
_OF_CRON_JOBS = 52
"""A CronJob adds `-` and the minute to the names of its Jobs."""


@rule("https://kubernetes.io/docs/concepts/overview/working-with-objects/names/")
def name_too_long(objects: Objects) -> Iterator[Problem]:
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


@rule(
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/",
    outcome=Outcome.REJECTED,
)
def annotations_too_large(objects: Objects) -> Iterator[Problem]:
    """An object's annotations have at most 256 KiB together.

    Else the API server refuses the object, and the sync fails or does not begin.
    """
    for manifest in objects.manifests:
        sizes = {
            key: len(str(key).encode()) + len(str(value).encode())
            for key, value in manifest.annotations.items()
        }
        if sum(sizes.values()) > _MOST_OF_ANNOTATIONS:
            largest = max(sizes, key=lambda key: sizes[key])
            message = f"the annotations have {sum(sizes.values())} bytes, of 262144 at most"
            fix = "keep the text in a ConfigMap"
            yield Problem(manifest, annotation(largest), message, fix)


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
def server_managed_field(objects: Objects) -> Iterator[Problem]:
    """Manifests have nothing that a cluster writes into them.

    Else two write one field, and undo each other: the object is OutOfSync for ever, is taken for
    another Application's, or can't be applied at all.
    """
    for manifest in objects.manifests:
        found: list[tuple[Where, str]] = [
            (annotation(key), who) for key, who in _LIVE.items() if key in manifest.annotations
        ]
        instance = ("metadata", "labels", "argocd.argoproj.io/instance")
        if paths.has(manifest.object, instance):
            found.append((instance, "Argo CD"))
        found += [
            (("metadata", field), "the API server")
            for field in _SET_BY_THE_SERVER
            if manifest.metadata.get(field) is not None
        ]
        for path, who in found:
            message = f"{path[-1]} of {manifest.label} is {who}'s to write: it undoes what git says"
            yield Problem(manifest, path, message, "remove it")
