"""Ask on a terminal for what the answers need, and write them into a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from scripts.adoption import answers as given
from scripts.adoption.answers import FILE, Like
from scripts.core import paths, yamlio
from scripts.core.findings import UsageError
from scripts.environments import layout

__all__ = ["FILE", "Given", "write"]

HEAD = (
    "# yaml-language-server: $schema=scripts/adopt.schema.json\n"
    "# Answers for nox -s adopt, which reads them again: docs/adopt.md. It has no secrets.\n"
)


@dataclass(frozen=True, slots=True)
class Given:
    """The answers on the command line; None or empty if not given."""

    url: str | None
    branch: str | None
    domain: str | None
    environments: tuple[str, ...]
    """NAME or NAME=LIKE."""


class _Terminal:
    """Questions to a person; without a person, an answer without a default is an error."""

    def __init__(self, asked: TextIO, stream: TextIO) -> None:
        self._asked, self._stream = asked, stream
        self.missing = list[str]()

    def ask(self, key: str, question: str, default: str = "", *, is_optional: bool = False) -> str:
        """Return the answer; the default if it is empty."""
        if not self._asked.isatty():
            if not default and not is_optional:
                self.missing.append(key)
            return default
        while True:
            shown = f" [{default}]" if default else ""
            print(f"{question}{shown}: ", end="", file=self._stream, flush=True)
            line = self._asked.readline()
            if not line:
                raise UsageError("no answer: nothing was written")
            answer = line.strip() or default
            if answer or is_optional:
                return answer


def write(root: Path, file: Path, asked: Given, answers: TextIO, stream: TextIO) -> None:
    """Write the file of answers: those of the command line, and those to questions.

    Raises UsageError if answers are missing without a terminal to ask on, or if the file exists.
    """
    if file.exists():
        raise UsageError(f"{file.name} has answers already: change them there, or remove the file")
    terminal = _Terminal(answers, stream)
    data = dict(_collected(root, asked, terminal))
    if terminal.missing:
        keys = ", ".join(terminal.missing)
        raise UsageError(
            f"missing answers: {keys}; run it on a terminal, or write {FILE} (docs/adopt.md)"
        )
    file.write_text(HEAD + yamlio.dump(data), "utf-8")
    print(f"wrote the answers into {file.name}", file=stream)


def _collected(root: Path, asked: Given, terminal: _Terminal) -> Iterator[tuple[str, Any]]:
    """Yield the answers at the top of the file."""
    known = layout.environments(root)
    url = asked.url or terminal.ask(
        "--url", "Address of your copy of this repository, as Argo CD reads it"
    )
    branch = asked.branch or terminal.ask("--branch", "Branch that Argo CD follows", "main")
    yield "repository", {"url": url, "revision": branch}
    listed: Sequence[str] = asked.environments
    if not listed:
        question = f"Your environments, as NAME=LIKE, where LIKE is one of {', '.join(known)}"
        listed = terminal.ask("--environment", question, " ".join(known)).split()
    models = {name: like or name for name, _, like in (each.partition("=") for each in listed)}
    for like in models.values():
        if like not in known:
            raise UsageError(f"unknown environment {like}: write one of {', '.join(known)}")
    likes = {like: given.like(root, like) for like in set(models.values())}
    if asked.domain or any(like.has("ingress", "rpc", "host") for like in likes.values()):
        yield "domain", asked.domain or terminal.ask("--domain", "DNS domain of the hosts")
    if any("production" in like.profiles for like in likes.values()):
        yield from _of_production(terminal)
    yield (
        "environments",
        {name: _environment(name, model, likes[model], terminal) for name, model in models.items()},
    )


def _of_production(terminal: _Terminal) -> Iterator[tuple[str, Any]]:
    """Yield the answers that all environments of production share."""
    parts = {"production": "what runs in production", "platform": "CI and code"}
    owners = {
        part: terminal.ask(
            f"owners.{part}",
            f"Code owners of {what}, like @organization/team; empty to decide later",
            is_optional=True,
        )
        for part, what in parts.items()
    }
    if all(owners.values()):
        yield "owners", owners
    monitoring = {
        key: terminal.ask(f"monitoring.{key}", f"kube-prometheus-stack: its {what}", "monitoring")
        for key, what in (("release", "Helm release"), ("namespace", "namespace"))
    }
    if set(monitoring.values()) != {"monitoring"}:
        yield "monitoring", monitoring


def _environment(name: str, model: str, like: Like, terminal: _Terminal) -> dict[str, Any]:
    """Return the answers about an environment."""

    def ask(key: str, question: str, default: str = "") -> str:
        return terminal.ask(f"environments.{name}.{key}", f"{name}: {question}", default)

    found: dict[str, Any] = {"like": model}
    found["namespace"] = ask("namespace", "namespace", f"linea-{name}")
    cluster = ask(
        "cluster",
        "cluster as Argo CD knows it: its name or its URL",
        "https://kubernetes.default.svc",
    )
    found["cluster"] = {"server" if "://" in cluster else "name": cluster}
    if like.is_on_aws:
        found |= _on_aws(like, ask)
    if like.has("networkPolicy", "rpcFrom"):
        ranges = ask("loadBalancerSubnets", "address ranges of the load balancer's subnets")
        found["loadBalancerSubnets"] = _words(ranges)
    if like.has("besu", "service", "loadBalancerSourceRanges"):
        clients = ask("clients", "address ranges that may connect", " ".join(given.PRIVATE))
        found["clients"] = _words(clients)
    return found


def _on_aws(like: Like, ask: Callable[..., str]) -> dict[str, Any]:
    found: dict[str, Any] = {"account": ask("account", "AWS account, 12 digits")}
    found["region"] = region = ask("region", "AWS region")
    if "zones" in like.settings:
        default = " ".join(f"{region}{letter}" for letter in "abc") if region else ""
        found["zones"] = _words(ask("zones", "zones of the nodes", default))
    if paths.get(like.values, ["ingress", "alb", "wafAclArn"]) not in (None, "none"):
        found["webAcl"] = ask("webAcl", "ARN of the web ACL of AWS WAF, or none", "none")
    return found


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text) if word]
