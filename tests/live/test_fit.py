"""The report says if the context of the kubeconfig and the environment do not fit."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from scripts.kubernetes.manifest import Manifest
from scripts.live import fit, wanted
from scripts.live.cluster import Live
from scripts.live.kubectl import Context
from scripts.live.wanted import Wanted
from tests.conftest import EXAMPLE

HERE = Context("admin", "arn:aws:eks:us-east-1:111122223333:cluster/one", "https://one.example.com")


@pytest.fixture(scope="module")
def prod() -> Wanted:
    return wanted.read(EXAMPLE, "prod")


def on(git: Wanted, **cluster: str) -> Wanted:
    return replace(git, environment=replace(git.environment, cluster=cluster))


def test_the_context_leads_to_the_cluster_of_the_environment(prod: Wanted) -> None:
    version = prod.environment.kubernetes_version
    fitting = (prod, on(prod, server=HERE.server), on(prod, name="one"), on(prod, name="admin"))
    for git in fitting:
        assert list(fit.of_cluster(HERE, git, version)) == []
    (server,) = fit.of_cluster(HERE, on(prod, server="https://two.example.com"), version)
    assert server == (
        "the context admin leads to https://one.example.com, but environment.yaml of prod has the"
        " cluster https://two.example.com"
    )
    (name,) = fit.of_cluster(HERE, on(prod, name="two"), version)
    assert "has the cluster two, and kubeconfig calls the cluster of the context admin" in name
    (older,) = fit.of_cluster(HERE, prod, "1.30")
    assert older.startswith(
        f"the cluster runs Kubernetes 1.30, but prod was validated against {version}"
    )


def test_versions_of_clouds_have_a_sign_at_their_end() -> None:
    assert fit.minor_version({"major": "1", "minor": "34+"}) == "1.34"


def test_another_chain_is_told_by_its_id(prod: Wanted) -> None:
    (genesis,) = (m for m in prod.manifests if m.get("data", "besu.json"))
    besu = json.loads(genesis.get("data", "besu.json"))
    besu["config"]["chainId"] = 7
    data = {**genesis.object["data"], "besu.json": json.dumps(besu)}
    other = Manifest({**genesis.object, "data": data}, "")
    (line,) = fit.of_chain(prod, Live({}, {other.identity: other}))
    assert line.startswith(f"another chain runs there: {genesis.label} has the chain id 7, and ")
    assert list(fit.of_chain(prod, Live({}, {genesis.identity: genesis}))) == []
    assert list(fit.of_chain(prod, Live({}, {}))) == []


def test_argo_cd_of_the_cluster_syncs_the_environment_to_its_place(prod: Wanted) -> None:
    (line,) = fit.of_application(prod, None)
    assert line.startswith("no Application linea-prod is in the namespace argocd")
    assert list(fit.of_application(on(prod, server="https://two.example.com"), None)) == []
    assert list(fit.of_application(prod, prod.application.object)) == []
    elsewhere = {"spec": {"destination": {"namespace": "linea-qa", "name": "two"}}}
    assert list(fit.of_application(prod, elsewhere)) == [
        "Application/linea-prod syncs to linea-qa of two"
    ]


def test_without_its_namespace_nothing_is_compared(prod: Wanted) -> None:
    assert fit.no_namespace(HERE, prod, ["other"], ["admin", "prod-admin"]) == (
        "https://one.example.com (context admin) has no namespace linea-prod: it is another"
        " cluster (other contexts: prod-admin), or prod was never synced; other"
    )
