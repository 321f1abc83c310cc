"""Production on EKS: Secrets from a store, and roles for the pods that need one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.kubernetes.manifest import Manifest
from scripts.rendering import helm
from tests.chart.eks import PRODUCTION, eks, refused, values
from tests.conftest import Repository
from tests.objects import CHART, of_environment, of_kind, one, pods, walk

ROLE = "eks.amazonaws.com/role-arn"


def keys_in_use(manifests: list[Manifest]) -> dict[str, set[str]]:
    """Return the Secrets that pods take keys from, with the keys."""
    used: dict[str, set[str]] = {}
    for _, template in pods(manifests):
        for _, part in walk(template["spec"]):
            if not isinstance(part, dict):
                continue
            if isinstance(part.get("secret"), dict):
                volume = part["secret"]
                keys = {item["key"] for item in volume["items"]}
                used.setdefault(volume["secretName"], set()).update(keys)
            if isinstance(part.get("secretKeyRef"), dict):
                reference = part["secretKeyRef"]
                used.setdefault(reference["name"], set()).add(reference["key"])
    return used


def external(manifests: list[Manifest]) -> dict[str, set[str]]:
    """Return the Secrets that ExternalSecrets make, with the keys."""
    made = {}
    for manifest in of_kind(manifests, "ExternalSecret"):
        spec = manifest.object["spec"]
        made[spec["target"]["name"]] = {entry["secretKey"] for entry in spec["data"]}
        for entry in spec["data"]:
            assert entry["remoteRef"]["property"] == entry["secretKey"]
    return made


@pytest.mark.parametrize("name", PRODUCTION)
def test_the_store_gives_exactly_the_secrets_that_pods_use(name: str) -> None:
    _, manifests = of_environment(name)
    assert external(manifests) == keys_in_use(manifests)


def test_access_keys_come_from_the_store_where_pods_have_no_role() -> None:
    manifests = eks(aws__identity="none", restore__secretName="reads-backups")
    # The load balancer reads this one, and no pod.
    login = {"linea-stack-ethstats-oidc": {"clientID", "clientSecret"}}
    assert external(manifests) == keys_in_use(manifests) | login
    keys = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}
    assert external(manifests)["linea-stack-backup-credentials"] == keys
    assert external(manifests)["reads-backups"] == keys


@pytest.mark.parametrize("identity", ["irsa", "podIdentity"])
def test_pods_with_a_role_have_no_access_key(identity: str) -> None:
    used = keys_in_use(eks(aws__identity=identity))
    assert not any("AWS" in key for keys in used.values() for key in keys)


def roles(manifests: list[Manifest]) -> dict[str, str]:
    return {
        m.name: m.object["metadata"]["annotations"][ROLE].rpartition("/")[2]
        for m in of_kind(manifests, "ServiceAccount")
        if ROLE in m.object["metadata"].get("annotations", {})
    }


def test_only_what_uses_a_bucket_or_the_store_has_a_role() -> None:
    readers = {f"linea-stack-{name}": "linea-restore" for name in ("sequencer", "maru", "besu")}
    always = {"linea-stack-backup": "linea-backup", "linea-stack-aws": "linea-secrets"}
    assert roles(eks()) == readers | always
    assert roles(eks(restore__backup="")) == always
    assert roles(eks(aws__identity="podIdentity")) == {}
    assert roles(eks(aws__identity="none", aws__backupRoleArn="")) == {}


@pytest.mark.parametrize("name", PRODUCTION)
def test_no_pod_runs_as_the_account_that_reads_the_store(name: str) -> None:
    _, manifests = of_environment(name)
    assert "linea-stack-aws" in {m.name for m in of_kind(manifests, "ServiceAccount")}
    for _, template in pods(manifests):
        assert template["spec"]["serviceAccountName"] != "linea-stack-aws"
        assert template["spec"]["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    "path",
    [
        "aws__backupRoleArn",
        "aws__restoreRoleArn",
        "secrets__external__aws__roleArn",
        "secrets__external__aws__region",
    ],
)
def test_half_an_identity_is_refused(path: str) -> None:
    assert refused(**{path: ""}) == [f"{path.replace('__', '.')} is empty"]
    elsewhere = {"aws__identity": "none", "secrets__provider": "existing", "restore__backup": ""}
    assert refused(**{path: ""}, **elsewhere) == []


def test_secrets_from_no_store_are_refused() -> None:
    without = {"secrets__external__aws__enabled": False}
    assert refused(**without) == ["secrets.external.storeName is empty"]
    named = without | {"secrets__external__storeName": "vault"}
    assert refused(**named) == []
    made = eks(**named)
    assert not of_kind(made, "SecretStore")
    for manifest in of_kind(made, "ExternalSecret"):
        assert manifest.object["spec"]["secretStoreRef"]["name"] == "vault"


def test_a_key_is_looked_up_once_and_a_password_again() -> None:
    policies = {m.name: m.object["spec"]["refreshPolicy"] for m in of_kind(eks(), "ExternalSecret")}
    assert policies == {
        "linea-stack-sequencer-p2p-key": "OnChange",
        "linea-stack-maru-p2p-key": "OnChange",
        "linea-stack-engine-jwt": "OnChange",
        "linea-stack-ethstats-secret": "Periodic",
        "linea-stack-ethstats-oidc": "Periodic",
        "linea-stack-tx-sender-secrets": "Periodic",
    }
    for manifest in of_kind(eks(), "ExternalSecret"):
        # What is gone from the store must not take a running validator's key away.
        assert manifest.object["spec"]["target"]["deletionPolicy"] == "Retain"


def test_an_upgrade_of_images_or_of_the_chart_looks_no_secret_up_again(tmp_path: Path) -> None:
    """The operator does where a label, an annotation or the spec of an ExternalSecret changes."""
    shutil.copytree(CHART, tmp_path / "chart")
    chart = tmp_path / "chart/Chart.yaml"
    chart.write_text(re.sub(r"(?m)^version: .*", "version: 99.0.0", chart.read_text("utf-8")))
    later = values(
        sequencer__image__tag="99.0.0",
        maru__image__tag="v99.0.0",
        ethstats__image__tag="v99",
        txSender__image__tag="v99",
    )
    upgraded = helm.template(tmp_path / "chart", tmp_path, later, "linea", "1.34")
    assert (
        of_kind(upgraded, "StatefulSet")[0].metadata["labels"]["helm.sh/chart"]
        == "linea-stack-99.0.0"
    )
    before, after = (
        {m.name: m.object for m in of_kind(each, "ExternalSecret")} for each in (eks(), upgraded)
    )
    assert before == after
    assert len(before) == 6


def test_the_operator_takes_a_role_on_where_pods_have_identities() -> None:
    aws = one(eks(aws__identity="podIdentity"), "SecretStore", "linea-stack-aws")["spec"][
        "provider"
    ]
    assert aws["aws"] == {
        "service": "SecretsManager",
        "region": "us-east-1",
        "role": "arn:aws:iam::123456789012:role/linea-secrets",
    }


AWS = """#!/bin/sh
# AWS Secrets Manager as a folder: an entry's tag in a file, its text in another.
printf '%s\\n' "$*" >>"$STORE/said"
case $* in
  "secretsmanager describe-secret --region us-east-1 --output text --secret-id "*)
    name=$(echo "$8" | tr / _)
    [ -e "$STORE/$name.tag" ] || { echo "An error (ResourceNotFoundException): no" >&2; exit 254; }
    cat "$STORE/$name.tag"
    ;;
  "secretsmanager create-secret --region us-east-1 --name "*" --secret-string file:///dev/stdin")
    name=$(echo "$6" | tr / _)
    cat >"$STORE/$name.json"
    echo "${8#Key=linea-stack/chain,Value=}" >"$STORE/$name.tag"
    ;;
  *) exit 9 ;;
esac
"""


def create(repository: Repository, store: Path) -> subprocess.CompletedProcess[str]:
    """Run prod's create-secrets.sh with a program in the place of AWS' command line."""
    program = store / "bin" / "aws"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(AWS)
    program.chmod(0o755)
    return subprocess.run(
        ["sh", str(repository / ".secrets/prod/create-secrets.sh")],
        env=os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}", "STORE": str(store)},
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


@pytest.fixture
def prod(repository: Repository) -> Repository:
    """Return a repository in which prod has a chain of its own, with its keys."""
    (repository / "overlays/prod/network.yaml").unlink()
    done = repository.run("network", "prod")
    assert (done.code, done.err) == (0, "")
    assert "create-secrets.sh  creates the Secrets in AWS Secrets Manager\n" in done.out
    return repository


def test_the_entries_that_network_makes_are_those_that_the_store_is_asked_for(
    prod: Repository, tmp_path: Path
) -> None:
    done = create(prod, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    said = (tmp_path / "said").read_text()
    for manifest in of_kind(of_environment("prod")[1], "ExternalSecret"):
        for entry in manifest.object["spec"]["data"]:
            remote = entry["remoteRef"]
            text = (tmp_path / f"{remote['key'].replace('/', '_')}.json").read_text()
            folder = remote["key"].partition("/")[2]
            file = prod / f".secrets/prod/{folder}/{remote['property']}"
            assert json.loads(text)[remote["property"]] == file.read_text().strip()
            # A command line is for everybody to see; an address is for everybody.
            if remote["property"] != "toAddress":
                assert file.read_text().strip() not in said + done.stdout
    again = create(prod, tmp_path)
    assert again.returncode == 0
    assert again.stdout.count("exists already, unchanged\n") == 5
    assert said.count("create-secret ") == (tmp_path / "said").read_text().count("create-secret ")


def test_nothing_is_put_into_the_store_beside_another_chain_s(
    prod: Repository, tmp_path: Path
) -> None:
    (tmp_path / "linea-prod_linea-stack-engine-jwt.tag").write_text("0123456789abcdef\n")
    done = create(prod, tmp_path)
    assert done.returncode == 1
    assert "linea-prod/linea-stack-engine-jwt: belongs to another chain" in done.stderr
    assert done.stderr.endswith("nothing was created\n")
    assert not list(tmp_path.glob("*.json"))
    (tmp_path / "linea-prod_linea-stack-engine-jwt.tag").unlink()
    (prod / ".secrets/prod/linea-stack-maru-p2p-key/key-2").unlink()
    done = create(prod, tmp_path)
    assert done.returncode == 1
    assert "the file linea-stack-maru-p2p-key/key-2 is missing or empty" in done.stderr
    assert not list(tmp_path.glob("*.json"))


def test_another_store_gets_the_path_of_its_entries_in_words(repository: Repository) -> None:
    (repository / "overlays/prod/network.yaml").unlink()
    text = (repository / "overlays/prod/values.yaml").read_text()
    other = text.replace(
        "  external:\n", "  external:\n    storeName: vault\n    prefix: chains/prod\n", 1
    ).replace("    aws:\n", "    aws:\n      enabled: false\n", 1)
    repository.write("overlays/prod/values.yaml", other)
    done = repository.run("network", "prod")
    assert done.code == 0
    assert "into your store  as chains/prod/<folder>, with a property per file" in done.out
    assert not (repository / ".secrets/prod/create-secrets.sh").exists()
