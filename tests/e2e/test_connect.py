"""The steps of argocd/README.md connect a cluster, in their order, as they stand there."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import re
import shutil
import socket
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from scripts.cluster import argocd
from scripts.cluster.cluster import Cluster
from scripts.cluster.control_plane import CONTROLLERS_VERSION
from scripts.core import toolchain
from tests.conftest import ROOT, Repository
from tests.e2e import steps
from tests.e2e.conftest import reported
from tests.e2e.test_first_hour import working_tree
from tests.waits import until

PAGE = (ROOT / "argocd" / "README.md").read_text("utf-8")
SECTION = PAGE.split("\n## Connect a cluster\n")[1].split("\n## ")[0]
STEPS = {int(text.split(".")[0]): text for text in SECTION.split("\n### ")[1:]}
UNTRIED = {3, 5, 10}
"""They have commands about containers, of which none runs here, or about a git server with ssh."""
PASSWORD = "another-long-password"
WEBHOOK = "a-secret-of-the-webhook"
HOST = "https://git.example.com/linea/linea-stack-gitops.git"


def blocks(text: str) -> str:
    """Return the commands in a text."""
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))


def test_the_steps_are_numbered_and_say_which_are_untried() -> None:
    assert list(STEPS) == list(range(1, len(STEPS) + 1))
    assert {number for number, text in STEPS.items() if "*untried here*" in text} == UNTRIED
    assert f"/argo-cd/{toolchain.version('argocd')}/manifests/install.yaml" in STEPS[3]


@dataclass
class Person:
    """A person at a shell beside a cluster in which nothing is connected yet."""

    cluster: Cluster
    address: str
    """Of Argo CD's API server."""
    home: Path

    def run(self, commands: str) -> str:
        """Run commands in the repository, and return their output; they must succeed."""
        programs = self.home / "bin"
        variables = self.cluster.plane.environment() | {"HOME": str(self.home)}
        variables["PATH"] = f"{programs}:{variables['PATH']}"
        done = subprocess.run(
            ["sh", "-ec", commands.replace("localhost:8080", self.address)],
            cwd=self.cluster.remote.checkout,
            env=variables,
            capture_output=True,
            text=True,
            timeout=steps.HANG_S,
            check=False,
        )
        assert not done.returncode, f"{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    def step(self, number: int, **replaced: str) -> str:
        """Run the commands of a step; replaced: what a person would write instead, by its name."""
        commands = blocks(STEPS[number])
        for old, new in replaced.items():
            assert old in commands
            commands = commands.replace(old, new)
        return self.run(commands)


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    """Yield a person whose repository is adopted and pushed.

    The environment dev is on the cluster of Argo CD, and qa on another one: it is the same, but
    Argo CD knows it by another address and uses another account there.
    """
    mine = Repository(working_tree(tmp_path / "mine"))
    answers = {
        "repository": {"url": (tmp_path / "mine").as_uri()},
        "environments": {
            "dev": {"like": "dev", "clients": ["10.8.0.0/16"]},
            "qa": {"like": "dev", "clients": ["10.8.0.0/16"], "cluster": {"name": "nonprod"}},
        },
    }
    mine.write("adopt.yaml", yaml.safe_dump(answers))
    done = mine.run("adopt")
    assert not done.code, done.out + done.err
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin/kubectl").symlink_to(toolchain.tool(f"kubectl-{CONTROLLERS_VERSION}"))
    (home / "bin/argocd").symlink_to(toolchain.tool("argocd"))
    (home / ".secrets").mkdir()
    (home / ".secrets/token").write_text("token\n")
    (home / ".secrets/webhook").write_text(WEBHOOK)
    with Cluster(mine.root) as cluster, reported(cluster):
        cluster.remote.take()
        on_another_cluster(Repository(cluster.remote.checkout), cluster.plane.url)
        cluster.remote.push("adopted")
        shutil.copytree(mine / ".secrets", cluster.remote.checkout / ".secrets")
        address = cluster.argo_cd.start_api()
        until(lambda: accepts(address), "an API server of Argo CD that accepts connections")
        yield Person(cluster, address, home)


def accepts(address: str) -> bool:
    """Return whether a program listens at the address."""
    host, _, port = address.partition(":")
    with contextlib.suppress(OSError), socket.create_connection((host, int(port)), timeout=5):
        return True
    return False


def on_another_cluster(repository: Repository, server: str) -> None:
    """Let qa be on the cluster with this address, and synced as an account there."""
    file = "overlays/qa/environment.yaml"
    settings = yaml.safe_load((repository / file).read_text("utf-8"))
    settings["cluster"] = {"server": server, "serviceAccount": "deployer"}
    repository.write(file, yaml.safe_dump(settings))
    done = repository.run("render", "qa")
    assert not done.code, done.out + done.err


def test_the_steps_lead_from_an_empty_cluster_to_a_synced_environment(person: Person) -> None:
    cluster = person.cluster
    log_in(person)
    assert not cluster.api.find("Secret", "argocd-initial-admin-secret", argocd.NAMESPACE)

    person.step(5, **{HOST: cluster.remote.url})
    assert cluster.remote.url in person.run("argocd repo list")
    person.step(6)
    project = cluster.api.get("AppProject", "default", argocd.NAMESPACE)["spec"]
    assert not project["sourceRepos"]
    assert not project["destinations"]

    person.run("kubectl config set-context nonprod --cluster linea --user admin")
    assert "nonprod" in person.step(7)
    person.step(8, **{"my-cluster": "linea"})
    person.step(8, **{"my-cluster": "nonprod", "/dev/": "/qa/"})
    secrets = {each["metadata"]["name"] for each in cluster.api.objects("Secret", "linea-dev")}
    assert "linea-stack-maru-p2p-key" in secrets
    told = person.step(9)
    assert re.search(r"^linea-dev +Synced +Healthy", told, re.MULTILINE), told
    person.run("argocd app wait linea-qa --sync --health --timeout 1800")

    person.step(11)
    until(lambda: called(person.address, WEBHOOK) == 200, "the webhook is answered", str)
    assert called(person.address, "another") == 400
    with_less_than_all_rights(person)


def log_in(person: Person) -> None:
    """Do step 4, with passwords as options, as there is no terminal that could ask for them."""
    first, log_in, change, remove = blocks(STEPS[4]).splitlines()
    secret = "argocd-initial-admin-secret"
    person.cluster.api.until(
        "Secret", lambda there: secret in there, secret, namespace=argocd.NAMESPACE
    )
    old = person.run(first).split()[0]
    assert "logged in successfully" in person.run(f"{log_in} --password {old}")
    person.run(f"{change} --current-password {old} --new-password {PASSWORD}")
    person.run(remove)


def called(address: str, secret: str) -> int:
    """Return the status with which Argo CD answers a webhook that GitHub has signed so."""
    body = json.dumps({"ref": "refs/heads/main", "repository": {"html_url": "x"}}).encode()
    signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "push",
        "X-Hub-Signature-256": f"sha256={signature}",
    }
    request = urllib.request.Request(f"https://{address}/api/webhook", body, headers)
    try:
        with urllib.request.urlopen(request, context=ssl._create_unverified_context()) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


DEPLOYER = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: deployer, namespace: linea-qa}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: deployer, namespace: linea-qa}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: [get, create, patch, delete]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: deployer, namespace: linea-qa}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: deployer}
subjects: [{kind: ServiceAccount, name: deployer, namespace: linea-qa}]
"""
IMPERSONATE = """kubectl -n argocd patch configmap argocd-cm --type merge \\
  -p '{"data": {"application.sync.impersonation.enabled": "true"}}'"""


def with_less_than_all_rights(person: Person) -> None:
    """Register the other cluster with an account that only reads, and acts as a deployer."""
    person.run(f"kubectl apply -f - <<'END'\n{DEPLOYER}END\n{IMPERSONATE}")
    # The account of dev does not exist, so that Argo CD may no longer sync it.
    section = PAGE.split("\n## Syncing with less than cluster-admin\n")[1].split("\n## ")[0]
    assert " added\n" in person.run(blocks(section))
    account = "--as system:serviceaccount:kube-system:argocd-reader"
    for verb, allowed in {
        "list deployments": "yes",
        "impersonate serviceaccounts": "yes",
        "delete deployments": "no",
        "create services": "no",
    }.items():
        answer = person.run(f"kubectl auth can-i {verb} -n linea-qa {account} || true")
        assert answer.split()[-1] == allowed, verb
    api, name = person.cluster.api, "linea-stack-ethstats"
    old = api.get("Service", name, "linea-qa")["metadata"]["uid"]
    api.delete("Service", name, "linea-qa")
    api.until(
        "Service",
        lambda there: name in there and there[name]["metadata"]["uid"] != old,
        f"{name}, created again by the deployer",
        namespace="linea-qa",
    )
    person.run("argocd app wait linea-qa --sync --health --timeout 1800")
