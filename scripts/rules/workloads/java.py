"""The options of the JVM in a container: those in variables, and those in its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator

from scripts.core import advice
from scripts.core.edits import Action
from scripts.core.fixes import Change, Fix
from scripts.kubernetes.containers import Container
from scripts.kubernetes.manifest import Where

VARIABLES = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "JAVA_OPTS", "BESU_OPTS")
"""Variables with JVM options, in the order in which they apply: a later option overrides."""


def in_variables(container: Container) -> Iterator[tuple[Where, str]]:
    """Yield the JVM options in a container's variables, in the order in which they apply."""
    variables = {str(v.get("name")): (path, v) for path, v in container.variables()}
    for name in VARIABLES:
        path, variable = variables.get(name, ((), {}))
        value = variable.get("value")
        for word in value.split() if isinstance(value, str) else ():
            yield (*path, "value"), word


def words(container: Container) -> Iterator[tuple[Where, str]]:
    """Yield the possible JVM options of a container, in the order in which the JVM reads them."""
    yield from in_variables(container)
    every = list(container.words())
    # A shell has its own options, up to the script.
    is_shell = bool(every) and re.fullmatch(r"(?:\S*/)?(?:ba|da|k|a)?sh", every[0][1]) is not None
    first = next((n for n, (_, w) in enumerate(every) if n and not w.startswith("-")), 0)
    yield from every[first if is_shell else 0 :]


def instead(words: str, container: Container, path: Where, word: str, new: str = "") -> Fix:
    """Return the fix to write another option instead of a word at a path, or to remove the word.

    Without an edit if the text there does not have the word exactly once.
    """
    whole = container.workload.manifest.get(*path)
    if whole == word and not new and isinstance(path[-1], int):
        return Fix(words, [Change(Action.REMOVE, ())])
    text = whole if isinstance(whole, str) else ""
    found = re.findall(rf"(?<!\S){re.escape(word)}(?!\S)", text)
    if len(found) != 1:
        return Fix(words)
    before, after = re.split(rf"(?<!\S){re.escape(word)}(?!\S)", text)
    if not new:
        before, after = before.rstrip(" "), after.lstrip(" ")
        new = " " if before and after else ""
    return advice.saying(words, before + new + after)
