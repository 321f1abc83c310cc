"""Placeholders are names that nobody can register: RFC 2606, and AWS's own for buckets."""

from __future__ import annotations

import re

import pytest

from tests.conftest import ROOT
from tests.git import git

UPSTREAM = frozenset(
    [
        "api.github.com",
        "argo-cd.readthedocs.io",
        "besu.hyperledger.org",
        "datatracker.ietf.org",
        "docs.astral.sh",
        "docs.aws.amazon.com",
        "docs.github.com",
        "docs.gitlab.com",
        "docs.linea.build",
        "docs.npmjs.com",
        "docs.oasis-open.org",
        "docs.oracle.com",
        "docs.renovatebot.com",
        "editorconfig.org",
        "eips.ethereum.org",
        "endoflife.date",
        "external-secrets.io",
        "git-lfs.github.com",
        "github.com",
        "grafana.com",
        "helm.sh",
        "json-schema.org",
        "keepachangelog.com",
        "kubernetes-sigs.github.io",
        "kubernetes.io",
        "kwok.sigs.k8s.io",
        "logging.apache.org",
        "prometheus-operator.dev",
        "prometheus.io",
        "pubs.opengroup.org",
        "raw.githubusercontent.com",
        "rclone.org",
        "registry.npmjs.org",
        "semver.org",
        "slsa.dev",
        "sre.google",
        "toml.io",
        "www.apache.org",
        "www.checkov.io",
        "www.rfc-editor.org",
        "www.robustperception.io",
        "www.secg.org",
        "www.w3.org",
    ]
)
"""Whose pages and files are read here."""

OWNERS = frozenset(
    [
        "Consensys",
        "LFDT-Lineth",
        "alicebob",
        "apps",
        "argoproj",
        "aws",
        "besu-eth",
        "cubedro",
        "distribution",
        "eclipse-vertx",
        "endoflife-date",
        "ethereum",
        "ethereum-lists",
        "external-secrets",
        "facebook",
        "gitleaks",
        "google",
        "helmfile",
        "homeport",
        "hyperledger",
        "kubernetes",
        "kubernetes-csi",
        "kubernetes-sigs",
        "libp2p",
        "mattfenwick",
        "micrometer-metrics",
        "prometheus",
        "prometheus-operator",
        "robfig",
        "zegl",
    ]
)
"""Whose repositories on GitHub these are."""

RESERVED = re.compile(
    r"((.+\.)?example(\.(com|net|org))?|.+\.(test|invalid)|localhost|.+\.svc(\.cluster\.local)?"
    r"|[0-9a-f]+\.gr7\.us-east-1\.eks\.amazonaws\.com"
    r"|(127|10)\.[0-9.]+|192\.0\.2\.\d+|198\.51\.100\.\d+|203\.0\.113\.\d+)"
)
"""RFC 2606, RFC 5737, RFC 1918; Services of the cluster; and the form that EKS gives addresses."""

URL = re.compile(r"(?:https?|ssh|git)://(?:[^\s/@\"'<>]+@)?([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*)")
GITHUB = re.compile(r"(?<!git-lfs\.)github(?:usercontent)?\.com[:/]([A-Za-z0-9-]+)/[A-Za-z0-9_.-]+")
MAIL = re.compile(r"[\w.+-]+@((?:[A-Za-z0-9-]+\.)+[a-z]{2,})\b")
BUCKET = re.compile(
    r"(?:(?:^ *|[{,] *)[\"']?[\w.]*bucket[\"']?: *[\"']?|s3[.]bucket=|s3://|arn:aws:s3:::)"
    r"([a-z0-9][a-z0-9.-]{2,62})(?=[\"',/}\s]|$)",
    re.MULTILINE,
)
CONTRACT = ("chart/ci/contract-backup-values.yaml", "my-backups")
"""The contract's own example, as it is there."""


TOKENS = "tests/checks/mutants-"
"""Mistakes with tokens whose form has the host of a service that people use."""


YOURS = (":!overlays", ":!base", ":!argocd/*.yaml", ":!.github/CODEOWNERS")
"""What has the names of whoever adopts the repository; tests/example/ has files like these."""


def texts() -> dict[str, str]:
    """Return path → text of what people read and write here, and of what render makes of it."""
    wanted = ["*.md", "*.yaml", "*.tpl", "*.json", ":!tools", ":!tests/invalid/files-and-links"]
    listed = git(ROOT, "ls-files", "-z", "--", *wanted, ".github", *YOURS)
    return {name: (ROOT / name).read_text("utf-8") for name in listed.split("\0") if name}


def is_reserved(host: str) -> bool:
    """Return whether nobody can register it; names without a dot are those of a cluster."""
    return RESERVED.fullmatch(host) is not None or "." not in host


def test_each_host_is_an_upstream_or_reserved() -> None:
    found = {
        f"{name}: {host}"
        for name, text in texts().items()
        for host in [*URL.findall(text), *MAIL.findall(text)]
        if host not in UPSTREAM and not is_reserved(host) and ".linea-stack-" not in f".{host}"
        if not name.startswith(TOKENS)
    }
    assert found == set()


def test_each_repository_on_github_is_an_upstream() -> None:
    found = {
        f"{name}: {owner}"
        for name, text in texts().items()
        for owner in GITHUB.findall(text)
        if owner not in OWNERS and not name.startswith("chart/files/dashboards/")
    }
    assert found == set()


def test_each_bucket_has_the_prefix_that_aws_reserves_for_documentation() -> None:
    # docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
    found = {
        (name, bucket)
        for name, text in texts().items()
        for bucket in BUCKET.findall(text)
        if not bucket.startswith("amzn-s3-demo-") and bucket != "none"
    }
    assert found - {CONTRACT} == set()


@pytest.mark.parametrize(
    ("host", "reserved"),
    [
        ("git.example.com", True),
        ("owners.invalid", True),
        ("x.example", True),
        ("203.0.113.5", True),
        ("linea.example.io", False),
        ("myexample.com", False),
        ("8.8.8.8", False),
    ],
)
def test_what_is_reserved(host: str, reserved: bool) -> None:
    assert is_reserved(host) is reserved
