"""Selectors: what picks pods or Services by their labels picks those that are meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from scripts.core import paths
from scripts.kubernetes import monitors
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import STATEFUL, Workload, holds, mappings, picks, selects
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
_REFUSED = "a cluster refuses that"
_BY_VALUES = {"In", "NotIn"}
_BY_KEY = {"Exists", "DoesNotExist"}


@rule("https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors")
def service_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """A Service selects the pods of a workload.

    Else it has no endpoints: connections to it are refused, and nothing says so.
    """
    for manifest in objects.of_kind("Service"):
        selector = paths.get(manifest.object, _SELECTOR)
        if isinstance(selector, dict) and selector:
            yield from _nothing(objects, manifest, _SELECTOR, selector, "it leads nowhere")
        elif not selector and not _has_endpoints(objects, manifest):
            message = f"{manifest.label} has no selector, and no EndpointSlice: it leads nowhere"
            fix = "write the labels of the pods that are meant"
            yield Problem(manifest, _SELECTOR, message, fix)


def _has_endpoints(objects: Objects, service: Manifest) -> bool:
    """Return whether people say themselves where a Service leads."""
    if paths.get(service.object, ["spec", "type"]) == "ExternalName":
        return True
    slices = objects.of_kind("EndpointSlice")
    named = (one.labels.get("kubernetes.io/service-name") for one in slices)
    return service.name in named or objects.has("Endpoints", service.name)


@rule(_BUDGETS, outcome=Outcome.HIDDEN)
def pdb_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """A PodDisruptionBudget selects the pods of a workload.

    Else it protects none: a drain of nodes takes all pods of a workload at once.
    """
    for manifest in objects.of_kind("PodDisruptionBudget"):
        selector = paths.get(manifest.object, _SELECTOR)
        if selector is None:
            message = f"{manifest.label} has no selector: it protects nothing"
            fix = "write the labels of the pods that are meant"
            yield Problem(manifest, _SELECTOR, message, fix)
        yield from _nothing(objects, manifest, _SELECTOR, selector, "it protects nothing")


@rule(_BUDGETS)
def pdbs_overlap(objects: Objects) -> Iterator[Problem]:
    """A pod is selected by one PodDisruptionBudget at most.

    The eviction API answers an error where two select it: a drain of its node never ends.
    """
    budgets = objects.of_kind("PodDisruptionBudget")
    first: dict[str, Manifest] = {}
    for manifest in budgets:
        for one in objects.selected(paths.get(manifest.object, _SELECTOR)):
            other = first.setdefault(one.manifest.label, manifest)
            if other is not manifest:
                message = (
                    f"{manifest.label} selects pods of {one.manifest.label}, as {other.label}"
                    " does: they can't be evicted, so a drain of their node never ends"
                )
                fix = "select other pods, or remove one of the two"
                yield Problem(manifest, _SELECTOR, message, fix)
                break


@rule(_POLICIES, outcome=Outcome.HIDDEN)
def network_policy_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """A NetworkPolicy selects pods of the environment.

    Else it restricts and allows nothing: pods are as open, or as closed, as without it.
    """
    path: Where = ("spec", "podSelector")
    for manifest in objects.of_kind("NetworkPolicy"):
        selector = paths.get(manifest.object, path)
        if selector:
            yield from _nothing(objects, manifest, path, selector, "it has no effect")


@rule(_POLICIES)
def network_policy_peer_selects_no_pods(objects: Objects) -> Iterator[Problem]:
    """A podSelector among a NetworkPolicy's peers selects pods of the environment.

    Else it lets nobody through: the pods that are meant time out.
    """
    for manifest in objects.of_kind("NetworkPolicy"):
        for path, peer in peers(manifest):
            selector = peer.get("podSelector")
            if selector and own_namespace(objects, peer.get("namespaceSelector")):
                place = (*path, "podSelector")
                yield from _nothing(objects, manifest, place, selector, "it lets nobody through")


@rule(_MONITORS, outcome=Outcome.HIDDEN)
def monitor_selects_nothing(objects: Objects) -> Iterator[Problem]:
    """A ServiceMonitor selects a Service, and a PodMonitor pods, in a namespace that it looks in.

    Else Prometheus scrapes nothing, and alerts on those metrics never fire.
    """
    for manifest in objects.of_kind("ServiceMonitor", "PodMonitor"):
        selector, told = paths.get(manifest.object, _SELECTOR), "nothing is scraped"
        if monitored(objects, manifest) or not isinstance(selector, dict):
            continue
        if not monitors.looks_in(manifest, objects.namespace):
            path: Where = ("spec", "namespaceSelector")
            where = ", ".join(monitors.namespaces(manifest, objects.namespace))
            message = f"{manifest.label} looks in {where} only, not in {objects.namespace}: {told}"
            fix = f"write matchNames: [{objects.namespace}]"
            yield Problem(manifest, path, message, fix)
        elif manifest.kind == "PodMonitor":
            yield from _nothing(objects, manifest, _SELECTOR, selector, told)
        else:
            known = [service.labels for service in objects.of_kind("Service")]
            part, fix = mend(selector, known)
            message = f"{manifest.label} selects no Service of this environment: {told}"
            yield Problem(manifest, (*_SELECTOR, *part), message, fix)


@rule(
    "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#selector",
    outcome=Outcome.REJECTED,
)
def workload_selector_mismatch(objects: Objects) -> Iterator[Problem]:
    """A workload's selector matches the labels of its own pods.

    Else the API server refuses it, and the sync fails or does not begin.
    """
    for workload, selector in _with_selectors(objects):
        if not selects(selector, workload.labels):
            # The labels are what can be changed: a selector that is released never can.
            label, wanted = workload.manifest.label, selector.get("matchLabels")
            wanted = wanted if isinstance(wanted, dict) else {}
            differs = [key for key in wanted if workload.labels.get(key) != wanted[key]]
            path: Where = (*workload.template, "metadata", "labels", *differs[:1])
            message = f"the selector of {label} does not match its own pods: {_REFUSED}"
            fix = "write labels that the selector matches"
            if differs:
                fix = f"write {differs[0]}: {wanted[differs[0]]}, as the selector does"
            yield Problem(workload.manifest, path, message, fix)


@rule("https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#selector")
def workload_selectors_overlap(objects: Objects) -> Iterator[Problem]:
    """A workload's selector matches no pods of another workload.

    Controllers and autoscalers count what the selector matches: they fight over those pods.
    """
    for workload, selector in _with_selectors(objects):
        for other in objects.makers:
            if other.manifest is not workload.manifest and selects(selector, other.labels):
                message = (
                    f"the selector of {workload.manifest.label} matches the pods of"
                    f" {other.manifest.label}, too: the two fight over them"
                )
                fix = f"add a label that only its own pods have, like {_COMPONENT}"
                yield Problem(workload.manifest, _SELECTOR, message, fix)
                break


def _with_selectors(objects: Objects) -> Iterator[tuple[Workload, dict[str, Any]]]:
    for workload in objects.makers:
        selector = workload.get(*_SELECTOR)
        if isinstance(selector, dict) and workload.manifest.kind != "Job":
            yield workload, selector


@rule("https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/")
def selector_of_wrong_component(objects: Objects) -> Iterator[Problem]:
    """What is labelled as a component's selects that component, where it selects one.

    Else it works on the pods of another: a Service leads to them, a budget counts them.
    """
    components = {str(one.labels.get(_COMPONENT)) for one in objects.makers}
    kinds = ("Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor", "PodMonitor")
    for manifest in objects.of_kind(*kinds):
        path: Where = ("spec", "podSelector" if manifest.kind == "NetworkPolicy" else "selector")
        path = path if manifest.kind == "Service" else (*path, "matchLabels")
        chosen = str(paths.get(manifest.object, (*path, _COMPONENT)))
        own = manifest.component
        if own in components and chosen in components and chosen != own:
            message = (
                f"{manifest.label} is labelled as the component {own}, and selects {chosen}:"
                " it works on other pods"
            )
            yield Problem(manifest, (*path, _COMPONENT), message, f"write {own}")


@rule(_LABELS, outcome=Outcome.HIDDEN)
def unknown_selector_value(objects: Objects) -> Iterator[Problem]:
    """Each value that a selector of pods lists after In is a label's value of some pod.

    A misspelt one selects nothing, while the others hide it.
    """
    for manifest, path, selector in _pod_selectors(objects):
        for index, expression in mappings(selector.get("matchExpressions")):
            values = expression.get("values")
            if expression.get("operator") != "In" or not isinstance(values, list):
                continue
            key = str(expression.get("key"))
            known = {str(one.labels[key]) for one in objects.makers if key in one.labels}
            for place, value in enumerate(values):
                near = difflib.get_close_matches(str(value), known - set(map(str, values)), 1, 0.75)
                if str(value) not in known and near:
                    message = f"no pod has {key}: {value}, which {manifest.label} lists"
                    where = (*path, "matchExpressions", index, "values", place)
                    yield Problem(manifest, where, message, f"write {near[0]}")


def _pod_selectors(objects: Objects) -> Iterator[tuple[Manifest, Where, dict[str, Any]]]:
    """Yield the selectors of pods of objects that are no workloads, with their paths."""
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
    """What pods are to be near, or far from, are pods of the environment.

    Else a required affinity leaves them Pending, and an anti-affinity keeps nobody apart.
    """
    for workload in objects.makers:
        for kind, required, path, term in _terms(workload):
            selector = term.get("labelSelector")
            waits = kind == "podAffinity" and required
            near = [one for one in objects.makers if picks(selector, one, least=waits)]
            if "namespaces" in term or "namespaceSelector" in term or near:
                continue
            comes = "keeps no pods apart" if kind == "podAntiAffinity" else "has no effect"
            comes = "leaves its pods Pending" if waits else comes
            label = workload.manifest.label
            if not isinstance(selector, dict):
                message = f"a {kind} of {label} has no labelSelector: it {comes}"
                fix = "write the labels of the pods that are meant"
                yield Problem(workload.manifest, path, message, fix)
                continue
            part, fix = mend(selector, [one.labels for one in objects.makers])
            message = f"a {kind} of {label} selects no pod of this environment: it {comes}"
            yield Problem(workload.manifest, (*path, "labelSelector", *part), message, fix)


def _terms(workload: Workload) -> Iterator[tuple[str, bool, Where, dict[str, Any]]]:
    """Yield the terms by which pods are placed beside others: kind, required, path, term."""
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
    """A topology spread constraint selects the pods that have it.

    Else they are spread by where other pods are, or not at all: one zone may get them all.
    """
    for workload in objects.makers:
        path, spec = workload.pod_path, workload.pod_spec
        for index, constraint in mappings(spec.get("topologySpreadConstraints")):
            selector = constraint.get("labelSelector")
            if not picks(selector, workload):
                own = selector if isinstance(selector, dict) else {}
                part, fix = mend(own, [workload.labels])
                place = (*path, "topologySpreadConstraints", index, "labelSelector", *part)
                label = workload.manifest.label
                message = f"a spread of {label} does not select its own pods: it spreads none"
                yield Problem(workload.manifest, place, message, fix)


@rule(_LABELS + "#resources-that-support-set-based-requirements", outcome=Outcome.REJECTED)
def invalid_selector_operator(objects: Objects) -> Iterator[Problem]:
    """A selector's In and NotIn have values, and its Exists and DoesNotExist have none.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for manifest, path, expression in _expressions(objects):
        operator, values = str(expression.get("operator")), expression.get("values")
        if operator in _BY_KEY and values:
            message = f"{operator} of {manifest.label} has values: {_REFUSED}"
            fix = f"remove them, or write {'In' if operator == 'Exists' else 'NotIn'}"
            yield Problem(manifest, (*path, "values"), message, fix)
        elif operator in _BY_VALUES and not values:
            message = f"{operator} of {manifest.label} has no values: {_REFUSED}"
            fix = f"write values, or {'Exists' if operator == 'In' else 'DoesNotExist'}"
            yield Problem(manifest, path, message, fix)


def _expressions(objects: Objects) -> Iterator[tuple[Manifest, Where, dict[str, Any]]]:
    """Yield each of the matchExpressions that select pods, Services or nodes, with its path."""
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
    """A toleration's Exists has no value, and any other operator has a key.

    The API server refuses anything else, and the sync fails or does not begin.
    """
    for workload in objects.makers:
        path, spec = workload.pod_path, workload.pod_spec
        label = workload.manifest.label
        for index, one in mappings(spec.get("tolerations")):
            place = (*path, "tolerations", index)
            if one.get("operator") == "Exists" and one.get("value"):
                message = f"a toleration of {label} has Exists and a value: {_REFUSED}"
                fix = "remove the value, or write operator: Equal"
                yield Problem(workload.manifest, (*place, "value"), message, fix)
            elif one.get("operator") != "Exists" and not one.get("key"):
                message = f"a toleration of {label} has no key: {_REFUSED}"
                fix = "write the taint's key, or operator: Exists for all taints"
                yield Problem(workload.manifest, place, message, fix)


def _nothing(
    objects: Objects, manifest: Manifest, path: Where, selector: Any, comes: str
) -> Iterator[Problem]:
    """Yield that a selector of pods selects none, if it does."""
    if not isinstance(selector, dict):
        return
    plain = manifest.kind == "Service"
    whole = {"matchLabels": selector} if plain else selector
    if objects.selected(whole):
        return
    part, fix = mend(whole, [one.labels for one in objects.makers])
    message = f"{manifest.label} selects no pod of this environment: {comes}"
    if path[-1] == "podSelector" and len(path) > 2:
        message = f"a peer of {manifest.label} is no pod of this environment: {comes}"
    yield Problem(manifest, (*path, *(part[1:] if plain else part)), message, fix)


def mend(selector: Mapping[str, Any], known: Sequence[Mapping[str, Any]]) -> tuple[Where, str]:
    """Return what in a selector keeps it from selecting any of the labels known, and the fix.

    That is its first requirement that the nearest of them does not meet.
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
    return (), "write labels that they have, those of the workload's selector"


def _met(wanted: Mapping[str, Any], labels: Mapping[str, Any]) -> int:
    return sum(labels.get(key) == value for key, value in wanted.items())


def _instead(key: str, value: Any, known: Iterable[Mapping[str, Any]]) -> str:
    values = sorted({str(labels[key]) for labels in known if key in labels})
    if values:
        near = difflib.get_close_matches(str(value), values, 1)
        return f"write {key}: {near[0] if near else ' or '.join(values)}"
    if key in STATEFUL:
        return "write a pod that its StatefulSet has"
    there = {name: value for labels in known for name, value in labels.items()}
    near = difflib.get_close_matches(key, [_COMPONENT, *there], 1, 0.8) or [_COMPONENT]
    return f"write a label that there is, like {near[0]}: {there.get(near[0], '…')}"
