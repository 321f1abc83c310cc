"""The check of a chain after a sync: its script on a real chain, and the rights of its pod."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from scripts.core.findings import UserError
from scripts.core.toolchain import tool
from scripts.kubernetes.manifest import Manifest
from tests.chart.tx_sender import CHAIN_ID, SHELLS
from tests.conftest import Run
from tests.execution_client import Client, Maru
from tests.objects import containers, of, one, pod

VERIFY: dict[str, Any] = {"verify": {"enabled": True}}
WAIT_S = "3"


def job(manifests: list[Manifest]) -> dict[str, Any]:
    return one(manifests, "Job", "linea-stack-verify")


def container(values: dict[str, Any]) -> dict[str, Any]:
    template = pod(Manifest(job(of(VERIFY | values)), ""))
    assert template
    (only,) = containers(template)
    return only


def run(tmp_path: Path, shell: str = "sh", **environment: str) -> Run:
    """Run the script of the Job as its container does, with other variables."""
    programs = tmp_path / "bin"
    programs.mkdir(exist_ok=True)
    if not (programs / "cast").exists():
        (programs / "cast").symlink_to(tool("cast"))
    path = {"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    command = [*shell.split(), "-c", container({})["args"][0]]
    done = subprocess.run(
        command, env=path | environment, capture_output=True, text=True, timeout=120, check=False
    )
    return Run(done.returncode, done.stdout, done.stderr)


def urls(client: Client) -> dict[str, str]:
    return {
        "RPC_URL": client.url,
        "WS_URL": client.url.replace("http://", "ws://"),
        "CHAIN_ID": str(CHAIN_ID),
        "WAIT_SECONDS": WAIT_S,
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_a_chain_that_makes_blocks_passes(
    node: tuple[Client, Maru], tmp_path: Path, shell: str
) -> None:
    node[1].go_on()
    done = run(tmp_path, shell, **urls(node[0]) | {"WAIT_SECONDS": "30"})
    assert done.code == 0, done
    assert f"chain {CHAIN_ID}, block" in done.out
    assert "ws://" in done.out
    assert "blocks are made" in done.out


def test_a_chain_that_stands_still_fails_unless_no_block_is_due(
    node: tuple[Client, Maru], tmp_path: Path
) -> None:
    node[1].pause()
    try:
        done = run(tmp_path, **urls(node[0]))
        assert done.code == 1
        assert f"error: no block after {node[0].height()} at {node[0].url} within 3 s" in done.err
        idle = run(tmp_path, **urls(node[0]), EXPECT_BLOCKS="false")
        assert idle.code == 0, idle
        assert "proves only that the node answers" in idle.out
    finally:
        node[1].go_on()


def test_another_chain_fails_at_once(node: tuple[Client, Maru], tmp_path: Path) -> None:
    done = run(tmp_path, **urls(node[0]) | {"CHAIN_ID": "1", "WAIT_SECONDS": "100"})
    assert done.code == 1
    assert f"is on chain {CHAIN_ID}, and the genesis is that of chain 1" in done.err


def test_a_websocket_that_does_not_answer_fails(node: tuple[Client, Maru], tmp_path: Path) -> None:
    done = run(tmp_path, **urls(node[0]) | {"WS_URL": "ws://127.0.0.1:1"})
    assert done.code == 1
    assert "error: ws://127.0.0.1:1 does not answer:" in done.err


def test_the_job_is_a_hook_that_ends_by_itself_and_has_no_rights() -> None:
    found = job(of(VERIFY))
    notes = found["metadata"]["annotations"]
    assert notes["argocd.argoproj.io/hook"] == "PostSync"
    assert notes["argocd.argoproj.io/hook-delete-policy"] == "BeforeHookCreation,HookSucceeded"
    assert found["spec"]["backoffLimit"] == 0
    environment = {each["name"]: each["value"] for each in container({})["env"]}
    assert found["spec"]["activeDeadlineSeconds"] > int(environment["WAIT_SECONDS"])
    spec = found["spec"]["template"]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert not [volume for volume in spec["volumes"] if "emptyDir" not in volume]


def test_its_pod_reaches_json_rpc_and_websocket_of_besu_and_nothing_else() -> None:
    manifests = of(VERIFY | {"networkPolicy": {"enabled": True, "dnsTo": []}})
    labels = job(manifests)["spec"]["template"]["metadata"]["labels"]
    policy = one(manifests, "NetworkPolicy", "linea-stack-verify-pod")["spec"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in policy
    (way,) = policy["egress"]
    assert {port["port"] for port in way["ports"]} == {8545, 8546}
    (peer,) = one(manifests, "NetworkPolicy", "linea-stack-verify")["spec"]["ingress"][0]["from"]
    assert peer["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "true"),
        ({"txSender": {"enabled": False}}, "false"),
        ({"txSender": {"enabled": False}, "maru": {"allowEmptyBlocks": True}}, "true"),
        ({"txSender": {"interval": 3600}}, "false"),
        ({"txSender": {"rpc": {"service": "rpc.elsewhere"}}}, "false"),
    ],
)
def test_a_block_is_due_where_something_makes_one(values: dict[str, Any], expected: str) -> None:
    found = {each["name"]: each.get("value") for each in container(values)["env"]}
    assert found["EXPECT_BLOCKS"] == expected


def test_without_besu_there_is_nothing_to_verify() -> None:
    with pytest.raises(UserError, match=r"verify\.enabled is true, but besu\.enabled is false"):
        of(VERIFY | {"besu": {"enabled": False}, "txSender": {"enabled": False}})
