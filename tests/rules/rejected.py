"""Examples of the rules on what the API server rejects, as their judges get them.

The judges are Kubernetes' own validation (tests/checks/test_admission.py) and a real API server
(tests/e2e/test_rejected.py).
"""

from __future__ import annotations

from functools import lru_cache

from scripts.kubernetes.manifest import Manifest
from scripts.rules import catalogue
from scripts.rules.rule import Outcome, Rule, is_rejected
from tests.rules import examples
from tests.rules.examples import Example, Laid

REJECTED = [rule for rule in catalogue.RULES.values() if rule.outcome is Outcome.REJECTED]
ALWAYS = [rule for rule in REJECTED if not rule.is_about_changes]
CHANGES = [rule for rule in REJECTED if rule.is_about_changes]


@lru_cache
def of(rule: str, part: str) -> list[Example]:
    """Return the wrong or the right examples of a rule."""
    (file,) = (file for file in examples.files() if file.stem == rule)
    return [example for example in examples.read(file) if example.part == part]


def wrong(rule: Rule, example: Example, version: str) -> tuple[Laid, list[Manifest]]:
    """Return an example, and its objects that an API server of the version rejects."""
    laid = examples.laid(example)
    problems = (problem for _, problem in rule.check([laid.objects]))
    rejected = [p.manifest for p in problems if is_rejected(rule, p, version)]
    return laid, [manifest for manifest in laid.objects.manifests if manifest in rejected]


def brought(example: Example) -> list[Manifest]:
    """Return the objects that an example adds or changes."""
    laid = examples.laid(example)
    committed = [m.object for m in examples.objects(laid.environment.name).manifests]
    return [m for m in laid.objects.manifests if m.object not in committed]
