"""The PromQL expressions in rules and dashboards."""

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
    """The name, in messages, of the rule or panel that has it."""
    text: str
    rule: Mapping[str, Any]
    """Empty if the expression is in a dashboard."""
    namespace: str
    """Of its environment."""

    @property
    def expression(self) -> Expression | None:
        """Return the parsed expression; None if it is not valid PromQL."""
        try:
            return promql.parse_in(self.text, self.namespace)
        except ValueError:
            return None


@once
def queries(objects: Objects) -> Iterator[Query]:
    """Yield the expressions in PrometheusRules, and those in dashboards of ConfigMaps."""
    for manifest in objects.of_kind("PrometheusRule"):
        for group, data in mappings(paths.get(manifest.object, ["spec", "groups"])):
            for index, rule in mappings(data.get("rules")):
                if isinstance(rule.get("expr"), str):
                    path = ("spec", "groups", group, "rules", index, "expr")
                    kind = "alert" if rule.get("alert") else "record"
                    called = f"the {kind} {rule.get(kind)}"
                    yield Query(manifest, path, called, rule["expr"], rule, objects.namespace)
    for manifest in objects.of_kind("ConfigMap"):
        texts = manifest.object.get("data")
        for key, text in texts.items() if isinstance(texts, dict) else ():
            if isinstance(text, str) and str(key).endswith(".json") and '"panels"' in text:
                for title, expression in _of_dashboard(text):
                    called = f"the {title} of {key}"
                    yield Query(manifest, ("data", key), called, expression, {}, objects.namespace)


_OF_THE_DATA_SOURCE = "1d"
"""Stands for Grafana's variables, which are long enough for the interval of the data source."""
_DURATION = re.compile(r"\$(?:__(?:rate_)?interval|__range|\{__(?:rate_)?interval\}|\{__range\})")


@lru_cache(maxsize=64)
def _of_dashboard(text: str) -> tuple[tuple[str, str], ...]:
    """Return the expressions of a dashboard's variables and panels, with their names."""
    try:
        remaining = [json.loads(text)]
    except ValueError:
        return ()
    expressions = list(_of_variables(remaining[0]))
    while remaining:
        for _, panel in mappings(paths.get(remaining.pop(), ["panels"])):
            remaining.append(panel)
            for _, target in mappings(panel.get("targets")):
                if isinstance(target.get("expr"), str):
                    expression = _DURATION.sub(_OF_THE_DATA_SOURCE, target["expr"])
                    expressions.append((f'panel "{panel.get("title")}"', expression))
    return tuple(expressions)


_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\s*\)")


def _of_variables(dashboard: Any) -> Iterator[tuple[str, str]]:
    """Yield the names and expressions of a dashboard's variables with the values of a label."""
    for _, variable in mappings(paths.get(dashboard, ["templating", "list"])):
        query = variable.get("query")
        text = query.get("query") if isinstance(query, dict) else query
        match = _LABEL_VALUES.fullmatch(str(text).strip())
        if match:
            yield f"variable {variable.get('name')}", f"count by ({match[2]}) ({match[1]})"
