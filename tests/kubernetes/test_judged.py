"""Our rules on annotations agree with the AWS Load Balancer Controller itself.

The Go module proxy does not serve the controller, so it is no tool in tools/. judge/cases.json has
its verdicts: for each case, the annotations of the Ingresses of one group, and the error of the
controller, which is empty if it builds the load balancer. To write the verdicts anew, for new cases
or another version of the controller:

    git clone --branch v3.5.0 https://github.com/kubernetes-sigs/aws-load-balancer-controller
    python -m tests.kubernetes.test_judged aws-load-balancer-controller
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.kubernetes import annotation_table
from scripts.kubernetes.manifest import Manifest
from scripts.rules.networking import (
    balancer_settings,
    controller_annotations,
    ingress_backends,
    ingress_groups,
)
from tests.objects import seen

JUDGE = Path(__file__).with_name("judge")
CASES = JUDGE / "cases.json"
RULES = (
    controller_annotations.invalid_annotation_value,
    balancer_settings.redirect_to_unknown_listener,
    ingress_groups.conflicting_ingress_group,
    ingress_backends.unknown_health_check_port,
)
"""The rules about what the controller rejects; AWS rejects more."""


def cases() -> list[dict[str, Any]]:
    """Return the cases, each with the verdict of the controller."""
    found: list[dict[str, Any]] = json.loads(CASES.read_text("utf-8"))["cases"]
    return found


def _objects(group: list[dict[str, str]]) -> list[Manifest]:
    ingresses = [
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "Ingress",
            "metadata": {
                "name": f"ing-{index}",
                "annotations": {
                    f"{annotation_table.ALB}{name}": value
                    for name, value in ({"group.name": "group"} | notes).items()
                },
            },
            "spec": {
                "ingressClassName": "alb",
                "rules": [
                    {
                        "host": f"{index}.example.com",
                        "http": {"paths": [{"path": "/", "backend": _BACKEND}]},
                    }
                ],
            },
        }
        for index, notes in enumerate(group)
    ]
    return [Manifest(each, "") for each in (*ingresses, _SERVICE, _PODS)]


_BACKEND = {"service": {"name": "svc", "port": {"name": "rpc"}}}
_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "svc"},
    "spec": {
        "selector": {"app": "a"},
        "ports": [{"name": "rpc", "port": 8545, "targetPort": "rpc"}],
    },
}
_CONTAINER = {"name": "a", "ports": [{"name": "rpc", "containerPort": 8545}]}
_PODS = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "a"},
    "spec": {
        "selector": {"matchLabels": {"app": "a"}},
        "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {"containers": [_CONTAINER]},
        },
    },
}


@pytest.mark.parametrize("case", cases(), ids=lambda case: json.dumps(case["group"])[:80])
def test_what_the_controller_rejects_is_reported(case: dict[str, Any]) -> None:
    objects = seen(_objects(case["group"]))
    found = [problem.message for rule in RULES for _, problem in rule.check([objects])]
    if case["verdict"]:
        assert found, case["verdict"]
    elif not case.get("aws"):
        assert not found


def test_the_verdicts_are_of_the_version_in_the_table() -> None:
    judged = json.loads(CASES.read_text("utf-8"))["controller"]
    assert judged == annotation_table.version("aws-load-balancer-controller")


def _judge(clone: Path) -> None:
    """Let the controller judge all cases, and write its verdicts."""
    data = json.loads(CASES.read_text("utf-8"))
    given, verdicts = JUDGE / "given.json", JUDGE / "verdicts.json"
    given.write_text(json.dumps([case["group"] for case in data["cases"]]), "utf-8")
    target = clone / "pkg" / "ingress" / "judge_test.go"
    shutil.copy(JUDGE / target.name, target)
    environment = os.environ | {"JUDGE_CASES": str(given), "JUDGE_VERDICTS": str(verdicts)}
    command = ["go", "test", "-count=1", "-run", "Test_judge", "./pkg/ingress"]
    subprocess.run(command, cwd=clone, env=environment, check=True)
    for case, verdict in zip(data["cases"], json.loads(verdicts.read_text("utf-8")), strict=True):
        case["verdict"] = verdict
    for file in (given, verdicts, target):
        file.unlink()
    data["controller"] = annotation_table.version("aws-load-balancer-controller")
    CASES.write_text(json.dumps(data, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    _judge(Path(sys.argv[1]).resolve())
