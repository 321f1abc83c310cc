"""Objects are compared as Argo CD compares them: by meaning, and only in fields that git sets."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from scripts.kubernetes.manifest import Manifest
from scripts.live import compare
from tests.rules import examples

PROD = examples.objects("prod")
APPLICATION = PROD.application.name


def one(kind: str, component: str = "besu") -> Manifest:
    return next(m for m in PROD.manifests if (m.kind, m.component) == (kind, component))


def live(manifest: Manifest, **metadata: Any) -> dict[str, Any]:
    """Return an object as the API server shows it."""
    body = copy.deepcopy(manifest.object)
    of_the_server = {"uid": "1", "resourceVersion": "2", "generation": 3, "managedFields": [{}]}
    body["metadata"] |= of_the_server | metadata
    return body | {"status": {"replicas": 1}}


def told(git: Manifest, there: dict[str, Any], *, is_exact: bool = True) -> list[str]:
    pointers = compare.ignored(PROD.application, git)
    fields = compare.fields(git.object, there, pointers, is_exact=is_exact)
    return [f"{each.path}: {each.old} → {each.new}" for each in fields]


def test_what_the_server_and_controllers_set_does_not_count() -> None:
    besu = one("StatefulSet")
    there = live(besu)
    there["spec"]["replicas"] = 7
    assert compare.ignored(PROD.application, besu) == ["/spec/replicas"], "an autoscaler sets them"
    assert told(besu, there) == []
    sequencer = one("StatefulSet", "sequencer")
    there = live(sequencer)
    there["spec"]["replicas"] = 7
    assert told(sequencer, there) == ["spec.replicas: 4 → 7"]


def test_without_a_dry_run_only_fields_of_git_count() -> None:
    besu = one("StatefulSet")
    there = live(besu)
    container = there["spec"]["template"]["spec"]["containers"][0]
    container["terminationMessagePath"] = "/dev/termination-log"
    container.setdefault("env", []).append({"name": "ADDED", "value": "1"})
    there["metadata"]["labels"]["added"] = "1"
    assert told(besu, there, is_exact=False) == []
    assert len(told(besu, there)) == 2
    memory = container["resources"]["limits"].pop("memory")
    path = "spec.template.spec.containers[besu].resources.limits.memory"
    assert told(besu, there, is_exact=False) == [f"{path}: {memory} → None"]


def test_values_of_secrets_are_hidden() -> None:
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}
    old, new = ({**body, "data": {"key": text}} for text in ("b2xk", "bmV3"))
    (field,) = compare.fields(old, new, (), is_exact=True)
    assert field.path == "data.key"
    assert "b2xk" not in str(field)
    assert "bmV3" not in str(field)


@pytest.mark.parametrize(
    ("annotation", "labels", "application"),
    [
        ("{app}:apps/StatefulSet:{namespace}/{name}", {}, APPLICATION),
        ("{app}:apps/StatefulSet:{namespace}/copied-from-another", {}, ""),
        ("linea-qa:apps/StatefulSet:{namespace}/{name}", {}, "linea-qa"),
        ("", {"app.kubernetes.io/instance": APPLICATION}, APPLICATION),
        ("", {"app.kubernetes.io/instance": "linea-stack"}, ""),
    ],
)
def test_objects_belong_to_the_application_of_their_own_tracking_id(
    annotation: str, labels: dict[str, str], application: str
) -> None:
    besu = one("StatefulSet")
    names = {"app": APPLICATION, "namespace": besu.namespace, "name": besu.name}
    marks = {compare.TRACKING_ID: annotation.format(**names)} if annotation else {}
    there = Manifest(live(besu, annotations=marks, labels=labels), "")
    assert compare.tracked_by(there, APPLICATION) == application
    applied = Manifest(compare.to_apply(besu, there, APPLICATION), "")
    assert {**besu.annotations, **marks} == applied.annotations
    assert besu.object == one("StatefulSet").object, "git's object is changed"
