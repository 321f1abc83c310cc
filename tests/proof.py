"""What the layers of `validate` tell of mutants, but the last, which finds any edit of output.

`python -m tests.proof [ENVIRONMENT …]` tells of all mutants, with those that nothing finds;
`python -m tests.proof --write` writes into docs/rules.md how many of those that the tests try are.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

import yaml

from scripts import (
    check,
    configs,
    environment,
    images,
    kubeconform,
    marked,
    yamlio,
)
from scripts.environment import Environment
from scripts.findings import Finding, Severity, UserError
from scripts.manifest import PODS, Manifest
from scripts.rules import catalogue
from scripts.rules.objects import Objects
from tests import examples, objects
from tests.conftest import ROOT
from tests.mutants import ENVIRONMENTS, MOST, Mutant, mutants

SURVIVORS = Path(__file__).with_name("survivors.yaml")
DOCS = ROOT / "docs" / "rules.md"
WRITE = "--write"


@dataclass(frozen=True, slots=True, order=True)
class Told:
    """What is told of an object."""

    rule: str
    object: str
    message: str
    severity: Severity = Severity.ERROR


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is told of a mutant, and not of the environment as it is."""

    mutant: Mutant
    by_schema: bool
    told: tuple[Told, ...]
    """By the other layers."""

    @property
    def caught(self) -> bool:
        """Return whether there is an error."""
        return self.by_schema or any(one.severity is Severity.ERROR for one in self.told)

    @property
    def only_warned(self) -> bool:
        """Return whether there are warnings alone."""
        return not self.caught and bool(self.told)


def verdicts(names: Sequence[str] = ENVIRONMENTS, most: int = MOST) -> list[Verdict]:
    """Return what is told of each mutant."""
    found = [mutant for name in names for mutant in mutants(name, most)]
    processes = os.cpu_count() or 1
    # Not forked: Helm's engine is Go, whose threads do not come along.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        shares = [pool.submit(_share, names, most, n, processes) for n in range(processes)]
        refused = _refused_by_schema(found)
        told_of = dict(chain.from_iterable(share.result() for share in shares))
    return [Verdict(one, one.name in refused, told_of[one.name]) for one in found]


def _share(
    names: Sequence[str], most: int, first: int, step: int
) -> list[tuple[str, tuple[Told, ...]]]:
    """Return what is told of some of the mutants, by their names."""
    found = [mutant for name in names for mutant in mutants(name, most)]
    return [
        (one.name, tuple(sorted(told(one) - unbroken(one.objects.name))))
        for one in found[first::step]
    ]


@lru_cache
def unbroken(name: str) -> frozenset[Told]:
    """Return what is told of an environment as it is."""
    found = examples.objects(name)
    return frozenset((*_by_rules(found), *_by_images(found)))


def told(mutant: Mutant) -> frozenset[Told]:
    """Return what all layers but the schemas tell of a mutant."""
    broken = mutant.objects
    found = [
        *_by_rules(broken),
        *_by_render(broken),
        *_by_images(broken),
    ]
    if any(one.kind == "ConfigMap" or one.kind.lower() in PODS for one in mutant.changed):
        found += _by_configurations(mutant)
    return frozenset(found)


def _by_rules(broken: Objects) -> Iterator[Told]:
    others = [examples.objects(name) for name in objects.ENVIRONMENTS if name != broken.name]
    for rule in catalogue.RULES.values():
        for _, problem in rule.check([broken, *(others if rule.together else ())]):
            yield Told(rule.id, problem.manifest.label, problem.message, rule.severity)


def _by_render(broken: Objects) -> Iterator[Told]:
    """Yield why the objects would not be written."""
    found = without_values(broken.name)
    for refuse in (check.shapes, check.digests, check.together):
        try:
            refuse(ROOT, found, broken.manifests)
        except UserError as error:
            yield from map(_of_finding, error.findings)


@lru_cache
def without_values(name: str) -> Environment:
    """Return an environment in which no value is looked for: none makes an object a mutant."""
    found = environment.load(ROOT, name)
    empty = tuple(replace(layer, data={}) for layer in found.layers)
    return replace(found, layers=empty, patches=())


def _by_configurations(mutant: Mutant) -> Iterator[Told]:
    """Yield what Besu and Maru would refuse; of the unbroken environments that is nothing."""
    files = _files(mutant.objects.name) | {one.file_name: _text(one) for one in mutant.changed}
    for problem in configs.check(files):
        yield Told(problem.rule, f"{problem.kind}/{problem.name}", problem.message)


def _by_images(broken: Objects) -> Iterator[Told]:
    """Yield what image_rules tells, without the place of it."""
    for image in images.names(broken.manifests):
        if broken.is_production and not images.parse(image).digest:
            yield Told("image-without-digest", "", image, Severity.WARNING)


def _of_finding(finding: Finding) -> Told:
    return Told(finding.rule, finding.object, finding.message, finding.severity)


@lru_cache
def _files(name: str) -> dict[str, str]:
    return {one.file_name: _text(one) for one in examples.objects(name).manifests}


def _text(manifest: Manifest) -> str:
    return yamlio.dump(manifest.object)


def _refused_by_schema(found: Iterable[Mutant]) -> set[str]:
    """Return the names of the mutants that kubeconform refuses; all are asked about at once."""
    by_version: dict[str, dict[str, str]] = {}
    for mutant in found:
        files = by_version.setdefault(mutant.objects.kubernetes_version, {})
        files |= {f"{mutant.name}\n{one.label}": _text(one) for one in mutant.changed}
    problems = [
        p for version, files in by_version.items() for p in kubeconform.check(files, version)
    ]
    return {problem.file.partition("\n")[0] for problem in problems}


# Told to people


def reasons() -> dict[str, str]:
    """Return pattern → why nothing finds the mutants whose names it fits."""
    found: dict[str, str] = yaml.safe_load(SURVIVORS.read_text("utf-8")) or {}
    return found


def summary(found: Sequence[Verdict]) -> str:
    """Return what docs/rules.md says of the mutants."""
    lines = [f"{len(found)} mutants of {' and '.join(ENVIRONMENTS)}:", ""]
    lines += table("Rules of", found, lambda one: one.mutant.operator.family)
    lines += ["", "Those that live on, and why:", ""]
    groups: dict[str, list[str]] = {}
    for one in found:
        if not one.caught:
            groups.setdefault(_reason(one), []).append(one.mutant.name)
    for reason, names in groups.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"- {reason} `{names[0]}`{more}")
    return "\n".join(lines) + "\n"


def _reason(verdict: Verdict) -> str:
    if verdict.only_warned:
        return f"`{verdict.told[0].rule}` warns of it."
    fits = (why for name, why in reasons().items() if re.fullmatch(name, verdict.mutant.name))
    return next(fits, "No rule finds it yet.")


def table(title: str, found: Sequence[Verdict], of: Callable[[Verdict], str]) -> list[str]:
    """Return the lines of a table in Markdown: the shares of mutants that are caught, in groups."""
    groups: dict[str, list[Verdict]] = {}
    for one in found:
        groups.setdefault(of(one), []).append(one)
    groups["all"] = list(found)
    rows = [f"| {title} | Mutants | By schema alone | By all layers | Only a warning |"]
    rows.append("|---|---:|---:|---:|---:|")
    for name, group in groups.items():
        schema = sum(one.by_schema for one in group) / len(group)
        caught = sum(one.caught for one in group) / len(group)
        warned = sum(one.only_warned for one in group)
        rows.append(f"| {name} | {len(group)} | {schema:.1%} | {caught:.1%} | {warned} |")
    return rows


def main() -> None:
    """Print what is told of all mutants, or write what the docs say of those that are tried."""
    names = [name for name in sys.argv[1:] if name != WRITE]
    if WRITE in sys.argv:
        marked.update(DOCS, "mutants", summary(verdicts()), check=False)
        return
    found = verdicts(names or ENVIRONMENTS, sys.maxsize)
    print("\n".join(table("Operator", found, lambda one: one.mutant.operator.name)))
    print("\n".join(table("Family", found, lambda one: one.mutant.operator.family)))
    for one in found:
        if not one.caught:
            operator = one.mutant.operator
            warned = f"  (a warning: {one.told[0].rule})" if one.told else ""
            print(f"{operator.family}\t{operator.name}\t{one.mutant.name}{warned}")


if __name__ == "__main__":
    main()
