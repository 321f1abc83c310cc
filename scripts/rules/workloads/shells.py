"""Shells: the program that runs a script is the one that the script is for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scripts.core import advice
from scripts.kubernetes import volumes
from scripts.kubernetes.containers import PROBES, Container
from scripts.kubernetes.manifest import Where
from scripts.rules import named_objects
from scripts.rules.rule import Problem, rule
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


def _shell(objects: Objects, container: Container, path: str) -> str:
    """Return the shell in the first line of a script in a ConfigMap, empty if there is none."""
    first = f"{container.workload.manifest.name}-{container.workload.ordinals().start}"
    file = volumes.file(container, path, first, objects.once(named_objects.there))
    manifest = objects.find("ConfigMap", file.name) if file.kind == "ConfigMap" else None
    found = _SHEBANG.match(str(manifest.get("data", file.key))) if manifest else None
    return found[1] if found else ""
