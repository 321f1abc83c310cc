"""References: the objects that an object names exist, with the keys that it reads."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from scripts.core import advice, paths
from scripts.core.fixes import Fix
from scripts.kubernetes import services
from scripts.kubernetes.manifest import PODS, Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules import named_objects
from scripts.rules.named_objects import Mention
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_CONFIG_MAPS = "https://kubernetes.io/docs/concepts/configuration/configmap/"
_SECRETS = "https://kubernetes.io/docs/concepts/configuration/secret/"
_CLAIMS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/"
_STATEFUL = "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/"
_MISSPELLED = 0.93
"""How similar an optional name must be to an existing one to be reported as misspelled."""
_NAMELESS = "the pods have no DNS names, so peers cannot reach them by name"
_OF_CLUSTERS = ("ClusterSecretStore", "IngressClass", "PriorityClass", "StorageClass")
_NEAR = 0.8
"""How similar an existing name must be to be suggested."""


@rule(_CONFIG_MAPS)
def missing_config_map(objects: Objects) -> Iterator[Problem]:
    """Every ConfigMap that a pod requires exists.

    Otherwise its containers stay in CreateContainerConfigError, or the pod in ContainerCreating.
    """
    return _missing(objects, "ConfigMap", "the pods that need it do not start")


@rule(_SECRETS)
def missing_secret(objects: Objects) -> Iterator[Problem]:
    """Every Secret in use comes from a manifest or an ExternalSecret, or is provided.

    Otherwise pods that read it do not start, and an Ingress that names it serves no certificate.
    """
    for problem in _missing(objects, "Secret", "the pods that need it do not start"):
        name = paths.get(problem.manifest.object, problem.path)
        maker = objects.find("ExternalSecret", name)
        target: Where = ("spec", "target", "name")
        if maker is None or paths.get(maker.object, target) in (None, name):
            yield problem
        else:
            created = paths.get(maker.object, target)
            message = f"{maker.label} creates the Secret {created}, but {problem.message}"
            yield Problem(maker, target, message, advice.write("target.name", name))


@rule(_CONFIG_MAPS)
def missing_config_key(objects: Objects) -> Iterator[Problem]:
    """Every key that a pod reads exists in the ConfigMap or the Secret.

    Otherwise the containers do not start. If the reference is optional, they run without the value.
    """
    reported = set[tuple[str, str, str]]()
    for kind in ("ConfigMap", "Secret"):
        for mention in objects.once(named_objects.by_kind).get(kind, ()):
            known = objects.once(named_objects.there).get((kind, mention.name))
            if known is None:
                continue
            for path, key in mention.keys:
                if key not in known and (kind, mention.name, key) not in reported:
                    reported.add((kind, mention.name, key))
                    listed = f"only {', '.join(sorted(known))}" if known else "no keys"
                    message = (
                        f"{mention.manifest.label} reads the key {key} of {kind}/{mention.name},"
                        f" which has {listed}: {_without_key(mention)}"
                    )
                    near = difflib.get_close_matches(key, known, 1)
                    add = _add_key(objects, kind, mention.name, key)
                    fix = advice.instead(key, near[0]) if near else add
                    yield _at_the_maker(objects, kind, mention, message, add) or Problem(
                        mention.manifest, path, message, fix
                    )


def _add_key(objects: Objects, kind: str, name: str, key: str) -> str:
    """Return the fix to add a key to the object with a name, or to the one that creates it."""
    maker = objects.find("ExternalSecret", name) if kind == "Secret" else None
    if maker:
        return f"add an entry with secretKey: {key} to data of {maker.label}"
    if objects.find(kind, name) or name not in objects.given.objects.get(kind, ()):
        return f"add {key} to {kind}/{name}"
    place = f"given.{kind}.{name} in {_environment_file(objects)}"
    return f"add {key} to {kind}/{name} on the cluster, and then to {place}"


def _environment_file(objects: Objects) -> str:
    """Return the file that declares the resources that the cluster provides."""
    return f"overlays/{objects.name}/environment.yaml"


def _without_key(mention: Mention) -> str:
    """Return what happens if a key does not exist."""
    if mention.optional:
        return "it runs without the value"
    has_pods = mention.manifest.kind.lower() in PODS
    return "its containers do not start" if has_pods else "it does not work without the key"


def _at_the_maker(
    objects: Objects, kind: str, mention: Mention, message: str, fix: str
) -> Problem | None:
    """Return the problem at the object with the keys, if only that one is patched."""
    maker = objects.find(kind, mention.name) or objects.find("ExternalSecret", mention.name)
    if maker is None or not maker.patches or mention.manifest.patches:
        return None
    path: Where = ("spec", "data") if maker.kind == "ExternalSecret" else ("data",)
    return Problem(maker, path, message, fix)


@rule("https://kubernetes.io/docs/concepts/security/service-accounts/")
def missing_service_account(objects: Objects) -> Iterator[Problem]:
    """Every ServiceAccount that pods or a SecretStore use exists.

    Otherwise no pod is created, or External Secrets cannot read the store.
    """
    return _missing(objects, "ServiceAccount", "the pods are not created")


@rule(_CLAIMS)
def missing_volume_claim(objects: Objects) -> Iterator[Problem]:
    """Every PersistentVolumeClaim that is mounted or cloned exists.

    Otherwise the pod stays Pending. A StatefulSet with n replicas creates the claims 0 to n - 1
    itself.
    """
    return _missing(objects, "PersistentVolumeClaim", "the pod stays Pending")


@rule("https://kubernetes.io/docs/concepts/storage/storage-classes/")
def unknown_storage_class(objects: Objects) -> Iterator[Problem]:
    """Every StorageClass that a claim names exists in the cluster.

    Otherwise no volume is provisioned: the claim and its pod stay Pending.
    """
    return _missing(objects, "StorageClass", "the claim and its pod stay Pending")


@rule(
    "https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass",
    outcome=Outcome.RISK,
)
def claim_without_storage_class(objects: Objects) -> Iterator[Problem]:
    """Claims name a StorageClass if `given` in environment.yaml lists any.

    Otherwise the claim uses the default class of the cluster, which can have slower disks. Without
    a default class, the pod stays Pending.
    """
    return _without(objects, "StorageClass")


@rule("https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-class")
def unknown_ingress_class(objects: Objects) -> Iterator[Problem]:
    """Every IngressClass that an Ingress names exists in the cluster.

    Otherwise no controller serves the Ingress, and connections to its hosts fail.
    """
    return _missing(objects, "IngressClass", "no controller serves it")


@rule(
    "https://kubernetes.io/docs/concepts/services-networking/ingress/#default-ingress-class",
    outcome=Outcome.RISK,
)
def ingress_without_class(objects: Objects) -> Iterator[Problem]:
    """Ingresses name an IngressClass if `given` in environment.yaml lists any.

    Otherwise the default class of the cluster serves the Ingress; without a default, no controller
    does.
    """
    return _without(objects, "IngressClass")


@rule("https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/")
def unknown_priority_class(objects: Objects) -> Iterator[Problem]:
    """Every PriorityClass that pods name exists in the cluster.

    Otherwise the API server rejects the pods, so the workload has none.
    """
    return _missing(objects, "PriorityClass", "the API server rejects the pods")


@rule("https://external-secrets.io/latest/api/externalsecret/")
def missing_secret_store(objects: Objects) -> Iterator[Problem]:
    """Every store that an ExternalSecret reads exists.

    Otherwise External Secrets does not create its Secret, and the pods that need it do not start.
    """
    for kind in ("SecretStore", "ClusterSecretStore"):
        yield from _missing(objects, kind, "no Secret is created from it")


def _missing(objects: Objects, kind: str, effect: str) -> Iterator[Problem]:
    """Yield one problem for each name without an object, however often it is used."""
    names = [name for known, name in objects.once(named_objects.there) if known == kind]
    left: dict[str, list[Mention]] = {}
    for mention in objects.once(named_objects.by_kind).get(kind, ()):
        if mention.name and (kind, mention.name) not in objects.once(named_objects.there):
            left.setdefault(mention.name, []).append(mention)
    for name, named in left.items():
        optional = all(mention.optional for mention in named)
        near = difflib.get_close_matches(name, names, 1, _MISSPELLED if optional else _NEAR)
        if optional and not near:
            continue
        first = named[0]
        others = len({m.manifest.label for m in named}) - 1
        users = first.manifest.label + (f" and {others} more" if others else "")
        use = "use" if others else "uses"
        then = "it is optional, so the pods start without it" if optional else effect
        if kind == "Secret" and first.manifest.kind == "Ingress":
            then = "the hosts have no certificate"
        elif kind == "ServiceAccount" and first.manifest.kind == "SecretStore":
            then = "External Secrets cannot read the store"
        message = f"{users} {use} {kind}/{name}, which does not exist: {then}"
        fix = _missing_fix(objects, kind, name, near)
        if first.manifest.kind == "CronJob" and first.path[-1] == "claimName":
            # The similar names are those of running pods, whose volumes no backup may copy.
            fix = 'write backup.source.existingClaim: "", so that a volume is cloned; if the '
            fix += f"cluster has {kind}/{name}, list it under given.{kind} in "
            fix += _environment_file(objects)
        yield Problem(first.manifest, first.path, message, fix)


def _missing_fix(objects: Objects, kind: str, name: str, near: Sequence[str]) -> str:
    """Return the fix for a name without an object: another name, or the missing object.

    near: existing objects with similar names, the most similar one first.
    """
    known = list(near or objects.given.objects.get(kind, ()))
    provided = f"list it under given.{kind} in {_environment_file(objects)}"
    other: str
    if kind == "PriorityClass" and not known:
        other = advice.remove("priorityClassName")
    elif near or (known and kind in _OF_CLUSTERS):
        other = f"write {_one_of(objects, kind, known)}"
        if len(known) == 1:
            other = advice.write_value(known[0], other.removeprefix("write "))
    elif kind in _OF_CLUSTERS:
        return f"create {kind}/{name} on the cluster if it is missing, and {provided}"
    else:
        what = "an ExternalSecret for " if kind == "Secret" else ""
        other = f"create {what}{kind}/{name} in chart/templates"
    otherwise = f"; if the cluster has {kind}/{name}, {provided}"
    return other.unless(otherwise) if isinstance(other, Fix) else other + otherwise


def _one_of(objects: Objects, kind: str, names: Sequence[str]) -> str:
    """Return the first of some names, and which others the environment also lists."""
    if not names[1:]:
        return names[0]
    more = ", ".join(names[1:])
    return f"{names[0]} ({_environment_file(objects)} also lists {more} in given.{kind})"


def _without(objects: Objects, kind: str) -> Iterator[Problem]:
    """Yield the objects that name no class, if the classes of the cluster are known."""
    known = list(objects.given.objects.get(kind, ()))
    if not known:
        return
    field = "ingressClassName" if kind == "IngressClass" else "storageClassName"
    for mention in objects.once(named_objects.by_kind).get(kind, ()):
        if not mention.name:
            label = mention.manifest.label
            is_object = mention.manifest.kind in ("Ingress", "PersistentVolumeClaim")
            what = label if is_object else f"a claim of {label}"
            message = f"{what} names no {kind}, so it gets the default of the cluster, if any"
            fix: str = f"write {field}: {_one_of(objects, kind, known)}"
            if not known[1:]:
                fix = advice.write(field, known[0])
            yield Problem(mention.manifest, mention.path, message, fix)


@rule(_STATEFUL + "#stable-network-id")
def statefulset_without_headless_service(objects: Objects) -> Iterator[Problem]:
    """The serviceName of a StatefulSet is a headless Service that selects its pods.

    Otherwise the pods have no DNS names, and peers cannot reach them by name.
    """
    path: Where = ("spec", "serviceName")
    for workload in objects.workloads:
        if workload.manifest.kind != "StatefulSet":
            continue
        label, name = workload.manifest.label, workload.get(*path)
        known = objects.of_kind("Service")
        headless = [other.name for other in known if _governs(objects, other, workload)]
        service = objects.find("Service", name)
        fix = f"create a Service with clusterIP: None that selects the pods of {label}, and write"
        fix += " its name in serviceName"
        fix = advice.write("serviceName", headless[0]) if headless else fix
        if not name and headless:
            message = f"{label} has no serviceName: {_NAMELESS}"
        elif not name or name in headless:
            continue
        elif service is None:
            message = f"Service/{name}, the serviceName of {label}, does not exist: {_NAMELESS}"
        elif not services.is_headless(service):
            message = f"Service/{name}, the serviceName of {label}, is not headless: {_NAMELESS}"
        else:
            message = f"Service/{name} does not select the pods of {label}: {_NAMELESS}"
        yield Problem(workload.manifest, path, message, fix)


def _governs(objects: Objects, service: Manifest, workload: Workload) -> bool:
    """Return whether a Service is headless and selects the pods of a workload."""
    return services.is_headless(service) and workload in objects.behind(service)
