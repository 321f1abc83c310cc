"""Rules: pure functions from the objects of an environment to the problems in them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from scripts.core.findings import Severity
from scripts.kubernetes import minor_version
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.snapshot import Objects


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in one field of one object."""

    manifest: Manifest
    path: Where
    """The path of the field; if the field is missing, the path where it belongs."""
    message: str
    """What is wrong, and what happens if it stays."""
    fix: str
    """What to write instead."""
    part: str = ""
    """The part of the field with the mistake, if several values make up the field."""
    line: int = 0
    """The line of the field's text that has the mistake, from 1; 0 if it is about the whole."""


class Outcome(StrEnum):
    """What happens if a rule is broken."""

    REJECTED = "rejected by the API server"
    BREAKS = "breaks at run time"
    HIDDEN = "has no effect"
    RISK = "is a risk"


Check = Callable[[Objects], Iterator[Problem]]
Across = Callable[[Sequence[Objects]], Iterator[tuple[Objects, Problem]]]
Claims = Callable[[Objects], Iterable[tuple[str, bool]]]
"""From an environment to what it has that a rule compares between environments: a key, and whether
the rule may report something if any other environment has the key, too; otherwise only if that one
says so. Environments that share no such key have no problem together, so that the rule needs to
look only at the others."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule: the name of its function is its id, the docstring its promise and its reason."""

    id: str
    """In kebab case: the mistake that it reports."""
    family: str
    """Its module below scripts/rules, for example workloads/probes."""
    severity: Severity
    outcome: Outcome
    promise: str
    """What is true if the rule reports nothing, in one line."""
    why: str
    """What happens otherwise."""
    source: str
    """The documentation of it: a URL, or a file of this repository."""
    check: Across
    together: bool
    """Whether it checks several environments together."""
    claims: Claims | None = None
    """Of a rule that checks several environments together."""

    @property
    def is_about_changes(self) -> bool:
        """Return whether it compares objects with those of the base revision.

        Its findings disappear with the merge, so a waiver of one is needed only once.
        """
        return self.family.startswith("changes/")


_STATEFUL = (("spec", "template", "spec"), ("spec", "volumeClaimTemplates"))
_VALIDATED_FROM = 34
"""The first minor version of Kubernetes that validates the pod and claim templates of StatefulSets:
https://github.com/kubernetes/kubernetes/pull/131790 and .../132212."""


def is_rejected(rule: Rule, problem: Problem, kubernetes_version: str) -> bool:
    """Return whether the API server rejects an object for a problem that a rule reports.

    It validates custom resources only by their schemas. Before it validated the pod templates of
    StatefulSets, it rejected each of their pods instead.
    """
    manifest, path = problem.manifest, tuple(problem.path)
    if rule.outcome is not Outcome.REJECTED or (manifest.is_custom and path[:1] == ("spec",)):
        return False
    is_old = 0 < minor_version.number(kubernetes_version) < _VALIDATED_FROM
    inner = any(path[: len(start)] == start for start in _STATEFUL)
    return not (is_old and inner and manifest.kind == "StatefulSet" and not rule.is_about_changes)


def rule(
    source: str, severity: Severity = Severity.ERROR, *, outcome: Outcome | None = None
) -> Callable[[Check], Rule]:
    """Return a decorator that turns a function into a rule about single environments.

    outcome: by default BREAKS for an error, and RISK for a warning.
    """

    def of(function: Check) -> Rule:
        def check(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
            return ((objects, problem) for objects in among for problem in function(objects))

        return _rule(function, check, source, severity, outcome, together=False)

    return of


def across(
    source: str,
    claims: Claims,
    severity: Severity = Severity.ERROR,
    *,
    outcome: Outcome | None = None,
) -> Callable[[Across], Rule]:
    """Return a decorator that turns a function into a rule about several environments together."""

    def of(function: Across) -> Rule:
        made = _rule(function, function, source, severity, outcome, together=True)
        return replace(made, claims=claims)

    return of


def _rule(
    function: Callable[..., object],
    check: Across,
    source: str,
    severity: Severity,
    outcome: Outcome | None,
    *,
    together: bool,
) -> Rule:
    promise, _, why = (inspect.getdoc(function) or "").partition("\n\n")
    return Rule(
        id=function.__name__.replace("_", "-"),
        family=function.__module__.removeprefix("scripts.rules.").replace(".", "/"),
        severity=severity,
        outcome=outcome or (Outcome.BREAKS if severity is Severity.ERROR else Outcome.RISK),
        promise=promise.removesuffix("."),
        why=" ".join(why.split()),
        source=source,
        check=check,
        together=together,
    )
