"""`nox -s diff` tells what differs on a cluster, by object and meaning, and shows no secret."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.chain import identity
from scripts.cluster import argocd
from scripts.cluster.api_client import Object
from scripts.cluster.cluster import Cluster
from scripts.cluster.control_plane import CONTROLLERS_VERSION
from scripts.core import toolchain
from scripts.live.compare import TRACKING_ID
from scripts.network import secret_files
from tests.conftest import Repository, Run
from tests.e2e import steps

DEV = "linea-dev"
SECRET = "do-not-show-this"
CONFIG = "linea-stack-maru-config"
READER = "reader"
PAUSED = "argocd.argoproj.io/skip-reconcile"


class Person:
    """Someone with a kubeconfig and a checkout of what the cluster runs."""

    def __init__(self, cluster: Cluster, kubeconfig: Path) -> None:
        programs = cluster.folder / "diff"
        programs.mkdir(exist_ok=True)
        if not (programs / "kubectl").exists():
            (programs / "kubectl").symlink_to(toolchain.tool(f"kubectl-{CONTROLLERS_VERSION}"))
        self.repository = Repository(cluster.remote.checkout)
        self.variables = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "KUBECONFIG": str(kubeconfig),
        }

    def diff(self, *arguments: str) -> Run:
        return self.repository.run("diff", "dev", *arguments, **self.variables)

    def drift(self) -> dict[str, Any]:
        """Return the comparison as JSON, with the objects by name."""
        done = self.diff("--format", "json")
        assert done.code in (0, 1), done.err
        found: dict[str, Any] = json.loads(done.out)
        assert done.code == found["drift"]
        return found | {"objects": {each["name"]: each for each in found["objects"]}}

    def create_secrets(self, *arguments: str) -> Run:
        """Run create-secrets.sh with the real kubectl."""
        script = self.repository / ".secrets/dev/create-secrets.sh"
        done = subprocess.run(
            ["sh", str(script), *arguments],
            env={**os.environ, **self.variables},
            capture_output=True,
            text=True,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def person(cluster: Cluster) -> Person:
    """Return a person with the rights of an administrator."""
    return Person(cluster, cluster.plane.kubeconfig)


@pytest.fixture(scope="module")
def secrets(cluster: Cluster, person: Person) -> Iterator[list[str]]:
    """Create dev's Secrets with create-secrets.sh, as they are all that is missing."""
    missing = person.drift()
    assert {each["what"] for each in missing["objects"].values()} == {"missing"}, missing
    names = [name.removeprefix("Secret/") for name in missing["objects"]]
    values = yaml.safe_load((person.repository / "overlays/dev/network.yaml").read_text("utf-8"))
    chain = identity.chain_label(
        [each["address"] for each in values["network"]["validators"]],
        json.loads(values["genesis"]["besu"])["config"]["chainId"],
    )
    keys = {
        name: ["privateKey", "toAddress"]
        if "tx-sender" in name
        else ["jwt" if "jwt" in name else "secret" if "ethstats" in name else "key"]
        for name in names
    }
    files = {f"{name}/{key}": SECRET for name, own in keys.items() for key in own}
    script = secret_files.script("dev", DEV, chain, keys)
    secret_files.write(person.repository.root, "dev", {**files, "create-secrets.sh": script})

    unnamed = person.create_secrets()
    assert unnamed.code == 2
    assert unnamed.err.endswith("create-secrets.sh --context NAME, with one of:\n  linea\n")
    unknown = person.create_secrets("--context", "prod-admin")
    assert (unknown.code, unknown.out) == (2, "")
    assert not any(cluster.api.find("Secret", name, DEV) for name in names)

    done = person.create_secrets("--context", "linea")
    heading = f"context linea, server {cluster.plane.url}, namespace {DEV}\n"
    assert (done.code, done.err) == (0, "")
    assert done.out == heading + "".join(f"{name}: created\n" for name in names)
    again = person.create_secrets("--context=linea").out
    assert again == heading + "".join(f"{name}: exists already, unchanged\n" for name in names)
    yield names
    for name in names:
        cluster.api.delete("Secret", name, DEV)


@pytest.fixture
def by_hand(cluster: Cluster) -> Iterator[None]:
    """Let Argo CD leave dev alone, so that nothing repairs what the test changes."""
    kinds = ("ConfigMap", "PodDisruptionBudget", "ServiceAccount")
    before = {kind: kept(cluster.api.objects(kind, DEV)) for kind in kinds}
    pause(cluster, "true")
    yield
    for name in ("made-by-hand", "removed-from-git"):
        if cluster.api.find("ConfigMap", name, DEV):
            cluster.api.delete("ConfigMap", name, DEV)
    pause(cluster, None)
    steps.refresh(cluster, [DEV])
    for kind, own in before.items():

        def healed(there: dict[str, Object], own: dict[str, Any] = own) -> bool:
            return kept(there.values()) == own

        cluster.api.until(kind, healed, f"{kind} of {DEV} healed", namespace=DEV)
    steps.wait_synced(cluster, [DEV])


def kept(objects: Iterable[Object]) -> dict[str, Any]:
    """Return what a sync restores of objects, by name."""
    fields = ("data", "automountServiceAccountToken")
    return {each["metadata"]["name"]: [each.get(field) for field in fields] for each in objects}


def pause(cluster: Cluster, value: str | None) -> None:
    body = {"metadata": {"annotations": {PAUSED: value}}}
    cluster.api.patch("Application", DEV, body, argocd.NAMESPACE)


def test_nothing_differs_after_a_sync(person: Person, secrets: list[str]) -> None:
    done = person.diff()
    assert done.code == 0, done.out + done.err
    assert done.out.startswith("dev: no drift in ")
    assert "Argo CD: Synced, Healthy at " in done.out
    assert person.drift()["notes"] == []


def test_the_overview_shows_the_state_of_the_cluster(person: Person, secrets: list[str]) -> None:
    arguments = ("overview", "dev", "--live", "--context", "dev=linea", "--format", "json")
    done = person.repository.run(*arguments, **person.variables)
    assert done.code == 0, done.err
    (dev,) = json.loads(done.out)["environments"]
    live = dev["live"]
    assert (live["sync"], live["health"], live["drift"]) == ("Synced", "Healthy", [])
    assert (live["problem"], live["misfits"]) == ("", [])


def test_each_change_by_hand_is_told_by_its_meaning_and_no_secret_is_shown(
    cluster: Cluster, person: Person, secrets: list[str], by_hand: None
) -> None:
    jwt = next(name for name in secrets if "jwt" in name)
    config = cluster.api.get("ConfigMap", CONFIG, DEV)["data"]
    edited = {key: f"{text}# by hand\n" for key, text in config.items()}
    cluster.api.patch("ConfigMap", CONFIG, {"data": edited}, DEV)
    account = {"automountServiceAccountToken": True}
    cluster.api.patch("ServiceAccount", "linea-stack-besu", account, DEV)
    budget = cluster.api.objects("PodDisruptionBudget", DEV)[0]["metadata"]["name"]
    cluster.api.delete("PodDisruptionBudget", budget, DEV)
    changed = {"data": {"jwt": base64.b64encode(b"another-" + SECRET.encode()).decode()}}
    cluster.api.patch("Secret", jwt, changed, DEV)
    tracked = {TRACKING_ID: f"{DEV}:/ConfigMap:{DEV}/removed-from-git"}
    for name, marks in (("made-by-hand", {}), ("removed-from-git", tracked)):
        metadata = {"name": name, "annotations": marks}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
        cluster.api.create("ConfigMap", body, DEV)

    done = person.diff()
    assert done.code == 1
    assert "dev: 6 objects differ (linea, " in done.out
    found = person.drift()["objects"]
    what = {name: each["what"] for name, each in found.items()}
    assert what == {
        f"ConfigMap/{CONFIG}": "changed",
        "ConfigMap/made-by-hand": "foreign",
        "ConfigMap/removed-from-git": "extra",
        f"PodDisruptionBudget/{budget}": "missing",
        f"Secret/{jwt}": "changed",
        "ServiceAccount/linea-stack-besu": "changed",
    }
    assert "automountServiceAccountToken: false → true" in done.out
    assert "+# by hand" in done.out
    assert found[f"Secret/{jwt}"]["fields"][0]["path"] == "data[jwt]"
    for form in ("text", "markdown", "json"):
        shown = person.diff("--format", form).out
        assert SECRET not in shown
        assert base64.b64encode(SECRET.encode()).decode()[:12] not in shown
    original = {"data": {"jwt": base64.b64encode(SECRET.encode()).decode()}}
    cluster.api.patch("Secret", jwt, original, DEV)


def test_a_context_of_another_cluster_is_told(
    cluster: Cluster, person: Person, tmp_path: Path
) -> None:
    config = yaml.safe_load(cluster.plane.kubeconfig.read_text("utf-8"))
    elsewhere = {"name": "elsewhere", "cluster": {"server": "https://127.0.0.1:1"}}
    config["clusters"].append(elsewhere)
    context = {"name": "elsewhere", "context": {"cluster": "elsewhere", "user": "admin"}}
    config["contexts"].append(context)
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config), "utf-8")
    other = Person(cluster, kubeconfig)
    unknown = other.diff("--context", "nowhere")
    assert unknown.code == 2
    assert "has no context nowhere: known are: elsewhere, linea" in unknown.err
    down = other.diff("--context", "elsewhere")
    assert down.code == 2
    assert "https://127.0.0.1:1 (context elsewhere) does not answer" in down.err
    cluster_of_others = person.repository.run("diff", "staging", **other.variables)
    assert cluster_of_others.code in (0, 1)


def test_a_reader_needs_no_right_to_write_and_is_told_which_rights_are_missing(
    cluster: Cluster, secrets: list[str], tmp_path: Path
) -> None:
    kubectl = cluster.plane.kubectl
    in_dev = f"--namespace={DEV}"
    assert kubectl("create", "serviceaccount", READER, in_dev)[0] == 0
    code, token, _ = kubectl("create", "token", READER, in_dev)
    assert code == 0
    config = yaml.safe_load(cluster.plane.kubeconfig.read_text("utf-8"))
    config["users"][0]["user"] = {"token": token.strip()}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(yaml.safe_dump(config), "utf-8")
    reader = Person(cluster, kubeconfig)
    try:
        done = reader.diff()
        assert done.code == 2
        assert "the user of this context may not list configmaps, " in done.err
        assert "bind a Role that allows get, list and patch on them" in done.err
        assert token.strip() not in done.err
        binding = ("create", "rolebinding", READER, f"--serviceaccount={DEV}:{READER}", in_dev)
        bound = kubectl(*binding, "--clusterrole=view")
        assert bound[0] == 0, bound
        found = reader.drift()
        notes = "\n".join(found["notes"])
        assert "statefulsets, so fields that were removed from git were not looked for" in notes
        assert "Secrets were not compared, because the user may not get them" in notes
        assert {each["what"] for each in found["objects"].values()} <= {"foreign"}
    finally:
        for kind in ("rolebinding", "serviceaccount"):
            kubectl("delete", kind, READER, in_dev, "--ignore-not-found")
