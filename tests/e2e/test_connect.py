"""The steps of argocd/README.md connect a cluster, in their order, as they stand there."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import shutil
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
UNTRIED = {3, 10}
"""They are about containers, of which none runs here."""
PASSWORD = "another-long-password"
WEBHOOK = "a-secret-of-the-webhook"
HOST = "https://git.example.com/linea/linea-stack-gitops.git"


def blocks(text: str) -> str:
    """Return the commands in a text."""
    return "\n".join(re.findall(r"```bash\n(.*?)```", text, re.DOTALL))


def test_the_steps_are_numbered_and_say_which_are_untried() -> None:
    assert list(STEPS) == list(range(1, len(STEPS) + 1))
    assert {number for number, text in STEPS.items() if "*untried here*" in text} == UNTRIED


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
    """Yield a person whose repository is adopted, with one environment, and pushed."""
    mine = Repository(working_tree(tmp_path / "mine"))
    answers = {
        "repository": {"url": (tmp_path / "mine").as_uri()},
        "environments": {"dev": {"like": "dev", "clients": ["10.8.0.0/16"]}},
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
        cluster.remote.push("adopted")
        shutil.copytree(mine / ".secrets", cluster.remote.checkout / ".secrets")
        yield Person(cluster, cluster.argo_cd.start_api(), home)


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
    person.step(8)
    secrets = {each["metadata"]["name"] for each in cluster.api.objects("Secret", "linea-dev")}
    assert "linea-stack-maru-p2p-key" in secrets
    told = person.step(9)
    assert re.search(r"^linea-dev +Synced +Healthy", told, re.MULTILINE), told

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


def with_less_than_all_rights(person: Person) -> None:
    """Register the cluster with an account that reads, and acts as others."""
    section = PAGE.split("\n## Syncing with less than cluster-admin\n")[1].split("\n## ")[0]
    assert "nonprod" in person.run(blocks(section))
    account = "--as system:serviceaccount:kube-system:argocd-reader"
    for verb, allowed in {
        "list deployments": "yes",
        "impersonate serviceaccounts": "yes",
        "delete deployments": "no",
        "create pods": "no",
    }.items():
        answer = person.run(f"kubectl auth can-i {verb} -n linea-dev {account} || true")
        assert answer.split()[-1] == allowed, verb
