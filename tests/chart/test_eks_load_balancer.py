"""Production on EKS: one load balancer in front of all hosts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from scripts.environments.environment import coalesce
from scripts.rendering import applications
from tests.chart.eks import EKS, PRODUCTION, eks, refused
from tests.conftest import ROOT, Repository
from tests.objects import CHART, containers, of, of_environment, of_kind, one, pods

ALB = "alb.ingress.kubernetes.io"
WITHOUT_ALB: dict[str, Any] = {"ingress__alb__enabled": False, "ingress__ethstats__oidc": {}}


@pytest.mark.parametrize("oldest", ["1-0", "1-1"])
def test_versions_of_tls_that_nobody_should_speak_are_refused(oldest: str) -> None:
    policy = f"ELBSecurityPolicy-TLS13-{oldest}-2021-06"
    assert refused(ingress__alb__sslPolicy=policy) == [
        f'ingress.alb.sslPolicy is "{policy}", which is not a valid security policy'
    ]
    assert refused(ingress__alb__sslPolicy="ELBSecurityPolicy-TLS13-1-3-2021-06") == []


@pytest.mark.parametrize(
    ("host", "peers"), [("rpc", "rpcFrom"), ("ws", "rpcFrom"), ("ethstats", "ethstatsFrom")]
)
def test_a_load_balancer_that_could_reach_no_pod_is_refused(host: str, peers: str) -> None:
    hosts = {f"ingress__{name}__host": "" for name in ("rpc", "ws", "ethstats")}
    closed = hosts | {f"ingress__{host}__host": "x.example.com", "networkPolicy__enabled": True}
    assert refused(**closed) == [f"networkPolicy.{peers} is empty"]
    opened = {f"networkPolicy__{peers}": [{"ipBlock": {"cidr": "10.30.0.0/22"}}]}
    assert refused(**closed | opened) == []
    assert refused(**closed | {"networkPolicy__enabled": False}) == []
    assert refused(**closed | WITHOUT_ALB) == []


@pytest.mark.parametrize("name", PRODUCTION)
def test_all_hosts_share_one_load_balancer_with_tls(name: str) -> None:
    found, manifests = of_environment(name)
    ingresses = of_kind(manifests, "Ingress")
    assert len(ingresses) == 2
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
    ingresses = of_kind(eks(ingress__alb__deletionProtection=""), "Ingress")
    for key in exclusive:
        told = {m.object["metadata"]["annotations"].get(f"{ALB}/{key}") for m in ingresses}
        assert len(told) == 1, key
        assert told != {None}, key


def test_the_values_of_the_load_balancer_reach_its_annotations() -> None:
    told = one(eks(), "Ingress", "linea-stack-besu-ws")["metadata"]["annotations"]
    assert told[f"{ALB}/load-balancer-attributes"] == (
        "access_logs.s3.bucket=amzn-s3-demo-logs,access_logs.s3.enabled=true,access_logs.s3.prefix=linea/rpc,"
        "idle_timeout.timeout_seconds=300,routing.http.drop_invalid_header_fields.enabled=true,"
        "routing.http2.enabled=false"
    )
    assert told[f"{ALB}/inbound-cidrs"] == "192.0.2.0/24,198.51.100.0/24"
    assert told[f"{ALB}/wafv2-acl-arn"].endswith(
        "webacl/linea/12345678-1234-1234-1234-123456789012"
    )
    assert told[f"{ALB}/certificate-arn"].startswith("arn:aws:acm:us-east-1:")
    own = eks(ingress__ws__annotations={f"{ALB}/success-codes": "200-299"})
    told = one(own, "Ingress", "linea-stack-besu-ws")["metadata"]["annotations"]
    assert told[f"{ALB}/success-codes"] == "200-299"


def _protected(**hosts: str) -> dict[str, str | None]:
    """Return name of Ingress → its deletion protection, with these hosts."""
    changes = {f"ingress__{entry}__host": host for entry, host in hosts.items()}
    key = "deletion_protection.enabled"
    found = dict[str, str | None]()
    for ingress in of_kind(eks(**changes), "Ingress"):
        pairs = ingress.annotations[f"{ALB}/load-balancer-attributes"].split(",")
        found[ingress.name] = dict(pair.split("=") for pair in pairs).get(key)
    return found


def test_one_ingress_has_the_deletion_protection_of_the_load_balancer() -> None:
    # The controller updates no Ingress of a group while one that is deleted has the attribute:
    # pkg/ingress/model_builder.go. So the others can be removed at any time.
    rpc, ws, stats = "linea-stack-besu-rpc", "linea-stack-besu-ws", "linea-stack-ethstats"
    assert _protected() == {rpc: "true", ws: None, stats: None}
    assert _protected(rpc="") == {ws: "true", stats: None}
    assert _protected(rpc="", ws="") == {stats: "true"}


def test_production_chooses_a_web_acl_deletion_protection_and_access_logs() -> None:
    undecided: dict[str, Any] = {
        "ingress__alb__wafAclArn": "",
        "ingress__alb__deletionProtection": "",
        "ingress__alb__accessLogs": {"bucket": ""},
    }
    empty = sorted(
        f"ingress.alb.{name} is empty"
        for name in ("wafAclArn", "deletionProtection", "accessLogs.bucket")
    )
    assert sorted(refused(**undecided)) == empty
    assert refused(**undecided | {"ingress__alb__requireDecisions": False}) == []
    assert refused(**undecided | WITHOUT_ALB) == []
    none = {
        "ingress__alb__wafAclArn": "none",
        "ingress__alb__deletionProtection": False,
        "ingress__alb__accessLogs": {"bucket": "none"},
    }
    assert refused(**none) == []
    told = one(eks(**none), "Ingress", "linea-stack-besu-rpc")["metadata"]["annotations"]
    # Absent, the controller leaves what is there: "none" and "false" turn it off.
    assert told[f"{ALB}/wafv2-acl-arn"] == "none"
    attributes = told[f"{ALB}/load-balancer-attributes"].split(",")
    assert {"access_logs.s3.enabled=false", "deletion_protection.enabled=false"} <= {*attributes}
    for name in PRODUCTION:
        assert of_environment(name)[0].values["ingress"]["alb"]["requireDecisions"]


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


def test_a_backend_can_stay_with_one_node(repository: Repository) -> None:
    """The load balancer's cookie does not bind JSON-RPC clients: docs/eks.md."""
    sticky: dict[str, Any] = yaml.safe_load((CHART / "ci" / "sticky-values.yaml").read_text())
    file = "overlays/prod/values.yaml"
    own = yaml.safe_load((repository / file).read_text("utf-8"))
    repository.write(file, yaml.safe_dump(coalesce(own, sticky)))
    done = repository.run("render", "prod")
    assert (done.code, done.err) == (0, "")
    made = (repository / "overlays/prod/manifests/service-linea-stack-besu.yaml").read_text()
    service = yaml.safe_load(made)
    assert service["spec"]["type"] == "LoadBalancer"
    assert "sessionAffinity" not in service["spec"]
    notes = service["metadata"]["annotations"]
    prefix = "service.beta.kubernetes.io/aws-load-balancer"
    assert notes[f"{prefix}-scheme"] == "internal"
    attributes = notes[f"{prefix}-target-group-attributes"].split(",")
    assert set(attributes) == {"stickiness.enabled=true", "stickiness.type=source_ip"}
    done = repository.run("validate", "prod")
    assert done.code == 0, done.out
    assert "(../chart/ci/sticky-values.yaml)" in (ROOT / "docs" / "eks.md").read_text("utf-8")


@pytest.mark.parametrize("name", PRODUCTION)
def test_the_dashboard_is_not_public_in_production(name: str) -> None:
    manifests = of_environment(name)[1]
    assert not [m for m in manifests if m.kind in ("Ingress", "Probe") and "ethstats" in m.name]
    policy = one(manifests, "NetworkPolicy", "linea-stack-ethstats")["spec"]
    assert not [peer for rule in policy["ingress"] for peer in rule["from"] if "ipBlock" in peer]


def test_users_log_in_before_they_see_the_dashboard() -> None:
    manifests = eks(ingress__ethstats__oidc__secretName="stats-login")
    login = {
        key.removeprefix(f"{ALB}/auth-"): value
        for key, value in one(manifests, "Ingress", "linea-stack-ethstats")["metadata"][
            "annotations"
        ].items()
        if key.startswith(f"{ALB}/auth-")
    }
    # The keys of AuthIDPConfigOIDC in the controller's pkg/ingress/auth_config_builder.go.
    assert json.loads(login.pop("idp-oidc")) == {
        "issuer": "https://login.example.com",
        "authorizationEndpoint": "https://login.example.com/authorize",
        "tokenEndpoint": "https://login.example.com/token",
        "userInfoEndpoint": "https://login.example.com/userinfo",
        "secretName": "stats-login",
    }
    assert login == {
        "type": "oidc",
        "on-unauthenticated-request": "authenticate",
        "scope": "openid",
        "session-timeout": "43200",
    }
    for name in ("linea-stack-besu-rpc", "linea-stack-besu-ws"):
        notes = one(manifests, "Ingress", name)["metadata"]["annotations"]
        assert not [key for key in notes if "/auth-" in key]
    entries = one(manifests, "ExternalSecret", "stats-login")["spec"]["data"]
    assert [entry["secretKey"] for entry in entries] == ["clientID", "clientSecret"]


@pytest.mark.parametrize(
    "changes",
    [
        {"ingress__ethstats__oidc": {}},
        {"ingress__ethstats__host": ""},
        {"ethstats__enabled": False},
        {"ingress__enabled": False},
    ],
)
def test_there_is_no_secret_of_a_login_that_is_off(changes: dict[str, Any]) -> None:
    names = {m.name for m in of_kind(eks(**changes), "ExternalSecret")}
    assert "linea-stack-ethstats-oidc" not in names
    assert "linea-stack-engine-jwt" in names


def test_a_login_needs_all_addresses_of_the_provider_and_a_load_balancer_that_reads_them() -> None:
    oidc = "ingress.ethstats.oidc"
    for name in ("authorizationEndpoint", "tokenEndpoint", "userInfoEndpoint"):
        assert refused(**{f"ingress__ethstats__oidc__{name}": ""}) == [f"{oidc}.{name} is empty"]
    assert refused(ingress__alb__enabled=False) == [
        f'{oidc}.issuer is "https://login.example.com", which is not allowed'
    ]
    assert refused(**WITHOUT_ALB) == []
    assert refused(ingress__ethstats__oidc__issuer="http://login.example.com") != []


def test_nobody_outside_reports_to_the_dashboard() -> None:
    rules = one(eks(), "Ingress", "linea-stack-ethstats")["spec"]["rules"]
    paths = {p["path"]: p["pathType"] for rule in rules for p in rule["http"]["paths"]}
    assert paths.pop("/") == "Exact"
    assert set(paths.values()) == {"Prefix"}
    # The viewers' WebSocket, and what src/views/layout.jade of cubedro/eth-netstats loads.
    assert {"/primus", "/css", "/js"} <= paths.keys()
    # Its other two WebSockets (app.js); the program takes each as the beginning of a path.
    assert not [path for path in paths if path.startswith(("/api", "/external"))]
