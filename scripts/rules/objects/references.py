"""References: what an object names is there, and is what it is taken for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from scripts.core import paths
from scripts.kubernetes import services
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload
from scripts.rules import named_objects
from scripts.rules.named_objects import Mention
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_CONFIG_MAPS = "https://kubernetes.io/docs/concepts/configuration/configmap/"
_SECRETS = "https://kubernetes.io/docs/concepts/configuration/secret/"
_CLAIMS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/"
_STATEFUL = "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/"
_MISSPELT = 0.93
"""How near a name must be to another to be taken for it where it may be missing."""
_NAMELESS = "its pods have no names in the cluster's DNS"
_OF_CLUSTERS = ("ClusterSecretStore", "IngressClass", "PriorityClass", "StorageClass")
_NEAR = 0.8
"""How near a name must be to another to be written in its place."""
_FEW = 3
"""So many names are listed where none is near."""


@rule(_CONFIG_MAPS)
def missing_config_map(objects: Objects) -> Iterator[Problem]:
    """A ConfigMap that a pod needs is there.

    Else its containers are not started: they wait for it.
    """
    return _missing(objects, "ConfigMap", "the pods do not start")


@rule(_SECRETS)
def missing_secret(objects: Objects) -> Iterator[Problem]:
    """A Secret that is needed is made by a manifest, an ExternalSecret or the contract, or given.

    Else pods that mount it do not start, and what signs or encrypts with it has no key.
    """
    for problem in _missing(objects, "Secret", "what needs it does not start"):
        name = paths.get(problem.manifest.object, problem.path)
        maker = objects.find("ExternalSecret", name)
        target: Where = ("spec", "target", "name")
        if maker is None or paths.get(maker.object, target) in (None, name):
            yield problem
        else:
            other = paths.get(maker.object, target)
            message = f"{maker.label} makes the Secret {other}, but {problem.message}"
            yield Problem(maker, target, message, f"write {name}")


@rule(_CONFIG_MAPS)
def missing_config_key(objects: Objects) -> Iterator[Problem]:
    """A key that is taken of a ConfigMap or a Secret is one that it has.

    Else the containers are not started; where it is optional, they run without it.
    """
    told = set[tuple[str, str, str]]()
    for kind in ("ConfigMap", "Secret"):
        for mention in objects.once(named_objects.by_kind).get(kind, ()):
            known = objects.once(named_objects.there).get((kind, mention.name))
            if known is None:
                continue
            for path, key in mention.keys:
                if key not in known and (kind, mention.name, key) not in told:
                    told.add((kind, mention.name, key))
                    listed = ", ".join(sorted(known)) or "none"
                    message = (
                        f"{mention.manifest.label} takes the key {key} of {kind}/{mention.name},"
                        f" which has only {listed}: what needs it does not start, or goes without"
                    )
                    near = difflib.get_close_matches(key, known, 1)
                    fix = f"write {near[0] if near else 'a key that it has'}, or add {key} to it"
                    yield _at_the_maker(objects, kind, mention, message, fix) or Problem(
                        mention.manifest, path, message, fix
                    )


def _at_the_maker(
    objects: Objects, kind: str, mention: Mention, message: str, fix: str
) -> Problem | None:
    """Return the problem at what has the keys, where that is what people have patched."""
    maker = objects.find(kind, mention.name) or objects.find("ExternalSecret", mention.name)
    if maker is None or not maker.patches or mention.manifest.patches:
        return None
    path: Where = ("spec", "data") if maker.kind == "ExternalSecret" else ("data",)
    return Problem(maker, path, message, fix)


@rule("https://kubernetes.io/docs/concepts/security/service-accounts/")
def missing_service_account(objects: Objects) -> Iterator[Problem]:
    """A ServiceAccount that pods or a SecretStore use is there.

    Else no pod is made, and nothing is read from the store.
    """
    return _missing(objects, "ServiceAccount", "nothing can act as it")


@rule(_CLAIMS)
def missing_volume_claim(objects: Objects) -> Iterator[Problem]:
    """A PersistentVolumeClaim that is mounted or cloned is there.

    Else the pod stays Pending; of a StatefulSet's claims those below its replicas are there.
    """
    return _missing(objects, "PersistentVolumeClaim", "the pod stays Pending")


@rule("https://kubernetes.io/docs/concepts/storage/storage-classes/")
def unknown_storage_class(objects: Objects) -> Iterator[Problem]:
    """A StorageClass that a claim names is one that the cluster has.

    Else nobody makes the volume: the claim and the pod stay Pending.
    """
    return _missing(objects, "StorageClass", "the claim and its pod stay Pending")


@rule(
    "https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass",
    outcome=Outcome.RISK,
)
def claim_without_storage_class(objects: Objects) -> Iterator[Problem]:
    """A claim names its StorageClass where the environment says which ones there are.

    Else it gets the cluster's default, which may be another, or none: slower disks, or no volume.
    """
    return _without(objects, "StorageClass")


@rule("https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-class")
def unknown_ingress_class(objects: Objects) -> Iterator[Problem]:
    """An IngressClass that an Ingress names is one that the cluster has.

    Else no controller serves the Ingress, and its hosts lead nowhere.
    """
    return _missing(objects, "IngressClass", "no controller serves it")


@rule(
    "https://kubernetes.io/docs/concepts/services-networking/ingress/#default-ingress-class",
    outcome=Outcome.RISK,
)
def ingress_without_class(objects: Objects) -> Iterator[Problem]:
    """An Ingress names its IngressClass where the environment says which ones there are.

    Else the cluster's default serves it, or nobody does.
    """
    return _without(objects, "IngressClass")


@rule("https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/")
def unknown_priority_class(objects: Objects) -> Iterator[Problem]:
    """A PriorityClass that pods name is one that the cluster has.

    Else the API server refuses the pods, and none is made.
    """
    return _missing(objects, "PriorityClass", "no pod is made")


@rule("https://external-secrets.io/latest/api/externalsecret/")
def missing_secret_store(objects: Objects) -> Iterator[Problem]:
    """The store that an ExternalSecret reads from is there.

    Else its Secret is not made, and the pods that need it do not start.
    """
    for kind in ("SecretStore", "ClusterSecretStore"):
        yield from _missing(objects, kind, "the Secret is not made")


def _missing(objects: Objects, kind: str, comes: str) -> Iterator[Problem]:
    """Yield once for each name that there is no object of, however often it is named."""
    names = [name for known, name in objects.once(named_objects.there) if known == kind]
    left: dict[str, list[Mention]] = {}
    for mention in objects.once(named_objects.by_kind).get(kind, ()):
        if mention.name and (kind, mention.name) not in objects.once(named_objects.there):
            left.setdefault(mention.name, []).append(mention)
    for name, named in left.items():
        optional = all(mention.optional for mention in named)
        near = difflib.get_close_matches(name, names, 1, _MISSPELT if optional else _NEAR)
        if optional and not near:
            continue
        first = named[0]
        others = sorted({m.manifest.label for m in named} - {first.manifest.label})
        also = f" (so do{'es' if len(others) == 1 else ''} {', '.join(others)})" if others else ""
        then = "being optional, it is gone without" if optional else comes
        message = (
            f"{first.manifest.label} names the {kind} {name}{also}, which is not there: {then}"
        )
        few = near or (names if len(names) <= _FEW else [])
        way = "name one that it has" if kind in _OF_CLUSTERS else "make it"
        way = f"write {' or '.join(few)}" if few else way
        fix = f"{way}; if the cluster has {name}, add it to given.{kind} in environment.yaml"
        yield Problem(first.manifest, first.path, message, fix)


def _without(objects: Objects, kind: str) -> Iterator[Problem]:
    """Yield what names no class, where it is known which ones the cluster has."""
    known = " or ".join(objects.given.objects.get(kind, ()))
    if not known:
        return
    field = "ingressClassName" if kind == "IngressClass" else "storageClassName"
    for mention in objects.once(named_objects.by_kind).get(kind, ()):
        if not mention.name:
            label = mention.manifest.label
            what = label if kind == "IngressClass" else f"a claim of {label}"
            message = f"{what} names no {kind}: it gets the cluster's default, if any"
            yield Problem(mention.manifest, mention.path, message, f"write {field}: {known}")


@rule(_STATEFUL + "#stable-network-id")
def statefulset_without_headless_service(objects: Objects) -> Iterator[Problem]:
    """A StatefulSet's serviceName is a headless Service that selects its pods.

    Else the pods have no names of their own, by which others find them.
    """
    path: Where = ("spec", "serviceName")
    for workload in objects.workloads:
        if workload.manifest.kind != "StatefulSet":
            continue
        label, name = workload.manifest.label, workload.get(*path)
        own = [one.name for one in objects.of_kind("Service") if _governs(objects, one, workload)]
        service = objects.find("Service", name)
        fix = f"write {own[0]}" if own else "write a Service with clusterIP: None for its pods"
        if not name and own:
            message = f"{label} has no serviceName: {_NAMELESS}"
        elif not name or name in own:
            continue
        elif service is None:
            message = (
                f"{label} names the Service {name}, which is not there: its pods have no names"
            )
        elif not services.is_headless(service):
            message = f"Service/{name} of {label} is not headless: {_NAMELESS}"
        else:
            message = f"Service/{name} does not select the pods of {label}: {_NAMELESS}"
        yield Problem(workload.manifest, path, message, fix)


def _governs(objects: Objects, service: Manifest, workload: Workload) -> bool:
    """Return whether a Service can give a workload's pods their names."""
    return services.is_headless(service) and workload in objects.behind(service)
