"""The version of the repository: in the chart, in pyproject.toml and in the changelog."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

from scripts.core.findings import UsageError

CHART, PROJECT, CHANGELOG = "chart/Chart.yaml", "pyproject.toml", "CHANGELOG.md"
UNRELEASED = "Unreleased"

_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_OF_CHART = re.compile(r"^version: *(\S+)", re.M)
_OF_APP = re.compile(r'^appVersion: *"?([^"\s]+)"?', re.M)
_OF_PROJECT = re.compile(r'^version = "([^"]+)"', re.M)
_HEADING = re.compile(r"^## \[(\d+\.\d+\.\d+)\] - (\S+)$", re.M)


def numbers(version: str) -> tuple[int, ...]:
    """Return the parts of a version; raises UsageError for any other text."""
    match = _VERSION.fullmatch(version)
    if not match:
        raise UsageError(f"{version} is not a version: write three numbers, for example 0.4.0")
    return tuple(map(int, match.groups()))


def current(root: Path) -> str:
    """Return the version of the chart; raises UsageError if it has none."""
    match = _OF_CHART.search((root / CHART).read_text("utf-8"))
    if not match:
        raise UsageError(f"{CHART} has no version: restore it from git")
    return match[1]


def changed(root: Path, version: str, today: date) -> dict[str, str]:
    """Return file → its new text, for the files that do not have the version yet.

    Raises UsageError for a version that is not the next one, or that the changelog does not know.
    """
    old, new = current(root), numbers(version)
    if new < numbers(old):
        raise UsageError(f"{version} is older than {old}, the version of {CHART}")
    texts = {name: (root / name).read_text("utf-8") for name in (CHART, PROJECT, CHANGELOG)}
    chart = _put(texts[CHART], _OF_CHART, version, CHART)
    if (app := _OF_APP.search(texts[CHART])) and app[1] == old:
        chart = _put(chart, _OF_APP, version, CHART)
    after = {
        CHART: chart,
        PROJECT: _put(texts[PROJECT], _OF_PROJECT, version, PROJECT),
        CHANGELOG: _dated(texts[CHANGELOG], version, today),
    }
    return {name: text for name, text in after.items() if text != texts[name]}


def _put(text: str, pattern: re.Pattern[str], version: str, file: str) -> str:
    match = pattern.search(text)
    if not match:
        raise UsageError(f"{file} has no version: restore it from git")
    return text[: match.start(1)] + version + text[match.end(1) :]


def _dated(text: str, version: str, today: date) -> str:
    """Return the changelog with a date for the version.

    What is unreleased at its top becomes that version; the next change begins a new section.
    """
    first = _HEADING.search(text)
    if not first:
        raise UsageError(f"{CHANGELOG} has no section: write ## [{version}] - {UNRELEASED}")
    if first[1] == version and first[2] != UNRELEASED:
        return text
    if first[2] != UNRELEASED:
        raise UsageError(
            f"{CHANGELOG} says nothing of {version}: write ## [{version}] - {UNRELEASED} above "
            f"[{first[1]}], and below it what users notice"
        )
    heading = f"## [{version}] - {today.isoformat()}"
    return text[: first.start()] + heading + text[first.end() :]
