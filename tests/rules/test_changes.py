"""Rules about changes bear any shape of object, cost little, and say nothing of what may change."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scripts.kubernetes.manifest import Manifest
from scripts.rules import catalogue
from scripts.rules.rule import Rule
from scripts.rules.snapshot import Objects
from tests.objects import ENVIRONMENTS, walk
from tests.rules import examples

RULES = [
    rule
    for rule in catalogue.RULES.values()
    if rule.is_about_changes and rule.family != "changes/removals"
]
ODD: list[Any] = [None, [], {}, "", "x", 0, 5, True, ["x"], [None], [{}], {"x": None}, [["x"]]]
JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "x", "namespace": "linea-prod"},
    "spec": {"completions": 1, "template": {"spec": {"containers": [{"name": "x"}]}}},
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "x", "namespace": "linea-prod"},
    "spec": {"storageClassName": "x", "resources": {"requests": {"storage": "1Gi"}}},
}
OWN = [
    Manifest(JOB, "x"),
    Manifest(CLAIM, "x"),
    Manifest(JOB | {"apiVersion": "v1", "kind": "Secret", "type": "x"}, "x"),
]


def told(objects: Objects, rules: list[Rule] = RULES) -> list[str]:
    """Return what rules say of an environment."""
    return [problem.message for rule in rules for _, problem in rule.check([objects])]


def changed(objects: Objects, kind: str, name: str, *path: str | int, to: Any) -> Objects:
    """Return an environment in which a field is another than it was."""

    def one(manifest: Manifest) -> Manifest:
        if (manifest.kind, manifest.name) != (kind, name):
            return manifest
        data = copy.deepcopy(manifest.object)
        part: Any = data
        for key in path[:-1]:
            part = part[key]
        part[path[-1]] = to
        return replace(manifest, object=data)

    return replace(objects, manifests=tuple(map(one, objects.manifests)))


PROD = examples.objects("prod")
ALL = [*PROD.manifests, *OWN]
BEFORE = replace(PROD, manifests=tuple(ALL), before=tuple(ALL))


@st.composite
def broken(draw: st.DrawFn) -> Manifest:
    """Draw one of all objects with something odd in the place of one of its parts."""
    manifest = draw(st.sampled_from(ALL))
    data = copy.deepcopy(manifest.object)
    path = draw(st.sampled_from([path for path, _ in walk(data) if path and path != ("kind",)]))
    part: Any = data
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = draw(st.sampled_from(ODD))
    return replace(manifest, object=data)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(broken(), st.booleans())
def test_no_shape_of_an_object_breaks_a_rule(odd: Manifest, was_so: bool) -> None:
    others = tuple(one for one in ALL if one.file_name != odd.file_name)
    made = (*others, odd)
    told(replace(BEFORE, before=made) if was_so else replace(BEFORE, manifests=made))
    told(replace(BEFORE, before=made, manifests=others))


def test_nothing_is_said_where_there_is_nothing_to_compare_with() -> None:
    made = changed(PROD, "StatefulSet", "linea-stack-besu", "spec", "serviceName", to="x")
    assert told(replace(made, before=None, application_before=None)) == []
    assert told(made)


def test_two_objects_that_say_the_same_are_no_change() -> None:
    again = tuple(replace(one, object=copy.deepcopy(one.object)) for one in PROD.manifests)
    assert told(replace(PROD, manifests=again)) == []


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("StatefulSet", "linea-stack-besu", ("spec", "minReadySeconds"), 90),
        ("StatefulSet", "linea-stack-besu", ("spec", "revisionHistoryLimit"), 5),
        ("StatefulSet", "linea-stack-maru", ("spec", "replicas"), 5),
        ("StatefulSet", "linea-stack-besu", ("spec", "template", "spec", "priority"), 5),
        ("Deployment", "linea-stack-ethstats", ("spec", "replicas"), 2),
        ("Deployment", "linea-stack-ethstats", ("spec", "strategy"), {"type": "Recreate"}),
        ("CronJob", "linea-stack-backup", ("spec", "schedule"), "0 3 * * *"),
        ("CronJob", "linea-stack-backup", ("spec", "jobTemplate", "spec", "completions"), 2),
        ("PodDisruptionBudget", "linea-stack-besu", ("spec", "selector"), {"matchLabels": {}}),
        ("HorizontalPodAutoscaler", "linea-stack-besu", ("spec", "minReplicas"), 1),
        ("NetworkPolicy", "linea-stack-besu", ("spec", "podSelector"), {}),
        ("Service", "linea-stack-besu", ("spec", "type"), "LoadBalancer"),
        ("Service", "linea-stack-besu", ("spec", "selector"), {"x": "y"}),
        ("Service", "linea-stack-besu", ("spec", "ports", 0, "port"), 80),
        ("Service", "linea-stack-maru", ("spec", "ipFamilies"), ["IPv6"]),
        ("ConfigMap", "linea-stack-besu-config", ("data", "config.toml"), "x"),
        ("ExternalSecret", "linea-stack-ethstats-secret", ("spec", "refreshInterval"), "5m"),
        ("ServiceMonitor", "linea-stack-besu", ("spec", "selector"), {"matchLabels": {"x": "y"}}),
        ("LimitRange", "linea-stack", ("spec", "limits"), []),
        ("ResourceQuota", "linea-stack", ("spec", "hard"), {}),
    ],
    ids=str,
)
def test_nothing_is_said_of_what_a_cluster_lets_change(
    kind: str, name: str, path: tuple[str | int, ...], value: Any
) -> None:
    made = changed(PROD, kind, name, *path, to=value)
    assert made.changed, "nothing has changed"
    assert told(made) == []


def test_nothing_is_said_of_equal_copies() -> None:
    environments = [examples.objects(name) for name in ENVIRONMENTS]
    fresh = [
        replace(one, manifests=tuple(Manifest(m.object, m.template) for m in one.manifests))
        for one in environments
    ]
    for rule in RULES:
        assert list(rule.check(fresh)) == []
