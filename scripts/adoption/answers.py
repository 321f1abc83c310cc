"""The answers: what is one's own, from a file that people or questions write."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core import json_schema, paths, yamlio
from scripts.core.findings import Finding, UserError
from scripts.core.paths import ValuePath
from scripts.core.repository import PROGRAM
from scripts.core.sentences import joined
from scripts.core.yamlio import Document
from scripts.environments import environment, placeholders

FILE = "adopt.yaml"
SCHEMA = PROGRAM / "adopt.schema.json"
PRIVATE = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
"""The addresses of private networks: RFC 1918."""

_PARTITIONS = {"cn": "aws-cn", "us-gov": "aws-us-gov"}


@dataclass(frozen=True, slots=True)
class Like:
    """The data of an environment's files that a new one begins as a copy of."""

    settings: dict[str, Any]
    values: dict[str, Any]

    def has(self, *path: str) -> bool:
        """Return whether its values.yaml sets the value at the path."""
        return paths.has(self.values, path)

    @property
    def is_on_aws(self) -> bool:
        """Return whether it has an account and a region."""
        return self.has("secrets", "external", "aws") or self.has("aws")

    @property
    def profiles(self) -> list[str]:
        """Return its layers of values."""
        return list(self.settings.get("profiles", []))


@dataclass(frozen=True, slots=True)
class Answers:
    """Valid answers."""

    document: Document

    def get(self, *path: str | int) -> Any:
        """Return the answer at the path; None if it is left out."""
        return paths.get(self.document.data, path)

    @property
    def names(self) -> list[str]:
        """Return the names of the wanted environments."""
        return list(self.get("environments"))

    def of(self, name: str, *path: str) -> Any:
        """Return an answer about an environment; None if it is left out."""
        return self.get("environments", name, *path)

    def namespace(self, name: str) -> str:
        """Return the namespace of an environment."""
        return str(self.of(name, "namespace") or f"linea-{name}")

    def role(self, name: str, purpose: str) -> str:
        """Return the ARN of an environment's role: for secrets, backup or restore."""
        region = str(self.of(name, "region"))
        prefixes = (each for each in _PARTITIONS if region.startswith(f"{each}-"))
        partition = _PARTITIONS.get(next(prefixes, ""), "aws")
        own = f"role/{self.namespace(name)}-{purpose}"
        default = f"arn:{partition}:iam::{self.of(name, 'account')}:{own}"
        return str(self.of(name, "roles", purpose) or default)

    def bucket(self, name: str, purpose: str) -> str:
        """Return the bucket of an environment: for backups or logs."""
        key = "bucket" if purpose == "backups" else "logBucket"
        own = f"{self.namespace(name)}-{purpose}-{self.of(name, 'account')}"
        return str(self.of(name, key) or own)

    def host(self, name: str, which: str) -> str:
        """Return the host of an environment: rpc or ws."""
        own = f"{which}.{name}.{self.get('domain')}"
        return str(self.of(name, "hosts", which) or own)


def like(root: Path, name: str) -> Like:
    """Return the data of an environment that is to be copied."""
    folder = root / "overlays" / name
    values = folder / "values.yaml"
    return Like(
        yamlio.load(folder / "environment.yaml", root).data or {},
        (yamlio.load(values, root).data or {}) if values.exists() else {},
    )


def is_example(root: Path, name: str) -> bool:
    """Return whether an environment came with the repository, so that it may be replaced."""
    file = root / "overlays" / name / "environment.yaml"
    data = yamlio.load(file, root).data if file.exists() else None
    return isinstance(data, dict) and data.get("example") is True


def load(root: Path, file: Path) -> Answers:
    """Return the answers of a file; raises UserError with all findings in it."""
    top = root if file.is_relative_to(root) else file.parent
    if not file.is_file():
        message = f"there is no file {file.name} with answers"
        fix = "write it as docs/adopt.md describes, or run nox -s adopt on a terminal"
        raise UserError(Finding(file.name, 0, 0, "missing-input-file", message, fix))
    document = yamlio.load(file, top)
    findings = json_schema.check(document, SCHEMA)
    if not findings:
        answers = Answers(document)
        findings = [*_placeholders(root, document), *_contradictions(root, answers)]
    if findings:
        raise UserError(*findings)
    return Answers(document)


def _placeholders(root: Path, document: Document) -> Iterator[Finding]:
    known = placeholders.definition(root)
    for path, text in placeholders.strings(document.data):
        if known and (found := known.found(text)):
            message = f"{found.name} is a placeholder: {found.consequence}"
            yield document.finding(placeholders.RULE, path, message, found.fix)


def _contradictions(root: Path, answers: Answers) -> Iterator[Finding]:
    """Yield what is missing or wrong for the environments that are to be written."""
    known = sorted(
        p.name for p in (root / "overlays").iterdir() if (p / "environment.yaml").exists()
    )
    for name in answers.names:
        here: ValuePath = ["environments", name]
        if (root / "overlays" / name).exists() and not is_example(root, name):
            continue
        model = answers.of(name, "like")
        if model not in known:
            near = difflib.get_close_matches(model, known, 1)
            fix = f"write {near[0]}" if near else f"write one of {', '.join(known)}"
            message = f"unknown environment {model}: there is no folder overlays/{model}"
            yield answers.document.finding("unknown-environment", [*here, "like"], message, fix)
            continue
        yield from _missing(answers, name, like(root, model))
        yield from _zones(answers, name, like(root, model))


def _missing(answers: Answers, name: str, model: Like) -> Iterator[Finding]:
    """Yield a finding if an environment lacks answers that one like it needs."""
    needed = {
        "account": (model.is_on_aws, '"<12 digits>"'),
        "region": (model.is_on_aws, "<region>"),
        "zones": ("zones" in model.settings, "[<zone>, …]"),
        "loadBalancerSubnets": (model.has("networkPolicy", "rpcFrom"), "[<CIDR>]"),
        "webAcl": (
            paths.get(model.values, ["ingress", "alb", "wafAclArn"]) not in (None, "none"),
            "<ARN of a web ACL, or none>",
        ),
    }
    missing = {
        key: example
        for key, (applies, example) in needed.items()
        if applies and answers.of(name, key) is None
    }
    here: ValuePath = ["environments", name]
    if missing:
        message = f"{name} is like {answers.of(name, 'like')}, and lacks {joined(missing)}"
        fix = "add " + ", ".join(f"{key}: {example}" for key, example in missing.items())
        yield answers.document.finding("missing-key", here, message, fix)
    has_hosts = model.has("ingress", "rpc", "host")
    if has_hosts and answers.get("domain") is None and answers.of(name, "hosts") is None:
        message = f"{name} has hosts, and there is no domain for them"
        fix = f"add domain: <DNS domain> at the top, or hosts: {{rpc: …, ws: …}} to {name}"
        yield answers.document.finding("missing-key", here, message, fix)


def _zones(answers: Answers, name: str, model: Like) -> Iterator[Finding]:
    zones, region = answers.of(name, "zones") or [], answers.of(name, "region")
    path: ValuePath = ["environments", name, "zones"]
    for index, zone in enumerate(zones):
        if region and not zone.startswith(region):
            message = f"{zone} is not a zone of {region}: load balancers and volumes are there"
            fix = f"write a zone of {region}, or another region"
            yield answers.document.finding("zone-of-another-region", [*path, index], message, fix)
    if zones and "production" in model.profiles and len(zones) < 3:
        message = f"{name} has {len(zones)} zones: no number of validators survives the loss of one"
        fix = "write at least 3 zones, or like: an environment without the profile production"
        yield answers.document.finding("too-few-zones", path, message, fix)


def forget() -> None:
    """Read files of the repository again, after they have been changed."""
    environment.forget()
