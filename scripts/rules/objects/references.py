"""References: what an object names is there, and is what it is taken for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

from scripts.core import paths
from scripts.core.findings import Severity
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.quantity import parse
from scripts.kubernetes.workloads import Workload, mappings
from scripts.rules import named_objects
from scripts.rules.named_objects import Mention
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Container, Objects, containers, pod, runs

_CONFIG_MAPS = "https://kubernetes.io/docs/concepts/configuration/configmap/"
_SECRETS = "https://kubernetes.io/docs/concepts/configuration/secret/"
_CLAIMS = "https://kubernetes.io/docs/concepts/storage/persistent-volumes/"
_SCALERS = "https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/"
_STATEFUL = "https://kubernetes.io/docs/concepts/workloads/controllers/statefulset/"
_MISSPELT = 0.93
"""How near a name must be to another to be taken for it where it may be missing."""
_NAMELESS = "its pods have no names in the cluster's DNS"
_OF_CLUSTERS = ("ClusterSecretStore", "IngressClass", "PriorityClass", "StorageClass")
_MODES = ("ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod")
_NEAR = 0.8
"""How near a name must be to another to be written in its place."""
_FEW = 3
"""So many names are listed where none is near."""
_MOST_BYTES = 2**20
"""Of a ConfigMap's or Secret's values, without their keys."""
_SCALABLE = ("Deployment", "ReplicaSet", "StatefulSet")


@rule(_CONFIG_MAPS)
def config_map_missing(objects: Objects) -> Iterator[Problem]:
    """A ConfigMap that a pod needs is there.

    Else its containers are not started: they wait for it.
    """
    return _missing(objects, "ConfigMap", "the pods do not start")


@rule(_SECRETS)
def secret_missing(objects: Objects) -> Iterator[Problem]:
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
def key_missing(objects: Objects) -> Iterator[Problem]:
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
def service_account_missing(objects: Objects) -> Iterator[Problem]:
    """A ServiceAccount that pods or a SecretStore use is there.

    Else no pod is made, and nothing is read from the store.
    """
    return _missing(objects, "ServiceAccount", "nothing can act as it")


@rule(_CLAIMS)
def claim_missing(objects: Objects) -> Iterator[Problem]:
    """A PersistentVolumeClaim that is mounted or cloned is there.

    Else the pod stays Pending; of a StatefulSet's claims those below its replicas are there.
    """
    return _missing(objects, "PersistentVolumeClaim", "the pod stays Pending")


@rule("https://kubernetes.io/docs/concepts/storage/storage-classes/")
def storage_class_missing(objects: Objects) -> Iterator[Problem]:
    """A StorageClass that a claim names is one that the cluster has.

    Else nobody makes the volume: the claim and the pod stay Pending.
    """
    return _missing(objects, "StorageClass", "the claim and its pod stay Pending")


@rule("https://kubernetes.io/docs/concepts/storage/storage-classes/#default-storageclass")
def claim_without_class(objects: Objects) -> Iterator[Problem]:
    """A claim names its StorageClass where the environment says which ones there are.

    Else it gets the cluster's default, which may be another, or none: slower disks, or no volume.
    """
    return _without(objects, "StorageClass")


@rule("https://kubernetes.io/docs/concepts/services-networking/ingress/#ingress-class")
def ingress_class_missing(objects: Objects) -> Iterator[Problem]:
    """An IngressClass that an Ingress names is one that the cluster has.

    Else no controller serves the Ingress, and its hosts lead nowhere.
    """
    return _missing(objects, "IngressClass", "no controller serves it")


@rule("https://kubernetes.io/docs/concepts/services-networking/ingress/#default-ingress-class")
def ingress_without_class(objects: Objects) -> Iterator[Problem]:
    """An Ingress names its IngressClass where the environment says which ones there are.

    Else the cluster's default serves it, or nobody does.
    """
    return _without(objects, "IngressClass")


@rule("https://kubernetes.io/docs/concepts/scheduling-eviction/pod-priority-preemption/")
def priority_class_missing(objects: Objects) -> Iterator[Problem]:
    """A PriorityClass that pods name is one that the cluster has.

    Else the API server refuses the pods, and none is made.
    """
    return _missing(objects, "PriorityClass", "no pod is made")


@rule("https://external-secrets.io/latest/api/externalsecret/")
def secret_store_missing(objects: Objects) -> Iterator[Problem]:
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
def stateful_set_without_its_service(objects: Objects) -> Iterator[Problem]:
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
        elif paths.get(service.object, ["spec", "clusterIP"]) != "None":
            message = f"Service/{name} of {label} is not headless: {_NAMELESS}"
        else:
            message = f"Service/{name} does not select the pods of {label}: {_NAMELESS}"
        yield Problem(workload.manifest, path, message, fix)


def _governs(objects: Objects, service: Manifest, workload: Workload) -> bool:
    """Return whether a Service can give a workload's pods their names."""
    spec = service.object.get("spec")
    if not isinstance(spec, dict) or spec.get("clusterIP") != "None":
        return False
    selector = spec.get("selector")
    return bool(selector) and workload in objects.selected({"matchLabels": selector})


@rule(_SCALERS)
def autoscaler_target_missing(objects: Objects) -> Iterator[Problem]:
    """A HorizontalPodAutoscaler's target is there, and can be scaled.

    Else it never scales, and its target keeps the replicas that it has.
    """
    for manifest in objects.of_kind("HorizontalPodAutoscaler"):
        path: Where = ("spec", "scaleTargetRef")
        target = paths.get(manifest.object, path)
        target = target if isinstance(target, dict) else {}
        kind, name = str(target.get("kind")), str(target.get("name"))
        found = objects.find(kind, name)
        if found is None:
            names = [one.name for one in objects.of_kind(*_SCALABLE) if one.kind == kind]
            near = difflib.get_close_matches(name, names, 1)
            other = [one for one in objects.of_kind(*_SCALABLE) if one.name == name]
            message = f"{manifest.label} scales {kind}/{name}, which is not there: it never scales"
            if other:
                yield Problem(manifest, (*path, "kind"), message, f"write {other[0].kind}")
            else:
                fix = f"write {near[0]}" if near else "write the name of a workload"
                yield Problem(manifest, (*path, "name"), message, fix)
        elif kind not in _SCALABLE:
            message = f"{manifest.label} scales a {kind}, which has no replicas: it never does"
            fix = "write a Deployment or a StatefulSet"
            yield Problem(manifest, (*path, "kind"), message, fix)
        elif target.get("apiVersion") != found.api_version:
            version = target.get("apiVersion")
            message = f"{manifest.label} looks for {found.label} in {version}: it never scales"
            yield Problem(manifest, (*path, "apiVersion"), message, f"write {found.api_version}")


@rule(_SCALERS + "#algorithm-details")
def autoscalers_on_one_target(objects: Objects) -> Iterator[Problem]:
    """A workload has one HorizontalPodAutoscaler at most.

    Of two, the controller says AmbiguousSelector, and scales by neither.
    """
    first: dict[tuple[str, str], Manifest] = {}
    for manifest in objects.of_kind("HorizontalPodAutoscaler"):
        path: Where = ("spec", "scaleTargetRef")
        kind, name = (str(paths.get(manifest.object, (*path, key))) for key in ("kind", "name"))
        other = first.setdefault((kind, name), manifest)
        if other is not manifest:
            message = (
                f"{manifest.label} scales {kind}/{name}, as {other.label} does: it is scaled by"
                " neither"
            )
            fix = "put the metrics of both into one, and remove the other"
            yield Problem(manifest, (*path, "name"), message, fix)


@rule(_SCALERS + "#support-for-resource-metrics")
def autoscaler_without_request(objects: Objects) -> Iterator[Problem]:
    """Containers request the resource by whose use in percent they are scaled.

    Percent are of the request: without one the autoscaler knows no use, and never scales.
    """
    for manifest in objects.of_kind("HorizontalPodAutoscaler"):
        target = paths.get(manifest.object, ["spec", "scaleTargetRef"])
        target = target if isinstance(target, dict) else {}
        for workload in objects.workloads:
            if (workload.manifest.kind, workload.manifest.name) == (
                target.get("kind"),
                target.get("name"),
            ):
                yield from _without_request(objects, manifest, workload)


def _without_request(objects: Objects, scaler: Manifest, workload: Workload) -> Iterator[Problem]:
    for index, metric in mappings(paths.get(scaler.object, ["spec", "metrics"])):
        field = {"Resource": "resource", "ContainerResource": "containerResource"}.get(
            str(metric.get("type"))
        )
        source = metric.get(field) if field else None
        if not isinstance(source, dict) or not paths.get(source, ["target", "averageUtilization"]):
            continue
        resource, only = str(source.get("name")), source.get("container")
        running = [one for one in containers(workload) if runs(one)]
        if field == "containerResource":
            known = [one.name for one in running]
            running = [one for one in running if one.name == only]
            if not running:
                message = f"{scaler.label} scales by the container {only}, which no pod of it has"
                near = difflib.get_close_matches(str(only), known, 1)
                fix = f"write {near[0] if near else ' or '.join(known)}"
                path: Where = ("spec", "metrics", index, "containerResource", "container")
                yield Problem(scaler, path, message, fix)
        for one in running:
            if not _requests(objects, one, resource):
                message = (
                    f"the container {one.name} of {workload.manifest.label} requests no {resource},"
                    f" by which {scaler.label} scales: it never does"
                )
                path = (*one.path, "resources", "requests", resource)
                yield Problem(workload.manifest, path, message, f"write a request of {resource}")


def _requests(objects: Objects, container: Container, resource: str) -> bool:
    """Return whether a container has a request, be it by its limit or a LimitRange."""
    for field in ("requests", "limits"):
        if container.get("resources", field, resource) is not None:
            return True
    return any(
        paths.get(limit, [field, resource]) is not None
        for manifest in objects.of_kind("LimitRange")
        for _, limit in mappings(paths.get(manifest.object, ["spec", "limits"]))
        if limit.get("type") == "Container"
        for field in ("defaultRequest", "default")
    )


@rule(_SCALERS + "#algorithm-details")
def autoscaler_never_scales(objects: Objects) -> Iterator[Problem]:
    """A HorizontalPodAutoscaler's target in percent can be reached within the limits.

    Percent are of the requests, and nothing uses more than its limit: beyond that it never scales.
    """
    for manifest in objects.of_kind("HorizontalPodAutoscaler"):
        target = paths.get(manifest.object, ["spec", "scaleTargetRef"])
        own = [one for one in objects.workloads if _is_target(one, target)]
        for index, metric in mappings(paths.get(manifest.object, ["spec", "metrics"])):
            path: Where = ("spec", "metrics", index, "resource", "target", "averageUtilization")
            wanted = paths.get(manifest.object, path)
            resource = str(paths.get(metric, ["resource", "name"]))
            most = _most_percent(own[0], resource) if own and isinstance(wanted, int) else None
            if most is not None and wanted > most:
                message = (
                    f"{manifest.label} scales when {wanted} % of the requested {resource} is used,"
                    f" and the limits allow {int(most)} %: it never does"
                )
                yield Problem(manifest, path, message, "write a lower number, like 70")


def _is_target(workload: Workload, target: Any) -> bool:
    kind, name = (paths.get(target, [field]) for field in ("kind", "name"))
    return bool((workload.manifest.kind, workload.manifest.name) == (kind, name))


def _most_percent(workload: Workload, resource: str) -> Decimal | None:
    """Return how many percent of its requests a pod may use; None where a limit is not said."""
    requests = limits = Decimal(0)
    for container in containers(workload):
        if runs(container):
            limit = parse(container.get("resources", "limits", resource))
            request = parse(container.get("resources", "requests", resource))
            if limit is None:
                return None
            limits += limit
            requests += limit if request is None else request
    return 100 * limits / requests if requests else None


@rule(_CONFIG_MAPS, Severity.WARNING)
def config_map_unused(objects: Objects) -> Iterator[Problem]:
    """A ConfigMap is used by something of the environment.

    Else a change of it changes nothing, whatever it seems to say.
    """
    used = {mention.name for mention in objects.once(named_objects.by_kind).get("ConfigMap", ())}
    for manifest in objects.of_kind("ConfigMap"):
        if manifest.name not in used and not _for_others(manifest):
            others = (one.object for one in objects.manifests if one is not manifest)
            if not any(_says(other, manifest.name) for other in others):
                message = f"nothing of this environment uses {manifest.label}: it has no effect"
                fix = "remove it, or mount it where it was meant to be"
                yield Problem(manifest, ("metadata", "name"), message, fix)


def _for_others(manifest: Manifest) -> bool:
    """Return whether it has a label by which a program, like Grafana's sidecar, may find it."""
    labels = manifest.metadata.get("labels")
    names = labels if isinstance(labels, dict) else {}
    return any(not name.startswith(("app.kubernetes.io/", "helm.sh/")) for name in names)


def _says(part: Any, name: str) -> bool:
    """Return whether a text in an object has a name in it."""
    if isinstance(part, dict):
        return any(_says(value, name) for value in part.values())
    if isinstance(part, list):
        return any(_says(item, name) for item in part)
    return isinstance(part, str) and name in part


@rule("https://kubernetes.io/docs/concepts/security/service-accounts/", Severity.WARNING)
def service_account_unused(objects: Objects) -> Iterator[Problem]:
    """A ServiceAccount is used by pods or by a SecretStore.

    Else those that it was made for act as `default`, without the rights that it has.
    """
    used = {
        mention.name for mention in objects.once(named_objects.by_kind).get("ServiceAccount", ())
    }
    syncs = paths.get(objects.project.object, ["spec", "destinationServiceAccounts"])
    used |= {str(one.get("defaultServiceAccount")) for _, one in mappings(syncs)}
    for manifest in objects.of_kind("ServiceAccount"):
        if manifest.name not in used:
            message = f"nothing acts as {manifest.label}: what it was made for acts as `default`"
            fix = "write it as serviceAccountName of the pods, or remove it"
            yield Problem(manifest, ("metadata", "name"), message, fix)


@rule(_CONFIG_MAPS, outcome=Outcome.REJECTED)
def contents_too_large(objects: Objects) -> Iterator[Problem]:
    """A ConfigMap or a Secret holds 1 MiB at most.

    The API server refuses more, and the sync fails or does not begin.
    """
    for manifest in objects.of_kind("ConfigMap", "Secret"):
        sizes: dict[Where, int] = {}
        for field in ("data", "binaryData", "stringData"):
            part = manifest.object.get(field)
            for key, value in part.items() if isinstance(part, dict) else ():
                length = len(str(value).encode())
                # binaryData is base64, and counts as what it stands for.
                sizes[field, key] = length * 3 // 4 if field == "binaryData" else length
        total = sum(sizes.values())
        if total > _MOST_BYTES:
            largest = max(sizes, key=lambda path: sizes[path])
            message = f"{manifest.label} holds {total} bytes, and {_MOST_BYTES} are the most"
            fix = "split it, or bring the file in an image or a volume"
            yield Problem(manifest, largest, message, fix)


@rule(_CLAIMS + "#access-modes", outcome=Outcome.REJECTED)
def once_pod_with_another_mode(objects: Objects) -> Iterator[Problem]:
    """ReadWriteOncePod is a claim's only access mode.

    The API server refuses it beside another, and the sync fails or does not begin.
    """
    for manifest, path, spec in _claim_specs(objects):
        modes = spec.get("accessModes")
        if isinstance(modes, list) and "ReadWriteOncePod" in modes and len(modes) > 1:
            message = (
                f"a claim of {manifest.label} has ReadWriteOncePod and another mode: a cluster"
                " refuses that"
            )
            fix = "write accessModes: [ReadWriteOncePod]"
            yield Problem(manifest, (*path, "accessModes"), message, fix)


@rule(_CLAIMS + "#persistentvolumeclaims", outcome=Outcome.REJECTED)
def claim_incomplete(objects: Objects) -> Iterator[Problem]:
    """A claim has an access mode that there is, and says how much storage it wants.

    The API server refuses anything else: the sync fails or does not begin, or pods wait for it.
    """
    for manifest, path, spec in _claim_specs(objects):
        modes = spec.get("accessModes")
        unknown = [mode for mode in modes if mode not in _MODES] if isinstance(modes, list) else []
        message = f"a claim of {manifest.label} has no access mode: a cluster refuses that"
        fix = "write accessModes: [ReadWriteOnce]"
        if not modes:
            yield Problem(manifest, (*path, "accessModes"), message, fix)
        elif unknown:
            message = f"a claim of {manifest.label} has the access mode {unknown[0]}: there is none"
            near = difflib.get_close_matches(str(unknown[0]), _MODES, 1) or _MODES
            fix = f"write {' or '.join(near)}"
            place = (*path, "accessModes", modes.index(unknown[0]))
            yield Problem(manifest, place, message, fix)
        if paths.get(spec, ["resources", "requests", "storage"]) is None:
            message = f"a claim of {manifest.label} wants no storage: a cluster refuses that"
            place = (*path, "resources", "requests", "storage")
            yield Problem(manifest, place, message, "write a size, like 10Gi")


def _claim_specs(objects: Objects) -> Iterator[tuple[Manifest, Where, Mapping[str, Any]]]:
    """Yield the spec of each claim, and of each template of one, with its path."""
    found: list[tuple[Manifest, Where]] = [
        (manifest, ("spec",)) for manifest in objects.of_kind("PersistentVolumeClaim")
    ]
    for workload in objects.makers:
        field = ("spec", "volumeClaimTemplates")
        found += [
            (workload.manifest, (*field, index, "spec"))
            for index, _ in mappings(workload.get(*field))
        ]
        path, spec = pod(workload)
        found += [
            (workload.manifest, (*path, "volumes", i, "ephemeral", "volumeClaimTemplate", "spec"))
            for i, volume in mappings(spec.get("volumes"))
            if "ephemeral" in volume
        ]
    for manifest, path in found:
        spec = paths.get(manifest.object, path)
        if isinstance(spec, dict):
            yield manifest, path, spec
