"""kube-score and checkov run, find weaknesses, and are never silenced without a waiver."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.checks import policy, policy_scanners
from scripts.core.findings import UsageError, UserError
from scripts.kubernetes.manifest import Manifest
from tests.conftest import EXAMPLE, ROOT, Repository, copy
from tests.git import git
from tests.objects import ENVIRONMENTS

PATCH = "overlays/dev/patches/weak.yaml"
VALUES = "overlays/dev/values.yaml"

POD = "/spec/template/spec"
MARU = f"{POD}/containers/0"

SOCKET = {"name": "socket", "hostPath": {"path": "/var/run/docker.sock"}}

IGNORED = {
    "checkov.io/skip1": "CKV_K8S_8=not now",
    "kube-score/ignore": "container-image-tag,container-security-context-privileged",
}

WEAK: dict[str, tuple[str, Any]] = {
    "privileged": (f"{MARU}/securityContext/privileged", True),
    "escalation": (f"{MARU}/securityContext/allowPrivilegeEscalation", True),
    "root-file-system": (f"{MARU}/securityContext/readOnlyRootFilesystem", False),
    "capabilities": (f"{MARU}/securityContext/capabilities", {"add": ["SYS_ADMIN"]}),
    "root-user": (f"{POD}/securityContext", {"runAsUser": 0, "runAsNonRoot": False}),
    "seccomp": (f"{POD}/securityContext/seccompProfile", {"type": "Unconfined"}),
    "latest": (f"{MARU}/image", "consensys/maru:latest"),
    "host-network": (f"{POD}/hostNetwork", True),
    "host-pid": (f"{POD}/hostPID", True),
    "docker-socket": (f"{POD}/volumes/-", SOCKET),
    "token": (f"{POD}/automountServiceAccountToken", True),
    "annotation": ("/metadata/annotations", IGNORED),
}
"""Weakness → the operation that puts it into StatefulSet/linea-stack-maru."""

RULES = {
    "privileged": {"checkov/CKV_K8S_16", "kube-score/container-security-context-privileged"},
    "escalation": {"checkov/CKV_K8S_20"},
    "root-file-system": {
        "checkov/CKV_K8S_22",
        "kube-score/container-security-context-readonlyrootfilesystem",
    },
    "capabilities": {"checkov/CKV_K8S_39"},
    "root-user": {"checkov/CKV_K8S_23"},
    "seccomp": {"checkov/CKV_K8S_31"},
    "latest": {"checkov/CKV_K8S_14", "kube-score/container-image-tag"},
    "host-network": {"checkov/CKV_K8S_19"},
    "host-pid": {"checkov/CKV_K8S_17"},
    "docker-socket": {"checkov/CKV_K8S_27"},
    "token": {"checkov/CKV_K8S_38"},
    "annotation": {"checkov/CKV_K8S_8"},
}
"""Weakness → the checks that must be reported at the line of its operation."""


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, list[dict[str, Any]]]:
    """Return a repository with all weaknesses in dev, and the findings of policy."""
    repository = copy(tmp_path_factory.mktemp("weak") / "repository")
    operations = [{"op": "add", "path": path, "value": value} for path, value in WEAK.values()]
    lines = "".join(f"  - {json.dumps(operation)}\n" for operation in operations)
    target = "target: {kind: StatefulSet, name: linea-stack-maru}\n"
    repository.write(PATCH, f"{target}patch:\n{lines}")
    with (repository / VALUES).open("a") as file:
        file.write("txSender:\n  resources: {limits: null}\n")
    done = repository.run("policy", "dev", "--format", "json")
    assert done.code == 1, done.err
    return repository, json.loads(done.out)["findings"]


@pytest.mark.parametrize("what", WEAK)
def test_a_weakness_is_reported_at_the_line_that_causes_it(
    what: str, weak: tuple[Repository, list[dict[str, Any]]]
) -> None:
    line = 3 + list(WEAK).index(what)
    checks = {f["rule"] for f in weak[1] if (f["file"], f["line"]) == (PATCH, line)}
    assert checks >= RULES[what], [
        f for f in weak[1] if f["object"] == "StatefulSet/linea-stack-maru"
    ]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("kube-score/container-resources", "limits: null"),
        ("checkov/CKV_K8S_13", "limits: null"),
    ],
)
def test_a_weak_value_is_reported_at_its_line(
    rule: str, text: str, weak: tuple[Repository, list[dict[str, Any]]]
) -> None:
    lines = (weak[0] / VALUES).read_text("utf-8").splitlines()
    reported = {lines[f["line"] - 1] for f in weak[1] if (f["rule"], f["file"]) == (rule, VALUES)}
    assert any(text in line for line in reported), [f for f in weak[1] if f["rule"] == rule]


def test_every_environment_passes_without_a_network(repository: Repository) -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine does not allow a process without a network")
    git(repository.root, "init", "-q")
    command = [*alone, sys.executable, "-m", "scripts", "--repository", str(repository.root)]
    command.append("policy")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    names = ", ".join(ENVIRONMENTS)
    assert done.stdout == f"no policy findings in {names} (waivers: base/policy.yaml)\n", done
    assert done.returncode == 0


def write_waivers(repository: Repository, *waivers: dict[str, Any]) -> None:
    document = yaml.safe_load((EXAMPLE / policy.WAIVERS).read_text("utf-8"))
    text = json.dumps({"waivers": [*document["waivers"], *waivers]}, indent=1)
    repository.write(policy.WAIVERS, text)


REASON = "This is only a sentence that is long enough for the test."


def test_an_unused_waiver_is_a_finding(repository: Repository) -> None:
    dev = {"environments": ["dev"], "reason": REASON}
    write_waivers(
        repository,
        {"check": "checkov/CKV_K8S_16", "objects": ["StatefulSet/linea-stack-*"], **dev},
        {"check": "checkov/CKV_K8S_999", "objects": ["Deployment/linea-stack-*"], **dev},
        {"check": "kube-score/no-such-test", "objects": ["Deployment/linea-stack-*"], **dev},
        {
            "check": "checkov/CKV_K8S_43",
            "objects": ["StatefulSet/linea-stack-*", "CronJob/linea-stack-backup"],
            **dev,
        },
    )
    findings = sorted(policy.check(repository.root, ["dev"]))
    assert [(f.rule, f.message, f.fix) for f in findings] == [
        (
            "stale-waiver",
            "the waiver is unused: checkov/CKV_K8S_16 reports nothing for its objects",
            "remove the waiver",
        ),
        (
            "unknown-check",
            "check checkov/CKV_K8S_999 does not exist, so the waiver has no effect",
            "write the check as the finding to waive shows it; if there is none, remove the waiver",
        ),
        (
            "unknown-check",
            "check kube-score/no-such-test does not exist, so the waiver has no effect",
            "write the check as the finding to waive shows it; if there is none, remove the waiver",
        ),
        (
            "stale-waiver",
            (
                "the pattern is unused: checkov/CKV_K8S_43 reports nothing for"
                " CronJob/linea-stack-backup"
            ),
            "remove CronJob/linea-stack-backup from objects",
        ),
    ]
    lines = (repository / policy.WAIVERS).read_text("utf-8").splitlines()
    assert "CKV_K8S_999" in lines[findings[1].line - 1]
    assert "CronJob" in lines[findings[3].line - 1]


def test_an_environment_that_needs_no_waiver_is_a_finding(repository: Repository) -> None:
    waiver = {"check": "checkov/CKV2_K8S_6", "objects": ["StatefulSet/*"], "reason": REASON}
    write_waivers(repository, waiver | {"environments": ["dev", "staging"]})
    (finding,) = policy.check(repository.root, ["dev", "staging"])
    assert finding.message == (
        "the waiver is unused in staging: checkov/CKV2_K8S_6 reports nothing there"
    )
    lines = (repository / policy.WAIVERS).read_text("utf-8").splitlines()
    assert lines[finding.line - 1].strip() == '"staging"'
    # A waiver is not judged if one of its environments is not checked.
    assert policy.check(repository.root, ["dev"]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"reason": None}, "reason is missing"),
        ({"reason": "not needed"}, "reason"),
        ({"reason": "x" * 60}, "reason"),
        ({"objects": ["*"]}, "objects"),
        ({"objects": []}, "objects"),
        ({"check": "CKV_K8S_16"}, "check"),
        ({"environments": ["nowhere"]}, "environment nowhere does not exist"),
        ({"until": "2030"}, "until is an unknown key"),
    ],
)
def test_an_invalid_waiver_is_an_error(
    change: dict[str, Any], message: str, repository: Repository
) -> None:
    waiver = {"check": "checkov/CKV_K8S_16", "objects": ["Pod/a"], "reason": REASON} | change
    write_waivers(repository, {key: value for key, value in waiver.items() if value is not None})
    with pytest.raises(UserError) as error:
        policy.check(repository.root, ["dev"])
    assert any(message in finding.message for finding in error.value.findings), error.value
    assert all(finding.file == policy.WAIVERS and finding.line for finding in error.value.findings)


def manifest(kind: str, spec: dict[str, Any]) -> Manifest:
    data = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "a", "namespace": "b"}}
    return Manifest({**data, "spec": spec}, "chart/templates/a.yaml")


TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "a", "image": "a:1"}]},
}


def test_a_missing_tool_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(policy_scanners, "CHECKOV", tmp_path / "python")
    sound = manifest("Deployment", {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE})
    with pytest.raises(UsageError, match=r"checkov is not installed: run nox -s policy"):
        policy_scanners.scan([([sound], "1.34")])


def test_a_crashing_tool_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    # This Python has no checkov. It exits with 1, like checkov with failed checks.
    monkeypatch.setattr(policy_scanners, "CHECKOV", Path(sys.executable))
    sound = manifest("Deployment", {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE})
    with pytest.raises(UsageError, match=r"(?s)checkov failed with exit code 1: .*No module named"):
        policy_scanners.scan([([sound], "1.34")])


def test_an_object_that_kube_score_cannot_parse_is_an_error() -> None:
    with pytest.raises(UsageError, match=r"kube-score failed with exit code 1: .*replicas"):
        policy_scanners.scan(
            [([manifest("Deployment", {"replicas": "two", "template": TEMPLATE})], "1.34")]
        )


def test_an_object_that_a_tool_skips_is_an_error() -> None:
    with pytest.raises(UsageError, match="kube-score skipped ReplicaSet/a"):
        policy_scanners.scan([([manifest("ReplicaSet", {"template": TEMPLATE})], "1.34")])
