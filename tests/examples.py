"""Examples of what rules find: small files that are laid over an environment of this repository.

An example holds documents as people write them, and all of them are laid over prod, or over the
environment that the first names:
- an environment.yaml (it has a `name`), of which it need only hold what differs;
- a patch (it has a `target`), also of the environment's AppProject or Application;
- an object (it has a `kind`), which is there beside those of the chart;
- what was there before (it has only `before`, an object): rules about changes compare with that,
  and with the environment as it is committed;
- anything else are values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from scripts.checks import run_rules
from scripts.core import yamlio
from scripts.core.findings import Finding
from scripts.core.yamlio import Document
from scripts.environments import environment, patches
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import applications, pipeline
from scripts.rendering.pipeline import Rendering
from scripts.rules import catalogue
from scripts.rules.rule import Problem, Rule
from scripts.rules.snapshot import Objects
from tests.conftest import ROOT
from tests.objects import ENVIRONMENTS

_SETTINGS = ("AppProject", "Application")


@dataclass(frozen=True, slots=True)
class Example:
    """An environment with an example laid over it."""

    environment: Environment
    objects: Objects
    documents: dict[str, Document]
    """Kind/name → the document of an object that the example brings."""

    def findings(self, rule: str) -> list[Finding]:
        """Return what a rule finds in it, among the other environments as they are."""
        others = [objects(name) for name in ENVIRONMENTS if name != self.environment.name]
        found = catalogue.RULES[rule]
        problems = [problem for _, problem in found.check([self.objects, *others])]
        made = [p for p in problems if p.manifest.label not in self.documents]
        told = run_rules.located(ROOT, self.environment, [(found, problem) for problem in made])
        return [*told, *(self._of_its_own(found, p) for p in problems if p not in made)]

    def _of_its_own(self, rule: Rule, problem: Problem) -> Finding:
        """Return a problem of an object that the example brings, at its place there."""
        document = self.documents[problem.manifest.label]
        line, column = document.position(problem.path)
        return Finding(
            document.file,
            line,
            column,
            rule.id,
            problem.message,
            problem.fix,
            problem.manifest.label,
            self.environment.name,
            rule.severity,
        )


@lru_cache
def loaded(name: str) -> Environment:
    """Return an environment of this repository as its files say it."""
    return environment.load(ROOT, name)


@lru_cache
def rendering(name: str) -> Rendering:
    """Return an environment of this repository as it is committed."""
    return pipeline.render(ROOT, name)


@lru_cache
def objects(name: str) -> Objects:
    """Return its objects, which are also what they were before."""
    return _objects(rendering(name))


def _objects(made: Rendering, earlier: Sequence[Manifest] = ()) -> Objects:
    (found,) = run_rules.objects(ROOT, [made])
    committed = rendering(made.name)
    return replace(
        found,
        before=(*committed.manifests, *earlier),
        application_before=committed.settings[1],
        kubernetes_version_before=committed.kubernetes_version,
    )


def laid(file: Path) -> Example:
    """Return an example, laid over its environment."""
    documents = yamlio.load_all(file, ROOT)
    own = [d for d in documents if "name" in d.data]
    committed = loaded(own[0].data["name"] if own else "prod")
    found = committed
    for document in own:
        found = _said(found, document)
    values = tuple(d for d in documents if not {"name", "target", "kind", "before"} & d.data.keys())
    if values:
        found = replace(found, layers=(*found.layers, *values))
    brought = {
        f"{d.data['kind']}/{d.data['metadata']['name']}": d for d in documents if "kind" in d.data
    }
    extra = [Manifest(document.data, document.file) for document in brought.values()]
    earlier = applications.arrange(
        [Manifest(d.data["before"], d.file) for d in documents if "before" in d.data], found
    )
    patched = list(_patches(documents))
    on_settings = [patch for patch in patched if patch.kind in _SETTINGS]
    on_objects = [patch for patch in patched if patch.kind not in _SETTINGS]
    with_patches = replace(found, patches=(*found.patches, *on_objects)) if on_objects else found
    is_as_committed = with_patches is committed
    made = (
        rendering(found.name).manifests if is_as_committed else pipeline.objects(ROOT, with_patches)
    )
    manifests = [*made, *applications.arrange(extra, found)]
    settings = patches.apply(pipeline.settings(with_patches, manifests), on_settings)
    everything = replace(with_patches, patches=(*with_patches.patches, *on_settings))
    return Example(
        everything, _objects(pipeline.unwritten(everything, manifests, settings), earlier), brought
    )


def _said(found: Environment, document: Document) -> Environment:
    """Return an environment with what an environment.yaml says."""
    data = document.data
    return replace(
        found,
        document=document,
        kubernetes_version=data.get("kubernetesVersion", found.kubernetes_version),
        namespace=data.get("namespace", found.namespace),
        zones=tuple(data.get("zones", found.zones)),
        cluster=data.get("cluster", found.cluster),
        sync=found.sync | data.get("sync", {}),
        given=found.given | data.get("given", {}),
        node=data.get("node", found.node),
        registries=tuple(data.get("registries", found.registries)),
    )


def _patches(documents: list[Document]) -> Iterator[patches.Patch]:
    for document in documents:
        if "target" in document.data:
            target, operations = document.data["target"], document.data["patch"]
            yield patches.Patch(target["kind"], target["name"], tuple(operations), document)
