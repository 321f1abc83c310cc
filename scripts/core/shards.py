"""Split environments between machines, and read back what each machine has reported.

A shard is one of several equal parts of all environments. Its JSON is the usual document with one
more key, `shard`, which has what joining needs. The split depends only on the names: they
are put into the order of their digests, which is cut into parts of the same size. So the sizes
differ by at most one, environments with similar names do not end up together, and another
environment moves at most one environment from each shard to the next.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.core.findings import Finding, UsageError, from_json
from scripts.core.sentences import joined

KEY = "shard"
"""The key of a document that only a shard's has."""

MOST = 256
"""Shards: as many jobs as a matrix of GitHub Actions may have."""

_WRITTEN = re.compile(r"([0-9]+)/([0-9]+)")


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several parts."""

    number: int
    """From 1."""
    count: int

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    def part(self, names: Iterable[str]) -> list[str]:
        """Return this shard's part of the names, sorted."""
        ordered = sorted(names, key=lambda name: (hashlib.sha256(name.encode()).digest(), name))
        begin, end = (len(ordered) * n // self.count for n in (self.number - 1, self.number))
        return sorted(ordered[begin:end])


def parse(text: str) -> Shard:
    """Return a shard from text like 3/8; raises argparse.ArgumentTypeError for any other text."""
    match = _WRITTEN.fullmatch(text)
    if not match:
        message = f"{text}: write the number of the shard and how many there are, like 3/8"
        raise argparse.ArgumentTypeError(message)
    number, count = int(match[1]), int(match[2])
    if not 1 <= count <= MOST:
        raise argparse.ArgumentTypeError(f"{text}: write 1 to {MOST} shards")
    if not 1 <= number <= count:
        numbers = "1" if count == 1 else f"1 to {count}"
        raise argparse.ArgumentTypeError(
            f"{text}: of {count}, the number of the shard is {numbers}"
        )
    return Shard(number, count)


@dataclass(frozen=True, slots=True)
class Report:
    """What one shard has reported."""

    file: str
    shard: Shard
    command: str
    document: Mapping[str, Any]
    """All of its JSON."""

    @property
    def about(self) -> Mapping[str, Any]:
        """Return what joining needs."""
        of: Mapping[str, Any] = self.document[KEY]
        return of

    @property
    def findings(self) -> list[Finding]:
        """Return what the shard has found in its environments."""
        return [from_json(one) for one in self.document["findings"]]


def about(command: str, shard: Shard, more: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a shard's document has under KEY."""
    return {"command": command, "of": str(shard), **more}


def read(files: Sequence[Path]) -> tuple[list[Report], list[Mapping[str, Any]]]:
    """Return the reports of all shards of one run, by number, and those of runs that ended early.

    The second are documents of findings without a shard: an invalid file ended the run.
    Raises UsageError if a file is not such a report, or if they are not all shards of one run.
    """
    reports, ended = list[Report](), list[Mapping[str, Any]]()
    for file in files:
        document = _document(file)
        if KEY in document:
            reports.append(_report(file, document))
        elif "findings" in document:
            ended.append(document)
        else:
            raise UsageError(_foreign(file))
    if not ended:
        _check(reports)
    return sorted(reports, key=lambda report: report.shard.number), ended


def _document(file: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise UsageError(_foreign(file)) from None
    if not isinstance(document, dict):
        raise UsageError(_foreign(file))
    return document


def _report(file: Path, document: Mapping[str, Any]) -> Report:
    of = document[KEY]
    try:
        return Report(str(file), parse(of["of"]), str(of["command"]), document)
    except (TypeError, LookupError, argparse.ArgumentTypeError):
        raise UsageError(_foreign(file)) from None


def _foreign(file: Path) -> str:
    return (
        f"{file} is not the report of a shard: write it with --shard and --format json, for example"
        " nox -s validate -- --shard 1/2 --format json"
    )


def _check(reports: Sequence[Report]) -> None:
    """Raise UsageError unless the reports are those of all shards of one run, each once."""
    first = reports[0]
    seen: dict[int, Report] = {}
    for report in reports:
        if report.command != first.command:
            raise UsageError(
                f"{first.file} is from {first.command}, {report.file} from {report.command}: join"
                " the shards of one command at a time"
            )
        if report.shard.count != first.shard.count:
            raise UsageError(
                f"{first.file} is shard {first.shard}, {report.file} is shard {report.shard}: join"
                " the shards of one run"
            )
        if other := seen.get(report.shard.number):
            raise UsageError(f"{other.file} and {report.file} are both shard {report.shard}")
        seen[report.shard.number] = report
    numbers = range(1, first.shard.count + 1)
    missing = [str(Shard(n, first.shard.count)) for n in numbers if n not in seen]
    if missing:
        what = "shard" if len(missing) == 1 else "shards"
        raise UsageError(
            f"{what} {joined(missing)} of {first.command} {'is' if len(missing) == 1 else 'are'}"
            " missing: what they found would be lost"
        )
