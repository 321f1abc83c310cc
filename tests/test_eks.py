"""Production on EKS: Secrets from a store, roles for pods, one load balancer, updates, zones."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.checks import kubeconform
from scripts.core import json_schema
from scripts.core.yamlio import Document, load
from scripts.environments.environment import coalesce
from scripts.kubernetes.manifest import Manifest
from scripts.rendering import applications
from tests.conftest import ROOT, Repository
from tests.objects import (
    CHART,
    containers,
    of,
    of_environment,
    of_kind,
    of_values,
    one,
    pods,
    walk,
)

EKS = CHART / "ci" / "eks-values.yaml"
PRODUCTION = ("prod", "staging")
ROLE = "eks.amazonaws.com/role-arn"
ALB = "alb.ingress.kubernetes.io"


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
    assert external(manifests) == keys_in_use(manifests)
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
    assert refused(**{path: ""}) == [f'{path.replace("__", ".")} is ""']
    elsewhere = {"aws__identity": "none", "secrets__provider": "existing", "restore__backup": ""}
    assert refused(**{path: ""}, **elsewhere) == []


@pytest.mark.parametrize("oldest", ["1-0", "1-1"])
def test_versions_of_tls_that_nobody_should_speak_are_refused(oldest: str) -> None:
    policy = f"ELBSecurityPolicy-TLS13-{oldest}-2021-06"
    assert refused(ingress__alb__sslPolicy=policy) == [f'ingress.alb.sslPolicy is "{policy}"']
    assert refused(ingress__alb__sslPolicy="ELBSecurityPolicy-TLS13-1-3-2021-06") == []


@pytest.mark.parametrize(
    ("host", "peers"), [("rpc", "rpcFrom"), ("ws", "rpcFrom"), ("ethstats", "ethstatsFrom")]
)
def test_a_load_balancer_that_could_reach_no_pod_is_refused(host: str, peers: str) -> None:
    hosts = {f"ingress__{name}__host": "" for name in ("rpc", "ws", "ethstats")}
    closed = hosts | {f"ingress__{host}__host": "x.example.com", "networkPolicy__enabled": True}
    assert refused(**closed) == [f"networkPolicy.{peers} is []"]
    opened = {f"networkPolicy__{peers}": [{"ipBlock": {"cidr": "10.30.0.0/22"}}]}
    assert refused(**closed | opened) == []
    assert refused(**closed | {"networkPolicy__enabled": False}) == []
    assert refused(**closed | {"ingress__alb__enabled": False}) == []


def test_secrets_from_no_store_are_refused() -> None:
    without = {"secrets__external__aws__enabled": False}
    assert refused(**without) == ['secrets.external.storeName is ""']
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
        "linea-stack-tx-sender-secrets": "Periodic",
    }
    for manifest in of_kind(eks(), "ExternalSecret"):
        # What is gone from the store must not take a running validator's key away.
        assert manifest.object["spec"]["target"]["deletionPolicy"] == "Retain"


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
    assert "put .secrets/prod/ into your store  chains/prod/<folder>, a property a file" in done.out
    assert not (repository / ".secrets/prod/create-secrets.sh").exists()


# One load balancer.


@pytest.mark.parametrize("name", PRODUCTION)
def test_all_hosts_share_one_load_balancer_with_tls(name: str) -> None:
    found, manifests = of_environment(name)
    ingresses = of_kind(manifests, "Ingress")
    assert len(ingresses) == 3
    for ingress in ingresses:
        told = ingress.object["metadata"]["annotations"]
        assert told[f"{ALB}/group.name"] == found.namespace
        assert told[f"{ALB}/target-type"] == "ip"
        assert told[f"{ALB}/ssl-redirect"] == "443"
        assert "TLS13" in told[f"{ALB}/ssl-policy"]
        assert json.loads(told[f"{ALB}/listen-ports"]) == [{"HTTP": 80}, {"HTTPS": 443}]
        assert ingress.object["spec"]["ingressClassName"] == "alb"
    assert not [
        m for m in of_kind(manifests, "Service") if m.object["spec"].get("type") == "LoadBalancer"
    ]


def test_what_a_group_shares_is_the_same_on_each_ingress() -> None:
    # "Exclusive" in the controller's table: else it refuses the whole group.
    exclusive = (
        "scheme", "ssl-redirect", "ssl-policy", "inbound-cidrs", "wafv2-acl-arn",
        "load-balancer-attributes", "group.name",
    )  # fmt: skip
    ingresses = of_kind(eks(), "Ingress")
    for key in exclusive:
        told = {m.object["metadata"]["annotations"].get(f"{ALB}/{key}") for m in ingresses}
        assert len(told) == 1, key
        assert told != {None}, key


def test_the_values_of_the_load_balancer_reach_its_annotations() -> None:
    told = one(eks(), "Ingress", "linea-stack-besu-ws")["metadata"]["annotations"]
    assert told[f"{ALB}/load-balancer-attributes"] == (
        "access_logs.s3.bucket=amzn-s3-demo-logs,access_logs.s3.enabled=true,"
        "idle_timeout.timeout_seconds=300,routing.http.drop_invalid_header_fields.enabled=true"
    )
    assert told[f"{ALB}/inbound-cidrs"] == "192.0.2.0/24,198.51.100.0/24"
    assert told[f"{ALB}/wafv2-acl-arn"].endswith(
        "webacl/linea/12345678-1234-1234-1234-123456789012"
    )
    assert told[f"{ALB}/certificate-arn"].startswith("arn:aws:acm:us-east-1:")
    own = eks(ingress__ws__annotations={f"{ALB}/success-codes": "200-299"})
    told = one(own, "Ingress", "linea-stack-besu-ws")["metadata"]["annotations"]
    assert told[f"{ALB}/success-codes"] == "200-299"


@pytest.mark.parametrize("name", PRODUCTION)
def test_the_load_balancer_asks_a_port_that_answers(name: str) -> None:
    _, manifests = of_environment(name)
    besu = next(t for w, t in pods(manifests) if w.name == "linea-stack-besu")
    container = next(c for c in containers(besu) if c["name"] == "besu")
    readiness = container["readinessProbe"]["httpGet"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for which in ("rpc", "ws"):
        told = one(manifests, "Ingress", f"linea-stack-besu-{which}")["metadata"]["annotations"]
        assert told[f"{ALB}/healthcheck-path"] == readiness["path"]
        assert told[f"{ALB}/healthcheck-port"] == str(ports[readiness["port"]])


def test_besu_is_asked_whether_it_lives_where_its_readiness_is_on_another_port() -> None:
    manifests = eks(besu__readinessProbe={"path": "/metrics", "port": "metrics"})
    told = one(manifests, "Ingress", "linea-stack-besu-rpc")["metadata"]["annotations"]
    assert (told[f"{ALB}/healthcheck-path"], told[f"{ALB}/healthcheck-port"]) == (
        "/liveness",
        "8545",
    )


def test_a_pod_serves_until_the_load_balancer_has_taken_it_out() -> None:
    _, manifests = of_environment("prod")
    for name in ("linea-stack-besu", "linea-stack-ethstats"):
        template = next(t for w, t in pods(manifests) if w.name == name)
        spec = template["spec"]
        for container in spec["containers"]:
            # Maru, too: without it Besu would fall behind, and not be ready, while it still serves.
            seconds = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert seconds < spec["terminationGracePeriodSeconds"]
    before = yaml.safe_load(EKS.read_text("utf-8"))
    before["besu"]["preStopSleepSeconds"] = 20
    old = next(t for w, t in pods(of(before, "1.29")) if w.name == "linea-stack-besu")
    assert old["spec"]["containers"][0]["lifecycle"]["preStop"] == {
        "exec": {"command": ["sleep", "20"]}
    }


def test_a_namespace_behind_a_load_balancer_waits_for_its_targets() -> None:
    label = "elbv2.k8s.aws/pod-readiness-gate-inject"
    for name, wanted in (("prod", "enabled"), ("dev", None)):
        application = applications.application(*of_environment(name))
        labels = application["spec"]["syncPolicy"]["managedNamespaceMetadata"]["labels"]
        assert labels.get(label) == wanted
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_outside_peers_reach_one_node_and_its_maru_and_nothing_else() -> None:
    service = one(eks(besu__p2pService={"enabled": True}), "Service", "linea-stack-besu-p2p")[
        "spec"
    ]
    assert service["selector"]["statefulset.kubernetes.io/pod-name"] == "linea-stack-besu-0"
    assert {p["targetPort"] for p in service["ports"]} == {"p2p", "maru-p2p"}
    for name in ("dev", *PRODUCTION):
        assert "linea-stack-besu-p2p" not in {m.name for m in of_environment(name)[1]}


@pytest.mark.parametrize("name", PRODUCTION)
def test_nobody_outside_reports_to_the_dashboard(name: str) -> None:
    rules = one(of_environment(name)[1], "Ingress", "linea-stack-ethstats")["spec"]["rules"]
    paths = {p["path"]: p["pathType"] for rule in rules for p in rule["http"]["paths"]}
    assert paths.pop("/") == "Exact"
    assert set(paths.values()) == {"Prefix"}
    # The viewers' WebSocket, and what src/views/layout.jade of cubedro/eth-netstats loads.
    assert {"/primus", "/css", "/js"} <= paths.keys()
    # Its other two WebSockets (app.js); the program takes each as the beginning of a path.
    assert not [path for path in paths if path.startswith(("/api", "/external"))]


# Updates.


@pytest.mark.parametrize("name", ["dev", *PRODUCTION])
def test_every_workload_says_how_it_is_updated(name: str) -> None:
    for manifest in of_environment(name)[1]:
        spec = manifest.object.get("spec", {})
        if manifest.kind == "StatefulSet":
            assert spec["updateStrategy"]["rollingUpdate"]["partition"] == 0
        elif manifest.kind == "Deployment":
            strategy = spec["strategy"]
            assert strategy["type"] == "Recreate" or (
                strategy["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
            )


def test_the_most_pods_away_are_written_where_the_api_server_keeps_it() -> None:
    for version, wanted in (
        ("1.34", {"partition": 0}),
        ("1.35", {"partition": 0, "maxUnavailable": 1}),
    ):
        for manifest in of_kind(of_values(None, version), "StatefulSet"):
            assert manifest.object["spec"]["updateStrategy"]["rollingUpdate"] == wanted


def test_a_strategy_by_hand_carries_no_rolling_update() -> None:
    made = of({"maru": {"updateStrategy": {"type": "OnDelete"}}}, "1.35")
    assert one(made, "StatefulSet", "linea-stack-maru")["spec"]["updateStrategy"] == {
        "type": "OnDelete"
    }


def test_production_scales_by_what_falls_again() -> None:
    scaler = one(of_environment("prod")[1], "HorizontalPodAutoscaler", "linea-stack-besu")
    assert [metric["resource"]["name"] for metric in scaler["spec"]["metrics"]] == ["cpu"]


# Zones.


@pytest.mark.parametrize("name", PRODUCTION)
def test_a_volume_comes_to_be_only_in_the_environment_s_zones(name: str) -> None:
    found, manifests = of_environment(name)
    for manifest in of_kind(manifests, "StatefulSet"):
        affinity = manifest.object["spec"]["template"]["spec"]["affinity"]
        required = affinity["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        (term,) = required["nodeSelectorTerms"]
        (expression,) = term["matchExpressions"]
        assert expression["key"] == "topology.kubernetes.io/zone"
        assert tuple(expression["values"]) == found.zones


def test_the_storage_classes_in_the_documentation_are_those_of_production() -> None:
    text = (ROOT / "docs" / "eks.md").read_text("utf-8")
    blocks = [yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    classes = {b["metadata"]["name"]: b for b in blocks if b.get("kind") == "StorageClass"}
    manifests = of_environment("prod")[1]
    data = {
        claim["spec"]["storageClassName"]
        for manifest in of_kind(manifests, "StatefulSet")
        for claim in manifest.object["spec"]["volumeClaimTemplates"]
    }
    backup = next(t for w, t in pods(manifests) if w.name == "linea-stack-backup")
    clones = {
        volume["ephemeral"]["volumeClaimTemplate"]["spec"]["storageClassName"]
        for volume in backup["spec"]["volumes"]
        if "ephemeral" in volume
    }
    assert data | clones == classes.keys()
    for name, made in classes.items():
        # Else a volume could come to be in another zone than its pod may run in.
        assert made["volumeBindingMode"] == "WaitForFirstConsumer"
        assert made["parameters"]["encrypted"] == "true"
        assert made["reclaimPolicy"] == ("Retain" if name in data else "Delete")
    assert all(classes[name]["allowVolumeExpansion"] for name in data)
    assert not kubeconform.check({"docs": "\n---\n".join(map(yaml.safe_dump, blocks))}, "1.34")
