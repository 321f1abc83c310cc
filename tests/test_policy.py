"""kube-score and checkov: that they look, that they find, and that nothing is let be in silence."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import policy, scanners
from scripts.findings import UsageError, UserError
from scripts.manifest import Manifest
from tests.conftest import ROOT, Repository, copy
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
"""What is wrong → the operation that makes StatefulSet/linea-stack-maru so."""

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
"""What is wrong → the rules that must be told at the line of its operation."""


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, list[dict[str, Any]]]:
    """Return a repository with all weaknesses in dev, and what policy tells of it."""
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
def test_a_weakness_is_told_at_the_line_that_makes_it(
    what: str, weak: tuple[Repository, list[dict[str, Any]]]
) -> None:
    line = 3 + list(WEAK).index(what)
    told = {f["rule"] for f in weak[1] if (f["file"], f["line"]) == (PATCH, line)}
    assert told >= RULES[what], [
        f for f in weak[1] if f["object"] == "StatefulSet/linea-stack-maru"
    ]


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("kube-score/container-resources", "limits: null"),
        ("checkov/CKV_K8S_13", "limits: null"),
    ],
)
def test_a_weak_value_is_told_at_its_line(
    rule: str, text: str, weak: tuple[Repository, list[dict[str, Any]]]
) -> None:
    lines = (weak[0] / VALUES).read_text("utf-8").splitlines()
    told = {lines[f["line"] - 1] for f in weak[1] if (f["rule"], f["file"]) == (rule, VALUES)}
    assert any(text in line for line in told), [f for f in weak[1] if f["rule"] == rule]


def test_every_environment_passes_without_a_network() -> None:
    alone = ["unshare", "--map-root-user", "--net"]
    if (
        not shutil.which("unshare")
        or subprocess.run([*alone, "true"], capture_output=True, check=False).returncode
    ):
        pytest.skip("this machine lets nobody take the network away from a process")
    command = [*alone, sys.executable, "-m", "scripts", "policy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    names = ", ".join(ENVIRONMENTS)
    assert done.stdout == f"nothing against {names} but what base/policy.yaml lets be\n", done
    assert done.returncode == 0


def write_waivers(repository: Repository, *waivers: dict[str, Any]) -> None:
    document = yaml.safe_load((ROOT / policy.WAIVERS).read_text("utf-8"))
    text = json.dumps({"waivers": [*document["waivers"], *waivers]}, indent=1)
    repository.write(policy.WAIVERS, text)


REASON = "It would be nothing but a sentence that is long enough for the test."


def test_a_waiver_that_nothing_needs_is_told(repository: Repository) -> None:
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
    found = sorted(policy.check(repository.root, ["dev"]))
    assert [(f.rule, f.message, f.fix) for f in found] == [
        ("stale-waiver", "checkov/CKV_K8S_16 finds nothing in these objects", "remove the waiver"),
        (
            "unknown-check",
            "there is no check checkov/CKV_K8S_999",
            "write the name that the finding had, or remove the waiver",
        ),
        (
            "unknown-check",
            "there is no check kube-score/no-such-test",
            "write the name that the finding had, or remove the waiver",
        ),
        (
            "stale-waiver",
            "checkov/CKV_K8S_43 finds nothing in CronJob/linea-stack-backup",
            "remove this line",
        ),
    ]
    lines = (repository / policy.WAIVERS).read_text("utf-8").splitlines()
    assert "CKV_K8S_999" in lines[found[1].line - 1]
    assert "CronJob" in lines[found[3].line - 1]


def test_an_environment_that_needs_no_waiver_is_told(repository: Repository) -> None:
    waiver = {"check": "checkov/CKV2_K8S_6", "objects": ["StatefulSet/*"], "reason": REASON}
    write_waivers(repository, waiver | {"environments": ["dev", "staging"]})
    (found,) = policy.check(repository.root, ["dev", "staging"])
    assert found.message == "checkov/CKV2_K8S_6 finds nothing of these in staging"
    lines = (repository / policy.WAIVERS).read_text("utf-8").splitlines()
    assert lines[found.line - 1].strip() == '"staging"'
    # Where one of its environments was not looked at, nothing can be said of a waiver.
    assert policy.check(repository.root, ["dev"]) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"reason": None}, "reason is missing"),
        ({"reason": "not needed"}, "reason"),
        ({"reason": "x" * 60}, "reason"),
        ({"objects": ["*"]}, "objects"),
        ({"objects": []}, "objects"),
        ({"check": "CKV_K8S_16"}, "check"),
        ({"environments": ["nowhere"]}, "there is no nowhere"),
        ({"until": "2030"}, "until is an unknown key"),
    ],
)
def test_a_waiver_that_does_not_say_what_or_why_is_refused(
    change: dict[str, Any], told: str, repository: Repository
) -> None:
    waiver = {"check": "checkov/CKV_K8S_16", "objects": ["Pod/a"], "reason": REASON} | change
    write_waivers(repository, {key: value for key, value in waiver.items() if value is not None})
    with pytest.raises(UserError) as error:
        policy.check(repository.root, ["dev"])
    assert any(told in finding.message for finding in error.value.findings), error.value
    assert all(finding.file == policy.WAIVERS and finding.line for finding in error.value.findings)


def manifest(kind: str, spec: dict[str, Any]) -> Manifest:
    found = {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": "a", "namespace": "b"}}
    return Manifest({**found, "spec": spec}, "chart/templates/a.yaml")


TEMPLATE = {
    "metadata": {"labels": {"a": "b"}},
    "spec": {"containers": [{"name": "a", "image": "a:1"}]},
}


def test_a_tool_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(scanners, "CHECKOV", tmp_path / "python")
    sound = manifest("Deployment", {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE})
    with pytest.raises(UsageError, match=r"checkov is not installed: run nox -s policy"):
        scanners.scan([sound], "1.34")


def test_a_tool_that_breaks_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # This Python has no checkov, and ends with 1, as checkov does where it finds something.
    monkeypatch.setattr(scanners, "CHECKOV", Path(sys.executable))
    sound = manifest("Deployment", {"selector": {"matchLabels": {"a": "b"}}, "template": TEMPLATE})
    with pytest.raises(UsageError, match=r"checkov ended with 1: .*No module named"):
        scanners.scan([sound], "1.34")


def test_what_kube_score_can_not_read_is_told() -> None:
    with pytest.raises(UsageError, match=r"kube-score ended with 1: .*replicas"):
        scanners.scan([manifest("Deployment", {"replicas": "two", "template": TEMPLATE})], "1.34")


def test_an_object_that_a_tool_passes_over_is_told() -> None:
    with pytest.raises(UsageError, match="kube-score has said nothing of ReplicaSet/a"):
        scanners.scan([manifest("ReplicaSet", {"template": TEMPLATE})], "1.34")
