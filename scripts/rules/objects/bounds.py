"""Bounds: numbers and fields that the API server allows only within limits, or only together."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from scripts.core import advice, paths
from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix
from scripts.kubernetes.manifest import Where
from scripts.kubernetes.quantity import parse
from scripts.kubernetes.workloads import mappings
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_VALIDATION = "https://github.com/kubernetes/kubernetes/blob/v1.34.4/pkg/apis/"
_MOST = 2**31 - 1
_PROBES = r"\.(?:liveness|readiness|startup)Probe"
_SCALING = r"\.behavior\.scale(?:Up|Down)"

_RANGES: tuple[tuple[str, str, int, int | None], ...] = (
    (_SCALING, "stabilizationWindowSeconds", 0, 3600),
    (_SCALING + r"\.policies\.\d+", "periodSeconds", 1, 1800),
    (_SCALING + r"\.policies\.\d+", "value", 1, None),
    (r"", "maxReplicas", 1, None),
    (r"\.target", "averageUtilization", 1, None),
    (r"\.preferredDuringSchedulingIgnoredDuringExecution\.\d+", "weight", 1, 100),
    (r"\.topologySpreadConstraints\.\d+", "maxSkew minDomains", 1, None),
    (_PROBES, "terminationGracePeriodSeconds", 1, None),
    (_PROBES, "initialDelaySeconds periodSeconds timeoutSeconds", 0, None),
    (_PROBES, "successThreshold failureThreshold", 0, None),
    (r"template\.spec", "activeDeadlineSeconds", 1, _MOST),
    (r"\.preStop\.sleep", "seconds", 0, None),
    (r"\.clientIP", "timeoutSeconds", 1, 86400),
    (r"", "runAsUser runAsGroup fsGroup", 0, _MOST),
    (r"", "defaultMode mode", 0, 0o777),
    (r"", "replicas partition minReadySeconds revisionHistoryLimit", 0, None),
    (r"", "backoffLimit parallelism completions ttlSecondsAfterFinished", 0, None),
    (r"", "startingDeadlineSeconds activeDeadlineSeconds", 0, None),
    (r"", "successfulJobsHistoryLimit failedJobsHistoryLimit", 0, None),
)
"""End of the path above, fields, their least and greatest value; the first that matches counts.

From Kubernetes 1.34.4 and 1.37.2, whose own validation the tests ask about the examples: in
pkg/apis, autoscaling/validation, core/validation, apps/validation and batch/validation.
"""
_MODES = ("defaultMode", "mode")
_OF_FIELD: dict[str, list[tuple[re.Pattern[str], int, int | None]]] = {}
for _above, _names, _low, _high in _RANGES:
    for _name in _names.split():
        _OF_FIELD.setdefault(_name, []).append((re.compile(f"(?:{_above})$"), _low, _high))
_WORKLOADS = ("CronJob", "DaemonSet", "Deployment", "Job", "StatefulSet")


@rule(_VALIDATION + "core/validation/validation.go", outcome=Outcome.REJECTED)
def number_out_of_range(objects: Objects) -> Iterator[Problem]:
    """Numbers are within the range that the API server allows.

    Otherwise the API server rejects the object, so the sync fails or does not begin. For example,
    an autoscaler looks back at most an hour, and a preference weighs from 1 to 100.
    """
    for manifest in objects.of_kind(*_WORKLOADS, "HorizontalPodAutoscaler", "Service"):
        for path, number in _numbers(("spec",), manifest.object.get("spec")):
            low, high = _range(path)
            if low is None or (number >= low and (high is None or number <= high)):
                continue
            allowed = f"from {low} on" if high is None else f"from {_shown(path, low, high)}"
            message = (
                f"{path[-1]} of {manifest.label} is {_mode(path, number)}, and the API server"
                f" allows only numbers {allowed}: it rejects the object, so the sync fails"
            )
            fix = advice.write(str(path[-1]), _nearest(path, number, low, high))
            if path[-1] in _MODES:
                fix = fix + f" (0{_nearest(path, number, low, high):o} in octal)"
            if high is None or number < low:
                fix = fix.unless(f", or another number {allowed}")
            yield Problem(manifest, path, message, fix)


def _nearest(path: Where, number: int, low: int, high: int | None) -> int:
    """Return what is probably meant by a number that is out of range."""
    octal = str(abs(number))
    if path[-1] in _MODES and not set(octal) & set("89") and int(octal, 8) <= 0o777:
        return int(octal, 8)  # YAML 1.2, like JSON, has no octal numbers that begin with 0
    if number < low:
        return -number if low <= -number and (high is None or -number <= high) else low
    return number if high is None else high


def _numbers(path: Where, part: Any) -> Iterator[tuple[Where, int]]:
    """Yield the whole numbers in a part of an object, with their paths."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield from _numbers((*path, key), value)
    elif isinstance(part, list):
        for index, value in enumerate(part):
            yield from _numbers((*path, index), value)
    elif type(part) is int:
        yield path, part


def _range(path: Where) -> tuple[int | None, int | None]:
    """Return the least and greatest value of a field; None for no bound."""
    text = ".".join(map(str, path[:-1]))
    for pattern, low, high in _OF_FIELD.get(str(path[-1]), ()):
        if pattern.search(text):
            return low, high
    return None, None


def _shown(path: Where, low: int, high: int) -> str:
    return f"{_mode(path, low)} to {_mode(path, high)}"


def _mode(path: Where, number: int) -> str:
    """Return a number as it is written: the modes of files in octal, too."""
    is_mode = path[-1] in _MODES and number > 0
    return f"{number} (0{number:o} in octal)" if is_mode else str(number)


@rule(_VALIDATION + "core/validation/validation.go", outcome=Outcome.REJECTED)
def min_domains_without_do_not_schedule(objects: Objects) -> Iterator[Problem]:
    """A topology spread constraint with minDomains has whenUnsatisfiable: DoNotSchedule.

    Otherwise the API server rejects the workload, so the sync fails or does not begin.
    """
    for workload in objects.makers:
        path = (*workload.pod_path, "topologySpreadConstraints")
        for index, constraint in mappings(workload.pod_spec.get("topologySpreadConstraints")):
            action = constraint.get("whenUnsatisfiable")
            if constraint.get("minDomains") is None or action == "DoNotSchedule":
                continue
            message = (
                f"a topologySpreadConstraint of {workload.manifest.label} has minDomains beside"
                f" whenUnsatisfiable: {action}: the API server rejects the object, so the sync"
                " fails"
            )
            fix = advice.remove("minDomains").unless(
                "; if pods must stay pending until there are as many zones, write"
                " whenUnsatisfiable: DoNotSchedule instead"
            )
            yield Problem(workload.manifest, (*path, index, "minDomains"), message, fix)


@rule(_VALIDATION + "core/validation/validation.go", outcome=Outcome.REJECTED)
def duplicate_topology_spread(objects: Objects) -> Iterator[Problem]:
    """No two topology spread constraints of a pod have the same topologyKey and whenUnsatisfiable.

    Otherwise the API server rejects the workload, so the sync fails or does not begin.
    """
    for workload in objects.makers:
        path = (*workload.pod_path, "topologySpreadConstraints")
        known = set[tuple[str, str]]()
        for index, constraint in mappings(workload.pod_spec.get("topologySpreadConstraints")):
            pair = str(constraint.get("topologyKey")), str(constraint.get("whenUnsatisfiable"))
            if pair in known:
                message = (
                    f"{workload.manifest.label} has two topologySpreadConstraints with topologyKey:"
                    f" {pair[0]} and whenUnsatisfiable: {pair[1]}: the API server rejects the"
                    " object, so the sync fails"
                )
                fix = advice.remove("one of the two topologySpreadConstraints")
                yield Problem(workload.manifest, (*path, index), message, fix)
            known.add(pair)


@rule(_VALIDATION + "autoscaling/validation/validation.go", outcome=Outcome.REJECTED)
def scaling_without_policy(objects: Objects) -> Iterator[Problem]:
    """Each direction in an autoscaler's behavior that has a list of policies has at least one.

    Otherwise the API server rejects the autoscaler, so the sync fails or does not begin.
    """
    for scaler in objects.of_kind("HorizontalPodAutoscaler"):
        for direction in ("scaleUp", "scaleDown"):
            path: Where = ("spec", "behavior", direction, "policies")
            if scaler.get(*path) == []:
                message = (
                    f"{direction} of {scaler.label} has an empty list of policies: the API server"
                    " rejects the object, so the sync fails"
                )
                verb = "add" if direction == "scaleUp" else "remove"
                fix = "write policies: [{type: Pods, value: 1, periodSeconds: 300}]; to never"
                fix += f" {verb} pods, write selectPolicy: Disabled, too"
                yield Problem(scaler, path, message, fix)


_ORDER = (
    ("min", "max"),
    ("min", "default"),
    ("min", "defaultRequest"),
    ("defaultRequest", "default"),
    ("default", "max"),
    ("defaultRequest", "max"),
)


@rule(_VALIDATION + "core/validation/validation.go", outcome=Outcome.REJECTED)
def contradicting_limit_range(objects: Objects) -> Iterator[Problem]:
    """In each item of a LimitRange, min ≤ defaultRequest ≤ default ≤ max.

    Otherwise the API server rejects the LimitRange, so the sync fails or does not begin.
    """
    for manifest in objects.of_kind("LimitRange"):
        for index, item in mappings(manifest.get("spec", "limits")):
            path: Where = ("spec", "limits", index)
            for lower, upper in _ORDER:
                amounts = _amounts(item, lower), _amounts(item, upper)
                for resource in sorted(amounts[0].keys() & amounts[1].keys()):
                    if amounts[0][resource] <= amounts[1][resource]:
                        continue
                    least = paths.get(item, [lower, resource])
                    most = paths.get(item, [upper, resource])
                    message = (
                        f"{lower}.{resource} of {manifest.label} for each {item.get('type')} is"
                        f" {least}, above its {upper}.{resource} of {most}: the API server rejects"
                        " the object, so the sync fails"
                    )
                    is_default = lower.startswith("default")
                    changed, other = (lower, most) if is_default else (upper, least)
                    fix = Fix(
                        f"write {changed}.{resource}: {other}",
                        [Change(Action.WRITE, (), other)],
                    )
                    yield Problem(manifest, (*path, changed, resource), message, fix)


def _amounts(item: dict[str, Any], field: str) -> dict[str, Decimal]:
    """Return resource → amount of a field of a LimitRange's item."""
    found = item.get(field)
    amounts = {} if not isinstance(found, dict) else {str(k): parse(v) for k, v in found.items()}
    return {resource: amount for resource, amount in amounts.items() if amount is not None}


@rule(_VALIDATION + "core/validation/validation.go", outcome=Outcome.REJECTED)
def defaults_of_pod_limits(objects: Objects) -> Iterator[Problem]:
    """An item of a LimitRange with type: Pod has no default and no defaultRequest.

    Otherwise the API server rejects the LimitRange, so the sync fails or does not begin: only
    containers have defaults.
    """
    for manifest in objects.of_kind("LimitRange"):
        for index, item in mappings(manifest.get("spec", "limits")):
            for field in ("default", "defaultRequest"):
                if item.get("type") == "Pod" and item.get(field):
                    message = (
                        f"the item of {manifest.label} with type: Pod has the field {field}: the"
                        " API server rejects the object, so the sync fails"
                    )
                    fix = advice.remove(field).unless(
                        "; if it is meant for each container, move it to the item with type:"
                        " Container"
                    )
                    yield Problem(manifest, ("spec", "limits", index, field), message, fix)
