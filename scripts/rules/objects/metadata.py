"""Metadata: lengths of names, and the annotations that Argo CD reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.core import advice, paths
from scripts.core.edits import Action
from scripts.core.findings import Severity
from scripts.core.fixes import Change, Fix
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
    """Argo CD knows all sync options and their values.

    Otherwise Argo CD ignores the option without an error: an object that should wait for
    confirmation before it is pruned is pruned at once.
    """
    every = _OPTION_VALUES | _OF_APPLICATIONS
    listed = spec_of(objects.application, "syncPolicy", "syncOptions")
    for index, option in enumerate(listed if isinstance(listed, list) else ()):
        if problem := _unknown_option(str(option), every, option):
            path = ("spec", "syncPolicy", "syncOptions", index)
            yield Problem(objects.application, path, *problem)
    for manifest in objects.manifests:
        value = manifest.annotations.get(sync.OPTIONS)
        for option in value.split(",") if isinstance(value, str) else ():
            name = option.strip().partition("=")[0]
            problem = _unknown_option(option.strip(), _OPTION_VALUES, value)
            if name in _OF_APPLICATIONS:
                message = (
                    f"Argo CD ignores the sync option {name} on {manifest.label}: it works only on"
                    " Applications"
                )
                problem = message, _without(f"remove {option.strip()}", value, [option.strip()])
            if problem:
                yield Problem(manifest, annotation(sync.OPTIONS), *problem)


def _unknown_option(
    text: str, known: dict[str, tuple[str, ...]], whole: Any
) -> tuple[str, str] | None:
    """Return what is wrong with an option, and the fix; whole: the text that it is in."""
    name, _, value = text.partition("=")
    if name not in known:
        fix = nearest(name, known, f"write one of {', '.join(known)}", whole)
        return f"{name or text!r} is not a sync option: Argo CD ignores it", fix
    if value not in known[name]:
        valid = [f"{name}={one}" for one in known[name]]
        fix = nearest(f"{name}={value}", valid, f"write one of {', '.join(valid)}", whole)
        return f"{value!r} is not a valid value of the sync option {name}: Argo CD ignores it", fix
    return None


_COMPARE_OPTIONS = (
    "IgnoreExtraneous",
    "IncludeMutationWebhook=true",
    "ServerSideDiff=false",
    "ServerSideDiff=true",
)


@rule(f"{_DOCS}/user-guide/compare-options/", outcome=Outcome.HIDDEN)
def unknown_compare_option(objects: Objects) -> Iterator[Problem]:
    """Argo CD knows all compare options.

    Otherwise Argo CD ignores the option without an error, and compares the object as usual.
    """
    for manifest in (*objects.manifests, objects.application):
        value = manifest.annotations.get(_COMPARE)
        for option in value.split(",") if isinstance(value, str) else ():
            if option.strip() not in _COMPARE_OPTIONS:
                message = f"{option.strip()!r} is not a compare option: Argo CD ignores it"
                otherwise = f"write one of {', '.join(_COMPARE_OPTIONS)}"
                fix = nearest(option.strip(), _COMPARE_OPTIONS, otherwise, value)
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
    """Argo CD knows all hooks and their deletion policies.

    Otherwise the object is not applied, or is applied as an ordinary object: a check that should
    run before the sync runs after it.
    """
    for manifest in objects.manifests:
        for key, known in _HOOK_VALUES.items():
            value = manifest.annotations.get(key)
            for name in value.split(",") if isinstance(value, str) else ():
                if name.strip() not in known:
                    kind = key.rpartition("/")[2]
                    effect = f"{manifest.label} does not run as a hook"
                    effect = effect if kind == "hook" else "Argo CD ignores it"
                    message = f"{name.strip()!r} is not a {kind} that Argo CD supports: {effect}"
                    one_of = f"write one of {', '.join(known)}"
                    fix = nearest(name.strip(), known, one_of, value)
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
    """Only objects that run to completion are hooks: Jobs and pods.

    Otherwise every sync deletes and recreates the object, and between syncs Argo CD does not
    compare it with git.
    """
    for manifest in objects.manifests:
        for key in (sync.HOOK, sync.HELM_HOOK):
            value = manifest.annotations.get(key)
            if value == "Skip":
                message = f"with {key}: Skip, Argo CD does not apply {manifest.label}"
                fix = f"remove the annotation; if nothing needs {manifest.label}, remove both"
                yield Problem(manifest, annotation(key), message, fix)
            elif value is not None and _is_permanent(objects, manifest):
                message = f"{manifest.label} is a hook: every sync deletes and recreates it"
                fix = (
                    f"remove the annotation {key}; if the order matters, write {sync.WAVE} with a"
                    " number in quotes"
                )
                yield Problem(manifest, annotation(key), message, fix)


def _is_permanent(objects: Objects, hook: Manifest) -> bool:
    """Return whether an object outlives a sync; a ConfigMap does unless only hooks use it."""
    if hook.kind != "ConfigMap":
        return hook.kind in _LASTING
    users = [user for user in objects.manifests if hook.name in config_maps(user.object)]
    hooks = [user for user in users if {sync.HOOK, sync.HELM_HOOK} & user.annotations.keys()]
    return not hooks or len(hooks) < len(users)


@rule(_SYNC_OPTIONS + "#resource-pruning-with-confirmation", outcome=Outcome.RISK)
def missing_prune_confirmation(objects: Objects) -> Iterator[Problem]:
    """Argo CD asks for confirmation before it prunes or deletes objects with data.

    Otherwise a commit that renames a StatefulSet or writes manifests to the wrong folder deletes
    the data of the chain. Pruning the AppProject or the Application needs confirmation, too.
    """
    for manifest in objects.manifests:
        if not sync.holds_data(manifest):
            continue
        options = sync.options(manifest.annotations.get(sync.OPTIONS))
        # Prune=false and Delete=false also keep the data.
        lacking = [
            option
            for option in ("Prune", "Delete")
            if options.get(option) not in ("confirm", "false")
        ]
        if lacking:
            what = " and ".join(f"{option.lower()}s" for option in lacking)
            message = f"{manifest.label} holds data, but Argo CD {what} it without confirmation"
            fix = _write_options(options | dict.fromkeys(lacking, "confirm"))
            yield Problem(manifest, annotation(sync.OPTIONS), message, fix)
    for manifest in (objects.project, objects.application):
        options = sync.options(manifest.annotations.get(sync.OPTIONS))
        if options.get("Prune") not in ("confirm", "false"):
            message = (
                f"a commit that removes {manifest.label} deletes all objects of {objects.name}"
                " without confirmation"
            )
            fix = _write_options(options | sync.options(sync.BY_HAND))
            yield Problem(manifest, annotation(sync.OPTIONS), message, fix)


def _write_options(options: dict[str, str]) -> Fix:
    """Return the fix to write the sync options of an object."""
    written = ",".join(f"{key}={value}" for key, value in options.items())
    return advice.saying(f"write the annotation {sync.OPTIONS}: {written}", written)


def _without(words: str, text: Any, options: Sequence[str]) -> Fix:
    """Return the fix to remove sync options from an annotation."""
    listed = [each.strip() for each in str(text).split(",")]
    left = [each for each in listed if each not in options]
    if not left:
        return Fix(words, [Change(Action.REMOVE, ())])
    return advice.saying(words, ",".join(left)) if len(left) < len(listed) else Fix(words)


_KEEP = "helm.sh/resource-policy"


@rule(_SYNC_OPTIONS + "#no-prune-resources", Severity.WARNING)
def prune_disabled(objects: Objects) -> Iterator[Problem]:
    """Argo CD prunes an object without data once it is removed from git.

    Otherwise it stays on the cluster and no one maintains it: an old NetworkPolicy still opens a
    port, an old alert still pages, and the Application stays OutOfSync.
    """
    for manifest in objects.manifests:
        options = sync.options(manifest.annotations.get(sync.OPTIONS))
        kept = [
            f"{option}=false" for option in ("Delete", "Prune") if options.get(option) == "false"
        ]
        key = sync.OPTIONS
        # Argo CD reads Helm's annotation, too.
        if not kept and manifest.annotations.get(_KEEP) == "keep":
            kept, key = [_KEEP], _KEEP
        if kept and not sync.holds_data(manifest):
            names = " and ".join(kept)
            message = (
                f"with {names}, {manifest.label} stays on the cluster after it is removed from git"
            )
            place = "" if key == _KEEP else f" from {key}"
            words = f"remove {names}{place}"
            fix = advice.remove(f"{names}{place}")
            if key == sync.OPTIONS:
                fix = _without(words, manifest.annotations.get(key), kept)
            yield Problem(manifest, annotation(key), message, fix)
    path = ("spec", "syncPolicy", "syncOptions")
    options = sync.options(spec_of(objects.application, *path[1:]))
    for option in ("Prune", "Delete"):
        if options.get(option) == "false":
            message = (
                f"with {option}=false on the Application, objects stay on the cluster after they"
                " are removed from git"
            )
            fix = _without_item(objects.application, [*path], f"{option}=false")
            yield Problem(objects.application, path, message, fix)


@rule(_SYNC_OPTIONS + "#force-sync")
def sync_replaces_running_object(objects: Objects) -> Iterator[Problem]:
    """A sync updates objects in place; it deletes and recreates only Jobs and pods.

    Otherwise a change of one field deletes all pods of a workload at once. Replace=true also
    overwrites fields that controllers set, such as the replicas of an autoscaled workload.
    """
    path = ("spec", "syncPolicy", "syncOptions")
    for manifest in (*objects.manifests, objects.application):
        is_application = manifest is objects.application
        value = manifest.annotations.get(sync.OPTIONS)
        value = spec_of(manifest, *path[1:]) if is_application else value
        options = sync.options(value)
        active = [option for option in ("Force", "Replace") if options.get(option) == "true"]
        if active and manifest.kind not in ("Job", "Pod"):
            named = " and ".join(f"{option}=true" for option in active)
            verb = "deletes and recreates" if "Force" in active else "overwrites"
            scope = "all objects" if is_application else manifest.label
            message = f"with {named}, every sync {verb} {scope}"
            place = path if is_application else annotation(sync.OPTIONS)
            place_named = ".".join(path[1:]) if is_application else sync.OPTIONS
            fix = Fix(f"remove {named} from {place_named}")
            if not is_application:
                fix = _without(fix, value, named.split(" and "))
            elif len(active) == 1:
                fix = _without_item(manifest, [*path], named)
            yield Problem(manifest, place, message, fix)


def _without_item(manifest: Manifest, path: list[str | int], item: str) -> Fix:
    """Return the fix to remove an item of a list at a path, which is the place of the finding."""
    words = f"{item} from {'.'.join(map(str, path[1:]))}"
    listed = manifest.get(*path)
    index = listed.index(item) if isinstance(listed, list) and item in listed else None
    return Fix(f"remove {words}") if index is None else advice.remove(words, [*path[-1:], index])


_MOST = 63
_HASH = 11
"""The length of `-` and the revision hash in a label of a StatefulSet's pods."""
_OF_CRON_JOBS = 52
"""A CronJob appends `-` and the minute to the names of its Jobs."""


@rule("https://kubernetes.io/docs/concepts/overview/working-with-objects/names/")
def name_too_long(objects: Objects) -> Iterator[Problem]:
    """Names are short enough for the names and labels that controllers derive from them.

    Otherwise the controller cannot create pods or Jobs: the object exists, and nothing runs.
    """
    for manifest in objects.manifests:
        limit, reason = _MOST, ""
        if manifest.kind == "StatefulSet":
            limit, reason = _MOST - _HASH, "a label of its pods contains the name and a hash"
        elif manifest.kind == "CronJob":
            limit, reason = _OF_CRON_JOBS, "the names of its Jobs also contain the minute"
        elif manifest.kind == "Job":
            reason = "a label of its pods contains the name"
        if reason and len(manifest.name) > limit:
            message = (
                f"the name of {manifest.label} has {len(manifest.name)} characters, but only"
                f" {limit} fit, because {reason}: nothing runs"
            )
            fix = f"write a name of at most {limit} characters"
            yield Problem(manifest, ("metadata", "name"), message, fix)


_MOST_OF_ANNOTATIONS = 256 * 1024


@rule(
    "https://kubernetes.io/docs/concepts/overview/working-with-objects/annotations/",
    outcome=Outcome.REJECTED,
)
def annotations_too_large(objects: Objects) -> Iterator[Problem]:
    """The annotations of an object are at most 256 KiB in total.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for manifest in objects.manifests:
        sizes = {
            key: len(str(key).encode()) + len(str(value).encode())
            for key, value in manifest.annotations.items()
        }
        if sum(sizes.values()) > _MOST_OF_ANNOTATIONS:
            largest = max(sizes, key=lambda key: sizes[key])
            message = (
                f"the annotations of {manifest.label} have {sum(sizes.values())} bytes, more than"
                f" {_MOST_OF_ANNOTATIONS}: the API server rejects the object"
            )
            fix = f"shorten or remove {largest}, the longest annotation"
            yield Problem(manifest, annotation(largest), message, fix)


_LIVE: dict[str, str] = {
    "kubectl.kubernetes.io/last-applied-configuration": "kubectl",
    "deployment.kubernetes.io/revision": "the Deployment controller",
    "argocd.argoproj.io/tracking-id": "Argo CD",
    "argocd.argoproj.io/installation-id": "Argo CD",
    "deprecated.daemonset.template.generation": "the DaemonSet controller",
    "pv.kubernetes.io/bind-completed": "the volume controller",
    "autoscaling.alpha.kubernetes.io/conditions": "the autoscaler",
}
"""Annotation → what writes it on the cluster."""
_SET_BY_THE_SERVER = ("managedFields", "resourceVersion", "uid", "creationTimestamp", "generation")


@rule("https://kubernetes.io/docs/reference/labels-annotations-taints/")
def server_managed_field(objects: Objects) -> Iterator[Problem]:
    """Manifests have no fields that the cluster manages.

    Otherwise git and the cluster overwrite each other: the object stays OutOfSync, Argo CD takes it
    for an object of another Application, or the API server rejects it.
    """
    for manifest in objects.manifests:
        managed: list[tuple[Where, str]] = [
            (annotation(key), owner) for key, owner in _LIVE.items() if key in manifest.annotations
        ]
        instance = ("metadata", "labels", "argocd.argoproj.io/instance")
        if paths.has(manifest.object, instance):
            managed.append((instance, "Argo CD"))
        managed += [
            (("metadata", field), "the API server")
            for field in _SET_BY_THE_SERVER
            if manifest.metadata.get(field) is not None
        ]
        for path, owner in managed:
            message = (
                f"{path[-1]} of {manifest.label} is managed by {owner}: git and {owner} overwrite"
                " each other"
            )
            yield Problem(manifest, path, message, advice.remove(str(path[-1])))
