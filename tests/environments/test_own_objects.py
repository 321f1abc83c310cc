"""Objects that people write beside the chart's are rendered, patched and checked like these."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from scripts.checks import api_schemas, kubeconform, shared_patches, summaries
from scripts.environments import custom_kinds, environment
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import pipeline, provenance
from tests.conftest import Repository

LINKS = """\
# yaml-language-server: $schema=../../../scripts/object.schema.json
apiVersion: v1
kind: ConfigMap
metadata: {name: links}
data: {explorer: https://explorer.example.com}
---
apiVersion: batch/v1
kind: Job
metadata:
  name: report
  annotations: {argocd.argoproj.io/sync-wave: "9"}
  labels: {team: reports}
spec:
  template:
    spec:
      containers: [{name: report, image: docker.io/hyperledger/besu}]
      restartPolicy: Never
"""
CLAIM = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: archive}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}
"""
SETTINGS = """\
name: dev
profiles: [small, development]
namespace: linea-dev
labels: {team: chain, cost-center: "42"}
annotations: {example.com/owner: chain@example.com}
"""
PATCH = """\
target: {kind: ConfigMap, name: links}
patch:
  - {op: add, path: /data/rpc, value: %s}
"""
NOWHERE = """\
target: {kind: Ingress, name: linea-stack-besu-rpc}
optional: true
patch:
  - {op: add, path: /metadata/labels/team, value: chain}
"""
DEFINITION = """\
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: links.example.com}
spec:
  group: example.com
  names: {kind: Link, plural: links}
  scope: Namespaced
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          properties:
            spec: {type: object, properties: {url: {type: string, enum: [=, a]}}}
"""


@pytest.fixture
def own(repository: Repository) -> Repository:
    """Return a repository in which dev has objects of its own."""
    repository.write("overlays/dev/objects/links.yaml", LINKS)
    repository.write("base/objects/archive.yaml", CLAIM)
    repository.write("overlays/dev/environment.yaml", SETTINGS)
    repository.write("base/patches/a.yaml", PATCH % "of-base" + "optional: true\n")
    repository.write("base/patches/b.yaml", NOWHERE)
    repository.write("overlays/dev/patches/links.yaml", PATCH % "of-dev")
    return repository


def rendered(repository: Repository) -> pipeline.Rendering:
    result = pipeline.render(repository.root, "dev")
    assert not result.findings
    return result


def named(rendering: pipeline.Rendering, label: str) -> Manifest:
    return next(each for each in rendering.manifests if each.label == label)


def test_own_objects_are_part_of_the_output_and_of_the_project(own: Repository) -> None:
    rendering = rendered(own)
    links, report = named(rendering, "ConfigMap/links"), named(rendering, "Job/report")
    claim = named(rendering, "PersistentVolumeClaim/archive")
    assert links.get("data", "rpc") == "of-dev"  # the environment's own patch comes last
    assert {each.namespace for each in (links, report, claim)} == {"linea-dev"}
    waves = [each.annotations["argocd.argoproj.io/sync-wave"] for each in (links, report, claim)]
    assert waves == ["0", "9", "6"]
    assert claim.annotations["argocd.argoproj.io/sync-options"] == "Prune=confirm,Delete=confirm"
    text = rendering.files["overlays/dev/manifests/configmap-links.yaml"]
    assert text.startswith(
        '# Written by "nox -s render" from overlays/dev/objects/links.yaml and base/patches/a.yaml'
        " and overlays/dev/patches/links.yaml; edits are lost.\n"
    )
    project, _ = rendering.settings
    allowed = project.get("spec", "namespaceResourceWhitelist")
    assert {"group": "batch", "kind": "Job"} in allowed
    other = pipeline.render(own.root, "staging")
    assert not other.findings
    assert "PersistentVolumeClaim/archive" in {each.label for each in other.manifests}


def test_labels_and_annotations_of_all_objects_are_in_no_selector_and_no_pod(
    own: Repository,
) -> None:
    rendering = rendered(own)
    for manifest in rendering.manifests:
        assert manifest.labels["cost-center"] == "42", manifest.label
        assert manifest.annotations["example.com/owner"] == "chain@example.com", manifest.label
        rest: dict[str, Any] = manifest.object | {"metadata": {}}
        assert "cost-center" not in yaml.safe_dump(rest), manifest.label
    assert named(rendering, "Job/report").labels["team"] == "reports"  # its own label stays
    assert named(rendering, "ConfigMap/links").labels["team"] == "chain"


def test_a_field_has_the_line_in_which_people_wrote_it(own: Repository) -> None:
    objects, settings = "overlays/dev/objects/links.yaml", "overlays/dev/environment.yaml"
    template = ["spec", "template", "spec", "restartPolicy"]
    places = {
        ("ConfigMap/links", "data", "explorer"): (objects, 5, 8),
        ("ConfigMap/links", "data", "rpc"): ("overlays/dev/patches/links.yaml", 3, 5),
        ("Job/report", *template): (objects, 17, 7),
        ("Job/report", "metadata", "labels", "team"): (objects, 12, 12),
        ("ConfigMap/links", "metadata", "labels", "team"): (settings, 4, 10),
        ("PersistentVolumeClaim/archive", "spec", "accessModes"): (
            "base/objects/archive.yaml",
            4,
            8,
        ),
    }
    loaded, rendering = environment.load(own.root, "dev"), rendered(own)
    fields = [(named(rendering, label), path) for label, *path in places]
    assert provenance.of_fields(own.root, loaded, fields) == [*places.values()]


def test_a_fix_is_written_into_the_file_of_the_object(repository: Repository) -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: links}\nspec:\n"
    text = f"{CLAIM}---\n{service}  selector: {{app.kubernetes.io/component: besu}}\n"
    text += "  ports:\n    - {name: rpc, port: 8545, targetPort: rcp} # of Besu\n"
    repository.write("overlays/dev/objects/links.yaml", text)
    repository.run("validate", "dev", "--fix", "--unsafe")
    fixed = (repository / "overlays/dev/objects/links.yaml").read_text()
    assert fixed == text.replace("targetPort: rcp", "targetPort: rpc")


def test_an_object_that_changes_is_rendered_again(repository: Repository) -> None:
    for file in ("overlays/dev/objects/a.yaml", "base/objects/b.yaml"):
        repository.write(file, CLAIM.replace("archive", file[-6]))
        assert repository.run("render", "dev").out.startswith("dev: 1 added")
    repository.replace("overlays/dev/objects/a.yaml", "1Gi", "2Gi")
    assert repository.run("render", "dev").out.startswith("dev: 1 changed")


def test_a_definition_says_which_fields_an_object_may_have(repository: Repository) -> None:
    repository.write("base/crds/link.yaml", DEFINITION)
    (definition,) = custom_kinds.load(repository.root)
    assert (definition.group, definition.kind) == ("example.com", "Link")
    own = api_schemas.own(repository.root)
    link = {"apiVersion": "example.com/v1", "kind": "Link", "metadata": {"name": "a"}}
    right, wrong = link | {"spec": {"url": "="}}, link | {"spec": {"uri": "="}}
    texts = {"right": yaml.safe_dump(right), "wrong": yaml.safe_dump(wrong)}
    (problem,) = kubeconform.check(texts, "1.34", own)
    assert problem.file == "wrong"
    _, fix = kubeconform.sentences(problem, wrong, "1.34", own)
    assert fix == "write url"


def test_an_optional_patch_that_changes_nothing_anywhere_is_reported(own: Repository) -> None:
    own.replace("base/patches/b.yaml", "besu-rpc", "besu-rcp")
    names = ("dev", "prod", "staging")
    known = [summaries.of(own.root, pipeline.render(own.root, name)) for name in names]
    (finding,) = shared_patches.check(own.root, known)
    assert (finding.file, finding.line) == ("base/patches/b.yaml", 1)
    assert "no environment has the target Ingress/linea-stack-besu-rcp" in finding.message
    assert not shared_patches.check(own.root, known[:2])
