"""Shells: the program that runs a script is the one that the script is for."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from scripts.core import advice
from scripts.core.edits import Action
from scripts.core.findings import Severity
from scripts.core.fixes import Change, Fix
from scripts.core.yamlio import flow
from scripts.kubernetes import volumes
from scripts.kubernetes.containers import PROBES, Container
from scripts.kubernetes.manifest import Where
from scripts.rules import named_objects
from scripts.rules.rule import Outcome, Problem, rule
from scripts.rules.snapshot import Objects

_SHEBANG = re.compile(r"#!\s*(/\S*/(?:ba|da|k|a)?sh)\s*$", re.MULTILINE)
"""The shell in the first line of a script."""


@rule("https://pubs.opengroup.org/onlinepubs/9799919799/utilities/sh.html")
def script_shell_mismatch(objects: Objects) -> Iterator[Problem]:
    """A script runs in the shell that its first line names.

    Otherwise the container does not start, or the script fails at the first command that only the
    other shell has.
    """
    for container in objects.containers:
        lists: list[Where] = [("command",), *((probe, "exec", "command") for probe in PROBES)]
        for place in lists:
            words = container.get(*place)
            if not isinstance(words, list) or len(words) < 2:
                continue
            program, script = str(words[0]), str(words[1])
            wanted = _shell(objects, container, script) if script.startswith("/") else ""
            name = program.rpartition("/")[2]
            if not wanted or name in (wanted.rpartition("/")[2], "bash"):
                continue
            message = (
                f"the container {container.name} of {container.workload.manifest.label} runs "
                f"{script} with {program}, but the script is for {wanted}: it does not start, or "
                f"fails at the first command that only {wanted} has"
            )
            path = (*container.path, *place, 0)
            shown = f"{wanted} instead of {program} in {'.'.join(map(str, place))}"
            fix = advice.write_value(wanted, shown)
            yield Problem(container.workload.manifest, path, message, fix)


@rule("https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/")
def command_in_one_item(objects: Objects) -> Iterator[Problem]:
    """The first item of a command is a program alone, without arguments.

    Otherwise the container runtime looks for a file whose name contains the spaces: the container
    does not start, or its probe always fails.
    """
    for container in objects.containers:
        lists: list[Where] = [("command",), *((probe, "exec", "command") for probe in PROBES)]
        for place in lists:
            words = container.get(*place)
            first = words[0] if isinstance(words, list) and words else None
            if not isinstance(first, str) or not re.search(r"\S\s+\S", first):
                continue
            try:
                split = shlex.split(first)
            except ValueError:
                continue
            field = ".".join(map(str, place))
            message = (
                f"{field} of the container {container.name} of {container.workload.manifest.label}"
                f' begins with "{first}": no program has that name, so it never runs'
            )
            if split[1:2] == ["-c"] and len(split) > 2 and split[2].startswith("/"):
                del split[1]  # a file of a ConfigMap may be read, but not executed
            wanted = [*split, *map(str, words[1:])]
            fix = Fix(f"write {place[-1]}: {flow(wanted)}", [Change(Action.WRITE, (), wanted)])
            yield Problem(container.workload.manifest, (*container.path, *place), message, fix)


_ERREXIT = re.compile(r"^\s*set\s+(?:-[a-z]*e|.*-o\s+errexit)|^#!.*\s-[a-z]*e", re.MULTILINE)
"""A line with which a shell ends after the first command that fails."""


@rule(
    "https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html#tag_19_26",
    Severity.WARNING,
    outcome=Outcome.RISK,
)
def script_goes_on_after_error(objects: Objects) -> Iterator[Problem]:
    """Scripts for a shell end after the first command that fails: they have set -e.

    Otherwise a script goes on after an error: a backup whose upload failed is marked as complete.
    """
    for manifest in objects.of_kind("ConfigMap"):
        data = manifest.object.get("data")
        for name, text in data.items() if isinstance(data, dict) else ():
            if isinstance(text, str) and _SHEBANG.match(text) and not _ERREXIT.search(text):
                message = (
                    f"{name} of {manifest.label} has no set -e: after a command that fails, the"
                    " script goes on with the next one"
                )
                fix = f"add the line set -eu to {name}, below the comment at its top"
                yield Problem(manifest, ("data", name), message, fix, line=1)


def _shell(objects: Objects, container: Container, path: str) -> str:
    """Return the shell in the first line of a script in a ConfigMap, empty if there is none."""
    first = f"{container.workload.manifest.name}-{container.workload.ordinals().start}"
    file = volumes.file(container, path, first, objects.once(named_objects.there))
    manifest = objects.find("ConfigMap", file.name) if file.kind == "ConfigMap" else None
    found = _SHEBANG.match(str(manifest.get("data", file.key))) if manifest else None
    return found[1] if found else ""
