"""The chart's objects for EKS, and what its schema says of such values."""

from __future__ import annotations

from typing import Any

import yaml

from scripts.core import json_schema
from scripts.core.yamlio import Document, load
from scripts.environments.environment import coalesce
from scripts.kubernetes.manifest import Manifest
from tests.conftest import ROOT
from tests.objects import CHART, of

EKS = CHART / "ci" / "eks-values.yaml"
PRODUCTION = ("prod", "staging")


def eks(**changes: Any) -> list[Manifest]:
    """Return the chart's objects for EKS, with other values at paths like aws__identity."""
    return of(values(**changes))


def refused(**changes: Any) -> list[str]:
    """Return what the chart's schema says of such values."""
    merged = coalesce(load(CHART / "values.yaml", ROOT).data, values(**changes))
    document = Document("values.yaml", merged, None)
    return [
        finding.message for finding in json_schema.check(document, CHART / "values.schema.json")
    ]


def values(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(EKS.read_text("utf-8"))
    for path, value in changes.items():
        place = values
        *above, last = path.split("__")
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return values
