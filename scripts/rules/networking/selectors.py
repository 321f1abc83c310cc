"""Selectors: label selectors select the intended pods and Services."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from scripts.core import advice, paths
from scripts.core.sentences import joined
from scripts.kubernetes import monitors
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import Workload, holds, mappings, picks, selects
from scripts.rules.networking.policy_advice import pod_selector
from scripts.rules.networking.selection import monitored, own_namespace, peers
from scripts.rules.networking.selector_advice import COMPONENT, mismatch, pod_labels, usual
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

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
            fix = advice.write("selector", usual(objects, manifest)).unless(
                "; if other pods are meant, write"
            )
            fix += " their labels"
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
            labels = usual(objects, manifest)
            fix = advice.write("selector", {"matchLabels": labels}).unless(
                "; if other pods are meant, write"
            )
            fix += " their labels"
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
                fix = _without_overlap(objects, manifest)
                yield Problem(manifest, _SELECTOR, message, fix)
                break


def _without_overlap(objects: Objects, budget: Manifest) -> str:
    """Return the fix for a PodDisruptionBudget that selects pods of others, too."""
    others = [one for one in objects.of_kind("PodDisruptionBudget") if one is not budget]
    shared = {
        workload.manifest.label: workload
        for other in others
        for workload in objects.selected(paths.get(other.object, _SELECTOR))
    }
    own = objects.selected(paths.get(budget.object, _SELECTOR))
    components = [w.labels.get(COMPONENT) for w in own if w.manifest.label in shared]
    if len(components) == len(own):
        return f"remove {budget.label}: other budgets select all of its pods"
    if None in components:
        return f"write a selector that does not select the pods of {joined(sorted(shared))}"
    excluded = ", ".join(dict.fromkeys(map(str, components)))
    item = f"{{key: {COMPONENT}, operator: NotIn, values: [{excluded}]}}"
    return f"add to selector: matchExpressions: [{item}]"


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
                for problem in _no_pods(
                    objects, manifest, place, selector, "it allows no connection"
                ):
                    whole = _one_peer(manifest, path, peer)
                    yield replace(problem, fix=whole) if whole else problem


def _one_peer(manifest: Manifest, path: Where, peer: dict[str, Any]) -> str:
    """Return the fix for a podSelector that belongs to the namespaceSelector before it, if any."""
    index = path[-1]
    above = manifest.get(*path[:-1], index - 1) if isinstance(index, int) and index else None
    if not isinstance(above, dict) or set(above) != {"namespaceSelector"} or len(peer) > 1:
        return ""
    return (
        "move podSelector into the item before it, beside namespaceSelector: two items are two"
        " peers, and the first one is every pod of that namespace"
    )


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
            targets = "pods" if manifest.kind == "PodMonitor" else "Services"
            message = (
                f"{manifest.label} selects {targets} only in the namespace {where}, not in"
                f" {objects.namespace}, so {effect}"
            )
            fix: str = advice.write("namespaceSelector", {"matchNames": [objects.namespace]})
            yield Problem(manifest, path, message, fix)
        elif manifest.kind == "PodMonitor":
            yield from _no_pods(objects, manifest, _SELECTOR, selector, effect)
        else:
            known = [service.labels for service in objects.of_kind("Service")]
            part, fix = mismatch(selector, known, manifest.component)
            message = f"{manifest.label} selects no Service of this environment, so {effect}"
            yield Problem(manifest, (*_SELECTOR, *part), message, fix)


@rule(
    "https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#selector",
    outcome=Outcome.REJECTED,
)
def workload_selector_mismatch(objects: Objects) -> Iterator[Problem]:
    """The selector of a workload matches the labels of its own pods.

    Otherwise the API server rejects the workload, so the sync fails or does not begin.
    """
    for workload, selector in _with_selectors(objects):
        if not selects(selector, workload.labels):
            # The fix is for the labels: a selector is immutable after the first sync.
            label, wanted = workload.manifest.label, selector.get("matchLabels")
            wanted = wanted if isinstance(wanted, dict) else {}
            differs = [key for key in wanted if workload.labels.get(key) != wanted[key]]
            path: Where = (*workload.template, "metadata", "labels", *differs[:1])
            message = f"the selector of {label} does not match its own pods: {_REJECTED}"
            fix = _for_requirements(workload, selector)
            if differs:
                expected = f"{differs[0]}: {wanted[differs[0]]}"
                message = f"the selector of {label} requires the label {expected}, which its own"
                message += f" pods do not have: {_REJECTED}"
                fix = f"write {expected} in the labels of the pod template"
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
                    f" {other.manifest.label}: controllers and autoscalers count"
                    " these pods, too"
                )
                fix = "add a label that no other pods have, both to the selector and to the pod"
                fix += f" template, for example {COMPONENT}: {workload.manifest.name}"
                yield Problem(workload.manifest, _SELECTOR, message, fix)
                break


def _for_requirements(workload: Workload, selector: dict[str, Any]) -> str:
    """Return the fix for labels of pods that do not meet matchExpressions of the selector."""
    for _, expression in mappings(selector.get("matchExpressions")):
        if not holds(expression, workload.labels):
            key, values = expression.get("key"), expression.get("values")
            if expression.get("operator") in ("NotIn", "DoesNotExist"):
                return f"remove the label {key} from the pod template, which the selector excludes"
            value = values[0] if isinstance(values, list) and values else '"true"'
            return f"add {key}: {value} to the labels of the pod template"
    return "write labels that the selector requires in the pod template"


def _with_selectors(objects: Objects) -> Iterator[tuple[Workload, dict[str, Any]]]:
    for workload in objects.makers:
        selector = workload.get(*_SELECTOR)
        if isinstance(selector, dict) and workload.manifest.kind != "Job":
            yield workload, selector


@rule("https://kubernetes.io/docs/concepts/overview/working-with-objects/common-labels/")
def selector_of_wrong_component(objects: Objects) -> Iterator[Problem]:
    """An object that is labelled with a component selects the pods of that component.

    Otherwise it applies to the pods of another component: for example, a Service sends requests to
    them.
    """
    components = {str(workload.labels.get(COMPONENT)) for workload in objects.makers}
    kinds = ("Service", "PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor", "PodMonitor")
    for manifest in objects.of_kind(*kinds):
        path: Where = ("spec", "podSelector" if manifest.kind == "NetworkPolicy" else "selector")
        path = path if manifest.kind == "Service" else (*path, "matchLabels")
        chosen = str(paths.get(manifest.object, (*path, COMPONENT)))
        own = manifest.component
        if own in components and chosen in components and chosen != own:
            message = (
                f"{manifest.label} has the label {COMPONENT}: {own}, but selects the pods of"
                f" the component {chosen}: it applies to the wrong pods"
            )
            fix = advice.write(COMPONENT, own) + " in the selector"
            yield Problem(manifest, (*path, COMPONENT), message, fix)


@rule(_LABELS, outcome=Outcome.HIDDEN)
def unknown_selector_value(objects: Objects) -> Iterator[Problem]:
    """Pod selectors list no misspelled label values for the operator In.

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
                        f"{manifest.label} selects pods with the label {key}: {value}, but no pod"
                        " has that label: the intended pods are not selected"
                    )
                    where = (*path, "matchExpressions", index, "values", place)
                    fix = advice.instead(value, near[0]) + " in values"
                    yield Problem(manifest, where, message, fix)


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
            effect = "its pods stay Pending" if waits else effect
            label = workload.manifest.label
            if not isinstance(selector, dict):
                message = f"a {kind} term of {label} has no labelSelector, so {effect}"
                labels = dict(pod_selector(workload))
                if kind == "podAffinity":
                    labels = {COMPONENT: "besu"}
                fix: str = advice.write("labelSelector", {"matchLabels": labels}).unless(
                    "; if other pods are meant,"
                )
                fix += " write their labels"
                yield Problem(workload.manifest, path, message, fix)
                continue
            known = pod_labels(objects)
            part, fix = mismatch(selector, known, workload.component)
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
            if not picks(selector, workload) or selector == {}:
                own = selector if isinstance(selector, dict) else {}
                part, fix = mismatch(own, [workload.labels])
                if not part:
                    labels = {"matchLabels": pod_selector(workload)}
                    fix = advice.write("labelSelector", labels)
                place = (*path, "topologySpreadConstraints", index, "labelSelector", *part)
                label = workload.manifest.label
                message = (
                    f"a topology spread constraint of {label} does not select the pods of {label},"
                    " so it does not spread them"
                )
                yield Problem(workload.manifest, place, message, fix)


@rule(_LABELS + "#resources-that-support-set-based-requirements", outcome=Outcome.REJECTED)
def invalid_selector_operator(objects: Objects) -> Iterator[Problem]:
    """In selectors, In and NotIn have values, and Exists and DoesNotExist have none.

    Otherwise the API server rejects the object, so the sync fails or does not begin.
    """
    for manifest, path, expression in _expressions(objects):
        operator, values = str(expression.get("operator")), expression.get("values")
        key = expression.get("key")
        if operator in _BY_KEY and values:
            message = (
                f"a selector of {manifest.label} has operator: {operator} for the label {key}, but"
                f" also values: {_REJECTED}"
            )
            by_values, which = ("In", "every") if operator == "Exists" else ("NotIn", "no")
            fix: str = advice.write("operator", by_values).unless(
                f"; if {which} value of the label should match, remove"
            )
            fix += " values"
            yield Problem(manifest, (*path, "values"), message, fix)
        elif operator in _BY_VALUES and not values:
            message = (
                f"a selector of {manifest.label} has operator: {operator} for the label {key}, but"
                f" no values: {_REJECTED}"
            )
            by_key, which = ("Exists", "every") if operator == "In" else ("DoesNotExist", "no")
            fix = f"add values, for example values: [besu]; if {which} value of the label should"
            fix += f" match, write operator: {by_key}"
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
    """Tolerations with the operator Exists have no value; those with another operator have a key.

    Otherwise the API server rejects the workload, so the sync fails or does not begin.
    """
    for workload in objects.makers:
        path, spec = workload.pod_path, workload.pod_spec
        label = workload.manifest.label
        for index, toleration in mappings(spec.get("tolerations")):
            place = (*path, "tolerations", index)
            is_exists = toleration.get("operator") == "Exists"
            if is_exists and toleration.get("value"):
                message = (
                    f"a toleration of {label} has both operator: Exists and value: {_REJECTED}"
                )
                fix: str = (
                    advice.remove("value")
                    + "; to tolerate only taints with this value, write operator: Equal"
                )
                yield Problem(workload.manifest, (*place, "value"), message, fix)
            elif not is_exists and not toleration.get("key"):
                message = f"a toleration of {label} has no key: {_REJECTED}"
                fix = "write the key of the taint, for example key: dedicated; to tolerate all"
                fix += " taints, write only operator: Exists"
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
    known = pod_labels(objects)
    is_peer = path[-1] == "podSelector" and len(path) > 2
    subject = manifest.label
    if is_peer:
        subject = f"a podSelector in {path[1]}.{path[3]} of {manifest.label}"
    part, fix = mismatch(whole, known, "" if is_peer else manifest.component)
    message = f"{subject} selects no pods of this environment, so {effect}"
    yield Problem(manifest, (*path, *(part[1:] if plain else part)), message, fix)
