"""Check objects, and changes of them, with the API server's own code, without an API server.

tools/admission is built for each pinned minor version of Kubernetes. It merges, defaults and
validates objects as the API server does, and so finds what no schema says. It does not know custom
resources, admission plugins (quotas, pod security, webhooks), or what depends on other objects.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.checks import api_schemas, kubeconform, layers, run_rules
from scripts.core import programs, schema_messages, toolchain
from scripts.core.findings import Finding, UsageError
from scripts.core.progress import progress
from scripts.core.schema_messages import label
from scripts.environments import environment
from scripts.environments.environment import Environment
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rendering import provenance
from scripts.rendering.pipeline import Rendering
from scripts.rules import catalogue
from scripts.rules.changes.compared import HOW, changed_in_place
from scripts.rules.rule import Outcome, is_rejected
from scripts.rules.snapshot import Objects

TIMEOUT_S = 600

REJECTED_OBJECT, REJECTED_CHANGE = "rejected-object", "rejected-change"
"""The ids of findings: on an object, and on a change of an object that exists."""

_PROGRAM = "admission-"

Change = tuple[Manifest, Manifest | None]
"""An object and its old version; None if it is new, or replaced."""

Known = tuple[str, Where, Finding | None]
"""Kind/name of an object, the path of a field, and what is reported about it; None if waived."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why the API server rejects an object, or its change."""

    manifest: Manifest
    is_change: bool
    """Whether it accepts the object as a new one, but not as an update of the old one."""
    path: Where
    """The field; if it is missing, where it belongs. Empty if no single field is wrong."""
    type: str
    """Kubernetes' name of the kind of error, for example FieldValueInvalid."""
    value: Any
    """The wrong value, if it is a text, a number or a boolean and no Secret's; otherwise None."""
    detail: str
    """What is wrong, in Kubernetes' words."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API server answers about some objects."""

    rejections: list[Rejection]
    checked: int
    skipped: Counter[str]
    """apiVersion and kind → the number of objects that were not checked."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result for some environments."""

    findings: list[Finding]
    checked: Counter[str] = field(default_factory=Counter)
    """Version of Kubernetes → the number of objects that were checked with it."""
    skipped: Counter[str] = field(default_factory=Counter)


def versions() -> list[str]:
    """Return the minor versions of Kubernetes that can be asked, oldest first."""
    names = (name for name in toolchain.names() if name.startswith(_PROGRAM))
    return sorted((name.removeprefix(_PROGRAM) for name in names), key=_minor)


def _minor(version: str) -> int:
    return int(version.rpartition(".")[2])


def nearest(version: str) -> str:
    """Return the newest version that is not newer than this one; the oldest, if all are newer."""
    known = versions()
    older = [each for each in known if _minor(each) <= _minor(version)]
    return older[-1] if older else known[0]


def ask(changes: Sequence[Change], version: str) -> Answer:
    """Return what an API server of a pinned minor version answers about objects and changes.

    Raises UsageError if the program is not available.
    """
    program = toolchain.tool(f"{_PROGRAM}{version}")
    given = "".join(
        json.dumps({"object": new.object} | ({"old": old.object} if old else {})) + "\n"
        for new, old in changes
    )
    done = programs.run([program], "admission", TIMEOUT_S, cwd=program.parent, given=given)
    if done.returncode:
        raise UsageError(f"admission failed with exit code {done.returncode}: {done.stderr}")
    *lines, last = (json.loads(line) for line in done.stdout.splitlines())
    rejections = [
        Rejection(
            changes[line["index"]][0],
            line["operation"] == "update",
            tuple(line["path"]),
            line["type"],
            line.get("value"),
            line["detail"],
        )
        for line in lines
    ]
    return Answer(rejections, last["checked"], Counter(last["skipped"]))


def check(root: Path, renderings: Sequence[Rendering], against: str = "") -> Result:
    """Return what the API server would reject in environments, each at the input that decides it.

    against: a git revision; the changes since its committed output are checked, too. Invalid inputs
    are findings. Raises UsageError if git does not know the revision, or without the program.
    """
    result = Result([finding for rendering in renderings for finding in rendering.findings])
    by_name = {rendering.name: rendering for rendering in renderings}
    for objects in run_rules.objects(root, renderings, against):
        version = nearest(objects.kubernetes_version)
        with progress(f"checking {objects.name} as Kubernetes {version} does"):
            answer = ask(changes(objects), version)
            if answer.rejections:
                reported = _reported(root, by_name[objects.name], objects, answer, version)
                result.findings.extend(reported)
        result.checked[version] += answer.checked
        result.skipped.update(answer.skipped)
    return result


def changes(objects: Objects) -> list[Change]:
    """Return the objects of an environment; those that change in place with the old version."""
    old = {new.identity: old for old, new in changed_in_place(objects)}
    everything = (*objects.manifests, objects.project, objects.application)
    return [(manifest, old.get(manifest.identity)) for manifest in everything]


def _reported(
    root: Path, rendering: Rendering, objects: Objects, answer: Answer, version: str
) -> Iterator[Finding]:
    """Yield one finding for each cause: that of a rule or of the schemas, if there is one.

    None for a cause whose rule is waived: people do by hand what the API server rejects.
    """
    inputs = environment.load(root, objects.name)
    known = [*_of_rules(root, inputs, objects), *_of_schemas(root, rendering)]
    own, others = list[Rejection](), set[Finding]()
    for rejection in answer.rejections:
        same = [f for name, path, f in known if _is_same(rejection, name, path)]
        others.update(each for each in same if each)
        if not same:
            own.append(rejection)
    yield from others
    places = provenance.of_fields(root, inputs, [(each.manifest, each.path) for each in own])
    for rejection, place in zip(own, places, strict=True):
        yield finding(rejection, place, version, objects.name)


def _is_same(rejection: Rejection, name: str, path: Where) -> bool:
    """Return whether a problem has the cause of a rejection.

    It has, if one of the two fields contains the other, or if they are in the same mapping: the API
    server and a rule may name different ones of two fields that exclude each other.
    """
    one, other = rejection.path, path
    length = min(len(one), len(other))
    is_inside = one[:length] == other[:length]
    return rejection.manifest.label == name and (is_inside or _mapping(one) == _mapping(other))


def _mapping(path: Where) -> Where:
    """Return the path of the mapping with a field, or with the list that an item is in."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return path[:-1]


def _of_rules(root: Path, inputs: Environment, objects: Objects) -> Iterator[Known]:
    """Yield what the rules report of that which the API server rejects."""
    problems = [
        (rule, problem)
        for rule in catalogue.RULES.values()
        if rule.outcome is Outcome.REJECTED
        for _, problem in rule.check([objects])
        if is_rejected(rule, problem, objects.kubernetes_version)
    ]
    today = datetime.now(UTC).date()
    _, unwaived = run_rules.apply_waivers(inputs, problems, today, is_partial=True)
    found = dict(zip(map(id, unwaived), run_rules.located(root, inputs, unwaived), strict=True))
    for each in problems:
        _, problem = each
        yield problem.manifest.label, tuple(problem.path), found.get(id(each))


def _of_schemas(root: Path, rendering: Rendering) -> Iterator[Known]:
    """Yield what the schemas reject."""
    if rendering.kubernetes_version not in api_schemas.versions():
        return
    for problem in kubeconform.check(rendering.files, rendering.kubernetes_version):
        reported = layers.located(root, rendering, problem)
        yield f"{problem.kind}/{problem.name}", kubeconform.place(problem), reported


_SUPPORTED = re.compile(r"supported values: (.+)")
_MUST_BE = re.compile(r"must be (.+)")


def finding(
    rejection: Rejection, place: provenance.Place, version: str, environment: str
) -> Finding:
    """Return a rejection as a finding at its place."""
    name = rejection.manifest.label
    at = label(rejection.path) if rejection.path else name
    what, rule = at, REJECTED_OBJECT
    if rejection.is_change:
        what, rule = f"the change of {at}", REJECTED_CHANGE
    elif rejection.path and rejection.value is not None:
        what = f"{schema_messages.shown(rejection.value, list(rejection.path))} for {at}"
    is_listed = not rejection.detail or _SUPPORTED.fullmatch(rejection.detail)
    why = "" if is_listed else f": {rejection.detail}"
    message = f"Kubernetes {version} rejects {what}{why}; the sync fails"
    return Finding(*place, rule, message, _fix(rejection, at), name, environment)


def _fix(rejection: Rejection, at: str) -> str:
    """Return what to write instead."""
    if rejection.is_change:
        return f"undo the change; to make it, {HOW}"
    if supported := _SUPPORTED.fullmatch(rejection.detail):
        return "write one of " + supported[1].replace('"', "")
    if bound := _MUST_BE.fullmatch(rejection.detail):
        return f"write a value that is {bound[1]}"
    if rejection.type == "FieldValueRequired":
        return f"add {at}"
    if rejection.type == "FieldValueDuplicate" or "duplicate entries" in rejection.detail:
        return "remove one of the two, or write another value"
    fields = [part for part in rejection.path if isinstance(part, str)]
    explained = ".".join([rejection.manifest.kind.lower(), *fields])
    return f"write what `kubectl explain {explained}` describes"
