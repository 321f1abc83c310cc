"""Grafana's dashboards, as ConfigMaps of the environments hold them, and their panels' queries."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tests.objects import CHART, of_environment, of_kind

FILES = sorted(CHART.glob("files/dashboards/*.json"))
NAMES = [file.stem for file in FILES]
DATA_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
NAMESPACE = "sample"
VARIABLES = {"$namespace": NAMESPACE, "$pod": ".+", "$__rate_interval": "4m"}
"""A value for each of Grafana's variables, as it would put it into an expression."""


@dataclass(frozen=True, slots=True)
class Query:
    """An expression of a dashboard, with sample values in place of variables."""

    name: str
    expression: str
    legend: str


@lru_cache
def rendered(environment: str) -> dict[str, dict[str, Any]]:
    """Return the dashboards that an environment's ConfigMaps hold, by the names of their files."""
    found: dict[str, dict[str, Any]] = {}
    for manifest in of_kind(of_environment(environment)[1], "ConfigMap"):
        if manifest.component == "dashboards":
            found |= {key: json.loads(text) for key, text in manifest.object["data"].items()}
    return found


def dashboard(name: str) -> dict[str, Any]:
    return rendered("prod")[f"linea-prod-linea-stack-{name}.json"]


def substituted(text: str) -> str:
    for variable, value in VARIABLES.items():
        text = text.replace(variable, value)
    return text


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(panel: dict[str, Any]) -> list[Query]:
    return [
        Query(
            f"dashboard:panel_{panel['id']}_{target['refId']}",
            substituted(target["expr"]),
            target["legendFormat"],
        )
        for target in panel.get("targets", [])
    ]
