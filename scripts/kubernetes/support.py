"""When the support of each minor version of Kubernetes ends: upstream, and on Amazon EKS.

The table comes from endoflife.date, which takes its dates from Kubernetes' page of patch releases
and from the EKS user guide. It has a date itself: what was announced later is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import yaml

from scripts.kubernetes import minor_version

TABLE = Path(__file__).with_name("support.yaml")
"""What `nox -s lock -- --support` writes."""

SOURCE = "https://github.com/endoflife-date/endoflife.date"
UPSTREAM, EKS = "products/kubernetes.md", "products/amazon-eks.md"
"""Files of the source: a page each, whose front matter has the dates."""

OLDEST = 19
"""The oldest minor version that environment.yaml may name."""

SOON_DAYS = 60
"""How long before its end a version should be replaced: EKS gives notice 60 days before, too."""

HEAD = """\
# When the support of each version of Kubernetes ends. Written by `nox -s lock -- --support` from
# the pages kubernetes and amazon-eks of the source, at the commit and of the date named here.
"""


@dataclass(frozen=True, slots=True)
class Support:
    """Until when a minor version gets fixes; None for what the table does not have."""

    upstream: date | None = None
    """The last day of the Kubernetes project's own support."""
    standard: date | None = None
    """The last day of standard support on EKS."""
    extended: date | None = None
    """The last day of extended support on EKS, which costs more; then EKS upgrades the cluster."""


@dataclass(frozen=True, slots=True)
class Table:
    """The dates of all versions."""

    source: str
    commit: str
    of: date
    """The day of the commit: later announcements are missing."""
    versions: Mapping[str, Support]
    """Minor version, newest first."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What the dates mean for one environment on a day."""

    state: str
    """supported, soon (it ends within SOON_DAYS), extended, ended or unknown."""
    words: str


def load(table: Path = TABLE) -> Table:
    """Return the table as it is written."""
    data = yaml.load(table.read_bytes(), yaml.CSafeLoader)
    versions = {version: Support(**row) for version, row in data["versions"].items()}
    return Table(data["source"], data["commit"], data["date"], versions)


def read(upstream: str, eks: str) -> dict[str, Support]:
    """Return version → its dates, from the two pages of the source; newest first."""
    ends = _column(upstream, "eol")
    standard, extended = _column(eks, "eol"), _column(eks, "eoes")
    known = sorted(ends.keys() | standard.keys(), key=minor_version.number, reverse=True)
    return {
        version: Support(ends.get(version), standard.get(version), extended.get(version))
        for version in known
        if minor_version.number(version) >= OLDEST
    }


def dump(table: Table) -> str:
    """Return the table as YAML, a line a version."""
    lines = [f"source: {table.source}", f"commit: {table.commit}", f"date: {table.of}", "versions:"]
    for version, support in table.versions.items():
        dates = (f"{name}: {day}" for name in _FIELDS if (day := getattr(support, name)))
        lines.append(f"  '{version}': {{{', '.join(dates)}}}")
    return HEAD + "".join(f"{line}\n" for line in lines)


_FIELDS = ("upstream", "standard", "extended")


def outlook(support: Support | None, on: date, *, is_eks: bool) -> Outlook:
    """Return until when a version is supported, seen from a day.

    support: None for a version that the table does not have.
    """
    if support is None or (end := support.standard if is_eks else support.upstream) is None:
        return Outlook("unknown", "the table of support does not have it")
    who = "standard support on EKS" if is_eks else "upstream support"
    if on <= end:
        state = "soon" if (end - on).days <= SOON_DAYS else "supported"
        return Outlook(state, f"{who} until {end}{_left(end, on)}")
    ended = f"{who} ended on {end}"
    if is_eks and support.extended and on <= support.extended:
        until = f"{support.extended}{_left(support.extended, on)}"
        return Outlook("extended", f"{ended}; extended support, which costs more, until {until}")
    return Outlook("ended", ended)


def _left(end: date, on: date) -> str:
    days = (end - on).days
    if days > SOON_DAYS:
        return ""
    return f" ({days} day{'' if days == 1 else 's'} left)" if days else " (today)"


def _column(page: str, field: str) -> dict[str, date]:
    """Return version → a date of it, from the front matter of a page; only known dates."""
    _, front, _ = page.split("---\n", 2)
    rows: list[dict[str, Any]] = yaml.load(front, yaml.CSafeLoader)["releases"]
    days = ((str(row["releaseCycle"]), row.get(field)) for row in rows)
    return {version: day for version, day in days if isinstance(day, date)}
