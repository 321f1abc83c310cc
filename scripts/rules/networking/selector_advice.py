"""What to write instead of a selector that selects nothing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from scripts.core import advice
from scripts.core.sentences import joined
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.workloads import STATEFUL, holds, mappings
from scripts.rules.snapshot import Objects

COMPONENT = "app.kubernetes.io/component"


def usual(objects: Objects, manifest: Manifest) -> dict[str, str]:
    """Return the label to select by: the component that the labels or the name have."""
    components = {str(workload.labels.get(COMPONENT)) for workload in objects.makers}
    own = [one for one in components if one in manifest.name or one == manifest.component]
    return {COMPONENT: min(own, default="besu")}


def pod_labels(objects: Objects) -> list[dict[str, str]]:
    """Return the labels of one pod of each workload, with those that a StatefulSet's pod gets."""
    name, index = STATEFUL
    return [
        {**workload.labels, name: f"{workload.manifest.name}-0", index: "0"}
        if workload.manifest.kind == "StatefulSet"
        else workload.labels
        for workload in objects.makers
    ]


def mismatch(
    selector: Mapping[str, Any], known: Sequence[Mapping[str, Any]], component: str = ""
) -> tuple[Where, str]:
    """Return the part of a selector that matches none of the known labels, and its fix.

    That is the first requirement which the most similar labels do not meet.
    component: the one to select if nothing is similar.
    """
    wanted = selector.get("matchLabels")
    wanted = wanted if isinstance(wanted, dict) else {}
    nearest = max(known, key=lambda labels: _met(wanted, labels), default={})
    for key, value in wanted.items():
        if nearest.get(key) != value:
            return ("matchLabels", key), _instead(key, value, known, component)
    for index, expression in mappings(selector.get("matchExpressions")):
        if not holds(expression, nearest):
            return ("matchExpressions", index), _for_expression(expression, known, component)
    return (), f"write a label that the intended pods have, for example {COMPONENT}: besu"


def _met(wanted: Mapping[str, Any], labels: Mapping[str, Any]) -> int:
    return sum(labels.get(key) == value for key, value in wanted.items())


def _instead(key: str, value: Any, known: Sequence[Mapping[str, Any]], component: str) -> str:
    """Return the fix for a label that nothing has: another value of it, or another label."""
    names = sorted({str(name) for labels in known for name in labels})
    near = next(iter(difflib.get_close_matches(key, names, 1, 0.8)), COMPONENT)
    label = key if key in names else near
    values = _values(label, known)
    similar = _similar(label, value, values, component)
    fix = f"write {label} with the value of the intended pods: {joined(values, 'or')}"
    if similar:
        fix = advice.write(label, similar)
    if label in STATEFUL:
        fix += "; the ordinal must be less than the StatefulSet's replicas"
    return fix if label == key else f"instead of {key}: {value}, {fix}"


def _values(key: str, known: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({str(labels[key]) for labels in known if key in labels})


def _similar(key: str, value: Any, values: Sequence[str], component: str) -> str:
    """Return the label value to write: the only or the most similar one, or the component."""
    if not values[1:]:
        return "".join(values)
    near = difflib.get_close_matches(str(value), values, 1)
    return near[0] if near else component if key == COMPONENT and component in values else ""


def _for_expression(
    expression: Mapping[str, Any], known: Sequence[Mapping[str, Any]], component: str
) -> str:
    """Return the fix for an item of matchExpressions that excludes the intended pods."""
    key, listed = str(expression.get("key")), expression.get("values")
    values = _values(key, known)
    if not values:
        return f"write a label that the intended pods have, for example key: {COMPONENT}"
    if expression.get("operator") != "In":
        return f"remove the requirement for {key} from matchExpressions"
    value = listed[0] if isinstance(listed, list) and listed else ""
    similar = _similar(key, value, values, component)
    if similar:
        return advice.write("values", [similar])
    return f"write in values the label values of the intended pods: {joined(values, 'or')}"
