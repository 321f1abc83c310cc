"""What a rule is: a small pure function from an environment's objects to what is wrong in them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from scripts.core.findings import Severity
from scripts.kubernetes.manifest import Manifest, Where
from scripts.rules.snapshot import Objects


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one place in one object."""

    manifest: Manifest
    path: Where
    """To the field; where it is missing, to where it belongs."""
    message: str
    """What is wrong, and what comes of it."""
    fix: str
    """What to write instead."""
    part: str = ""
    """The part of the field that is meant, where several values make it together."""


class Outcome(StrEnum):
    """What happens where a rule does not hold."""

    REJECTED = "rejected by the API server"
    BREAKS = "breaks at run time"
    HIDDEN = "has no effect"
    RISK = "is a risk"


Check = Callable[[Objects], Iterator[Problem]]
Across = Callable[[Sequence[Objects]], Iterator[tuple[Objects, Problem]]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule; its function's name is its id, its docstring says what must hold and why."""

    id: str
    """In kebab case: what is wrong where it fails."""
    family: str
    """The module that it stands in, below scripts/rules: workloads/probes."""
    severity: Severity
    outcome: Outcome
    promise: str
    """What holds, in one line."""
    why: str
    """What breaks where it does not hold."""
    source: str
    """Where that is documented: an address, or a file of this repository."""
    check: Across
    together: bool
    """Whether it looks at several environments at once."""

    @property
    def is_about_changes(self) -> bool:
        """Return whether it compares objects with what they were.

        Its findings end with the merge: a waiver of one is of use only once.
        """
        return self.family.startswith("changes/")


_STATEFUL = (("spec", "template", "spec"), ("spec", "volumeClaimTemplates"))
_VALIDATED_FROM = 34
"""The minor version of Kubernetes from which on the API server validates a StatefulSet's pods and
claims: https://github.com/kubernetes/kubernetes/pull/131790 and .../132212."""


def is_rejected(rule: Rule, problem: Problem, kubernetes_version: str) -> bool:
    """Return whether the API server rejects an object for a problem that a rule finds in it.

    It knows custom resources by their schemas only; and before it validated StatefulSets' pods, it
    rejected each pod that was made of them.
    """
    manifest, path = problem.manifest, tuple(problem.path)
    if rule.outcome is not Outcome.REJECTED or (manifest.is_custom and path[:1] == ("spec",)):
        return False
    minor = kubernetes_version.partition(".")[2]
    is_old = minor.isdecimal() and int(minor) < _VALIDATED_FROM
    inner = any(path[: len(start)] == start for start in _STATEFUL)
    return not (is_old and inner and manifest.kind == "StatefulSet" and not rule.is_about_changes)


def rule(
    source: str, severity: Severity = Severity.ERROR, *, outcome: Outcome | None = None
) -> Callable[[Check], Rule]:
    """Return a decorator that makes a function a rule about single environments.

    outcome: by default, an error breaks at run time, and a warning is a risk.
    """

    def of(function: Check) -> Rule:
        def check(among: Sequence[Objects]) -> Iterator[tuple[Objects, Problem]]:
            return ((objects, problem) for objects in among for problem in function(objects))

        return _rule(function, check, source, severity, outcome, together=False)

    return of


def across(
    source: str, severity: Severity = Severity.ERROR, *, outcome: Outcome | None = None
) -> Callable[[Across], Rule]:
    """Return a decorator that makes a function a rule about several environments together."""
    return lambda function: _rule(function, function, source, severity, outcome, together=True)


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
