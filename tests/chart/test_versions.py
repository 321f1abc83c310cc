"""What a new version changes: only what runs it, so that a reviewer reads nothing else."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from scripts.environments import environment
from scripts.kubernetes.manifest import PODS, Manifest
from scripts.rendering import pipeline
from tests import objects
from tests.conftest import Repository
from tests.objects import FULL, SETS, containers, of_values, pods

VERSION, CHART = "app.kubernetes.io/version", "helm.sh/chart"
TAG = "99.0.0"


@pytest.mark.parametrize("component", ["sequencer", "maru", "besu", "ethstats", "txSender"])
def test_a_new_image_changes_only_what_runs_it(component: str) -> None:
    values = yaml.safe_load(FULL.read_text("utf-8"))
    old = objects.of(values)
    later = deepcopy(values)
    later[component].setdefault("image", {}).update(tag=TAG)
    later[component]["image"].pop("digest", None)
    new = objects.of(later)
    changed = {n.label for o, n in zip(old, new, strict=True) if o != n}
    running = {
        workload.label
        for workload, template in pods(new)
        if any(one["image"].endswith(f":{TAG}") for one in containers(template))
    }
    assert changed == running
    assert changed


@pytest.mark.parametrize("values", SETS, ids=lambda path: path.stem if path else "defaults")
def test_only_what_makes_pods_names_a_version(values: Path | None) -> None:
    made = of_values(values)
    for manifest in made:
        is_workload = manifest.kind.lower() in PODS and manifest.kind != "Pod"
        assert (VERSION in manifest.labels) == is_workload, manifest.label
        assert (CHART in manifest.labels) == is_workload, manifest.label
    for workload, template in pods(made):
        assert CHART not in template["metadata"]["labels"], workload.label


def test_a_new_version_of_the_chart_alone_changes_no_object(repository: Repository) -> None:
    def rendered() -> list[Manifest]:
        return pipeline.objects(repository.root, environment.load(repository.root, "prod"))

    before = rendered()
    repository.replace("chart/Chart.yaml", "\nversion: 0.1.0", "\nversion: 0.2.0")
    assert rendered() == before
    assert not [manifest.label for manifest in before if CHART in manifest.labels]
