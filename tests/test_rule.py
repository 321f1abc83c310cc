"""What the API server rejects of what a rule says it rejects: not all of it, in every version."""

from __future__ import annotations

import pytest

from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules import catalogue
from scripts.rules.rule import Problem, is_rejected

POD: Where = ("spec", "template", "spec", "containers", 0, "name")
CLAIM: Where = ("spec", "volumeClaimTemplates", 0, "spec", "accessModes")


def problem(api: str, kind: str, path: Where) -> Problem:
    found = {"apiVersion": api, "kind": kind, "metadata": {"name": "one"}}
    return Problem(
        Manifest(found, "chart/templates/one.yaml"), path, "it is wrong", "write another"
    )


@pytest.mark.parametrize(
    ("rule", "api", "kind", "path", "version", "is_it"),
    [
        ("duplicate-container-name", "apps/v1", "Deployment", POD, "1.33", True),
        ("duplicate-container-name", "apps/v1", "StatefulSet", POD, "1.33", False),
        ("duplicate-container-name", "apps/v1", "StatefulSet", POD, "1.34", True),
        ("incomplete-volume-claim", "apps/v1", "StatefulSet", CLAIM, "1.33", False),
        ("incomplete-volume-claim", "apps/v1", "StatefulSet", CLAIM, "1.34", True),
        # What a StatefulSet's claims were is compared in every version.
        ("volume-claim-template-changed", "apps/v1", "StatefulSet", CLAIM, "1.33", True),
        (
            "rolling-update-settings-ignored",
            "apps/v1",
            "StatefulSet",
            ("spec", "updateStrategy"),
            "1.33",
            True,
        ),
        # The schema of a custom resource knows nothing of selectors, the server of its metadata.
        (
            *("invalid-selector-operator", "monitoring.coreos.com/v1", "ServiceMonitor"),
            *(("spec", "selector"), "1.34", False),
        ),
        (
            *("annotations-too-large", "monitoring.coreos.com/v1", "ServiceMonitor"),
            *(("metadata", "annotations"), "1.34", True),
        ),
        ("unused-volume", "apps/v1", "Deployment", POD, "1.34", False),
    ],
)
def test_whether_the_api_server_rejects_it(
    rule: str, api: str, kind: str, path: Where, version: str, *, is_it: bool
) -> None:
    found = problem(api, kind, path)
    assert is_rejected(catalogue.RULES[rule], found, version) is is_it
