"""The parts of the bench: each measures something, and returns the rows of its table.

Ours and the others' commands take turns, and medians are compared, so that what else the machine
does concerns all of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.bench import fleets, programs
from tests.bench.measuring import Measure, folder, median, run
from tests.bench.programs import ours
from tests.bench.table import Row, compared

HELM = "helm template, one process for each environment"
MOST_MIB = 400
IMPACT_MIB = 500


def few(rounds: int, _: int) -> list[Row]:
    """Measure what a person waits for, with the environments of this repository."""
    found: dict[str, list[Measure]] = {}
    with folder() as temporary:
        repository = fleets.own(temporary / "repository")
        changed = fleets.overlays(repository)[0]
        fleets.change_line(changed, 0)
        programs.nox(repository, "render", "validate")
        for number in range(rounds):
            measures = {
                HELM: programs.helm(repository, temporary / f"helm-{number}"),
                **programs.helmfile(repository, temporary / f"file-{number}"),
                "nothing changed": programs.nox(repository, "render", "validate"),
            }
            fleets.change_line(changed, number + 1)
            measures["one line changed"] = programs.nox(repository, "render", "validate")
            for command in ("render", "validate"):
                measures[f"{command} alone"] = ours(repository, command)
            starting = [sys.executable, "-m", "scripts", "validate", "--help"]
            measures["start"] = run(starting)
            _collect(found, measures)
    middle = {what: median(each) for what, each in found.items()}
    helm = middle[HELM]
    session = "`nox -s render validate`"
    return [
        Row(HELM, helm),
        *_helmfile(middle),
        compared(f"{session}, nothing changed", middle["nothing changed"], "helm", helm, 2.5),
        compared(f"{session}, one line changed", middle["one line changed"], "helm", helm, 4),
        compared("render, nothing changed, without nox", middle["render alone"], "helm", helm),
        compared("validate, nothing changed, without nox", middle["validate alone"], "helm", helm),
        compared("imports (`validate --help`)", middle["start"], "helm", helm),
    ]


def _helmfile(middle: dict[str, Measure]) -> list[Row]:
    """Return the row of helmfile, if it is installed."""
    name = programs.HELMFILE_TEMPLATE
    return [compared(name, middle[name], "helm", middle[HELM])] if name in middle else []


def _collect(found: dict[str, list[Measure]], measures: dict[str, Measure]) -> None:
    for what, measure in measures.items():
        found.setdefault(what, []).append(measure)


def _round(temporary: Path, count: int) -> dict[str, Measure]:
    """Return what our commands cost in a new repository.

    Nothing is deleted between rounds: some file systems make files slowly just after many were
    deleted.
    """
    repository = temporary / "repository"
    if not repository.exists():
        fleets.generate(repository, count)
    measures = {
        "render, cold": ours(repository, "render"),
        "validate, cold": ours(repository, "validate"),
        "render, nothing changed": ours(repository, "render"),
        "validate, nothing changed": ours(repository, "validate"),
    }
    fleets.change_line(fleets.overlays(repository)[count // 2], 0)
    measures["render, one changed"] = ours(repository, "render")
    measures["validate, one changed"] = ours(repository, "validate")
    return measures


def fleet(rounds: int, count: int) -> list[Row]:
    """Measure many environments beside Helm and helmfile."""
    found: dict[str, list[Measure]] = {}
    with folder() as temporary:
        for number in range(rounds):
            here = temporary / str(number)
            repository = fleets.generate(here / "repository", count)
            measures = {
                HELM: programs.helm(repository, here / "helm"),
                **programs.helmfile(repository, here / "helmfile"),
            }
            _collect(found, measures | _round(here, count))
    middle = {what: median(each) for what, each in found.items()}
    helm, render, validate = middle[HELM], middle["render, cold"], middle["validate, cold"]
    unchanged, again = middle["render, nothing changed"], middle["validate, nothing changed"]
    changed = middle["render, one changed"] + middle["validate, one changed"]
    both = render + validate
    of = "cold validate"
    return [
        Row(HELM, helm),
        *_helmfile(middle),
        compared("render, cold", render, "helm", helm, 0.4, MOST_MIB),
        compared("render and validate, cold", both, "helm", helm, 1, MOST_MIB),
        compared("render, nothing changed", unchanged, "cold render", render),
        compared("validate, nothing changed", again, of, validate, 0.1),
        compared("render and validate, one changed", changed, "cold", both, 0.1),
    ]


def thousand(_: int, count: int) -> list[Row]:
    """Measure a thousand environments once, beside a tenth of them."""
    with folder() as temporary:
        tenth = _round(temporary / "tenth", max(1, count // 10))
        whole = _round(temporary / "whole", count)
    share = max(1, count // 10) / count
    rows = []
    for what in ("render, cold", "validate, cold"):
        small, large = tenth[what], whole[what]
        each = Measure(large.seconds * share, large.peak_mib, large.processor_s * share)
        ratio = each.seconds / small.seconds
        rows.append(Row(what, large, "ten times a tenth", ratio, 1.15, most_mib=MOST_MIB))
    changed = whole["render, one changed"] + whole["validate, one changed"]
    judged = whole["validate, one changed"]
    rows += [
        compared(f"{what}, nothing changed", whole[f"{what}, nothing changed"], "cold", whole[cold])
        for what, cold in (("render", "render, cold"), ("validate", "validate, cold"))
    ]
    rows.append(Row("render and validate, one changed", changed, most_s=3, most_mib=MOST_MIB))
    rows.append(Row("of it validate", judged, most_s=1))
    return rows


def policy(rounds: int, _: int) -> list[Row]:
    """Measure the tools of policy, beside one checkov for each environment."""
    found: dict[str, list[Measure]] = {}
    with folder() as temporary:
        repository = fleets.own(temporary / "repository")
        for _number in range(rounds):
            measures = {
                "checkov": programs.checkov(repository),
                "cold": ours(repository, "policy", "--no-cache"),
                "warm": ours(repository, "policy"),
            }
            _collect(found, measures)
    middle = {what: median(each) for what, each in found.items()}
    alone, cold = middle["checkov"], middle["cold"]
    return [
        Row("checkov alone, one process for each environment", alone),
        compared("policy, everything", cold, "checkov alone", alone),
        compared("policy, nothing changed", middle["warm"], "policy, everything", cold, 0.1),
    ]


def impact(rounds: int, count: int) -> list[Row]:
    """Measure the report of a change, beside dyff on the same pairs of files.

    A change is a tag of Besu's: of one environment, of all alike, of each another, which can't be
    told together. The goals in seconds are for a hundred environments.
    """
    rows = list[Row]()
    with folder() as temporary:
        repository = fleets.generate(temporary / "repository", count)
        ours(repository, "render")
        fleets.commit(repository)
        before = fleets.documents(repository, temporary / "before")
        overlays = fleets.overlays(repository)
        changes: dict[str, tuple[list[Path], float]] = {
            "nothing changed": ([], 0),
            "one changed": (overlays[:1], 3),
            "all changed alike": (overlays, 7),
            "all changed, each otherwise": (overlays, 7),
        }
        for what, (changed, goal) in changes.items():
            for number, overlay in enumerate(changed):
                fleets.retag(overlay, number if "each" in what else 0)
            if changed:
                ours(repository, "render")
            after = fleets.documents(repository, temporary / what)
            pairs = [(before / f"{o.name}.yaml", after / f"{o.name}.yaml") for o in changed]
            own, other = list[Measure](), list[Measure]()
            for _ in range(rounds):
                own.append(ours(repository, "impact", "--against", "HEAD"))
                if pairs:
                    other.append(programs.dyff(pairs))
            mine = median(own)
            if not pairs:
                rows.append(Row(f"impact, {what}", mine))
                continue
            beside = median(other)
            of = f"{len(pairs)} × dyff" if len(pairs) > 1 else "dyff"
            ratio = mine.seconds / beside.seconds
            rows.append(Row(f"impact, {what}", mine, of, ratio, None, goal, IMPACT_MIB))
            rows.append(Row(f"dyff between, {what}", beside))
    return rows


def releases(rounds: int, count: int) -> list[Row]:
    """Measure a cold render over three releases, beside one, and the working tree."""
    kinds = {
        "the working tree": (),
        "one release": fleets.RELEASES[:1],
        "three releases": fleets.RELEASES,
    }
    found: dict[str, list[Measure]] = {}
    with folder() as temporary:
        for number in range(rounds):
            repository = fleets.generate(temporary / str(number), count)
            fleets.release(repository)
            for what, tags in kinds.items():
                fleets.pin(repository, tags)
                fleets.unrender(repository)
                _collect(found, {what: ours(repository, "render")})
    tree, one, three = (median(found[what]) for what in kinds)
    return [
        Row("render of one release, cold", one),
        compared("render of the working tree, cold", tree, "one release", one),
        compared("render of three releases, cold", three, "one release", one, 1.3),
    ]
