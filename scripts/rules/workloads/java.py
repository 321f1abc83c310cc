"""The options of the JVM in a container: those in variables, and those in its arguments."""

from __future__ import annotations

from collections.abc import Iterator

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
    yield from container.words()
