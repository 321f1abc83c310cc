"""What is wrong, where, and what to write instead; and the four ways to say it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TextIO
from urllib.parse import quote

FORMATS = ("text", "json", "sarif", "github")

SARIF_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


class Severity(StrEnum):
    """How bad a finding is: only an error makes a command exit 1."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake; the order of the fields is the order in which findings are told."""

    file: str
    """The input to change, relative to the repository, with forward slashes."""
    line: int
    """1-based; 0 where the whole file is meant."""
    column: int
    """1-based; 0 where the whole line is meant."""
    rule: str
    """The rule's id, in kebab case."""
    message: str
    """What is wrong."""
    fix: str
    """What to write instead."""
    object: str = ""
    """Kind/name of the rendered object, where there is one."""
    environment: str = ""
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Description:
    """What is known of a rule beside its findings."""

    promise: str
    """What holds where it finds nothing, in one line."""
    why: str
    source: str
    """Where that is documented: an address, or a file of this repository."""
    severity: Severity


class UserError(Exception):
    """Mistakes in files that stop the work: told as findings, exit code 1."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("\n".join(f"{f.file}:{f.line}: {f.message}" for f in findings))
        self.findings = findings

    def __reduce__(self) -> tuple[type[UserError], tuple[Finding, ...]]:
        """Return how a child process's error is made again in its parent."""
        return type(self), self.findings


class UsageError(Exception):
    """A wrong command line, or a machine that can't do the work: exit code 2."""


_SECRET = re.compile(r"key|secret|password|token|credential", re.IGNORECASE)


def may_be_secret(path: Sequence[str | int]) -> bool:
    """Return whether what stands at the path could be a secret, which no message may repeat."""
    named = [part for part in path if isinstance(part, str)]
    if not named:
        return False
    in_environment = "extraEnv" in named and named[-1] == "value"
    return in_environment or "plain" in named or bool(_SECRET.search(named[-1]))


def has_errors(findings: Iterable[Finding]) -> bool:
    """Return whether any of the findings is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def place(finding: Finding) -> str:
    """Return `file:line:column`, as far as they are known."""
    parts = [finding.file, *(str(n) for n in (finding.line, finding.column) if n)]
    return ":".join(parts)


def write(
    findings: Iterable[Finding],
    format: str,
    stream: TextIO,
    described: Mapping[str, Description] = MappingProxyType({}),
) -> None:
    """Write the findings, sorted and each once, in one of FORMATS.

    The text is for people and says nothing where there is nothing to say; json and sarif are
    always one whole document. SARIF: OASIS SARIF 2.1.0, with what is described of the rules that
    found something. json: findings.schema.json. github: workflow commands, which GitHub shows as
    annotations on the lines of a pull request.
    """
    ordered = sorted(set(findings))
    if format == "sarif":
        _sarif(ordered, stream, described)
    else:
        {"text": _text, "json": _json, "github": _github}[format](ordered, stream)


def _text(findings: list[Finding], stream: TextIO) -> None:
    if not findings:
        return
    from rich.console import Console
    from rich.text import Text

    # A width of our own, as rich prints nothing where the terminal says 0; no line is wrapped.
    console = Console(file=stream, width=100, highlight=False, soft_wrap=True, emoji=False)
    colours = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow"}
    for finding in findings:
        head = Text.assemble(
            (_visible(place(finding)), "bold"),
            "  ",
            (finding.severity.value, colours[finding.severity]),
            "  ",
            (finding.rule, "cyan"),
        )
        about = " in ".join(part for part in (finding.object, finding.environment) if part)
        if about:
            head.append(f"  {_visible(about)}", "dim")
        console.print(head)
        console.print(Text("  " + _visible(finding.message).replace("\n", "\n  ")))
        console.print(Text("  → " + _visible(finding.fix).replace("\n", "\n    "), "green"))
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    parts = [_count(errors, "error")] if errors else []
    if warnings := len(findings) - errors:
        parts.append(_count(warnings, "warning"))
    console.print(", ".join(parts))


def _visible(text: str) -> str:
    """Return the text with what would steer a terminal written out."""
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return "".join(shown)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _json(findings: list[Finding], stream: TextIO) -> None:
    json.dump({"findings": [asdict(finding) for finding in findings]}, stream, indent=2)
    stream.write("\n")


def _sarif(findings: list[Finding], stream: TextIO, described: Mapping[str, Description]) -> None:
    rules = sorted({finding.rule for finding in findings})
    results = []
    for finding in findings:
        location: dict[str, object] = {"artifactLocation": {"uri": quote(finding.file)}}
        if finding.line:
            location["region"] = {"startLine": finding.line} | (
                {"startColumn": finding.column} if finding.column else {}
            )
        results.append(
            {
                "ruleId": finding.rule,
                "ruleIndex": rules.index(finding.rule),
                "level": finding.severity.value,
                "message": {"text": f"{finding.message}\n{finding.fix}"},
                "locations": [{"physicalLocation": location}],
                "properties": {"object": finding.object, "environment": finding.environment},
            }
        )
    descriptors = [_descriptor(rule, described.get(rule)) for rule in rules]
    driver = {"name": "linea-stack", "rules": descriptors}
    document = {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    json.dump(document, stream, indent=2)
    stream.write("\n")


def _descriptor(rule: str, known: Description | None) -> dict[str, object]:
    """Return a rule as SARIF has it (3.49)."""
    if known is None:
        return {"id": rule}
    found: dict[str, object] = {
        "id": rule,
        "shortDescription": {"text": f"{known.promise}."},
        "fullDescription": {"text": f"{known.promise}. {known.why}"},
        "defaultConfiguration": {"level": known.severity.value},
    }
    # helpUri is an absolute address; of a file of this repository, only its name is known here.
    if known.source.startswith("https://"):
        return found | {"helpUri": known.source}
    return found | {"help": {"text": f"see {known.source}"}}


def _github(findings: list[Finding], stream: TextIO) -> None:
    for finding in findings:
        properties = {"file": finding.file, "title": finding.rule}
        if finding.line:
            properties["line"] = str(finding.line)
        if finding.column:
            properties["col"] = str(finding.column)
        named = ",".join(f"{key}={_escape(value, ':,')}" for key, value in properties.items())
        about = " in ".join(part for part in (finding.object, finding.environment) if part)
        text = f"{about}: {finding.message}" if about else finding.message
        told = _escape(f"{text}\n→ {finding.fix}")
        stream.write(f"::{finding.severity} {named}::{told}\n")


def _escape(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text
