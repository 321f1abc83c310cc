"""The expressions in rules and dashboards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from scripts.core import paths
from scripts.kubernetes import promql
from scripts.kubernetes.manifest import Manifest, Where
from scripts.kubernetes.promql import Expression
from scripts.kubernetes.workloads import mappings
from scripts.rules.snapshot import Objects, once


@dataclass(frozen=True, slots=True)
class Query:
    """An expression in a rule or a dashboard."""

    manifest: Manifest
    path: Where
    called: str
    """As people call what it is part of."""
    text: str
    rule: Mapping[str, Any]
    """Empty for a dashboard's."""

    @property
    def expression(self) -> Expression | None:
        """Return what it uses; None where it is no PromQL."""
        try:
            return promql.parse(self.text)
        except ValueError:
            return None


@once
def queries(objects: Objects) -> Iterator[Query]:
    """Yield the expressions in PrometheusRules, and those in dashboards of ConfigMaps."""
    for manifest in objects.of_kind("PrometheusRule"):
        for group, data in mappings(paths.get(manifest.object, ["spec", "groups"])):
            for index, found in mappings(data.get("rules")):
                if isinstance(found.get("expr"), str):
                    path = ("spec", "groups", group, "rules", index, "expr")
                    called = str(found.get("alert") or found.get("record"))
                    yield Query(manifest, path, called, found["expr"], found)
    for manifest in objects.of_kind("ConfigMap"):
        held = manifest.object.get("data")
        for key, text in held.items() if isinstance(held, dict) else ():
            if isinstance(text, str) and str(key).endswith(".json") and '"panels"' in text:
                for title, expression in _of_dashboard(text):
                    yield Query(manifest, ("data", key), f"{key}, {title}", expression, {})


_DURATION = re.compile(r"\$(?:__(?:rate_)?interval|__range|\{__(?:rate_)?interval\}|\{__range\})")


@lru_cache(maxsize=64)
def _of_dashboard(text: str) -> tuple[tuple[str, str], ...]:
    """Return titles and expressions of a dashboard's panels."""
    try:
        left = [json.loads(text)]
    except ValueError:
        return ()
    found = list(_of_variables(left[0]))
    while left:
        for _, panel in mappings(paths.get(left.pop(), ["panels"])):
            left.append(panel)
            for _, target in mappings(panel.get("targets")):
                if isinstance(target.get("expr"), str):
                    expression = _DURATION.sub("5m", target["expr"])
                    found.append((str(panel.get("title")), expression))
    return tuple(found)


_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\s*\)")


def _of_variables(dashboard: Any) -> Iterator[tuple[str, str]]:
    """Yield names and expressions of a dashboard's variables: each takes a label's values."""
    for _, variable in mappings(paths.get(dashboard, ["templating", "list"])):
        query = variable.get("query")
        text = query.get("query") if isinstance(query, dict) else query
        found = _LABEL_VALUES.fullmatch(str(text).strip())
        if found:
            yield f"${variable.get('name')}", f"count by ({found[2]}) ({found[1]})"
