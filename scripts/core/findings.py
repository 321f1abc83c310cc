"""Findings: what is wrong, where, and what to write instead; printed in one of six formats."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from types import MappingProxyType
from typing import Any, TextIO

from scripts.core import secret_detection
from scripts.core.edits import Action, Edit
from scripts.core.plain import rebuilt

FORMATS = ("text", "json", "sarif", "github", "gitlab", "junit")

SARIF_SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)


class Severity(StrEnum):
    """The severity of a finding: only an error makes a command exit 1."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One mistake; findings are sorted by these fields, in this order."""

    file: str
    """The input to change, relative to the repository, with forward slashes."""
    line: int
    """From 1; 0 for the whole file."""
    column: int
    """From 1; 0 for the whole line."""
    rule: str
    """The rule's id, in kebab case."""
    message: str
    """What is wrong, and what happens if it stays."""
    fix: str
    """What to write instead."""
    object: str = ""
    """Kind/name of the rendered object; empty if the finding is about no object."""
    environment: str = ""
    severity: Severity = Severity.ERROR
    edits: tuple[Edit, ...] = field(default=(), compare=False)
    """The fix as changes of input files; empty if only people can do it."""
    is_safe: bool = field(default=False, compare=False)
    """Whether the edits are right whatever was intended."""

    def with_edits(self, edits: Sequence[Edit], *, is_safe: bool) -> Finding:
        """Return the finding with edits; without any, they are not safe."""
        return replace(self, edits=tuple(edits), is_safe=is_safe and bool(edits)) if edits else self


@dataclass(frozen=True, slots=True)
class Replacement:
    """Lines of a file, and what to write instead of them."""

    file: str
    first: int
    """From 1."""
    end: int
    """The line after the last one that is replaced; equal to `first` for an insertion."""
    text: str


@dataclass(frozen=True, slots=True)
class Description:
    """The description of a rule, as SARIF shows it."""

    promise: str
    """What is true if the rule reports nothing, in one line."""
    why: str
    source: str
    """The documentation of the rule: a URL, or a file of this repository."""
    severity: Severity


class UserError(Exception):
    """Mistakes in files that stop the work; they are printed as findings, with exit code 1."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("\n".join(f"{f.file}:{f.line}: {f.message}" for f in findings))
        self.findings = findings

    def __reduce__(self) -> tuple[type[UserError], tuple[Finding, ...]]:
        """Return how pickle rebuilds the error: child processes send it to their parent."""
        return type(self), self.findings


class UsageError(Exception):
    """An invalid command line, or a machine that can't do the work; the exit code is 2."""


_COLOURED = {"FORCE_COLOR", "TTY_COMPATIBLE"}
"""Environment variables with which rich shows colours without a terminal."""

_RELEASED = re.compile(r"(?:chart|base)/.+@([^@/]+)")
"""A file of a release: safe_files.name."""

_SECRET = re.compile(r"key|secret|password|token|credential", re.IGNORECASE)


def may_be_secret(path: Sequence[str | int]) -> bool:
    """Return whether the value at the path could be a secret, which no message may repeat."""
    keys = [part for part in path if isinstance(part, str)]
    if not keys:
        return False
    in_environment = "extraEnv" in keys and keys[-1] == "value"
    return in_environment or "plain" in keys or bool(_SECRET.search(keys[-1]))


def has_errors(findings: Iterable[Finding]) -> bool:
    """Return whether any of the findings is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)


def place(finding: Finding) -> str:
    """Return `file:line:column`, without the parts that are unknown."""
    parts = [finding.file, *(str(n) for n in (finding.line, finding.column) if n)]
    return ":".join(parts)


def write(
    findings: Iterable[Finding],
    format: str,
    stream: TextIO,
    described: Mapping[str, Description] = MappingProxyType({}),
    suggested: Mapping[Finding, Sequence[Replacement]] = MappingProxyType({}),
) -> None:
    """Write the findings in one of FORMATS, sorted and without duplicates.

    text: for people; empty without findings.
    json: one document as in findings.schema.json, also without findings.
    sarif: one document of OASIS SARIF 2.1.0, also without findings; `described` has the
    descriptions of rules, and `suggested` the lines that the edits of findings replace.
    github: workflow commands, which GitHub shows as annotations on the lines of a pull request.
    gitlab: a Code Quality report, which GitLab shows on the lines of a merge request.
    junit: JUnit's XML, in which each finding is a test: an error has failed, a warning is skipped.

    Secrets in messages and fixes are masked. A fix in a file of a release says that it needs
    another release.
    """
    ordered = sorted({masked(_of_release(finding)) for finding in findings})
    if format == "sarif":
        _sarif(ordered, stream, described, suggested)
    else:
        written = {
            "text": _text,
            "json": _json,
            "github": _github,
            "gitlab": _gitlab,
            "junit": _junit,
        }
        written[format](ordered, stream)


def _of_release(finding: Finding) -> Finding:
    released = _RELEASED.fullmatch(finding.file)
    if not released or finding.fix.startswith("run "):  # a command writes another file
        return finding
    more = f"; {released[1]} stays as it is, so do this in a newer release and promote that"
    return replace(finding, fix=finding.fix.removesuffix(more) + more)


def masked(finding: Finding) -> Finding:
    """Return a finding without secrets."""
    message, fix = map(secret_detection.masked, (finding.message, finding.fix))
    if (message, fix) == (finding.message, finding.fix):
        return finding
    return replace(finding, message=message, fix=fix)


def _text(findings: list[Finding], stream: TextIO) -> None:
    if not findings:
        return
    write = _writer(stream)
    colours = {Severity.ERROR: "bold red", Severity.WARNING: "bold yellow"}
    for finding in findings:
        head = [
            (_visible(place(finding)), "bold"),
            ("  ", ""),
            (finding.severity.value, colours[finding.severity]),
            ("  ", ""),
            (finding.rule, "cyan"),
        ]
        if about := _about(finding):
            head.append((f"  {_visible(about)}", "dim"))
        write(head)
        write([("  " + _visible(finding.message).replace("\n", "\n  "), "")])
        write([("  → " + _visible(finding.fix).replace("\n", "\n    "), "green")])
    write([(counted(findings), "")])


def counted(findings: Collection[Finding]) -> str:
    """Return the number of errors and of warnings, like "1 error, 2 warnings"; empty for none."""
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    parts = [_count(errors, "error")] if errors else []
    if warnings := len(findings) - errors:
        parts.append(_count(warnings, "warning"))
    return ", ".join(parts)


def _writer(stream: TextIO) -> Callable[[Sequence[tuple[str, str]]], None]:
    """Return a function that writes a line of texts, each with its style if colours are shown."""
    if not stream.isatty() and not _COLOURED & os.environ.keys():
        return lambda parts: print(*(text for text, _ in parts), sep="", file=stream)
    # Imported only here: it takes longer than to write the findings.
    from rich.console import Console
    from rich.text import Text

    # A fixed width, as rich prints nothing if the terminal's width is 0; lines are not wrapped.
    console = Console(file=stream, width=100, highlight=False, soft_wrap=True, emoji=False)
    return lambda parts: console.print(Text.assemble(*parts))


def _visible(text: str) -> str:
    """Return the text with control characters as escapes, so that it can't control a terminal."""
    characters = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)
    return "".join(characters)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _json(findings: list[Finding], stream: TextIO) -> None:
    json.dump({"findings": [as_json(finding) for finding in findings]}, stream, indent=2)
    stream.write("\n")


def from_json(data: Mapping[str, Any]) -> Finding:
    """Return a finding of the format json; old values of edits that may be secret are not there.

    Raises LookupError or TypeError for any other data.
    """
    found = rebuilt(Finding, data)
    edits = (
        replace(edit, value=tuple(edit.value)) if edit.action is Action.MOVE else edit
        for edit in found.edits
    )
    return replace(found, edits=tuple(edits))


def as_json(finding: Finding) -> dict[str, object]:
    """Return a finding as the format json has it."""
    return asdict(finding) | {"edits": [_edit(each) for each in finding.edits]}


def _edit(edit: Edit) -> dict[str, object]:
    """Return an edit as findings.schema.json describes it."""
    shown: dict[str, object] = {"file": edit.file, "action": edit.action.value}
    if edit.document:
        shown["document"] = edit.document
    shown["path"] = list(edit.path)
    if edit.action is not Action.REMOVE:
        is_path = edit.action is Action.MOVE
        shown["value"] = list(edit.value) if is_path else edit.value
    is_hidden = isinstance(edit.old, dict | list) or may_be_secret(edit.path)
    if edit.old is not None and not is_hidden:
        shown["old"] = edit.old
    return shown


def _sarif(
    findings: list[Finding],
    stream: TextIO,
    described: Mapping[str, Description],
    suggested: Mapping[Finding, Sequence[Replacement]],
) -> None:
    from urllib.parse import quote

    rules = sorted({finding.rule for finding in findings})
    results = []
    for finding in findings:
        location: dict[str, object] = {"artifactLocation": {"uri": quote(finding.file)}}
        if finding.line:
            location["region"] = {"startLine": finding.line} | (
                {"startColumn": finding.column} if finding.column else {}
            )
        result: dict[str, object] = {
            "ruleId": finding.rule,
            "ruleIndex": rules.index(finding.rule),
            "level": finding.severity.value,
            "message": {"text": f"{finding.message}\n{finding.fix}"},
            "locations": [{"physicalLocation": location}],
            "properties": {"object": finding.object, "environment": finding.environment},
        }
        if lines := suggested.get(finding, ()):
            result["fixes"] = [_sarif_fix(finding, lines)]
        results.append(result)
    descriptors = [_descriptor(rule, described.get(rule)) for rule in rules]
    driver = {"name": "linea-stack", "rules": descriptors}
    document = {
        "$schema": SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    json.dump(document, stream, indent=2)
    stream.write("\n")


def _sarif_fix(finding: Finding, lines: Sequence[Replacement]) -> dict[str, object]:
    """Return replaced lines as a fix of SARIF (section 3.55)."""
    from urllib.parse import quote

    by_file: dict[str, list[dict[str, object]]] = {}
    for each in lines:
        region = {"startLine": each.first, "startColumn": 1, "endLine": each.end, "endColumn": 1}
        replaced = {"deletedRegion": region, "insertedContent": {"text": each.text}}
        by_file.setdefault(each.file, []).append(replaced)
    return {
        "description": {"text": finding.fix},
        "artifactChanges": [
            {"artifactLocation": {"uri": quote(file)}, "replacements": replaced}
            for file, replaced in by_file.items()
        ],
    }


def _descriptor(rule: str, description: Description | None) -> dict[str, object]:
    """Return a rule as a reportingDescriptor of SARIF (section 3.49)."""
    if description is None:
        return {"id": rule}
    descriptor: dict[str, object] = {
        "id": rule,
        "shortDescription": {"text": f"{description.promise}."},
        "fullDescription": {"text": f"{description.promise}. {description.why}"},
        "defaultConfiguration": {"level": description.severity.value},
    }
    # helpUri must be an absolute URL, which a file of this repository does not have here.
    if description.source.startswith("https://"):
        return descriptor | {"helpUri": description.source}
    return descriptor | {"help": {"text": f"see {description.source}"}}


def _github(findings: list[Finding], stream: TextIO) -> None:
    for finding in findings:
        properties = {"file": finding.file, "title": finding.rule}
        if finding.line:
            properties["line"] = str(finding.line)
        if finding.column:
            properties["col"] = str(finding.column)
        head = ",".join(f"{key}={_escape(value, ':,')}" for key, value in properties.items())
        body = _escape(f"{_told(finding)}\n→ {finding.fix}")
        stream.write(f"::{finding.severity} {head}::{body}\n")


def _escape(text: str, more: str = "") -> str:
    for character in "%\r\n" + more:
        text = text.replace(character, f"%{ord(character):02X}")
    return text


def _gitlab(findings: list[Finding], stream: TextIO) -> None:
    """Write what https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format says.

    GitLab compares the fingerprints with those of the target branch, and merges equal ones.
    """
    severities = {Severity.ERROR: "major", Severity.WARNING: "minor"}
    entries = [
        {
            "description": f"{_told(finding)}\n→ {finding.fix}",
            "check_name": finding.rule,
            "fingerprint": hashlib.sha256("\0".join(identity).encode()).hexdigest(),
            "severity": severities[finding.severity],
            "location": {"path": finding.file, "lines": {"begin": max(finding.line, 1)}},
        }
        for finding, identity in _identified(findings)
    ]
    json.dump(entries, stream, indent=2)
    stream.write("\n")


def _identified(findings: Iterable[Finding]) -> Iterator[tuple[Finding, tuple[str, ...]]]:
    """Yield each finding with a unique identity that does not change if its lines move."""
    seen = Counter[tuple[str, ...]]()
    for finding in findings:
        parts = (finding.rule, finding.file, finding.object, finding.environment, finding.message)
        seen[parts] += 1
        yield finding, (*parts, str(seen[parts]))


def _junit(findings: list[Finding], stream: TextIO) -> None:
    """Write JUnit's XML as Jenkins and GitLab read it: a suite a file, a test a finding.

    The schema is junit-10.xsd of Jenkins' xUnit plugin. GitLab merges tests of one suite, class and
    name, and Jenkins rejects a report without a test.
    """
    # Imported only here: other formats need no XML.
    from xml.etree import ElementTree

    passed = 0 if findings else 1
    top = ElementTree.Element("testsuites", _totals(findings, passed), name="linea-stack")
    for file, of_file in groupby(_identified(findings), key=lambda each: each[0].file):
        tests = [*of_file]
        totals = _totals([finding for finding, _ in tests])
        suite = ElementTree.SubElement(top, "testsuite", totals, name=_xml(file))
        for finding, (*_, number) in tests:
            more = f" ({number})" if number != "1" else ""
            name = f"{' '.join(_told(finding).split())}{more}"
            test = ElementTree.SubElement(
                suite, "testcase", classname=_xml(finding.rule), name=_xml(name)
            )
            is_error = finding.severity is Severity.ERROR
            tag, kind = ("failure" if is_error else "skipped"), finding.severity.value
            text = f"{place(finding)}\n{finding.message}\n→ {finding.fix}\n"
            result = ElementTree.SubElement(test, tag, type=kind, message=_xml(finding.message))
            result.text = _xml(text)
    if passed:
        suite = ElementTree.SubElement(top, "testsuite", _totals([], passed), name="linea-stack")
        ElementTree.SubElement(suite, "testcase", classname="linea-stack", name="no findings")
    ElementTree.indent(top)
    stream.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    stream.write(f"{ElementTree.tostring(top, encoding='unicode')}\n")


def _totals(findings: Sequence[Finding], passed: int = 0) -> dict[str, str]:
    failed = sum(finding.severity is Severity.ERROR for finding in findings)
    return {"tests": str(len(findings) + passed), "failures": str(failed), "errors": "0"}


_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot have, not even as references."""


def _xml(text: str) -> str:
    """Return the text with escapes instead of the characters that XML cannot have."""
    return _NOT_XML.sub(lambda match: ascii(match[0])[1:-1], text)


def _about(finding: Finding) -> str:
    """Return the object and the environment, like Service/a in dev; empty if it has neither."""
    return " in ".join(part for part in (finding.object, finding.environment) if part)


def _told(finding: Finding) -> str:
    """Return the message, after what it is about."""
    about = _about(finding)
    return f"{about}: {finding.message}" if about else finding.message
