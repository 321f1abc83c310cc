"""Selectors: label selectors select the intended pods and Services."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scripts.core import paths
from scripts.kubernetes import monitors
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import STATEFUL, Workload, holds, mappings, picks, selects
from scripts.rules.networking.policies import joined
from scripts.rules.networking.selection import monitored, own_namespace, peers
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_COMPONENT = "app.kubernetes.io/component"
_SELECTOR: Where = ("spec", "selector")
_LABELS = "https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/"
_POLICIES = "https://kubernetes.io/docs/concepts/services-networking/network-policies/"
_BUDGETS = "https://kubernetes.io/docs/tasks/run-application/configure-pdb/"
_PLACES = "https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/"
_SPREAD = "https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/"
_MONITORS = "https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.ServiceMonitor"
_REJECTED = "the API server rejects it"
_BY_VALUES = {"In", "NotIn"}
_BY_KEY = {"Exists", "DoesNotExist"}


@rule("https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors")
def service_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """Every Service selects pods of a workload.

    Otherwise it has no endpoints: clients get "connection refused", and no event reports why.
    """
    for manifest in objects.of_kind("Service"):
        selector = paths.get(manifest.object, _SELECTOR)
        if isinstance(selector, dict) and selector:
            yield from _no_pods(objects, manifest, _SELECTOR, selector, "it has no endpoints")
        elif not selector and not _has_endpoints(objects, manifest):
            message = (
                f"{manifest.label} has neither a selector nor an EndpointSlice, so it has no"
                " endpoints"
            )
            fix = "write the labels of its pods, for example {app.kubernetes.io/component: besu}"
            yield Problem(manifest, _SELECTOR, message, fix)


def _has_endpoints(objects: Objects, service: Manifest) -> bool:
    """Return whether the endpoints of a Service are defined without a selector."""
    if paths.get(service.object, ["spec", "type"]) == "ExternalName":
        return True
    slices = objects.of_kind("EndpointSlice")
    named = (manifest.labels.get("kubernetes.io/service-name") for manifest in slices)
    return service.name in named or objects.has("Endpoints", service.name)


@rule(_BUDGETS, outcome=Outcome.HIDDEN)
def pdb_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """Every PodDisruptionBudget selects pods of a workload.

    Otherwise it protects no pods: a drain of nodes can evict all pods of a workload at once.
    """
    for manifest in objects.of_kind("PodDisruptionBudget"):
        selector = paths.get(manifest.object, _SELECTOR)
        if selector is None:
            message = f"{manifest.label} has no selector, so it protects no pods"
            fix = "write matchLabels with the labels of its pods, for example "
            fix += "{app.kubernetes.io/component: besu}"
            yield Problem(manifest, _SELECTOR, message, fix)
        yield from _no_pods(objects, manifest, _SELECTOR, selector, "it protects no pods")


@rule(_BUDGETS)
def pdbs_overlap(objects: Objects) -> Iterator[Problem]:
    """A pod is selected by at most one PodDisruptionBudget.

    Otherwise the eviction API returns an error for the pod, and a drain of its node never ends.
    """
    budgets = objects.of_kind("PodDisruptionBudget")
    first: dict[str, Manifest] = {}
    for manifest in budgets:
        for workload in objects.selected(paths.get(manifest.object, _SELECTOR)):
            other = first.setdefault(workload.manifest.label, manifest)
            if other is not manifest:
                message = (
                    f"{manifest.label} and {other.label} both select the pods of"
                    f" {workload.manifest.label}: these pods can't be evicted, so a drain of their"
                    " node never ends"
                )
                fix = "write a selector that selects other pods, or remove one of the two budgets"
                yield Problem(manifest, _SELECTOR, message, fix)
                break


@rule(_POLICIES, outcome=Outcome.HIDDEN)
def network_policy_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """Every NetworkPolicy selects pods of the environment.

    Otherwise it has no effect: it neither isolates a pod nor allows a connection.
    """
    path: Where = ("spec", "podSelector")
    for manifest in objects.of_kind("NetworkPolicy"):
        selector = paths.get(manifest.object, path)
        if selector:
            yield from _no_pods(objects, manifest, path, selector, "it has no effect")


@rule(_POLICIES)
def network_policy_peer_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """Every podSelector in a NetworkPolicy's from and to selects pods of the environment.

    Otherwise the rule does not allow the intended pods, and their connections time out.
    """
    for manifest in objects.of_kind("NetworkPolicy"):
        for path, peer in peers(manifest):
            selector = peer.get("podSelector")
            if selector and own_namespace(objects, peer.get("namespaceSelector")):
                place = (*path, "podSelector")
                yield from _no_pods(objects, manifest, place, selector, "it allows no connection")


@rule(_MONITORS, outcome=Outcome.HIDDEN)
def monitor_selects_nothing(objects: Objects) -> Iterator[Problem]:
    """Every ServiceMonitor selects a Service, and every PodMonitor pods, in a watched namespace.

    Otherwise Prometheus scrapes nothing, and alerts on those metrics never fire.
    """
    for manifest in objects.of_kind("ServiceMonitor", "PodMonitor"):
        selector, effect = paths.get(manifest.object, _SELECTOR), "Prometheus scrapes nothing"
        if monitored(objects, manifest) or not isinstance(selector, dict):
            continue
        if not monitors.looks_in(manifest, objects.namespace):
            path: Where = ("spec", "namespaceSelector")
            where = ", ".join(monitors.namespaces(manifest, objects.namespace))
            message = (
                f"{manifest.label} selects only in the namespace {where}, not in"
                f" {objects.namespace}, so {effect}"
            )
            fix = f"write matchNames: [{objects.namespace}]"
            yield Problem(manifest, path, message, fix)
        elif manifest.kind == "PodMonitor":
            yield from _no_pods(objects, manifest, _SELECTOR, selector, effect)
        else:
            known = [service.labels for service in objects.of_kind("Service")]
            part, fix = _mismatch(selector, known)
            message = f"{manifest.label} selects no Service of this environment, so {effect}"
            yield Problem(manifest, (*_SELECTOR, *part), message, fix)


@rule(
    "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#selector",
    outcome=Outcome.REJECTED,
)
def workload_selector_mismatch(objects: Objects) -> Iterator[Problem]:
    """The selector of a workload matches the labels of its own pods.

    Otherwise the API server rejects the workload, so the sync fails or does not start.
    """
    for workload, selector in _with_selectors(objects):
        if not selects(selector, workload.labels):
            # The fix is for the labels: a selector is immutable after the first sync.
            label, wanted = workload.manifest.label, selector.get("matchLabels")
            wanted = wanted if isinstance(wanted, dict) else {}
            differs = [key for key in wanted if workload.labels.get(key) != wanted[key]]
            path: Where = (*workload.template, "metadata", "labels", *differs[:1])
            message = f"the selector of {label} does not match its own pods: {_REJECTED}"
            fix = "write labels that the selector matches"
            if differs:
                fix = f"write {differs[0]}: {wanted[differs[0]]}, as in the selector"
            yield Problem(workload.manifest, path, message, fix)


@rule("https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#selector")
def workload_selectors_overlap(objects: Objects) -> Iterator[Problem]:
    """The selector of a workload matches no pods of another workload.

    Otherwise controllers and autoscalers count the pods of both: they scale or delete the wrong
    ones.
    """
    for workload, selector in _with_selectors(objects):
        for other in objects.makers:
            if other.manifest is not workload.manifest and selects(selector, other.labels):
                message = (
                    f"the selector of {workload.manifest.label} also matches the pods of"
                    f" {other.manifest.label}: controllers and autoscalers count both as its own"
                )
                fix = "add a label to the selector and to the pods that no other pods have, for"
                fix += f" example {_COMPONENT}: {workload.manifest.name}"
                yield Problem(workload.manifest, _SELECTOR, message, fix)
                break


def _with_selectors(objects: Objects) -> Iterator[tuple[Workload, dict[str, Any]]]:
    for workload in objects.makers:
        selector = workload.get(*_SELECTOR)
        if isinstance(selector, dict) and workload.manifest.kind != "Job":
            yield workload, selector


@rule("https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/")
def selector_of_wrong_component(objects: Objects) -> Iterator[Problem]:
    """An object that is labelled with a component selects the pods of that component.

    Otherwise it applies to the pods of another: a Service sends them requests, a budget counts
    them.
    """
    components = {str(workload.labels.get(_COMPONENT)) for workload in objects.makers}
    kinds = ("Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor", "PodMonitor")
    for manifest in objects.of_kind(*kinds):
        path: Where = ("spec", "podSelector" if manifest.kind == "NetworkPolicy" else "selector")
        path = path if manifest.kind == "Service" else (*path, "matchLabels")
        chosen = str(paths.get(manifest.object, (*path, _COMPONENT)))
        own = manifest.component
        if own in components and chosen in components and chosen != own:
            message = (
                f"{manifest.label} has the label {_COMPONENT}: {own}, but selects the pods of"
                f" {chosen}: it applies to the wrong pods"
            )
            yield Problem(manifest, (*path, _COMPONENT), message, f"write {own}")


@rule(_LABELS, outcome=Outcome.HIDDEN)
def unknown_selector_value(objects: Objects) -> Iterator[Problem]:
    """No value that a pod selector lists for the operator In is a misspelled label value.

    Otherwise the value selects no pods, and because the other values do, no one notices.
    """
    for manifest, path, selector in _pod_selectors(objects):
        for index, expression in mappings(selector.get("matchExpressions")):
            values = expression.get("values")
            if expression.get("operator") != "In" or not isinstance(values, list):
                continue
            key = str(expression.get("key"))
            labels = [workload.labels for workload in objects.makers]
            known = {str(of_pod[key]) for of_pod in labels if key in of_pod}
            for place, value in enumerate(values):
                near = difflib.get_close_matches(str(value), known - set(map(str, values)), 1, 0.75)
                if str(value) not in known and near:
                    message = (
                        f"{manifest.label} selects pods with {key}: {value}, but no pod has that"
                        " label value"
                    )
                    where = (*path, "matchExpressions", index, "values", place)
                    yield Problem(manifest, where, message, f"write {near[0]}")


def _pod_selectors(objects: Objects) -> Iterator[tuple[Manifest, Where, dict[str, Any]]]:
    """Yield the pod selectors of policies, budgets and monitors, with their paths."""
    for manifest in objects.of_kind("NetworkPolicy", "PodDisruptionBudget", "PodMonitor"):
        places: list[Where] = [_SELECTOR, ("spec", "podSelector")]
        if manifest.kind == "NetworkPolicy":
            places += [(*path, "podSelector") for path, peer in peers(manifest)]
        for path in places:
            selector = paths.get(manifest.object, path)
            if isinstance(selector, dict):
                yield manifest, path, selector


@rule(_PLACES)
def affinity_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """Every podAffinity and podAntiAffinity term selects pods of the environment.

    Otherwise the pods with a required affinity stay Pending, and an anti-affinity keeps no pods
    apart.
    """
    for workload in objects.makers:
        for kind, required, path, term in _terms(workload):
            selector = term.get("labelSelector")
            waits = kind == "podAffinity" and required
            selected = [other for other in objects.makers if picks(selector, other, least=waits)]
            if "namespaces" in term or "namespaceSelector" in term or selected:
                continue
            effect = "it keeps no pods apart" if kind == "podAntiAffinity" else "it has no effect"
            effect = "the pods stay Pending" if waits else effect
            label = workload.manifest.label
            if not isinstance(selector, dict):
                message = f"a {kind} term of {label} has no labelSelector, so {effect}"
                fix = "write labelSelector: {matchLabels: …} with the labels of the pods, for"
                fix += " example app.kubernetes.io/component: besu"
                yield Problem(workload.manifest, path, message, fix)
                continue
            part, fix = _mismatch(selector, [other.labels for other in objects.makers])
            message = f"a {kind} term of {label} selects no pods of this environment, so {effect}"
            yield Problem(workload.manifest, (*path, "labelSelector", *part), message, fix)


def _terms(workload: Workload) -> Iterator[tuple[str, bool, Where, dict[str, Any]]]:
    """Yield the terms of podAffinity and podAntiAffinity: kind, whether required, path, term."""
    path, spec = workload.pod_path, workload.pod_spec
    for kind in ("podAffinity", "podAntiAffinity"):
        for strictness in ("required", "preferred"):
            field = f"{strictness}DuringSchedulingIgnoredDuringExecution"
            place = (*path, "affinity", kind, field)
            for index, item in mappings(paths.get(spec, ["affinity", kind, field])):
                if strictness == "required":
                    yield kind, True, (*place, index), item
                elif isinstance(item.get("podAffinityTerm"), dict):
                    inner = (*place, index, "podAffinityTerm")
                    yield kind, False, inner, item["podAffinityTerm"]


@rule(_SPREAD, outcome=Outcome.HIDDEN)
def topology_spread_selects_other_pods(objects: Objects) -> Iterator[Problem]:
    """Every topology spread constraint selects the pods that have it.

    Otherwise the scheduler counts other pods, or none: all pods of the workload may run in one
    zone.
    """
    for workload in objects.makers:
        path, spec = workload.pod_path, workload.pod_spec
        for index, constraint in mappings(spec.get("topologySpreadConstraints")):
            selector = constraint.get("labelSelector")
            if not picks(selector, workload):
                own = selector if isinstance(selector, dict) else {}
                part, fix = _mismatch(own, [workload.labels])
                place = (*path, "topologySpreadConstraints", index, "labelSelector", *part)
                label = workload.manifest.label
                message = (
                    f"a topology spread constraint of {label} does not select its own pods, so it"
                    " does not spread them"
                )
                yield Problem(workload.manifest, place, message, fix)


@rule(_LABELS + "#resources-that-support-set-based-requirements", outcome=Outcome.REJECTED)
def invalid_selector_operator(objects: Objects) -> Iterator[Problem]:
    """In selectors, In and NotIn have values, and Exists and DoesNotExist have none.

    Otherwise the API server rejects the object, so the sync fails or does not start.
    """
    for manifest, path, expression in _expressions(objects):
        operator, values = str(expression.get("operator")), expression.get("values")
        if operator in _BY_KEY and values:
            message = f"a selector of {manifest.label} has values for {operator}: {_REJECTED}"
            by_values = "In" if operator == "Exists" else "NotIn"
            fix = f"remove the values, or write operator: {by_values}"
            yield Problem(manifest, (*path, "values"), message, fix)
        elif operator in _BY_VALUES and not values:
            message = f"a selector of {manifest.label} has no values for {operator}: {_REJECTED}"
            by_key = "Exists" if operator == "In" else "DoesNotExist"
            fix = f"add values, for example values: [besu], or write operator: {by_key}"
            yield Problem(manifest, path, message, fix)


def _expressions(objects: Objects) -> Iterator[tuple[Manifest, Where, dict[str, Any]]]:
    """Yield the matchExpressions that select pods, Services or nodes, each with its path."""
    parts: list[tuple[Manifest, Where, Any]] = [
        (manifest, ("spec",), manifest.object.get("spec"))
        for manifest in objects.of_kind("NetworkPolicy", "PodDisruptionBudget", "ServiceMonitor")
    ]
    for workload in objects.makers:
        path, spec = workload.pod_path, workload.pod_spec
        parts.append((workload.manifest, _SELECTOR, workload.get(*_SELECTOR)))
        fields = ("affinity", "topologySpreadConstraints")
        parts += [(workload.manifest, (*path, field), spec.get(field)) for field in fields]
    while parts:
        manifest, place, part = parts.pop()
        if isinstance(part, list):
            parts += [(manifest, (*place, index), item) for index, item in enumerate(part)]
        elif isinstance(part, dict):
            parts += [(manifest, (*place, key), item) for key, item in part.items()]
            for index, expression in mappings(part.get("matchExpressions")):
                yield manifest, (*place, "matchExpressions", index), expression


@rule(
    "https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/",
    outcome=Outcome.REJECTED,
)
def invalid_toleration(objects: Objects) -> Iterator[Problem]:
    """A toleration with the operator Exists has no value, and one with another operator a key.

    Otherwise the API server rejects the workload, so the sync fails or does not start.
    """
    for workload in objects.makers:
        path, spec = workload.pod_path, workload.pod_spec
        label = workload.manifest.label
        for index, toleration in mappings(spec.get("tolerations")):
            place = (*path, "tolerations", index)
            is_exists = toleration.get("operator") == "Exists"
            if is_exists and toleration.get("value"):
                message = f"a toleration of {label} has operator Exists and a value: {_REJECTED}"
                fix = "remove the value, or write operator: Equal"
                yield Problem(workload.manifest, (*place, "value"), message, fix)
            elif not is_exists and not toleration.get("key"):
                message = f"a toleration of {label} has no key: {_REJECTED}"
                fix = "write the key of the taint, or operator: Exists to tolerate all taints"
                yield Problem(workload.manifest, place, message, fix)


def _no_pods(
    objects: Objects, manifest: Manifest, path: Where, selector: Any, effect: str
) -> Iterator[Problem]:
    """Yield that a pod selector selects no pods, if it selects none."""
    if not isinstance(selector, dict):
        return
    plain = manifest.kind == "Service"
    whole = {"matchLabels": selector} if plain else selector
    if objects.selected(whole):
        return
    part, fix = _mismatch(whole, [workload.labels for workload in objects.makers])
    is_peer = path[-1] == "podSelector" and len(path) > 2
    subject = f"a peer of {manifest.label}" if is_peer else manifest.label
    message = f"{subject} selects no pods of this environment, so {effect}"
    yield Problem(manifest, (*path, *(part[1:] if plain else part)), message, fix)


def _mismatch(selector: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> tuple[Where, str]:
    """Return the part of a selector that matches none of the known labels, and its fix.

    That is the first requirement which the most similar labels do not meet.
    """
    wanted = selector.get("matchLabels")
    wanted = wanted if isinstance(wanted, dict) else {}
    nearest = max(known, key=lambda labels: _met(wanted, labels), default={})
    for key, value in wanted.items():
        if nearest.get(key) != value:
            return ("matchLabels", key), _instead(key, value, known)
    for index, expression in mappings(selector.get("matchExpressions")):
        if not holds(expression, nearest):
            key = str(expression.get("key"))
            return ("matchExpressions", index), _instead(key, "", known)
    return (), "write labels that the pods have: those of the workload's selector"


def _met(wanted: Mapping[str, Any], labels: Mapping[str, Any]) -> int:
    return sum(labels.get(key) == value for key, value in wanted.items())


def _instead(key: str, value: Any, known: Iterable[Mapping[str, Any]]) -> str:
    values = sorted({str(labels[key]) for labels in known if key in labels})
    if values:
        near = difflib.get_close_matches(str(value), values, 1)
        return f"write {key}: {near[0] if near else joined(values, 'or')}"
    if key in STATEFUL:
        return "write a pod that exists: its ordinal must be below the StatefulSet's replicas"
    existing = {name: value for labels in known for name, value in labels.items()}
    near = difflib.get_close_matches(key, [_COMPONENT, *existing], 1, 0.8) or [_COMPONENT]
    return f"write an existing label, for example {near[0]}: {existing.get(near[0], '…')}"
