"""References: what an object names or selects is there, and is what it is taken for."""

from __future__ import annotations

from collections.abc import Iterator

from scripts import yamlio
from scripts.rules.objects import Objects
from scripts.rules.rule import Problem, rule


@rule("https://kubernetes.io/docs/concepts/services-networking/service/#services-without-selectors")
def service_selects_nothing(objects: Objects) -> Iterator[Problem]:
    """A Service selects the pods of a workload.

    Else it has no endpoints: connections to it are refused, and nothing says so.
    """
    for manifest in objects.of_kind("Service"):
        path = ("spec", "selector")
        selector = yamlio.get(manifest.object, path)
        if isinstance(selector, dict) and not objects.selected({"matchLabels": selector}):
            message = f"{manifest.label} selects no pod of this environment: it leads nowhere"
            fix = "write labels that the pods have, those of the workload's selector"
            yield Problem(manifest, path, message, fix)
