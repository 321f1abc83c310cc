"""What the layers of `validate` tell of mutants, but the last, which finds any edit of output.

`python -m tests.checks.mutation_score [ENVIRONMENT …]` prints all mutants, with those that
nothing finds; with --write, it writes into docs/rules.md how many of those that the tests
try are found.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path

import yaml

from scripts.checks import kubeconform, node_options
from scripts.core import yamlio
from scripts.core.findings import Finding, Severity, UserError
from scripts.documentation import marked
from scripts.environments import environment, image_lock
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import PODS, Manifest
from scripts.rendering import preconditions
from scripts.rules import catalogue
from scripts.rules.rule import Rule
from scripts.rules.snapshot import Objects
from tests import objects
from tests.checks import beside_validate, file_mutants
from tests.checks.file_mutants import FileMutant
from tests.checks.mutants import ENVIRONMENTS, Mutant, mutants, read
from tests.conftest import EXAMPLE, ROOT
from tests.rules import examples

SURVIVORS = Path(__file__).with_name("survivors.yaml")
DOCS = ROOT / "docs" / "rules.md"
WRITE = "--write"
SAME = "same"
"""The group of survivors.yaml whose mutants behave as what they were made of."""


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

    mutant: Mutant | FileMutant
    by_schema: bool
    told: tuple[Told, ...]
    """By the other layers of validate."""
    by_others: bool = False
    """Whether the API server's own code or gitleaks finds it: asked only if validate does not."""

    @property
    def found(self) -> bool:
        """Return whether there is a finding: an error, or a warning."""
        return self.by_schema or self.by_others or bool(self.told)

    @property
    def only_warned(self) -> bool:
        """Return whether there are warnings alone."""
        errors = any(one.severity is Severity.ERROR for one in self.told)
        return bool(self.told) and not self.by_schema and not errors

    @property
    def is_same(self) -> bool:
        """Return whether it behaves as the environment does, so that there is nothing to find."""
        return not self.found and any(
            re.fullmatch(name, self.mutant.name) for name in _read()[SAME]
        )


def verdicts(
    names: Sequence[str] = ENVIRONMENTS, most: int | None = None, one_in: int = 1
) -> list[Verdict]:
    """Return what is told of each mutant, or of one in so many."""
    found, of_files = _asked(names, most, one_in)
    processes = os.cpu_count() or 1
    # Not forked: Helm's engine is Go, whose threads do not come along.
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        shares = [pool.submit(_share, names, most, one_in, n, processes) for n in range(processes)]
        refused = _refused_by_schema(found)
        told_of = dict(chain.from_iterable(share.result() for share in shares))
    everything: list[Mutant | FileMutant] = [*found, *of_files]
    made = [Verdict(one, one.name in refused, told_of[one.name]) for one in everything]
    others = beside_validate.found([one.mutant for one in made if not one.found])
    return [replace(one, by_others=one.mutant.name in others) for one in made]


def _asked(
    names: Sequence[str], most: int | None, one_in: int
) -> tuple[list[Mutant], list[FileMutant]]:
    """Return the mutants of environments, and of files."""
    found = [mutant for name in names for mutant in mutants(name, most)]
    of_files = file_mutants.file_mutants(most)

    def is_asked(one: Mutant | FileMutant) -> bool:
        return zlib.crc32(one.name.encode()) % one_in == 0

    return list(filter(is_asked, found)), list(filter(is_asked, of_files))


def _share(
    names: Sequence[str], most: int | None, one_in: int, first: int, step: int
) -> list[tuple[str, tuple[Told, ...]]]:
    """Return what is told of some of the mutants, by their names."""
    found, of_files = _asked(names, most, one_in)
    return [
        *((one.name, told(one)) for one in found[first::step]),
        *((one.name, tuple(sorted(told_of_file(one)))) for one in of_files[first::step]),
    ]


def told_of_file(mutant: FileMutant) -> frozenset[Told]:
    """Return what is told of a mutant of a file, and not of the files as they are."""
    found = file_mutants.found(mutant)
    told_of = set(map(_of_finding, found.findings))
    if found.objects:
        told_of |= {*_by_rules(found.objects), *_by_images(found.objects)}
        told_of -= unbroken(found.objects.name)
        for problem in node_options.check(found.objects.manifests):
            told_of.add(Told(problem.rule, f"{problem.kind}/{problem.name}", problem.message))
    return frozenset(told_of)


@lru_cache
def unbroken(name: str) -> frozenset[Told]:
    """Return what is told of an environment as it is."""
    found = examples.objects(name)
    return frozenset((*_by_rules(found), *_by_images(found)))


def told(mutant: Mutant) -> tuple[Told, ...]:
    """Return what is told of a mutant and not of its environment, up to the first error.

    The layers but the schemas, a rule at a time: what has found the last mutants comes first,
    because the next ones are often like them.
    """
    found, known = set[Told](), unbroken(mutant.objects.name)
    for layer in (*_LAYERS,):
        new = {one for one in layer(mutant) if one not in known}
        found |= new
        if any(one.severity is Severity.ERROR for one in new):
            _LAYERS.remove(layer)
            _LAYERS.insert(0, layer)
            break
    return tuple(sorted(found))


def _by_rule(rule: Rule, mutant: Mutant) -> Iterator[Told]:
    return _by_rules(mutant.objects, [rule])


def _by_rules(broken: Objects, rules: Iterable[Rule] = catalogue.RULES.values()) -> Iterator[Told]:
    others = [examples.objects(name) for name in objects.ENVIRONMENTS if name != broken.name]
    for rule in rules:
        for _, problem in rule.check([broken, *(others if rule.together else ())]):
            yield Told(rule.id, problem.manifest.label, problem.message, rule.severity)


def _by_render(broken: Objects) -> Iterator[Told]:
    """Yield why the objects would not be written."""
    found = without_values(broken.name)
    for refuse in (preconditions.shapes, preconditions.digests, preconditions.together):
        try:
            refuse(EXAMPLE, found, broken.manifests)
        except UserError as error:
            yield from map(_of_finding, error.findings)


@lru_cache
def without_values(name: str) -> Environment:
    """Return an environment in which no value is looked for: none makes an object a mutant."""
    found = environment.load(EXAMPLE, name)
    empty = tuple(replace(layer, data={}) for layer in found.layers)
    return replace(found, layers=empty, patches=())


def _by_configurations(mutant: Mutant) -> Iterator[Told]:
    """Yield what Besu and Maru would refuse; of the unbroken environments that is nothing."""
    if not any(one.kind == "ConfigMap" or one.kind.lower() in PODS for one in mutant.changed):
        return
    for problem in node_options.check(mutant.objects.manifests):
        yield Told(problem.rule, f"{problem.kind}/{problem.name}", problem.message)


def _by_images(broken: Objects) -> Iterator[Told]:
    """Yield what image_rules tells, without the place of it."""
    for image in image_lock.names(broken.manifests):
        if broken.is_production and not image_lock.parse(image).digest:
            yield Told("image-without-digest", "", image, Severity.WARNING)


_LAYERS: list[Callable[[Mutant], Iterator[Told]]] = [
    *(partial(_by_rule, rule) for rule in catalogue.RULES.values()),
    lambda mutant: _by_render(mutant.objects),
    lambda mutant: _by_images(mutant.objects),
    _by_configurations,
]
"""In the order in which they are asked."""


def _of_finding(finding: Finding) -> Told:
    return Told(finding.rule, finding.object, finding.message, finding.severity)


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
    return {name: why for group in _read().values() for name, why in group.items()}


@lru_cache
def _read() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = yaml.safe_load(SURVIVORS.read_text("utf-8"))
    return found


def share(found: Iterable[Verdict], *, alone: bool = False) -> float:
    """Return how many of the mutants that behave otherwise are found, from 0 to 1.

    alone: by validate alone.
    """
    others = [one for one in found if not one.is_same]
    counted = sum(one.found and not (alone and one.by_others) for one in others)
    return counted / max(len(others), 1)


def is_later(verdict: Verdict) -> bool:
    """Return whether its operator was written after the rules, and by another hand."""
    return verdict.mutant.operator.family not in first()


@lru_cache
def first() -> frozenset[str]:
    """Return the families of operators that were made beside the rules."""
    return frozenset(read(""))


def summary(found: Sequence[Verdict]) -> str:
    """Return what docs/rules.md says of the mutants."""
    same = sum(one.is_same for one in found)
    later = [one for one in found if is_later(one)]
    lines = [
        f"The test tries {len(found)} mutants of {' and '.join(ENVIRONMENTS)}, and of files that",
        f"people write. {same} of them are harmless: they behave like the unchanged manifests. Of",
        f"the others, `validate` detects **{share(found, alone=True):.1%}**, and together with",
        f"`admission` and gitleaks (in `policy`), which CI also runs, **{share(found):.1%}**. Of",
        f"the {len(later)} mutants of kinds that came after the rules, all layers detect",
        f"**{share(later):.1%}**:",
        "",
        *table("Kind of mistake", found, lambda one: one.mutant.operator.family),
        *_reasons(
            "These mutants are not detected. Each line ends with the reason:",
            [v for v in found if not (v.found or v.is_same)],
        ),
        *_reasons(
            "These mutants are harmless. Each line ends with the reason:",
            [v for v in found if v.is_same],
        ),
        "",
        "These mutants cause only a warning. Each line ends with the rules:",
        "",
        *(
            f"- `{v.mutant.name}`: {', '.join(sorted({f'`{one.rule}`' for one in v.told}))}"
            for v in found
            if v.only_warned
        ),
    ]
    return "\n".join(lines) + "\n"


def _reasons(title: str, found: Sequence[Verdict]) -> list[str]:
    """Return the lines of a list: for each reason one of its mutants, and how many more."""
    lines, groups = ["", title, ""], dict[str, list[str]]()
    for one in found:
        groups.setdefault(_reason(one), []).append(one.mutant.name)
    for reason, names in groups.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        lines.append(f"- `{names[0]}`{more}: {reason}")
    return lines


def _reason(verdict: Verdict) -> str:
    fits = (why for name, why in reasons().items() if re.fullmatch(name, verdict.mutant.name))
    return next(fits, "No rule detects it yet.")


def table(title: str, found: Sequence[Verdict], of: Callable[[Verdict], str]) -> list[str]:
    """Return the lines of a table in Markdown: the shares of mutants that are found, in groups."""
    groups: dict[str, list[Verdict]] = {}
    for one in found:
        groups.setdefault(of(one), []).append(one)
    groups["all"] = list(found)
    rows = [
        f"| {title} | Mutants | Harmless | Schemas detect | All layers detect | Only a warning |"
    ]
    rows.append("|---|---:|---:|---:|---:|---:|")
    for name, group in groups.items():
        same = sum(one.is_same for one in group)
        schema = sum(one.by_schema for one in group) / max(len(group) - same, 1)
        warned = sum(one.only_warned for one in group)
        counts = f"{len(group)} | {same} | {schema:.1%} | {share(group):.1%} | {warned}"
        rows.append(f"| {name} | {counts} |")
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
        if not one.found:
            operator = one.mutant.operator
            print(f"{operator.family}\t{operator.name}\t{one.mutant.name}")


if __name__ == "__main__":
    main()
